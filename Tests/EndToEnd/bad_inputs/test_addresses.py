"""Where a database is said to be: nowhere, or where nobody should dial."""

import json

import psycopg
import pytest

from conftest import free_port, wait_until

METADATA = [
    "169.254.169.254", "[::ffff:169.254.169.254]", "[::ffff:a9fe:a9fe]", "[fd00:ec2::254]", "[fe80::1]", "[fe9f::1]", "0.0.0.0", "[::]", "[::ffff:0.0.0.0]",
    "[64:ff9b::a9fe:a9fe]", "[::169.254.169.254]", "2852039166", "0xa9fea9fe", "0251.0376.0251.0376", "169.254.43518",
]


@pytest.fixture(scope="module")
def placed(cluster):
    """Makes a database at an address; gives how to connect to it."""
    text = cluster.config.read_text()
    cluster.config.write_text(text.replace("db_service:\n", "db_service:\n  resources: [{labels: {made: here}}]\n", 1))
    cluster.stop_teleport()
    cluster.start_teleport()

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


def refusal(database):
    with pytest.raises(psycopg.OperationalError) as refused:
        psycopg.connect(database.dsn)
    return str(refused.value)


@pytest.mark.parametrize("host", METADATA)
def test_a26_link_local_addresses_are_not_dialled(cluster, placed, host):
    database = placed(f"{host}:80", METADATA.index(host))
    if isinstance(database, str):
        assert len(database.splitlines()) == 1 and "uri" in database, database
        return
    text = refusal(database)
    assert "which are not dialled" in text or "cannot resolve the database's host name" in text, text


def test_68_names_that_lead_nowhere(cluster, placed):
    for number, host in enumerate(["nowhere.invalid", "x" * 60 + ".invalid", "a.b.c.d.e.invalid"], 100):
        text = refusal(placed(f"{host}:5439", number))
        assert "cannot resolve the database's host name" in text and "DNS" in text, text
    text = refusal(placed(f"127.0.0.1:{free_port()}", 110))
    assert "cannot reach the database" in text, text
