"""`max_connections` of roles: how many sessions a user has at once, in one process and over the agents of a cluster."""

import contextlib
import signal
import threading
import types

import psycopg
import pytest

from conftest import USER, open_directory, wait_until
from test_cluster import Apart, running

LIMIT = 3


def attempt(database):
    """A session, or the SQLSTATE and words of its refusal."""
    try:
        return psycopg.connect(database.dsn, autocommit=True), None
    except psycopg.OperationalError as error:
        return None, str(error)


def bounded(cluster, user, limit=LIMIT):
    cluster.make_role(f"{user}-bound", options=f"{{max_connections: {limit}}}")
    return cluster.database(cluster.make_user(user, f"{user}-bound"))


def test_a_session_beyond_the_bound_gets_53300(cluster):
    database = bounded(cluster, "lim-one")
    with contextlib.ExitStack() as stack:
        sessions = [stack.enter_context(psycopg.connect(database.dsn, autocommit=True)) for _ in range(LIMIT)]
        audit = cluster.audit_from_now()
        with pytest.raises(psycopg.OperationalError, match="as many sessions open as the roles allow: 3") as refused:
            psycopg.connect(database.dsn)
        assert "max_connections" in str(refused.value)
        [event] = audit.wait(event="db.session.start")
        assert (event["event"], event["success"], event["error"]) == ("db.session.start", False, "53300")
        for session in sessions:
            assert session.execute("select 1").fetchone() == (1,)
        # A place that is given back is there for the next at once.
        for _ in range(5):
            sessions.pop().close()
            sessions.append(stack.enter_context(psycopg.connect(database.dsn, autocommit=True)))


def test_the_smallest_bound_of_several_roles_counts_and_none_is_none(cluster):
    bounded(cluster, "lim-roles", 2)
    cluster.make_role("lim-wide", options="{max_connections: 0}")
    cluster.run("tctl", "users", "update", "lim-roles", "--set-roles=lim-roles-bound,lim-wide")
    database = cluster.database(cluster.log_in("lim-roles"))
    with psycopg.connect(database.dsn), psycopg.connect(database.dsn):
        assert "the roles allow: 2" in attempt(database)[1]
    cluster.run("tctl", "users", "update", "lim-roles", "--set-roles=lim-wide")
    database = cluster.database(cluster.log_in("lim-roles"))
    with contextlib.ExitStack() as stack:
        for _ in range(2 * LIMIT):
            stack.enter_context(psycopg.connect(database.dsn))


def test_of_many_at_once_as_many_get_in_as_may(cluster):
    database = bounded(cluster, "lim-race")
    for _ in range(3):
        results = [None] * 12
        start = threading.Barrier(len(results))

        def connect(number):
            start.wait()
            results[number] = attempt(database)

        threads = [threading.Thread(target=connect, args=[number]) for number in range(len(results))]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        sessions = [session for session, _ in results if session]
        refusals = [words for _, words in results if words]
        for session in sessions:
            session.close()
        assert len(sessions) == LIMIT, refusals
        assert all("as many sessions open as the roles allow" in words for words in refusals)


def test_refused_logins_take_no_place(cluster):
    """What fails behind the decision gives its place back, such as a login that the database refuses."""
    cluster.make_role("lim-fail", names="[dev, nowhere]", options="{max_connections: 1}")
    home = cluster.make_user("lim-fail", "lim-fail")
    certificate = cluster.open_certificate(home, "redshift")
    nowhere, good = (
        types.SimpleNamespace(dsn=f"{certificate.dsn} user={USER} dbname={name}") for name in ("nowhere", "dev"))
    for _ in range(3):
        assert '"nowhere" does not exist' in attempt(nowhere)[1]
        with psycopg.connect(good.dsn) as session:
            assert session.execute("select 1").fetchone() == (1,)


def test_a_restart_starts_from_none(cluster):
    database = bounded(cluster, "lim-restart", 1)
    psycopg.connect(database.dsn)
    cluster.stop_teleport()
    cluster.start_teleport()
    with psycopg.connect(database.dsn) as session:
        assert session.execute("select 1").fetchone() == (1,)


@pytest.fixture(scope="module")
def agents(tmp_path_factory):
    class Two(Apart):
        host_ttl = "1h"

    with running(Two(open_directory(tmp_path_factory, "bounded"))) as apart:
        apart.add_agent("agent-2")
        yield apart


def test_the_bound_holds_over_all_agents(agents):
    database = bounded(agents, "lim-both", 4)
    wait_until(lambda: (result := attempt(database))[0] and not result[0].close(), "the agents to hear of the user")
    with contextlib.ExitStack() as stack:
        for _ in range(4):
            stack.enter_context(psycopg.connect(database.dsn))
        logs = [(agent.data / "log/events.log").read_text() for agent in agents.agents]
        assert all('"lim-both"' in log for log in logs), "the least loaded agent takes the next: both have some"
        assert "the roles allow: 4" in attempt(database)[1]
    with psycopg.connect(database.dsn) as session:
        assert session.execute("select 1").fetchone() == (1,)


def test_nobody_to_count_means_no_session_for_the_bounded_and_all_for_others(agents):
    database, free = bounded(agents, "lim-down", 2), agents.database(agents.home)
    wait_until(lambda: (result := attempt(database))[0] and not result[0].close(), "the agents to hear of the user")
    with psycopg.connect(database.dsn, autocommit=True) as session:
        agents.auth.stop(signal.SIGKILL)
        try:
            assert "cannot be counted now" in attempt(database)[1]
            with psycopg.connect(free.dsn) as other:
                assert other.execute("select 1").fetchone() == (1,)
            assert session.execute("select 1").fetchone() == (1,), "the session that runs goes on"
        finally:
            agents.auth.start(agents.auth_port)
        # What was open before still counts, and what may have been granted to a lost answer does not.
        with psycopg.connect(database.dsn):
            assert "the roles allow: 2" in attempt(database)[1]
