#!/bin/sh
# Installs Sallyport from a release tarball.
set -eu

usage() {
  cat <<END
Usage: install.sh [--uninstall] TARBALL [SHA256]

Checks TARBALL against SHA256, or against TARBALL.sha256 beside it, and installs it under PREFIX (default /usr/local).
DESTDIR is put before every path. An /etc/default/teleport that is there is kept; /etc/teleport.yaml is never touched.
--uninstall removes the files that TARBALL holds.
END
}

fail() {
  echo "install.sh: $*" >&2
  exit 1
}

action=install
case ${1-} in
  -h | --help) usage; exit 0 ;;
  --uninstall) action=uninstall; shift ;;
esac
[ $# -ge 1 ] && [ $# -le 2 ] || { usage >&2; exit 2; }
tarball=$1
destination=${DESTDIR-}
prefix=${PREFIX-/usr/local}

[ -f "$tarball" ] || fail "$tarball is not there"
case $prefix in /*) ;; *) fail "PREFIX must be an absolute path, not '$prefix'" ;; esac
if [ -z "$destination" ] && [ "$(id -u)" != 0 ]; then
  fail "installing under $prefix takes root: run it with sudo, or set DESTDIR to install into a folder of yours"
fi

if [ $# = 2 ]; then
  expected=$2
elif [ -f "$tarball.sha256" ]; then
  expected=$(cut -d ' ' -f 1 "$tarball.sha256")
else
  fail "no SHA256 given and no $tarball.sha256 beside it: get it from where the release was announced"
fi
actual=$(sha256sum "$tarball" | cut -d ' ' -f 1)
[ "$actual" = "$(echo "$expected" | tr 'A-F' 'a-f')" ] || fail "$tarball is damaged or not the release: its sha256 is $actual, not $expected"

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
trap 'exit 1' HUP INT TERM
tar -xzf "$tarball" -C "$work" --no-same-owner
cd "$work"/sallyport-*
umask 022

(cd prefix && find . -type f) | while read -r file; do
  target=$destination$prefix/${file#./}
  if [ "$action" = uninstall ]; then
    rm -f "$target"
    continue
  fi
  mkdir -p "$(dirname "$target")"
  # Beside it and renamed: a program that runs is replaced, not written over.
  cp "prefix/$file" "$target.new"
  case $file in */teleport.service) sed "s|@BINDIR@|$prefix/bin|" "prefix/$file" > "$target.new" ;; esac
  mv "$target.new" "$target"
done

if [ "$action" = uninstall ]; then
  echo "Removed from $destination$prefix; /etc/teleport.yaml, /etc/default/teleport and /var/lib/teleport are left."
  exit 0
fi
if [ ! -e "$destination/etc/default/teleport" ]; then
  mkdir -p "$destination/etc/default"
  cp etc/default/teleport "$destination/etc/default/teleport"
fi
echo "Installed under $destination$prefix. Next:"
echo "  teleport configure --cluster-name=NAME --public-addr=HOST:3080 -o file"
echo "  systemctl daemon-reload && systemctl enable --now teleport"
