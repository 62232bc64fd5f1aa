// prctl(2) takes variable arguments, which Swift does not call.
#ifndef PLATFORM_THREAD_H
#define PLATFORM_THREAD_H
#include <sys/prctl.h>

// Names the calling thread; the kernel keeps the first 15 bytes.
static inline int platform_name_thread(const char *name) { return prctl(PR_SET_NAME, name, 0, 0, 0); }
#endif
