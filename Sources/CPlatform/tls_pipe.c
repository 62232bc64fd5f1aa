#include "CPlatform.h"

#include <string.h>
#if defined(__aarch64__)
#include <asm/hwcap.h>
#include <sys/auxv.h>
#endif

// MARK: Records

// Goes on by at most `count` bytes and at most to the end of the current record; returns by how many.
static size_t walk(platform_tls_walk *walk, const uint8_t *bytes, size_t count) {
  size_t done = 0;
  while (done < count && walk->taken < platform_tls_record_header) walk->start[walk->taken++] = bytes[done++];
  if (walk->taken < platform_tls_record_header) return done;
  size_t total = platform_tls_record_header + ((size_t)walk->start[3] << 8 | walk->start[4]);
  size_t part = total - walk->taken < count - done ? total - walk->taken : count - done;
  for (size_t index = 0; index < part && walk->taken + index < sizeof walk->start; index++)
    walk->start[walk->taken + index] = bytes[done + index];
  walk->taken += (uint32_t)part;
  if (walk->taken == total) {
    walk->taken = 0;
    walk->records += 1;
  }
  return done + part;
}

// MARK: BIO

static int pipe_write(BIO *bio, const char *bytes, int count) {
  platform_tls_pipe *pipe = BIO_get_data(bio);
  if (count <= 0) return count;
  for (size_t done = 0; done < (size_t)count;)
    done += walk(&pipe->out, (const uint8_t *)bytes + done, (size_t)count - done);
  pipe->output(pipe->output_context, bytes, count);
  return count;
}

static int pipe_read(BIO *bio, char *bytes, int capacity) {
  platform_tls_pipe *pipe = BIO_get_data(bio);
  BIO_clear_retry_flags(bio);
  if (capacity <= 0) return 0;
  if (pipe->input_count == 0) {
    BIO_set_retry_read(bio);
    return -1;
  }
  // Not beyond the record: what OpenSSL has read ahead nobody else could decrypt.
  size_t part = pipe->input_count < (size_t)capacity ? pipe->input_count : (size_t)capacity;
  part = walk(&pipe->in, pipe->input, part);
  memcpy(bytes, pipe->input, part);
  pipe->input += part;
  pipe->input_count -= part;
  return (int)part;
}

static long pipe_ctrl(BIO *bio, int command, long number, void *pointer) {
  (void)bio, (void)number, (void)pointer;
  return command == BIO_CTRL_FLUSH ? 1 : 0;
}

static BIO_METHOD *pipe_method;
static int pipe_type;
static CRYPTO_ONCE pipe_once = CRYPTO_ONCE_STATIC_INIT;

static void make_pipe_method(void) {
  pipe_type = BIO_get_new_index() | BIO_TYPE_SOURCE_SINK;
  BIO_METHOD *method = BIO_meth_new(pipe_type, "sallyport pipe");
  if (method == NULL) return;
  BIO_meth_set_write(method, pipe_write);
  BIO_meth_set_read(method, pipe_read);
  BIO_meth_set_ctrl(method, pipe_ctrl);
  pipe_method = method;
}

int platform_tls_attach(SSL *ssl, platform_tls_pipe *pipe) {
  if (!CRYPTO_THREAD_run_once(&pipe_once, make_pipe_method) || pipe_method == NULL) return 0;
  BIO *bio = BIO_new(pipe_method);
  if (bio == NULL) return 0;
  BIO_set_data(bio, pipe);
  BIO_set_init(bio, 1);
  SSL_set_bio(ssl, bio, bio);
  return 1;
}

// MARK: What is seen of a handshake

// The pipe of a session; NULL before it is attached.
static platform_tls_pipe *pipe_of(const SSL *ssl) {
  BIO *bio = SSL_get_rbio(ssl);
  return bio != NULL && BIO_method_type(bio) == pipe_type ? BIO_get_data(bio) : NULL;
}

static int hex_digit(char digit) {
  if (digit >= '0' && digit <= '9') return digit - '0';
  if (digit >= 'a' && digit <= 'f') return digit - 'a' + 10;
  if (digit >= 'A' && digit <= 'F') return digit - 'A' + 10;
  return -1;
}

// Reads the second word behind `label` as hex; 0 if the line is another one.
static uint8_t read_secret(const char *line, const char *label, uint8_t *secret) {
  size_t prefix = strlen(label);
  if (strncmp(line, label, prefix) != 0 || line[prefix] != ' ') return 0;
  const char *hex = strchr(line + prefix + 1, ' ');
  if (hex == NULL) return 0;
  hex += 1;
  uint8_t count = 0;
  while (hex[0] != 0 && hex[1] != 0) {
    int high = hex_digit(hex[0]), low = hex_digit(hex[1]);
    if (high < 0 || low < 0 || count == platform_tls_longest_secret) return 0;
    secret[count++] = (uint8_t)(high << 4 | low);
    hex += 2;
  }
  return count;
}

static void note_secret(const SSL *ssl, const char *line) {
  platform_tls_pipe *pipe = pipe_of(ssl);
  if (pipe == NULL) return;
  uint8_t count = read_secret(line, "CLIENT_TRAFFIC_SECRET_0", pipe->client_secret);
  if (count > 0) pipe->client_secret_count = count;
  count = read_secret(line, "SERVER_TRAFFIC_SECRET_0", pipe->server_secret);
  if (count > 0) pipe->server_secret_count = count;
}

static void note_message(int is_written, int version, int type, const void *bytes, size_t count, SSL *ssl, void *argument) {
  (void)is_written, (void)version, (void)argument;
  platform_tls_pipe *pipe = pipe_of(ssl);
  if (pipe != NULL && type == SSL3_RT_HANDSHAKE && count > 0 && *(const uint8_t *)bytes == SSL3_MT_KEY_UPDATE)
    pipe->has_updated_keys = 1;
}

static int note_session(SSL *ssl, SSL_SESSION *session) {
  platform_tls_pipe *pipe = pipe_of(ssl);
  if (pipe == NULL || pipe->session_count == platform_tls_most_sessions || !SSL_SESSION_is_resumable(session)) return 0;
  pipe->sessions[pipe->session_count++] = session;
  return 1;
}

void platform_tls_watch(SSL_CTX *context) {
  SSL_CTX_set_keylog_callback(context, note_secret);
  SSL_CTX_set_msg_callback(context, note_message);
  SSL_CTX_sess_set_new_cb(context, note_session);
}

SSL_SESSION *platform_tls_take_session(platform_tls_pipe *pipe) {
  return pipe->session_count > 0 ? pipe->sessions[--pipe->session_count] : NULL;
}

void platform_tls_empty(platform_tls_pipe *pipe) {
  OPENSSL_cleanse(pipe->client_secret, sizeof pipe->client_secret);
  OPENSSL_cleanse(pipe->server_secret, sizeof pipe->server_secret);
  pipe->client_secret_count = pipe->server_secret_count = 0;
  for (SSL_SESSION *session; (session = platform_tls_take_session(pipe)) != NULL;) SSL_SESSION_free(session);
}

// MARK: Processor

int platform_has_aes_instructions(void) {
#if defined(__x86_64__)
  return __builtin_cpu_supports("aes") && __builtin_cpu_supports("pclmul");
#elif defined(__aarch64__)
  return (getauxval(AT_HWCAP) & HWCAP_AES) != 0;
#else
  return 0;
#endif
}
