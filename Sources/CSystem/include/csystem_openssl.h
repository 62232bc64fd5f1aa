#ifndef CSYSTEM_OPENSSL_H
#define CSYSTEM_OPENSSL_H
#include <sys/select.h>
#include <openssl/ssl.h>
#include <openssl/err.h>
#include <openssl/x509v3.h>
#endif
