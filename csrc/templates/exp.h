/* exp of an argument up to 0, expm1 of one from 0 on, and log of one from 1 on, as straight-line code that the compiler turns into vector
 * code.
 *
 * x = n ln2 + r with |r| <= ln2 / 2 and n integer; ln2 in two parts so that n * (first part) is exact. exp(r) - 1 is its Taylor series,
 * cut where the next term is below a tenth of an ulp. No operation is fused, so every instruction set gives the same bits. */

#if FNN_IS_F32
#define EXP_LOW (-0x1.5d589ep+6f) /* log of the smallest normal number, rounded towards 0 */
#define EXP_LOG2E 0x1.715476p+0f
#define EXP_LN2_HIGH 0x1.62e4p-1f
#define EXP_LN2_LOW 0x1.7f7d1cp-20f
#define EXP_ROUND 0x1.8p23f /* adding it leaves the nearest integer in the low bits */
#define EXP_MANTISSA 23
#define EXP_BIAS 127
#define EXP_WORD uint32_t
#else
#define EXP_LOW (-0x1.6232bdd7abcd2p+9)
#define EXP_LOG2E 0x1.71547652b82fep+0
#define EXP_LN2_HIGH 0x1.62e42fefa3p-1
#define EXP_LN2_LOW 0x1.3de6af278ece6p-42
#define EXP_ROUND 0x1.8p52
#define EXP_MANTISSA 52
#define EXP_BIAS 1023
#define EXP_WORD uint64_t
#endif

static inline BITS FN(bits_of)(REAL x)
{
    BITS bits;
    memcpy(&bits, &x, sizeof bits);
    return bits;
}

static inline REAL FN(power_of_two)(BITS n)
{
    EXP_WORD bits = (EXP_WORD)(n + EXP_BIAS) << EXP_MANTISSA; /* n is anything when it comes of NaN: shifted as unsigned */
    REAL x;
    memcpy(&x, &bits, sizeof x);
    return x;
}

/* Returns exp(r) - 1 and n for x within the range of exp. */
static inline REAL FN(exp_parts)(REAL x, BITS *n)
{
    REAL shifted = x * EXP_LOG2E + EXP_ROUND;
    REAL k = shifted - EXP_ROUND;
    *n = FN(bits_of)(shifted) - FN(bits_of)(EXP_ROUND);
    REAL r = (x - k * EXP_LN2_HIGH) - k * EXP_LN2_LOW;
#if FNN_IS_F32
    REAL p = (REAL)(1.0 / 5040);
#else
    REAL p = (REAL)(1.0 / 6227020800);
    p = p * r + (REAL)(1.0 / 479001600);
    p = p * r + (REAL)(1.0 / 39916800);
    p = p * r + (REAL)(1.0 / 3628800);
    p = p * r + (REAL)(1.0 / 362880);
    p = p * r + (REAL)(1.0 / 40320);
    p = p * r + (REAL)(1.0 / 5040);
#endif
    p = p * r + (REAL)(1.0 / 720);
    p = p * r + (REAL)(1.0 / 120);
    p = p * r + (REAL)(1.0 / 24);
    p = p * r + (REAL)(1.0 / 6);
    p = p * r + (REAL)0.5;
    return r + (r * r) * p;
}

/* exp(x) for x <= 0, NaN for NaN; 0 where the result is below the normal range. */
static inline REAL FN(exp)(REAL x)
{
    BITS n;
    const REAL within = x < EXP_LOW ? EXP_LOW : x;
    const REAL y = ((REAL)1 + FN(exp_parts)(within, &n)) * FN(power_of_two)(n);
    return x < EXP_LOW ? (REAL)0 : y;
}

/* exp(x) - 1 for 0 <= x <= 2 * TANH_SATURATED. */
static inline REAL FN(expm1)(REAL x)
{
    BITS n;
    REAL q = FN(exp_parts)(x, &n);
    REAL scale = FN(power_of_two)(n);
    return scale * q + (scale - (REAL)1);
}

/* log(x) for normal x >= 1, NaN for NaN: x = 2^n m with m between about 0.7 and 1.4, log m = 2 atanh(f) with f = (m - 1) / (m + 1), by its
 * series, cut where the next term is below a tenth of an ulp. */
static inline REAL FN(log)(REAL x)
{
    const BITS bits = FN(bits_of)(x), half = FN(bits_of)((REAL)0.70710678118654752);
    const BITS n = (bits - half) >> EXP_MANTISSA, m_bits = bits - (BITS)(n << EXP_MANTISSA);
    REAL m;
    memcpy(&m, &m_bits, sizeof m);
    const REAL f = (m - (REAL)1) / (m + (REAL)1), square = f * f;
#if FNN_IS_F32
    REAL p = (REAL)(1.0 / 9);
#else
    REAL p = (REAL)(1.0 / 21);
    p = p * square + (REAL)(1.0 / 19);
    p = p * square + (REAL)(1.0 / 17);
    p = p * square + (REAL)(1.0 / 15);
    p = p * square + (REAL)(1.0 / 13);
    p = p * square + (REAL)(1.0 / 11);
    p = p * square + (REAL)(1.0 / 9);
#endif
    p = p * square + (REAL)(1.0 / 7);
    p = p * square + (REAL)(1.0 / 5);
    p = p * square + (REAL)(1.0 / 3);
    const REAL k = (REAL)n;
    return (k * EXP_LN2_HIGH + (k * EXP_LN2_LOW + (f + f * (square * p)) * (REAL)2)) + (x - x); /* x - x: NaN stays NaN */
}

#define TANH_SATURATED ((REAL)(FNN_IS_F32 ? 10 : 20)) /* tanh rounds to 1 from about 9.01 and 19.06 on */

static inline REAL FN(tanh_of)(REAL x)
{
    REAL magnitude = FNN_IS_F32 ? (REAL)fabsf((float)x) : (REAL)fabs((double)x);
    magnitude = magnitude > TANH_SATURATED ? TANH_SATURATED : magnitude;
    REAL e = FN(expm1)(magnitude + magnitude);
    REAL y = e / (e + (REAL)2);
    return FNN_IS_F32 ? (REAL)copysignf((float)y, (float)x) : (REAL)copysign((double)y, (double)x);
}

static inline REAL FN(sigmoid_of)(REAL x)
{
    REAL tail = FN(exp)(FNN_IS_F32 ? (REAL)-fabsf((float)x) : (REAL)-fabs((double)x));
    return (x < 0 ? tail : (REAL)1) / ((REAL)1 + tail);
}

#undef EXP_LOW
#undef EXP_LOG2E
#undef EXP_LN2_HIGH
#undef EXP_LN2_LOW
#undef EXP_ROUND
#undef EXP_MANTISSA
#undef EXP_BIAS
#undef EXP_WORD
