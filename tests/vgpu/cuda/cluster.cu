// SPDX-License-Identifier: Apache-2.0
// Histogram whose bins lie spread over the shared memory of a cluster of two blocks (sm_90).
#include <cooperative_groups.h>
namespace cg = cooperative_groups;

extern "C" __global__ void __cluster_dims__(2, 1, 1) spread(int n, const unsigned char *x, unsigned *count) {
    __shared__ unsigned bins[128];
    cg::cluster_group cluster = cg::this_cluster();
    for (int i = threadIdx.x; i < 128; i += blockDim.x) bins[i] = 0;
    cluster.sync();
    for (int i = blockIdx.x * blockDim.x + threadIdx.x; i < n; i += gridDim.x * blockDim.x) {
        unsigned *const there = cluster.map_shared_rank(bins, x[i] / 128);
        atomicAdd(&there[x[i] % 128], 1);
    }
    cluster.sync();
    for (int i = threadIdx.x; i < 128; i += blockDim.x)
        if (bins[i]) atomicAdd(&count[cluster.block_rank() * 128 + i], bins[i]);
}
