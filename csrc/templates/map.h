/* Elementwise kernels: activations and optimizer updates. Arrays and scalars in the order of enum fnn_map in fastnn.h.
 *
 * The rounding points are those of reference.py: each operation rounds once, in REAL, in the order written. */

#define MAP(name) static void FN(name)(ptrdiff_t n, void *const *arrays, const double *scalars)
#define IN(index, name) const REAL *name = (const REAL *)arrays[index]
#define OUT(index, name) REAL *name = (REAL *)arrays[index]
#define SCALAR(index, name) const REAL name = (REAL)scalars[index]

static inline REAL FN(square_root)(REAL x) { return FNN_IS_F32 ? (REAL)sqrtf((float)x) : (REAL)sqrt((double)x); }

MAP(relu_forward)
{
    (void)scalars;
    IN(0, x);
    OUT(1, out);
    FNN_INDEPENDENT
    for (ptrdiff_t t = 0; t < n; t++) out[t] = x[t] <= 0 ? (REAL)0 : x[t];
}

MAP(relu_backward)
{
    (void)scalars;
    IN(0, dy);
    IN(1, y);
    OUT(2, out);
    FNN_INDEPENDENT
    for (ptrdiff_t t = 0; t < n; t++) out[t] = y[t] <= 0 ? (REAL)0 : dy[t];
}

MAP(leaky_forward)
{
    IN(0, x);
    OUT(1, out);
    SCALAR(0, slope);
    FNN_INDEPENDENT
    for (ptrdiff_t t = 0; t < n; t++) {
        REAL low = slope * x[t];
        out[t] = x[t] <= 0 ? low : x[t];
    }
}

MAP(leaky_backward)
{
    IN(0, dy);
    IN(1, y);
    OUT(2, out);
    SCALAR(0, slope);
    FNN_INDEPENDENT
    for (ptrdiff_t t = 0; t < n; t++) {
        REAL low = slope * dy[t];
        out[t] = y[t] <= 0 ? low : dy[t];
    }
}

MAP(tanh_forward)
{
    (void)scalars;
    IN(0, x);
    OUT(1, out);
    FNN_INDEPENDENT
    for (ptrdiff_t t = 0; t < n; t++) out[t] = FN(tanh_of)(x[t]);
}

MAP(tanh_backward)
{
    (void)scalars;
    IN(0, dy);
    IN(1, y);
    OUT(2, out);
    FNN_INDEPENDENT
    for (ptrdiff_t t = 0; t < n; t++) out[t] = dy[t] * ((REAL)1 - y[t] * y[t]);
}

MAP(sigmoid_forward)
{
    (void)scalars;
    IN(0, x);
    OUT(1, out);
    FNN_INDEPENDENT
    for (ptrdiff_t t = 0; t < n; t++) out[t] = FN(sigmoid_of)(x[t]);
}

MAP(sigmoid_backward)
{
    (void)scalars;
    IN(0, dy);
    IN(1, y);
    OUT(2, out);
    FNN_INDEPENDENT
    for (ptrdiff_t t = 0; t < n; t++) out[t] = dy[t] * (y[t] * ((REAL)1 - y[t]));
}

/* The gradient an update sees. What is 0 is left out rather than added: 0 * inf would be NaN. */
static inline REAL FN(decayed)(REAL param, REAL grad, REAL weight_decay, REAL l1)
{
    REAL g = weight_decay != 0 ? grad + weight_decay * param : grad;
    REAL pull = param > 0 ? l1 : param < 0 ? -l1 : param == 0 ? (REAL)0 : param;
    return l1 != 0 ? g + pull : g;
}

MAP(sgd)
{
    OUT(0, param);
    IN(1, grad);
    SCALAR(0, weight_decay);
    SCALAR(1, l1);
    SCALAR(2, rate);
    FNN_INDEPENDENT
    for (ptrdiff_t t = 0; t < n; t++) param[t] -= rate * FN(decayed)(param[t], grad[t], weight_decay, l1);
}

MAP(momentum)
{
    OUT(0, param);
    IN(1, grad);
    OUT(2, velocity);
    SCALAR(0, weight_decay);
    SCALAR(1, l1);
    SCALAR(2, rate);
    SCALAR(3, momentum);
    FNN_INDEPENDENT
    for (ptrdiff_t t = 0; t < n; t++) {
        REAL moved = momentum * velocity[t] - rate * FN(decayed)(param[t], grad[t], weight_decay, l1);
        velocity[t] = moved;
        param[t] += moved;
    }
}

MAP(nesterov)
{
    OUT(0, param);
    IN(1, grad);
    OUT(2, velocity);
    SCALAR(0, weight_decay);
    SCALAR(1, l1);
    SCALAR(2, rate);
    SCALAR(3, momentum);
    FNN_INDEPENDENT
    for (ptrdiff_t t = 0; t < n; t++) {
        REAL step = rate * FN(decayed)(param[t], grad[t], weight_decay, l1);
        REAL moved = momentum * velocity[t] - step;
        velocity[t] = moved;
        param[t] += momentum * moved - step;
    }
}

MAP(adagrad)
{
    OUT(0, param);
    IN(1, grad);
    OUT(2, cache);
    SCALAR(0, weight_decay);
    SCALAR(1, l1);
    SCALAR(2, rate);
    SCALAR(3, eps);
    FNN_INDEPENDENT
    for (ptrdiff_t t = 0; t < n; t++) {
        REAL g = FN(decayed)(param[t], grad[t], weight_decay, l1);
        REAL sum = cache[t] + g * g;
        cache[t] = sum;
        param[t] -= (rate * g) / (FN(square_root)(sum) + eps);
    }
}

MAP(rmsprop)
{
    OUT(0, param);
    IN(1, grad);
    OUT(2, cache);
    SCALAR(0, weight_decay);
    SCALAR(1, l1);
    SCALAR(2, rate);
    SCALAR(3, eps);
    SCALAR(4, decay_rate);
    SCALAR(5, rest);
    FNN_INDEPENDENT
    for (ptrdiff_t t = 0; t < n; t++) {
        REAL g = FN(decayed)(param[t], grad[t], weight_decay, l1);
        REAL mean = decay_rate * cache[t] + rest * (g * g);
        cache[t] = mean;
        param[t] -= (rate * g) / (FN(square_root)(mean) + eps);
    }
}

MAP(adam)
{
    OUT(0, param);
    IN(1, grad);
    OUT(2, m);
    OUT(3, v);
    SCALAR(0, weight_decay);
    SCALAR(1, l1);
    SCALAR(2, rate);
    SCALAR(3, eps);
    SCALAR(4, beta1);
    SCALAR(5, rest1);
    SCALAR(6, beta2);
    SCALAR(7, rest2);
    SCALAR(8, shrink);
    FNN_INDEPENDENT
    for (ptrdiff_t t = 0; t < n; t++) {
        REAL p = param[t] * shrink;
        REAL g = FN(decayed)(p, grad[t], weight_decay, l1);
        REAL mean = beta1 * m[t] + rest1 * g;
        REAL square = beta2 * v[t] + rest2 * (g * g);
        m[t] = mean;
        v[t] = square;
        param[t] = p - (rate * mean) / (FN(square_root)(square) + eps);
    }
}

MAP(clip)
{
    IN(0, x);
    OUT(1, out);
    SCALAR(0, factor);
    SCALAR(1, limit);
    FNN_INDEPENDENT
    for (ptrdiff_t t = 0; t < n; t++) {
        REAL value = x[t] * factor;
        value = value < -limit ? -limit : value;
        out[t] = value > limit ? limit : value;
    }
}

MAP(average)
{
    IN(0, param);
    OUT(1, average);
    SCALAR(0, rest);
    FNN_INDEPENDENT
    for (ptrdiff_t t = 0; t < n; t++) {
        REAL way = param[t] - average[t];
        average[t] += rest * way;
    }
}

#undef MAP
#undef IN
#undef OUT
#undef SCALAR
