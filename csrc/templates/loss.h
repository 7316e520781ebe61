/* Losses and their gradients. The gradient row may be exactly the score row (or the dense target row).
 *
 * Rows are worked through LOSS_LANES at a time, with a partial sum for each lane: the same on every instruction set, so sums have the
 * same bits, and loops of a constant length that the compiler turns into vectors. */

#define LOSS_LANES 16

/* Sample i's share of the mean, exact and rounded. */
static inline REAL FN(share)(const struct fnn_loss_rows *rows, ptrdiff_t i, double *exact)
{
    const double weight = rows->weight ? (double)((const REAL *)rows->weight)[i * rows->weight_stride] : 1.0;
    *exact = rows->total > 0 ? weight / rows->total : 0.0;
    return (REAL)*exact;
}

static inline REAL FN(sum_lanes)(const REAL lane[LOSS_LANES])
{
    REAL sum[LOSS_LANES];
    memcpy(sum, lane, sizeof sum);
    for (int half = LOSS_LANES / 2; half > 0; half /= 2)
        for (int l = 0; l < half; l++) sum[l] += sum[l + half];
    return sum[0];
}

static inline REAL FN(largest)(const REAL *row, ptrdiff_t c)
{
    const ptrdiff_t whole = c - c % LOSS_LANES;
    REAL most[LOSS_LANES];
    for (int l = 0; l < LOSS_LANES; l++) most[l] = row[l < c ? l : 0];
    for (ptrdiff_t j = 0; j < whole; j += LOSS_LANES)
        for (int l = 0; l < LOSS_LANES; l++) most[l] = row[j + l] > most[l] ? row[j + l] : most[l];
    for (ptrdiff_t j = whole; j < c; j++) most[j - whole] = row[j] > most[j - whole] ? row[j] : most[j - whole];
    for (int half = LOSS_LANES / 2; half > 0; half /= 2)
        for (int l = 0; l < half; l++) most[l] = most[l + half] > most[l] ? most[l + half] : most[l];
    return most[0];
}

/* Sum of exp(row - most); the exponentials go to `out`, which may be row, unless it is NULL. */
static inline REAL FN(exponentials)(const REAL *row, ptrdiff_t c, REAL most, REAL *out)
{
    const ptrdiff_t whole = c - c % LOSS_LANES;
    REAL lane[LOSS_LANES] = {0};
    for (ptrdiff_t j = 0; j < whole; j += LOSS_LANES) {
        REAL e[LOSS_LANES];
        for (int l = 0; l < LOSS_LANES; l++) e[l] = FN(exp)(row[j + l] - most);
        for (int l = 0; l < LOSS_LANES; l++) lane[l] += e[l];
        if (out) memcpy(out + j, e, sizeof e);
    }
    for (ptrdiff_t j = whole; j < c; j++) {
        const REAL e = FN(exp)(row[j] - most);
        lane[j - whole] += e;
        if (out) out[j] = e;
    }
    return FN(sum_lanes)(lane);
}

/* Few classes: a sample a lane, since a row would leave most of a vector empty and every step waiting for the last. */
#define FEW_CLASSES 32
static double FN(softmax_of_few)(const struct fnn_loss_rows *rows)
{
    const ptrdiff_t c = rows->c;
    double loss = 0.0;
    for (ptrdiff_t i = 0; i < rows->n; i += LOSS_LANES) {
        const int count = rows->n - i < LOSS_LANES ? (int)(rows->n - i) : LOSS_LANES;
        const REAL *s[LOSS_LANES];
        REAL z[FEW_CLASSES][LOSS_LANES], most[LOSS_LANES], total[LOSS_LANES] = {0};
        REAL factor[LOSS_LANES], share[LOSS_LANES], score[LOSS_LANES];
        double exact[LOSS_LANES];
        for (int l = 0; l < LOSS_LANES; l++) { /* lanes without a sample repeat the last one */
            const ptrdiff_t row = i + (l < count ? l : count - 1);
            s[l] = (const REAL *)rows->scores + row * rows->scores_stride;
            share[l] = FN(share)(rows, row, &exact[l]);
            score[l] = s[l][rows->labels[row]];
        }
        for (ptrdiff_t j = 0; j < c; j++)
            for (int l = 0; l < LOSS_LANES; l++) z[j][l] = s[l][j];
        for (int l = 0; l < LOSS_LANES; l++) most[l] = s[l][0];
        for (ptrdiff_t j = 1; j < c; j++)
            for (int l = 0; l < LOSS_LANES; l++) most[l] = z[j][l] > most[l] ? z[j][l] : most[l];
        for (ptrdiff_t j = 0; j < c; j++)
            for (int l = 0; l < LOSS_LANES; l++) {
                z[j][l] = FN(exp)(z[j][l] - most[l]);
                total[l] += z[j][l];
            }
        for (int l = 0; l < LOSS_LANES; l++) {
            factor[l] = share[l] / total[l];
            total[l] = FN(log)(total[l]) - (score[l] - most[l]);
        }
        for (ptrdiff_t j = 0; j < c; j++)
            for (int l = 0; l < LOSS_LANES; l++) z[j][l] *= factor[l];
        for (int l = 0; l < count; l++) {
            REAL *g = (REAL *)rows->gradient + (i + l) * rows->gradient_stride;
            for (ptrdiff_t j = 0; j < c; j++) g[j] = z[j][l];
            g[rows->labels[i + l]] -= share[l];
            if (exact[l] != 0.0) loss += exact[l] * (double)total[l];
        }
    }
    return loss;
}

static double FN(softmax)(const struct fnn_loss_rows *rows)
{
    const ptrdiff_t c = rows->c;
    double loss = 0.0;
    if (rows->labels && c <= FEW_CLASSES) return FN(softmax_of_few)(rows);
    for (ptrdiff_t i = 0; i < rows->n; i++) {
        const REAL *s = (const REAL *)rows->scores + i * rows->scores_stride;
        REAL *g = (REAL *)rows->gradient + i * rows->gradient_stride;
        double exact, term;
        const REAL share = FN(share)(rows, i, &exact), most = FN(largest)(s, c);
        if (rows->labels) {
            const REAL label_score = s[rows->labels[i]] - most; /* read before g may write over it */
            const REAL total = FN(exponentials)(s, c, most, g), factor = (REAL)(exact / (double)total);
            for (ptrdiff_t j = 0; j < c; j++) g[j] *= factor;
            g[rows->labels[i]] -= share;
            term = (double)FN(log)(total) - (double)label_score;
        } else {
            /* The target may be the gradient: exponentials are summed first and made again. */
            const REAL *t = (const REAL *)rows->dense + i * rows->dense_stride;
            REAL target_sum = 0;
            double dot = 0.0;
            for (ptrdiff_t j = 0; j < c; j++) {
                target_sum += t[j];
                if (t[j] != 0) dot += (double)t[j] * (double)(REAL)(s[j] - most);
            }
            const REAL total = FN(exponentials)(s, c, most, NULL), inverse = (REAL)(1.0 / (double)total);
            FNN_INDEPENDENT
            for (ptrdiff_t j = 0; j < c; j++) g[j] = (FN(exp)(s[j] - most) * inverse * target_sum - t[j]) * share;
            term = (double)target_sum * (double)FN(log)(total) - dot;
        }
        if (exact != 0.0) loss += exact * term;
    }
    return loss;
}

static double FN(l2)(const struct fnn_loss_rows *rows)
{
    const ptrdiff_t c = rows->c, whole = c - c % LOSS_LANES;
    double loss = 0.0;
    for (ptrdiff_t i = 0; i < rows->n; i++) {
        const REAL *s = (const REAL *)rows->scores + i * rows->scores_stride;
        const REAL *t = (const REAL *)rows->dense + i * rows->dense_stride;
        REAL *g = (REAL *)rows->gradient + i * rows->gradient_stride;
        double exact, sum = 0.0, lane[LOSS_LANES] = {0};
        const REAL share = FN(share)(rows, i, &exact);
        for (ptrdiff_t j = 0; j < whole; j += LOSS_LANES) {
            REAL d[LOSS_LANES], scaled[LOSS_LANES];
            for (int l = 0; l < LOSS_LANES; l++) d[l] = s[j + l] - t[j + l];
            for (int l = 0; l < LOSS_LANES; l++) scaled[l] = d[l] * share;
            for (int l = 0; l < LOSS_LANES; l++) lane[l] += (double)d[l] * (double)d[l];
            memcpy(g + j, scaled, sizeof scaled);
        }
        for (ptrdiff_t j = whole; j < c; j++) {
            const REAL d = s[j] - t[j];
            g[j] = d * share;
            lane[j - whole] += (double)d * (double)d;
        }
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
