// Random numbers that depend on (seed, offset, element) and on nothing else: Philox4x32-10.
//
// J. Salmon, M. Moraes, R. Dror, D. Shaw, "Parallel random numbers: as easy as 1, 2, 3", SC'11.  The
// counter is (block, offset), the key is the seed; word i of a call is lane i % 4 of block i / 4, a
// 64-bit word i is the words 2i (low) and 2i + 1.  gpugrad/backends/philox.py has the same for the
// host, and every function here gives the same bits as its namesake there, but for what the
// libraries' log, sin and cos round otherwise.
//
// needs: memory.cuh

struct gg_words { unsigned int word[4]; };

GG_DEVICE gg_words gg_philox(unsigned long long seed, unsigned long long offset,
                             unsigned long long block) {
    unsigned int c0 = (unsigned int)block, c1 = (unsigned int)(block >> 32);
    unsigned int c2 = (unsigned int)offset, c3 = (unsigned int)(offset >> 32);
    unsigned int k0 = (unsigned int)seed, k1 = (unsigned int)(seed >> 32);
    #pragma unroll
    for (int round = 0; round < 10; ++round) {
        const unsigned long long p0 = 0xD2511F53ull * c0, p1 = 0xCD9E8D57ull * c2;
        c0 = (unsigned int)(p1 >> 32) ^ c1 ^ k0;
        c1 = (unsigned int)p1;
        c2 = (unsigned int)(p0 >> 32) ^ c3 ^ k1;
        c3 = (unsigned int)p0;
        k0 += 0x9E3779B9u;
        k1 += 0xBB67AE85u;
    }
    return {{c0, c1, c2, c3}};
}

GG_DEVICE unsigned long long gg_word64(const gg_words& words, int i) {
    return (unsigned long long)words.word[2 * i + 1] << 32 | words.word[2 * i];
}

// Uniform in [0, 1): the top P bits, exact in a float of that precision.
template <int P> GG_DEVICE float gg_uniform(unsigned int word) {
    return (float)(word >> (32 - P)) * (1.0f / (1u << P));
}
GG_DEVICE double gg_uniform(unsigned long long word) {
    return (double)(word >> 11) * (1.0 / (1ull << 53));
}

// Uniform in (0, 1]; float uses all 32 bits, as its spacing near 0 is what a tail is made of.
GG_DEVICE float gg_open(unsigned int word) { return (float)word * 0x1p-32f + 0x1p-33f; }
GG_DEVICE double gg_open(unsigned long long word) {
    return ((double)(word >> 11) + 1.0) * 0x1p-53;
}

// Standard normals of a pair of words (Box and Muller 1958).
GG_DEVICE void gg_normal(unsigned int u, unsigned int v, float& a, float& b) {
    const float radius = sqrtf(logf(gg_open(u)) * -2.0f);
    const float angle = (float)(v >> 8) * (float)(6.283185307179586 * 0x1p-24);
    a = cosf(angle) * radius;
    b = sinf(angle) * radius;
}
GG_DEVICE void gg_normal(unsigned long long u, unsigned long long v, double& a, double& b) {
    const double radius = sqrt(log(gg_open(u)) * -2.0);
    const double angle = (double)(v >> 11) * (6.283185307179586 * 0x1p-53);
    a = cos(angle) * radius;
    b = sin(angle) * radius;
}

// Standard exponentials, never 0.
GG_DEVICE float gg_exponential(unsigned int word) {
    const float x = -logf(gg_open(word));
    return x > 0x1p-24f ? x : 0x1p-24f;
}
GG_DEVICE double gg_exponential(unsigned long long word) {
    const double x = -log(gg_open(word));
    return x > 0x1p-53 ? x : 0x1p-53;
}

// What is in [0, range) of a word: the upper half of their product; a range of 0 means 2^64.
GG_DEVICE unsigned long long gg_below(unsigned int word, unsigned long long range) {
    return word * range >> 32;
}
GG_DEVICE unsigned long long gg_below(unsigned long long word, unsigned long long range) {
    if (range == 0) return word;
#ifdef __CUDA_ARCH__
    return __umul64hi(word, range);
#else
    return (unsigned long long)((unsigned __int128)word * range >> 64);
#endif
}
