// SPDX-License-Identifier: Apache-2.0
// Sum of n floats: grid-stride loop, shuffles in the warp, shared memory between warps, one atomic a block.
// max_checked asserts that the block is a whole number of warps. Built with -lineinfo.
#include <cassert>

__device__ float warp_sum(float v) {
    for (int d = 16; d > 0; d >>= 1) v += __shfl_down_sync(0xffffffffu, v, d);
    return v;
}

extern "C" __global__ void sum(int n, const float *x, float *total) {
    __shared__ float part[32];
    float v = 0;
    for (int i = blockIdx.x * blockDim.x + threadIdx.x; i < n; i += gridDim.x * blockDim.x) v += x[i];
    v = warp_sum(v);
    if (threadIdx.x % 32 == 0) part[threadIdx.x / 32] = v;
    __syncthreads();
    if (threadIdx.x < 32) {
        v = threadIdx.x < blockDim.x / 32 ? part[threadIdx.x] : 0.0f;
        v = warp_sum(v);
        if (threadIdx.x == 0) atomicAdd(total, v);
    }
}

extern "C" __global__ void max_checked(int n, const int *x, int *out) {
    extern __shared__ int kept[];
    assert(blockDim.x % 32 == 0);
    int v = -2147483647 - 1;
    for (int i = threadIdx.x; i < n; i += blockDim.x) v = max(v, x[i]);
    kept[threadIdx.x] = v;
    __syncthreads();
    for (int d = blockDim.x / 2; d > 0; d /= 2) {
        if (threadIdx.x < d) kept[threadIdx.x] = max(kept[threadIdx.x], kept[threadIdx.x + d]);
        __syncthreads();
    }
    if (threadIdx.x == 0) *out = kept[0];
}
