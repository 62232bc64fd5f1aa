// posix_spawn's extension that glibc hides behind _GNU_SOURCE, which this module must not define.
#ifndef PLATFORM_SPAWN_H
#define PLATFORM_SPAWN_H
#include <spawn.h>

// Since glibc 2.34: the child closes all descriptors from that one on.
int posix_spawn_file_actions_addclosefrom_np(posix_spawn_file_actions_t *, int);
static inline int platform_spawn_close_from(posix_spawn_file_actions_t *actions, int first) {
  return posix_spawn_file_actions_addclosefrom_np(actions, first);
}
#endif
