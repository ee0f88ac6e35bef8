// SPDX-License-Identifier: Apache-2.0
// Private to the sanitizer: shadow memory, clocks, tickets of asynchronous work.
//
// Order is tracked by vector clocks of agents: the warps of a cluster, and one more agent that stands for
// work that completes on mbarriers. Beside what a warp knows of the others' clocks it knows which of them
// were followed by fence.proxy.async (Fidge, Mattern; cells as in FastTrack, Flanagan and Freund 2009).
#pragma once
#include "runtime/vgpu/exec.h"

enum { CELL = 4, ANY_LANE = 255, NO_AGENT = 0xffff };
enum { F_ATOMIC = 1, F_INIT = 2 }; // last write: by an atomic; of an mbarrier's initialisation

/// Shadow of CELL bytes of shared memory.
typedef struct {
    const vg_inst *write, *read;         // the last ones
    uint32_t wclock, wepoch, wstep;      // of the last write: clock, rounds and steps of its warp
    uint32_t repoch;
    bool readers;                        // somebody has read since the last write
    uint16_t wagent, ragent;
    uint8_t wlane, rlane, wbytes, rbytes, flags;
    uint8_t in_flight, leased;           // open operations that will write, that still read
} san_cell;

/// What an agent, a barrier or a synchronising address knows: clocks, and fenced clocks.
typedef struct {
    uint32_t *vc, *fc;
} san_know;

/// Asynchronous work between issue and completion.
typedef struct san_ticket {
    struct san_ticket *next, **prev;
    vg_block *owner;
    const vg_inst *in;
    const char *what;
    uint64_t at, bytes;
    int space, use;
    uint32_t agent;
    unsigned thread[3];
} san_ticket;

typedef struct {
    uint32_t agent, epoch;   // epoch: rounds of the warp's own synchronisation
    san_know k;
} san_warp;

typedef struct {
    uint64_t key;            // shared or global address, 0: free
    san_know k;
} san_sync;

typedef struct {
    uint32_t agents;         // of the cluster, the asynchronous one last
    uint32_t ncells;
    san_cell *cell;
    uint32_t *reads;         // clock of each agent's last read, by cell
    uint8_t *init;           // a bit a byte
    uint8_t *local;          // a bit a byte of local memory, by thread
    san_know bar[16], cluster;
    san_sync *sync;          // hash table
    uint32_t nsync, cap_sync;
    san_ticket *open;
    uint32_t tick;           // of the asynchronous agent
} san_block;

typedef struct {
    uint8_t *init;           // a bit a byte of device memory
    uint8_t *now, *previous; // a bit for 16 bytes: written by this launch, by the one before
    size_t init_bytes, mark_bytes;
    bool have_previous;
} san_gpu;

#define SAN(b) ((san_block *)(b)->san)
#define SANW(w) ((san_warp *)(w)->san)

/// Thread of a lane in its block.
void san_thread(const vg_warp *w, uint32_t lane, unsigned out[3]);
/// Knowledge at a synchronising address; NULL: out of memory.
san_know *san_sync_at(vg_block *b, uint64_t key);
/// Device memory becomes initialised, and written by this launch.
void san_global_write(vg_gpu *g, uint64_t addr, uint64_t bytes);
void san_join(const san_block *s, san_know *to, const san_know *from);
/// The warp's clock goes on: what follows is not covered by what it has released.
void san_tick(vg_warp *w);
void san_bits_set(uint8_t *bits, uint64_t at, uint64_t n, bool shared);  // shared: between host threads
bool san_bits_all(const uint8_t *bits, uint64_t at, uint64_t n);
