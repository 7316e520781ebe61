/* Every kernel on every instruction set that this CPU runs: elementwise kernels, dropout and losses to the bits of the portable ones,
 * products to the bits of the plain sums that they stand for (in order over k, fused where the instruction set is) and within the
 * bound of the portable ones. Arrays are allocated to the byte, for the sanitizers. Prints a line for each instruction set. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "gemm.h"

enum { MOST_ARRAYS = 4, TAILS = 70 };

static uint64_t state;
static long comparisons, failures;

static uint64_t draw(void) /* SplitMix64 (Steele, Lea, Flood 2014) */
{
    uint64_t z = (state += 0x9E3779B97F4A7C15u);
    z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9u;
    z = (z ^ (z >> 27)) * 0x94D049BB133111EBu;
    return z ^ (z >> 31);
}

static double uniform(void) { return (double)(int64_t)draw() * 0x1p-61; } /* -4 .. 4 */
static size_t size_of(enum fnn_dtype dtype) { return dtype == FNN_F32 ? sizeof(float) : sizeof(double); }

static double get(enum fnn_dtype dtype, const void *data, ptrdiff_t at)
{
    return dtype == FNN_F32 ? (double)((const float *)data)[at] : ((const double *)data)[at];
}

static void put(enum fnn_dtype dtype, void *data, ptrdiff_t at, double value)
{
    if (dtype == FNN_F32) ((float *)data)[at] = (float)value;
    else ((double *)data)[at] = value;
}

static void *numbers(enum fnn_dtype dtype, ptrdiff_t n, int special, int positive)
{
    static const double specials[] = {NAN, INFINITY, -INFINITY, 0.0, -0.0, 1e-40, -1e-40, 1e-310, 1e-38, 1e-160, 3e38, -3e38, 1.0, -1.0};
    void *data = malloc((size_t)n * size_of(dtype) + (n == 0));
    for (ptrdiff_t t = 0; t < n; t++) {
        const double value = special && draw() % 3 == 0 ? specials[draw() % (sizeof specials / sizeof *specials)] : uniform();
        put(dtype, data, t, positive ? fabs(value) : value);
    }
    return data;
}

static void *copy(enum fnn_dtype dtype, ptrdiff_t n, const void *data)
{
    void *copied = malloc((size_t)n * size_of(dtype) + (n == 0));
    return memcpy(copied, data, (size_t)n * size_of(dtype));
}

/* Same bits; any NaN equals any. */
static void same(const char *what, enum fnn_dtype dtype, ptrdiff_t n, const void *a, const void *b)
{
    comparisons++;
    for (ptrdiff_t t = 0; t < n; t++) {
        const size_t at = (size_t)t * size_of(dtype);
        if (memcmp((const char *)a + at, (const char *)b + at, size_of(dtype)) == 0) continue;
        const double x = get(dtype, a, t), y = get(dtype, b, t);
        if (isnan(x) && isnan(y)) continue;
        const char *type = dtype ? "double" : "float";
        if (failures++ < 20) printf("%s, %s, %s: element %td of %td is %.17g, not %.17g\n", fnn_isa(), what, type, t, n, x, y);
        return;
    }
}

static void maps(const char *isa, enum fnn_dtype dtype, ptrdiff_t n, int special)
{
    static const double scalars[] = {0.03, 0.002, 0.0123, 1e-8, 0.9, 0.1, 0.99, 0.01, 0.999};
    for (int map = 0; map < FNN_MAPS; map++) {
        void *arrays[MOST_ARRAYS], *theirs[MOST_ARRAYS];
        for (int a = 0; a < MOST_ARRAYS; a++) {
            arrays[a] = numbers(dtype, n, special, a >= 2);
            theirs[a] = copy(dtype, n, arrays[a]);
        }
        fnn_use_isa("portable");
        fnn_map((enum fnn_map)map, dtype, n, theirs, scalars);
        fnn_use_isa(isa);
        fnn_map((enum fnn_map)map, dtype, n, arrays, scalars);
        char what[32];
        snprintf(what, sizeof what, "map %d", map);
        for (int a = 0; a < MOST_ARRAYS; a++) {
            same(what, dtype, n, arrays[a], theirs[a]);
            free(arrays[a]);
            free(theirs[a]);
        }
    }
}

static void dropouts(const char *isa, enum fnn_dtype dtype, ptrdiff_t rows, ptrdiff_t columns)
{
    const struct fnn_dropout dropout = {draw(), draw(), 1 + (uint32_t)(draw() % 65536)};
    for (int order = 0; order < 2; order++) {
        void *x = numbers(dtype, rows * columns, 1, 0), *y = copy(dtype, rows * columns, x), *theirs = copy(dtype, rows * columns, x);
        struct fnn_matrix from = {x, rows, columns, order ? 1 : columns, order ? rows : 1}, to = from;
        fnn_use_isa("portable");
        to.data = theirs;
        fnn_dropout(dtype, &from, &to, &dropout);
        fnn_use_isa(isa);
        to.data = y;
        fnn_dropout(dtype, &from, &to, &dropout);
        same("dropout", dtype, rows * columns, y, theirs);
        free(x);
        free(y);
        free(theirs);
    }
}

static void losses(const char *isa, enum fnn_dtype dtype, ptrdiff_t n, ptrdiff_t c)
{
    void *scores = numbers(dtype, n * c, 0, 0), *dense = numbers(dtype, n * c, 0, 1), *weight = numbers(dtype, n, 0, 1);
    void *gradient = copy(dtype, n * c, scores), *theirs = copy(dtype, n * c, scores);
    int64_t *labels = malloc((size_t)n * sizeof *labels + (n == 0));
    for (ptrdiff_t i = 0; i < n; i++) labels[i] = (int64_t)(draw() % (uint64_t)c);
    for (int variant = 0; variant < 8; variant++) {
        const enum fnn_loss kind = variant < 4 ? FNN_SOFTMAX : variant < 6 ? FNN_L2 : FNN_HINGE;
        const struct fnn_target target = {(kind == FNN_SOFTMAX && variant < 2) || kind == FNN_HINGE ? labels : NULL, {dense, n, c, c, 1}};
        const struct fnn_vector weights = {variant % 2 ? weight : NULL, 1};
        struct fnn_matrix from = {scores, n, c, c, 1}, to = {theirs, n, c, c, 1};
        double loss, their_loss;
        fnn_use_isa("portable");
        fnn_loss(kind, dtype, &from, &target, weights, 1.0, &to, &their_loss);
        fnn_use_isa(isa);
        to.data = gradient;
        fnn_loss(kind, dtype, &from, &target, weights, 1.0, &to, &loss);
        same("gradient of a loss", dtype, n * c, gradient, theirs);
        same("loss", FNN_F64, 1, &loss, &their_loss);
    }
    free(scores);
    free(dense);
    free(weight);
    free(gradient);
    free(theirs);
    free(labels);
}

static double multiply_add(enum fnn_dtype dtype, int fused, double a, double b, double c)
{
    if (dtype == FNN_F32) return fused ? (double)fmaf((float)a, (float)b, (float)c) : (double)((float)a * (float)b + (float)c);
    return fused ? fma(a, b, c) : a * b + c;
}

static double element(enum fnn_dtype dtype, const struct fnn_matrix *m, ptrdiff_t row, ptrdiff_t column)
{
    return get(dtype, m->data, row * m->row_stride + column * m->column_stride);
}

static struct fnn_matrix matrix(void *data, ptrdiff_t rows, ptrdiff_t columns, int turned)
{
    return (struct fnn_matrix){data, rows, columns, turned ? 1 : columns, turned ? rows : 1};
}

static struct fnn_matrix transposed(struct fnn_matrix m)
{
    return (struct fnn_matrix){m.data, m.columns, m.rows, m.column_stride, m.row_stride};
}

/* plain = a b + bias, then ReLU, by one sum an element; and the product of the magnitudes, for the bound. */
static void multiply_plainly(enum fnn_dtype dtype, int fused, struct fnn_matrix a, struct fnn_matrix b, const void *bias, int relu,
                             void *plain, double *size)
{
    for (ptrdiff_t r = 0; r < a.rows; r++) {
        for (ptrdiff_t c = 0; c < b.columns; c++) {
            double sum = 0.0, magnitude = 0.0;
            for (ptrdiff_t k = 0; k < a.columns; k++) {
                const double left = element(dtype, &a, r, k), right = element(dtype, &b, k, c);
                sum = multiply_add(dtype, fused, left, right, sum);
                magnitude += fabs(left * right);
            }
            if (bias) {
                const double value = get(dtype, bias, c);
                sum = dtype == FNN_F32 ? (double)((float)sum + (float)value) : sum + value;
                magnitude += fabs(value);
            }
            put(dtype, plain, r * b.columns + c, relu && sum <= 0 ? 0.0 : sum);
            size[r * b.columns + c] = magnitude;
        }
    }
}

static void within(const char *what, enum fnn_dtype dtype, ptrdiff_t n, ptrdiff_t k, const void *a, const void *b, const double *size)
{
    comparisons++;
    const double bound = 2.0 * (double)(k + 2) * (dtype == FNN_F32 ? 0x1p-23 : 0x1p-52);
    for (ptrdiff_t t = 0; t < n; t++) {
        if (fabs(get(dtype, a, t) - get(dtype, b, t)) <= bound * size[t]) continue;
        if (failures++ < 20) printf("%s, %s: element %td of %td is out of bounds\n", fnn_isa(), what, t, n);
        return;
    }
}

static void products(const char *isa, enum fnn_dtype dtype, ptrdiff_t n, ptrdiff_t i, ptrdiff_t o)
{
    const int fused = strcmp(isa, "portable") != 0, turned = (int)(draw() % 4);
    void *x_data = numbers(dtype, n * i, 0, 0), *w_data = numbers(dtype, i * o, 0, 0), *b = numbers(dtype, o, 0, 0);
    void *dy_data = numbers(dtype, n * o, 0, 0);
    const ptrdiff_t most = n * i + i * o + n * o + o;
    void *got = numbers(dtype, most, 0, 0), *plain = numbers(dtype, most, 0, 0), *theirs = numbers(dtype, most, 0, 0);
    double *size = malloc((size_t)most * sizeof *size + (most == 0));
    const struct fnn_matrix x = matrix(x_data, n, i, turned & 1), w = matrix(w_data, i, o, turned >> 1), dy = matrix(dy_data, n, o, 0);

    for (int variant = 0; variant < 3; variant++) {
        const struct fnn_vector bias = {variant ? b : NULL, 1};
        struct fnn_matrix y = matrix(got, n, o, 0);
        fnn_use_isa(isa);
        fnn_linear_forward(dtype, &x, &w, bias, variant == 2, NULL, &y);
        multiply_plainly(dtype, fused, x, w, bias.data, variant == 2, plain, size);
        same("forward", dtype, n * o, got, plain);
        fnn_use_isa("portable");
        y.data = theirs;
        fnn_linear_forward(dtype, &x, &w, bias, variant == 2, NULL, &y);
        fnn_use_isa(isa);
        within("forward", dtype, n * o, i, got, theirs, size);
    }

    const struct fnn_dropout dropout = {draw(), draw(), 40000};
    struct fnn_matrix y = matrix(got, n, o, 0), dropped = matrix(theirs, n, o, 0);
    fnn_linear_forward(dtype, &x, &w, (struct fnn_vector){b, 1}, 1, &dropout, &y);
    multiply_plainly(dtype, fused, x, w, b, 1, plain, size);
    fnn_dropout(dtype, &(struct fnn_matrix){plain, n, o, o, 1}, &dropped, &dropout);
    same("forward with dropout", dtype, n * o, got, theirs);

    /* The gate is y after dropout; dz is made plainly here. */
    const struct fnn_matrix gate = matrix(got, n, o, 0);
    const double scale = 65536.0 / 40000.0;
    void *dz = copy(dtype, n * o, dy_data), *sums = numbers(dtype, o, 0, 0);
    void *dx = numbers(dtype, n * i, 0, 0), *dw = numbers(dtype, i * o, 0, 0);
    void *db = numbers(dtype, o, 0, 0);
    for (ptrdiff_t c = 0; c < o; c++) put(dtype, sums, c, 0.0);
    for (ptrdiff_t r = 0; r < n; r++) {
        for (ptrdiff_t c = 0; c < o; c++) {
            const double value = get(dtype, dy_data, r * o + c), factor = dtype == FNN_F32 ? (double)(float)scale : scale;
            put(dtype, dz, r * o + c, get(dtype, got, r * o + c) <= 0 ? 0.0 : value * factor);
            const double sum = get(dtype, sums, c), term = get(dtype, dz, r * o + c);
            put(dtype, sums, c, dtype == FNN_F32 ? (double)((float)sum + (float)term) : sum + term);
        }
    }
    const struct fnn_matrix mdx = matrix(dx, n, i, 0), mdw = matrix(dw, i, o, 0), mdz = matrix(dz, n, o, 0);
    fnn_linear_backward(dtype, &dy, &x, &w, &gate, scale, &mdx, &mdw, (struct fnn_vector){db, 1});
    same("db", dtype, o, db, sums);
    multiply_plainly(dtype, fused, mdz, transposed(w), NULL, 0, plain, size);
    same("dx", dtype, n * i, dx, plain);
    multiply_plainly(dtype, fused, transposed(x), mdz, NULL, 0, plain, size);
    same("dw", dtype, i * o, dw, plain);

    void *all[] = {x_data, w_data, b, dy_data, got, plain, theirs, size, dz, sums, dx, dw, db};
    for (size_t a = 0; a < sizeof all / sizeof *all; a++) free(all[a]);
}

struct gathered {
    enum fnn_dtype dtype;
    struct fnn_matrix whole;
};

static void gather(void *context, const struct fnn_matrix *part, ptrdiff_t row, ptrdiff_t column)
{
    const struct gathered *g = context;
    for (ptrdiff_t r = 0; r < part->rows; r++)
        for (ptrdiff_t c = 0; c < part->columns; c++)
            put(g->dtype, g->whole.data, (row + r) * g->whole.row_stride + column + c, element(g->dtype, part, r, c));
}

static void run_product(struct fnn_product *product)
{
    const size_t bytes = fnn_product_plan(product);
    void *workspace = aligned_alloc(64, bytes + 64 * !bytes);
    fnn_product_run(product, workspace);
    free(workspace);
}

/* What the linear layer makes no use of: y += a b, dropout of the later rows of a batch, and a y of which no more than parts exist. */
static void product_parts(const char *isa, enum fnn_dtype dtype, ptrdiff_t n, ptrdiff_t k, ptrdiff_t o)
{
    enum { ABOVE = 3 }; /* rows of the batch before the first */
    const int fused = strcmp(isa, "portable") != 0;
    const ptrdiff_t half = k / 2, element_bytes = (ptrdiff_t)size_of(dtype);
    const struct fnn_matrix a = matrix(numbers(dtype, n * k, 0, 0), n, k, (int)(draw() % 2));
    const struct fnn_matrix b = matrix(numbers(dtype, k * o, 0, 0), k, o, (int)(draw() % 2));
    const struct fnn_matrix y = matrix(numbers(dtype, n * o, 0, 0), n, o, 0), turned = matrix(numbers(dtype, n * o, 0, 0), n, o, 1);
    const struct fnn_matrix batch = matrix(numbers(dtype, (ABOVE + n) * o, 0, 0), ABOVE + n, o, 0);
    char *plain = (char *)batch.data + ABOVE * o * element_bytes;
    void *bias = numbers(dtype, o, 0, 0);
    double *size = malloc((size_t)(n * o) * sizeof *size);
    const struct fnn_dropout dropout = {draw(), draw(), 40000};
    struct gathered gathered = {dtype, y};
    const struct fnn_product whole = {.kernels = &fnn_active()->real[dtype], .dtype = dtype, .a = a, .b = b, .bias = {bias, 1}, .relu = 1};
    multiply_plainly(dtype, fused, a, b, bias, 1, plain, size);

    for (int transposed_y = 0; transposed_y < 2; transposed_y++) {
        struct fnn_product half_of_k = whole;
        half_of_k.y = transposed_y ? turned : y;
        half_of_k.a.columns = half_of_k.b.rows = half;
        half_of_k.relu = 0;
        half_of_k.bias.data = NULL;
        run_product(&half_of_k);
        half_of_k.a.data = (char *)a.data + half * a.column_stride * element_bytes;
        half_of_k.b.data = (char *)b.data + half * b.row_stride * element_bytes;
        half_of_k.a.columns = half_of_k.b.rows = k - half;
        half_of_k.relu = half_of_k.accumulate = 1;
        half_of_k.bias.data = bias;
        run_product(&half_of_k);
        if (transposed_y) gather(&gathered, &turned, 0, 0);
        same("product added to y", dtype, n * o, y.data, plain);
        memset(y.data, 0xFF, (size_t)(n * o * element_bytes));
    }

    fnn_dropout(dtype, &batch, &batch, &dropout);
    struct fnn_product parts = whole;
    parts.y = (struct fnn_matrix){NULL, n, o, 0, 0};
    parts.dropout = &dropout;
    parts.dropout_row = ABOVE;
    parts.finish = (struct fnn_finish){gather, &gathered};
    run_product(&parts);
    same("product in parts", dtype, n * o, y.data, plain);

    void *all[] = {a.data, b.data, y.data, turned.data, batch.data, bias, size};
    for (size_t t = 0; t < sizeof all / sizeof *all; t++) free(all[t]);
}

int main(void)
{
    static const ptrdiff_t larger[][3] = {{70, 40, 130}, {5, 1030, 33}, {20, 2100, 17}, {1, 300, 140}, {40, 5, 270}, {1100, 13, 9}};
    fnn_set_threads(3, 2);
    for (int index = 0; fnn_isa_name(index); index++) {
        if (!fnn_isa_usable(index)) continue;
        const char *isa = fnn_isa_name(index);
        comparisons = 0;
        state = 1;
        for (int dtype = 0; dtype < FNN_DTYPES; dtype++) {
            for (ptrdiff_t n = 0; n <= 2 * TAILS; n++) maps(isa, (enum fnn_dtype)dtype, n, n % 2);
            for (ptrdiff_t n = 0; n <= TAILS; n++) dropouts(isa, (enum fnn_dtype)dtype, n % 4, 4 * n);
            dropouts(isa, (enum fnn_dtype)dtype, 3, 1001);
            for (ptrdiff_t c = 1; c <= TAILS; c++) losses(isa, (enum fnn_dtype)dtype, c % 5, c);
            for (ptrdiff_t t = 0; t < 10 * TAILS; t++)
                products(isa, (enum fnn_dtype)dtype, (ptrdiff_t)(draw() % 19), (ptrdiff_t)(draw() % 40), (ptrdiff_t)(draw() % 60));
            for (size_t t = 0; t < sizeof larger / sizeof *larger; t++) {
                products(isa, (enum fnn_dtype)dtype, larger[t][0], larger[t][1], larger[t][2]);
                for (int draws = 0; draws < 4; draws++) product_parts(isa, (enum fnn_dtype)dtype, larger[t][0], larger[t][1], larger[t][2]);
            }
            for (ptrdiff_t n = 1; n <= 3; n++) product_parts(isa, (enum fnn_dtype)dtype, n, 2060, 1030); /* b is far */
            product_parts(isa, (enum fnn_dtype)dtype, 300, 20, 600); /* parts have fewer than all rows, */
            product_parts(isa, (enum fnn_dtype)dtype, 300, 1030, 80); /* unless terms come in several blocks */
        }
        printf("%s: %ld arrays compared, %ld wrong\n", isa, comparisons, failures);
    }
    return failures != 0;
}
