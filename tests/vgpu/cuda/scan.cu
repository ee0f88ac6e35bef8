// SPDX-License-Identifier: Apache-2.0
// Inclusive prefix sums of one block's 64-bit integers, two elements a thread (work-efficient tree), and
// a second kernel with a loop in a function that is not inlined.
extern "C" __global__ void scan(int n, const long long *x, long long *y) {
    __shared__ long long t[512];
    const int k = threadIdx.x;
    t[2 * k] = 2 * k < n ? x[2 * k] : 0;
    t[2 * k + 1] = 2 * k + 1 < n ? x[2 * k + 1] : 0;
    int step = 1;
    for (int d = 256; d > 0; d >>= 1, step *= 2) {
        __syncthreads();
        if (k < d) t[step * (2 * k + 2) - 1] += t[step * (2 * k + 1) - 1];
    }
    for (int d = 1; d < 256; d *= 2) {
        step = 256 / d;
        __syncthreads();
        if (k < d) t[step * (2 * k + 3) / 2 - 1] += t[step * (k + 1) - 1];
    }
    __syncthreads();
    if (2 * k < n) y[2 * k] = t[2 * k];
    if (2 * k + 1 < n) y[2 * k + 1] = t[2 * k + 1];
}

__device__ __noinline__ unsigned collatz(unsigned long long v, int most) {
    unsigned steps = 0;
    while (v != 1 && steps < most) {
        v = v % 2 ? 3 * v + 1 : v / 2;
        steps++;
    }
    return steps;
}

extern "C" __global__ void steps(int n, const unsigned *x, unsigned *y, int most) {
    const int i = blockIdx.x * blockDim.x + threadIdx.x;
    if (i < n) y[i] = collatz(x[i], most);
}
