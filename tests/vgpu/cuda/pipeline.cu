// SPDX-License-Identifier: Apache-2.0
// Row sums of squares through a ring of shared buffers that cp.async fills ahead; each block takes one
// row of `chunks` times 512 floats. 128 threads.
#include <cuda_pipeline.h>

extern "C" __global__ void row_squares(int chunks, const float4 *x, float *y) {
    constexpr int stages = 3;
    __shared__ float4 ring[stages][128];
    __shared__ float part[4];
    const float4 *row = x + (long long)blockIdx.x * chunks * 128;
    for (int s = 0; s < stages - 1; s++) {
        if (s < chunks) __pipeline_memcpy_async(&ring[s][threadIdx.x], row + s * 128 + threadIdx.x, sizeof(float4));
        __pipeline_commit();
    }
    float sum = 0;
    for (int i = 0; i < chunks; i++) {
        const int ahead = i + stages - 1;
        if (ahead < chunks) __pipeline_memcpy_async(&ring[ahead % stages][threadIdx.x], row + ahead * 128 + threadIdx.x, sizeof(float4));
        __pipeline_commit();
        __pipeline_wait_prior(stages - 1);
        __syncthreads();
        const float4 v = ring[i % stages][(threadIdx.x + 1) % 128]; // what another thread has fetched
        sum += v.x * v.x + v.y * v.y + v.z * v.z + v.w * v.w;
        __syncthreads();
    }
    for (int d = 16; d; d >>= 1) sum += __shfl_xor_sync(0xffffffffu, sum, d);
    if (threadIdx.x % 32 == 0) part[threadIdx.x / 32] = sum;
    __syncthreads();
    if (threadIdx.x == 0) y[blockIdx.x] = sqrtf(part[0] + part[1] + part[2] + part[3]);
}
