"""The order of a run: open sessions first, from fresh processes; then counts; then rounds under load, A B C A B C ...

Each step is written down as it ends, so that `--resume` goes on where a run was cut short."""

import contextlib
import os
import platform
import re
import subprocess
import sys
import time

import counters
import sessions
from conftest import ROOT
from peers import Direct, Floor, HAProxy, PgBouncer, Sallyport, Stunnel
from peers_far import LocalProxy, Reuse, Tunnel
from rows import ROWS, Load, run

CORES = os.cpu_count()
#: What the rows compare, in the order of the tables.
MAIN = {
    "direct": lambda stage, peers: Direct(stage, "direct", "direct"),
    "pgbouncer": lambda stage, peers: PgBouncer(stage, "pgbouncer", "PgBouncer"),
    "haproxy": lambda stage, peers: HAProxy(stage, "haproxy", "HAProxy, TCP only", threads=CORES),
    "stunnel": lambda stage, peers: Stunnel(stage, "stunnel", "stunnel"),
    "floor": lambda stage, peers: Floor(stage, "floor", "C floor", "naive"),
    "epoll": lambda stage, peers: Sallyport(stage, "epoll", "Sallyport, epoll"),
    "uring": lambda stage, peers: Sallyport(stage, "uring", "Sallyport, io_uring", reactor="io_uring"),
}
#: The same with another number of threads, or in another manner: for some of the rows.
VARIANTS = {
    "lean": lambda stage, peers: Floor(stage, "lean", "C floor, lean", "lean"),
    "floor2": lambda stage, peers: Floor(stage, "floor2", "C floor, 2 processes", "naive", threads=2),
    "pgbouncer2": lambda stage, peers: PgBouncer(stage, "pgbouncer2", "PgBouncer, 2 processes", threads=2),
    "haproxy1": lambda stage, peers: HAProxy(stage, "haproxy1", "HAProxy, 1 thread"),
    "epoll1": lambda stage, peers: Sallyport(stage, "epoll1", "Sallyport, epoll, 1 reactor", threads=1),
    "uring1": lambda stage, peers: Sallyport(stage, "uring1", "Sallyport, io_uring, 1 reactor", reactor="io_uring", threads=1),
    "unrecorded": lambda stage, peers: Sallyport(stage, "unrecorded", "Sallyport, epoll, no statements recorded", queries="off"),
}
#: With server connections that outlive their clients, as PgBouncer's do: for the row of connects.
REUSING = {
    "reuse": lambda stage, peers: Reuse(stage, "reuse", "Sallyport, epoll, connections reused"),
    "reuse_uring": lambda stage, peers: Reuse(
        stage, "reuse_uring", "Sallyport, io_uring, connections reused", reactor="io_uring"),
}
#: What is measured besides the main peers, by row.
BESIDES = {"prepared": VARIANTS, "simple": VARIANTS, "connect": REUSING}
#: Only if asked for.
FURTHER = {
    "tunnel": lambda stage, peers: Tunnel(stage, "tunnel", "Sallyport, tunnel"),
    "local": lambda stage, peers: LocalProxy(stage, "local", "Sallyport, local proxy", peers["epoll"]),
}
#: One thread each where there is a choice: a count is the same on all of them.
COUNTED = ["pgbouncer", "haproxy1", "stunnel", "floor", "lean", "epoll1", "unrecorded1", "uring1"]
ONLY_COUNTED = {
    "unrecorded1": lambda stage, peers: Sallyport(
        stage, "unrecorded1", "Sallyport, epoll, 1 reactor, no statements recorded", threads=1, queries="off"),
}
#: valgrind knows no io_uring; the others' instructions are nobody's yardstick.
INSTRUCTIONS = {"pgbouncer", "floor", "lean", "epoll1", "unrecorded1"}
ALL = {**MAIN, **VARIANTS, **REUSING, **FURTHER, **ONLY_COUNTED}


class Runner:
    def __init__(self, stage, results, arguments):
        self.stage, self.results, self.arguments = stage, results, arguments
        self.peers = {}

    def peer(self, key):
        if key not in self.peers:
            self.peers[key] = ALL[key](self.stage, self.peers)
        return self.peers[key]

    def step(self, name, work):
        if self.results.is_done(name):
            return
        start = time.monotonic()
        work()
        self.results.finish(name)
        print(f"{name}: {time.monotonic() - start:.1f} s", file=sys.stderr)

    def run(self):
        self.results.data["about"] = {**about(self.arguments), **self.results.data["about"]}
        for part in self.arguments.parts:
            {"sessions": self.open_sessions, "counts": self.counts, "rounds": self.rounds}[part]()

    def chosen(self, keys):
        return [key for key in keys if not self.arguments.peers or key in self.arguments.peers]

    # Parts

    def open_sessions(self):
        for key in self.chosen(["pgbouncer", "haproxy", "stunnel", "lean", "epoll", "uring"]):
            self.step(f"sessions/{key}", lambda: sessions.measure(
                self.stage, self.results, self.peer(key), self.arguments.seconds, self.arguments.sessions))

    def counts(self):
        for key in self.chosen(COUNTED):
            self.step(f"counts/{key}", lambda: self.count(self.peer(key)))

    def count(self, peer):
        for clients in (1, 16):
            row = f"syscalls_{clients}"
            self.results.command(row, f"strace -f -c -p PID, beside pgbench -n -f - -t N -c {clients}")
            for name, number in counters.system_calls(self.stage, peer, clients).items():
                self.results.note(f"{row}.{name}", peer, number)
        self.results.command("allocations", "LD_PRELOAD=.build/perf/counting.so, beside pgbench -n -f - -t N")
        for name, number in counters.allocations(self.stage, peer).items():
            self.results.note(f"allocations.{name}", peer, number)
        # The shared libdispatch of debug builds makes valgrind crash.
        if peer.key in INSTRUCTIONS and not (isinstance(peer, Sallyport) and self.arguments.build == "debug"):
            self.results.command("instructions", "valgrind --tool=callgrind, beside pgbench -n -f - -t N")
            for name, number in counters.instructions(self.stage, peer).items():
                self.results.note(f"instructions.{name}", peer, number)

    def rounds(self):
        load = Load(self.stage, self.results, self.arguments.seconds)
        main = self.chosen(MAIN) + self.arguments.also
        besides = {row: self.chosen(keys) for row, keys in BESIDES.items()}
        steps = [
            (f"rounds/{number}/{row}/{key}", row, key)
            for number in range(1, self.arguments.rounds + 1) for row in ROWS
            for key in main + besides.get(row, [])]
        if all(self.results.is_done(name) for name, _, _ in steps):
            return
        with contextlib.ExitStack() as stack:
            for key in dict.fromkeys([*main, *(key for keys in besides.values() for key in keys)]):
                peer = self.peer(key)
                stack.callback(peer.stop)
                peer.start(self.stage.postgres)
                self.results.data["about"].setdefault("tls", {})[key] = agreed_tls(peer)
            for name, row, key in steps:
                self.step(name, lambda: getattr(load, row)(self.peer(key)))


def agreed_tls(peer):
    """Protocol and cipher between client and peer, and between whoever comes last and PostgreSQL."""
    query = "select version || ' ' || cipher from pg_stat_ssl where pid = pg_backend_pid()"
    output = run(["psql", "-XAt", "-c", r"\conninfo", "-c", query], peer)
    found = re.search(r"protocol: ([^,]+), cipher: ([^,]+)", output)
    return {"client": " ".join(found.groups()) if found else "none", "database": output.splitlines()[-1]}


def about(arguments):
    def version(*command, of=""):
        """The first line of what it prints that has `of` in it."""
        result = subprocess.run(command, capture_output=True, text=True, cwd=ROOT)
        lines = (result.stdout + result.stderr).splitlines() if result.returncode == 0 else []
        return next((line for line in lines if of in line), "unknown")

    model = re.search(r"model name\s*: (.*)", open("/proc/cpuinfo").read())
    return {
        "started": time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime()),
        "command": f"Benchmarks/bench.py --rounds {arguments.rounds} --seconds {arguments.seconds} --sessions {arguments.sessions}",
        "rounds": arguments.rounds, "seconds": arguments.seconds,
        "machine": f"{CORES} cores of {model.group(1) if model else platform.machine()}, Linux {platform.release()}",
        "commit": version("git", "rev-parse", "--short", "HEAD"),
        "build": arguments.build,
        "programs": [
            version("pgbench", "--version"), version("pgbouncer", "--version"), version("haproxy", "-v"),
            version("stunnel4", "-version", of="stunnel "), version("openssl", "version")],
    }
