#!/bin/sh
# boot-systemd.sh ROOT: runs the systemd of a Debian root as the first process of namespaces of its own; becomes it.
# Call it under `unshare --mount --pid --fork --uts --ipc --cgroup`.
set -e
root=$1
mount --bind "$root" "$root"
mount -t proc proc "$root/proc"
mount -t sysfs sysfs "$root/sys"
for folder in run tmp dev; do mount -t tmpfs tmpfs "$root/$folder"; done
for device in null zero full random urandom tty; do
  touch "$root/dev/$device"
  mount --bind "/dev/$device" "$root/dev/$device"
done
mkdir "$root/dev/shm" "$root/dev/pts"
ln -s pts/ptmx "$root/dev/ptmx"
mkdir -p "$root/old"
cd "$root"
pivot_root . old
umount -l /old
# What is not a container is taken for a machine whose clock and devices are systemd's to set up.
exec env -i container=lxc PATH=/usr/sbin:/usr/bin:/sbin:/bin /lib/systemd/systemd --system
