// needs: memory.cuh windows.cuh
//
// Patches of images as columns, and columns added up to images: what a convolution is made of where
// no library does it, and `unfold` and `fold`.
//
//   im2col: columns[n, c, k, o] = x[n, c, o * stride - before + k * dilation], 0 in the padding
//   col2im: x[n, c, e] = sum of columns[n, c, k, o] over all (k, o) that meet element e
//
// Each is the other's gradient.  im2col: a thread per image place (n, c, o) writes the K elements of
// its patch, one column row after the other, so that neighbours write side by side.  col2im: a
// thread per element of the image gathers what belongs to it, in ascending order of k: no atomics.
// im2col reads images by their strides, in any layout, and moves bits of 1, 2, 4 or 8 bytes.
//
// Bytes: K + 1 elements per element at stride 1 (K columns and one image), the minimum once columns
// are wanted; the K reads of im2col meet in the cache.
//
// Array code to agree with: gpugrad/backends/additions/convolution.py.  Not measured yet on a GPU.

// Of images: channels, and the steps from one image, channel and element of each dim to the next.
template <typename I> struct GGSteps { I channels, image, channel, dim[3]; };

template <typename U, typename I>
GG_DEVICE void gg_im2col(const U* __restrict__ x, U* __restrict__ columns, I threads,
                         const GGSteps<I>& steps, const GGWindows<I>& w) {
    I t = gg_thread<I>();
    if (t >= threads) return;
    const I places = w.out[0] * w.out[1] * w.out[2];
    I o = gg_digit(t, places);
    U* to = columns + t * (w.kernel[0] * w.kernel[1] * w.kernel[2]) * places + o;
    const I c = gg_digit(t, steps.channels);
    const I x2 = gg_digit(o, w.out[2]) * w.stride[2] - w.before[2];
    const I x1 = gg_digit(o, w.out[1]) * w.stride[1] - w.before[1];
    const I x0 = o * w.stride[0] - w.before[0];
    const U* plane = x + t * steps.image + c * steps.channel;
    I e0 = x0;
    for (I k0 = 0; k0 < w.kernel[0]; ++k0, e0 += w.dilation[0]) {
        I e1 = x1;
        for (I k1 = 0; k1 < w.kernel[1]; ++k1, e1 += w.dilation[1]) {
            const bool inside = e0 >= 0 && e0 < w.size[0] && e1 >= 0 && e1 < w.size[1];
            const I row = e0 * steps.dim[0] + e1 * steps.dim[1];
            I e2 = x2;
            for (I k2 = 0; k2 < w.kernel[2]; ++k2, e2 += w.dilation[2], to += places)
                *to = inside && e2 >= 0 && e2 < w.size[2] ? plane[row + e2 * steps.dim[2]] : (U)0;
        }
    }
}

// Of the windows in a span that reach over an element, the place in the kernel of window o, or -1
// where the element is stepped over.
template <typename I> GG_DEVICE I gg_place(const GGWindows<I>& w, int d, I at, I o) {
    const I reach = at - o * w.stride[d], step = w.dilation[d];
    if (step == 1) return reach;
    const I k = reach / step;
    return k * step == reach ? k : -1;
}

template <typename T, typename I>
GG_DEVICE void gg_col2im(const T* __restrict__ columns, T* __restrict__ x, I threads,
                         const GGWindows<I>& w) {
    const I first = gg_thread<I>();
    if (first >= threads) return;
    I t = first;
    const GGSpan<I> s2 = gg_covering(w, 2, gg_digit(t, w.size[2]));
    const GGSpan<I> s1 = gg_covering(w, 1, gg_digit(t, w.size[1]));
    const GGSpan<I> s0 = gg_covering(w, 0, gg_digit(t, w.size[0]));
    const I places = w.out[0] * w.out[1] * w.out[2];
    const T* plane = columns + t * (w.kernel[0] * w.kernel[1] * w.kernel[2]) * places;
    decltype(gg_value(T())) sum = 0;
    for (I o0 = s0.end - 1; o0 >= s0.begin; --o0) {  // a later window meets by an earlier place
        const I k0 = gg_place(w, 0, s0.x, o0);
        if (k0 < 0) continue;
        for (I o1 = s1.end - 1; o1 >= s1.begin; --o1) {
            const I k1 = gg_place(w, 1, s1.x, o1);
            if (k1 < 0) continue;
            const I row = (k0 * w.kernel[1] + k1) * w.kernel[2];
            const I line = (o0 * w.out[1] + o1) * w.out[2];
            for (I o2 = s2.end - 1; o2 >= s2.begin; --o2) {
                const I k2 = gg_place(w, 2, s2.x, o2);
                if (k2 >= 0) sum += gg_value(plane[(row + k2) * places + line + o2]);
            }
        }
    }
    gg_put(x[first], sum);
}

#define GG_IM2COL(name, U, I)                                                                      \
    extern "C" __global__ void im2col_##name(const U* x, U* columns, I threads, GGSteps<I> steps,  \
                                             GGWindows<I> w) {                                     \
        gg_im2col<U, I>(x, columns, threads, steps, w);                                            \
    }
#define GG_COL2IM(name, T, I)                                                                      \
    extern "C" __global__ void col2im_##name(const T* columns, T* x, I threads, GGWindows<I> w) {  \
        gg_col2im<T, I>(columns, x, threads, w);                                                   \
    }

// The name of im2col says the bytes of an element; all end in the bits of an element's number.
GG_IM2COL(1_32, unsigned char, int)
GG_IM2COL(1_64, unsigned char, long long)
GG_IM2COL(2_32, unsigned short, int)
GG_IM2COL(2_64, unsigned short, long long)
GG_IM2COL(4_32, unsigned int, int)
GG_IM2COL(4_64, unsigned int, long long)
GG_IM2COL(8_32, unsigned long long, int)
GG_IM2COL(8_64, unsigned long long, long long)
GG_COL2IM(float32_32, float, int)
GG_COL2IM(float32_64, float, long long)
GG_COL2IM(float64_32, double, int)
GG_COL2IM(float64_64, double, long long)
GG_COL2IM(float16_32, gg_half, int)
GG_COL2IM(float16_64, gg_half, long long)
GG_COL2IM(bfloat16_32, gg_bf16, int)
GG_COL2IM(bfloat16_64, gg_bf16, long long)
