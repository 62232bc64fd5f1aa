"""tsh proxy db: plain clients in, the cluster's TLS out."""

import os
import re
import signal
import socket
import struct
import subprocess
import threading
import time

import pexpect
import psycopg
import pytest

import totp
from conftest import BIN, PASSWORD, USER, wait_until

ROUTE = (f"--db-user={USER}", "--db-name=dev")


class LocalProxy:
    def __init__(self, cluster, *options, home=None, environment=None):
        self.process = subprocess.Popen(
            [BIN / "tsh", "proxy", "db", "redshift", *options],
            env={**cluster.environment, "TELEPORT_HOME": str(home or cluster.home), **(environment or {})},
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
            # Without a terminal there is nobody to ask.
            start_new_session=True)
        self.text = ""
        while "psql \"" not in self.text:
            line = self.process.stdout.readline()
            assert line, self.process.stderr.read()
            self.text += line
        self.port = int(re.search(r"Started DB proxy on 127\.0\.0\.1:(\d+)", self.text).group(1))
        self.conninfo = re.search(r'psql "(.*)"', self.text).group(1)

    @property
    def dsn(self):
        return f"host=127.0.0.1 port={self.port} user=whoever dbname=whatever"

    def stop(self, number=signal.SIGINT):
        self.process.send_signal(number)
        return self.process.wait(timeout=15)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()
        self.process.stdout.close()
        self.process.stderr.close()


@pytest.fixture(scope="module")
def tunnel(cluster):
    with LocalProxy(cluster, "--tunnel", *ROUTE) as proxy:
        yield proxy


def test_a_plain_client_needs_nothing_but_the_port(cluster, tunnel):
    result = subprocess.run(["psql", tunnel.conninfo, "-XAtc", "select current_user, current_database()"], capture_output=True, text=True)
    assert result.stdout == f"IAMR:{USER}|dev\n", result.stderr
    # User and database of the flags stand in for whatever the client says; so do all ways to ask for encryption.
    for mode in ("disable", "prefer"):
        with psycopg.connect(f"{tunnel.dsn} sslmode={mode} options='-c search_path=pg_catalog' application_name='my app'") as connection:
            assert connection.execute("select current_database()").fetchone() == ("dev",)
            assert connection.execute("show search_path").fetchone() == ("pg_catalog",)
            assert connection.execute("show application_name").fetchone() == ("my app",)
    with pytest.raises(psycopg.OperationalError, match="does not support SSL"):
        psycopg.connect(f"{tunnel.dsn} sslmode=require")


@pytest.mark.timeout(300)
def test_two_hundred_clients_at_once(cluster, tunnel):
    environment = {**os.environ, "PGHOST": "127.0.0.1", "PGPORT": str(tunnel.port), "PGUSER": "x", "PGDATABASE": "x", "PGSSLMODE": "disable"}
    subprocess.run(["pgbench", "-i", "-q", "-s", "1"], env=environment, check=True, capture_output=True)
    result = subprocess.run(
        ["pgbench", "-n", "-S", "-c", "200", "-j", "4", "-T", "10"], env=environment, capture_output=True, text=True)
    assert result.returncode == 0, result.stderr
    assert "number of failed transactions: 0 (0.000%)" in result.stdout
    wait_until(lambda: len(os.listdir(f"/proc/{tunnel.process.pid}/fd")) < 40, "all connections closed")


def test_large_data_both_ways_and_a_client_that_does_not_read(cluster, tunnel):
    with psycopg.connect(tunnel.dsn) as connection, connection.cursor() as cursor:
        cursor.execute("create temporary table bulk (line text)")
        with cursor.copy("copy bulk from stdin") as copy:
            for _ in range(64):
                copy.write((b"x" * 1023 + b"\n") * 1024)
        received = 0
        with cursor.copy("copy bulk to stdout") as copy:
            for data in copy:
                received += len(data)
        assert received == 64 << 20
        before = resident(tunnel.process.pid)
        cursor.connection.pgconn.send_query(b"select repeat('z', 1000000) from generate_series(1, 500)")
        time.sleep(3)
        assert resident(tunnel.process.pid) - before < 32 << 20, "500 MB are not buffered for a client that is not reading"
        cursor.connection.close()


def resident(pid):
    with open(f"/proc/{pid}/statm") as statistics:
        return int(statistics.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def test_ctrl_c_in_psql_cancels_through_the_tunnel(cluster, tunnel):
    process = subprocess.Popen(
        ["psql", tunnel.conninfo, "-Xc", "select pg_sleep(60)"], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    time.sleep(1.5)
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=20)
    assert "canceling statement due to user request" in errors


@pytest.mark.parametrize("data", [b"GET / HTTP/1.1\r\n\r\n", struct.pack("!II", 8, 80877103) * 2, struct.pack("!I", 0xFFFFFFFF), b"\0" * 20000])
def test_strange_clients_are_closed_and_others_live_on(tunnel, data):
    with psycopg.connect(tunnel.dsn) as bystander:
        with socket.create_connection(("127.0.0.1", tunnel.port), timeout=15) as connection:
            try:
                connection.sendall(data)
                while connection.recv(4096):
                    pass
            except ConnectionResetError:
                pass
        assert bystander.execute("select 1").fetchone() == (1,)


def test_refusals_of_the_cluster_reach_the_client(cluster):
    with LocalProxy(cluster, "--tunnel") as proxy:
        # Nothing was fixed: the client chooses, the roles decide.
        with psycopg.connect(f"host=127.0.0.1 port={proxy.port} user='{USER}' dbname=dev") as connection:
            assert connection.execute("select 1").fetchone() == (1,)
        with pytest.raises(psycopg.OperationalError, match="denied"):
            psycopg.connect(f"host=127.0.0.1 port={proxy.port} user=nobody dbname=dev")


def test_without_tunnel_the_client_brings_the_certificate(cluster):
    with LocalProxy(cluster, *ROUTE) as proxy:
        assert "hostaddr=127.0.0.1" in proxy.conninfo and "sslmode=verify-full" in proxy.conninfo
        with psycopg.connect(proxy.conninfo) as connection:
            assert connection.execute("select current_user").fetchone() == (f"IAMR:{USER}",)
        with pytest.raises(psycopg.OperationalError, match="TLS is required"):
            psycopg.connect(f"{proxy.dsn} sslmode=disable")


def test_ctrl_c_ends_sessions_in_order(cluster):
    for number in (signal.SIGINT, signal.SIGTERM):
        with LocalProxy(cluster, "--tunnel", *ROUTE) as proxy:
            idle = psycopg.connect(proxy.dsn, autocommit=True)
            assert idle.execute("select 1").fetchone() == (1,)
            assert proxy.stop(number) == 0
            with pytest.raises(psycopg.OperationalError, match="shutting down"):
                idle.execute("select 1")


def test_a_taken_port_is_told(cluster):
    with LocalProxy(cluster, "--tunnel", *ROUTE) as proxy:
        second = cluster.tool("tsh", "proxy", "db", "redshift", "--tunnel", *ROUTE, f"--port={proxy.port}", home=cluster.home)
        assert second.returncode == 1 and "cannot listen" in second.stderr and "--port" in second.stderr
    for wrong in (["--listen=nowhere"], ["--listen=127.0.0.1:1", "--port=1"], ["--listen=127.0.0.1:x"]):
        assert cluster.tool("tsh", "proxy", "db", "redshift", "--tunnel", *ROUTE, *wrong, home=cluster.home).returncode == 1


# Certificates that end while the proxy runs

@pytest.fixture
def brief(cluster):
    """A role whose logins end soon: --ttl can only say minutes."""
    cluster.make_role("brief", options="{max_session_ttl: 8s}")
    return "brief"


def test_expiry_without_a_terminal_and_a_login_elsewhere(cluster, brief):
    home = cluster.make_user("brief", brief)
    try:
        with LocalProxy(cluster, "--tunnel", *ROUTE, home=home) as proxy:
            running = psycopg.connect(proxy.dsn, autocommit=True)
            time.sleep(9)
            with pytest.raises(psycopg.OperationalError) as failure:
                psycopg.connect(proxy.dsn)
            text = str(failure.value)
            assert "expired" in text and f"tsh login --proxy=localhost:{cluster.port} --user=brief" in text
            assert running.execute("select 1").fetchone() == (1,), "a running session stays"
            cluster.log_in("brief")
            with psycopg.connect(proxy.dsn) as connection:
                assert connection.execute("select 1").fetchone() == (1,)
            assert running.execute("select 1").fetchone() == (1,)
            running.close()
    finally:
        cluster.run("tctl", "users", "rm", "brief")


def test_expiry_with_a_terminal_asks_once(cluster, brief):
    output = cluster.run("tctl", "users", "add", "brieftyper", f"--roles={brief}")
    link = [word for word in output.split() if word.startswith("https://")][0]
    page = subprocess.run(
        ["curl", "-sS", "--cacert", cluster.environment["SSL_CERT_FILE"], link], capture_output=True, text=True, check=True).stdout
    secret = re.search(r"<code>([A-Z2-7]{32})</code>", page).group(1)
    subprocess.run(
        ["curl", "-sS", "--fail", "-o", "/dev/null", "--cacert", cluster.environment["SSL_CERT_FILE"], "--data-urlencode",
         f"password={PASSWORD}", "--data-urlencode", f"otp={totp.code(secret, -1)}", link], check=True)
    home = cluster.directory / "home-brieftyper"
    cluster.run(
        "tsh", "login", f"--proxy=localhost:{cluster.port}", "--user=brieftyper", "--password-file=-", "--otp-file=-", home=home,
        stdin=f"{PASSWORD}\n{totp.code(secret)}\n")
    terminal = pexpect.spawn(
        str(BIN / "tsh"), ["proxy", "db", "redshift", "--tunnel", *ROUTE],
        env={**cluster.environment, "TELEPORT_HOME": str(home)}, encoding="utf-8", timeout=30)
    terminal.expect(r"Started DB proxy on 127\.0\.0\.1:(\d+)")
    dsn = f"host=127.0.0.1 port={terminal.match.group(1)} user=x dbname=x"
    running = psycopg.connect(dsn, autocommit=True)
    time.sleep(9)
    answers = []

    def connect():
        with psycopg.connect(dsn) as connection:
            answers.append(connection.execute("select 1").fetchone())

    threads = [threading.Thread(target=connect) for _ in range(5)]
    for thread in threads:
        thread.start()
    terminal.expect("The login has expired and a client is waiting")
    terminal.expect("Password of brieftyper: ")
    terminal.sendline(PASSWORD)
    terminal.expect("One-time code of your app")
    terminal.sendline(totp.code(secret, 1))
    for thread in threads:
        thread.join(timeout=30)
    assert answers == [(1,)] * 5, "one answer serves all who waited"
    assert running.execute("select 1").fetchone() == (1,)
    running.close()
    terminal.sendintr()
    terminal.expect(pexpect.EOF)
    assert "Password" not in terminal.before
    terminal.close()
    assert terminal.exitstatus == 0
