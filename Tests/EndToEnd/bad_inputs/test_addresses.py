"""Where a database is said to be: nowhere, or where nobody should dial."""

import concurrent.futures
import contextlib
import json
import secrets
import socket
import subprocess
import threading
import time

import psycopg
import pytest

from conftest import USER, free_port, wait_until
from name_server import asked, encoded, record, reply
from test_refusals import read_all, secure, sqlstate, startup

METADATA = [
    "169.254.169.254", "[::ffff:169.254.169.254]", "[::ffff:a9fe:a9fe]", "[fd00:ec2::254]", "[fe80::1]", "[fe9f::1]", "0.0.0.0", "[::]", "[::ffff:0.0.0.0]",
    "[64:ff9b::a9fe:a9fe]", "[::169.254.169.254]", "2852039166", "0xa9fea9fe", "0251.0376.0251.0376", "169.254.43518",
]


# What the name server of these tests knows: names it has no addresses for do not exist.
NAMES = {
    "silent.example.test": None, "metadata.example.test": ["169.254.169.254"], "metadata6.example.test": ["fd00:ec2::254"],
    "all.example.test": ["169.254.169.254", "169.254.170.2", "0.0.0.0", "fe80::1"], "mixed.example.test": ["169.254.169.254", "127.0.0.1"],
}


def name_answer(query):
    """To one question; `None` is silence."""
    _, name, kind = asked(query)
    name = next((known for known in NAMES if encoded(known) == name), "")
    addresses = NAMES.get(name, [])
    if addresses is None:
        return None
    family = {1: socket.AF_INET, 28: socket.AF_INET6}.get(kind)
    records = [record(b"\xc0\x0c", kind, socket.inet_pton(family, address)) for address in addresses
               if family == (socket.AF_INET6 if ":" in address else socket.AF_INET)]
    return reply(query, records, exists=name != "")


@pytest.fixture(scope="module")
def name_server(tmp_path_factory):
    """The command that runs a program beside our name server; `None` where that cannot be."""
    if subprocess.run(["unshare", "--mount", "true"], capture_output=True).returncode != 0:
        yield None
        return
    # An address of its own, so that it is in nobody's way.
    address = ".".join(["127", *(str(secrets.randbelow(254) + 1) for _ in range(3))])
    resolver = tmp_path_factory.mktemp("names") / "resolv.conf"
    resolver.write_text(f"nameserver {address}\n")
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as server:
        server.bind((address, 53))

        def serve():
            with contextlib.suppress(OSError):
                while True:
                    query, client = server.recvfrom(512)
                    answer = name_answer(query)
                    if answer is not None:
                        server.sendto(answer, client)

        threading.Thread(target=serve, daemon=True).start()
        yield ["unshare", "--mount", "sh", "-c", f'mount --bind "{resolver}" /etc/resolv.conf && exec "$@"', "sh"]


@pytest.fixture
def named(name_server):
    if name_server is None:
        pytest.skip("namespaces need root")


@pytest.fixture(scope="module")
def placed(cluster, name_server):
    """Makes a database at an address; gives how to connect to it."""
    text = cluster.config.read_text()
    cluster.config.write_text(text.replace("db_service:\n", "db_service:\n  resources: [{labels: {made: here}}]\n", 1))
    cluster.stop_teleport()
    cluster.start_teleport(prefix=name_server or [])

    made = []

    def place(uri, number):
        name = f"placed-{number}"
        resource = {"kind": "db", "version": "v3", "metadata": {"name": name, "labels": {"made": "here", "env": "dev"}},
                    "spec": {"protocol": "postgres", "uri": uri}}
        result = cluster.tool("tctl", "create", "--force", stdin=json.dumps(resource))
        if result.returncode:
            return result.stderr
        made.append(name)
        wait_until(lambda: name in cluster.run("tsh", "db", "ls", "--format=json", home=cluster.home), name)
        return cluster.database(cluster.home, name=name)

    yield place
    for name in made:
        cluster.run("tctl", "rm", f"db/{name}")
    cluster.config.write_text(text)
    cluster.stop_teleport()
    cluster.start_teleport()


def refusal(cluster, database):
    """What the client is told, within the 15 s that `secure` waits."""
    with secure(cluster, database) as connection:
        connection.sendall(startup(("user", USER), ("database", "dev")))
        answer = read_all(connection)
    assert sqlstate(answer) == "08001", answer
    return answer.decode(errors="replace")


@pytest.mark.parametrize("host", METADATA)
def test_a26_link_local_addresses_are_not_dialled(cluster, placed, host):
    database = placed(f"{host}:80", METADATA.index(host))
    if isinstance(database, str):
        assert len(database.splitlines()) == 1 and "uri" in database, database
        return
    text = refusal(cluster, database)
    assert "which are not dialled" in text, text


@pytest.mark.parametrize("number, name", [(50, "metadata.example.test"), (51, "metadata6.example.test"), (52, "all.example.test")])
def test_a26_names_of_link_local_addresses_are_not_dialled(cluster, placed, named, number, name):
    assert "leads to link-local addresses only, which are not dialled" in refusal(cluster, placed(f"{name}:80", number))


def test_a26_what_else_a_name_leads_to_is_dialled(cluster, placed, named):
    assert "cannot reach the database: Connection refused" in refusal(cluster, placed(f"mixed.example.test:{free_port()}", 60))


def test_68_names_that_do_not_exist(cluster, placed, named):
    for number, host in enumerate(["nowhere.invalid", "x" * 60 + ".invalid", "a.b.c.d.e.invalid"], 100):
        text = refusal(cluster, placed(f"{host}:5439", number))
        assert "cannot resolve the database's host name" in text and "DNS" in text, text


def test_68_a_name_server_that_does_not_answer(cluster, placed, named, redshift):
    """The resolver asks twice and waits 5 s each time; however many wait, another database is served meanwhile."""
    silent = placed("silent.example.test:5439", 110)
    with concurrent.futures.ThreadPoolExecutor(20) as pool:
        start = time.monotonic()
        waiting = [pool.submit(refusal, cluster, silent) for _ in range(20)]
        time.sleep(1)
        for _ in range(3):
            with psycopg.connect(redshift.dsn) as session:
                assert session.execute("select 1").fetchone() == (1,)
        assert not any(login.done() for login in waiting)
        for text in [login.result() for login in waiting]:
            assert "cannot resolve the database's host name" in text and "DNS" in text, text
    assert 9 < time.monotonic() - start < 14


def test_68_addresses_that_nobody_serves(cluster, placed):
    text = refusal(cluster, placed(f"127.0.0.1:{free_port()}", 120))
    assert "cannot reach the database" in text, text
