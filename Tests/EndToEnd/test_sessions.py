"""`tctl sessions ls` and `tsh sessions ls`: the database sessions of the whole cluster as they come and go."""

import json
import signal
import time

import psycopg
import pytest

from conftest import USER, wait_until
from test_audit_shipping import apart, database, host_id  # noqa: F401


def sessions(cluster):
    return json.loads(cluster.run("tctl", "sessions", "ls", "--format=json"))


def test_sessions_of_a_single_process_show_at_once(cluster, redshift):
    before = {session["id"] for session in sessions(cluster)}
    with psycopg.connect(redshift.dsn, autocommit=True) as connection:
        connection.execute("select 1")
        [session] = [session for session in sessions(cluster) if session["id"] not in before]
        assert session["user"] == "alice" and session["database"] == "redshift" and session["clientAddress"]
        assert (session["databaseUser"], session["databaseName"]) == (USER, "dev")
        assert session["host"] == (cluster.data / "host_uuid").read_text().strip()
        assert abs(time.time() - time.mktime(time.strptime(session["started"][:19], "%Y-%m-%dT%H:%M:%S")) + time.timezone) < 60
        text = cluster.run("tctl", "sessions", "ls")
        assert session["id"] in text and "Client" in text
        assert session["id"] in cluster.run("tctl", "sessions", "ls", "--format=yaml")
    wait_until(lambda: session["id"] not in {one["id"] for one in sessions(cluster)}, "the end to show", seconds=5)


def test_users_see_their_own(cluster, redshift):
    cluster.make_role("sessions-only")
    home = cluster.make_user("sam", "sessions-only")
    own = cluster.database(home)
    with psycopg.connect(redshift.dsn) as one, psycopg.connect(own.dsn) as other:
        one.execute("select 1")
        other.execute("select 1")
        seen = json.loads(cluster.run("tsh", "sessions", "ls", "--format=json", home=home))
        assert {session["user"] for session in seen} == {"sam"} and len(seen) == 1
        assert {"alice", "sam"} <= {session["user"] for session in sessions(cluster)}


def test_one_session_is_ended(cluster, redshift):
    before = {session["id"] for session in sessions(cluster)}
    with psycopg.connect(redshift.dsn, autocommit=True) as one, psycopg.connect(redshift.dsn, autocommit=True) as other:
        one.execute("select 1")
        other.execute("select 1")
        ids = [session["id"] for session in sessions(cluster) if session["id"] not in before]
        assert len(ids) == 2
        cluster.run("tctl", "sessions", "rm", ids[0], "--message=enough")
        with pytest.raises(psycopg.errors.AdminShutdown, match="enough"):
            for _ in range(100):
                one.execute("select 1")
                time.sleep(0.02)
        assert other.execute("select 1").fetchone() == (1,)
    with psycopg.connect(redshift.dsn) as next_one:
        assert next_one.execute("select 1").fetchone() == (1,)
    result = cluster.tool("tctl", "sessions", "rm", ids[0])
    assert result.returncode == 1 and "tctl sessions ls" in result.stderr


def test_sessions_of_agents_show_within_two_seconds(apart, database):  # noqa: F811
    agent = apart.agents[0]
    connections = [psycopg.connect(database.dsn, autocommit=True) for _ in range(20)]
    try:
        start = time.monotonic()
        wait_until(lambda: len(sessions(apart)) == 20, "all sessions", seconds=10)
        assert time.monotonic() - start < 4
        assert {session["host"] for session in sessions(apart)} == {host_id(agent)}
        # A restart of the Auth Service does not forget them.
        apart.auth.stop(signal.SIGKILL)
        apart.auth.start(apart.auth_port)
        wait_until(lambda: len(sessions(apart)) == 20, "all sessions again")
    finally:
        for connection in connections:
            connection.close()
    wait_until(lambda: not sessions(apart), "the ends", seconds=10)


def test_sessions_of_a_killed_agent_go_away(apart, database):  # noqa: F811
    agent = apart.agents[0]
    connection = psycopg.connect(database.dsn, autocommit=True)
    try:
        wait_until(lambda: len(sessions(apart)) == 1, "the session")
        agent.stop(signal.SIGKILL)
        agent.restart()
        wait_until(lambda: not sessions(apart), "its end", seconds=10)
    finally:
        connection.close()
