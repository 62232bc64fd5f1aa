// The resolver's own interface, for records that getaddrinfo does not show.
#ifndef PLATFORM_DNS_H
#define PLATFORM_DNS_H
#include <arpa/nameser.h>
#include <netinet/in.h>
#include <resolv.h>

// The DNS message that answers a question for the IPv4 address of `name`; -1 if there is none.
static inline int platform_query_address(const char *name, unsigned char *answer, int size) {
  return res_query(name, C_IN, T_A, answer, size);
}
#endif
