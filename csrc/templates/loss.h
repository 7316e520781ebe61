/* Losses and their gradients, one pass a row. The gradient row may be exactly the score row (or the dense target row). */

#define LOSS_LANES 16 /* partial sums of a row: the same on every instruction set, so sums have the same bits */

static inline REAL FN(share)(const struct fnn_loss_rows *rows, ptrdiff_t i, double *exact)
{
    double weight = rows->weight ? (double)((const REAL *)rows->weight)[i * rows->weight_stride] : 1.0;
    *exact = rows->total > 0 ? weight / rows->total : 0.0;
    return (REAL)*exact;
}

/* Of two operands of equal weight the order does not matter, so any instruction set may keep a lane each. */
static inline REAL FN(sum_lanes)(const REAL lane[LOSS_LANES])
{
    REAL sum[LOSS_LANES];
    memcpy(sum, lane, sizeof sum);
    for (int half = LOSS_LANES / 2; half > 0; half /= 2)
        for (int t = 0; t < half; t++) sum[t] += sum[t + half];
    return sum[0];
}

static double FN(softmax)(const struct fnn_loss_rows *rows)
{
    const ptrdiff_t c = rows->c, whole = c - c % LOSS_LANES;
    double loss = 0.0;
    for (ptrdiff_t i = 0; i < rows->n; i++) {
        const REAL *s = (const REAL *)rows->scores + i * rows->scores_stride;
        const REAL *t = rows->labels ? NULL : (const REAL *)rows->dense + i * rows->dense_stride;
        REAL *g = (REAL *)rows->gradient + i * rows->gradient_stride;
        double exact;
        const REAL share = FN(share)(rows, i, &exact);
        REAL most = s[0];
        for (ptrdiff_t j = 1; j < c; j++) most = s[j] > most ? s[j] : most;

        /* The scores the loss needs are read before the gradient may write over them. */
        REAL target_sum = 1, label_score = 0;
        double dense_dot = 0.0;
        if (t) {
            target_sum = 0;
            for (ptrdiff_t j = 0; j < c; j++) {
                target_sum += t[j];
                if (t[j] != 0) dense_dot += (double)t[j] * (double)(REAL)(s[j] - most);
            }
        } else {
            label_score = s[rows->labels[i]] - most;
        }

        REAL lane[LOSS_LANES] = {0}, total;
        if (t) {
            /* Two passes: the target may be the gradient, so exponentials are summed first and made again. */
            for (ptrdiff_t j = 0; j < whole; j += LOSS_LANES)
                for (int l = 0; l < LOSS_LANES; l++) lane[l] += FN(exp)(s[j + l] - most);
            for (ptrdiff_t j = whole; j < c; j++) lane[j - whole] += FN(exp)(s[j] - most);
            total = FN(sum_lanes)(lane);
            const REAL inverse = (REAL)(1.0 / (double)total);
            FNN_INDEPENDENT
            for (ptrdiff_t j = 0; j < c; j++) g[j] = (FN(exp)(s[j] - most) * inverse * target_sum - t[j]) * share;
        } else {
            for (ptrdiff_t j = 0; j < whole; j += LOSS_LANES)
                for (int l = 0; l < LOSS_LANES; l++) {
                    REAL e = FN(exp)(s[j + l] - most);
                    g[j + l] = e;
                    lane[l] += e;
                }
            for (ptrdiff_t j = whole; j < c; j++) {
                g[j] = FN(exp)(s[j] - most);
                lane[j - whole] += g[j];
            }
            total = FN(sum_lanes)(lane);
            const REAL factor = (REAL)(exact / (double)total);
            for (ptrdiff_t j = 0; j < c; j++) g[j] *= factor;
            g[rows->labels[i]] -= share;
        }
        double term = t ? (double)target_sum * log((double)total) - dense_dot : log((double)total) - (double)label_score;
        if (exact != 0.0) loss += exact * term;
    }
    return loss;
}

static double FN(l2)(const struct fnn_loss_rows *rows)
{
    double loss = 0.0;
    for (ptrdiff_t i = 0; i < rows->n; i++) {
        const REAL *s = (const REAL *)rows->scores + i * rows->scores_stride;
        const REAL *t = (const REAL *)rows->dense + i * rows->dense_stride;
        REAL *g = (REAL *)rows->gradient + i * rows->gradient_stride;
        double exact, lane[LOSS_LANES] = {0};
        const REAL share = FN(share)(rows, i, &exact);
        for (ptrdiff_t start = 0; start < rows->c; start += LOSS_LANES) {
            const int length = rows->c - start < LOSS_LANES ? (int)(rows->c - start) : LOSS_LANES;
            for (int l = 0; l < length; l++) {
                REAL d = s[start + l] - t[start + l];
                g[start + l] = d * share;
                lane[l] += (double)d * (double)d;
            }
        }
        double sum = 0.0;
        for (int l = 0; l < LOSS_LANES; l++) sum += lane[l];
        if (exact != 0.0) loss += exact * (0.5 * sum);
    }
    return loss;
}

static double FN(hinge)(const struct fnn_loss_rows *rows)
{
    const REAL margin = (REAL)rows->margin;
    double loss = 0.0;
    for (ptrdiff_t i = 0; i < rows->n; i++) {
        const REAL *s = (const REAL *)rows->scores + i * rows->scores_stride;
        REAL *g = (REAL *)rows->gradient + i * rows->gradient_stride;
        double exact, sum = 0.0;
        const REAL share = FN(share)(rows, i, &exact), wanted = s[rows->labels[i]];
        ptrdiff_t active = 0;
        for (ptrdiff_t j = 0; j < rows->c; j++) {
            REAL term = (s[j] - wanted) + margin;
            const int counts = !(term <= 0) && j != rows->labels[i];
            g[j] = counts ? share : (REAL)0;
            sum += counts ? (double)term : 0.0;
            active += counts;
        }
        g[rows->labels[i]] = -((REAL)active * share);
        if (exact != 0.0) loss += exact * sum;
    }
    return loss;
}

#undef LOSS_LANES
