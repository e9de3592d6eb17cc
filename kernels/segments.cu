// needs: memory.cuh
//
// Rows combined in the places that an index names, without atomics, and rows and elements taken from
// such places.
//
//   combine:   out[p] = out[p] * v[i1] * v[i2] * ... over all i with place[i] = p, in ascending order
//              of i; * is a sum, a product, the larger or the smaller (a NaN stays)
//   take:      out[o, k, i] = x[o, index[k], i]
//   take_each: out[o, k, i] = x[o, index[o, k, i], i]
//
// With sums, combine is the gradient of both others: embedding, index_add, scatter_reduce.
//
// The list of rows comes sorted by place (a stable radix sort outside), so that equal places are
// neighbours in their original order.  The list is cut into chunks of 32 rows; a thread walks one
// chunk for V columns (16 bytes).  What a chunk holds of a place from beginning to end goes to `out`
// at once.  Its first and its last place may go on in the neighbours, so their sums, kept wide, go to
// a list of two rows per chunk, to which the same is done again (`join`), until one chunk is left.
// So a place hit once and one hit by all cost the same, no host waits for a count, and the order of
// additions depends on the index alone: twice run, the same bits.
//
// Bytes for n rows of w elements into m places: reads n * w and 16 per row of index, reads and writes
// the places that are hit; the lists between add 2/32 of the rows, written and read.  The minimum
// reads the rows and the index and writes the places.  Rows of one column are the weak case: threads
// then read the index 256 bytes apart, and 32 bytes are fetched for each element out of order.  take
// reads and writes each row once.
//
// Array code to agree with: gpugrad/backends/additions/indexing.py.  Not measured yet on a GPU.

#define GG_CHUNK 32  // rows that a thread walks; gpugrad/backends/nvidia/segments.py knows it, too

enum gg_how { GG_SUM, GG_PROD, GG_AMAX, GG_AMIN };

template <typename S> GG_DEVICE S gg_combined(int how, S a, S b) {
    if (how == GG_SUM) return a + b;
    if (how == GG_PROD) return a * b;
    if (how == GG_AMAX) return a != a || a > b ? a : b;
    return a != a || a < b ? a : b;
}
// Sums and products of integers wrap.
GG_DEVICE long long gg_combined(int how, long long a, long long b) {
    typedef unsigned long long bits;
    if (how == GG_SUM) return (long long)((bits)a + (bits)b);
    if (how == GG_PROD) return (long long)((bits)a * (bits)b);
    if (how == GG_AMAX) return a > b ? a : b;
    return a < b ? a : b;
}

// A sum as it is kept in memory.
template <typename T, typename S> GG_DEVICE void gg_keep(T& to, S x) { to = (T)x; }
GG_DEVICE void gg_keep(gg_half& to, float x) { gg_put(to, x); }
GG_DEVICE void gg_keep(gg_bf16& to, float x) { gg_put(to, x); }

// out:    the result, rows of `width` elements T; what it holds is combined as well.
// places: the place of each row of the list, or -1 for a row to step over.
// order:  which row of `values` and `places` each row of the list is, or null for their own order.
// open_*: the list that chunks leave behind: two rows per chunk, empty (-1) or not.
// last:   whether the one chunk is all there is.
template <typename T, typename X, typename S, int V>
GG_DEVICE void gg_combine(T* out, const long long* __restrict__ places,
                          const long long* __restrict__ order, const X* __restrict__ values,
                          long long* __restrict__ open_places, S* __restrict__ open_values,
                          long long n, long long width, int how, int last) {
    const long long t = (long long)blockIdx.x * blockDim.x + threadIdx.x, packs = width / V;
    const long long chunk = t / packs, column = (t - chunk * packs) * V;
    const long long begin = chunk * GG_CHUNK;
    if (begin >= n) return;
    const int count = (int)(n - begin < GG_CHUNK ? n - begin : GG_CHUNK);
    long long place = -1;  // whose rows are being combined, and their sum so far
    S sum[V];
    int ended = 0;  // places whose last row was met

    struct Row { long long place; GGPack<X, V> values; };
    auto read = [&](int i) {
        Row row;
        row.place = -1;
        if (i < count) {
            const long long from = order == nullptr ? begin + i : order[begin + i];
            row.place = places[from];
            if (row.place >= 0) row.values = gg_read<V>(values + from * width + column);
        }
        return row;
    };
    Row next = read(0);
    for (int i = 0; i <= count; ++i) {
        const Row row = next;
        if (i < count) next = read(i + 1);  // on its way while this one is added
        if (row.place < 0 && i < count) continue;
        if (row.place == place && place >= 0) {
            #pragma unroll
            for (int v = 0; v < V; ++v)
                sum[v] = gg_combined(how, sum[v], (S)gg_value(row.values.v[v]));
            continue;
        }
        if (place >= 0) {
            if (!last && (ended == 0 || i == count)) {  // the neighbours may have more of it
                const long long to = 2 * chunk + (ended == 0 ? 0 : 1);
                if (column == 0) open_places[to] = place;
                #pragma unroll
                for (int v = 0; v < V; ++v) open_values[to * width + column + v] = sum[v];
            } else {  // no other thread writes here
                T* to = out + place * width + column;
                GGPack<T, V> kept = gg_read<V>(to);
                #pragma unroll
                for (int v = 0; v < V; ++v)
                    gg_keep(kept.v[v], gg_combined(how, (S)gg_value(kept.v[v]), sum[v]));
                gg_write(to, kept);
            }
            ++ended;
        }
        place = row.place;
        if (place < 0) break;
        #pragma unroll
        for (int v = 0; v < V; ++v) sum[v] = (S)gg_value(row.values.v[v]);
    }
    if (!last && column == 0)
        for (int slot = ended; slot < 2; ++slot) open_places[2 * chunk + slot] = -1;
}

#define GG_COMBINE(name, T, X, S, V)                                                               \
    extern "C" __global__ void name(T* out, const long long* places, const long long* order,       \
                                    const X* values, long long* open_places, S* open_values,       \
                                    long long n, long long width, int how, int last) {             \
        gg_combine<T, X, S, V>(out, places, order, values, open_places, open_values, n, width,     \
                               how, last);                                                         \
    }
// combine takes rows of the result's dtype, by V columns; join takes what combine left.
#define GG_SEGMENTS(name, T, S)                                                                    \
    GG_COMBINE(combine_##name##_1, T, T, S, 1)                                                     \
    GG_COMBINE(join_##name, T, S, S, 1)

GG_SEGMENTS(float32, float, float)
GG_SEGMENTS(float64, double, double)
GG_SEGMENTS(float16, gg_half, float)
GG_SEGMENTS(bfloat16, gg_bf16, float)
GG_SEGMENTS(int64, long long, long long)
GG_SEGMENTS(int32, int, long long)
GG_SEGMENTS(int16, short, long long)
GG_SEGMENTS(int8, signed char, long long)
GG_SEGMENTS(uint8, unsigned char, long long)
GG_COMBINE(combine_float32_4, float, float, float, 4)
GG_COMBINE(combine_float64_2, double, double, double, 2)
GG_COMBINE(combine_float16_8, gg_half, gg_half, float, 8)
GG_COMBINE(combine_bfloat16_8, gg_bf16, gg_bf16, float, 8)

// ---- the way back ------------------------------------------------------------------------------

// A thread per element of the result, which may be several elements of a row taken as one.  A place
// is trusted: who calls has looked whether all are in range.
template <typename U, typename I>
GG_DEVICE void gg_take(const U* __restrict__ x, const long long* __restrict__ index,
                       U* __restrict__ out, I threads, I rows, I taken, I inner, bool each) {
    const I t = (I)blockIdx.x * (I)blockDim.x + (I)threadIdx.x;
    if (t >= threads) return;
    const I row = t / inner, i = t - row * inner, outer = row / taken;
    const I place = (I)index[each ? t : row - outer * taken];
    out[t] = x[(outer * rows + place) * inner + i];
}

struct alignas(16) gg_bytes16 { unsigned long long bits[2]; };

// I is unsigned, as division is cheaper so; the name says the bytes that a thread moves.
#define GG_TAKE(bytes, U, bits, I)                                                                 \
    extern "C" __global__ void take_##bytes##_##bits(const U* x, const long long* index, U* out,   \
                                                     I threads, I rows, I taken, I inner) {        \
        gg_take<U, I>(x, index, out, threads, rows, taken, inner, false);                          \
    }                                                                                              \
    extern "C" __global__ void take_each_##bytes##_##bits(const U* x, const long long* index,      \
                                                          U* out, I threads, I rows, I taken,      \
                                                          I inner) {                               \
        gg_take<U, I>(x, index, out, threads, rows, taken, inner, true);                           \
    }
GG_TAKE(1, unsigned char, 32, unsigned int)
GG_TAKE(2, unsigned short, 32, unsigned int)
GG_TAKE(4, unsigned int, 32, unsigned int)
GG_TAKE(8, unsigned long long, 32, unsigned int)
GG_TAKE(16, gg_bytes16, 32, unsigned int)
GG_TAKE(1, unsigned char, 64, unsigned long long)
GG_TAKE(2, unsigned short, 64, unsigned long long)
GG_TAKE(4, unsigned int, 64, unsigned long long)
GG_TAKE(8, unsigned long long, 64, unsigned long long)
GG_TAKE(16, gg_bytes16, 64, unsigned long long)
