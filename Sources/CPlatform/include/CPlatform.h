// The one C module of the project: system headers that Glibc's Swift overlay lacks, and shims for macros.
// <sys/select.h> comes first and no feature macro is defined: see docs/decisions/002-c-interop.md.
#ifndef PLATFORM_H
#define PLATFORM_H
#include <sys/select.h>
#include "platform_dns.h"
#include "platform_socket.h"
#include "platform_uring.h"
#include "platform_openssl.h"
#include "platform_tls_pipe.h"
#include "platform_process.h"
#include "platform_spawn.h"
#include "platform_thread.h"
#endif
