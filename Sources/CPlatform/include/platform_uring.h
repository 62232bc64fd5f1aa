// liburing's inline functions that need C to set union members, and constants with casts. Semantics: io_uring(7).
#ifndef PLATFORM_URING_H
#define PLATFORM_URING_H
#include <sys/select.h>
#include <liburing.h>
#include <poll.h>
#include <stdint.h>
#include <sys/socket.h>

// One ring for one thread; completions are run only while that thread waits (kernel 6.1). 0 or -errno.
static inline int platform_uring_open(struct io_uring *ring, unsigned entries, unsigned completions) {
  struct io_uring_params parameters = {
      .flags = IORING_SETUP_SINGLE_ISSUER | IORING_SETUP_DEFER_TASKRUN | IORING_SETUP_SUBMIT_ALL | IORING_SETUP_CQSIZE,
      .cq_entries = completions,
  };
  return io_uring_queue_init_params(entries, ring, &parameters);
}

// Makes `ring_memory` (page-aligned, `count` entries) the ring of provided buffers `group`. 0 or -errno.
static inline int platform_uring_provide(struct io_uring *ring, void *ring_memory, unsigned count, uint16_t group) {
  struct io_uring_buf_reg registration = {
      .ring_addr = (uint64_t)(uintptr_t)ring_memory, .ring_entries = count, .bgid = group};
  return io_uring_register_buf_ring(ring, &registration, 0);
}

static inline void platform_uring_accept(struct io_uring_sqe *sqe, int listener) {
  io_uring_prep_multishot_accept(sqe, listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
}

static inline void platform_uring_receive(struct io_uring_sqe *sqe, int socket, uint16_t group) {
  io_uring_prep_recv_multishot(sqe, socket, NULL, 0, 0);
  sqe->flags |= IOSQE_BUFFER_SELECT;
  sqe->buf_group = group;
}

static inline void platform_uring_receive_once(struct io_uring_sqe *sqe, int socket, uint32_t count, uint16_t group) {
  io_uring_prep_recv(sqe, socket, NULL, count, 0);
  sqe->flags |= IOSQE_BUFFER_SELECT;
  sqe->buf_group = group;
}

// The kernel goes on by itself until all of it is taken.
static inline void platform_uring_send(struct io_uring_sqe *sqe, int socket, const void *bytes, size_t count) {
  io_uring_prep_send(sqe, socket, bytes, count, MSG_NOSIGNAL | MSG_WAITALL);
}

// Says nothing if it found what to cancel: that one's own completion tells.
static inline void platform_uring_cancel(struct io_uring_sqe *sqe, uint64_t user_data) {
  io_uring_prep_cancel64(sqe, user_data, 0);
  sqe->flags |= IOSQE_CQE_SKIP_SUCCESS;
}

static inline void platform_uring_poll(struct io_uring_sqe *sqe, int descriptor) {
  io_uring_prep_poll_multishot(sqe, descriptor, POLLIN);
}

static inline int platform_uring_has_buffer(uint32_t flags) { return (flags & IORING_CQE_F_BUFFER) != 0; }
static inline uint32_t platform_uring_buffer(uint32_t flags) { return flags >> IORING_CQE_BUFFER_SHIFT; }
static inline int platform_uring_has_more(uint32_t flags) { return (flags & IORING_CQE_F_MORE) != 0; }
#endif
