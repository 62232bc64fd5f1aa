#!/usr/bin/env bash
# Instructions and allocations of one TLS record (encrypted and decrypted), and the heap of an idle session, with the
# records done by OpenSSL's SSL object and by our own layer. Counts, not times: a busy machine does not change them.
#   perf/record-cost.sh    needs valgrind, openssl and a release build (swift build -c release --product RecordCost)
set -euo pipefail
cd "$(dirname "$0")/.."
binary=.build/release/RecordCost
[ -x "$binary" ] || { echo "first: swift build -c release --product RecordCost" >&2; exit 1; }
for tool in valgrind openssl; do
  command -v "$tool" >/dev/null || { echo "$tool is needed: apt-get install $tool" >&2; exit 1; }
done
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 1 -keyout "$folder/key.pem" \
  -out "$folder/cert.pem" -subj /CN=localhost -addext subjectAltName=DNS:localhost 2>/dev/null

instructions() { valgrind --tool=callgrind --callgrind-out-file=/dev/null "$binary" records "$@" 2>&1 | awk '/Collected/ { print $4 }'; }
allocations() { valgrind --tool=memcheck "$binary" records "$@" 2>&1 | awk '/total heap usage/ { gsub(",", ""); print $5 }'; }
# What COUNT records more cost, each: two runs, so that start and handshake fall out.
each() {
  local few many
  few=$("$1" "${@:2}" 500)
  many=$("$1" "${@:2}" 1500)
  awk -v few="$few" -v many="$many" 'BEGIN { printf "%.2f", (many - few) / 2000 }'
}

printf '| records by | size | instructions a record | allocations a record |\n| --- | ---: | ---: | ---: |\n'
for size in 100 1000 16000; do
  for kind in openssl own; do
    printf '| %s | %s | %.0f | %s |\n' "$kind" "$size" "$(each instructions "$kind" "$folder" "$size")" \
      "$(each allocations "$kind" "$folder" "$size")"
  done
done
for kind in openssl own; do printf '%s: %s\n' "$kind" "$("$binary" memory "$kind" "$folder" 2000)"; done
