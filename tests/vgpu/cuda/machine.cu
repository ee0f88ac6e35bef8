// SPDX-License-Identifier: Apache-2.0
// A register machine a thread: a switch of many cases in a loop, warps diverge in every step.
extern "C" __global__ void machine(int n, int steps, const unsigned char *code, const unsigned *x, unsigned *y) {
    const int i = blockIdx.x * blockDim.x + threadIdx.x;
    if (i >= n) return;
    unsigned a = x[i], b = i, c = 1;
    for (int s = 0; s < steps; s++) {
        switch (code[(i + s) % steps]) {
        case 0: a += b; break;
        case 1: a ^= b << 5; break;
        case 2: b = __brev(a); break;
        case 3: c = a * b + c; break;
        case 4: a = c / (b | 1); break;
        case 5: b -= __popc(c); break;
        case 6: a = y[i] = a + c; break;
        case 7: c = __umulhi(a, b); break;
        case 8: b = c % (a | 3); break;
        case 9: if (a > b) c++; break;
        case 10: a = __funnelshift_l(a, b, c); break;
        case 11: return;
        }
    }
    y[i] = a ^ b ^ c;
}
