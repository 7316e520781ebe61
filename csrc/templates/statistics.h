/* Statistics of columns in double precision, a span of a row at a time. */

static void FN(add_differences)(ptrdiff_t n, const void *row_data, const double *restrict origin, double *restrict sums)
{
    const REAL *restrict row = (const REAL *)row_data;
    for (ptrdiff_t t = 0; t < n; t++) sums[t] += (double)row[t] - origin[t];
}

static void FN(add_squared_differences)(ptrdiff_t n, const void *row_data, const double *restrict origin, const double *restrict mean,
                                        double *restrict sums)
{
    const REAL *restrict row = (const REAL *)row_data;
    for (ptrdiff_t t = 0; t < n; t++) {
        const double apart = ((double)row[t] - origin[t]) - mean[t];
        sums[t] += apart * apart;
    }
}

/* What is no number stays, once it was met. */
static void FN(extend)(ptrdiff_t n, const void *row_data, double *restrict low, double *restrict high)
{
    const REAL *restrict row = (const REAL *)row_data;
    for (ptrdiff_t t = 0; t < n; t++) {
        const double value = (double)row[t];
        low[t] = (value < low[t]) | (value != value) ? value : low[t];
        high[t] = (value > high[t]) | (value != value) ? value : high[t];
    }
}
