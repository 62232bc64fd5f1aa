// What the measuring programs share: sockets on loopback, and TLS set up as Sallyport does (TLS 1.2 or newer, the same
// ciphers, groups and verification), so that a comparison compares the relays and not their cryptography.
#pragma once

#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <openssl/err.h>
#include <openssl/ssl.h>
#include <signal.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

enum { LARGEST_RECORD = 16 * 1024 };

// SSLRequest: its length, 8, and its code, 80877103.
static const unsigned char ssl_request[8] = {0, 0, 0, 8, 4, 210, 22, 47};

__attribute__((noreturn, format(printf, 1, 2))) static inline void die(const char *format, ...) {
  va_list arguments;
  va_start(arguments, format);
  vfprintf(stderr, format, arguments);
  va_end(arguments);
  fputc('\n', stderr);
  ERR_print_errors_fp(stderr);
  exit(1);
}

static inline struct sockaddr_in loopback(uint32_t host, uint16_t port) {
  return (struct sockaddr_in){
      .sin_family = AF_INET, .sin_port = htons(port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK + host)};
}

static inline uint16_t port_number(const char *text) {
  char *end;
  long port = strtol(text, &end, 10);
  if (*text == 0 || *end != 0 || port < 1 || port > 65535) die("'%s' is not a port: name one from 1 to 65535", text);
  return (uint16_t)port;
}

static inline void no_delay(int socket) {
  if (setsockopt(socket, IPPROTO_TCP, TCP_NODELAY, &(int){1}, sizeof(int)) != 0) die("TCP_NODELAY: %s", strerror(errno));
}

// Processes that listen on the same port share its connections.
static inline int listen_on(uint16_t port) {
  int listener = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
  struct sockaddr_in address = loopback(0, port);
  if (listener < 0 || setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &(int){1}, sizeof(int)) != 0 ||
      setsockopt(listener, SOL_SOCKET, SO_REUSEPORT, &(int){1}, sizeof(int)) != 0 ||
      bind(listener, (struct sockaddr *)&address, sizeof address) != 0 || listen(listener, 4096) != 0)
    die("cannot listen on port %u: %s", port, strerror(errno));
  return listener;
}

static inline SSL_CTX *tls_context(const SSL_METHOD *method, const char *certificate, const char *key, const char *ca) {
  SSL_CTX *context = SSL_CTX_new(method);
  if (context == NULL || !SSL_CTX_set_min_proto_version(context, TLS1_2_VERSION) || !SSL_CTX_set_num_tickets(context, 0) ||
      !SSL_CTX_set_cipher_list(context, "ECDHE+AESGCM:ECDHE+CHACHA20") ||
      !SSL_CTX_set1_groups_list(context, "X25519:P-256:P-384"))
    die("cannot set up TLS");
  SSL_CTX_set_options(context, SSL_OP_NO_RENEGOTIATION | SSL_OP_NO_COMPRESSION | SSL_OP_NO_TICKET);
  SSL_CTX_set_session_cache_mode(context, SSL_SESS_CACHE_OFF);
  SSL_CTX_set_mode(context, SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER);
  if (certificate != NULL && (SSL_CTX_use_certificate_chain_file(context, certificate) != 1 ||
                              SSL_CTX_use_PrivateKey_file(context, key, SSL_FILETYPE_PEM) != 1))
    die("cannot use the certificate %s with the key %s", certificate, key);
  if (ca != NULL) {
    if (SSL_CTX_load_verify_locations(context, ca, NULL) != 1) die("cannot read the CA %s", ca);
    SSL_CTX_set_verify(context, SSL_VERIFY_PEER, NULL);
  }
  return context;
}

// A record in one read(2) instead of two, and no buffers while nothing is under way.
static inline void tls_lean(SSL_CTX *context) {
  SSL_CTX_set_read_ahead(context, 1);
  SSL_CTX_set_mode(context, SSL_MODE_RELEASE_BUFFERS);
}
