/* What this CPU and operating system can run, by our own CPUID and XGETBV: compilers' built-ins have been seen to answer wrongly. */
#ifndef FNN_CPU_H
#define FNN_CPU_H

int fnn_cpu_has_avx2(void);   /* AVX2 and FMA, and the system saves 32-byte registers */
int fnn_cpu_has_avx512(void); /* AVX-512 F, BW, DQ, VL, and the system saves 64-byte and mask registers */

#endif
