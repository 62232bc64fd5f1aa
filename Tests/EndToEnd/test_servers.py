"""What databases, real and hostile, do to the gateway. Numbers are rows of the bad-input table in docs/security.md."""

import concurrent.futures
import os
import socket
import ssl
import struct
import threading
import time

import psycopg
import pytest

from conftest import USER, wait_until
from scram import ScramServer
from scripted_server import AUTHENTICATION_OK, KEY, READY, message, redshift_digest, scripted_server
from test_faults import resident_kb
from test_refusals import finish_login, read_all, secure, sqlstate, startup


@pytest.fixture(scope="module")
def scripted(cluster):
    return cluster.database(cluster.home, name="scripted")


def connect_fails(cluster, scripted, script):
    with scripted_server(cluster, script) as errors:
        with pytest.raises(psycopg.OperationalError) as failure:
            psycopg.connect(scripted.dsn)
    assert errors == []
    return str(failure.value)


def field(data):
    return struct.pack("!I", len(data)) + data


def test_redshift_digest_login(cluster, scripted):
    salt, server_nonce = os.urandom(16), os.urandom(32)
    seen = []

    def script(talk):
        seen.append(talk.secure())
        talk.send(message(b"R", struct.pack("!II", 13, 0) + field(salt) + field(server_nonce)))
        kind, body = talk.read_message()
        assert kind == b"d"
        size = struct.unpack("!I", body[:4])[0]
        digest, rest = body[4:4 + size], body[4 + size:]
        nonce = rest[4:]
        assert len(nonce) == struct.unpack("!I", rest[:4])[0]
        assert digest in [redshift_digest(known, salt, server_nonce, nonce) for known in cluster.secrets()]
        talk.send(AUTHENTICATION_OK, message(b"S", b"server_version\x008.0.2\0"), KEY, READY)
        talk.drain()

    with scripted_server(cluster, script) as errors, psycopg.connect(scripted.dsn) as connection:
        assert connection.info.parameter_status("server_version") == "8.0.2"
        assert connection.info.backend_pid != 4711, "the database's own cancel key must not reach the client"
    assert errors == []
    assert f"user\0IAMR:{USER}\0database\0dev\0".encode() in seen[0]


def test_cleartext_and_md5_logins(cluster, scripted):
    for request in (struct.pack("!I", 3), struct.pack("!I", 5) + b"salt"):

        def script(talk):
            talk.secure()
            talk.send(message(b"R", request))
            assert talk.read_message()[0] == b"p"
            talk.send(AUTHENTICATION_OK, READY)
            talk.drain()

        with scripted_server(cluster, script) as errors:
            psycopg.connect(scripted.dsn).close()
        assert errors == []


def test_30_refusal_of_tls(cluster, scripted):
    def script(talk):
        talk.read(8)
        talk.send(b"N")
        assert talk.connection.recv(1) == b"", "nothing may follow in the clear"

    assert "refused TLS" in connect_fails(cluster, scripted, script)


def test_31_bytes_behind_the_agreement(cluster, scripted):
    def script(talk):
        talk.read(8)
        talk.send(b"S" + message(b"E", b"Minjected\0\0"))
        talk.drain()

    text = connect_fails(cluster, scripted, script)
    assert "in the clear after agreeing to TLS" in text and "injected" not in text


def test_32_error_before_tls(cluster, scripted):
    def script(talk):
        talk.read(8)
        talk.send(message(b"E", b"Muntrusted text\0\0"))
        talk.drain()

    text = connect_fails(cluster, scripted, script)
    assert "refused TLS" in text and "untrusted text" not in text


@pytest.mark.parametrize("sent, words", [
    (message(b"R", struct.pack("!I", 14)), "identity provider"), (message(b"R", struct.pack("!I", 7)), "Kerberos or GSSAPI"),
    (message(b"R", struct.pack("!I", 10) + b"UNKNOWN\0\0"), "no SASL mechanism"), (message(b"R", struct.pack("!I", 99)), "out of order or unknown"),
    (message(b"R", struct.pack("!II", 13, 7) + field(b"") + field(b"")), "password digest algorithm"),
    (message(b"R", b"\0"), "malformed"), (message(b"Q", b"x\0"), "before the login"), (b"R\xff\xff\xff\xff", "invalid length"),
    (b"R\0\0\0\x01", "invalid length"), (message(b"E"), "no reason given"), (message(b"E", b"Cxx"), "no reason given"),
    (message(b"E", b"SFATAL\0C28P01\0Mwrong\0\0"), "wrong"), (b"\0" * 300_000, "invalid length"),
])
def test_34_37_38_strange_logins(cluster, scripted, sent, words):
    def script(talk):
        talk.secure()
        talk.send(sent)
        talk.drain()

    assert words in connect_fails(cluster, scripted, script)


def test_35_success_without_proof(cluster, scripted):
    def script(talk):
        talk.secure()
        talk.send(message(b"R", struct.pack("!I", 10) + b"SCRAM-SHA-256\0\0"))
        talk.read_message()
        talk.send(AUTHENTICATION_OK, READY)
        talk.drain()

    assert "without proving" in connect_fails(cluster, scripted, script)


def certificate_der(cluster):
    return ssl.PEM_cert_to_DER_cert((cluster.pg / "server.crt").read_text())


@pytest.mark.parametrize("offered, mechanism, header, is_bound", [
    ([b"SCRAM-SHA-256-PLUS", b"SCRAM-SHA-256"], b"SCRAM-SHA-256-PLUS", b"p=tls-server-end-point,,", True),
    ([b"SCRAM-SHA-256-PLUS"], b"SCRAM-SHA-256-PLUS", b"p=tls-server-end-point,,", True),
    ([b"SCRAM-SHA-256"], b"SCRAM-SHA-256", b"y,,", False),
])
def test_the_scram_mechanism_that_is_really_used(cluster, scripted, offered, mechanism, header, is_bound):
    seen = []

    def script(talk):
        talk.secure()
        scram = ScramServer(talk, offered, certificate_der(cluster), cluster.secrets())
        scram.run()
        seen.append(scram)
        talk.send(AUTHENTICATION_OK, KEY, READY)
        talk.drain()

    with scripted_server(cluster, script) as errors:
        psycopg.connect(scripted.dsn).close()
    assert errors == []
    [scram] = seen
    assert (scram.mechanism, scram.header) == (mechanism, header)
    assert scram.binding == header + (scram.end_point if is_bound else b"")


def test_39_sudden_ends(cluster, scripted):
    assert "closed the connection during the login" in connect_fails(cluster, scripted, lambda talk: talk.secure())


@pytest.mark.parametrize("end", ["reset", "close"])
def test_39_sudden_ends_in_a_query(cluster, scripted, end):
    def script(talk):
        talk.secure()
        talk.send(AUTHENTICATION_OK, KEY, READY)
        talk.read_message()
        if end == "reset":
            talk.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        # Without a goodbye of TLS either.
        talk.connection.close()

    audit = cluster.audit_from_now()
    with scripted_server(cluster, script) as errors, secure(cluster, scripted) as connection:
        finish_login(connection)
        connection.sendall(message(b"Q", b"select 1\0"))
        answer = read_all(connection)
    assert errors == [] and answer[:1] == b"E" and sqlstate(answer) == "08006"
    start, query, ended = audit.wait(3, event="db.session")
    assert query["db_query"] == "select 1"
    assert start["success"] and ended["message"] == "database closed the connection"


def test_39_silence_at_each_stage_ends_after_ten_seconds(cluster, scripted):
    def before_the_tls_answer(talk):
        talk.drain()

    def before_the_server_hello(talk):
        talk.read(8)
        talk.send(b"S")
        talk.drain()

    def before_the_authentication_request(talk):
        talk.secure()
        talk.drain()

    def in_the_authentication(talk):
        talk.secure()
        talk.send(message(b"R", struct.pack("!I", 10) + b"SCRAM-SHA-256\0\0"))
        talk.drain()

    def before_ready(talk):
        talk.secure()
        talk.send(AUTHENTICATION_OK, KEY)
        talk.drain()

    stages = [before_the_tls_answer, before_the_server_hello, before_the_authentication_request, in_the_authentication, before_ready]
    waiting = list(stages)

    def connect(_):
        start = time.monotonic()
        with secure(cluster, scripted) as connection:
            connection.sendall(startup(("user", USER), ("database", "dev")))
            answer = read_all(connection)
        return sqlstate(answer), b"did not" in answer and b"within 10 s" in answer, time.monotonic() - start

    # One connection a stage, all at once: each waits for itself.
    with scripted_server(cluster, lambda talk: waiting.pop()(talk)) as errors:
        with concurrent.futures.ThreadPoolExecutor(len(stages)) as pool:
            outcomes = list(pool.map(connect, stages))
    assert errors == [] and waiting == []
    for state, is_told, seconds in outcomes:
        assert state == "08001" and is_told and 9.5 < seconds < 12, outcomes


def row(text):
    return message(b"D", struct.pack("!HI", 1, len(text)) + text)


def relayed(cluster, scripted, *parts):
    """What a client is sent after its query, when the database sends `parts` a little apart."""
    def script(talk):
        talk.secure()
        talk.send(AUTHENTICATION_OK, KEY, READY)
        talk.read_message()
        for part in parts:
            talk.send(part)
            time.sleep(0.3)
        talk.drain()

    with scripted_server(cluster, script) as errors, secure(cluster, scripted) as connection:
        finish_login(connection)
        connection.sendall(message(b"Q", b"select 1\0"))
        answer = read_all(connection)
    assert errors == []
    return answer


def test_36_a_fatal_error_never_lands_within_a_row(cluster, scripted):
    first, second = row(b"a" * 5000), row(b"b" * 5000)
    junk = b"\x07\0\0\0\x04"
    # The broken message shares its record with the rest of a row: that row arrives whole, then the error.
    answer = relayed(cluster, scripted, first + second[:100], second[100:] + junk)
    assert answer[:len(first + second)] == first + second
    assert answer[len(first + second):][:1] == b"E" and sqlstate(answer) == "08006"
    # Its header began in an earlier record, which the client has: nothing can be told any more.
    answer = relayed(cluster, scripted, first + b"D\xff\xff", b"\xff\xff" + b"x" * 10)
    assert answer == first + b"D\xff\xff"


@pytest.mark.parametrize("head, piece", [(b"", row(b"a" * 5000) * 20), (b"D\x3f\xff\xff\xfe", b"a" * 100_000)], ids=["rows", "row"])
def test_36_what_has_no_end_ends_with_its_client(cluster, scripted, head, piece):
    """Rows without end, and one row of a gibibyte: they stream, and when the client goes nobody takes any more of them."""
    sent, ended = [0], threading.Event()

    def script(talk):
        talk.secure()
        talk.send(AUTHENTICATION_OK, KEY, READY)
        # A request to cancel, which comes by a connection of its own, ends here.
        talk.read_message()
        talk.send(head)
        try:
            while True:
                talk.send(piece)
                sent[0] += len(piece)
        finally:
            ended.set()

    audit = cluster.audit_from_now()
    with scripted_server(cluster, script) as errors:
        with secure(cluster, scripted) as connection:
            finish_login(connection)
            before, received = resident_kb(cluster), 0
            connection.sendall(message(b"Q", b"select 1\0"))
            while received < 32 << 20:
                part = connection.recv(65536)
                assert part, received
                received += len(part)
            assert resident_kb(cluster) < before + 8 * 1024
        assert ended.wait(10), "the database goes on for nobody"
    # Besides what was read there are the buffers of two pairs of sockets and of the relay.
    assert errors == [] and sent[0] < received + (16 << 20)
    [end] = audit.wait(1, event="db.session.end")
    assert end["message"].startswith("client connection lost")


@pytest.mark.parametrize("phase", ["before", "after"])
def test_40_floods_of_notices_in_the_login(cluster, scripted, phase):
    before = resident_kb(cluster)
    flood = message(b"N", b"SNOTICE\0Mhello\0\0") * 1000

    def script(talk):
        talk.secure()
        if phase == "after":
            talk.send(AUTHENTICATION_OK)
        for _ in range(1000):
            talk.send(flood)
        talk.drain()

    start = time.monotonic()
    text = connect_fails(cluster, scripted, script)
    assert "too many" in text or "too much" in text
    assert time.monotonic() - start < 5
    assert resident_kb(cluster) < before + 8 * 1024


def test_40_floods_of_parameters_and_notices_in_the_session(cluster, scripted):
    """A million of each pass through; a client that does not read them stops the database, not the memory."""
    parameters, notices = message(b"S", b"work_mem\x004MB\0") * 1000, message(b"N", b"SNOTICE\0Mhello\0\0") * 1000
    size = 1000 * (len(parameters) + len(notices))
    end = message(b"C", b"SELECT 0\0") + READY
    sent = []

    def script(talk):
        talk.secure()
        talk.send(AUTHENTICATION_OK, KEY, READY)
        talk.read_message()
        for _ in range(1000):
            talk.send(parameters, notices)
            sent.append(len(parameters) + len(notices))
        talk.send(end)
        talk.drain()

    with scripted_server(cluster, script) as errors, secure(cluster, scripted) as connection:
        finish_login(connection)
        before = resident_kb(cluster)
        connection.sendall(message(b"Q", b"select 1\0"))
        time.sleep(2)
        held = sum(sent)
        time.sleep(1)
        assert sum(sent) == held < size / 2, "the database is not held back"
        assert resident_kb(cluster) < before + 8 * 1024
        received, tail = 0, b""
        while not tail.endswith(end):
            part = connection.recv(65536)
            assert part
            received += len(part)
            tail = (tail + part)[-len(end):]
        assert received == size + len(end)
        assert resident_kb(cluster) < before + 8 * 1024
    assert errors == []


@pytest.mark.parametrize("junk", [b"\x07\0\0\0\x04", b"Z\0\0\0\x03", b"D\xff\xff\xff\xff", b"C\x00\xff\xff\xff"])
def test_36_broken_streams_after_the_login(cluster, scripted, junk):
    def script(talk):
        talk.secure()
        talk.send(AUTHENTICATION_OK, KEY, READY)
        talk.read_message()
        talk.send(junk)
        talk.drain()

    with scripted_server(cluster, script) as errors:
        with psycopg.connect(scripted.dsn, autocommit=True) as connection:
            with pytest.raises(psycopg.OperationalError, match="broke the protocol"):
                connection.execute("select 1")
    assert errors == []


def test_nobody_listens(cluster, scripted):
    with pytest.raises(psycopg.OperationalError, match="cannot reach the database: Connection refused"):
        psycopg.connect(scripted.dsn)
