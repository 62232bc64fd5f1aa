"""What comes to the public port from anybody: memory, names, guesses."""

import os
import socket
import ssl
import struct

import psycopg
import pytest

from bad_inputs.unharmed import resident
from conftest import USER
from test_refusals import SSL_REQUEST, message, plain, read_all, read_until_ready, log_in, secure, sqlstate, startup

HTTP = b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"
SSH = b"SSH-2.0-OpenSSH_9.2\r\n"
LENGTHS = [0, 4, 7, 10001, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF]
STRANGE = [HTTP, SSH, b"\0" * 65536, os.urandom(4096), *(struct.pack("!I", length) for length in LENGTHS)]


def throw(cluster, data):
    with plain(cluster) as connection:
        try:
            connection.sendall(data)
            connection.shutdown(socket.SHUT_WR)
        except OSError:
            pass  # It was faster to hang up than we to send.
        return read_all(connection)


def test_03_04_what_strangers_send_costs_no_memory(cluster):
    """A declared length is never allocated, and nothing stays: after some thousands the process does not grow any more."""
    def round_of(count):
        for number in range(count):
            data = STRANGE[number % len(STRANGE)]
            assert throw(cluster, data if data[0] != 0x16 else b"\0" + data) == b""

    lines, sizes = len(cluster.log.read_text().splitlines()), []
    for _ in range(5):
        round_of(1000)
        sizes.append(resident(cluster.teleport.pid))
    growth = [after - before for before, after in zip(sizes, sizes[1:])]
    print(f"KiB a thousand: {growth}")
    # The allocator takes its pages early or late; a byte kept of each would show in every round.
    assert min(growth) < 256 and sum(growth) < 4096, growth
    assert len(cluster.log.read_text().splitlines()) - lines < 20


# A name of AWS has up to 2048 bytes; more is no name, and more than 10,000 no startup packet of PostgreSQL.
@pytest.mark.parametrize("length, state", [
    (2, "28000"), (63, "28000"), (64, "28000"), (128, "28000"), (129, "28000"), (2048, "28000"), (2049, "08P01"),
    (9000, "08P01"), (20_000, "08P01")])
def test_a9_names_of_any_length_are_refused_alike(cluster, redshift, length, state):
    for pairs in ((("user", "x" * length), ("database", "dev")),
                  (("user", USER), ("database", "é" * (length // 2) + "x" * (length % 2)))):
        with secure(cluster, redshift) as connection:
            connection.sendall(startup(*pairs))
            answer = read_all(connection)
        assert sqlstate(answer) == state and len(answer) < 20_000


@pytest.mark.parametrize("name", [
    "dev?sslmode=disable&host=127.0.0.1", "dev sslmode=disable host=127.0.0.1", "dev' host='127.0.0.1", "dev%00", "dev\\",
    "postgres://x@127.0.0.1/dev", "dev;options=-cis_superuser=on",
])
def test_a11_names_are_no_connection_strings(cluster, name):
    """What the role lets through reaches the database as the one name it is."""
    cluster.make_role("a11", names="['*']")
    home = cluster.directory / "home-a11"
    home = home if home.exists() else cluster.make_user("a11", "a11")
    certificate = cluster.open_certificate(home, "redshift")
    with secure(cluster, certificate) as connection:
        connection.sendall(startup(("user", USER), ("database", name)))
        answer = read_all(connection)
    # The database's own words: it was asked over TLS, as ever, for a database of exactly that name.
    assert sqlstate(answer) == "3D000" and f'database "{name}" does not exist'.encode() in answer, answer


def test_a12_guessed_cancel_keys_hit_nothing(cluster, redshift):
    connection, (pid, key) = log_in(cluster, redshift)
    query = b"select pg_sleep(3), 'untouched'\0"
    with connection:
        connection.sendall(b"Q" + struct.pack("!I", 4 + len(query)) + query)
        for number in range(10_000):
            with plain(cluster) as guess:
                guess.sendall(message(80877102, struct.pack("!II", pid, (key + 1 + number) & 0xFFFFFFFF)))
            if number % 1000 == 0:
                with psycopg.connect(redshift.dsn) as other:
                    assert other.execute("select 1").fetchone() == (1,)
        connection.settimeout(30)
        assert b"untouched" in read_until_ready(connection)


def test_half_a_handshake_is_closed_in_time(cluster):
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    session = ssl.create_default_context().wrap_bio(incoming, outgoing, server_hostname="localhost")
    with pytest.raises(ssl.SSLWantReadError):
        session.do_handshake()
    hello = outgoing.read()
    for cut in (1, 5, 6, len(hello) // 2, len(hello) - 1):
        with plain(cluster) as connection:
            connection.sendall(SSL_REQUEST)
            assert connection.recv(1) == b"S"
            connection.sendall(hello[:cut])
            connection.settimeout(14)
            assert read_all(connection) == b""
