/* Picks the table of kernels. The only file that names every instruction set; the order is the order of preference, best first. */
#include <string.h>

#include "cpu.h"
#include "kernels.h"

static int always(void) { return 1; }

static const struct choice {
    const struct fnn_kernels *table;
    int (*usable)(void);
} choices[] = {
#if defined(__x86_64__)
    {&fnn_avx512, fnn_cpu_has_avx512},
    {&fnn_avx2, fnn_cpu_has_avx2},
#endif
#if defined(__aarch64__)
    {&fnn_neon, always},
#endif
    {&fnn_portable, always},
    {NULL, NULL},
};

static const struct fnn_kernels *active;

const struct fnn_kernels *fnn_active(void) { return active; }
const char *fnn_isa(void) { return active->name; }
const char *fnn_isa_name(int index) { return choices[index].table ? choices[index].table->name : NULL; }
int fnn_isa_usable(int index) { return choices[index].table && choices[index].usable(); }

int fnn_use_isa(const char *name)
{
    for (const struct choice *choice = choices; choice->table; choice++) {
        if ((!name || strcmp(choice->table->name, name) == 0) && choice->usable()) {
            active = choice->table;
            return 0;
        }
    }
    return -1;
}
