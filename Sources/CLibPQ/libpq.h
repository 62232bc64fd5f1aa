// PostgreSQL's client library (PostgreSQL documentation, "libpq").
#include <libpq-fe.h>
