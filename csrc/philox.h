/* Philox4x32-10 (Salmon, Moraes, Dror, Shaw: Parallel random numbers: as easy as 1, 2, 3; SC 2011): four 32-bit words for a
 * 128-bit counter and a 64-bit key. Stateless, so a draw depends on (seed, stream, row, column) alone: the same for any number of
 * threads, any instruction set, and in NumPy. */
#ifndef FNN_PHILOX_H
#define FNN_PHILOX_H

#include <stdint.h>

#define FNN_PHILOX_M0 0xD2511F53u
#define FNN_PHILOX_M1 0xCD9E8D57u
#define FNN_PHILOX_W0 0x9E3779B9u
#define FNN_PHILOX_W1 0xBB67AE85u
#define FNN_PHILOX_ROUNDS 10

static inline void fnn_philox(uint32_t counter0, uint32_t counter1, uint64_t stream, uint64_t seed, uint32_t words[4])
{
    uint32_t c0 = counter0, c1 = counter1, c2 = (uint32_t)stream, c3 = (uint32_t)(stream >> 32);
    uint32_t k0 = (uint32_t)seed, k1 = (uint32_t)(seed >> 32);
    for (int round = 0; round < FNN_PHILOX_ROUNDS; round++) {
        uint64_t p0 = (uint64_t)FNN_PHILOX_M0 * c0, p1 = (uint64_t)FNN_PHILOX_M1 * c2;
        c0 = (uint32_t)(p1 >> 32) ^ c1 ^ k0;
        c1 = (uint32_t)p1;
        c2 = (uint32_t)(p0 >> 32) ^ c3 ^ k1;
        c3 = (uint32_t)p0;
        k0 += FNN_PHILOX_W0;
        k1 += FNN_PHILOX_W1;
    }
    words[0] = c0;
    words[1] = c1;
    words[2] = c2;
    words[3] = c3;
}

#endif
