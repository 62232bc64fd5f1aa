#!/usr/bin/env bash
# A throwaway PostgreSQL that plays the Redshift workgroup: TLS, scram-sha-256, no other way in over TCP.
#   postgres.sh start DIR PORT [MAX_CONNECTIONS]   makes DIR/{data,ca.pem,ca.key,server.crt,server.key} and starts it;
#       MORE_NAMES has further names for its certificate, with a comma between them
#   postgres.sh stop DIR       at once, as if it had crashed
#   postgres.sh restart DIR
set -euo pipefail

bin=$(ls -d /usr/lib/postgresql/*/bin | sort -V | tail -n 1)
as_postgres() { if [ "$(id -u)" = 0 ]; then runuser -u postgres -- "$@"; else "$@"; fi; }
superuser() { if [ "$(id -u)" = 0 ]; then echo postgres; else id -un; fi; }

host_name=some-workgroup.123456789012.us-east-1.redshift-serverless.amazonaws.com

make_certificates() {
  openssl req -x509 -newkey rsa:2048 -nodes -days 30 -subj "/CN=Sallyport demo CA" \
    -keyout "$1/ca.key" -out "$1/ca.pem" 2>/dev/null
  openssl req -newkey rsa:2048 -nodes -subj "/CN=demo database" -keyout "$1/server.key" -out "$1/server.csr" 2>/dev/null
  openssl x509 -req -in "$1/server.csr" -CA "$1/ca.pem" -CAkey "$1/ca.key" -CAcreateserial -days 30 -out "$1/server.crt" \
    -extfile <(printf 'subjectAltName=DNS:%s,DNS:localhost,IP:127.0.0.1%s\nextendedKeyUsage=serverAuth\n' "$host_name" \
      "${MORE_NAMES:+,DNS:${MORE_NAMES//,/,DNS:}}") 2>/dev/null
  chmod 600 "$1"/*.key
  chmod 644 "$1/ca.pem"
}

start() {
  local dir=$1 port=$2 connections=${3:-300}
  mkdir -p "$dir"
  make_certificates "$dir"
  if [ "$(id -u)" = 0 ]; then
    # The server runs as postgres: it needs the directory and its own key, not the CA's.
    chown postgres "$dir" "$dir/server.key" "$dir/server.crt"
    chmod 755 "$dir"
  fi
  as_postgres "$bin/initdb" -D "$dir/data" -A trust -E UTF8 --locale=C -N >/dev/null
  cat >>"$dir/data/postgresql.conf" <<CONF
listen_addresses = '127.0.0.1'
port = $port
unix_socket_directories = '$dir'
max_connections = $connections
ssl = on
ssl_cert_file = '$dir/server.crt'
ssl_key_file = '$dir/server.key'
password_encryption = 'scram-sha-256'
shared_buffers = 256MB
fsync = off
synchronous_commit = off
CONF
  printf 'local all all trust\nhostssl all all 127.0.0.1/32 scram-sha-256\n' >"$dir/data/pg_hba.conf"
  as_postgres "$bin/pg_ctl" -D "$dir/data" -l "$dir/data/log" -w -t 60 start >/dev/null
  psql -h "$dir" -p "$port" -U "$(superuser)" -d postgres -qc 'create database dev' \
    -c 'alter database dev owner to current_user' -c '\c dev' -c 'grant all on schema public to public'
}

case "${1:-}" in
  start) start "$2" "$3" "${4:-}" ;;
  restart) as_postgres "$bin/pg_ctl" -D "$2/data" -l "$2/data/log" -w -t 60 start >/dev/null ;;
  stop) as_postgres "$bin/pg_ctl" -D "$2/data" -m immediate -w stop >/dev/null ;;
  *) echo "usage: postgres.sh start DIR PORT [MAX_CONNECTIONS] | stop DIR | restart DIR" >&2; exit 2 ;;
esac
