/* Instantiates every kernel for one element type on one instruction set. Included twice by instantiate.h.
 *
 * Parameters, all undefined again at the end:
 *   REAL, OTHER, BITS  element type, the other one, and the signed integer of its width
 *   FNN_IS_F32       1 or 0
 *   LANES            elements in a vector of FNN_VECTOR_BYTES
 *   FN(name)         name with the type and instruction set appended
 */
typedef REAL FN(vector) __attribute__((vector_size(FNN_VECTOR_BYTES)));
typedef REAL FN(vector_u) __attribute__((vector_size(FNN_VECTOR_BYTES), aligned(sizeof(REAL)), may_alias));
#define VECTOR FN(vector)
#define VECTOR_U FN(vector_u)

#include "exp.h"
#include "map.h"
#include "dropout.h"
#include "transpose.h"
#include "loss.h"
#include "gemm.h"
#include "network.h"
#include "statistics.h"
#include "peak.h"

#undef VECTOR
#undef VECTOR_U
