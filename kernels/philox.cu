// needs: memory.cuh philox.cuh
//
// Random fills, and dropout without a stored mask.
//
//   bits, bits64, uniform, normal, exponential, integers: element i of (seed, offset)
//   dropout: y[i] = uniform(seed, offset, i) >= p ? x[i] * scale : 0, scale = 1 / (1 - p); it is its
//            own gradient, with g for x, as the mask follows from two numbers
//
// A thread per block of Philox, which is four 32-bit or two 64-bit words: that many elements by one
// access of up to 16 bytes.  16-bit floats are drawn and computed in float32 and rounded once.
//
// Bytes: a fill writes each element, dropout reads and writes it; both are the minimum.  Ten rounds
// are 20 wide products per four elements, less than the time of the memory for float32.
//
// Array code to agree with: gpugrad/backends/philox.py.  Not measured yet on a GPU.

// `values` to elements from 4 or 2 times the thread's number on, as far as there are n.
template <typename T, int V>
GG_DEVICE void gg_fill(T* to, long long first, long long n, const GGPack<T, V>& values) {
    if (first + V <= n) {
        gg_write(to + first, values);
        return;
    }
    #pragma unroll
    for (int v = 0; v < V; ++v)
        if (first + v < n) to[first + v] = values.v[v];
}

GG_DEVICE long long gg_block() { return (long long)blockIdx.x * blockDim.x + threadIdx.x; }

#define GG_KERNEL(name, T, ...)                                                                    \
    extern "C" __global__ void name(T* to, long long n, unsigned long long seed,                   \
                                    unsigned long long offset, ##__VA_ARGS__)

// A kernel of V elements per block; `each` sets `x` for element v of a block's words.
#define GG_FILL(name, T, V, each, ...)                                                             \
    GG_KERNEL(name, T, ##__VA_ARGS__) {                                                            \
        const long long block = gg_block();                                                        \
        if (block * V >= n) return;                                                                \
        const gg_words words = gg_philox(seed, offset, block);                                     \
        GGPack<T, V> values;                                                                       \
        _Pragma("unroll") for (int v = 0; v < V; ++v) {                                            \
            T& x = values.v[v];                                                                    \
            each;                                                                                  \
        }                                                                                          \
        gg_fill(to, block * V, n, values);                                                         \
    }

GG_FILL(bits, unsigned int, 4, x = words.word[v])
GG_FILL(bits64, unsigned long long, 2, x = gg_word64(words, v))
GG_FILL(uniform_float32, float, 4, x = gg_uniform<24>(words.word[v]))
GG_FILL(uniform_float64, double, 2, x = gg_uniform(gg_word64(words, v)))
GG_FILL(uniform_float16, gg_half, 4, gg_put(x, gg_uniform<11>(words.word[v])))
GG_FILL(uniform_bfloat16, gg_bf16, 4, gg_put(x, gg_uniform<8>(words.word[v])))
GG_FILL(exponential_float32, float, 4, x = gg_exponential(words.word[v]))
GG_FILL(exponential_float64, double, 2, x = gg_exponential(gg_word64(words, v)))
GG_FILL(exponential_float16, gg_half, 4, gg_put(x, gg_exponential(words.word[v])))
GG_FILL(exponential_bfloat16, gg_bf16, 4, gg_put(x, gg_exponential(words.word[v])))
// `low` as an unsigned number: sums are modulo 2^64, which is two's complement.
GG_FILL(integers_32, unsigned long long, 4, x = low + gg_below(words.word[v], range),
        unsigned long long low, unsigned long long range)
GG_FILL(integers_64, unsigned long long, 2, x = low + gg_below(gg_word64(words, v), range),
        unsigned long long low, unsigned long long range)

// Two normals come of two words, so these fill by pairs.
#define GG_NORMAL(name, T, S, V, word)                                                             \
    GG_KERNEL(name, T) {                                                                           \
        const long long block = gg_block();                                                        \
        if (block * V >= n) return;                                                                \
        const gg_words words = gg_philox(seed, offset, block);                                     \
        GGPack<T, V> values;                                                                       \
        _Pragma("unroll") for (int v = 0; v < V; v += 2) {                                         \
            S a, b;                                                                                \
            gg_normal(word(v), word(v + 1), a, b);                                                 \
            gg_put(values.v[v], a);                                                                \
            gg_put(values.v[v + 1], b);                                                            \
        }                                                                                          \
        gg_fill(to, block * V, n, values);                                                         \
    }
#define GG_WORD32(i) words.word[i]
#define GG_WORD64(i) gg_word64(words, i)
GG_NORMAL(normal_float32, float, float, 4, GG_WORD32)
GG_NORMAL(normal_float64, double, double, 2, GG_WORD64)
GG_NORMAL(normal_float16, gg_half, float, 4, GG_WORD32)
GG_NORMAL(normal_bfloat16, gg_bf16, float, 4, GG_WORD32)

// x may begin anywhere: its first element decides whether four are read by one access.
template <typename T, typename S>
GG_DEVICE void gg_dropout(T* y, long long n, unsigned long long seed, unsigned long long offset,
                          const T* x, float p, S scale) {
    const long long block = gg_block(), first = block * 4;
    if (first >= n) return;
    const gg_words words = gg_philox(seed, offset, block);
    GGPack<T, 4> values;
    if (first + 4 <= n && (unsigned long long)x % alignof(GGPack<T, 4>) == 0) {
        values = gg_read<4>(x + first);
    } else {
        #pragma unroll
        for (int v = 0; v < 4; ++v)
            if (first + v < n) values.v[v] = x[first + v];
    }
    #pragma unroll
    for (int v = 0; v < 4; ++v) {
        // a choice, not a product: a dropped inf or NaN is 0
        const S kept = gg_value(values.v[v]) * scale;
        gg_put(values.v[v], gg_uniform<24>(words.word[v]) >= p ? kept : (S)0);
    }
    gg_fill(y, first, n, values);
}

#define GG_DROPOUT(name, T, S)                                                                     \
    GG_KERNEL(dropout_##name, T, const T* x, float p, S scale) {                                   \
        gg_dropout<T, S>(to, n, seed, offset, x, p, scale);                                        \
    }
GG_DROPOUT(float32, float, float)
GG_DROPOUT(float64, double, double)
GG_DROPOUT(float16, gg_half, float)
GG_DROPOUT(bfloat16, gg_bf16, float)
