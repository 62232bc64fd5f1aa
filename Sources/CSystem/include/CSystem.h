// The one C module of the project: system headers that Glibc's Swift overlay lacks, and shims for macros.
// <sys/select.h> comes first and no feature macro is defined: see docs/decisions/002-c-interop.md.
#ifndef CSYSTEM_H
#define CSYSTEM_H
#include <sys/select.h>
#include "csystem_socket.h"
#include "csystem_openssl.h"
#endif
