// What CUDA C++ text finds when g++ compiles it for the host: see cuda_host.py.
//
// Only what a kernel without headers can name is here, without any header either, as one costs more
// time than a kernel.  Missing on purpose, so that its use does not compile: additions of floats by
// atomics (their order shows in the bits), __activemask (it has no defined answer).
//
// Rounding: operations that CUDA rounds correctly are so here; functions that it approximates
// (__expf, rsqrtf, __fdividef, ...) are correctly rounded or the C library's.
#pragma once

#define __global__
#define __device__
#define __host__
#define __constant__ static
#define __shared__ static
#define __forceinline__ inline __attribute__((always_inline))
#define __noinline__ __attribute__((noinline))
#define __align__(n) __attribute__((aligned(n)))
#define __launch_bounds__(...)
#define __grid_constant__
#define __builtin_assume(x) ((void)0)
#define GGH_IN static inline

typedef decltype(sizeof 0) size_t;

// ---- what the scheduler (cuda_host.cpp) offers --------------------------------------------------

struct uint3 { unsigned x, y, z; };
struct dim3 {
    unsigned x, y, z;
    constexpr dim3(unsigned x = 1, unsigned y = 1, unsigned z = 1) : x(x), y(y), z(z) {}
};
extern "C" {
extern uint3 threadIdx, blockIdx;
extern dim3 blockDim, gridDim;
extern unsigned char gg_host_dynamic[];  // dynamic shared memory
int gg_host_barrier(int kind, int predicate, int line);
unsigned long long gg_host_warp(int kind, unsigned mask, unsigned long long value, int source,
                                int line);
int gg_host_lane();
[[noreturn]] void gg_host_fail(int line, const char* text);
int printf(const char*, ...);
void* memcpy(void*, const void*, size_t);
void* memset(void*, int, size_t);
}
constexpr int warpSize = 32;

namespace gg_host {
enum Barrier { PLAIN, COUNT, AND, OR };
enum Warp {
    SYNC, INDEX, UP, DOWN, XOR, VOTE, MATCH,
    ADD, MIN, MAX, UADD, UMIN, UMAX, BITAND, BITOR, BITXOR,
};

struct Parameter { int size; int kind; };  // kind: p(ointer), f(loat), i(nteger), s(truct)
struct Kernel {
    void (*call)(void**);
    const Parameter* parameters;
    int count, most_threads;  // most_threads: by __launch_bounds__
};
template <class T> struct Kind { enum { value = __is_enum(T) ? 'i' : 's' }; };
template <class T> struct Kind<T*> { enum { value = 'p' }; };
#define GGH_KIND(T, K) template <> struct Kind<T> { enum { value = K }; };
GGH_KIND(float, 'f') GGH_KIND(double, 'f') GGH_KIND(bool, 'i') GGH_KIND(char, 'i')
GGH_KIND(signed char, 'i') GGH_KIND(unsigned char, 'i')
GGH_KIND(short, 'i') GGH_KIND(unsigned short, 'i')
GGH_KIND(int, 'i') GGH_KIND(unsigned, 'i') GGH_KIND(long, 'i') GGH_KIND(unsigned long, 'i')
GGH_KIND(long long, 'i') GGH_KIND(unsigned long long, 'i')
#undef GGH_KIND
template <int... I> struct Places {};
template <auto F> struct Entry;
template <class... A, void (*F)(A...)> struct Entry<F> {
    template <int... I> static void at(void** args, Places<I...>) { F(*(A*)args[I]...); }
    static void call(void** args) { at(args, Places<__integer_pack(sizeof...(A))...>()); }
    static constexpr Parameter parameters[] = {{sizeof(A), Kind<A>::value}..., {0, 0}};
    static constexpr Kernel made(int most = 1024) {
        return {call, parameters, (int)sizeof...(A), most};
    }
};

// Values travel between lanes as 64 bits.
template <class T> GGH_IN unsigned long long to_bits(T x) {
    static_assert(sizeof(T) <= 8, "a shuffle takes 4 or 8 bytes");
    unsigned long long bits = 0;
    __builtin_memcpy(&bits, &x, sizeof x);
    return bits;
}
template <class T> GGH_IN T from_bits(unsigned long long bits) {
    T x;
    __builtin_memcpy(&x, &bits, sizeof x);
    return x;
}
template <class To, class From> GGH_IN To same_bits(From x) {
    static_assert(sizeof(To) == sizeof(From), "");
    To y;
    __builtin_memcpy(&y, &x, sizeof x);
    return y;
}
template <class T> GGH_IN T shuffle(int kind, unsigned mask, T x, int source, int width, int line) {
    if (width < 1 || width > 32 || width & (width - 1))
        gg_host_fail(line, "the width of a shuffle is a power of two up to 32");
    // Beyond its part of the warp a lane gets its own value.
    const int lane = gg_host_lane(), first = lane & ~(width - 1), end = first + width;
    int from = first + (source & (width - 1));
    if (kind == UP) from = source < 0 || lane - source < first ? lane : lane - source;
    if (kind == DOWN) from = source < 0 || source >= end - lane ? lane : lane + source;
    if (kind == XOR) from = source < 0 || (lane ^ source) >= end ? lane : lane ^ source;
    return from_bits<T>(gg_host_warp(kind, mask, to_bits(x), from, line));
}
}  // namespace gg_host

// ---- barriers and warps -------------------------------------------------------------------------

#define GGH_LINE int line = __builtin_LINE()
#define GGH_BARRIER(name, kind) \
    GGH_IN int name(int p, GGH_LINE) { return gg_host_barrier(gg_host::kind, p != 0, line); }
GGH_BARRIER(__syncthreads_count, COUNT)
GGH_BARRIER(__syncthreads_and, AND)
GGH_BARRIER(__syncthreads_or, OR)
GGH_IN void __syncthreads(GGH_LINE) { gg_host_barrier(gg_host::PLAIN, 0, line); }
GGH_IN void __syncwarp(unsigned mask = 0xffffffffu, GGH_LINE) {
    gg_host_warp(gg_host::SYNC, mask, 0, 0, line);
}
#define GGH_SHUFFLE(name, kind, By) \
    template <class T> GGH_IN T name(unsigned mask, T x, By by, int width = 32, GGH_LINE) { \
        return gg_host::shuffle(gg_host::kind, mask, x, (int)by, width, line); }
GGH_SHUFFLE(__shfl_sync, INDEX, int)
GGH_SHUFFLE(__shfl_up_sync, UP, unsigned)
GGH_SHUFFLE(__shfl_down_sync, DOWN, unsigned)
GGH_SHUFFLE(__shfl_xor_sync, XOR, int)
GGH_IN unsigned __ballot_sync(unsigned mask, int p, GGH_LINE) {
    return (unsigned)gg_host_warp(gg_host::VOTE, mask, p != 0, 0, line);
}
// The high half of a vote says which lanes took part.
GGH_IN int __any_sync(unsigned mask, int p, GGH_LINE) {
    return (unsigned)gg_host_warp(gg_host::VOTE, mask, p != 0, 0, line) != 0;
}
GGH_IN int __all_sync(unsigned mask, int p, GGH_LINE) {
    const unsigned long long found = gg_host_warp(gg_host::VOTE, mask, p != 0, 0, line);
    return (unsigned)found == (unsigned)(found >> 32);
}
template <class T> GGH_IN unsigned __match_any_sync(unsigned mask, T x, GGH_LINE) {
    return (unsigned)gg_host_warp(gg_host::MATCH, mask, gg_host::to_bits(x), 0, line);
}
#define GGH_REDUCE(name, T, kind) \
    GGH_IN T __reduce_##name##_sync(unsigned mask, T x, GGH_LINE) { \
        return (T)gg_host_warp(gg_host::kind, mask, (unsigned long long)(long long)x, 0, line); }
GGH_REDUCE(add, int, ADD) GGH_REDUCE(min, int, MIN) GGH_REDUCE(max, int, MAX)
GGH_REDUCE(add, unsigned, UADD) GGH_REDUCE(min, unsigned, UMIN) GGH_REDUCE(max, unsigned, UMAX)
GGH_REDUCE(and, unsigned, BITAND) GGH_REDUCE(or, unsigned, BITOR) GGH_REDUCE(xor, unsigned, BITXOR)
#undef GGH_REDUCE
GGH_IN void __threadfence() {}
GGH_IN void __threadfence_block() {}
GGH_IN void __threadfence_system() {}
GGH_IN void __trap(GGH_LINE) { gg_host_fail(line, "__trap"); }
GGH_IN void __nanosleep(unsigned) {}
#define __CUDA_HOST_ASSERT(x) ((x) ? (void)0 : gg_host_fail(__LINE__, "assert(" #x ")"))
#define assert(x) __CUDA_HOST_ASSERT(x)

// ---- memory -------------------------------------------------------------------------------------

#define GGH_LOAD_AS(name) template <class T> GGH_IN T name(const T* p) { return *p; }
GGH_LOAD_AS(__ldg) GGH_LOAD_AS(__ldcg) GGH_LOAD_AS(__ldca)
GGH_LOAD_AS(__ldcs) GGH_LOAD_AS(__ldlu) GGH_LOAD_AS(__ldcv)
#define GGH_STORE_AS(name) template <class T> GGH_IN void name(T* p, T x) { *p = x; }
GGH_STORE_AS(__stwb) GGH_STORE_AS(__stcg) GGH_STORE_AS(__stcs) GGH_STORE_AS(__stwt)

// Threads run one at a time, so these are plain; integers only.
#define GGH_ATOMIC(name, T, next) \
    GGH_IN T name(T* p, T x) { const T old = *p; *p = next; return old; }
#define GGH_ATOMICS(T) \
    GGH_ATOMIC(atomicAdd, T, old + x) GGH_ATOMIC(atomicExch, T, x) \
    GGH_ATOMIC(atomicAnd, T, old & x) GGH_ATOMIC(atomicOr, T, old | x) \
    GGH_ATOMIC(atomicXor, T, old ^ x) GGH_ATOMIC(atomicMin, T, x < old ? x : old) \
    GGH_ATOMIC(atomicMax, T, x > old ? x : old) \
    GGH_IN T atomicCAS(T* p, T is, T x) { const T old = *p; if (old == is) *p = x; return old; }
GGH_ATOMICS(int) GGH_ATOMICS(unsigned) GGH_ATOMICS(unsigned long long)
GGH_ATOMIC(atomicSub, int, old - x) GGH_ATOMIC(atomicSub, unsigned, old - x)
GGH_ATOMIC(atomicMin, long long, x < old ? x : old)
GGH_ATOMIC(atomicMax, long long, x > old ? x : old)
GGH_ATOMIC(atomicInc, unsigned, old >= x ? 0 : old + 1)
GGH_ATOMIC(atomicDec, unsigned, !old || old > x ? x : old - 1)
GGH_ATOMIC(atomicExch, float, x)
float atomicAdd(float*, float) = delete;
double atomicAdd(double*, double) = delete;

// ---- bits ---------------------------------------------------------------------------------------

GGH_IN int __float_as_int(float x) { return gg_host::same_bits<int>(x); }
GGH_IN unsigned __float_as_uint(float x) { return gg_host::same_bits<unsigned>(x); }
GGH_IN float __int_as_float(int x) { return gg_host::same_bits<float>(x); }
GGH_IN float __uint_as_float(unsigned x) { return gg_host::same_bits<float>(x); }
GGH_IN long long __double_as_longlong(double x) { return gg_host::same_bits<long long>(x); }
GGH_IN double __longlong_as_double(long long x) { return gg_host::same_bits<double>(x); }
GGH_IN int __double2hiint(double x) { return (int)(__double_as_longlong(x) >> 32); }
GGH_IN int __double2loint(double x) { return (int)__double_as_longlong(x); }
GGH_IN double __hiloint2double(int hi, int lo) {
    return __longlong_as_double((long long)hi << 32 | (unsigned)lo);
}
GGH_IN int __popc(unsigned x) { return __builtin_popcount(x); }
GGH_IN int __popcll(unsigned long long x) { return __builtin_popcountll(x); }
GGH_IN int __clz(int x) { return x ? __builtin_clz((unsigned)x) : 32; }
GGH_IN int __clzll(long long x) { return x ? __builtin_clzll((unsigned long long)x) : 64; }
GGH_IN int __ffs(int x) { return __builtin_ffs(x); }
GGH_IN int __ffsll(long long x) { return __builtin_ffsll(x); }
GGH_IN unsigned __brev(unsigned x) {
    unsigned y = 0;
    for (int i = 0; i < 32; ++i) y |= (x >> i & 1) << (31 - i);
    return y;
}
GGH_IN unsigned long long __brevll(unsigned long long x) {
    return (unsigned long long)__brev((unsigned)x) << 32 | __brev((unsigned)(x >> 32));
}
GGH_IN int __mul24(int a, int b) { return ((a << 8) >> 8) * ((b << 8) >> 8); }
GGH_IN int __mulhi(int a, int b) { return (int)((long long)a * b >> 32); }
GGH_IN unsigned __umulhi(unsigned a, unsigned b) {
    return (unsigned)((unsigned long long)a * b >> 32);
}
GGH_IN long long __mul64hi(long long a, long long b) { return (long long)((__int128)a * b >> 64); }
GGH_IN unsigned long long __umul64hi(unsigned long long a, unsigned long long b) {
    return (unsigned long long)((unsigned __int128)a * b >> 64);
}
GGH_IN unsigned __funnelshift_l(unsigned lo, unsigned hi, unsigned n) {
    return (unsigned)(((unsigned long long)hi << 32 | lo) << (n & 31) >> 32);
}
GGH_IN unsigned __funnelshift_r(unsigned lo, unsigned hi, unsigned n) {
    return (unsigned)(((unsigned long long)hi << 32 | lo) >> (n & 31));
}
GGH_IN unsigned __byte_perm(unsigned a, unsigned b, unsigned s) {
    const unsigned long long bytes = (unsigned long long)b << 32 | a;
    unsigned y = 0;
    for (int i = 0; i < 4; ++i) {
        const unsigned pick = s >> 4 * i & 15;
        unsigned byte = (unsigned)(bytes >> 8 * (pick & 7)) & 255;
        if (pick & 8) byte = byte & 128 ? 255 : 0;
        y |= byte << 8 * i;
    }
    return y;
}

// ---- maths --------------------------------------------------------------------------------------

#define GGH_MATHS1(name) \
    extern "C" double name(double) noexcept; \
    extern "C" float name##f(float) noexcept; \
    GGH_IN float name(float x) { return name##f(x); }
#define GGH_MATHS2(name) \
    extern "C" double name(double, double) noexcept; \
    extern "C" float name##f(float, float) noexcept; \
    GGH_IN float name(float x, float y) { return name##f(x, y); }
GGH_MATHS1(acos) GGH_MATHS1(acosh) GGH_MATHS1(asin) GGH_MATHS1(asinh) GGH_MATHS1(atan)
GGH_MATHS1(atanh) GGH_MATHS1(cbrt) GGH_MATHS1(ceil) GGH_MATHS1(cos) GGH_MATHS1(cosh)
GGH_MATHS1(erf) GGH_MATHS1(erfc) GGH_MATHS1(exp) GGH_MATHS1(exp2) GGH_MATHS1(expm1)
GGH_MATHS1(fabs) GGH_MATHS1(floor) GGH_MATHS1(j0) GGH_MATHS1(j1) GGH_MATHS1(lgamma)
GGH_MATHS1(log) GGH_MATHS1(log10) GGH_MATHS1(log1p) GGH_MATHS1(log2) GGH_MATHS1(logb)
GGH_MATHS1(nearbyint) GGH_MATHS1(rint) GGH_MATHS1(round) GGH_MATHS1(sin) GGH_MATHS1(sinh)
GGH_MATHS1(sqrt) GGH_MATHS1(tan) GGH_MATHS1(tanh) GGH_MATHS1(tgamma) GGH_MATHS1(trunc)
GGH_MATHS1(y0) GGH_MATHS1(y1)
GGH_MATHS2(atan2) GGH_MATHS2(copysign) GGH_MATHS2(fdim) GGH_MATHS2(fmax) GGH_MATHS2(fmin)
GGH_MATHS2(fmod) GGH_MATHS2(hypot) GGH_MATHS2(nextafter) GGH_MATHS2(pow) GGH_MATHS2(remainder)
#undef GGH_MATHS1
#undef GGH_MATHS2
extern "C" {
double fma(double, double, double) noexcept;
float fmaf(float, float, float) noexcept;
double ldexp(double, int) noexcept;
float ldexpf(float, int) noexcept;
double frexp(double, int*) noexcept;
float frexpf(float, int*) noexcept;
double modf(double, double*) noexcept;
float modff(float, float*) noexcept;
void sincos(double, double*, double*) noexcept;
void sincosf(float, float*, float*) noexcept;
long lrintf(float) noexcept;
long long llrintf(float) noexcept;
long long llrint(double) noexcept;
}
GGH_IN float fma(float a, float b, float c) { return fmaf(a, b, c); }
GGH_IN float ldexp(float x, int n) { return ldexpf(x, n); }
#define GGH_CLASS(name, T) GGH_IN bool name(T x) { return __builtin_##name(x); }
GGH_CLASS(isnan, float) GGH_CLASS(isnan, double) GGH_CLASS(isinf, float) GGH_CLASS(isinf, double)
GGH_CLASS(isfinite, float) GGH_CLASS(isfinite, double)
GGH_CLASS(signbit, float) GGH_CLASS(signbit, double)
#undef GGH_CLASS
GGH_IN float rsqrtf(float x) { return (float)(1 / sqrt((double)x)); }
GGH_IN double rsqrt(double x) { return 1 / sqrt(x); }
GGH_IN float rsqrt(float x) { return rsqrtf(x); }
GGH_IN float rcbrtf(float x) { return (float)(1 / cbrt((double)x)); }
GGH_IN double normcdf(double x) { return 0.5 * erfc(-0.70710678118654752440 * x); }
GGH_IN float normcdff(float x) { return (float)normcdf((double)x); }
GGH_IN float exp10f(float x) { return powf(10, x); }
GGH_IN double exp10(double x) { return pow(10, x); }
GGH_IN float sinpif(float x) { return (float)sin(3.14159265358979323846 * fmod((double)x, 2.0)); }
GGH_IN float cospif(float x) { return (float)cos(3.14159265358979323846 * fmod((double)x, 2.0)); }
GGH_IN float __saturatef(float x) { return x > 0 ? x < 1 ? x : 1 : 0; }
GGH_IN float __expf(float x) { return expf(x); }
GGH_IN float __exp10f(float x) { return exp10f(x); }
GGH_IN float __logf(float x) { return logf(x); }
GGH_IN float __log2f(float x) { return log2f(x); }
GGH_IN float __log10f(float x) { return log10f(x); }
GGH_IN float __sinf(float x) { return sinf(x); }
GGH_IN float __cosf(float x) { return cosf(x); }
GGH_IN float __tanf(float x) { return tanf(x); }
GGH_IN float __powf(float x, float y) { return powf(x, y); }
// "for 2^126 < |y| < 2^128 it delivers 0 (NaN for an infinite x)": CUDA's programming guide.
GGH_IN float __fdividef(float x, float y) {
    const float size = fabsf(y);
    return size > 0x1p126f && size <= 3.402823466e38f ? x * 0.0f : x / y;
}
GGH_IN float __fadd_rn(float a, float b) { return a + b; }
GGH_IN float __fsub_rn(float a, float b) { return a - b; }
GGH_IN float __fmul_rn(float a, float b) { return a * b; }
GGH_IN float __fdiv_rn(float a, float b) { return a / b; }
GGH_IN float __fmaf_rn(float a, float b, float c) { return fmaf(a, b, c); }
GGH_IN float __fsqrt_rn(float a) { return sqrtf(a); }
GGH_IN float __frcp_rn(float a) { return 1 / a; }
GGH_IN float __frsqrt_rn(float a) { return rsqrtf(a); }
GGH_IN double __dadd_rn(double a, double b) { return a + b; }
GGH_IN double __dsub_rn(double a, double b) { return a - b; }
GGH_IN double __dmul_rn(double a, double b) { return a * b; }
GGH_IN double __ddiv_rn(double a, double b) { return a / b; }
GGH_IN double __fma_rn(double a, double b, double c) { return fma(a, b, c); }
GGH_IN double __dsqrt_rn(double a) { return sqrt(a); }
GGH_IN double __drcp_rn(double a) { return 1 / a; }

// Conversions saturate on a GPU; NaN gives 0, and the least number for long long.
namespace gg_host {
template <class T> GGH_IN T clipped(double x, double least, double beyond, T most, T none) {
    return x != x ? none : x >= beyond ? most : x <= least ? (T)least : (T)x;
}
GGH_IN int to_int(double x) { return clipped<int>(x, -0x1p31, 0x1p31, 0x7fffffff, 0); }
GGH_IN unsigned to_uint(double x) { return clipped<unsigned>(x, 0, 0x1p32, 0xffffffffu, 0); }
GGH_IN long long to_ll(double x) {
    constexpr long long most = 0x7fffffffffffffffLL;
    return clipped<long long>(x, -0x1p63, 0x1p63, most, -most - 1);
}
}  // namespace gg_host
#define GGH_ROUNDED(how, by) \
    GGH_IN int __float2int_##how(float x) { return gg_host::to_int(by((double)x)); } \
    GGH_IN unsigned __float2uint_##how(float x) { return gg_host::to_uint(by((double)x)); } \
    GGH_IN long long __float2ll_##how(float x) { return gg_host::to_ll(by((double)x)); } \
    GGH_IN int __double2int_##how(double x) { return gg_host::to_int(by(x)); } \
    GGH_IN unsigned __double2uint_##how(double x) { return gg_host::to_uint(by(x)); } \
    GGH_IN long long __double2ll_##how(double x) { return gg_host::to_ll(by(x)); }
GGH_ROUNDED(rn, rint) GGH_ROUNDED(rz, trunc) GGH_ROUNDED(rd, floor) GGH_ROUNDED(ru, ceil)
#undef GGH_ROUNDED
GGH_IN float __int2float_rn(int x) { return (float)x; }
GGH_IN float __uint2float_rn(unsigned x) { return (float)x; }
GGH_IN float __ll2float_rn(long long x) { return (float)x; }
GGH_IN float __ull2float_rn(unsigned long long x) { return (float)x; }
GGH_IN float __double2float_rn(double x) { return (float)x; }

GGH_IN int abs(int x) { return x < 0 ? 0 - x : x; }
GGH_IN long long abs(long long x) { return x < 0 ? 0 - x : x; }
GGH_IN long long llabs(long long x) { return abs(x); }
GGH_IN float abs(float x) { return fabsf(x); }
GGH_IN double abs(double x) { return fabs(x); }
#define GGH_EXTREMES(R, A, B) \
    GGH_IN R min(A a, B b) { return (R)b < (R)a ? (R)b : (R)a; } \
    GGH_IN R max(A a, B b) { return (R)b > (R)a ? (R)b : (R)a; }
GGH_EXTREMES(int, int, int) GGH_EXTREMES(unsigned, unsigned, unsigned)
GGH_EXTREMES(unsigned, int, unsigned) GGH_EXTREMES(unsigned, unsigned, int)
GGH_EXTREMES(long, long, long) GGH_EXTREMES(unsigned long, unsigned long, unsigned long)
GGH_EXTREMES(unsigned long, long, unsigned long) GGH_EXTREMES(unsigned long, unsigned long, long)
GGH_EXTREMES(long long, long long, long long)
GGH_EXTREMES(unsigned long long, unsigned long long, unsigned long long)
GGH_EXTREMES(unsigned long long, long long, unsigned long long)
GGH_EXTREMES(unsigned long long, unsigned long long, long long)
#undef GGH_EXTREMES
GGH_IN float min(float a, float b) { return fminf(a, b); }
GGH_IN float max(float a, float b) { return fmaxf(a, b); }
GGH_IN double min(double a, double b) { return fmin(a, b); }
GGH_IN double max(double a, double b) { return fmax(a, b); }
GGH_IN double min(float a, double b) { return fmin((double)a, b); }
GGH_IN double max(float a, double b) { return fmax((double)a, b); }
GGH_IN double min(double a, float b) { return fmin(a, (double)b); }
GGH_IN double max(double a, float b) { return fmax(a, (double)b); }

// ---- vectors ------------------------------------------------------------------------------------

#define GGH_VECTORS(name, T, a2, a4) \
    struct name##1 { T x; }; \
    struct __align__(a2) name##2 { T x, y; }; \
    struct __align__(a4) name##4 { T x, y, z, w; }; \
    GGH_IN name##1 make_##name##1(T x) { return {x}; } \
    GGH_IN name##2 make_##name##2(T x, T y) { return {x, y}; } \
    GGH_IN name##4 make_##name##4(T x, T y, T z, T w) { return {x, y, z, w}; }
GGH_VECTORS(char, signed char, 2, 4) GGH_VECTORS(uchar, unsigned char, 2, 4)
GGH_VECTORS(short, short, 4, 8) GGH_VECTORS(ushort, unsigned short, 4, 8)
GGH_VECTORS(int, int, 8, 16) GGH_VECTORS(uint, unsigned, 8, 16)
GGH_VECTORS(longlong, long long, 16, 16) GGH_VECTORS(ulonglong, unsigned long long, 16, 16)
GGH_VECTORS(float, float, 8, 16) GGH_VECTORS(double, double, 16, 16)
#undef GGH_VECTORS
struct int3 { int x, y, z; };
struct float3 { float x, y, z; };
struct double3 { double x, y, z; };
GGH_IN int3 make_int3(int x, int y, int z) { return {x, y, z}; }
GGH_IN uint3 make_uint3(unsigned x, unsigned y, unsigned z) { return {x, y, z}; }
GGH_IN float3 make_float3(float x, float y, float z) { return {x, y, z}; }
GGH_IN double3 make_double3(double x, double y, double z) { return {x, y, z}; }
