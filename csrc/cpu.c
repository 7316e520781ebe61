#include "cpu.h"

#if defined(__x86_64__)
#include <cpuid.h>

/* Bits of CPUID leaf 1 (ecx), of leaf 7 (ebx), and of the extended control register: AMD64 manual volume 3, appendix E. */
#define LEAF1_FMA (1u << 12)
#define LEAF1_OSXSAVE (1u << 27)
#define LEAF1_AVX (1u << 28)
#define LEAF7_AVX2 (1u << 5)
#define LEAF7_AVX512 (1u << 16 | 1u << 17 | 1u << 30 | 1u << 31) /* F, DQ, BW, VL */
#define STATE_AVX 0x06u    /* SSE and AVX registers */
#define STATE_AVX512 0xE6u /* and mask registers, upper halves, upper sixteen */

static unsigned saved_state(void)
{
    unsigned low, high;
    __asm__ volatile("xgetbv" : "=a"(low), "=d"(high) : "c"(0));
    return low;
}

/* Whether leaf 7 has all of `features` and the system saves all of `state`. */
static int has(unsigned features, unsigned state)
{
    unsigned a, b, c, d;
    const unsigned base = LEAF1_FMA | LEAF1_OSXSAVE | LEAF1_AVX;
    if (!__get_cpuid(1, &a, &b, &c, &d) || (c & base) != base) return 0;
    if (!__get_cpuid_count(7, 0, &a, &b, &c, &d) || (b & features) != features) return 0;
    return (saved_state() & state) == state;
}

int fnn_cpu_has_avx2(void) { return has(LEAF7_AVX2, STATE_AVX); }
int fnn_cpu_has_avx512(void) { return has(LEAF7_AVX2 | LEAF7_AVX512, STATE_AVX512); }
#else
int fnn_cpu_has_avx2(void) { return 0; }
int fnn_cpu_has_avx512(void) { return 0; }
#endif
