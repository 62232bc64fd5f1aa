// Does zero-copy send pay? Sends the same bytes through a TCP connection by IORING_OP_SEND and by IORING_OP_SEND_ZC, and
// prints what a GB costs the sending thread, and how many of the zero-copy sends the kernel has copied after all
// (IORING_SEND_ZC_REPORT_USAGE, io_uring_prep_send_zc(3)).
//
//   zerocopy MEGABYTES BYTES-PER-SEND [ADDRESS PORT | listen PORT]
//
// Without an address both ends are here, on the loopback device. `listen` takes one connection and reads it to its end:
// for a network namespace or another machine.
#include <arpa/inet.h>
#include <liburing.h>
#include <netinet/tcp.h>
#include <pthread.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

// liburing 2.3 does not know them yet (linux/io_uring.h of kernel 6.2).
#ifndef IORING_SEND_ZC_REPORT_USAGE
#define IORING_SEND_ZC_REPORT_USAGE (1U << 3)
#define IORING_NOTIF_USAGE_ZC_COPIED (1U << 31)
#endif

enum { DEPTH = 8 };

static void die(const char *what) {
  perror(what);
  exit(1);
}

static struct sockaddr_in address_of(const char *text, int port) {
  struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons(port)};
  if (inet_pton(AF_INET, text, &address.sin_addr) != 1) {
    fprintf(stderr, "zerocopy: no address: %s\n", text);
    exit(2);
  }
  return address;
}

static int listen_at(const char *text, int *port) {
  struct sockaddr_in address = address_of(text, *port);
  socklen_t size = sizeof address;
  int listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0), yes = 1;
  setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &yes, sizeof yes);
  if (listener < 0 || bind(listener, (struct sockaddr *)&address, size) || listen(listener, 1) ||
      getsockname(listener, (struct sockaddr *)&address, &size))
    die("listen");
  *port = ntohs(address.sin_port);
  return listener;
}

// Reads two connections to their ends, one after the other.
static void *drain(void *argument) {
  int listener = *(int *)argument;
  static char buffer[1 << 20];
  for (int round = 0; round < 2; round++) {
    int connection = accept(listener, NULL, NULL);
    if (connection < 0) die("accept");
    while (read(connection, buffer, sizeof buffer) > 0) {}
    close(connection);
  }
  return NULL;
}

static int dial(const char *text, int port) {
  struct sockaddr_in address = address_of(text, port);
  int connection = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0), yes = 1;
  if (connection < 0 || connect(connection, (struct sockaddr *)&address, sizeof address)) die("connect");
  setsockopt(connection, IPPROTO_TCP, TCP_NODELAY, &yes, sizeof yes);
  return connection;
}

static double cpu(void) {
  struct timespec time;
  clock_gettime(CLOCK_THREAD_CPUTIME_ID, &time);
  return time.tv_sec + time.tv_nsec / 1e9;
}

static void measure(const char *target, int port, size_t total, size_t size, int is_zero_copy) {
  struct io_uring ring;
  if (io_uring_queue_init(2 * DEPTH, &ring, IORING_SETUP_SINGLE_ISSUER | IORING_SETUP_DEFER_TASKRUN)) die("io_uring");
  char *bytes = aligned_alloc(4096, DEPTH * size);
  if (bytes == NULL) die("memory");
  memset(bytes, 'x', DEPTH * size);
  int connection = dial(target, port);
  uint64_t free_places = (1u << DEPTH) - 1;
  size_t begun = 0, done = 0, sends = 0, copied = 0, notifications = 0;
  double before = cpu();
  while (done < total || notifications > 0) {
    // One send at a time is under way, as for a session; a zero-copy one's buffer comes back later, by its notification.
    if (begun == done && begun < total && free_places) {
      int place = __builtin_ctzll(free_places);
      struct io_uring_sqe *entry = io_uring_get_sqe(&ring);
      if (is_zero_copy) {
        io_uring_prep_send_zc(entry, connection, bytes + place * size, size, MSG_WAITALL | MSG_NOSIGNAL,
                              IORING_SEND_ZC_REPORT_USAGE);
      } else {
        io_uring_prep_send(entry, connection, bytes + place * size, size, MSG_WAITALL | MSG_NOSIGNAL);
      }
      io_uring_sqe_set_data64(entry, place);
      free_places &= ~(1ull << place);
      begun += size;
    }
    if (io_uring_submit_and_wait(&ring, 1) < 0) die("io_uring_enter");
    struct io_uring_cqe *entry;
    while (io_uring_peek_cqe(&ring, &entry) == 0) {
      uint64_t place = 1ull << io_uring_cqe_get_data64(entry);
      if (entry->flags & IORING_CQE_F_NOTIF) {
        notifications -= 1;
        copied += (entry->res & IORING_NOTIF_USAGE_ZC_COPIED) != 0;
        free_places |= place;
      } else {
        if (entry->res != (int)size) {
          fprintf(stderr, "zerocopy: a send of %zu bytes gave %d\n", size, entry->res);
          exit(1);
        }
        done += size;
        sends += 1;
        if (entry->flags & IORING_CQE_F_MORE) notifications += 1;
        else free_places |= place;
      }
      io_uring_cqe_seen(&ring, entry);
    }
  }
  double spent = cpu() - before;
  printf("%-9s %6zu bytes a send: %.3f CPU s/GB", is_zero_copy ? "zero-copy" : "copy", size,
         spent * (1 << 30) / (double)total);
  if (is_zero_copy) printf(", %zu of %zu copied by the kernel after all", copied, sends);
  printf("\n");
  close(connection);
  io_uring_queue_exit(&ring);
  free(bytes);
}

int main(int count, char **arguments) {
  long megabytes = count > 2 ? strtol(arguments[1], NULL, 10) : 0, size = count > 2 ? strtol(arguments[2], NULL, 10) : 0;
  if (megabytes < 1 || size < 1 || size > 1 << 24 || count == 4 || count > 5) {
    fprintf(stderr, "usage: zerocopy MEGABYTES BYTES-PER-SEND [ADDRESS PORT | listen PORT]\n");
    return 2;
  }
  const char *target = count == 5 ? arguments[3] : "127.0.0.1";
  int port = count == 5 ? atoi(arguments[4]) : 0;
  if (count == 5 && strcmp(target, "listen") == 0) {
    int listener = listen_at("0.0.0.0", &port);
    drain(&listener);
    return 0;
  }
  pthread_t reader;
  int listener = -1;
  if (count != 5) {
    listener = listen_at(target, &port);
    if (pthread_create(&reader, NULL, drain, &listener)) die("thread");
  }
  size_t total = ((size_t)megabytes << 20) / (size_t)size * (size_t)size;
  for (int is_zero_copy = 0; is_zero_copy < 2; is_zero_copy++) measure(target, port, total, (size_t)size, is_zero_copy);
  if (count != 5) pthread_join(reader, NULL);
  return 0;
}
