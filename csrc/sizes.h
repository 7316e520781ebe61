/* Arithmetic of sizes and counts. */
#ifndef FNN_SIZES_H
#define FNN_SIZES_H

#include "kernels.h"

static inline ptrdiff_t smaller(ptrdiff_t a, ptrdiff_t b) { return a < b ? a : b; }
static inline ptrdiff_t larger(ptrdiff_t a, ptrdiff_t b) { return a > b ? a : b; }
static inline ptrdiff_t parts_of(ptrdiff_t n, ptrdiff_t step) { return n <= step ? n > 0 : (n + step - 1) / step; }
static inline ptrdiff_t rounded_up(ptrdiff_t n, ptrdiff_t step) { return parts_of(n, step) * step; }
static inline size_t whole_lines(size_t bytes) { return (bytes + FNN_LINE - 1) / FNN_LINE * FNN_LINE; }

#endif
