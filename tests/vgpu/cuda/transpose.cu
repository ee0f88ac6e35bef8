// SPDX-License-Identifier: Apache-2.0
// Transpose through a padded shared tile, and rounding of floats to halves and bfloat16 on the way.
#include <cuda_bf16.h>
#include <cuda_fp16.h>

extern "C" __global__ void transpose(int rows, int cols, const float *x, float *y) {
    __shared__ float tile[32][33];
    int c = blockIdx.x * 32 + threadIdx.x, r = blockIdx.y * 32 + threadIdx.y;
    for (int k = 0; k < 32; k += 8)
        if (r + k < rows && c < cols) tile[threadIdx.y + k][threadIdx.x] = x[(long long)(r + k) * cols + c];
    __syncthreads();
    c = blockIdx.y * 32 + threadIdx.x;
    r = blockIdx.x * 32 + threadIdx.y;
    for (int k = 0; k < 32; k += 8)
        if (r + k < cols && c < rows) y[(long long)(r + k) * rows + c] = tile[threadIdx.x][threadIdx.y + k];
}

extern "C" __global__ void halves(int n, const float4 *x, __half2 *h, __nv_bfloat162 *b) {
    const int i = blockIdx.x * blockDim.x + threadIdx.x;
    if (i >= n) return;
    const float4 v = x[i];
    h[2 * i] = __hadd2(__floats2half2_rn(v.x, v.y), __floats2half2_rn(1.0f, 0.5f));
    h[2 * i + 1] = __floats2half2_rn(v.z, v.w);
    b[2 * i] = __floats2bfloat162_rn(v.x, v.y);
    b[2 * i + 1] = __hmul2(__floats2bfloat162_rn(v.z, v.w), __floats2bfloat162_rn(3.0f, 0.25f));
}
