#include "CPlatform.h"

#include <stdlib.h>
#include <string.h>

// MARK: Contexts

// Indices of our own data on SSL_CTX and SSL.
static int protocols_index, choices_index, required_index;
static CRYPTO_ONCE index_once = CRYPTO_ONCE_STATIC_INIT;

typedef struct protocol_list {
  size_t count;
  uint8_t bytes[];
} protocol_list;

static void free_protocols(void *parent, void *data, CRYPTO_EX_DATA *ad, int index, long argl, void *argp) {
  (void)parent, (void)ad, (void)index, (void)argl, (void)argp;
  free(data);
}

// Contexts that take over once a certain protocol is agreed on.
typedef struct protocol_choice {
  struct protocol_choice *next;
  SSL_CTX *context;
  uint8_t count;
  uint8_t name[];
} protocol_choice;

static void free_choices(void *parent, void *data, CRYPTO_EX_DATA *ad, int index, long argl, void *argp) {
  (void)parent, (void)ad, (void)index, (void)argl, (void)argp;
  for (protocol_choice *choice = data, *next; choice != NULL; choice = next) {
    next = choice->next;
    SSL_CTX_free(choice->context);
    free(choice);
  }
}

static void make_indices(void) {
  protocols_index = SSL_CTX_get_ex_new_index(0, NULL, NULL, NULL, free_protocols);
  choices_index = SSL_CTX_get_ex_new_index(0, NULL, NULL, NULL, free_choices);
  required_index = SSL_get_ex_new_index(0, NULL, NULL, NULL, NULL);
}

// AES-128 before AES-256: the same margin in practice, about a tenth cheaper in bulk (decision 046).
#define AES_FIRST_13 "TLS_AES_128_GCM_SHA256:TLS_AES_256_GCM_SHA384:TLS_CHACHA20_POLY1305_SHA256"
#define CHACHA_FIRST_13 "TLS_CHACHA20_POLY1305_SHA256:TLS_AES_128_GCM_SHA256:TLS_AES_256_GCM_SHA384"
#define AES_FIRST_12 "ECDHE+AES128+AESGCM:ECDHE+AES256+AESGCM:ECDHE+CHACHA20"
#define CHACHA_FIRST_12 "ECDHE+CHACHA20:ECDHE+AES128+AESGCM:ECDHE+AES256+AESGCM"

SSL_CTX *platform_tls_context(int is_server) {
  if (!CRYPTO_THREAD_run_once(&index_once, make_indices)) return NULL;
  SSL_CTX *context = SSL_CTX_new(is_server ? TLS_server_method() : TLS_client_method());
  if (context == NULL) return NULL;
  SSL_CTX_set_security_level(context, 2);
  SSL_CTX_set_options(context, SSL_OP_NO_RENEGOTIATION | SSL_OP_NO_COMPRESSION);
  // A server resumes nothing, so no check of a client's certificate is ever skipped. A client keeps sessions, outside.
  if (is_server) {
    SSL_CTX_set_options(context, SSL_OP_NO_TICKET | SSL_OP_CIPHER_SERVER_PREFERENCE | SSL_OP_PRIORITIZE_CHACHA);
    SSL_CTX_set_session_cache_mode(context, SSL_SESS_CACHE_OFF);
  } else {
    SSL_CTX_set_session_cache_mode(context, SSL_SESS_CACHE_CLIENT | SSL_SESS_CACHE_NO_INTERNAL);
  }
  SSL_CTX_set_mode(context, SSL_MODE_RELEASE_BUFFERS | SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER);
  int has_aes = platform_has_aes_instructions();
  // A client sends a share of the first group only. PostgreSQL up to 17 knows P-256 alone (ssl_ecdh_curve), and asks for
  // another ClientHello if the share is of X25519: a round trip and a key more.
  if (!SSL_CTX_set_min_proto_version(context, TLS1_2_VERSION) || !SSL_CTX_set_num_tickets(context, 0) ||
      !SSL_CTX_set_ciphersuites(context, has_aes ? AES_FIRST_13 : CHACHA_FIRST_13) ||
      !SSL_CTX_set_cipher_list(context, has_aes ? AES_FIRST_12 : CHACHA_FIRST_12) ||
      !SSL_CTX_set1_groups_list(context, is_server ? "X25519:P-256:P-384" : "P-256:X25519:P-384")) {
    SSL_CTX_free(context);
    return NULL;
  }
  platform_tls_watch(context);
  // Whole records are read at once: two BIO reads (header, body) become one.
  SSL_CTX_set_read_ahead(context, 1);
  return context;
}

// A mismatch of a certificate that has no SAN at all gets an error of its own: the mend is another one.
static int explain_mismatch(int ok, X509_STORE_CTX *store) {
  if (ok || X509_STORE_CTX_get_error(store) != X509_V_ERR_HOSTNAME_MISMATCH) return ok;
  X509 *certificate = X509_STORE_CTX_get_current_cert(store);
  if (certificate == NULL || X509_get_ext_by_NID(certificate, NID_subject_alt_name, -1) >= 0) return ok;
  if (X509_NAME_get_index_by_NID(X509_get_subject_name(certificate), NID_commonName, -1) >= 0)
    X509_STORE_CTX_set_error(store, X509_V_ERR_APPLICATION_VERIFICATION);
  return ok;
}

void platform_tls_verify_server(SSL_CTX *context) { SSL_CTX_set_verify(context, SSL_VERIFY_PEER, explain_mismatch); }

void platform_tls_request_client_certificate(SSL_CTX *context) {
  static const unsigned char session_context[] = "sallyport";
  SSL_CTX_set_verify(context, SSL_VERIFY_PEER, NULL);
  // No intermediate: the leaf hangs directly under a CA we trust.
  SSL_CTX_set_verify_depth(context, 0);
  SSL_CTX_set_session_id_context(context, session_context, sizeof session_context - 1);
}

static int select_protocol(SSL *ssl, const unsigned char **out, unsigned char *out_count, const unsigned char *in,
                           unsigned int in_count, void *argument) {
  (void)argument;
  const protocol_list *ours = SSL_CTX_get_ex_data(SSL_get_SSL_CTX(ssl), protocols_index);
  if (ours == NULL) return SSL_TLSEXT_ERR_ALERT_FATAL;
  unsigned char *chosen = NULL;
  if (SSL_select_next_proto(&chosen, out_count, ours->bytes, (unsigned int)ours->count, in, in_count) !=
      OPENSSL_NPN_NEGOTIATED)
    return SSL_TLSEXT_ERR_ALERT_FATAL;
  *out = chosen;
  const protocol_choice *choice = SSL_CTX_get_ex_data(SSL_get_SSL_CTX(ssl), choices_index);
  for (; choice != NULL; choice = choice->next) {
    if (choice->count != *out_count || memcmp(choice->name, chosen, choice->count) != 0) continue;
    // The name must live on, and the choice does as long as the session's first context, which the caller keeps.
    *out = choice->name;
    SSL_set_SSL_CTX(ssl, choice->context);
    break;
  }
  return SSL_TLSEXT_ERR_OK;
}

static int check_hello(SSL *ssl, int *alert, void *argument) {
  (void)argument;
  const unsigned char *extension;
  size_t count;
  if (SSL_get_ex_data(ssl, required_index) != NULL &&
      !SSL_client_hello_get0_ext(ssl, TLSEXT_TYPE_application_layer_protocol_negotiation, &extension, &count)) {
    *alert = SSL_AD_NO_APPLICATION_PROTOCOL;
    return SSL_CLIENT_HELLO_ERROR;
  }
  return SSL_CLIENT_HELLO_SUCCESS;
}

int platform_tls_set_server_protocols(SSL_CTX *context, const uint8_t *protocols, size_t count) {
  protocol_list *list = malloc(sizeof *list + count);
  if (list == NULL) return 0;
  list->count = count;
  memcpy(list->bytes, protocols, count);
  if (!SSL_CTX_set_ex_data(context, protocols_index, list)) {
    free(list);
    return 0;
  }
  SSL_CTX_set_alpn_select_cb(context, select_protocol, NULL);
  SSL_CTX_set_client_hello_cb(context, check_hello, NULL);
  return 1;
}

void platform_tls_require_protocol(SSL *ssl) { SSL_set_ex_data(ssl, required_index, ssl); }

int platform_tls_set_protocol_context(SSL_CTX *context, const uint8_t *name, uint8_t count, SSL_CTX *other) {
  protocol_choice *choice = malloc(sizeof *choice + count);
  if (choice == NULL) return 0;
  choice->context = other;
  choice->count = count;
  memcpy(choice->name, name, count);
  choice->next = SSL_CTX_get_ex_data(context, choices_index);
  if (!SSL_CTX_up_ref(other)) {
    free(choice);
    return 0;
  }
  if (SSL_CTX_set_ex_data(context, choices_index, choice)) return 1;
  SSL_CTX_free(other);
  free(choice);
  return 0;
}

int platform_tls_expect_name(SSL *ssl, const char *name, int is_address) {
  X509_VERIFY_PARAM *parameters = SSL_get0_param(ssl);
  X509_VERIFY_PARAM_set_hostflags(parameters, X509_CHECK_FLAG_NEVER_CHECK_SUBJECT | X509_CHECK_FLAG_NO_PARTIAL_WILDCARDS);
  return is_address ? X509_VERIFY_PARAM_set1_ip_asc(parameters, name)
                    : X509_VERIFY_PARAM_set1_host(parameters, name, 0);
}

int platform_tls_send_server_name(SSL *ssl, const char *name) { return (int)SSL_set_tlsext_host_name(ssl, name); }

// MARK: PEM

static BIO *memory(const void *pem, int count) { return BIO_new_mem_buf(pem, count); }

int platform_tls_use_certificate(SSL_CTX *context, const void *pem, int count) {
  BIO *bio = memory(pem, count);
  if (bio == NULL) return 0;
  X509 *leaf = PEM_read_bio_X509(bio, NULL, NULL, NULL);
  int ok = leaf != NULL && SSL_CTX_use_certificate(context, leaf);
  X509_free(leaf);
  while (ok) {
    X509 *issuer = PEM_read_bio_X509(bio, NULL, NULL, NULL);
    if (issuer == NULL) break;
    ok = SSL_CTX_add1_chain_cert(context, issuer);
    X509_free(issuer);
  }
  BIO_free(bio);
  ERR_clear_error();
  return ok;
}

int platform_tls_use_key(SSL_CTX *context, const void *pem, int count) {
  BIO *bio = memory(pem, count);
  if (bio == NULL) return 0;
  EVP_PKEY *key = PEM_read_bio_PrivateKey(bio, NULL, NULL, NULL);
  int ok = key != NULL && SSL_CTX_use_PrivateKey(context, key) && SSL_CTX_check_private_key(context);
  EVP_PKEY_free(key);
  BIO_free(bio);
  return ok;
}

int platform_tls_trust(SSL_CTX *context, const void *pem, int count) {
  BIO *bio = memory(pem, count);
  if (bio == NULL) return -1;
  int taken = 0;
  X509 *certificate;
  while ((certificate = PEM_read_bio_X509(bio, NULL, NULL, NULL)) != NULL) {
    int ok = X509_STORE_add_cert(SSL_CTX_get_cert_store(context), certificate);
    X509_free(certificate);
    if (!ok) {
      taken = -1;
      break;
    }
    taken += 1;
  }
  BIO_free(bio);
  ERR_clear_error();
  return taken;
}

int platform_tls_announce_ca(SSL_CTX *context, const void *pem, int count) {
  BIO *bio = memory(pem, count);
  if (bio == NULL) return 0;
  X509 *certificate = PEM_read_bio_X509(bio, NULL, NULL, NULL);
  int ok = certificate != NULL && SSL_CTX_add_client_CA(context, certificate);
  X509_free(certificate);
  BIO_free(bio);
  return ok;
}

// MARK: Peer

unsigned int platform_tls_end_point(const SSL *ssl, uint8_t *digest, unsigned int capacity) {
  const X509 *certificate = SSL_get0_peer_certificate(ssl);
  if (certificate == NULL || capacity < EVP_MAX_MD_SIZE) return 0;
  int signature_digest = NID_undef;
  unsigned int count = 0;
  // Unlike OBJ_find_sigid_algs this knows RSA-PSS, whose hash is a parameter; Ed25519 has none and so no binding.
  if (X509_get_signature_info((X509 *)certificate, &signature_digest, NULL, NULL, NULL)) {
    if (signature_digest == NID_md5 || signature_digest == NID_sha1) signature_digest = NID_sha256;
    const EVP_MD *method = EVP_get_digestbynid(signature_digest);
    if (method == NULL || !X509_digest(certificate, method, digest, &count)) count = 0;
  }
  ERR_clear_error();
  return count;
}

int platform_tls_peer_certificate(SSL *ssl, uint8_t **der) {
  *der = NULL;
  X509 *certificate = SSL_get1_peer_certificate(ssl);
  if (certificate == NULL) return 0;
  int count = i2d_X509(certificate, der);
  X509_free(certificate);
  return count > 0 ? count : 0;
}

void platform_free(void *pointer) { OPENSSL_free(pointer); }

int platform_tls_is_in_date(const SSL_SESSION *session) {
  const X509 *certificate = SSL_SESSION_get0_peer((SSL_SESSION *)session);
  return certificate == NULL || X509_cmp_current_time(X509_get0_notAfter(certificate)) > 0;
}
