/* Losses, their gradients, and where wanted their metrics, which are added to `metric`. The gradient row may be exactly the score row (or
 * the dense target row).
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

static ptrdiff_t FN(highest)(ptrdiff_t n, const REAL *x)
{
    ptrdiff_t best = 0;
    for (ptrdiff_t t = 1; t < n; t++)
        if (x[t] > x[best]) best = t;
    return best;
}

/* Samples whose highest score, the first of equals, is the label or the highest target; and for values the sum of squared errors. */
static double FN(hits)(const struct fnn_loss_rows *rows)
{
    ptrdiff_t count = 0;
    for (ptrdiff_t i = 0; i < rows->n; i++) {
        const ptrdiff_t found = FN(highest)(rows->c, (const REAL *)rows->scores + i * rows->scores_stride);
        count += found == (rows->labels ? rows->labels[i] : FN(highest)(rows->c, (const REAL *)rows->dense + i * rows->dense_stride));
    }
    return (double)count;
}

static double FN(squared_errors)(const struct fnn_loss_rows *rows)
{
    double sum = 0.0;
    for (ptrdiff_t i = 0; i < rows->n; i++)
        for (ptrdiff_t j = 0; j < rows->c; j++) {
            const REAL score = ((const REAL *)rows->scores)[i * rows->scores_stride + j];
            const REAL error = score - ((const REAL *)rows->dense)[i * rows->dense_stride + j];
            sum += (double)error * (double)error;
        }
    return sum;
}

/* rows x columns from one place to another, turned, in squares of whole vectors, which overlap at the ends where these are none; fewer than
 * a vector of either count as one. */
static inline void FN(turn)(const REAL *from, ptrdiff_t from_stride, ptrdiff_t rows, ptrdiff_t columns, REAL *to, ptrdiff_t to_stride)
{
    for (ptrdiff_t row = 0; row < rows; row += LANES)
        for (ptrdiff_t column = 0; column < columns; column += LANES) {
            const ptrdiff_t r = row + LANES <= rows || rows < LANES ? row : rows - LANES;
            const ptrdiff_t c = column + LANES <= columns || columns < LANES ? column : columns - LANES;
            FN(transpose)(from + r * from_stride + c, from_stride, to + c * to_stride + r, to_stride);
        }
}

/* Few classes: a sample a lane, since a row would leave most of a vector empty and every step waiting for the last. */
#define FEW_CLASSES 32
static double FN(softmax_of_few)(const struct fnn_loss_rows *rows, double *metric)
{
    const ptrdiff_t c = rows->c;
    double loss = 0.0;
    ptrdiff_t hits = 0;
    for (ptrdiff_t i = 0; i < rows->n; i += LOSS_LANES) {
        const int count = rows->n - i < LOSS_LANES ? (int)(rows->n - i) : LOSS_LANES;
        const int turned = count == LOSS_LANES && (c >= LANES || rows->room);
        const REAL *s = (const REAL *)rows->scores + i * rows->scores_stride;
        REAL *g = (REAL *)rows->gradient + i * rows->gradient_stride;
        REAL z[FEW_CLASSES][LOSS_LANES], most[LOSS_LANES], score[LOSS_LANES] = {0}, total[LOSS_LANES] = {0};
        REAL factor[LOSS_LANES], share[LOSS_LANES];
        double exact[LOSS_LANES];
        BITS label[LOSS_LANES], place[LOSS_LANES] = {0};
        for (int l = 0; l < LOSS_LANES; l++) { /* lanes without a sample repeat the last one */
            const ptrdiff_t row = i + (l < count ? l : count - 1);
            share[l] = FN(share)(rows, row, &exact[l]);
            label[l] = (BITS)rows->labels[row];
        }
        if (turned) FN(turn)(s, rows->scores_stride, LOSS_LANES, c, z[0], LOSS_LANES);
        for (int l = 0; l < LOSS_LANES && !turned; l++)
            for (ptrdiff_t j = 0; j < c; j++) z[j][l] = s[(l < count ? l : count - 1) * rows->scores_stride + j];
        for (int l = 0; l < LOSS_LANES; l++) most[l] = z[0][l];
        for (ptrdiff_t j = 0; j < c; j++)
            for (int l = 0; l < LOSS_LANES; l++) {
                const BITS higher = -(BITS)(z[j][l] > most[l]);
                place[l] = (place[l] & ~higher) | ((BITS)j & higher);
                most[l] = z[j][l] > most[l] ? z[j][l] : most[l];
                score[l] += label[l] == (BITS)j ? z[j][l] : (REAL)0;
            }
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
            FNN_AS_VECTORS for (int l = 0; l < LOSS_LANES; l++) {
                const REAL own = label[l] == (BITS)j ? share[l] : (REAL)0;
                z[j][l] = z[j][l] * factor[l] - own;
            }
        if (turned) FN(turn)(z[0], LOSS_LANES, c, LOSS_LANES, g, rows->gradient_stride);
        for (int l = 0; l < count && !turned; l++)
            for (ptrdiff_t j = 0; j < c; j++) g[l * rows->gradient_stride + j] = z[j][l];
        for (int l = 0; l < count; l++) {
            hits += place[l] == label[l];
            if (exact[l] != 0.0) loss += exact[l] * (double)total[l];
        }
    }
    if (metric) *metric += (double)hits;
    return loss;
}

static double FN(softmax)(const struct fnn_loss_rows *rows, double *metric)
{
    const ptrdiff_t c = rows->c;
    double loss = 0.0;
    if (rows->labels && c <= FEW_CLASSES) return FN(softmax_of_few)(rows, metric);
    if (metric) *metric += FN(hits)(rows);
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

static double FN(l2)(const struct fnn_loss_rows *rows, double *metric)
{
    const ptrdiff_t c = rows->c, whole = c - c % LOSS_LANES;
    double loss = 0.0;
    if (metric) *metric += FN(squared_errors)(rows);
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

static double FN(hinge)(const struct fnn_loss_rows *rows, double *metric)
{
    const REAL margin = (REAL)rows->margin;
    double loss = 0.0;
    if (metric) *metric += FN(hits)(rows);
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
