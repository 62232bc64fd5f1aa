#!/usr/bin/env bash
# build.sh VERSION FOLDER: makes sallyport_VERSION_ARCH.deb of the built release binaries. Needs no root.
set -euo pipefail
cd "$(dirname "$0")/../.."
version=$1
folder=$2
for tool in dpkg-deb dpkg-shlibdeps dpkg-gencontrol; do
  command -v "$tool" >/dev/null || { echo "$tool is missing: apt-get install dpkg-dev" >&2; exit 1; }
done

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
umask 022
root=$work/debian/sallyport
export SOURCE_DATE_EPOCH=${SOURCE_DATE_EPOCH:-$(date +%s)}

make --no-print-directory -s install DESTDIR="$root" PREFIX=/usr UNITDIR=/lib/systemd/system \
  ZSHDIR=/usr/share/zsh/vendor-completions
strip --strip-unneeded --remove-section=.comment "$root"/usr/bin/*
doc=$root/usr/share/doc/sallyport
mv "$doc/LICENSE" "$doc/copyright"
changelog="sallyport ($version) stable; urgency=medium

  * Release $version.

 -- The Sallyport developers <sallyport@localhost>  $(date -uRd "@$SOURCE_DATE_EPOCH")"
echo "$changelog" | gzip -9n > "$doc/changelog.gz"
gzip -9n "$root"/usr/share/man/man*/*

mkdir "$root/DEBIAN"
cp packaging/deb/control "$work/debian/control"
echo "$changelog" > "$work/debian/changelog"
install -m 755 packaging/deb/{postinst,prerm,postrm} "$root/DEBIAN"
echo /etc/default/teleport > "$root/DEBIAN/conffiles"
(cd "$root" && find usr lib -type f -print0 | sort -z | xargs -0 md5sum) > "$root/DEBIAN/md5sums"
cd "$work"
# Libraries that the linker names without need cost nothing here: apt has them anyway.
dpkg-shlibdeps --warnings=1 debian/sallyport/usr/bin/{teleport,tctl,tsh}
size=$(du -k -s --exclude=DEBIAN "$root" | cut -f1)
dpkg-gencontrol -psallyport -Pdebian/sallyport -DInstalled-Size="$size"
cd "$OLDPWD"
find "$root" -newermt "@$SOURCE_DATE_EPOCH" -exec touch -hd "@$SOURCE_DATE_EPOCH" {} +
mkdir -p "$folder"
dpkg-deb --root-owner-group -Zxz -z2 --build "$root" "$folder"
