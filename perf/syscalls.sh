#!/usr/bin/env bash
# Counts the system calls of a running process for some seconds: perf/syscalls.sh PID [SECONDS]
# Beside a pgbench run of the same time: calls divided by its transactions are the calls a transaction costs.
set -euo pipefail
pid=${1:?usage: perf/syscalls.sh PID [SECONDS]} seconds=${2:-5}
command -v strace >/dev/null || { echo "strace is needed: apt-get install strace" >&2; exit 1; }
timeout --signal=INT "$seconds" strace -f -c -S calls -p "$pid" 2>&1 | grep -v 'attached\|detached' || true
