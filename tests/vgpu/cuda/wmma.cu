// SPDX-License-Identifier: Apache-2.0
// C = A B with the warp-level matrix interface: f16 times f16, f32 sums, one 16 x 16 tile a warp.
#include <mma.h>
using namespace nvcuda;

extern "C" __global__ void matmul(int m, int n, int k, const half *a, const half *b, float *c) {
    const int tm = blockIdx.y * 16, tn = (blockIdx.x * (blockDim.x / 32) + threadIdx.x / 32) * 16;
    if (tm >= m || tn >= n) return;
    wmma::fragment<wmma::matrix_a, 16, 16, 16, half, wmma::row_major> fa;
    wmma::fragment<wmma::matrix_b, 16, 16, 16, half, wmma::col_major> fb;
    wmma::fragment<wmma::accumulator, 16, 16, 16, float> fc;
    wmma::fill_fragment(fc, 0.0f);
    for (int i = 0; i < k; i += 16) {
        wmma::load_matrix_sync(fa, a + (long long)tm * k + i, k);
        wmma::load_matrix_sync(fb, b + (long long)tn * k + i, k);
        wmma::mma_sync(fc, fa, fb, fc);
    }
    wmma::store_matrix_sync(c + (long long)tm * n + tn, fc, n, wmma::mem_row_major);
}
