"""A server that may have 256 MiB and no more, a thousand sessions, and a flood beside them."""

import contextlib
import os
import pathlib
import struct
import subprocess
import sys

import pytest

from bad_inputs.unharmed import resident
from conftest import Cluster, open_directory, wait_until
from raw_client import Raw
from scripted_server import AUTHENTICATION_OK, KEY, READY, message, scripted_server
from test_flood import FLOODER, RATE, SSL_REQUEST, UNAUTHENTICATED, WINDOW, client_hello, connect, turned_away

LIMIT = 256 << 20
SESSIONS, SOCKETS = 1000, 5000
ROOT = pathlib.Path("/sys/fs/cgroup")


class MemoryGroup:
    """A control group with a bound on memory, of version 2 or 1 (cgroups(7)). Swapping would hide what goes beyond."""

    def __init__(self, name):
        if (ROOT / "cgroup.controllers").exists():
            self.path, limits, self.peak = ROOT / name, {"memory.max": LIMIT, "memory.swap.max": 0}, "memory.peak"
            self.events, self.optional = "memory.events", "memory.swap.max"
        else:
            self.path, limits = ROOT / "memory" / name, {"memory.limit_in_bytes": LIMIT, "memory.memsw.limit_in_bytes": LIMIT}
            self.peak, self.events, self.optional = "memory.max_usage_in_bytes", "memory.oom_control", "memory.memsw.limit_in_bytes"
        self.path.mkdir()
        for file, limit in limits.items():
            # Kernels without swap accounting have no such file.
            if file != self.optional or (self.path / file).exists():
                (self.path / file).write_text(str(limit))

    def entering(self):
        """What goes in and then becomes the program."""
        return ["sh", "-c", f'echo $$ > {self.path}/cgroup.procs && exec "$@"', "sh"]

    def highest(self):
        return int((self.path / self.peak).read_text())

    def kills(self):
        """`None` where the kernel does not count them."""
        found = dict(line.split() for line in (self.path / self.events).read_text().splitlines())
        return int(found["oom_kill"]) if "oom_kill" in found else None

    def end(self):
        wait_until(lambda: not (self.path / "cgroup.procs").read_text(), "the group to be empty")
        self.path.rmdir()


@contextlib.contextmanager
def memory_group():
    try:
        group = MemoryGroup(f"sallyport-{os.getpid()}")
    except OSError as error:
        pytest.skip(f"no control group for memory can be made here: {error}")
    try:
        yield group
    finally:
        group.end()


@pytest.fixture
def tight(cluster, tmp_path_factory):
    with memory_group() as group:
        hungry = subprocess.run([*group.entering(), sys.executable, "-c", f"bytearray({2 * LIMIT})"], capture_output=True)
        if hungry.returncode == 0:
            pytest.skip("control groups do not bound memory here")
    own = Cluster(open_directory(tmp_path_factory, "tight"))
    own.start_beside(cluster)
    own.stop_teleport()
    with memory_group() as group:
        own.start_teleport(prefix=group.entering())
        own.group = group
        try:
            yield own
        finally:
            if own.teleport.poll() is None:
                own.stop_teleport()


def answering(talk):
    """A database of a script: a PostgreSQL for a thousand sessions would not fit."""
    talk.secure()
    # Longer than it takes to open the others.
    talk.connection.settimeout(300)
    talk.send(message(b"R", struct.pack("!I", 3)))
    talk.read_message()
    talk.send(AUTHENTICATION_OK, KEY, READY)
    while talk.read_message()[0] == b"Q":
        talk.send(message(b"C", b"SELECT 0\0"), READY)


@pytest.mark.timeout(400)
def test_59_a_thousand_sessions_and_a_flood_fit_in_256_mib(tight, record_property):
    database = tight.database(tight.home, name="scripted")
    hello = client_hello()
    firsts = [b"", SSL_REQUEST, SSL_REQUEST + hello[:100], hello[:100], hello]
    with scripted_server(tight, answering), contextlib.ExitStack() as stack:
        sessions = [Raw(database) for _ in range(SESSIONS)]
        for session in sessions:
            stack.callback(session.socket.close)
        turned = turned_away(tight)
        for number in range(SOCKETS):
            stack.callback(connect(tight, FLOODER, firsts[number % len(firsts)]).close)
        wait_until(lambda: turned_away(tight) - turned >= SOCKETS - UNAUTHENTICATED - RATE * WINDOW, "refusals")
        for session in sessions:
            assert session.ask(b"select") == [(b"C", b"SELECT 0\0"), (b"Z", b"I")]
        assert tight.teleport.poll() is None, "killed"
        # Not what the kernel keeps of files: that it gives back.
        size, highest = resident(tight.teleport.pid) << 10, tight.group.highest()
        assert highest <= LIMIT and tight.group.kills() in (0, None)
        record_property("survived", (
            f"a control group of {LIMIT >> 20} MiB: {SESSIONS} sessions and {SOCKETS} sockets that never log in, the process "
            f"{size / (1 << 20):.0f} MiB, the group {highest / (1 << 20):.0f} MiB at most, nothing killed"))
