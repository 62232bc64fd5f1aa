"""An agent that was broken into talks nonsense to its proxy: it harms its own tunnel, and nobody else."""

import json
import os
import socket
import ssl
import struct

import psycopg
import pytest

from bad_inputs.unharmed import resident
from conftest import USER, open_directory
from test_cluster import Apart, one, running


@pytest.fixture(scope="module")
def apart(tmp_path_factory):
    class Steady(Apart):
        host_ttl = "1h"

    with running(Steady(open_directory(tmp_path_factory, "tunnels"))) as cluster:
        # The one that was broken into: its certificate and key, without it.
        cluster.broken = cluster.add_agent("agent-2")
        cluster.broken.stop()
        yield cluster


def message(kind, body=b"", length=None):
    return struct.pack("!IB", 1 + len(body) if length is None else length, kind) + body


def serves(*names):
    return message(2, struct.pack("!I", len(names)) + b"".join(struct.pack("!I", len(name)) + name for name in names))


NONSENSE = {
    "a length of 4 GiB": struct.pack("!I", 0xFFFFFFFF), "a length of 1 GiB": struct.pack("!I", 1 << 30) + b"x" * 100_000, "no length": struct.pack("!I", 0),
    "an unknown type": message(99), "a type of the proxy's": message(1, struct.pack("!II", 0, 1)), "another of them": message(7, b"x" * 100),
    "more names than bytes": message(2, struct.pack("!I", 0xFFFFFFFF)), "a name longer than the message": message(2, struct.pack("!II", 1, 0x7FFFFFFF)),
    "a heartbeat cut short": message(3, b"\0"), "bytes behind a message": message(3, b"\0" * 50), "names that are no UTF-8": serves(b"\xff\xfe"),
    "random bytes": os.urandom(100_000), "a client's startup": struct.pack("!II", 8, 196608) + b"\0" * 16, "HTTP": b"GET / HTTP/1.1\r\n\r\n",
    "a megabyte of heartbeats": message(3, struct.pack("!IB", 1, 0)) * 100_000,
}


def dial(cluster, protocol):
    agent = cluster.broken.data / "host"
    certificate = json.loads((agent / "certificate.json").read_text())
    folder = cluster.directory / "nonsense"
    folder.mkdir(exist_ok=True)
    (folder / "crt").write_text(certificate["certificatePEM"])
    [key] = agent.glob("*.key")
    context = ssl.create_default_context(cafile=cluster.data / "admin/ca.pem")
    context.load_cert_chain(folder / "crt", key)
    context.set_alpn_protocols([protocol])
    # Where a proxy says whom it speaks for is the Auth Service's port.
    port = cluster.auth_port if protocol == "sallyport-caller" else cluster.port
    connection = socket.create_connection(("127.0.0.1", port), timeout=5)
    return context.wrap_socket(connection, server_hostname="localhost")


def closes(connection):
    """Whether the proxy ends the connection, whatever it says before."""
    try:
        while connection.recv(65536):
            pass
    except TimeoutError:
        return False
    except OSError:
        pass
    return True


@pytest.mark.parametrize("protocol", ["teleport-reversetunnel", "sallyport-session", "sallyport-caller"])
@pytest.mark.parametrize("what", NONSENSE)
def test_69_an_agent_that_talks_nonsense_harms_itself_only(apart, protocol, what):
    database = apart.database(apart.home)
    with psycopg.connect(database.dsn, autocommit=True) as session:
        server = apart.auth if protocol == "sallyport-caller" else apart.proxy
        pid, before = server.process.pid, resident(server.process.pid)
        connection = dial(apart, protocol)
        with connection:
            try:
                connection.sendall(NONSENSE[what])
            except OSError:
                pass  # It hung up while we were talking.
            if what != "a megabyte of heartbeats":
                assert closes(connection), "the tunnel is still open"
        assert server.process.poll() is None and server.process.pid == pid
        assert session.execute("select 42").fetchone() == (42,)
        assert one(database) == f"IAMR:{USER}"
        assert resident(pid) - before < 8192, "KiB"
