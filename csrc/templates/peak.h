/* What the machine can do at best: independent multiply-adds in registers, the yardstick that per cent of peak refers to. */
#ifndef FNN_PEAK_CHAINS
#define FNN_PEAK_CHAINS 12 /* more than latency times issue width of any core we know (4 cycles x 2 pipes), fewer than registers */
#endif

static double FN(multiply_adds)(ptrdiff_t repeats, double seed)
{
    VECTOR chain[FNN_PEAK_CHAINS], factor = (VECTOR){0} + (REAL)(1.0 - seed * 1e-9), term = (VECTOR){0} + (REAL)(seed * 1e-3);
    for (int c = 0; c < FNN_PEAK_CHAINS; c++) chain[c] = (VECTOR){0} + (REAL)(seed + c); /* equal chains would be merged into one */
    for (ptrdiff_t t = 0; t < repeats; t++)
        for (int c = 0; c < FNN_PEAK_CHAINS; c++) chain[c] = FNN_FMA(chain[c], factor, term);
    VECTOR total = chain[0];
    for (int c = 1; c < FNN_PEAK_CHAINS; c++) total += chain[c];
    return (double)total[0];
}
