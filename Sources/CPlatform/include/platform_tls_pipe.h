// The memory-fed BIO beneath an SSL, and what has to be seen of a handshake so that somebody else can go on with the
// records after it: the traffic secrets and how many records were read and written with them. Semantics: BIO_meth_new(3),
// SSL_CTX_set_keylog_callback(3), SSL_CTX_sess_set_new_cb(3), RFC 8446 section 5.
#ifndef PLATFORM_TLS_PIPE_H
#define PLATFORM_TLS_PIPE_H
#include <openssl/ssl.h>
#include <stddef.h>
#include <stdint.h>

enum {
  platform_tls_record_header = 5,
  platform_tls_explicit_nonce = 8,
  platform_tls_most_sessions = 4,
  platform_tls_longest_secret = 48
};

// Follows a stream of records from header to header.
typedef struct platform_tls_walk {
  uint8_t start[platform_tls_record_header + platform_tls_explicit_nonce];  // of the current or last record
  uint32_t taken;    // bytes of the current record so far; 0 between two records
  uint64_t records;  // that have ended since this was last set to 0
} platform_tls_walk;

// What one TLS session reads from and writes to. Lives as long as its SSL.
typedef struct platform_tls_pipe {
  const uint8_t *input;  // borrowed; valid while the owner says so
  size_t input_count;
  void *output_context;
  void (*output)(void *context, const void *bytes, long count);  // takes everything

  platform_tls_walk in, out;

  // TLS 1.3: the first traffic secrets of both sides.
  uint8_t client_secret[platform_tls_longest_secret], server_secret[platform_tls_longest_secret];
  uint8_t client_secret_count, server_secret_count;
  uint8_t has_updated_keys;  // the secrets are no longer the current ones

  // Client: sessions that the server offered for resumption, owned here until they are taken.
  SSL_SESSION *sessions[platform_tls_most_sessions];
  uint8_t session_count;
} platform_tls_pipe;

// Attaches a BIO over `pipe` for both directions, which hands out one record at a time. 1 on success.
int platform_tls_attach(SSL *ssl, platform_tls_pipe *pipe);

// Makes all sessions of `context` that are attached to a pipe note their secrets and offered sessions there.
void platform_tls_watch(SSL_CTX *context);

// Whether the processor has instructions for AES (x86-64: AES-NI; arm64: the AES extension).
int platform_has_aes_instructions(void);

// A session the server offered, now the caller's; NULL if there is none (any more).
SSL_SESSION *platform_tls_take_session(platform_tls_pipe *pipe);

// Wipes the secrets and frees the sessions nobody took.
void platform_tls_empty(platform_tls_pipe *pipe);
#endif
