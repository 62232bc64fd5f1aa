"""The hosts of the cluster, and shutting one of them out."""

import json
import re
import time

import psycopg
import pytest

from conftest import wait_until
from test_cluster import apart, database, one  # noqa: F401


def hosts(apart):
    return {host["name"]: host for host in json.loads(apart.run("tctl", "inventory", "ls", "--format=json"))}


def test_hosts_are_listed(apart):
    wait_until(lambda: {"agent-1", "proxy", "test"} <= set(hosts(apart)), "all hosts")
    listing = hosts(apart)
    assert [listing[name]["services"] for name in ("agent-1", "proxy", "test")] == [["db"], ["proxy"], ["auth"]]
    version = apart.run("tctl", "version").split()[-1]
    for host in listing.values():
        assert f"v{host['version']}" == version and host["certificateExpires"] > host["lastSeen"]
        assert "lock" not in host
    text = apart.run("tctl", "inventory", "ls")
    assert listing["agent-1"]["hostID"] in text and "Last Seen" in text
    apart.run("tctl", "users", "add", "ivan", "--roles=dev")
    apart.run("tctl", "auth", "sign", "--user=ivan", f"--out={apart.directory / 'ivan'}")
    result = apart.tool("tctl", "inventory", "ls", f"--auth-server=localhost:{apart.port}", "-i", apart.directory / "ivan")
    assert result.returncode == 1 and "may not list instance" in result.stderr


@pytest.mark.parametrize("name", ["agent-1", "proxy"])
def test_a_locked_host_is_out_within_a_second(apart, database, name):
    wait_until(lambda: name in hosts(apart), "the host in the list")
    identity = hosts(apart)[name]["hostID"]
    process = apart.agents[0] if name == "agent-1" else apart.proxy
    before = len(process.log.read_text())
    with psycopg.connect(database.dsn, autocommit=True) as connection:
        connection.execute("select 1")
        output = apart.run("tctl", "lock", f"--server-id={identity}", "--message=stolen rack")
        lock = re.search(r'name "(\S+)"', output).group(1)
        try:
            start = time.monotonic()
            with pytest.raises(psycopg.errors.AdminShutdown, match="stolen rack"):
                while time.monotonic() - start < 5:
                    connection.execute("select 1")
                    time.sleep(0.02)
            # A second on a quiet machine; a busy one gets some more.
            assert time.monotonic() - start < 2
            with pytest.raises(psycopg.OperationalError):
                one(database)
            assert hosts(apart)[name]["lock"] == lock
            # Neither heartbeat nor renewal nor snapshot.
            wait_until(lambda: process.log.read_text()[before:].count(lock) > 1, "refused calls", seconds=15)
            if name == "agent-1":
                assert "redshift" not in apart.run("tctl", "db", "ls")
        finally:
            apart.run("tctl", "rm", f"lock/{lock}")

    def is_back():
        try:
            return bool(one(database))
        except psycopg.OperationalError:
            return False

    wait_until(is_back, "the host to be back", seconds=60)


def test_a_lock_of_a_user_at_one_host_leaves_the_host_alone(apart, database):
    wait_until(lambda: "agent-1" in hosts(apart), "the host in the list")
    identity = hosts(apart)["agent-1"]["hostID"]
    output = apart.run("tctl", "lock", f"--server-id={identity}", "--user=alice")
    lock = re.search(r'name "(\S+)"', output).group(1)

    def refused():
        try:
            one(database)
            return False
        except psycopg.OperationalError as error:
            return lock in str(error)

    try:
        wait_until(refused, "the lock to count", seconds=5)
        assert hosts(apart)["agent-1"].get("lock") is None
    finally:
        apart.run("tctl", "rm", f"lock/{lock}")
    wait_until(lambda: not refused(), "the lock to be gone", seconds=5)
