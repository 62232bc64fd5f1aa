"""What has to be as before once a bad input has been thrown at a cluster: its process, its memory, and another session that
ran all the while."""

import contextlib
import os
import pathlib
import re
import signal
import time

import psycopg

from bad_inputs.table import END_TO_END

# Megabytes that one test may leave behind. Caches and the allocator's pools grow once; what leaks by the input does not
# stay below that, since tests of floods send thousands.
GROWTH = 48
# How a server may end that a test stops or kills: whatever else is a crash.
ENDS = {0, -signal.SIGTERM, -signal.SIGKILL}

# The database itself is killed: its sessions end, and the server has to serve new ones as soon as it is back.
SPARING_NONE = {"test_faults.py::test_killed_database_costs_its_sessions_and_no_more"}

# A tool that watches the server keeps memory of its own.
WATCHED = "SALLYPORT_SLOWNESS" in os.environ

# Fixtures that give tests a cluster of their own, which is then the one to look at.
OWN = ("small", "tight", "own", "cramped", "limited")

FOLDER = pathlib.Path(__file__).resolve().parents[1]


def name_of(item):
    return f"{item.path.resolve().relative_to(FOLDER)}::{getattr(item, 'originalname', item.name)}"


def is_listed(item):
    """Tests of other folders run in the same session of pytest."""
    return item.path.resolve().is_relative_to(FOLDER) and name_of(item) in END_TO_END


def under_test(request):
    """The name of the fixture with the cluster that the test is about, if any."""
    return next((name for name in (*OWN, "cluster") if name in request.fixturenames), None)


def resident(pid):
    return int(re.search(r"VmRSS:\s+(\d+)", pathlib.Path(f"/proc/{pid}/status").read_text()).group(1))


def open_soon(database):
    """A session; what failed a moment ago on purpose is remembered for a second."""
    deadline = time.monotonic() + 10
    while True:
        try:
            return psycopg.connect(database.dsn, autocommit=True)
        except psycopg.OperationalError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.3)


class Witness:
    """One session beside all tests of the table; looks at the server before and after each.

    Its own records are waited for: a test that looks at the log finds none of them among its own.
    """

    def __init__(self):
        self.session, self.server, self.asked = None, None, 0

    @contextlib.contextmanager
    def watching(self, cluster, database, item):
        if self.server is not cluster.teleport:
            self.close()
            self.session, self.server = open_soon(database), cluster.teleport
            self.ask(cluster)
        before = resident(self.server.pid)
        yield
        assert cluster.teleport.poll() is None, "the server has ended"
        if name_of(item) in SPARING_NONE:
            assert self.server is cluster.teleport
            self.close()
            self.session, self.server = open_soon(database), cluster.teleport
        if self.server is not cluster.teleport:
            # The test itself has stopped it and started another one.
            assert self.server.poll() in ENDS, f"the server ended with {self.server.poll()}"
            self.close()
            self.session, self.server = open_soon(database), cluster.teleport
            assert self.ask(cluster) == (42,), "the server does not serve any more"
        assert self.ask(cluster) == (42,), "another session has suffered"
        # One that was started anew may not be larger than the old one either.
        grown = (resident(self.server.pid) - before) / 1024
        assert WATCHED or grown < GROWTH, f"the server has grown by {grown:.0f} MiB"

    def ask(self, cluster):
        self.asked += 1
        audit, query = cluster.audit_from_now(), f"select 42 -- {self.asked}"
        answer = self.session.execute(query).fetchone()
        deadline = time.monotonic() + 60
        while not any(record.get("db_query") == query for record in audit.records("db.session.query")):
            assert time.monotonic() < deadline, "a statement has no record"
            time.sleep(0.02)
        return answer

    def close(self):
        if self.session:
            self.session.close()
        self.session, self.server = None, None
