// needs: memory.cuh
//
// Normalisation over channels of images: batch norm, and instance norm with the channels of all
// examples as channels of one.
//
//   forward    mean, var = moments of x per channel;  y = (x - mean) * weight / sqrt(var + eps) + bias
//              (+ residual, then relu, where asked)
//   backward   total = sum of g, product = sum of g * (x - mean);  i = 1 / sqrt(var + eps), a = weight * i
//              dx = g * a + share * ((x - mean) * (2 g_var - a i i product) + g_mean - a total)
//              dweight = i * product,  dbias = total
//              share is 1 / n, or 0 where mean and var were given and not measured
//
// Two kernels each way: the first leaves a part per block, the second joins the parts of its channels
// (each block again, in one order) before its own pass.  So there are no atomics and no third launch,
// and the same call gives the same bits.
//
// x lies as planes (outer, channels, inner) or as columns (rows, channels), and so does what is
// written.  A block has one channel of planes, all threads side by side in it; or 32 V channels of
// columns, 8 rows at a time.  A thread moves V elements at once: 16 bytes, of columns at most 4, as it
// keeps what it found for each.  The grid's y is how many blocks share a channel; it depends on the
// shape alone.
//
// Moments are Welford's, of x - x[first element of the channel]: parts of up to V elements by their
// own mean, joined as in Chan, Golub, LeVeque 1979.  16-bit floats are computed in float32 and rounded
// once.
//
// Bytes per element: forward 2 reads and 1 write, backward 4 reads and 1 write (3 where x is not needed
// the second time).  The moments of a tensor that fits in L2 (50 MB on an H100) are read twice from
// there.  Not measured on a GPU yet.
//
// Array code to agree with: gpugrad/backends/additions/channels.py.

template <typename T> using GGNumber = decltype(gg_value(T()));
#define GG_THREADS 256

GG_DEVICE float gg_root(float x) { return sqrtf(x); }
GG_DEVICE double gg_root(double x) { return sqrt(x); }

// Planes (outer, channels, inner), or columns (outer, channels) with inner 1.
template <typename I> struct GGPlaces { I outer, channels, inner; };

// ---- what is joined over threads and blocks ----------------------------------------------------

template <typename S> struct GGMoments { S count, mean, rest; };
template <typename S> struct GGSums { S total, product; };

template <typename S> GG_DEVICE GGMoments<S> gg_join(const GGMoments<S>& a, const GGMoments<S>& b) {
    const S count = a.count + b.count;
    if (count == 0) return a;
    const S apart = b.mean - a.mean, part = b.count / count;
    return {count, a.mean + apart * part, a.rest + b.rest + apart * apart * a.count * part};
}

template <typename S> GG_DEVICE GGSums<S> gg_join(const GGSums<S>& a, const GGSums<S>& b) {
    return {a.total + b.total, a.product + b.product};
}

// ---- which elements a thread has ---------------------------------------------------------------

// Thread (lane, across) of a block; places lane, lane + step, ... of its W channels from `channel` on.
template <typename I, int V, bool COLUMNS> struct GGWalk {
    static constexpr int W = COLUMNS ? V : 1, LANES = COLUMNS ? 8 : GG_THREADS;
    static constexpr int ACROSS = GG_THREADS / LANES;
    const GGPlaces<I> places;
    I channel, left, row, at, rows, ats;
    int lane;

    __device__ __forceinline__ GGWalk(const GGPlaces<I>& p) : places(p) {
        lane = threadIdx.x / ACROSS;
        channel = COLUMNS ? ((I)blockIdx.x * ACROSS + threadIdx.x % ACROSS) * V : (I)blockIdx.x;
        const I each = COLUMNS ? 1 : places.inner / V, whole = places.outer * each;
        const I first = (I)blockIdx.y * LANES + lane, step = (I)gridDim.y * LANES;
        left = inside() && first < whole ? (whole - first + step - 1) / step : 0;
        row = first / each, at = first % each, rows = step / each, ats = step % each;
    }
    __device__ __forceinline__ bool inside() const { return channel < places.channels; }
    __device__ __forceinline__ I offset() const {
        return (row * places.channels + channel) * places.inner + (COLUMNS ? 0 : at * V);
    }
    __device__ __forceinline__ void next() {
        row += rows;
        if (!COLUMNS) {
            at += ats;
            const I each = places.inner / V;
            if (at >= each) at -= each, ++row;
        }
        --left;
    }
    // What the lanes of a channel found, joined in one order; every thread gets its channels'.
    template <typename A> __device__ __forceinline__ void over_lanes(A (&a)[W], A* slots) const {
        #pragma unroll
        for (int w = 0; w < W; ++w) slots[w * GG_THREADS + threadIdx.x] = a[w];
        for (int half = LANES / 2; half > 0; half /= 2) {
            __syncthreads();
            if (lane < half) {
                #pragma unroll
                for (int w = 0; w < W; ++w) {
                    A* slot = slots + w * GG_THREADS + threadIdx.x;
                    *slot = gg_join(slot[0], slot[half * ACROSS]);
                }
            }
        }
        __syncthreads();
        #pragma unroll
        for (int w = 0; w < W; ++w) a[w] = slots[w * GG_THREADS + threadIdx.x % ACROSS];
    }
    // The parts of all blocks that share the channels.
    template <typename A> __device__ __forceinline__ void over_parts(A (&a)[W], A* slots, const A* parts,
                                                           int splits) const {
        #pragma unroll
        for (int w = 0; w < W; ++w) {
            a[w] = A();
            for (int p = lane; inside() && p < splits; p += LANES)
                a[w] = gg_join(a[w], parts[(I)p * places.channels + channel + w]);
        }
        over_lanes(a, slots);
    }
    template <typename A> __device__ __forceinline__ void leave(const A (&a)[W], A* parts) const {
        if (lane == 0 && inside()) {
            #pragma unroll
            for (int w = 0; w < W; ++w) parts[(I)blockIdx.y * places.channels + channel + w] = a[w];
        }
    }
    // Whether this thread is to write down what holds for the whole channel.
    __device__ __forceinline__ bool notes() const { return lane == 0 && blockIdx.y == 0 && inside(); }
};

// ---- forward -----------------------------------------------------------------------------------

// The first element of each channel: what moments are taken about.
template <typename T, typename I, int V, bool COLUMNS>
GG_DEVICE void gg_about(const T* x, const GGWalk<I, V, COLUMNS>& walk, GGNumber<T>* about) {
    #pragma unroll
    for (int w = 0; w < walk.W; ++w)
        about[w] = walk.inside() ? gg_value(x[(walk.channel + w) * walk.places.inner]) : 0;
}

template <typename T, typename I, int V, bool COLUMNS>
GG_DEVICE void gg_channel_moments(const T* __restrict__ x, GGMoments<GGNumber<T>>* __restrict__ parts,
                                  const GGPlaces<I>& places) {
    using S = GGNumber<T>;
    GGWalk<I, V, COLUMNS> walk(places);
    constexpr int W = walk.W, E = V / W;
    __shared__ GGMoments<S> slots[W * GG_THREADS];
    S about[W];
    gg_about(x, walk, about);
    GGMoments<S> found[W] = {};
    S packs = 0;
    for (; walk.left > 0; walk.next()) {
        const GGPack<T, V> read = gg_read<V>(x + walk.offset());
        const S share = 1 / (packs + 1);
        #pragma unroll
        for (int w = 0; w < W; ++w) {
            S d[E], middle = 0, rest = 0;
            #pragma unroll
            for (int e = 0; e < E; ++e) middle += d[e] = gg_value(read.v[w + e]) - about[w];
            middle /= E;
            #pragma unroll
            for (int e = 0; e < E; ++e) rest += (d[e] - middle) * (d[e] - middle);
            const S apart = middle - found[w].mean;
            found[w].mean += apart * share;
            found[w].rest += rest + apart * apart * E * packs * share;
        }
        packs += 1;
    }
    #pragma unroll
    for (int w = 0; w < W; ++w) found[w].count = packs * E;
    walk.over_lanes(found, slots);
    walk.leave(found, parts);
}

// With `parts` the moments that these make, which are written to `mean` and `var`; else those there.
template <typename T, typename I, int V, bool COLUMNS>
GG_DEVICE void gg_channel_apply(const T* __restrict__ x, const T* __restrict__ residual,
                                T* __restrict__ y, const GGMoments<GGNumber<T>>* __restrict__ parts,
                                int splits, GGNumber<T>* __restrict__ mean,
                                GGNumber<T>* __restrict__ var, const GGNumber<T>* __restrict__ weight,
                                const GGNumber<T>* __restrict__ bias, double eps, int relu,
                                const GGPlaces<I>& places) {
    using S = GGNumber<T>;
    GGWalk<I, V, COLUMNS> walk(places);
    constexpr int W = walk.W;
    __shared__ GGMoments<S> slots[W * GG_THREADS];
    S centre[W] = {}, scale[W] = {}, shift[W] = {};
    GGMoments<S> found[W] = {};
    if (parts) {
        gg_about(x, walk, centre);
        walk.over_parts(found, slots, parts, splits);
    }
    #pragma unroll
    for (int w = 0; w < W; ++w) {
        if (!walk.inside()) break;
        const I c = walk.channel + w;
        S variance;
        if (parts) {
            centre[w] += found[w].mean, variance = found[w].rest / found[w].count;
            if (walk.notes()) mean[c] = centre[w], var[c] = variance;
        } else {
            centre[w] = mean[c], variance = var[c];
        }
        scale[w] = (weight ? weight[c] : 1) / gg_root(variance + (S)eps);
        shift[w] = bias ? bias[c] : 0;
    }
    for (; walk.left > 0; walk.next()) {
        const I at = walk.offset();
        const GGPack<T, V> read = gg_read<V>(x + at);
        GGPack<T, V> more, result;
        if (residual) more = gg_read<V>(residual + at);
        #pragma unroll
        for (int v = 0; v < V; ++v) {
            const int w = COLUMNS ? v : 0;
            S value = (gg_value(read.v[v]) - centre[w]) * scale[w] + shift[w];
            if (residual) value += gg_value(more.v[v]);
            gg_put(result.v[v], relu && value <= 0 ? (S)0 : value);
        }
        gg_write(y + at, result);
    }
}

// ---- backward ----------------------------------------------------------------------------------

template <typename T, typename I, int V, bool COLUMNS>
GG_DEVICE void gg_channel_sums(const T* __restrict__ g, const T* __restrict__ x,
                               const GGNumber<T>* __restrict__ mean,
                               GGSums<GGNumber<T>>* __restrict__ parts, const GGPlaces<I>& places) {
    using S = GGNumber<T>;
    GGWalk<I, V, COLUMNS> walk(places);
    constexpr int W = walk.W;
    __shared__ GGSums<S> slots[W * GG_THREADS];
    S centre[W];
    #pragma unroll
    for (int w = 0; w < W; ++w) centre[w] = walk.inside() ? mean[walk.channel + w] : 0;
    GGSums<S> found[W] = {};
    for (; walk.left > 0; walk.next()) {
        const I at = walk.offset();
        const GGPack<T, V> gs = gg_read<V>(g + at), xs = gg_read<V>(x + at);
        #pragma unroll
        for (int v = 0; v < V; ++v) {
            const int w = COLUMNS ? v : 0;
            const S value = gg_value(gs.v[v]);
            found[w].total += value;
            found[w].product += value * (gg_value(xs.v[v]) - centre[w]);
        }
    }
    walk.over_lanes(found, slots);
    walk.leave(found, parts);
}

template <typename T, typename I, int V, bool COLUMNS>
GG_DEVICE void gg_channel_gradient(const T* __restrict__ g, const T* __restrict__ x,
                                   T* __restrict__ dx, const GGSums<GGNumber<T>>* __restrict__ parts,
                                   int splits, const GGNumber<T>* __restrict__ mean,
                                   const GGNumber<T>* __restrict__ var,
                                   const GGNumber<T>* __restrict__ weight,
                                   const GGNumber<T>* __restrict__ g_mean,
                                   const GGNumber<T>* __restrict__ g_var,
                                   GGNumber<T>* __restrict__ dweight, GGNumber<T>* __restrict__ dbias,
                                   double eps, double share, const GGPlaces<I>& places) {
    using S = GGNumber<T>;
    GGWalk<I, V, COLUMNS> walk(places);
    constexpr int W = walk.W;
    __shared__ GGSums<S> slots[W * GG_THREADS];
    GGSums<S> found[W];
    walk.over_parts(found, slots, parts, splits);
    S centre[W] = {}, a[W] = {}, b[W] = {}, c[W] = {};
    #pragma unroll
    for (int w = 0; w < W; ++w) {
        if (!walk.inside()) break;
        const I channel = walk.channel + w;
        const S inverse = 1 / gg_root(var[channel] + (S)eps);
        centre[w] = mean[channel];
        a[w] = weight ? weight[channel] * inverse : inverse;
        b[w] = (S)share * ((g_var ? 2 * g_var[channel] : 0) - a[w] * inverse * inverse * found[w].product);
        c[w] = (S)share * ((g_mean ? g_mean[channel] : 0) - a[w] * found[w].total);
        if (walk.notes()) dweight[channel] = found[w].product * inverse, dbias[channel] = found[w].total;
    }
    for (; walk.left > 0; walk.next()) {
        const I at = walk.offset();
        const GGPack<T, V> gs = gg_read<V>(g + at);
        GGPack<T, V> xs = gs, result;
        if (share != 0) xs = gg_read<V>(x + at);
        #pragma unroll
        for (int v = 0; v < V; ++v) {
            const int w = COLUMNS ? v : 0;
            S value = gg_value(gs.v[v]) * a[w];
            if (share != 0) value += (gg_value(xs.v[v]) - centre[w]) * b[w] + c[w];
            gg_put(result.v[v], value);
        }
        gg_write(dx + at, result);
    }
}

// One set of kernels: the caller adds a line for the elements, offsets, layout and accesses it has.
#define GG_CHANNELS(T, I, V, COLUMNS)                                                              \
    extern "C" __global__ void __launch_bounds__(GG_THREADS) channel_moments(                      \
        const T* x, GGMoments<GGNumber<T>>* parts, GGPlaces<I> places) {                           \
        gg_channel_moments<T, I, V, COLUMNS>(x, parts, places);                                    \
    }                                                                                              \
    extern "C" __global__ void __launch_bounds__(GG_THREADS) channel_apply(                        \
        const T* x, const T* residual, T* y, const GGMoments<GGNumber<T>>* parts, int splits,      \
        GGNumber<T>* mean, GGNumber<T>* var, const GGNumber<T>* weight, const GGNumber<T>* bias,   \
        double eps, int relu, GGPlaces<I> places) {                                                \
        gg_channel_apply<T, I, V, COLUMNS>(x, residual, y, parts, splits, mean, var, weight, bias, \
                                           eps, relu, places);                                     \
    }                                                                                              \
    extern "C" __global__ void __launch_bounds__(GG_THREADS) channel_sums(                         \
        const T* g, const T* x, const GGNumber<T>* mean, GGSums<GGNumber<T>>* parts,               \
        GGPlaces<I> places) {                                                                      \
        gg_channel_sums<T, I, V, COLUMNS>(g, x, mean, parts, places);                              \
    }                                                                                              \
    extern "C" __global__ void __launch_bounds__(GG_THREADS) channel_gradient(                     \
        const T* g, const T* x, T* dx, const GGSums<GGNumber<T>>* parts, int splits,               \
        const GGNumber<T>* mean, const GGNumber<T>* var, const GGNumber<T>* weight,                \
        const GGNumber<T>* g_mean, const GGNumber<T>* g_var, GGNumber<T>* dweight,                 \
        GGNumber<T>* dbias, double eps, double share, GGPlaces<I> places) {                        \
        gg_channel_gradient<T, I, V, COLUMNS>(g, x, dx, parts, splits, mean, var, weight, g_mean,  \
                                              g_var, dweight, dbias, eps, share, places);          \
    }
