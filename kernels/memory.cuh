// How kernels touch memory: 16-bit floats as numbers, several elements per access, sums over threads.
//
// CUDA C++ without headers.  A host compiler reads the same text after the prelude of
// gpugrad.testing.cuda_host, which defines what CUDA has built in.

#define GG_DEVICE static __device__ __forceinline__

// ---- 16-bit floats ----------------------------------------------------------------------------

// Types of their own, so that overloads know how the bits are meant.
struct gg_half { unsigned short bits; };
struct gg_bf16 { unsigned short bits; };

GG_DEVICE float gg_from_half(unsigned short bits) {
#ifdef __CUDA_ARCH__
    float x;
    asm("cvt.f32.f16 %0, %1;" : "=f"(x) : "h"(bits));
    return x;
#else
    _Float16 x;
    __builtin_memcpy(&x, &bits, 2);
    return (float)x;
#endif
}

GG_DEVICE unsigned short gg_to_half(float x) {
    unsigned short bits;
#ifdef __CUDA_ARCH__
    asm("cvt.rn.f16.f32 %0, %1;" : "=h"(bits) : "f"(x));
#else
    const _Float16 narrow = (_Float16)x;
    __builtin_memcpy(&bits, &narrow, 2);
#endif
    return bits;
}

GG_DEVICE float gg_from_bf16(unsigned short bits) {
    return __uint_as_float((unsigned int)bits << 16);
}

GG_DEVICE unsigned short gg_to_bf16(float x) {
#ifdef __CUDA_ARCH__
    unsigned short bits;
    asm("cvt.rn.bf16.f32 %0, %1;" : "=h"(bits) : "f"(x));
    return bits;
#else  // round to nearest, ties to even; a NaN stays one
    const unsigned int bits = __float_as_uint(x);
    if (x != x) return 0x7fff;
    return (unsigned short)((bits + 0x7fff + (bits >> 16 & 1)) >> 16);
#endif
}

// What is in memory as what is computed with, and back.
template <typename T> GG_DEVICE T gg_value(T x) { return x; }
GG_DEVICE float gg_value(gg_half x) { return gg_from_half(x.bits); }
GG_DEVICE float gg_value(gg_bf16 x) { return gg_from_bf16(x.bits); }
template <typename T> GG_DEVICE void gg_put(T& to, T x) { to = x; }
GG_DEVICE void gg_put(gg_half& to, float x) { to.bits = gg_to_half(x); }
GG_DEVICE void gg_put(gg_bf16& to, float x) { to.bits = gg_to_bf16(x); }

// ---- several elements per access --------------------------------------------------------------

// V elements, read and written by as few instructions as their bytes allow (16 bytes each).
template <typename T, int V> struct alignas(sizeof(T) * V < 16 ? sizeof(T) * V : 16) GGPack {
    T v[V];
};

template <int V, typename T> GG_DEVICE GGPack<T, V> gg_read(const T* from) {
    return *reinterpret_cast<const GGPack<T, V>*>(from);
}

template <int V, typename T> GG_DEVICE void gg_write(T* to, const GGPack<T, V>& x) {
    *reinterpret_cast<GGPack<T, V>*>(to) = x;
}

// ---- over the threads of a row ----------------------------------------------------------------

// T threads (a power of two) share a row.  Up to a warp they exchange by shuffles; beyond, each warp
// leaves its part in `slots` (one per warp), which no other reduction of the row may use.  The order
// of additions depends on T alone, and every thread gets the result.
struct gg_add { template <typename S> static __device__ __forceinline__ S of(S a, S b) { return a + b; } };
struct gg_largest {
    template <typename S> static __device__ __forceinline__ S of(S a, S b) {
        return a != a || a > b ? a : b;
    }
};

template <int T, typename How, typename S> GG_DEVICE S gg_over(S x, S* slots) {
    #pragma unroll
    for (int step = (T < 32 ? T : 32) / 2; step > 0; step /= 2)
        x = How::of(x, __shfl_xor_sync(0xffffffffu, x, step));
    if (T > 32) {
        if (threadIdx.x % 32 == 0) slots[threadIdx.x / 32] = x;
        __syncthreads();
        x = slots[threadIdx.x % (T / 32)];
        #pragma unroll
        for (int step = T / 64; step > 0; step /= 2)
            x = How::of(x, __shfl_xor_sync(0xffffffffu, x, step));
    }
    return x;
}
