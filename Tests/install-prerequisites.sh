#!/usr/bin/env bash
# Installs what building and testing need on Debian 12 and is not there yet, and the packages named as arguments; says what
# it does. Safe to repeat.
set -euo pipefail
cd "$(dirname "$0")/.."

packages=(libssl-dev liburing-dev libpq-dev libsqlite3-dev libxml2-dev zlib1g-dev postgresql postgresql-client postgresql-contrib pgbouncer jq curl openssl
  python3-venv procps binutils debootstrap dpkg-dev mandoc zsh fish systemd "$@")
missing=()
for package in "${packages[@]}"; do
  dpkg-query -W -f='${Status}' "$package" 2>/dev/null | grep -q 'install ok installed' || missing+=("$package")
done
if [ ${#missing[@]} -gt 0 ]; then
  echo "Installing Debian packages: ${missing[*]}"
  run=()
  if [ "$(id -u)" != 0 ]; then
    command -v sudo >/dev/null || { echo "Not root and no sudo: install them by hand, then try again." >&2; exit 1; }
    run=(sudo)
  fi
  "${run[@]}" apt-get update -q
  "${run[@]}" env DEBIAN_FRONTEND=noninteractive apt-get install -y -q --no-install-recommends "${missing[@]}"
fi

# Pinned, and not there in that version.
absent=$(comm -23 <(sed 's/\[.*\]//; /^#/d' Tests/requirements.txt | sort) <(.venv/bin/python -m pip freeze 2>/dev/null | sort))
if [ -n "$absent" ]; then
  echo "Installing Python packages for the tests into .venv: ${absent//$'\n'/ }"
  # Debian's own Python: it brings what python3-venv belongs to.
  /usr/bin/python3 -m venv .venv
  .venv/bin/python -m pip install --quiet --disable-pip-version-check -r Tests/requirements.txt
fi

command -v swift >/dev/null || { echo "Swift 6.2 or newer is needed on PATH: see https://www.swift.org/install" >&2; exit 1; }
