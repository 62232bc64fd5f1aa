// OpenSSL's macros as functions. Semantics: openssl-ssl(7).
#ifndef PLATFORM_OPENSSL_H
#define PLATFORM_OPENSSL_H
#include <sys/select.h>
#include <openssl/bio.h>
#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/ssl.h>
#include <openssl/x509v3.h>
#include <stdint.h>

// Makes a context: TLS 1.2 and 1.3, AEAD suites, no renegotiation, no compression; a server never resumes. NULL on failure.
SSL_CTX *platform_tls_context(int is_server);

// Server: asks for a certificate and accepts only one issued directly by a CA of the store.
void platform_tls_request_client_certificate(SSL_CTX *context);

// Server: application protocols in wire format (length-prefixed), copied into `context`. 1 on success.
int platform_tls_set_server_protocols(SSL_CTX *context, const uint8_t *protocols, size_t count);

// Server: a ClientHello without ALPN is refused with alert 120 on this session.
void platform_tls_require_protocol(SSL *ssl);

// Server: sessions that negotiate the protocol `name` go on with the certificate and client CAs of `other`. 1 on success.
int platform_tls_set_protocol_context(SSL_CTX *context, const uint8_t *name, uint8_t count, SSL_CTX *other);

// Client: verifies the server's certificate. A name in the Common Name alone is X509_V_ERR_APPLICATION_VERIFICATION.
void platform_tls_verify_server(SSL_CTX *context);

// Client: checks the name against the SANs only, never the Common Name. `address` nonzero: an IP literal.
int platform_tls_expect_name(SSL *ssl, const char *name, int is_address);
int platform_tls_send_server_name(SSL *ssl, const char *name);

// PEM helpers; 1 on success.
int platform_tls_use_certificate(SSL_CTX *context, const void *pem, int count);
int platform_tls_use_key(SSL_CTX *context, const void *pem, int count);
int platform_tls_trust(SSL_CTX *context, const void *pem, int count);  // number of certificates taken, -1 on failure
int platform_tls_announce_ca(SSL_CTX *context, const void *pem, int count);

// tls-server-end-point of the peer's certificate (RFC 5929 section 4.1): bytes written, 0 if it has none.
unsigned int platform_tls_end_point(const SSL *ssl, uint8_t *digest, unsigned int capacity);
// Whether the server's certificate that a session rests on has not expired since.
int platform_tls_is_in_date(const SSL_SESSION *session);
// DER of the peer's certificate: bytes written into a buffer to free with platform_free, or 0.
int platform_tls_peer_certificate(SSL *ssl, uint8_t **der);
void platform_free(void *pointer);
#endif
