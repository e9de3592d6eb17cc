// needs: memory.cuh
//
// Windows over images: what pooling and patches share.
//
// Images lie as (outer, *size, inner) without gaps: n * c planes one after the other (inner 1), or n
// images with channels last (inner c).  There are always three spatial dims; a line or a plane has
// dims of size 1 in front.  Along dim d, place k of window o meets element
//
//     x = o * stride[d] - before[d] + k * dilation[d],    which is padding outside of 0 <= x < size[d]
//
// I is int, or long long where an element's number can pass 2^31.

template <typename I> struct GGWindows {
    I inner, size[3], out[3], kernel[3], stride[3], before[3], dilation[3];
};

template <typename T> GG_DEVICE T gg_smaller(T a, T b) { return a < b ? a : b; }
template <typename T> GG_DEVICE T gg_larger(T a, T b) { return a > b ? a : b; }

// The number of this thread among all of a launch in one dimension.
template <typename I> GG_DEVICE I gg_thread() {
    return (I)blockIdx.x * (I)blockDim.x + (I)threadIdx.x;
}

// The last digit of t, to base n; the rest stays in t.  Neither is negative: division is cheaper so.
GG_DEVICE int gg_digit(int& t, int n) {
    const unsigned int whole = (unsigned int)t / (unsigned int)n;
    const int digit = t - (int)whole * n;
    t = (int)whole;
    return digit;
}
GG_DEVICE long long gg_digit(long long& t, long long n) {
    const unsigned long long whole = (unsigned long long)t / (unsigned long long)n;
    const long long digit = t - (long long)whole * n;
    t = (long long)whole;
    return digit;
}

// Which places of a kernel meet elements: begin <= k < end, the first at element `x` of the dim.
template <typename I> struct GGSpan { I begin, end, x; };

template <typename I> GG_DEVICE GGSpan<I> gg_met(const GGWindows<I>& w, int d, I o) {
    const I start = o * w.stride[d] - w.before[d], step = w.dilation[d];
    GGSpan<I> span;
    span.begin = start < 0 ? (step - 1 - start) / step : 0;
    span.x = start + span.begin * step;
    const I room = w.size[d] - 1 - start;  // from the window's first place to the dim's last element
    span.end = room < 0 ? 0 : gg_smaller(w.kernel[d], step == 1 ? room + 1 : room / step + 1);
    return span;
}

// Which windows reach over element x of dim d, met or stepped over: begin <= o < end.
template <typename I> GG_DEVICE GGSpan<I> gg_covering(const GGWindows<I>& w, int d, I x) {
    const I at = x + w.before[d], stride = w.stride[d];
    const I late = at - (w.kernel[d] - 1) * w.dilation[d];
    GGSpan<I> span;
    span.x = at;
    span.begin = late <= 0 ? 0 : stride == 1 ? late : (late + stride - 1) / stride;
    span.end = gg_smaller(w.out[d], (stride == 1 ? at : at / stride) + 1);
    return span;
}
