#!/usr/bin/env bash
# Unpacks the SigV4 test suite that botocore's source distribution carries: fetch-sigv4-suite.sh DEST
# Where the distribution cannot be had, says so; the test that uses it is then skipped and says so as well.
set -euo pipefail
dest=$1
[ -e "$dest/get-vanilla" ] && exit 0
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
if ! .venv/bin/pip download --quiet --no-deps --no-binary :all: -d "$work" botocore >"$work/log" 2>&1; then
  echo "SigV4 suite not available: $(tail -n 1 "$work/log")" >&2
  exit 0
fi
tar -xzf "$work"/botocore-*.tar.gz -C "$work"
mkdir -p "$dest"
cp -r "$work"/botocore-*/tests/unit/auth/aws4_testsuite/. "$dest/"
