// SPDX-License-Identifier: Apache-2.0
// Histogram of bytes: shared atomics, then global ones; a table in constant memory; votes; a switch.
__constant__ unsigned char fold[16] = {0, 1, 2, 3, 4, 5, 6, 7, 7, 6, 5, 4, 3, 2, 1, 0};
__device__ unsigned seen;

extern "C" __global__ void histogram(int n, const unsigned char *x, unsigned *count) {
    __shared__ unsigned bins[256];
    for (int i = threadIdx.x; i < 256; i += blockDim.x) bins[i] = 0;
    __syncthreads();
    for (int i = blockIdx.x * blockDim.x + threadIdx.x; i < n; i += gridDim.x * blockDim.x) atomicAdd(&bins[x[i]], 1);
    __syncthreads();
    for (int i = threadIdx.x; i < 256; i += blockDim.x)
        if (bins[i]) atomicAdd(&count[i], bins[i]);
    if (threadIdx.x == 0) atomicInc(&seen, 0xffffffffu);
}

extern "C" __global__ void classes(int n, const unsigned char *x, int *y, unsigned *odd) {
    const int i = blockIdx.x * blockDim.x + threadIdx.x;
    const int v = i < n ? x[i] : 0;
    const unsigned votes = __ballot_sync(0xffffffffu, i < n && v & 1);
    if (threadIdx.x % 32 == 0) atomicOr(&odd[blockIdx.x], votes);
    if (i >= n) return;
    int r;
    switch (v & 15) {
    case 0: r = v * 3; break;
    case 1: r = v - 7; break;
    case 2: r = v ^ 85; break;
    case 3: r = __popc(v); break;
    case 4: r = __clz(v); break;
    case 5: r = __brev(v) >> 24; break;
    case 6: r = __byte_perm(v, 0x01020304, 0x4012); break;
    case 7: r = v / 5; break;
    case 8: r = v % 11; break;
    default: r = fold[v & 15]; break;
    }
    y[i] = r;
}
