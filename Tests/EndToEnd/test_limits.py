"""Descriptors, requests and statements without end. Numbers are rows of the bad-input table in docs/security.md."""

import os
import pathlib
import select
import socket
import struct
import time

import psycopg
import pytest

from conftest import wait_until
from scripted_server import AUTHENTICATION_OK, KEY, READY, message, scripted_server
from test_faults import alive, descriptors, resident_kb
from test_refusals import GSS_REQUEST, SSL_REQUEST, log_in, plain, read_all, read_until_ready


def processor_seconds(cluster):
    fields = pathlib.Path(f"/proc/{cluster.teleport.pid}/stat").read_text().rsplit(") ", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


LIMIT = 120


@pytest.fixture
def short_of_descriptors(cluster):
    cluster.stop_teleport()
    cluster.start_teleport(prefix=["prlimit", f"--nofile={LIMIT}:{LIMIT}"])
    yield
    cluster.stop_teleport()
    cluster.start_teleport()


def test_58_without_descriptors_accepting_pauses_and_nothing_else(cluster, redshift, short_of_descriptors):
    with psycopg.connect(redshift.dsn, autocommit=True) as session:
        waiting = []
        for _ in range(2 * LIMIT):
            connection = socket.socket()
            connection.settimeout(5)
            # The kernel's queue takes those that the server cannot.
            connection.connect(("127.0.0.1", cluster.port))
            waiting.append(connection)
        wait_until(lambda: descriptors(cluster) == LIMIT, "the server to run out of descriptors", 3)
        before, start = processor_seconds(cluster), time.monotonic()
        while time.monotonic() - start < 3:
            assert session.execute("select 1").fetchone() == (1,)
            time.sleep(0.1)
        assert descriptors(cluster) == LIMIT, "still none to be had"
        used = (processor_seconds(cluster) - before) / (time.monotonic() - start)
        assert used < 0.2, f"{used:.0%} of a processor while it waits"
        # A new session gets neither descriptor nor error meanwhile: it waits.
        late = plain(cluster)
        late.sendall(SSL_REQUEST)
        assert select.select([late], [], [], 0.5)[0] == []
        for connection in waiting:
            connection.close()
        freed = time.monotonic()
        late.settimeout(5)
        assert late.recv(1) == b"S"
        alive(redshift)
        assert time.monotonic() - freed < 5
        late.close()
        assert session.execute("select 2").fetchone() == (2,)


def test_a_loop_of_requests_before_the_startup_ends_at_the_third(cluster, redshift):
    for first in (SSL_REQUEST, GSS_REQUEST):
        with plain(cluster) as connection:
            answers = b""
            try:
                for _ in range(1000):
                    connection.sendall(first)
                    part = connection.recv(1)
                    if not part:
                        break
                    answers += part
            except (ConnectionResetError, BrokenPipeError):
                pass
            # After the first 'S' only TLS is listened to: its alert may come before the end.
            assert answers[:1] in (b"S", b"N") and len(answers) <= 1 + 7, answers
    # All at once, in one segment.
    with plain(cluster) as connection:
        connection.sendall(SSL_REQUEST * 1000)
        assert read_all(connection) == b""
    alive(redshift)


def test_1000_connections_that_only_ask_for_tls_leave_nothing(cluster, redshift):
    alive(redshift)
    before = descriptors(cluster), resident_kb(cluster)
    for _ in range(1000):
        with plain(cluster) as connection:
            connection.sendall(SSL_REQUEST)
            assert connection.recv(1) == b"S"
    wait_until(lambda: descriptors(cluster) <= before[0], "descriptors to be back where they were")
    assert resident_kb(cluster) < before[1] + 8 * 1024
    alive(redshift)


def test_23_a_bind_with_every_parameter_there_can_be(cluster, redshift):
    count = 65_535
    connection, _ = log_in(cluster, redshift)
    with connection:
        query = b"select sum(x) from unnest(array[" + b",".join(b"$%d" % number for number in range(1, count + 1)) + b"]) x"
        int8 = struct.pack("!I", 20)
        parse = message(b"P", b"\0" + query + b"\0" + struct.pack("!H", count) + int8 * count)
        values = b"".join(struct.pack("!I", len(b"%d" % number)) + b"%d" % number for number in range(1, count + 1))
        bind = message(b"B", b"\0\0" + struct.pack("!H", 0) + struct.pack("!H", count) + values + struct.pack("!H", 0))
        connection.sendall(parse + bind + message(b"E", b"\0" + struct.pack("!I", 0)) + message(b"S"))
        answer = read_until_ready(connection)
        assert str(count * (count + 1) // 2).encode() in answer, answer[:300]


def test_23_names_of_a_megabyte(cluster, redshift):
    before = resident_kb(cluster)
    name = b"n" * (1 << 20)
    connection, _ = log_in(cluster, redshift)
    with connection:
        for _ in range(20):
            # Describe and Close may only be small: PostgreSQL's own bound. Parse, Bind and Query may be large.
            connection.sendall(
                message(b"P", name + b"\0select 7\0\0\0") + message(b"B", b"\0" + name + b"\0\0\0\0\0\0\0")
                + message(b"E", b"\0\0\0\0\0") + message(b"S"))
            answer = read_until_ready(connection)
            assert b"\0\x01\0\0\0\x017" in answer
            connection.sendall(message(b"Q", b"deallocate all\0"))
            read_until_ready(connection)
    assert resident_kb(cluster) < before + 8 * 1024
    alive(redshift)


def test_23_a_million_prepared_statements(cluster, redshift):
    before = resident_kb(cluster)
    connection, _ = log_in(cluster, redshift)
    batch = 10_000
    with connection:
        for start in range(0, 1_000_000, batch):
            # Made and closed again: kept, they would fill the database's memory, not the server's.
            connection.sendall(b"".join(
                message(b"P", b"s%d\0\0\0\0" % number) + message(b"C", b"Ss%d\0" % number) for number in range(start, start + batch))
                + message(b"S"))
            answer = read_until_ready(connection)
            assert answer.count(b"1\0\0\0\x043\0\0\0\x04") == batch
        assert resident_kb(cluster) < before + 8 * 1024
    alive(redshift)


def test_22_a_gigabyte_in_one_message_streams(cluster):
    scripted = cluster.database(cluster.home, name="scripted")
    size = 0x3ffffffe - 4
    received = []

    def script(talk):
        talk.secure()
        talk.send(AUTHENTICATION_OK, KEY, READY)
        header = talk.read(5)
        assert header == b"Q" + struct.pack("!I", size + 4)
        count = 0
        while count < size:
            count += len(talk.connection.recv(1 << 20))
        received.append(count)
        talk.send(message(b"I"), READY)
        talk.drain()

    with scripted_server(cluster, script) as errors:
        connection, _ = log_in(cluster, scripted)
        with connection:
            connection.settimeout(60)
            before = resident_kb(cluster)
            connection.sendall(b"Q" + struct.pack("!I", size + 4))
            chunk, remaining = b"-" * (1 << 20), size
            while remaining > 0:
                connection.sendall(chunk[:remaining])
                remaining -= min(remaining, len(chunk))
                assert resident_kb(cluster) < before + 8 * 1024
            assert read_until_ready(connection)[:1] == b"I"
    assert errors == [] and received == [size]
