"""A flood from one address (127.0.0.2), while another one (127.0.0.1) goes on working."""

import re
import socket
import ssl
import time
import urllib.request

import psycopg
import pytest

from conftest import Cluster, started, wait_until
from test_faults import resident_kb

FLOODER = "127.0.0.2"
SSL_REQUEST = bytes.fromhex("0000000804d2162f")
# The limits by default.
UNAUTHENTICATED, RATE, WINDOW = 256, 50, 10


class Limited(Cluster):
    limits = ""

    def write_config(self, *arguments, **options):
        super().write_config(*arguments, **options)
        text = self.config.read_text()
        self.config.write_text(text.replace("teleport:\n", f"teleport:\n  connection_limits: {{{self.limits}}}\n", 1))


@pytest.fixture(scope="module")
def limited():
    with started(Limited) as cluster:
        cluster.login = cluster.database(cluster.home)
        yield cluster


def client_hello():
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    context = ssl.create_default_context()
    session = context.wrap_bio(incoming, outgoing, server_hostname="localhost")
    with pytest.raises(ssl.SSLWantReadError):
        session.do_handshake()
    return outgoing.read()


def connect(cluster, source, first=b""):
    connection = socket.socket()
    connection.settimeout(5)
    connection.bind((source, 0))
    connection.connect(("127.0.0.1", cluster.port))
    try:
        if first:
            connection.sendall(first)
    except OSError:
        # Turned away before the bytes were there.
        pass
    return connection


def metric(cluster, name):
    """The sum of a metric's series, and each by its labels."""
    with urllib.request.urlopen(f"http://127.0.0.1:{cluster.diag_port}/metrics") as answer:
        text = answer.read().decode()
    found = dict(re.findall(rf"^{name}({{.*}})? (\S+)$", text, re.MULTILINE))
    return sum(map(float, found.values())), {labels: float(value) for labels, value in found.items()}


def turned_away(cluster, limit=""):
    return sum(value for labels, value in metric(cluster, "sallyport_connections_turned_away_total")[1].items()
               if limit in labels)



def open_session(cluster):
    start = time.monotonic()
    with psycopg.connect(cluster.login.dsn) as session:
        assert session.execute("select 1").fetchone() == (1,)
    return time.monotonic() - start


def test_a_flood_from_one_address_leaves_others_alone(limited):
    hello = client_hello()
    # Silent; asked for TLS and silent; half of a ClientHello; all of it, and no answer to the server's.
    firsts = [b"", SSL_REQUEST, SSL_REQUEST + hello[:100], hello[:100], hello]
    quiet = max(open_session(limited) for _ in range(5))
    before, turned = resident_kb(limited), turned_away(limited)
    flood, delays = [], []
    for number in range(5_000):
        flood.append(connect(limited, FLOODER, firsts[number % len(firsts)]))
        if number % 250 == 249:
            delays.append(open_session(limited))
    wait_until(lambda: turned_away(limited) - turned >= 5_000 - UNAUTHENTICATED - RATE * WINDOW, "refusals")
    open_now, _ = metric(limited, "sallyport_connections_open")
    grown = resident_kb(limited) - before
    print(f"slowest of 20 sessions {max(delays):.2f} s (without flood {quiet:.2f} s), {grown} KiB more, {open_now} open")
    assert open_now <= UNAUTHENTICATED + 2
    assert max(delays) < 2, delays
    assert grown < 40_000
    for connection in flood:
        connection.close()
    # The log has a line a second and reactor at most, not one a connection.
    lines = [line for line in limited.log.read_text().splitlines() if "connections are turned away" in line]
    assert 1 <= len(lines) < 100 and FLOODER in lines[0]
    wait_until(lambda: metric(limited, "sallyport_connections_open")[0] <= 2, "the flood's end")


def test_connections_that_come_and_go_meet_the_rate(limited):
    time.sleep(WINDOW)
    hello = client_hello()
    turned = turned_away(limited, "unauthenticated_rate")
    for _ in range(RATE * WINDOW * 2 + 100):
        connect(limited, FLOODER, hello).close()
    # A window may end in between, once.
    wait_until(lambda: turned_away(limited, "unauthenticated_rate") > turned, "refusals by the rate")
    assert open_session(limited) < 2
    # Even the flooder comes in again after that, and with certificates as often as it likes: these count for nothing.
    time.sleep(WINDOW)
    connection = connect(limited, FLOODER, SSL_REQUEST)
    assert connection.recv(1) == b"S"
    connection.close()


@pytest.fixture
def few(limited):
    limited.stop_teleport()
    limited.limits = "max_connections: 3, exempt: []"
    limited.write_config(database=True)
    limited.start_teleport()
    yield limited
    limited.stop_teleport()
    limited.limits = ""
    limited.write_config(database=True)
    limited.start_teleport()


def test_who_has_too_many_sessions_is_told(few):
    sessions = [psycopg.connect(few.login.dsn) for _ in range(3)]
    with pytest.raises(psycopg.OperationalError, match="too many connections from 127.0.0.1") as refused:
        psycopg.connect(few.login.dsn)
    assert "connection_limits" in str(refused.value)
    sessions.pop().close()
    wait_until(lambda: metric(few, "sallyport_connections_open")[0] <= 2, "the session's end")
    assert open_session(few) < 2
    assert metric(few, "sallyport_sessions_refused_total")[1].get('{sqlstate="53300"}') == 1
    for session in sessions:
        session.close()


def test_certificates_do_not_count_for_the_rate(limited):
    limited.stop_teleport()
    limited.limits = "max_unauthenticated_rate: 1, exempt: []"
    limited.write_config(database=True)
    limited.start_teleport()
    # What waits for the port to open is one that comes without a certificate.
    for _ in range(3 * WINDOW):
        assert open_session(limited) < 2
    refused = 0
    for _ in range(2 * WINDOW + 1):
        connection = connect(limited, "127.0.0.1", SSL_REQUEST)
        try:
            refused += connection.recv(1) != b"S"
        except ConnectionResetError:
            refused += 1
        connection.close()
    assert refused > 0
