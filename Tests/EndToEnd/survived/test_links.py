"""Networks that lose, delay and reorder packets, and peers that vanish without a word."""

import contextlib
import hashlib
import os
import random
import shutil
import subprocess
import tempfile
import threading
import time

import psycopg
import pytest

from conftest import wait_until
from survived.far_hosts import FarHosts

# Seconds until a peer that does not answer is given up: TCP's keep-alive and user timeout (decision 006), and some for the
# machine of the test.
GONE, MARGIN = 60, 12


@contextlib.contextmanager
def far(number):
    """The hosts and the links between them; skipped where they cannot be made."""
    if os.geteuid() != 0 or not shutil.which("ip") or not os.path.exists("/dev/net/tun"):
        pytest.skip("network namespaces and TUN devices need root, iproute2 and /dev/net/tun")
    if subprocess.run(["ip", "netns", "add", f"flt{number}-{os.getpid()}-probe"], capture_output=True).returncode != 0:
        pytest.skip("this kernel or container lets nobody make network namespaces")
    subprocess.run(["ip", "netns", "del", f"flt{number}-{os.getpid()}-probe"], check=True)
    with tempfile.TemporaryDirectory() as directory:
        os.chmod(directory, 0o755)
        hosts = FarHosts(directory, number)
        try:
            hosts.start()
            yield hosts
        finally:
            hosts.stop()


@pytest.fixture(scope="module")
def hosts():
    with far(0) as hosts:
        yield hosts


def finish(job, seconds):
    job.thread.join(seconds)
    assert not job.thread.is_alive(), "it hangs"
    if isinstance(job.outcome, Exception):
        raise job.outcome
    return job.outcome


SIZE = 1 << 20


def bulk(settings):
    """A megabyte there and back in each of two sessions, and small statements between; gives the digests of both ways."""
    outcomes = []
    for _ in range(2):
        data = b"".join(random.randbytes(120).hex().encode() + b"\n" for _ in range(SIZE // 241))
        with psycopg.connect(f"{settings} connect_timeout=30") as session, session.cursor() as cursor:
            cursor.execute("create temporary table bulk (number serial, line text)")
            with cursor.copy("copy bulk (line) from stdin") as copy:
                copy.write(data)
            for number in range(20):
                assert cursor.execute("select %s::int + 1", [number]).fetchone() == (number + 1,)
            with cursor.copy("copy (select line from bulk order by number) to stdout") as copy:
                back = b"".join(bytes(part) for part in copy)
        outcomes.append((hashlib.sha256(data).hexdigest(), hashlib.sha256(back).hexdigest(), len(data)))
    return outcomes


@pytest.mark.timeout(240)
def test_bad_links_change_nothing_but_the_time(hosts, record_property):
    """On the way to the proxy and on the one to the database, in both directions each."""
    for link in hosts.bad_links.values():
        link.set(loss=0.02, delay=0.02, jitter=0.01, reorder=0.25)
    begun, sessions = time.monotonic(), 4
    try:
        jobs = [hosts.on("workstation", bulk) for _ in range(sessions)]
        outcomes = [outcome for job in jobs for outcome in finish(job, 180)]
        took = time.monotonic() - begun
    finally:
        for link in hosts.bad_links.values():
            link.set(loss=0, delay=0, jitter=0, reorder=0)
    assert len(outcomes) == 2 * sessions and all(sent == back for sent, back, _ in outcomes)
    size = sum(size for _, _, size in outcomes)
    counts = [link.counts() for link in hosts.bad_links.values()]
    carried, lost, ahead = (sum(each) for each in zip(*counts))
    assert lost > 0.01 * carried and ahead > 0.15 * carried
    record_property("survived", (
        f"loss 2 %, delay 20 ms +- 10 ms, reorder 25 % on both links, both ways: {len(outcomes)} sessions, {2 * size / 1e6:.1f} MB, "
        f"every digest equal, in {took:.0f} s; {carried} packets carried, {lost} lost, {ahead} sent ahead"))


def hold(name, query=None):
    """A session that does nothing, or asks `query` and reads all of the answer; ends with the error that it gets."""
    ready = threading.Event()

    def work(settings):
        session = psycopg.connect(f"{settings} application_name={name}", autocommit=True)
        # Kept open, whatever becomes of the thread.
        kept.append(session)
        session.execute("select 1")
        ready.set()
        if query:
            with session.cursor() as cursor:
                for _ in cursor.stream(query):
                    pass

    return work, ready


kept = []
# More than all buffers on the way hold, for longer than the test takes.
STREAM = "select repeat('x', 10000), pg_sleep(0.001) from generate_series(1, 1000000)"


@pytest.mark.timeout(400)
def test_peers_that_vanish_are_noticed_in_time(hosts, record_property):
    """Cut cables, on either side of the proxy: of a client, and of an agent. Two clusters, since a cut takes its minute."""
    with far(1) as others:
        clients = [(hosts, "workstation"), (others, "front")]
        jobs = {}
        for world, host in clients:
            for kind, query in [("idle", None), ("stream", STREAM), ("waiting", "select pg_sleep(600)")]:
                name = f"far-{host}-{kind}"
                work, ready = hold(name, query)
                jobs[name] = world.on(host, work)
                assert ready.wait(20), jobs[name].outcome
        time.sleep(1)
        assert len(hosts.backends()) == len(others.backends()) == 3
        begun = time.monotonic()
        hosts.bad_links["workstation"].cut()
        others.bad_links["database-host"].cut()
        ended, told = {}, {}
        try:
            while time.monotonic() - begun < GONE + MARGIN:
                time.sleep(0.5)
                now = time.monotonic() - begun
                present = hosts.backends() | others.backends()
                for name, job in jobs.items():
                    if name not in present:
                        ended.setdefault(name, now)
                    if not job.thread.is_alive() and job.outcome:
                        told.setdefault(name, now)
                if len(ended) == 6 and len(told) >= 2:
                    break
            assert ended.keys() == jobs.keys(), f"sessions in the database that nobody has any more: {jobs.keys() - ended.keys()}"
            # A client whose own cable is whole hears why, unless that would fall within a row.
            assert "database service was lost" in str(jobs["far-front-waiting"].outcome)
            assert isinstance(jobs["far-front-stream"].outcome, psycopg.OperationalError)
            # Not before: a link may be out for half a minute.
            assert min(ended.values()) > 25
            repaired = time.monotonic()
        finally:
            hosts.bad_links["workstation"].set(loss=0)
            others.bad_links["database-host"].set(loss=0)
        for world, host in clients:
            wait_until(lambda: isinstance(finish(world.on(host, opens), 30), int), "a new session", 60)
        back = time.monotonic() - repaired
    for session in kept:
        with contextlib.suppress(psycopg.Error):
            session.close()
    record_property("survived", (
        f"cut cables of clients and of an agent: all {len(ended)} sessions ended in the database after {min(ended.values()):.0f} to "
        f"{max(ended.values()):.0f} s, clients beyond the agent's cable told after {max(told.values()):.0f} s; new sessions "
        f"{back:.0f} s after the repair"))


def opens(settings):
    try:
        with psycopg.connect(f"{settings} connect_timeout=10") as session:
            return session.execute("select 1").fetchone()[0]
    except psycopg.OperationalError:
        return None
