/* Picks the table of kernels. The only file that names every instruction set; the order is the order of preference, best first. */
#include <string.h>

#include "kernels.h"

static const struct fnn_kernels *const tables[] = {&fnn_portable, NULL};
static const struct fnn_kernels *active = &fnn_portable;

const struct fnn_kernels *fnn_active(void) { return active; }
const char *fnn_isa(void) { return active->name; }
const char *fnn_isa_name(int index) { return tables[index] ? tables[index]->name : NULL; }
int fnn_isa_usable(int index) { return tables[index] != NULL; }

int fnn_use_isa(const char *name)
{
    for (int t = 0; tables[t]; t++) {
        if (strcmp(tables[t]->name, name) == 0 && fnn_isa_usable(t)) {
            active = tables[t];
            return 0;
        }
    }
    return -1;
}
