"""Refusals at every stage, and clients that mean harm. Numbers are rows of the bad-input table in docs/security.md."""

import os
import re
import socket
import ssl
import struct
import subprocess

import psycopg
import pytest

from conftest import USER


def message(code, body=b""):
    return struct.pack("!II", 8 + len(body), code) + body


SSL_REQUEST = message(80877103)
GSS_REQUEST = message(80877104)


def startup(*pairs, code=196608, end=b"\0"):
    return message(code, b"".join(part.encode() + b"\0" for pair in pairs for part in pair) + end)


def plain(cluster):
    connection = socket.create_connection(("127.0.0.1", cluster.port), timeout=15)
    return connection


def secure(cluster, redshift=None, alpn=None, negotiate=True, maximum=None, connection=None):
    """A TLS connection, with the database certificate if there is one."""
    connection = connection or plain(cluster)
    if negotiate:
        connection.sendall(SSL_REQUEST)
        assert connection.recv(1) == b"S"
    context = ssl.create_default_context(cafile=cluster.data / "admin/ca.pem")
    if redshift:
        context.load_cert_chain(redshift.environment["PGSSLCERT"], redshift.environment["PGSSLKEY"])
    if alpn:
        context.set_alpn_protocols(alpn)
    if maximum:
        context.minimum_version = ssl.TLSVersion.TLSv1
        context.maximum_version = maximum
        context.set_ciphers("ALL:@SECLEVEL=0")
    return context.wrap_socket(connection, server_hostname="localhost")


def read_all(connection):
    data = b""
    try:
        while part := connection.recv(65536):
            data += part
    except (ConnectionResetError, ssl.SSLError):
        pass
    return data


def read_until_ready(connection):
    data = b""
    while b"Z\0\0\0\x05" not in data:
        part = connection.recv(65536)
        assert part, data
        data += part
    return data


def sqlstate(data):
    match = re.search(rb"C(\w{5})\0", data)
    return match and match.group(1).decode()


def assert_alive(redshift):
    with psycopg.connect(redshift.dsn) as connection:
        assert connection.execute("select 1").fetchone() == (1,)


# Before TLS

def test_01_bytes_behind_the_ssl_request_close_the_connection(cluster, redshift):
    with plain(cluster) as connection:
        connection.sendall(SSL_REQUEST + b"Q\0\0\0\x0dselect 1\0")
        assert read_all(connection) == b""
    assert_alive(redshift)


def test_02_startup_in_the_clear_is_told_that_tls_is_required(cluster):
    with plain(cluster) as connection:
        connection.sendall(startup(("user", "x"), ("database", "dev")))
        data = read_all(connection)
    assert sqlstate(data) == "28000" and b"TLS is required" in data


@pytest.mark.parametrize("length", [0, 4, 7, 0xFFFFFFFF, 0x7FFFFFFF, 10001])
def test_03_bad_startup_lengths(cluster, redshift, length):
    with plain(cluster) as connection:
        connection.sendall(struct.pack("!I", length))
        assert read_all(connection) == b""
    with secure(cluster, redshift) as connection:
        connection.sendall(struct.pack("!I", length))
        assert sqlstate(read_all(connection)) == "08P01"


@pytest.mark.parametrize("data", [b"GET / HTTP/1.1\r\nHost: x\r\n\r\n", b"SSH-2.0-OpenSSH_9.2\r\n", os.urandom(1 << 20)])
def test_04_other_protocols_are_closed(cluster, redshift, data):
    with plain(cluster) as connection:
        try:
            connection.sendall(b"\x01" + data if data[0] == 0x16 else data)
        except (ConnectionResetError, BrokenPipeError):
            pass
        assert read_all(connection) == b""
    assert_alive(redshift)


def test_14_gss_then_tls_then_startup_works_and_a_third_is_refused(cluster, redshift):
    with plain(cluster) as connection:
        connection.sendall(GSS_REQUEST)
        assert connection.recv(1) == b"N"
        with secure(cluster, redshift, connection=connection) as secured:
            finish_login(secured)
            secured.sendall(b"Q\0\0\0\x0eselect 42\0")
            assert b"\0\x0242" in read_until_ready(secured)
    with plain(cluster) as connection:
        connection.sendall(GSS_REQUEST)
        assert connection.recv(1) == b"N"
        connection.sendall(GSS_REQUEST)
        assert read_all(connection) == b""


# TLS

def test_05_no_client_certificate(cluster):
    with secure(cluster) as connection:
        connection.sendall(startup(("user", USER), ("database", "dev")))
        data = read_all(connection)
    assert sqlstate(data) == "28000" and b"client certificate is required" in data


def test_06_certificates_of_others(cluster, redshift, tmp_path):
    def make(*arguments):
        subprocess.run(["openssl", *arguments], check=True, capture_output=True, cwd=tmp_path)

    make("req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "1", "-subj",
         "/O=test/CN=test user CA", "-keyout", "ca.key", "-out", "ca.pem")
    make("req", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-subj", "/CN=alice", "-keyout", "other.key",
         "-out", "other.csr")
    make("x509", "-req", "-in", "other.csr", "-CA", "ca.pem", "-CAkey", "ca.key", "-CAcreateserial", "-days", "1", "-out", "other.crt")
    # A user's certificate signing another one: the leaf is no authority.
    make("x509", "-req", "-in", "other.csr", "-CA", redshift.environment["PGSSLCERT"], "-CAkey", redshift.environment["PGSSLKEY"],
         "-CAcreateserial", "-CAserial", str(tmp_path / "serial"), "-days", "1", "-out", "leaf.crt")
    for certificate in ("other.crt", "leaf.crt"):
        context = ssl.create_default_context(cafile=cluster.data / "admin/ca.pem")
        context.load_cert_chain(tmp_path / certificate, tmp_path / "other.key")
        connection = plain(cluster)
        connection.sendall(SSL_REQUEST)
        assert connection.recv(1) == b"S"
        # RFC 8446: unknown_ca, or decrypt_error where the issuer has the right name and another key.
        with pytest.raises(ssl.SSLError, match="UNKNOWN_CA|DECRYPT_ERROR|BAD_CERTIFICATE"):
            with context.wrap_socket(connection, server_hostname="localhost") as secured:
                secured.sendall(startup(("user", USER), ("database", "dev")))
                secured.recv(1)


def test_16_direct_tls_needs_a_protocol_of_ours(cluster, redshift):
    with secure(cluster, redshift, alpn=["postgresql"], negotiate=False) as connection:
        assert connection.selected_alpn_protocol() == "postgresql"
        pid, key = finish_login(connection)
        query = b"select pg_sleep(20)\0"
        connection.sendall(b"Q" + struct.pack("!I", 4 + len(query)) + query)
        # A PostgreSQL 17 client cancels the same way.
        with secure(cluster, redshift, alpn=["postgresql"], negotiate=False) as other:
            other.sendall(message(80877102, struct.pack("!II", pid, key)))
            assert read_all(other) == b""
        assert sqlstate(read_until_ready(connection)) == "57014"
        connection.sendall(b"Q\0\0\0\x0eselect 42\0")
        assert b"\0\x0242" in read_until_ready(connection)
    for alpn in (None, ["h2"]):
        with pytest.raises(ssl.SSLError, match="no application protocol|NO_APPLICATION_PROTOCOL"):
            secure(cluster, redshift, alpn=alpn, negotiate=False)


def test_17_old_tls_versions(cluster, redshift):
    for version in (ssl.TLSVersion.TLSv1, ssl.TLSVersion.TLSv1_1):
        with pytest.raises(ssl.SSLError, match="TLSV1_ALERT_PROTOCOL_VERSION"):
            secure(cluster, redshift, maximum=version)
    with secure(cluster, redshift, maximum=ssl.TLSVersion.TLSv1_2) as connection:
        assert connection.version() == "TLSv1.2"
        finish_login(connection)


# Startup packets

def test_10_missing_user(cluster, redshift):
    with secure(cluster, redshift) as connection:
        connection.sendall(startup(("database", "dev")))
        data = read_all(connection)
    assert sqlstate(data) == "28000" and b"no database user name" in data


@pytest.mark.parametrize("packet", [
    startup(("user", "a"), ("user", "b")), startup(("user", "a"), end=b""), startup(("user", "a"), end=b"\0\0junk"),
    message(196608, b"user\0\xff\xfe\0\0"), startup(("user", "a\nb")), message(196608, b"user\0"),
])
def test_11_malformed_startup_packets(cluster, redshift, packet):
    with secure(cluster, redshift) as connection:
        connection.sendall(packet)
        assert sqlstate(read_all(connection)) == "08P01"


@pytest.mark.parametrize("value", ["true", "database", "1", "on", "yes", "TRUE", "whatever"])
def test_13_replication_is_refused(cluster, redshift, value):
    with secure(cluster, redshift) as connection:
        connection.sendall(startup(("user", USER), ("database", "dev"), ("replication", value)))
        assert sqlstate(read_all(connection)) == "0A000"


def test_15_protocol_versions(cluster, redshift):
    with secure(cluster, redshift) as connection:
        connection.sendall(startup(("user", USER), ("database", "dev"), ("_pq_.feature", "1"), code=196610))
        header = connection.recv(5)
        assert header[:1] == b"v"
        body = connection.recv(struct.unpack("!I", header[1:])[0] - 4)
        assert body == struct.pack("!II", 0, 1) + b"_pq_.feature\0"
    for code in (2 << 16, 4 << 16):
        with secure(cluster, redshift) as connection:
            connection.sendall(startup(("user", "a"), code=code))
            assert sqlstate(read_all(connection)) == "0A000"


# In the session

def log_in(cluster, redshift):
    connection = secure(cluster, redshift)
    return connection, finish_login(connection)


def finish_login(connection):
    """Sends the startup message and reads up to ReadyForQuery; gives the cancel key."""
    connection.sendall(startup(("user", USER), ("database", "dev")))
    data = read_until_ready(connection)
    return struct.unpack("!II", re.search(rb"K\0\0\0\x0c(.{8})", data, re.S).group(1))


@pytest.mark.parametrize("junk", [b"\x01\0\0\0\x04", b"Q\0\0\0\x03", b"S\x00\xff\xff\xff", b"p\0\0\0\x09abcd\0", b"Q\xff\xff\xff\xff"])
def test_20_21_broken_messages_end_both_legs(cluster, redshift, junk):
    connection, _ = log_in(cluster, redshift)
    with connection:
        connection.sendall(junk)
        assert sqlstate(read_all(connection)) == "08P01"
    assert_alive(redshift)


def test_28_query_before_the_login_is_complete(cluster, redshift):
    with secure(cluster, redshift) as connection:
        connection.sendall(startup(("user", USER), ("database", "dev")) + b"Q\0\0\0\x0dselect 1\0")
        assert sqlstate(read_all(connection)) == "08P01"


def test_18_19_wrong_and_stale_cancel_keys_do_nothing(cluster, redshift):
    connection, (pid, key) = log_in(cluster, redshift)
    query = b"select pg_sleep(2), 'done'\0"
    with connection:
        connection.sendall(b"Q" + struct.pack("!I", 4 + len(query)) + query)
        for guess in ((pid, key ^ 1), (pid ^ 2, key), (0, 0)):
            with plain(cluster) as other:
                other.sendall(message(80877102, struct.pack("!II", *guess)))
                assert read_all(other) == b""
        assert b"done" in read_until_ready(connection)
    with plain(cluster) as other:
        other.sendall(message(80877102, struct.pack("!II", pid, key)))
        assert read_all(other) == b""
    assert_alive(redshift)


def test_29_no_field_can_forge_an_audit_record(cluster, redshift):
    audit = cluster.audit_from_now()
    with secure(cluster, redshift) as connection:
        connection.sendall(startup(("user", 'x"}{"event":"fake'), ("database", "dev")))
        read_all(connection)
    events = audit.wait(event="db.session")
    assert [e["event"] for e in events] == ["db.session.start"] and events[0]["db_user"] == 'x"}{"event":"fake'
