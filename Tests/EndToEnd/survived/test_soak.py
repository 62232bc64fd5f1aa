"""Soak: sessions without end, one after the other. Memory and descriptors stay what they were after the first ones."""

import os
import statistics
import subprocess
import sys
import time

import pytest

from conftest import ROOT, USER, started, wait_until
from pooled_cluster import Pooled
from test_faults import descriptors, resident_kb
from test_flood import Limited
from test_operations import metrics

sys.path.insert(0, str(ROOT / "Benchmarks"))
import programs  # noqa: E402

# `make soak` has a day's sessions at 50 a second, 4,320,000. Logins at PostgreSQL are slower, so there are fewer of them.
SESSIONS = int(os.environ.get("SALLYPORT_SOAK_SESSIONS", "10000"))
LOGINS = int(os.environ.get("SALLYPORT_SOAK_LOGINS", "10000"))
SLICES, CLIENTS = 20, 8


def settled(cluster):
    """Its metrics once all sessions have ended."""
    wait_until(lambda: metrics(cluster)[("sallyport_sessions_open",)] == 0, "the sessions to end")
    return metrics(cluster)


def held(cluster):
    """Descriptors, but for those of the databases' connections that wait for a client."""
    return descriptors(cluster) - int(metrics(cluster)[("sallyport_pool_servers_idle",)])


def soak(cluster, connect, total):
    """What `connect` leaves behind, in words. It lets CLIENTS times as many sessions come and go, and returns their number."""
    # What is made once and kept is there after the first ones.
    warm = connect(max(2000, total // 50) // CLIENTS)
    begun = settled(cluster)[("sallyport_sessions_total",)]
    # The last ones' connections linger for a moment.
    time.sleep(1)
    before, start, done, samples = held(cluster), time.monotonic(), 0, [(0, resident_kb(cluster))]
    for _ in range(SLICES):
        part = (total - warm) // SLICES // CLIENTS
        done += connect(part)
        assert settled(cluster)[("sallyport_sessions_total",)] == begun + done
        samples.append((done, resident_kb(cluster)))
        print(f"{warm + done} sessions, {done / (time.monotonic() - start):.0f} a second, {samples[-1][1]} KiB, {held(cluster)} descriptors")
    took = time.monotonic() - start
    wait_until(lambda: held(cluster) <= before, "descriptors to be back where they were")
    # Not from one value to another, which jump by what the allocator happens to keep, but along the line through all.
    grown = statistics.linear_regression(*zip(*samples)).slope * done
    first, last = samples[0][1], samples[-1][1]
    assert grown < 4096 + 0.1 * first and last < 8192 + 1.1 * first, samples
    return (
        f"{warm + done} sessions, {done / took:.0f} a second; memory {first / 1024:.1f} MiB after {warm}, {last / 1024:.1f} MiB at the "
        f"end, its slope {1024 * grown / done:.1f} bytes a session; descriptors {before} before and {held(cluster)} after")


@pytest.mark.timeout(300 + LOGINS // 20)
def test_many_logins_at_the_database_leave_nothing_behind(cluster, redshift, record_property):
    def connect(each):
        result = subprocess.run(
            ["pgbench", "-n", "-C", "-f", "-", "-c", str(CLIENTS), "-j", "2", "-t", str(each)], input="select 1",
            env={**os.environ, **redshift.environment}, capture_output=True, text=True)
        assert result.returncode == 0 and "failed transactions: 0 (" in result.stdout, result.stderr
        # And the one that pgbench begins with.
        return each * CLIENTS + 1

    record_property("survived", f"soak, a login at the database each: {soak(cluster, connect, LOGINS)}")


class Soaked(Pooled, Limited):
    # Room for all clients on one reactor, whichever the kernel gives them to.
    pool = "mode: session, pool_size: 64"
    # The crowd comes from several addresses of loopback; by default only the first has no limits.
    limits = "exempt: [127.0.0.0/8]"


@pytest.fixture(scope="module")
def soaked():
    with started(Soaked) as cluster:
        yield cluster


@pytest.mark.timeout(300 + SESSIONS // 50)
def test_many_sessions_leave_nothing_behind(soaked, record_property):
    programs.build()
    login = soaked.database(soaked.home).environment
    opened = 0

    def connect(each):
        nonlocal opened
        opened += each * CLIENTS
        crowd.grow(opened)
        return each * CLIENTS

    with programs.Crowd("--passing", login["PGPORT"], USER, "dev", login["PGSSLCERT"], login["PGSSLKEY"]) as crowd:
        survived = soak(soaked, connect, SESSIONS)
    assert metrics(soaked)[("sallyport_pool_servers_reused_total",)] > 0.98 * opened
    record_property("survived", f"soak, the database's connections reused: {survived}")
