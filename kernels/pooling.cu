// needs: memory.cuh windows.cuh
//
// Largest and mean values of windows, and their gradients, over one to three spatial dims.
//
//   max:  y[o] = max of x[e] over the elements e of window o,  index[o] = the flat spatial place of
//         that element: of equal ones the first, of NaNs the last; a window of nothing but padding
//         gives -inf.
//         dx[e] = sum of g[o] over the windows o that cover e and have index[o] = e
//   mean: y[o] = sum of x[e] over window o / count(o)
//         dx[e] = sum of g[o] / count(o) over the windows o that cover e
//   count(o) is the divisor that was given, or else how many elements the window holds, padding
//   included or not.
//
// A thread per element of what is written, which gathers what it needs: nothing is added in another
// thread's place, so there are no atomics, and windows are added in ascending order.  Threads follow
// memory, in either layout; with channels last a thread takes V channels by one access (16 bytes).
// 16-bit floats are computed in float32 and rounded once.
//
// Bytes: max reads x once (windows that overlap meet in the cache) and writes y and 8 bytes of index
// per window; its gradient reads g and index once, and writes dx.  That is the minimum for an int64
// index.  The means read one side and write the other.
//
// Array code to agree with: gpugrad/backends/additions/pooling.py.  Not measured yet on a GPU.

template <typename T> using gg_number = decltype(gg_value(T()));

template <typename T, typename I, int V>
GG_DEVICE void gg_max_pool(const T* __restrict__ x, T* __restrict__ best,
                           long long* __restrict__ index, I threads, const GGWindows<I>& w) {
    using S = gg_number<T>;
    const I first = gg_thread<I>();
    if (first >= threads) return;
    I t = first;
    const I i = gg_digit(t, w.inner / V) * V;
    const GGSpan<I> s2 = gg_met(w, 2, gg_digit(t, w.out[2]));
    const GGSpan<I> s1 = gg_met(w, 1, gg_digit(t, w.out[1]));
    const GGSpan<I> s0 = gg_met(w, 0, gg_digit(t, w.out[0]));
    const T* image = x + t * w.size[0] * w.size[1] * w.size[2] * w.inner + i;
    S most[V];
    I place[V];
    #pragma unroll
    for (int v = 0; v < V; ++v) {
        most[v] = -(S)__uint_as_float(0x7f800000u);
        place[v] = (s0.x * w.size[1] + s1.x) * w.size[2] + s2.x;
    }
    I x0 = s0.x;
    for (I k0 = s0.begin; k0 < s0.end; ++k0, x0 += w.dilation[0]) {
        I x1 = s1.x;
        for (I k1 = s1.begin; k1 < s1.end; ++k1, x1 += w.dilation[1]) {
            I at = (x0 * w.size[1] + x1) * w.size[2] + s2.x;
            for (I k2 = s2.begin; k2 < s2.end; ++k2, at += w.dilation[2]) {
                const GGPack<T, V> read = gg_read<V>(image + at * w.inner);
                #pragma unroll
                for (int v = 0; v < V; ++v) {
                    const S value = gg_value(read.v[v]);
                    const bool better = value > most[v] || value != value;
                    most[v] = better ? value : most[v];
                    place[v] = better ? at : place[v];
                }
            }
        }
    }
    GGPack<T, V> values;
    GGPack<long long, V> places;
    #pragma unroll
    for (int v = 0; v < V; ++v) {
        gg_put(values.v[v], most[v]);
        places.v[v] = place[v];
    }
    gg_write(best + first * V, values);
    gg_write(index + first * V, places);
}

template <typename T, typename I, int V>
GG_DEVICE void gg_max_pool_grad(const T* __restrict__ g, const long long* __restrict__ index,
                                T* __restrict__ dx, I threads, const GGWindows<I>& w) {
    using S = gg_number<T>;
    const I first = gg_thread<I>();
    if (first >= threads) return;
    I t = first;
    const I i = gg_digit(t, w.inner / V) * V;
    const I x2 = gg_digit(t, w.size[2]), x1 = gg_digit(t, w.size[1]), x0 = gg_digit(t, w.size[0]);
    const GGSpan<I> s2 = gg_covering(w, 2, x2), s1 = gg_covering(w, 1, x1);
    const GGSpan<I> s0 = gg_covering(w, 0, x0);
    const I mine = (x0 * w.size[1] + x1) * w.size[2] + x2;
    const I image = t * w.out[0] * w.out[1] * w.out[2];
    S sum[V] = {};
    for (I o0 = s0.begin; o0 < s0.end; ++o0) {
        for (I o1 = s1.begin; o1 < s1.end; ++o1) {
            const I row = image + (o0 * w.out[1] + o1) * w.out[2];
            for (I o2 = s2.begin; o2 < s2.end; ++o2) {
                const I at = (row + o2) * w.inner + i;
                const GGPack<long long, V> places = gg_read<V>(index + at);
                const GGPack<T, V> read = gg_read<V>(g + at);
                #pragma unroll
                for (int v = 0; v < V; ++v)
                    if (places.v[v] == mine) sum[v] += gg_value(read.v[v]);
            }
        }
    }
    GGPack<T, V> sums;
    #pragma unroll
    for (int v = 0; v < V; ++v) gg_put(sums.v[v], sum[v]);
    gg_write(dx + first * V, sums);
}

// How many elements window o holds along dim d; with `include` padding counts on both sides as far
// as the first of the two paddings reaches.
template <typename I> GG_DEVICE I gg_count(const GGWindows<I>& w, int d, I o, int include) {
    const I start = o * w.stride[d] - w.before[d], reach = include ? w.before[d] : 0;
    return gg_smaller(start + w.kernel[d], w.size[d] + reach) - gg_larger(start, -reach);
}

// divisor: what sums are divided by, or 0 to count each window's elements.
template <typename T, typename I, int V>
GG_DEVICE void gg_avg_pool(const T* __restrict__ x, T* __restrict__ y, double divisor, int include,
                           I threads, const GGWindows<I>& w) {
    using S = gg_number<T>;
    const I first = gg_thread<I>();
    if (first >= threads) return;
    I t = first;
    const I i = gg_digit(t, w.inner / V) * V;
    const I o2 = gg_digit(t, w.out[2]), o1 = gg_digit(t, w.out[1]), o0 = gg_digit(t, w.out[0]);
    const GGSpan<I> s2 = gg_met(w, 2, o2), s1 = gg_met(w, 1, o1), s0 = gg_met(w, 0, o0);
    const T* image = x + t * w.size[0] * w.size[1] * w.size[2] * w.inner + i;
    S sum[V] = {};
    for (I k0 = s0.begin; k0 < s0.end; ++k0) {
        for (I k1 = s1.begin; k1 < s1.end; ++k1) {
            const I x0 = s0.x + k0 - s0.begin, x1 = s1.x + k1 - s1.begin;
            I at = (x0 * w.size[1] + x1) * w.size[2] + s2.x;
            for (I k2 = s2.begin; k2 < s2.end; ++k2, ++at) {
                const GGPack<T, V> read = gg_read<V>(image + at * w.inner);
                #pragma unroll
                for (int v = 0; v < V; ++v) sum[v] += gg_value(read.v[v]);
            }
        }
    }
    const S by = divisor != 0 ? (S)divisor
        : (S)gg_count(w, 0, o0, include) * (S)gg_count(w, 1, o1, include)
            * (S)gg_count(w, 2, o2, include);
    GGPack<T, V> means;
    #pragma unroll
    for (int v = 0; v < V; ++v) gg_put(means.v[v], sum[v] / by);
    gg_write(y + first * V, means);
}

template <typename T, typename I, int V>
GG_DEVICE void gg_avg_pool_grad(const T* __restrict__ g, T* __restrict__ dx, double divisor,
                                int include, I threads, const GGWindows<I>& w) {
    using S = gg_number<T>;
    const I first = gg_thread<I>();
    if (first >= threads) return;
    I t = first;
    const I i = gg_digit(t, w.inner / V) * V;
    const GGSpan<I> s2 = gg_covering(w, 2, gg_digit(t, w.size[2]));
    const GGSpan<I> s1 = gg_covering(w, 1, gg_digit(t, w.size[1]));
    const GGSpan<I> s0 = gg_covering(w, 0, gg_digit(t, w.size[0]));
    const I image = t * w.out[0] * w.out[1] * w.out[2];
    S sum[V] = {};
    for (I o0 = s0.begin; o0 < s0.end; ++o0) {
        const S c0 = divisor != 0 ? (S)divisor : (S)gg_count(w, 0, o0, include);
        for (I o1 = s1.begin; o1 < s1.end; ++o1) {
            const S c1 = divisor != 0 ? c0 : c0 * (S)gg_count(w, 1, o1, include);
            const I row = image + (o0 * w.out[1] + o1) * w.out[2];
            for (I o2 = s2.begin; o2 < s2.end; ++o2) {
                const S by = divisor != 0 ? c0 : c1 * (S)gg_count(w, 2, o2, include);
                const GGPack<T, V> read = gg_read<V>(g + (row + o2) * w.inner + i);
                #pragma unroll
                for (int v = 0; v < V; ++v) sum[v] += gg_value(read.v[v]) / by;
            }
        }
    }
    GGPack<T, V> sums;
    #pragma unroll
    for (int v = 0; v < V; ++v) gg_put(sums.v[v], sum[v]);
    gg_write(dx + first * V, sums);
}

#define GG_POOLING(name, T, I, V)                                                                  \
    extern "C" __global__ void max_pool_##name(const T* x, T* best, long long* index, I threads,   \
                                               GGWindows<I> w) {                                   \
        gg_max_pool<T, I, V>(x, best, index, threads, w);                                          \
    }                                                                                              \
    extern "C" __global__ void max_pool_grad_##name(const T* g, const long long* index, T* dx,     \
                                                    I threads, GGWindows<I> w) {                   \
        gg_max_pool_grad<T, I, V>(g, index, dx, threads, w);                                       \
    }                                                                                              \
    extern "C" __global__ void avg_pool_##name(const T* x, T* y, double divisor, int include,      \
                                               I threads, GGWindows<I> w) {                        \
        gg_avg_pool<T, I, V>(x, y, divisor, include, threads, w);                                  \
    }                                                                                              \
    extern "C" __global__ void avg_pool_grad_##name(const T* g, T* dx, double divisor,             \
                                                    int include, I threads, GGWindows<I> w) {      \
        gg_avg_pool_grad<T, I, V>(g, dx, divisor, include, threads, w);                            \
    }

// The name ends in the bits of an element's number and the elements that a thread takes.
GG_POOLING(float32_32_1, float, int, 1)
GG_POOLING(float32_32_4, float, int, 4)
GG_POOLING(float32_64_1, float, long long, 1)
GG_POOLING(float64_32_1, double, int, 1)
GG_POOLING(float64_64_1, double, long long, 1)
GG_POOLING(float16_32_1, gg_half, int, 1)
GG_POOLING(float16_32_8, gg_half, int, 8)
GG_POOLING(float16_64_1, gg_half, long long, 1)
GG_POOLING(bfloat16_32_1, gg_bf16, int, 1)
GG_POOLING(bfloat16_32_8, gg_bf16, int, 8)
GG_POOLING(bfloat16_64_1, gg_bf16, long long, 1)
