// The floor: what the kernel and OpenSSL alone cost a relay with TLS on both sides. One thread, epoll, no parsing beyond
// the SSLRequest, no limits, no checks of who connects: a yardstick, not a proxy to run.
//
// Usage: floor naive|lean LISTEN_PORT DATABASE_PORT CERTIFICATE KEY CA
//   naive  as one writes it down at first: OpenSSL's defaults, read until there is nothing more
//   lean   whole records are read at once, no read that can only find nothing, buffers released while idle: its memory is
//          what OpenSSL alone takes
#include "net.h"

enum stage {
  AWAIT_REQUEST,    // client: the SSLRequest
  CLIENT_HANDSHAKE, // client: SSL_accept
  AWAIT_SERVER,     // client: ready, the other leg is not
  CONNECTING,       // server: connect(2)
  AWAIT_ANSWER,     // server: the byte that answers our SSLRequest
  SERVER_HANDSHAKE, // server: SSL_connect
  RELAY,
  CLOSED,
};

struct leg {
  int socket;
  enum stage stage;
  SSL *tls;
  struct leg *other;
  // What SSL_write could not finish; the other leg is not read meanwhile.
  char *held;
  int held_count;
  struct leg *next_closed;
};

static int poller;
static bool is_lean;
static struct sockaddr_in database;
static SSL_CTX *server_context, *client_context;
// Freed at the end of the turn: a later event of it may still name them.
static struct leg *closed_legs;
static char buffer[LARGEST_RECORD];

static void watch(struct leg *leg, uint32_t events, int operation) {
  struct epoll_event event = {.events = events, .data.ptr = leg};
  if (epoll_ctl(poller, operation, leg->socket, &event) != 0) die("epoll_ctl: %s", strerror(errno));
}

static struct leg *make_leg(int socket, enum stage stage, uint32_t events) {
  struct leg *leg = calloc(1, sizeof *leg);
  if (leg == NULL) die("out of memory");
  *leg = (struct leg){.socket = socket, .stage = stage};
  no_delay(socket);
  watch(leg, events, EPOLL_CTL_ADD);
  return leg;
}

static void close_leg(struct leg *leg) {
  if (leg == NULL || leg->stage == CLOSED) return;
  if (leg->stage == RELAY) SSL_shutdown(leg->tls);
  leg->stage = CLOSED;
  close(leg->socket);
  leg->next_closed = closed_legs;
  closed_legs = leg;
  close_leg(leg->other);
}

static void free_closed(void) {
  while (closed_legs != NULL) {
    struct leg *leg = closed_legs;
    closed_legs = leg->next_closed;
    SSL_free(leg->tls);
    free(leg->held);
    free(leg);
  }
}

static void begin_tls(struct leg *leg, SSL_CTX *context, enum stage stage) {
  leg->tls = SSL_new(context);
  if (leg->tls == NULL || !SSL_set_fd(leg->tls, leg->socket)) die("cannot make a TLS session");
  leg->stage = stage;
  stage == CLIENT_HANDSHAKE ? SSL_set_accept_state(leg->tls) : SSL_set_connect_state(leg->tls);
}

// Whether a call may be made again later; anything else ends the session.
static bool may_retry(struct leg *leg, int result) {
  int error = SSL_get_error(leg->tls, result);
  return error == SSL_ERROR_WANT_READ || error == SSL_ERROR_WANT_WRITE;
}

// A leg is read while the other one takes what it brings, and written when there is something held.
static void watch_relayed(struct leg *leg) {
  watch(leg, (leg->other->held == NULL ? EPOLLIN : 0) | (leg->held != NULL ? EPOLLOUT : 0), EPOLL_CTL_MOD);
}

static void relay(struct leg *from) {
  struct leg *to = from->other;
  do {
    ERR_clear_error();
    int count = SSL_read(from->tls, buffer, sizeof buffer);
    if (count <= 0) {
      if (!may_retry(from, count)) close_leg(from);
      return;
    }
    int written = SSL_write(to->tls, buffer, count);
    if (written > 0) continue;
    if (!may_retry(to, written)) return close_leg(to);
    to->held = malloc((size_t)count);
    if (to->held == NULL) die("out of memory");
    memcpy(to->held, buffer, (size_t)count);
    to->held_count = count;
    watch_relayed(to);
    return watch_relayed(from);
  } while (!is_lean || SSL_has_pending(from->tls));
}

static void write_held(struct leg *leg) {
  ERR_clear_error();
  int written = SSL_write(leg->tls, leg->held, leg->held_count);
  if (written <= 0) {
    if (!may_retry(leg, written)) close_leg(leg);
    return;
  }
  free(leg->held);
  leg->held = NULL;
  watch_relayed(leg);
  watch_relayed(leg->other);
  relay(leg->other);
}

static void dial(struct leg *client) {
  int descriptor = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
  if (descriptor < 0) return close_leg(client);
  // EINPROGRESS is no failure, and a failure is an event too.
  (void)connect(descriptor, (struct sockaddr *)&database, sizeof database);
  client->stage = AWAIT_SERVER;
  watch(client, 0, EPOLL_CTL_MOD);
  client->other = make_leg(descriptor, CONNECTING, EPOLLOUT);
  client->other->other = client;
}

static void handshake(struct leg *leg) {
  ERR_clear_error();
  int result = SSL_do_handshake(leg->tls);
  if (result != 1) {
    if (!may_retry(leg, result)) close_leg(leg);
  } else if (leg->stage == CLIENT_HANDSHAKE) {
    dial(leg);
  } else {
    leg->stage = leg->other->stage = RELAY;
    watch(leg->other, EPOLLIN, EPOLL_CTL_MOD);
    // The startup message may have been read along with the end of the handshake.
    relay(leg->other);
  }
}

static void advance(struct leg *leg, uint32_t events) {
  unsigned char bytes[sizeof ssl_request];
  switch (leg->stage) {
  case AWAIT_REQUEST:
    if (recv(leg->socket, bytes, sizeof bytes, 0) != sizeof bytes || memcmp(bytes, ssl_request, sizeof bytes) != 0 ||
        send(leg->socket, "S", 1, MSG_NOSIGNAL) != 1)
      return close_leg(leg);
    return begin_tls(leg, server_context, CLIENT_HANDSHAKE);
  case CONNECTING:
    if (send(leg->socket, ssl_request, sizeof ssl_request, MSG_NOSIGNAL) != sizeof ssl_request) return close_leg(leg);
    leg->stage = AWAIT_ANSWER;
    return watch(leg, EPOLLIN, EPOLL_CTL_MOD);
  case AWAIT_ANSWER:
    if (recv(leg->socket, bytes, 1, 0) != 1 || bytes[0] != 'S') return close_leg(leg);
    begin_tls(leg, client_context, SERVER_HANDSHAKE);
    return handshake(leg);
  case CLIENT_HANDSHAKE:
  case SERVER_HANDSHAKE: return handshake(leg);
  case RELAY:
    if (events & EPOLLOUT && leg->held != NULL) write_held(leg);
    // A hang-up comes unasked for, whatever is held.
    if (events & EPOLLHUP && leg->other->held != NULL) return close_leg(leg);
    if (events & ~(uint32_t)EPOLLOUT && leg->stage == RELAY && leg->other->held == NULL) relay(leg);
    return;
  // Nothing is awaited of it: the client has gone.
  case AWAIT_SERVER: return close_leg(leg);
  case CLOSED: return;
  }
}

int main(int count, char **arguments) {
  if (count != 7 || (strcmp(arguments[1], "naive") != 0 && strcmp(arguments[1], "lean") != 0))
    die("usage: floor naive|lean LISTEN_PORT DATABASE_PORT CERTIFICATE KEY CA");
  signal(SIGPIPE, SIG_IGN);
  is_lean = strcmp(arguments[1], "lean") == 0;
  database = loopback(0, port_number(arguments[3]));
  server_context = tls_context(TLS_server_method(), arguments[4], arguments[5], NULL);
  client_context = tls_context(TLS_client_method(), NULL, NULL, arguments[6]);
  if (is_lean) tls_lean(server_context), tls_lean(client_context);
  poller = epoll_create1(EPOLL_CLOEXEC);
  int listener = listen_on(port_number(arguments[2]));
  struct epoll_event accepting = {.events = EPOLLIN}, events[256];
  if (poller < 0 || epoll_ctl(poller, EPOLL_CTL_ADD, listener, &accepting) != 0) die("epoll: %s", strerror(errno));
  for (;;) {
    int ready = epoll_wait(poller, events, 256, -1);
    for (int index = 0; index < ready; index++) {
      struct leg *leg = events[index].data.ptr;
      if (leg != NULL) {
        advance(leg, events[index].events);
        continue;
      }
      int client = accept4(listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
      if (client >= 0) make_leg(client, AWAIT_REQUEST, EPOLLIN);
    }
    free_closed();
  }
}
