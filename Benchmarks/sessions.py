"""What open sessions cost: memory of idle ones, and a transaction's CPU beside few and beside many of them.

They stand before the scripted database, since PostgreSQL would need a process for each."""

import pathlib
import re
import resource
import time

from programs import Crowd
from rows import cpu_seconds, run

FEW, MANY = 50, 5000
MEMORY_AT = (1000, 10_000)
#: What a proxy needs of descriptors besides two a session.
SPARE_DESCRIPTORS = 300
REPETITIONS = 3


def most_sessions():
    """A session takes a proxy two descriptors, and only an administrator of the machine may raise their hard limit."""
    return (resource.getrlimit(resource.RLIMIT_NOFILE)[1] - SPARE_DESCRIPTORS) // 2


def resident_kb(pids):
    texts = [pathlib.Path(f"/proc/{pid}/status").read_text() for pid in pids]
    return sum(int(re.search(r"VmRSS:\s+(\d+)", text).group(1)) for text in texts)


def measure(stage, results, peer, seconds, limit):
    """Notes `idle.KB` at each number of sessions up to `limit`, and the cost of transactions at 50 and 5,000."""
    limit = min(limit, most_sessions(), peer.most_sessions or limit)
    memory_at = {min(number, limit) for number in MEMORY_AT}
    peer.start(stage.scripted)
    try:
        empty = resident_kb(peer.pids)
        with Crowd(*peer.crowd()) as crowd:
            for number in sorted(number for number in {FEW, MANY, *memory_at} if number <= limit):
                crowd.grow(number)
                if number in (FEW, MANY):
                    transactions(results, peer, number, seconds)
                if number in memory_at:
                    # What was only needed to log in has gone by then.
                    time.sleep(1)
                    memory(results, peer, number, resident_kb(peer.pids) - empty)
    finally:
        peer.stop()


def memory(results, peer, number, grown_kb):
    row = f"idle_{next(nominal for nominal in MEMORY_AT if number <= nominal)}"
    results.command(row, f"echo {number} | .build/perf/crowd PORT USER DATABASE; VmRSS of /proc/PID/status")
    results.note(f"{row}.memory", peer, grown_kb / number)
    results.note(f"{row}.sessions", peer, number)


def transactions(results, peer, number, seconds):
    row = f"beside_{number}"
    command = ["pgbench", "-n", "-f", "-", "-T", str(seconds), "-c", "16", "-j", "2"]
    results.command(row, f"echo 'select 1' | {' '.join(command)}, beside {number} idle sessions")
    for _ in range(REPETITIONS):
        before = cpu_seconds(peer.pids)
        output = run(command, peer, "select 1")
        spent = cpu_seconds(peer.pids) - before
        results.note(f"{row}.cpu", peer, spent / int(re.search(r"actually processed: (\d+)", output).group(1)) * 1e6)
