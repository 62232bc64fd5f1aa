// prctl(2) takes variable arguments, which Swift cannot pass.
#ifndef PLATFORM_PROCESS_H
#define PLATFORM_PROCESS_H
#include <sys/prctl.h>

// No core dump, and no ptrace(2) by other processes of the same user. Cannot fail with these arguments.
static inline void platform_forbid_dumps(void) { prctl(PR_SET_DUMPABLE, 0, 0, 0, 0); }
#endif
