/* One instruction set: includes the templates for both element types and defines its table. The including file sets
 *
 *   FNN_ISA               suffix of every symbol, and the name in the table: portable, avx2, avx512, neon
 *   FNN_VECTOR_BYTES      bytes of a vector register
 *   FNN_MOST_ROWS, FNN_MOST_VECTORS, FNN_VECTORS, FNN_SHAPES(X)
 *                         the matrix tiles: X(rows, vectors) for every shape, whose rows * vectors accumulators, a row of vectors and one
 *                         broadcast must fit the register file; FNN_VECTORS lists the most vectors for 0, 1, 2 ... rows
 *   FNN_DRAW_VECTORS      vectors of dropout counters worked on together
 *   FNN_FMA_F32/F64(a, b, c)  a * b + c on vectors, fused where the instruction set has it
 *   FNN_STREAM(to, value)     a vector stored past the caches at an aligned address, or undefined
 *   FNN_MULTIPLY_LOW_HALVES(a, b)  products of the lower 32 bits of each 64-bit lane (type WORDS of dropout.h)
 *
 * and, before this, any target pragma. The symbols here are static but for the table.
 */
#include <math.h>
#include <string.h>

#include "kernels.h"
#include "philox.h"

#if defined(__BYTE_ORDER__) && __BYTE_ORDER__ != __ORDER_LITTLE_ENDIAN__
#error "the dropout kernel reads 16-bit halves of 32-bit words in little-endian order"
#endif

#define FNN_PASTE3_(a, b, c) a##_##b##_##c
#define FNN_PASTE3(a, b, c) FNN_PASTE3_(a, b, c)
#define FNN_PASTE2_(a, b) a##b
#define FNN_PASTE2(a, b) FNN_PASTE2_(a, b)
#define FNN_TEXT_(a) #a
#define FNN_TEXT(a) FNN_TEXT_(a)

/* Tells the vectoriser that iterations are independent: outputs may be exactly an input, which needs no order. */
#if defined(__clang__)
#define FNN_INDEPENDENT _Pragma("clang loop vectorize(assume_safety)")
#else
#define FNN_INDEPENDENT _Pragma("GCC ivdep")
#endif

/* Before a short loop of constant length that GCC would otherwise unroll to single elements before it looks for vectors. */
#define FNN_AS_VECTORS _Pragma("GCC unroll 1")
#define FNN_UNROLL _Pragma("GCC unroll 16")
#define FNN_OPAQUE(variable) __asm__("" : "+r"(variable))

/* Where the processor has no stores past the caches, a vector is just stored. */
#if defined(FNN_STREAM)
#define FNN_STREAM_END() _mm_sfence()
#else
#define FNN_STREAM(to, value) (*(VECTOR *)(to) = (value))
#define FNN_STREAM_END() (void)0
#endif

#define REAL float
#define OTHER double
#define BITS int32_t
#define FNN_IS_F32 1
#define LANES ((ptrdiff_t)(FNN_VECTOR_BYTES / sizeof(float)))
#define FN(name) FNN_PASTE3(name, f32, FNN_ISA)
#define FNN_FMA FNN_FMA_F32
#include "real.h"
#undef REAL
#undef OTHER
#undef BITS
#undef FNN_IS_F32
#undef LANES
#undef FN
#undef FNN_FMA

#define REAL double
#define OTHER float
#define BITS int64_t
#define FNN_IS_F32 0
#define LANES ((ptrdiff_t)(FNN_VECTOR_BYTES / sizeof(double)))
#define FN(name) FNN_PASTE3(name, f64, FNN_ISA)
#define FNN_FMA FNN_FMA_F64
#include "real.h"
#undef REAL
#undef OTHER
#undef BITS
#undef FNN_IS_F32
#undef LANES
#undef FN
#undef FNN_FMA

#define FNN_NAME(name, type) FNN_PASTE3(name, type, FNN_ISA)
#define FNN_REAL_TABLE(type, bytes)                                                                                                        \
    {                                                                                                                                      \
        .lanes = FNN_VECTOR_BYTES / (bytes), .most_rows = FNN_MOST_ROWS, .vectors = FNN_VECTORS, .pack = FNN_NAME(pack, type),             \
        .tile = FNN_NAME(tile, type), .row = FNN_NAME(row, type), .gate = FNN_NAME(gate, type),                                            \
        .map = {[FNN_RELU_FORWARD] = FNN_NAME(relu_forward, type), [FNN_RELU_BACKWARD] = FNN_NAME(relu_backward, type),                    \
                [FNN_LEAKY_FORWARD] = FNN_NAME(leaky_forward, type), [FNN_LEAKY_BACKWARD] = FNN_NAME(leaky_backward, type),                \
                [FNN_TANH_FORWARD] = FNN_NAME(tanh_forward, type), [FNN_TANH_BACKWARD] = FNN_NAME(tanh_backward, type),                    \
                [FNN_SIGMOID_FORWARD] = FNN_NAME(sigmoid_forward, type), [FNN_SIGMOID_BACKWARD] = FNN_NAME(sigmoid_backward, type),        \
                [FNN_SGD] = FNN_NAME(sgd, type), [FNN_MOMENTUM] = FNN_NAME(momentum, type), [FNN_NESTEROV] = FNN_NAME(nesterov, type),     \
                [FNN_ADAGRAD] = FNN_NAME(adagrad, type), [FNN_RMSPROP] = FNN_NAME(rmsprop, type), [FNN_ADAM] = FNN_NAME(adam, type),       \
                [FNN_CLIP] = FNN_NAME(clip, type), [FNN_AVERAGE] = FNN_NAME(average, type)},                                               \
        .dropout = FNN_NAME(dropout, type),                                                                                                \
        .loss = {[FNN_SOFTMAX] = FNN_NAME(softmax, type), [FNN_L2] = FNN_NAME(l2, type), [FNN_HINGE] = FNN_NAME(hinge, type)},             \
        .from_bytes = FNN_NAME(from_bytes, type), .from_other = FNN_NAME(from_other, type),                                                \
        .standardise = FNN_NAME(standardise, type), .magnitude = FNN_NAME(magnitude, type),                                                \
        .add_squares = FNN_NAME(add_squares, type), .add_moves = FNN_NAME(add_moves, type),                                                \
        .add_column_squares = FNN_NAME(add_column_squares, type), .column_factors = FNN_NAME(column_factors, type),                        \
        .scale_columns = FNN_NAME(scale_columns, type), .add_differences = FNN_NAME(add_differences, type),                                \
        .add_squared_differences = FNN_NAME(add_squared_differences, type), .extend = FNN_NAME(extend, type),                             \
        .multiply_adds = FNN_NAME(multiply_adds, type), .fma_flops = FNN_PEAK_CHAINS * 2 * (FNN_VECTOR_BYTES / (bytes)),                   \
    }

const struct fnn_kernels FNN_PASTE2(fnn_, FNN_ISA) = {
    .name = FNN_TEXT(FNN_ISA),
    .real = {[FNN_F32] = FNN_REAL_TABLE(f32, 4), [FNN_F64] = FNN_REAL_TABLE(f64, 8)},
};
