"""Locks: who is shut out, what they are told, and that running sessions end within a second (row 28)."""

import json
import re
import subprocess
import time

import psycopg
import pytest

from conftest import BIN, PASSWORD, USER, wait_until


@pytest.fixture(scope="module")
def locked(cluster):
    """A user of its own, so that others are not shut out meanwhile."""
    cluster.make_role("lockable")
    return cluster.make_user("lena", "lockable")


def lock(cluster, *options):
    return re.search(r'name "([-0-9a-f]+)"', cluster.run("tctl", "lock", *options)).group(1)


def locks(cluster):
    return [one["metadata"]["name"] for one in json.loads(cluster.run("tctl", "get", "locks", "--format=json"))]


def ends(connection):
    """Seconds until the server ends the idle session, and its last words."""
    start = time.monotonic()
    with pytest.raises(psycopg.errors.AdminShutdown) as error:
        while time.monotonic() - start < 5:
            connection.execute("select 1")
            time.sleep(0.02)
    return time.monotonic() - start, str(error.value)


@pytest.mark.parametrize("target", [["--user=lena"], ["--role=lockable"], ["--user=lena", "--db=redshift"]])
def test_28_a_lock_ends_running_sessions_within_a_second(cluster, locked, target):
    database = cluster.database(locked)
    bystander = psycopg.connect(cluster.database(cluster.home).dsn, autocommit=True)
    with psycopg.connect(database.dsn, autocommit=True) as connection:
        connection.execute("select 1")
        name = lock(cluster, *target, "--message=laptop stolen", "--ttl=10m")
        try:
            seconds, words = ends(connection)
            assert seconds < 1, seconds
            assert name in words and "laptop stolen" in words
            with pytest.raises(psycopg.OperationalError, match=f"(?s){name}.*laptop stolen"):
                psycopg.connect(database.dsn)
            assert bystander.execute("select 1").fetchone() == (1,)
        finally:
            cluster.run("tctl", "rm", f"lock/{name}")
    bystander.close()
    psycopg.connect(database.dsn).close()
    events = [event for event in cluster.audit() if event.get("name") == name]
    assert [(event["event"], event["code"]) for event in events] == [("lock.created", "TLK00I"), ("lock.deleted", "TLK01I")]
    assert any(event["event"] == "db.session.end" and name in event["message"] for event in cluster.audit())
    refused = [e for e in cluster.audit() if e["event"] == "db.session.start" and name in e.get("message", "")]
    assert refused and refused[-1]["code"] == "TDB00W" and refused[-1]["error"] == "28000"


def test_who_is_locked_out_gets_no_login_and_no_certificate(cluster, locked, tmp_path):
    name = lock(cluster, "--user=lena", "--message=on leave")
    try:
        for command in (["tsh", "db", "ls"], ["tsh", "db", "login", "redshift", f"--db-user={USER}", "--db-name=dev"]):
            result = cluster.tool(*command, home=locked)
            assert result.returncode == 1 and name in result.stderr and "on leave" in result.stderr, result.stderr
        login = ["tsh", "login", f"--proxy=localhost:{cluster.port}", "--user=lena", "--password-file=-"]
        result = cluster.tool(*login, home=tmp_path / "fresh", stdin=PASSWORD + "\n")
        assert result.returncode == 1 and "on leave" in result.stderr
        # Who does not know the password learns nothing of the lock.
        result = cluster.tool(*login, home=tmp_path / "fresh", stdin="not the password\n")
        assert result.returncode == 1 and "on leave" not in result.stderr
    finally:
        cluster.run("tctl", "rm", f"lock/{name}")
    cluster.run("tsh", "db", "ls", home=locked)


def test_a_lock_on_a_database_leaves_the_others_open(cluster, locked):
    other = cluster.database(locked)
    name = lock(cluster, "--db=chained")
    try:
        psycopg.connect(other.dsn).close()
        result = cluster.tool("tsh", "db", "login", "chained", f"--db-user={USER}", "--db-name=dev", home=locked)
        assert result.returncode == 1 and name in result.stderr
    finally:
        cluster.run("tctl", "rm", f"lock/{name}")


def test_a_lock_is_over_at_its_time(cluster, locked):
    database = cluster.database(locked)
    name = lock(cluster, "--user=lena", "--ttl=3s")
    assert name in locks(cluster)
    with pytest.raises(psycopg.OperationalError, match=name):
        psycopg.connect(database.dsn)
    wait_until(lambda: name not in locks(cluster), "the end of the lock", seconds=6)
    psycopg.connect(database.dsn).close()


def test_locks_as_resources(cluster):
    text = """
kind: lock
version: v2
metadata: {name: from-a-file}
spec: {target: {user: nobody-here}, message: 007, expires: 2999-01-01T00:00:00Z}
"""
    assert "created" in cluster.run("tctl", "create", stdin=text)
    assert "already exists" in cluster.tool("tctl", "create", stdin=text).stderr
    shown = cluster.run("tctl", "get", "lock/from-a-file")
    assert "2999-01-01T00:00:00Z" in shown and "007" in shown
    assert "updated" in cluster.run("tctl", "create", "-f", stdin=shown)
    cluster.run("tctl", "rm", "lock/from-a-file")
    assert "from-a-file" not in locks(cluster)


@pytest.mark.parametrize("options,complaint", [
    ([], "needs a target"), (["--user=lena", "--ttl=soon"], "not a duration"), (["--user=../x"], "not a valid name")])
def test_locks_that_make_no_sense(cluster, options, complaint):
    result = cluster.tool("tctl", "lock", *options)
    assert result.returncode == 1 and complaint in result.stderr and len(result.stderr.splitlines()) == 1


def test_only_those_whose_roles_allow_it_lock(cluster, locked, tmp_path):
    # As on a workstation: no cluster's state here, so tctl acts as the user of tsh.
    (tmp_path / "teleport.yaml").write_text("teleport: {data_dir: /nonexistent}")
    environment = {
        **cluster.environment, "TELEPORT_HOME": str(locked), "TELEPORT_CONFIG_FILE": str(tmp_path / "teleport.yaml")}
    for command in (["lock", "--user=alice"], ["get", "locks"], ["rm", "lock/x"]):
        result = subprocess.run([BIN / "tctl", *command], env=environment, capture_output=True, text=True)
        assert result.returncode == 1 and "may not" in result.stderr, result
    assert locks(cluster) == []
