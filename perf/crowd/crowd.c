// Opens many sessions to a Postgres behind TLS and keeps them idle. Reads how many there are to be, a number a line, opens
// those that are missing, runs one query in each and answers with the number. End of input closes all.
//
// Usage: crowd [--passing] PORT USER DATABASE [CERTIFICATE KEY]
//   Logs in without a password. Connects from eight loopback addresses in turn, so that none runs out of ports.
//   --passing: a session ends after its query, as those of short-lived programs do; the number is of all there were.
#include "net.h"

#include <pthread.h>
#include <stdatomic.h>

enum { THREADS = 16, SOURCES = 8 };

static struct sockaddr_in server;
static SSL_CTX *context;
static char startup[512];
static size_t startup_count;
static atomic_long taken;
static long wanted;
static bool passing;

static int dial(long number) {
  int connection = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  struct sockaddr_in source = loopback((uint32_t)(1 + number % SOURCES), 0);
  if (connection < 0 || setsockopt(connection, IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, &(int){1}, sizeof(int)) != 0 ||
      bind(connection, (struct sockaddr *)&source, sizeof source) != 0 ||
      connect(connection, (struct sockaddr *)&server, sizeof server) != 0)
    die("session %ld: cannot connect: %s", number, strerror(errno));
  no_delay(connection);
  return connection;
}

static void read_all(SSL *tls, long number, char *bytes, size_t count) {
  for (size_t done = 0; done < count;) {
    int part = SSL_read(tls, bytes + done, (int)(count - done));
    if (part <= 0) die("session %ld ended early", number);
    done += (size_t)part;
  }
}

static void await_ready(SSL *tls, long number) {
  char header[5], body[4096];
  do {
    uint32_t length;
    read_all(tls, number, header, sizeof header);
    memcpy(&length, header + 1, 4);
    length = ntohl(length);
    if (length < 4 || length - 4 > sizeof body) die("session %ld: a message of %u bytes", number, length);
    read_all(tls, number, body, length - 4);
    if (header[0] == 'E') {
      // Fields end in zero bytes each.
      for (uint32_t index = 0; index < length - 4; index++)
        if (body[index] == 0) body[index] = ' ';
      die("session %ld: %.*s", number, (int)(length - 4), body);
    }
    uint32_t code = 0;
    if (header[0] == 'R' && length >= 8) memcpy(&code, body, 4);
    if (code != 0) die("session %ld: a password is asked for, and crowd has none", number);
  } while (header[0] != 'Z');
}

static void say_goodbye(SSL *tls, int connection, long number) {
  static const char terminate[] = {'X', 0, 0, 0, 4};
  if (SSL_write(tls, terminate, sizeof terminate) <= 0 || SSL_shutdown(tls) < 0) die("session %ld: cannot say goodbye", number);
  close(connection);
}

static void open_session(long number) {
  int connection = dial(number);
  char reply;
  if (send(connection, ssl_request, sizeof ssl_request, MSG_NOSIGNAL) != sizeof ssl_request ||
      recv(connection, &reply, 1, 0) != 1 || reply != 'S')
    die("session %ld: no TLS there", number);
  SSL *tls = SSL_new(context);
  if (tls == NULL || !SSL_set_fd(tls, connection) || SSL_connect(tls) != 1) die("session %ld: TLS failed", number);
  if (SSL_write(tls, startup, (int)startup_count) <= 0) die("session %ld: cannot write", number);
  await_ready(tls, number);
  static const char query[] = "Q\0\0\0\15select 1";
  if (SSL_write(tls, query, sizeof query) <= 0) die("session %ld: cannot write", number);
  await_ready(tls, number);
  // A session that stays open does so without its OpenSSL half: it says nothing any more, and the memory is the machine's.
  if (passing)
    say_goodbye(tls, connection, number);
  else
    SSL_set_quiet_shutdown(tls, 1);
  SSL_free(tls);
}

static void *open_sessions(void *unused) {
  (void)unused;
  for (;;) {
    long number = atomic_fetch_add(&taken, 1);
    if (number >= wanted) return NULL;
    open_session(number);
  }
}

static void add_field(const char *text) {
  size_t count = strlen(text) + 1;
  if (startup_count + count >= sizeof startup) die("'%s' is too long", text);
  memcpy(startup + startup_count, text, count);
  startup_count += count;
}

static void make_startup(const char *user, const char *database) {
  memcpy(startup + 4, "\0\3\0\0", 4);
  startup_count = 8;
  add_field("user"), add_field(user), add_field("database"), add_field(database), add_field("");
  uint32_t length = htonl((uint32_t)startup_count);
  memcpy(startup, &length, 4);
}

int main(int count, char **arguments) {
  passing = count > 1 && strcmp(arguments[1], "--passing") == 0;
  if (passing) arguments++, count--;
  if (count != 4 && count != 6) die("usage: crowd [--passing] PORT USER DATABASE [CERTIFICATE KEY]");
  signal(SIGPIPE, SIG_IGN);
  server = loopback(0, port_number(arguments[1]));
  make_startup(arguments[2], arguments[3]);
  context = tls_context(TLS_client_method(), count == 6 ? arguments[4] : NULL, count == 6 ? arguments[5] : NULL, NULL);
  char line[32];
  while (fgets(line, sizeof line, stdin) != NULL) {
    long held = wanted;
    wanted = strtol(line, NULL, 10);
    if (wanted < held) die("%ld sessions are open already", held);
    taken = held;
    pthread_t threads[THREADS];
    for (int index = 0; index < THREADS; index++)
      if (pthread_create(&threads[index], NULL, open_sessions, NULL) != 0) die("cannot start a thread");
    for (int index = 0; index < THREADS; index++) pthread_join(threads[index], NULL);
    printf("%ld\n", wanted);
    fflush(stdout);
  }
  return 0;
}
