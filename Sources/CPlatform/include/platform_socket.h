// Linux calls that Swift's Glibc module lacks, and a few whose C types import badly.
#ifndef PLATFORM_SOCKET_H
#define PLATFORM_SOCKET_H
#include <sys/select.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdint.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <sys/types.h>
#include <sys/un.h>

// EPOLLET is 1u << 31: the enum constant does not fit the signed type Swift gives it.
static inline uint32_t platform_edge_triggered(void) { return (uint32_t)EPOLLET; }

// accept4 is hidden behind _GNU_SOURCE, which this module must not define (see CPlatform.h).
int accept4(int, struct sockaddr *, socklen_t *, int);

static inline int platform_accept(int listener, struct sockaddr_storage *peer, socklen_t *length) {
  return accept4(listener, (struct sockaddr *)peer, length, SOCK_NONBLOCK | SOCK_CLOEXEC);
}

static inline int platform_socket(int family) {
  return socket(family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
}

// The XSI strerror_r: glibc has two of that name, chosen by feature macros.
int __xpg_strerror_r(int, char *, size_t);
static inline int platform_error_text(int number, char *text, size_t size) {
  return __xpg_strerror_r(number, text, size);
}
#endif
