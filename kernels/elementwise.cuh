// What the spellings of elementwise leaves call: functions that neither C's operators nor its maths
// library have, or define otherwise than the array code does.
//
// CUDA C++ without headers, which NVRTC compiles as it is.  A host compiler reads the same text
// after a prelude that includes <cmath> and empties __device__ (gpugrad.codegen.c.HOST_PRELUDE), so
// tests compare every function with the array code where there is no GPU.
//
// Integer overflow wraps.  Division by an integer zero, which stops the array code, gives 0 here.
// Special functions compute in double whatever the argument: they are rare, and their series need
// the digits.  Formulas are those of NIST's Digital Library of Mathematical Functions (DLMF).

#define GG_INF (1e308 * 1e308)
#define GG_NAN (GG_INF - GG_INF)
#define GG_FN static __device__ __forceinline__
// Long ones are functions of their own: inlined, they would take seconds to compile.
#define GG_SLOW static __device__ __noinline__

// ---- extremes ---------------------------------------------------------------------------------

template <typename T> GG_FN T gg_maximum(T a, T b) { return a != a || a > b ? a : b; }
template <typename T> GG_FN T gg_minimum(T a, T b) { return a != a || a < b ? a : b; }

// ---- integers ---------------------------------------------------------------------------------

// 1: b divides as it is; 0: by zero; -1: by minus one, where the least integer's quotient traps.
template <typename T> GG_FN int gg_divisor(T b) { return b == 0 ? 0 : b + 1 == 0 ? -1 : 1; }

template <typename T> GG_FN T gg_trunc_divide(T a, T b) {
    const int kind = gg_divisor(b);
    return kind == 0 ? 0 : kind < 0 ? (T)(0 - a) : (T)(a / b);
}

template <typename T> GG_FN T gg_fmod(T a, T b) { return gg_divisor(b) == 1 ? (T)(a % b) : (T)0; }

template <typename T> GG_FN T gg_remainder(T a, T b) {
    const T r = gg_fmod(a, b);
    return r != 0 && (r < 0) != (b < 0) ? (T)(r + b) : r;
}

template <typename T> GG_FN T gg_floor_divide(T a, T b) {
    const T r = gg_fmod(a, b);
    return (T)(gg_trunc_divide(a, b) - (r != 0 && (r < 0) != (b < 0)));
}

// Products wrap, so they can be taken without a sign.  1 / a**n truncated leaves 1 and -1.
template <typename T> GG_FN T gg_pow(T a, T n) {
    if (n < 0) return a == 1 ? (T)1 : a + 1 == 0 ? (T)(n & 1 ? -1 : 1) : (T)0;
    unsigned long long result = 1, factor = (unsigned long long)a;
    for (; n; n >>= 1, factor *= factor)
        if (n & 1) result *= factor;
    return (T)result;
}

template <typename T> GG_FN T gg_left_shift(T a, T n) {
    return n < 0 || n >= (T)(8 * sizeof(T)) ? (T)0 : (T)((unsigned long long)a << n);
}

template <typename T> GG_FN T gg_right_shift(T a, T n) {
    return n < 0 || n >= (T)(8 * sizeof(T)) ? (T)(a < 0 ? -1 : 0) : (T)(a >> n);
}

template <typename T> GG_FN T gg_size(T a) { return a < 0 ? (T)(0 - a) : a; }

template <typename T> GG_FN T gg_gcd(T a, T b) {
    while (b != 0) {
        const T r = gg_fmod(a, b);
        a = b;
        b = r;
    }
    return gg_size(a);
}

template <typename T> GG_FN T gg_lcm(T a, T b) {
    const T g = gg_gcd(a, b);
    return g == 0 ? (T)0 : (T)(gg_size(a) / g * gg_size(b));
}

// ---- division of floats -----------------------------------------------------------------------

// The quotient of what the exact remainder leaves, so that a == floor_divide * b + remainder holds
// as well as it can; this is Python's definition.
template <typename T> GG_FN T gg_floor_divide_float(T a, T b) {
    if (b == 0) return a / b;
    const T r = fmod(a, b);
    T q = (a - r) / b;
    if (r != 0 && (r < 0) != (b < 0)) q -= 1;
    if (q == 0) return copysign((T)0, a / b);
    const T whole = floor(q);
    return q - whole > (T)0.5 ? whole + 1 : whole;
}

template <typename T> GG_FN T gg_remainder_float(T a, T b) {
    const T r = fmod(a, b);
    return r != 0 && (r < 0) != (b < 0) ? r + b : r;
}

GG_FN float gg_floor_divide(float a, float b) { return gg_floor_divide_float(a, b); }
GG_FN double gg_floor_divide(double a, double b) { return gg_floor_divide_float(a, b); }
GG_FN float gg_remainder(float a, float b) { return gg_remainder_float(a, b); }
GG_FN double gg_remainder(double a, double b) { return gg_remainder_float(a, b); }
GG_FN float gg_trunc_divide(float a, float b) { return truncf(a / b); }
GG_FN double gg_trunc_divide(double a, double b) { return trunc(a / b); }

// ---- error function and normal quantile -------------------------------------------------------

#define GG_SQRT_PI 1.7724538509055160273
#define GG_PI 3.14159265358979323846

// exp(x**2) erfc(x).  Up to 8 as it stands, with the square in two parts so that its rounding does
// not grow; beyond, the asymptotic series of DLMF 7.12.1.
GG_SLOW double gg_erfcx(double x) {
    if (x < -27) return GG_INF;
    if (x >= 8) {
        const double s = -0.5 / (x * x);
        double term = 1, sum = 1;
        for (int k = 1; k < 40; k += 2) sum += term *= k * s;
        return sum / (x * GG_SQRT_PI);
    }
    const double near = rint(16 * x) / 16;
    const double power = exp(near * near) * exp((x - near) * (x + near));
    return power * erfc(x);
}

// For 0 <= tail <= 1/4 the x >= 0 with erfc(x) / 2 == tail.  Newton's method on the logarithms,
// which are nearly a parabola, from Abramowitz and Stegun 26.2.23 (error 5e-4).
GG_SLOW double gg_tail(double tail) {
    if (tail <= 0) return tail == 0 ? GG_INF : GG_NAN;
    const double target = log(2 * tail), t = sqrt(-2 * log(tail));
    double x = t - (2.515517 + t * (0.802853 + t * 0.010328)) /
                       (1 + t * (1.432788 + t * (0.189269 + t * 0.001308)));
    x *= 0.70710678118654752440;
    for (int k = 0; k < 3; ++k) {
        const double scaled = gg_erfcx(x);
        x += (log(scaled) - x * x - target) * (0.5 * GG_SQRT_PI) * scaled;
    }
    return x;
}

GG_SLOW double gg_erfinv(double y) {
    const double size = fabs(y);
    if (!(size < 0.5)) return copysign(gg_tail(0.5 * (1 - size)), y);
    double x = 0.5 * GG_SQRT_PI * y;  // Halley's method from the tangent at 0
    for (int k = 0; k < 4; ++k) {
        const double step = (erf(x) - y) * (0.5 * GG_SQRT_PI) * exp(x * x);
        x -= step / (1 + x * step);
    }
    return x;
}

GG_SLOW double gg_ndtri(double p) {
    if (p < 0.25) return -1.41421356237309504880 * gg_tail(p);
    if (p > 0.75) return 1.41421356237309504880 * gg_tail(1 - p);
    return 1.41421356237309504880 * gg_erfinv(2 * (p - 0.5));
}

// ---- gamma and zeta ---------------------------------------------------------------------------

// Upwards by recurrence to 10, there the asymptotic series (DLMF 5.11.2); reflection below 0.
GG_SLOW double gg_digamma(double x) {
    if (x == 0) return copysign(GG_INF, -x);
    double y = 0;
    if (x < 0) {
        const double r = x - rint(x);
        if (r == 0 || isinf(x)) return GG_NAN;
        y = -GG_PI / tan(GG_PI * r);
        x = 1 - x;
    }
    for (; x < 10; x += 1) y -= 1 / x;
    const double s = 1 / (x * x);
    const double series =
        s * (1.0 / 12 - s * (1.0 / 120 - s * (1.0 / 252 - s * (1.0 / 240 - s * (1.0 / 132 -
        s * (691.0 / 32760 - s * (1.0 / 12)))))));
    return y + (log(x) - 0.5 / x - series);
}

// Hurwitz zeta for s > 1, q >= 0: the Euler-Maclaurin formula (DLMF 25.11.28) after ten terms.
GG_SLOW double gg_zeta_positive(double s, double q) {
    double y = 0;
    for (int k = 0; k < 10; ++k) y += pow(q + k, -s);
    const double a = q + 10, power = pow(a, -s);
    y += pow(a, 1 - s) / (s - 1) + 0.5 * power;
    double term = power * s / a, rest = 0;
    const double bernoulli[9] = {1.0 / 12, -1.0 / 720, 1.0 / 30240, -1.0 / 1209600, 1.0 / 47900160,
                                 -691.0 / 1307674368000.0, 1.0 / 74724249600.0,
                                 -3617.0 / 10670622842880000.0, 43867.0 / 5109094217170944000.0};
    for (int j = 0; j < 9; ++j) {
        rest += bernoulli[j] * term;
        term *= (s + (2 * j + 1)) * (s + (2 * j + 2)) / (a * a);
    }
    return isfinite(rest) && power > 0 ? y + rest : y;
}

GG_SLOW double gg_zeta(double s, double q) {
    if (q != q || s != s || s < 1) return GG_NAN;
    if (s == 1 || (q <= 0 && q == floor(q))) return GG_INF;
    if (q > 0) return gg_zeta_positive(s, q);
    if (s != floor(s)) return GG_NAN;
    const double f = q - floor(q);  // the terms q ... f - 1 are those of 1 - f ... -q, mirrored
    const double before = gg_zeta_positive(s, 1 - f) - gg_zeta_positive(s, 1 - q);
    return gg_zeta_positive(s, f) + (floor(0.5 * s) != 0.5 * s ? -before : before);
}

// ---- modified Bessel functions ----------------------------------------------------------------

// I_n(x) for x >= 0, n 0 or 1, times exp(-x) if scaled: the power series (DLMF 10.25.2) up to 25,
// the asymptotic one (DLMF 10.40.1) beyond.
GG_SLOW double gg_bessel(int n, double x, bool scaled) {
    if (x != x) return x;
    if (isinf(x)) return scaled ? 0 : GG_INF;
    double term = n ? 0.5 * x : 1, sum = term;
    if (x <= 25) {
        const double s = 0.25 * x * x;
        for (int k = 1; term > 1e-18 * sum; ++k) sum += term *= s / ((double)k * (k + n));
        return scaled ? sum * exp(-x) : sum;
    }
    term = sum = 1;
    for (int k = 1; k < 40; ++k)
        sum += term *= ((2 * k - 1.0) * (2 * k - 1.0) - 4 * n * n) / (8 * x * k);
    sum /= sqrt(2 * GG_PI * x);
    return scaled ? sum : sum * exp(0.5 * x) * exp(0.5 * x);
}

GG_SLOW double gg_i0(double x) { return gg_bessel(0, fabs(x), false); }
GG_SLOW double gg_i0e(double x) { return gg_bessel(0, fabs(x), true); }
GG_SLOW double gg_i1(double x) { return copysign(gg_bessel(1, fabs(x), false), x); }
GG_SLOW double gg_i1e(double x) { return copysign(gg_bessel(1, fabs(x), true), x); }
