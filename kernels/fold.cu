// needs: memory.cuh
// The second stage of sums over rows: partial sums, one row per group of threads of the first stage,
// added up in a fixed order.
//
// out[c] = sum over r of parts[r][c].  A block of 16 warps takes 32 columns: warp w adds the rows
// w, w + 16, ..., and the first warp adds the sixteen results.  Reads every partial sum once
// (sizeof(S) bytes each), in lines of 32 columns.  Adds in double: the sums are few, their terms large.
// Not measured on a GPU yet.

template <typename S> GG_DEVICE void gg_fold(const S* parts, long long rows, long long columns, S* out) {
    __shared__ double part[16][33];
    const int lane = threadIdx.x % 32, warp = threadIdx.x / 32;
    const long long c = (long long)blockIdx.x * 32 + lane;
    double sum = 0;
    if (c < columns)
        for (long long r = warp; r < rows; r += 16) sum += parts[r * columns + c];
    part[warp][lane] = sum;
    __syncthreads();
    if (warp || c >= columns) return;
    for (int w = 1; w < 16; ++w) sum += part[w][lane];
    out[c] = (S)sum;
}

extern "C" __global__ void __launch_bounds__(512)
gg_fold_float(const float* parts, long long rows, long long columns, float* out) {
    gg_fold(parts, rows, columns, out);
}

extern "C" __global__ void __launch_bounds__(512)
gg_fold_double(const double* parts, long long rows, long long columns, double* out) {
    gg_fold(parts, rows, columns, out);
}
