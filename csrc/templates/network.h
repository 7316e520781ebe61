/* What a training step needs beside the public kernels, on spans of neighbours: conversion to the network's dtype, the largest magnitude,
 * sums of squares in double precision, and limits on the columns of a weight matrix. */

static void FN(from_bytes)(ptrdiff_t n, const void *from_data, void *to_data)
{
    const uint8_t *restrict from = (const uint8_t *)from_data;
    REAL *restrict to = (REAL *)to_data;
    for (ptrdiff_t t = 0; t < n; t++) to[t] = (REAL)from[t];
}

static void FN(from_other)(ptrdiff_t n, const void *from_data, void *to_data)
{
    const OTHER *restrict from = (const OTHER *)from_data;
    REAL *restrict to = (REAL *)to_data;
    for (ptrdiff_t t = 0; t < n; t++) to[t] = (REAL)from[t];
}

static void FN(standardise)(ptrdiff_t n, const void *from_data, const void *mean_data, const void *inverse_data, void *to_data)
{
    const REAL *from = (const REAL *)from_data, *mean = (const REAL *)mean_data, *inverse = (const REAL *)inverse_data;
    REAL *to = (REAL *)to_data;
    FNN_INDEPENDENT
    for (ptrdiff_t t = 0; t < n; t++) {
        REAL centred = from[t] - mean[t];
        to[t] = centred * inverse[t];
    }
}

/* The bits of a NaN or an infinity, without the sign, exceed those of any number. */
static double FN(magnitude)(ptrdiff_t n, const void *data)
{
    const BITS *bits = (const BITS *)data;
    const BITS magnitude = (BITS)(((uint64_t)1 << (8 * sizeof(BITS) - 1)) - 1);
    BITS most = 0;
    for (ptrdiff_t t = 0; t < n; t++) {
        const BITS here = bits[t] & magnitude;
        most = here > most ? here : most;
    }
    REAL value;
    memcpy(&value, &most, sizeof value);
    return value < (REAL)INFINITY ? (double)value : INFINITY;
}

static void FN(add_squares)(ptrdiff_t n, const void *data, double *restrict sums)
{
    const REAL *x = (const REAL *)data;
    for (ptrdiff_t t = 0; t < n; t++) sums[t] += (double)x[t] * (double)x[t];
}

static void FN(add_moves)(ptrdiff_t n, const void *before_data, const void *after_data, double *restrict sums)
{
    const REAL *before = (const REAL *)before_data, *after = (const REAL *)after_data;
    for (ptrdiff_t t = 0; t < n; t++) {
        const double moved = (double)after[t] - (double)before[t];
        sums[t] += moved * moved;
    }
}

/* In the order of rows when it is called row by row: what the limit on a column is held against. */
static void FN(add_column_squares)(ptrdiff_t n, const void *row_data, void *sums_data)
{
    const REAL *row = (const REAL *)row_data;
    REAL *restrict sums = (REAL *)sums_data;
    for (ptrdiff_t t = 0; t < n; t++) {
        REAL square = row[t] * row[t];
        sums[t] += square;
    }
}

static void FN(column_factors)(ptrdiff_t n, double most, void *sums_data)
{
    REAL *sums = (REAL *)sums_data;
    const REAL limit = (REAL)most;
    for (ptrdiff_t t = 0; t < n; t++) {
        const REAL norm = FN(square_root)(sums[t]);
        sums[t] = norm > limit ? limit / norm : (REAL)1;
    }
}

/* A factor of 1 leaves even a subnormal number as it is. */
static void FN(scale_columns)(ptrdiff_t n, const void *factors_data, void *row_data)
{
    const REAL *restrict factors = (const REAL *)factors_data;
    REAL *restrict row = (REAL *)row_data;
    for (ptrdiff_t t = 0; t < n; t++) row[t] = factors[t] == 1 ? row[t] : row[t] * factors[t];
}
