/* Any CPU the compiler can target: 16-byte vectors (SSE2 and NEON have them; elsewhere the compiler splits them). */
#define FNN_ISA portable
#define FNN_VECTOR_BYTES 16
#define FNN_FMA_F32(a, b, c) ((a) * (b) + (c))
#define FNN_FMA_F64(a, b, c) ((a) * (b) + (c))
#include "templates/shapes16.h"
#include "templates/instantiate.h"
