// A database made of a script: speaks just enough Postgres over TLS for pgbench, psql's COPY and a pooler's questions, in a
// few KB a session, so that ten thousand sessions can stand behind a proxy. Lets everyone in. One thread, epoll.
//
// Usage: backend LISTEN_PORT CERTIFICATE KEY
//   select ...                  one row: 1
//   copy N to stdout            N MB in rows of 1 KB
//   copy ... from stdin         takes everything
//   anything else               "done"
#include "net.h"

#include <strings.h>

enum { LONGEST_MESSAGE = 1 << 20, ROW = 1024, ROWS_AT_ONCE = 15 };
enum stage { AWAIT_REQUEST, HANDSHAKE, AWAIT_STARTUP, READY, COPY_IN };

struct bytes {
  char *start;
  size_t count, capacity;
};

struct session {
  int socket;
  enum stage stage;
  SSL *tls;
  // Neither takes memory while the session is idle.
  struct bytes in, out;
  long rows_left;
};

static int poller;
static SSL_CTX *context;
static char buffer[LARGEST_RECORD];

// MARK: Bytes

static void append(struct bytes *bytes, const void *more, size_t count) {
  if (bytes->count + count > bytes->capacity) {
    bytes->capacity = 2 * (bytes->count + count);
    bytes->start = realloc(bytes->start, bytes->capacity);
    if (bytes->start == NULL) die("out of memory");
  }
  memcpy(bytes->start + bytes->count, more, count);
  bytes->count += count;
}

static void release(struct bytes *bytes) {
  free(bytes->start);
  *bytes = (struct bytes){0};
}

static void message(struct bytes *out, char type, const void *body, size_t count) {
  uint32_t length = htonl((uint32_t)(4 + count));
  append(out, &type, 1);
  append(out, &length, 4);
  append(out, body, count);
}

#define MESSAGE(out, type, literal) message(out, type, literal, sizeof(literal) - 1)

// MARK: Conversation

static void parameter(struct bytes *out, const char *name, const char *value) {
  struct bytes body = {0};
  append(&body, name, strlen(name) + 1);
  append(&body, value, strlen(value) + 1);
  message(out, 'S', body.start, body.count);
  release(&body);
}

static void greet(struct bytes *out) {
  MESSAGE(out, 'R', "\0\0\0\0");
  parameter(out, "server_version", "15.0");
  parameter(out, "server_encoding", "UTF8");
  parameter(out, "client_encoding", "UTF8");
  parameter(out, "DateStyle", "ISO, MDY");
  parameter(out, "TimeZone", "UTC");
  parameter(out, "integer_datetimes", "on");
  parameter(out, "standard_conforming_strings", "on");
  MESSAGE(out, 'K', "\0\0\0\1\0\0\0\2");
  MESSAGE(out, 'Z', "I");
}

static void describe(struct bytes *out) {
  // One column "?column?": no table, type int4 of four bytes, no modifier, as text.
  MESSAGE(out, 'T', "\0\1?column?\0\0\0\0\0\0\0\0\0\0\27\0\4\377\377\377\377\0\0");
}

static void row(struct bytes *out) { MESSAGE(out, 'D', "\0\1\0\0\0\1" "1"); }

static void query(struct session *session, const char *text, struct bytes *out) {
  if (strncasecmp(text, "select", 6) == 0) {
    describe(out);
    row(out);
    MESSAGE(out, 'C', "SELECT 1\0");
  } else if (strncasecmp(text, "copy", 4) == 0 && strcasestr(text, "to stdout") != NULL) {
    session->rows_left = strtol(text + 4, NULL, 10) * (1 << 20) / ROW;
    MESSAGE(out, 'H', "\0\0\1\0\0");
    return;
  } else if (strncasecmp(text, "copy", 4) == 0) {
    session->stage = COPY_IN;
    MESSAGE(out, 'G', "\0\0\1\0\0");
    return;
  } else {
    MESSAGE(out, 'C', "DONE\0");
  }
  MESSAGE(out, 'Z', "I");
}

// What answers one message; false ends the session. `body` is followed by at least one readable byte.
static bool answer(struct session *session, char type, const char *body, struct bytes *out) {
  switch (type) {
  case 'Q': query(session, body, out); return true;
  case 'P': MESSAGE(out, '1', ""); return true;
  case 'B': MESSAGE(out, '2', ""); return true;
  case 'D':
    if (*body == 'S') MESSAGE(out, 't', "\0\0");
    describe(out);
    return true;
  case 'E':
    row(out);
    MESSAGE(out, 'C', "SELECT 1\0");
    return true;
  case 'C': MESSAGE(out, '3', ""); return true;
  case 'S': MESSAGE(out, 'Z', "I"); return true;
  case 'c':
    session->stage = READY;
    MESSAGE(out, 'C', "COPY 1\0");
    MESSAGE(out, 'Z', "I");
    return true;
  case 'd': return session->stage == COPY_IN;
  case 'H': return true;
  default: return false;
  }
}

static void fill_with_rows(struct session *session, struct bytes *out) {
  static char line[ROW - 5];
  memset(line, 'x', sizeof line - 1);
  line[sizeof line - 1] = '\n';
  for (int done = 0; done < ROWS_AT_ONCE && session->rows_left > 0; done++) {
    message(out, 'd', line, sizeof line);
    if (--session->rows_left > 0) continue;
    MESSAGE(out, 'c', "");
    MESSAGE(out, 'C', "COPY 1\0");
    MESSAGE(out, 'Z', "I");
  }
}

// Answers the whole messages at the start of `bytes`; gives how many bytes those are, or -1 for what is no Postgres.
static ssize_t answer_messages(struct session *session, const char *bytes, size_t count, struct bytes *out) {
  size_t done = 0;
  for (;;) {
    size_t prefix = session->stage == AWAIT_STARTUP ? 0 : 1;
    uint32_t length;
    if (count - done < prefix + 4) break;
    memcpy(&length, bytes + done + prefix, 4);
    length = ntohl(length);
    if (length < 4 || length > LONGEST_MESSAGE) return -1;
    if (count - done < prefix + length) break;
    if (session->stage == AWAIT_STARTUP) {
      greet(out);
      session->stage = READY;
    } else {
      // Bodies of text end in a zero byte of their own.
      const char *body = bytes + done + 5;
      bool is_text = length > 4 && body[length - 5] == 0;
      if (bytes[done] == 'Q' && !is_text) return -1;
      if (!answer(session, bytes[done], length > 4 ? body : "", out)) return -1;
    }
    done += prefix + length;
  }
  return (ssize_t)done;
}

// MARK: Sockets

static void watch(struct session *session, uint32_t events, int operation) {
  struct epoll_event event = {.events = events, .data.ptr = session};
  if (epoll_ctl(poller, operation, session->socket, &event) != 0) die("epoll_ctl: %s", strerror(errno));
}

static bool may_retry(struct session *session, int result) {
  int error = SSL_get_error(session->tls, result);
  return error == SSL_ERROR_WANT_READ || error == SSL_ERROR_WANT_WRITE;
}

// Sends what there is, a COPY's rows included; false: broken. What the socket does not take waits for room.
static bool flush(struct session *session) {
  for (;;) {
    if (session->out.count == 0 && session->rows_left > 0) fill_with_rows(session, &session->out);
    if (session->out.count == 0) break;
    ERR_clear_error();
    int written = SSL_write(session->tls, session->out.start, (int)session->out.count);
    if (written <= 0) {
      if (!may_retry(session, written)) return false;
      watch(session, EPOLLOUT, EPOLL_CTL_MOD);
      return true;
    }
    session->out.count = 0;
  }
  release(&session->out);
  return true;
}

static bool receive(struct session *session) {
  do {
    ERR_clear_error();
    int count = SSL_read(session->tls, buffer, sizeof buffer);
    if (count <= 0) return may_retry(session, count);
    const char *bytes = buffer;
    size_t total = (size_t)count;
    if (session->in.count > 0) {
      append(&session->in, buffer, (size_t)count);
      bytes = session->in.start;
      total = session->in.count;
    }
    ssize_t done = answer_messages(session, bytes, total, &session->out);
    if (done < 0) return false;
    struct bytes rest = {0};
    if ((size_t)done < total) append(&rest, bytes + done, total - (size_t)done);
    release(&session->in);
    session->in = rest;
  } while (SSL_has_pending(session->tls));
  return flush(session);
}

static bool advance(struct session *session, uint32_t events) {
  unsigned char request[sizeof ssl_request];
  switch (session->stage) {
  case AWAIT_REQUEST:
    if (recv(session->socket, request, sizeof request, 0) != sizeof request ||
        memcmp(request, ssl_request, sizeof request) != 0 || send(session->socket, "S", 1, MSG_NOSIGNAL) != 1)
      return false;
    session->tls = SSL_new(context);
    if (session->tls == NULL || !SSL_set_fd(session->tls, session->socket)) die("cannot make a TLS session");
    SSL_set_accept_state(session->tls);
    session->stage = HANDSHAKE;
    return true;
  case HANDSHAKE: {
    ERR_clear_error();
    int result = SSL_do_handshake(session->tls);
    if (result != 1) return may_retry(session, result);
    session->stage = AWAIT_STARTUP;
    return SSL_has_pending(session->tls) ? receive(session) : true;
  }
  default:
    if (session->out.count == 0) return receive(session);
    if (!(events & EPOLLOUT) || !flush(session)) return false;
    if (session->out.count == 0) watch(session, EPOLLIN, EPOLL_CTL_MOD);
    return true;
  }
}

static void end(struct session *session) {
  SSL_free(session->tls);
  close(session->socket);
  release(&session->in);
  release(&session->out);
  free(session);
}

int main(int count, char **arguments) {
  if (count != 4) die("usage: backend LISTEN_PORT CERTIFICATE KEY");
  signal(SIGPIPE, SIG_IGN);
  context = tls_context(TLS_server_method(), arguments[2], arguments[3], NULL);
  tls_lean(context);
  poller = epoll_create1(EPOLL_CLOEXEC);
  int listener = listen_on(port_number(arguments[1]));
  struct epoll_event accepting = {.events = EPOLLIN}, events[256];
  if (poller < 0 || epoll_ctl(poller, EPOLL_CTL_ADD, listener, &accepting) != 0) die("epoll: %s", strerror(errno));
  for (;;) {
    int ready = epoll_wait(poller, events, 256, -1);
    for (int index = 0; index < ready; index++) {
      struct session *session = events[index].data.ptr;
      if (session != NULL) {
        if (!advance(session, events[index].events)) end(session);
        continue;
      }
      int client = accept4(listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
      if (client < 0) continue;
      session = calloc(1, sizeof *session);
      if (session == NULL) die("out of memory");
      session->socket = client;
      no_delay(client);
      watch(session, EPOLLIN, EPOLL_CTL_ADD);
    }
  }
}
