"""TLS sessions with databases are resumed where the database offers it, and nothing else changes by that."""

import contextlib
import os
import socket
import ssl
import struct
import threading

import psycopg
import pytest

from scram import ScramServer
from scripted_server import AUTHENTICATION_OK, KEY, READY, message, scripted_server
from test_operations import reload

VERSIONS = [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3]
# A reactor keeps its own sessions: the first login of each is in full.
REACTORS = os.cpu_count()
MANY = 4 * REACTORS + 4


@pytest.fixture(scope="module")
def scripted(cluster):
    return cluster.database(cluster.home, name="scripted")


def certificate_der(cluster):
    return ssl.PEM_cert_to_DER_cert((cluster.pg / "server.crt").read_text())


def answer_queries(talk):
    """One row with the query's text for each simple query."""
    while True:
        kind, body = talk.read_message()
        if kind == b"X":
            return
        assert kind == b"Q"
        text = body.rstrip(b"\0")
        row = struct.pack("!HI", 1, len(text)) + text
        column = b"text\0" + struct.pack("!IHIHIH", 0, 0, 25, 0xFFFF, 0xFFFFFFFF, 0)
        talk.send(
            message(b"T", struct.pack("!H", 1) + column), message(b"D", row), message(b"C", b"SELECT 1\0"), READY)


@contextlib.contextmanager
def trusting_server(cluster):
    """Lets everybody in; for each login whether its TLS session was resumed, and what went wrong."""
    seen = []

    def script(talk):
        talk.secure()
        seen.append(talk.connection.session_reused)
        talk.send(AUTHENTICATION_OK, KEY, READY)
        answer_queries(talk)

    with scripted_server(cluster, script, ssl.TLSVersion.TLSv1_3) as errors:
        yield seen, errors


def log_in_and_query(scripted, size=10):
    with psycopg.connect(scripted.dsn, autocommit=True) as connection:
        cursor = psycopg.ClientCursor(connection)
        text = "x" * size
        for _ in range(3):
            assert cursor.execute(text).fetchone() == (text,)


@pytest.mark.parametrize("version", VERSIONS)
def test_logins_resume_the_session_of_earlier_ones(cluster, scripted, version):
    seen = []

    def script(talk):
        talk.secure()
        scram = ScramServer(
            talk, [b"SCRAM-SHA-256-PLUS", b"SCRAM-SHA-256"], certificate_der(cluster), cluster.secrets())
        scram.run()
        # Bound to the certificate, which a resumed handshake does not show again.
        assert scram.mechanism == b"SCRAM-SHA-256-PLUS" and scram.binding.endswith(scram.end_point)
        seen.append((talk.connection.version(), talk.connection.session_reused))
        talk.send(AUTHENTICATION_OK, KEY, READY)
        answer_queries(talk)

    with scripted_server(cluster, script, version) as errors:
        for number in range(MANY):
            log_in_and_query(scripted, size=10 if number % 2 else 300_000)
    assert errors == []
    assert {name for name, _ in seen} == {"TLSv1.2" if version == VERSIONS[0] else "TLSv1.3"}
    resumed = [is_resumed for _, is_resumed in seen]
    assert len(resumed) == MANY and resumed.count(False) <= REACTORS, resumed


def test_many_logins_at_once(cluster, scripted):
    with trusting_server(cluster) as (seen, errors):
        for _ in range(3):
            threads = [threading.Thread(target=log_in_and_query, args=(scripted,)) for _ in range(8)]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
    assert errors == []
    assert len(seen) == 24 and any(seen)


def test_a_reload_begins_anew(cluster, scripted):
    with trusting_server(cluster) as (seen, errors):
        for _ in range(MANY):
            log_in_and_query(scripted)
        assert seen[-1] is True
        reload(cluster)
        log_in_and_query(scripted)
        assert seen[-1] is False, "a session made under the old configuration was resumed"
    assert errors == []


def offers_a_session(hello):
    """Whether a ClientHello has the extension pre_shared_key."""
    rest = hello[5 + 4 + 2 + 32:]
    rest = rest[1 + rest[0]:]
    rest = rest[2 + struct.unpack("!H", rest[:2])[0]:]
    rest = rest[1 + rest[0]:]
    rest = rest[2:]
    while rest:
        kind, size = struct.unpack("!HH", rest[:4])
        if kind == 41:
            return True
        rest = rest[4 + size:]
    return False


@pytest.mark.parametrize("refusal", ["alert", "close", "reset"])
def test_a_database_that_chokes_on_resumption(cluster, scripted, refusal):
    outcomes = []

    def script(talk):
        assert talk.read(8) == struct.pack("!II", 8, 80877103)
        talk.connection.sendall(b"S")
        hello = b""
        while len(hello) < 5 or len(hello) < 5 + struct.unpack("!H", hello[3:5])[0]:
            hello = talk.connection.recv(8192, socket.MSG_PEEK)
        if offers_a_session(hello):
            outcomes.append("choked")
            talk.read(len(hello))
            if refusal == "alert":
                # internal_error, as servers send that have tickets but no session context.
                talk.connection.sendall(bytes([21, 3, 3, 0, 2, 2, 80]))
            if refusal == "reset":
                talk.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            return
        talk.connection = talk.context.wrap_socket(talk.connection, server_side=True)
        talk.read_startup()
        outcomes.append("logged in")
        talk.send(AUTHENTICATION_OK, KEY, READY)
        answer_queries(talk)

    # What one case has taught the reactors is forgotten by a reload.
    reload(cluster)
    with scripted_server(cluster, script, ssl.TLSVersion.TLSv1_3) as errors:
        for _ in range(MANY):
            log_in_and_query(scripted)
    assert errors == []
    # No client has noticed, and each reactor has learned by one attempt.
    assert outcomes.count("logged in") == MANY
    assert 1 <= outcomes.count("choked") <= REACTORS
