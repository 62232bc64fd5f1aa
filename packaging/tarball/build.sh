#!/usr/bin/env bash
# build.sh VERSION FOLDER: makes sallyport-VERSION-linux-ARCH.tar.gz, its .sha256 and install.sh.
set -euo pipefail
cd "$(dirname "$0")/../.."
version=$1
folder=$2
name=sallyport-$version-linux-$(uname -m)

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
umask 022
# A prefix of its own, so that the files can be put under another; install.sh fills @BINDIR@ in.
make --no-print-directory -s install DESTDIR="$work/$name" PREFIX=/prefix BINDIR=/prefix/bin
strip --strip-unneeded "$work/$name"/prefix/bin/*
install -m 644 packaging/systemd/teleport.service "$work/$name/prefix/lib/systemd/system/teleport.service"
install -m 755 packaging/tarball/install.sh "$work/$name/install.sh"
mkdir -p "$folder"
tar -C "$work" --sort=name --owner=0 --group=0 --numeric-owner --mtime="@$SOURCE_DATE_EPOCH" -cf - "$name" \
  | gzip -9n > "$folder/$name.tar.gz"
(cd "$folder" && sha256sum "$name.tar.gz" > "$name.tar.gz.sha256")
install -m 755 packaging/tarball/install.sh "$folder/install.sh"
echo "$folder/$name.tar.gz"
