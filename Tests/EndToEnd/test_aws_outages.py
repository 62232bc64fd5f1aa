"""AWS is slow, away, or forgets what it gave: who waits, who does not, and what each hears."""

import asyncio
import concurrent.futures
import contextlib
import signal
import ssl
import struct
import threading
import time

import psycopg
import pytest

from aws_hosts import Maker, placed_on
from conftest import USER
from scripted_server import AUTHENTICATION_OK, KEY, READY, message, scripted_server


@pytest.fixture
def fresh(cluster):
    """A database whose login is not kept yet: the server begins anew."""
    cluster.stop_teleport()
    cluster.start_teleport()
    return cluster.database(cluster.home)


@pytest.fixture
def short_lived(cluster):
    """Sets how long sessions and passwords last, for servers that begin afterwards."""
    def set_lifetimes(**seconds):
        cluster.control("lifetimes", seconds)
        cluster.stop_teleport()
        cluster.start_teleport()
    yield set_lifetimes
    set_lifetimes()


@contextlib.contextmanager
def frozen(cluster):
    """AWS takes connections and says nothing."""
    cluster.emulator.send_signal(signal.SIGSTOP)
    try:
        yield
    finally:
        cluster.emulator.send_signal(signal.SIGCONT)


def alive(database):
    with psycopg.connect(database.dsn) as connection:
        assert connection.execute("select current_user").fetchone() == (f"IAMR:{USER}",)


def grown(cluster, before):
    after = cluster.counters()
    return {name: after[name] - before.get(name, 0) for name in after if after[name] != before.get(name, 0)}


def password_database(talk):
    """A login by password over TLS; then the session waits."""
    talk.secure()
    talk.send(message(b"R", struct.pack("!I", 3)))
    kind, _ = talk.read_message()
    assert kind == b"p"
    talk.send(AUTHENTICATION_OK, KEY, READY)
    talk.drain()


class Crowd:
    """Logins that go on at the same time, of which only some begin at the same moment: a busy machine gets them through their
    handshakes in time."""

    def __init__(self, database):
        self.environment = database.environment
        self.context = ssl.create_default_context(cafile=self.environment["PGSSLROOTCERT"])
        self.context.load_cert_chain(self.environment["PGSSLCERT"], self.environment["PGSSLKEY"])
        self.beginning = asyncio.Semaphore(20)
        self.waiting, self.waiting_at_first, self.ready = 0, None, 0

    async def log_in(self):
        async with self.beginning:
            reader, writer = await asyncio.open_connection(self.environment["PGHOST"], int(self.environment["PGPORT"]))
            writer.write(struct.pack("!II", 8, 80877103))
            assert await reader.readexactly(1) == b"S"
            await writer.start_tls(self.context, server_hostname=self.environment["PGHOST"])
            names = ["user", self.environment["PGUSER"], "database", self.environment["PGDATABASE"]]
            body = struct.pack("!I", 196608) + b"".join(name.encode() + b"\0" for name in names) + b"\0"
            writer.write(struct.pack("!I", 4 + len(body)) + body)
        self.waiting += 1
        try:
            kind = None
            while kind != b"Z":
                header = await reader.readexactly(5)
                kind, body = header[:1], await reader.readexactly(struct.unpack("!I", header[1:])[0] - 4)
                assert kind != b"E", body
            if self.waiting_at_first is None:
                self.waiting_at_first = self.waiting
            self.ready += 1
        finally:
            self.waiting -= 1
            writer.transport.abort()


@pytest.mark.timeout(180)
def test_a_thousand_first_connects_cause_one_call_each(cluster, fresh):
    """A database of a script: a PostgreSQL for a thousand sessions would not fit. AWS takes its time, so that many wait for the
    same; not so much of it that a busy machine makes tries time out."""
    database = cluster.database(cluster.home, name="scripted")
    before = cluster.counters()
    cluster.faults({"action": "AssumeRole", "kind": "delay", "times": 9, "seconds": 3},
                   {"action": "GetCredentials", "kind": "delay", "times": 9, "seconds": 3})

    async def connect_all():
        crowd = Crowd(database)
        await asyncio.gather(*[crowd.log_in() for _ in range(1000)])
        return crowd

    with scripted_server(cluster, password_database):
        crowd = asyncio.run(connect_all())
    assert crowd.ready == 1000
    assert crowd.waiting_at_first > 100
    calls = grown(cluster, before)
    assert (calls["AssumeRole"], calls["GetCredentials"]) == (1, 1)


@pytest.mark.timeout(120)
def test_expiry_in_mid_load_loses_no_connect(cluster, short_lived):
    """Passwords of 8 s, sessions of 5 s: own credentials, role and login are all renewed several times under load."""
    short_lived(session=5, password=8)
    database = cluster.database(cluster.home)
    before = cluster.counters()
    end = time.monotonic() + 30
    counts = [0] * 4

    def load(number):
        while time.monotonic() < end:
            alive(database)
            counts[number] += 1

    with concurrent.futures.ThreadPoolExecutor(4) as pool:
        for result in [pool.submit(load, number) for number in range(4)]:
            result.result()
    calls = grown(cluster, before)
    assert sum(counts) > 100
    assert calls["GetCredentials"] >= 4 and calls["AssumeRole"] >= 4 and calls["InstanceCredentials"] >= 3


@pytest.mark.timeout(180)
def test_half_a_minute_without_aws_loses_no_connect_while_the_login_is_valid(cluster, short_lived):
    """A login of 40 s whose renewal falls due in the midst of the outage."""
    short_lived(password=40)
    database = cluster.database(cluster.home)
    began = time.monotonic()
    alive(database)
    with frozen(cluster):
        outage = time.monotonic()
        while time.monotonic() < outage + 33:
            start = time.monotonic()
            alive(database)
            assert time.monotonic() - start < 2
            time.sleep(0.2)
    # And on beyond the end of the login that was valid then.
    while time.monotonic() < began + 55:
        alive(database)
        time.sleep(0.2)
    assert "cannot renew a database login; the present one serves on" in cluster.log.read_text()


@pytest.mark.parametrize("how, reason", [("silent", "Timeout"), ("refused", "Unreachable")])
def test_without_a_login_each_connect_fails_in_time_and_says_why(cluster, tmp_path, how, reason):
    """Ten seconds for all calls (decision 014); keys of the environment, so that only STS and Redshift are missed."""
    host = Maker(tmp_path, "").environment()
    if how == "refused":
        host.variables["AWS_ENDPOINT_URL"] = "http://127.0.0.1:1"
    with placed_on(cluster, host, restart=True):
        database = cluster.database(cluster.home)

        def connect(_):
            start = time.monotonic()
            with pytest.raises(psycopg.OperationalError) as failure:
                psycopg.connect(database.dsn)
            return time.monotonic() - start, str(failure.value)

        with frozen(cluster) if how == "silent" else contextlib.nullcontext():
            with concurrent.futures.ThreadPoolExecutor(20) as pool:
                results = list(pool.map(connect, range(20)))
        for seconds, text in results:
            assert seconds < 12
            assert f"cannot get database credentials from AWS: {reason}" in text
        if how == "silent":
            time.sleep(1.1)
            alive(database)


def test_warm_connects_call_nobody_and_wait_for_no_cold_one(cluster, fresh):
    """The cold ones share the warm one's own credentials and hang in the call for their password."""
    cluster.make_role("wide", users="['*']")
    cold = cluster.database(cluster.make_user("cold-cora", "wide"), user="no-permission")
    alive(fresh)
    cluster.faults({"action": "GetCredentials", "kind": "stall", "times": 99, "seconds": 30})
    before = cluster.counters()
    stop = threading.Event()

    def connect_cold():
        while not stop.is_set():
            with contextlib.suppress(psycopg.OperationalError):
                psycopg.connect(cold.dsn).close()

    colds = [threading.Thread(target=connect_cold) for _ in range(20)]
    for thread in colds:
        thread.start()
    time.sleep(0.5)
    times = []
    for _ in range(60):
        start = time.monotonic()
        alive(fresh)
        times.append(time.monotonic() - start)
    stop.set()
    cluster.faults()
    for thread in colds:
        thread.join()
    assert max(times) < 1 and sorted(times)[30] < 0.2
    calls = grown(cluster, before)
    # Those of the cold login alone: a role once, and tries of five seconds, one at a time.
    assert (calls["AssumeRole"], calls.get("InstanceCredentials", 0)) == (1, 0)
    assert 1 <= calls["GetCredentials"] <= 4
