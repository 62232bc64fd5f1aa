"""The fault matrix on the links whose ends are library code, which is not simulated: to the Auth Service and to AWS.

Each fault strikes while sessions are in all eight phases: each is a cell, with its own outcome and bound in seconds. The other
192 cells are `make simulate-matrix`.
"""

import re
import signal
import ssl
import subprocess
import threading
import time
import types

import psycopg
import pytest

from conftest import open_directory, wait_until
from raw_client import Raw, open_tls
from survived.faulty_relay import FAULTS, Loop, Relay
from test_audit_shipping import call
from test_cluster import Apart, running

PHASES = ["startup", "authentication", "idle", "query", "copy in", "copy out", "cancel", "shutdown"]
# Another database user than the other sessions', whose login has to be fetched from AWS.
COLD = "arn:aws:iam::123456789012:role/a/path/on-a-path"
# Seconds. A login may take AWS's budget of ten, and is over then; what is behind the login needs neither link. An agent that
# stops has a grace of a second, and tries for some to say goodbye.
BOUNDS = {phase: 15 for phase in PHASES} | {"shutdown": 30}
# Of users whose sessions are counted by the Auth Service: the time limit of a login, and some for the machine of the test.
COUNTED_BOUND = 35
# A lock is heard of at once; where the connection that would bring it went silent, when the request on it has had its 30 s.
LOCK_BOUND, SILENT_LOCK_BOUND = 15, 45
ROWS = 20_000


class Matrix(Apart):
    """The proxy reaches the Auth Service through `auth_link`, for itself and for the agent; the agent AWS through `aws_link`."""

    host_ttl = "10m"

    def start_cluster(self):
        self.loop = Loop()
        subprocess.run(
            ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-subj", "/CN=localhost",
             "-addext", "subjectAltName=DNS:localhost", "-keyout", self.directory / "aws.key", "-out", self.directory / "aws.pem"],
            check=True, capture_output=True)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(self.directory / "aws.pem", self.directory / "aws.key")
        # AWS speaks TLS: a corrupt byte is one of a record.
        self.aws_link = Relay(self.loop, Relay(self.loop, self.aws_port, context).port)
        self.environment |= {
            "AWS_ENDPOINT_URL": f"https://localhost:{self.aws_link.port}", "AWS_CA_BUNDLE": str(self.directory / "aws.pem")}
        super().start_cluster()

    def make_proxy(self, name, port, shutdown="1s"):
        self.auth_link = Relay(self.loop, self.auth_port)
        host = super().make_proxy(name, port, shutdown)
        text = host.config.read_text().replace(f"localhost:{self.auth_port}", f"localhost:{self.auth_link.port}")
        host.config.write_text(text)
        return host

    def stop(self):
        super().stop()
        if hasattr(self, "loop"):
            self.loop.end()


@pytest.fixture(scope="module")
def matrix(tmp_path_factory):
    with running(Matrix(open_directory(tmp_path_factory, "matrix"))) as cluster:
        cluster.make_role("dev", users="['*']")
        cluster.make_role("bounded", users="['*']", options="{max_connections: 5}")
        cluster.warm = cluster.database(cluster.home)
        cluster.cold = cluster.database(cluster.make_user("carol", "dev"), user=COLD)
        cluster.locked = cluster.database(cluster.make_user("vera", "dev"))
        cluster.bounded = cluster.database(cluster.make_user("bob", "bounded"))
        yield cluster


class Job(threading.Thread):
    """Work whose end has its time and its outcome: a value, or an exception."""

    def __init__(self, work):
        super().__init__(daemon=True)
        self.work, self.outcome, self.ended = work, None, None
        self.start()

    def run(self):
        try:
            self.outcome = self.work()
        except Exception as error:  # noqa: BLE001 - looked at by the test
            self.outcome = error
        self.ended = time.monotonic()

    def result(self):
        """The outcome, once there is one; raised if it is an exception."""
        self.join()
        if isinstance(self.outcome, Exception):
            raise self.outcome
        return self.outcome


def log_in(database, tls=None):
    """What a login ended in: "in", or the server's error."""
    kind, body = Raw(database, tls, until=(b"Z", b"E")).login[-1]
    return "in" if kind == b"Z" else body.replace(b"\0", b" ").decode()


def session(database):
    return psycopg.connect(database.dsn, autocommit=True)


def idle(database):
    connection = session(database)

    def go_on():
        return connection.execute("select 42").fetchone()[0]
    return connection, go_on, 42


def query(database):
    connection = session(database)
    job = Job(lambda: connection.execute("select 43 from pg_sleep(2)").fetchone()[0])
    return connection, job.result, 43


def copy_in(database):
    connection = session(database)
    cursor = connection.cursor()
    cursor.execute("create temporary table t (line text)")
    context = cursor.copy("copy t from stdin")
    copy = context.__enter__()
    copy.write(b"x" * 100 + b"\n")

    def go_on():
        for _ in range(ROWS - 1):
            copy.write(b"x" * 100 + b"\n")
        context.__exit__(None, None, None)
        return cursor.execute("select count(*) from t").fetchone()[0]
    return connection, go_on, ROWS


def copy_out(database):
    connection = session(database)
    context = connection.cursor().copy(f"copy (select repeat('x', 100) from generate_series(1, {ROWS})) to stdout")
    copy = context.__enter__()
    first = bytes(copy.read())

    def go_on():
        size = len(first) + sum(len(part) for part in copy)
        context.__exit__(None, None, None)
        return size
    return connection, go_on, 101 * ROWS


def cancelled(database):
    connection = session(database)
    job = Job(lambda: connection.execute("select pg_sleep(600)"))

    def go_on():
        connection.cancel_safe(timeout=10)
        job.join()
        return type(job.outcome)
    return connection, go_on, psycopg.errors.QueryCanceled


SESSIONS = {"idle": idle, "query": query, "copy in": copy_in, "copy out": copy_out, "cancel": cancelled}


def strike(matrix, link, fault):
    """Gives the job of what the fault is, where that is a program's doing."""
    if fault != "duplicate connect":
        link.strike(fault)
        return None
    # The same host asks once more, or the same user logs in once more.
    if link is matrix.auth_link:
        return Job(lambda: "in" if call(matrix, matrix.agents[0])[0] == 200 else "refused")
    return Job(lambda: log_in(matrix.cold))


def begin_all(matrix):
    """Sessions in all phases but the last, by phase: what goes on, and what that has to give."""
    begun = {phase: begin(matrix.warm) for phase, begin in SESSIONS.items()}
    tls = open_tls(matrix.cold)
    # It waits for AWS when the fault comes.
    matrix.faults({"action": "GetCredentials", "kind": "delay", "times": 1, "seconds": 1})
    before = matrix.counters().get("GetCredentials", 0)
    authenticating = Job(lambda: log_in(matrix.cold))
    wait_until(lambda: matrix.counters().get("GetCredentials", 0) > before or authenticating.ended, "the call of AWS", 10)
    assert not authenticating.ended, authenticating.outcome
    begun["authentication"] = None, authenticating.result, "in"
    begun["startup"] = None, lambda: log_in(matrix.cold, tls), "in"
    return begun


def judge(phase, job, since, expected, may_be_refused):
    """The seconds that a cell took. A job that has not ended is looked at by its bound."""
    job.join(max(0, since + BOUNDS[phase] - time.monotonic()))
    assert job.ended, f"{phase}: not over after {BOUNDS[phase]} s"
    is_refused = may_be_refused and re.search("cannot get database credentials from AWS: (Timeout|Unreachable)", str(job.outcome))
    assert job.outcome == expected or is_refused, f"{phase}: {job.outcome!r}"
    return types.SimpleNamespace(seconds=job.ended - since, text="refused" if is_refused else "completed")


def survive(matrix, link, fault):
    """Sessions in seven phases; gives their cells."""
    may_be_refused = link is matrix.aws_link and fault in ("black hole", "1 KB/s")
    begun = begin_all(matrix)
    since = time.monotonic()
    twin = strike(matrix, link, fault)
    jobs = {phase: Job(go_on) for phase, (_, go_on, _) in begun.items()}
    counted = Job(lambda: log_in(matrix.bounded)) if link is matrix.auth_link else None
    cells = {
        phase: judge(phase, job, since, begun[phase][2], may_be_refused and phase in ("startup", "authentication"))
        for phase, job in jobs.items()}
    if twin:
        judge("startup", twin, since, "in", False)
    else:
        assert link.struck > 0, "the fault found no connection"
    if counted:
        counted.join(max(0, since + COUNTED_BOUND - time.monotonic()))
        # Nobody to count, no session (decision 064).
        assert counted.outcome == "in" or "C57P03" in str(counted.outcome), counted.outcome
    for connection, _, _ in begun.values():
        if connection:
            connection.close()
    return cells


def shut_down(matrix, link, fault):
    """The agent is told to stop with a query under way, at the moment of the fault; gives the cell."""
    connection = session(matrix.warm)
    running_query = Job(lambda: connection.execute("select 1 from pg_sleep(0.7)").fetchone()[0])
    wait_until(lambda: "pg_sleep(0.7)" in str(matrix.admin().execute("select query from pg_stat_activity where state = 'active'").fetchall()), "the query")
    since = time.monotonic()
    strike(matrix, link, fault)
    agent = matrix.agents[0]
    agent.process.send_signal(signal.SIGTERM)
    agent.process.wait(BOUNDS["shutdown"])
    seconds = time.monotonic() - since
    running_query.join(5)
    assert running_query.outcome == 1, "the drain lets it finish"
    assert agent.process.returncode == 0
    connection.close()
    return types.SimpleNamespace(seconds=seconds, text="completed")


def lock_arrives(matrix, link, fault):
    """A lock made after the fault ends a session at the agent; gives the seconds."""
    connection = session(matrix.locked)
    strike(matrix, link, fault)
    since = time.monotonic()
    name = re.search(r'name "(\S+)"', matrix.run("tctl", "lock", "--user=vera", "--message=stolen")).group(1)
    if fault == "black hole":
        time.sleep(3)
        link.heal()
    bound = SILENT_LOCK_BOUND if fault == "black hole" else LOCK_BOUND
    try:
        # A client that is just sending may find the connection closed before it reads why.
        with pytest.raises(psycopg.OperationalError):
            while time.monotonic() - since < bound:
                connection.execute("select 1")
                time.sleep(0.02)
        return time.monotonic() - since
    finally:
        matrix.run("tctl", "rm", f"lock/{name}")


@pytest.mark.timeout(240)
@pytest.mark.parametrize("fault", FAULTS)
@pytest.mark.parametrize("name", ["Auth Service", "AWS"])
def test_every_phase_ends_within_its_bound(matrix, name, fault, record_property):
    link = matrix.auth_link if name == "Auth Service" else matrix.aws_link
    agent = matrix.agents[0]
    # A new one has nothing from AWS yet.
    agent.stop(signal.SIGKILL)
    agent.restart()
    try:
        cells = survive(matrix, link, fault)
        link.heal()
        if name == "Auth Service":
            locked = lock_arrives(matrix, link, fault)
            link.heal()
            wait_until(lambda: log_in(matrix.bounded) == "in", "places of bounded users to be had again", 40)
        else:
            wait_until(lambda: log_in(matrix.cold) == "in", "AWS to be back", 5)
        cells["shutdown"] = shut_down(matrix, link, fault)
    finally:
        link.heal()
        matrix.faults()
    assert list(sorted(cells)) == sorted(PHASES)
    slowest = max(cells, key=lambda phase: cells[phase].seconds)
    refused = [phase for phase in PHASES if cells[phase].text == "refused"]
    record_property("survived", (
        f"{name}, {fault}: {len(cells)} cells, {len(cells) - len(refused)} completed"
        + (f", refused: {', '.join(refused)}" if refused else "")
        + f", the slowest {slowest} after {cells[slowest].seconds:.1f} s"
        + (f"; a lock after {locked:.1f} s" if name == "Auth Service" else "")))
