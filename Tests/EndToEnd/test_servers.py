"""What databases, real and hostile, do to the gateway. Numbers are rows of the bad-input table in docs/security.md."""

import os
import struct

import psycopg
import pytest

from conftest import USER
from scripted_server import AUTHENTICATION_OK, KEY, READY, message, redshift_digest, scripted_server


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


def test_39_silence_and_sudden_ends(cluster, scripted):
    assert "closed the connection during the login" in connect_fails(cluster, scripted, lambda talk: talk.secure())


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
