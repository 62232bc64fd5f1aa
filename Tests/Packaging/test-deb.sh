#!/usr/bin/env bash
# test-deb.sh PACKAGE: installs, runs, removes and purges it in a fresh Debian 12 (debootstrap, chroot). Needs root.
set -euo pipefail
package=$(realpath "$1")
# debootstrap, chroot and mounts take root.
[ "$(id -u)" = 0 ] || exec sudo "$0" "$package"
command -v debootstrap >/dev/null || {
  echo "Installing Debian package: debootstrap"
  DEBIAN_FRONTEND=noninteractive apt-get install -y -q --no-install-recommends debootstrap >/dev/null
}
# Mounts are made in a namespace of our own: they go with it, whatever happens.
if [ "${IN_NAMESPACE-}" != yes ]; then
  unshare --mount --pid --fork true || { echo "SKIPPED: no namespaces may be made here, so no Debian can be"; exit 0; }
  # systemd below gets control groups of its own.
  for controller in /sys/fs/cgroup /sys/fs/cgroup/*; do
    [ -e "$controller/cgroup.procs" ] || continue
    # Some take nobody in before they are given processors and memory; their common group does as well.
    { mkdir -p "$controller/sallyport-test" && echo $$ > "$controller/sallyport-test/cgroup.procs"; } 2>/dev/null || true
  done
  trap 'for group in /sys/fs/cgroup/sallyport-test /sys/fs/cgroup/*/sallyport-test; do
      [ -d "$group" ] || continue
      (cat "$group/../cgroup.procs" > /dev/null && echo $$ > "$group/../cgroup.procs") || true
      find "$group" -depth -type d -exec rmdir {} + || true
    done' EXIT
  IN_NAMESPACE=yes unshare --mount --pid --mount-proc --fork "$0" "$package"
  exit
fi

root=$(mktemp -d)
trap 'umount -l "$root/proc" 2>/dev/null || true; rm -rf --one-file-system "$root"' EXIT
inside() { chroot "$root" /usr/bin/env -i PATH=/usr/sbin:/usr/bin:/sbin:/bin DEBIAN_FRONTEND=noninteractive "$@"; }
booted() { nsenter --target "$init" --mount --pid --uts --ipc --root --wd "$@"; }
fail() { echo "test-deb.sh: $*" >&2; exit 1; }
step() { echo "== $*"; }

step "a fresh Debian"
mirror=$(apt-get indextargets --format '$(REPO_URI)' 'Created-By: Packages' 'Codename: bookworm' 'Component: main' | head -1)
debootstrap --variant=minbase --include=systemd bookworm "$root" "${mirror:-http://deb.debian.org/debian}" > "$root.log" 2>&1 || {
  tail -20 "$root.log" >&2
  fail "debootstrap failed"
}
rm -f "$root.log"
mount -t proc proc "$root/proc"
cp /etc/resolv.conf "$root/etc/resolv.conf"
echo "127.0.0.1 localhost" > "$root/etc/hosts"
cp "$package" "$root/sallyport.deb"

step "dpkg -i names what is missing, apt brings it"
dpkg --info "$package" | sed -n 's/^ Depends: /depends on: /p'
inside apt-get install -y -q --no-install-recommends /sallyport.deb > "$root/apt.log" 2>&1 || { cat "$root/apt.log" >&2; fail "apt-get install failed"; }
inside dpkg --verify sallyport
[ -z "$(inside dpkg --audit)" ] || fail "dpkg is not content"
# A second time over itself, as an upgrade is.
inside dpkg -i /sallyport.deb > /dev/null

step "the programs run"
for program in teleport tctl tsh; do
  inside "$program" version | grep -q "^Sallyport $program v"
  ! inside ldd "/usr/bin/$program" | grep 'not found' || fail "$program lacks libraries"
done

step "nothing was started, enabled or written"
[ -f "$root/lib/systemd/system/teleport.service" ] || fail "the unit is missing"
! find "$root/etc/systemd" -name 'teleport*' | grep . || fail "the unit was enabled"
[ ! -e "$root/etc/teleport.yaml" ] && [ ! -e "$root/var/lib/teleport" ] || fail "configuration or state was made"

step "the server starts from the written configuration and stops"
inside teleport configure --cluster-name=test --public-addr=localhost:13080 -o file > /dev/null
inside teleport start --diag-addr=127.0.0.1:13000 2> "$root/teleport.log" &
for _ in $(seq 100); do
  inside teleport status 2>/dev/null | grep -q '^Status  *ready' && break
  sleep 0.2
done
inside teleport status || { cat "$root/teleport.log" >&2; fail "the server did not start"; }
inside tctl status | grep -q '^Cluster test' || fail "tctl does not reach the server"
kill -TERM "$(inside teleport status --format=json | sed -n 's/.*"pid" : \([0-9]*\).*/\1/p')"
wait %1 || fail "the server did not end in order"

step "the unit, all its confinement on, under a systemd of its own"
sed -i 's/^teleport:/teleport:\n  diag_addr: 127.0.0.1:13000/' "$root/etc/teleport.yaml"
unshare --mount --pid --fork --uts --ipc --cgroup "$(dirname "$0")/boot-systemd.sh" "$root" &
for _ in $(seq 100); do
  # unshare forks; its child becomes systemd.
  init=$(pgrep -P $!) && booted systemctl is-system-running 2>/dev/null | grep -qE 'running|degraded' && break
  sleep 0.2
done
booted systemctl is-system-running
[ "$(booted systemctl is-enabled teleport)" = disabled ] || fail "the unit is enabled"
booted systemctl start teleport || { booted journalctl --no-pager -u teleport >&2; fail "the unit does not start"; }
booted systemctl show -p ActiveState,StatusText,NRestarts teleport
booted teleport status | grep -q '^Status  *ready' || fail "the server is not ready"
booted tctl status | grep -q '^Cluster test' || fail "tctl does not reach the server"
booted systemctl reload teleport
booted journalctl --no-pager -u teleport | grep -q 'configuration reloaded' || fail "no reload"
booted systemctl stop teleport
[ "$(booted systemctl show -p Result --value teleport)" = success ] || fail "the service did not end in order"
booted journalctl --no-pager -o cat -u teleport
# Dispatch may not raise its own thread's priority, and says so.
! booted journalctl --no-pager -u teleport | grep -v 'thread priority' | grep -iE 'not permitted|denied|error|failed' ||
  fail "something was not allowed"
# Without a bus it is told by signal, and says so.
booted systemctl --no-wall poweroff 2> /dev/null
wait

step "remove leaves the configuration, purge the cluster's state"
echo "AWS_PROFILE=kept" >> "$root/etc/default/teleport"
inside dpkg --remove sallyport > /dev/null
[ ! -e "$root/usr/bin/teleport" ] && [ ! -e "$root/lib/systemd/system/teleport.service" ] || fail "files are left"
grep -q kept "$root/etc/default/teleport" || fail "the changed conffile is gone"
inside dpkg --purge sallyport > /dev/null
[ ! -e "$root/etc/default/teleport" ] || fail "the conffile is left"
[ -e "$root/etc/teleport.yaml" ] && [ -e "$root/var/lib/teleport/state.sqlite" ] || fail "the cluster's state is gone"
[ -z "$(find "$root/usr" "$root/lib/systemd" -name '*sallyport*' -o -name 'teleport*' -o -name 'tctl*' -o -name 'tsh.*')" ] ||
  fail "files are left"
echo "The package installs, runs and goes."
