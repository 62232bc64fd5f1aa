"""Pools in mode session: a finished session's server connection serves the next client of its kind, and nobody else."""

import asyncio
import concurrent.futures
import json
import os
import re
import subprocess
import time

import asyncpg
import psycopg
import pytest

from conftest import USER, wait_until
from pooled_cluster import pid_of, running
from raw_client import FLUSH, SYNC, Raw, bind, cancel, context_of, execute, parse
from scripted_server import message

OTHER = "arn:aws:iam::123456789012:role/a/path/on-a-path"
POOLS = {
    "pooled": "mode: session, pool_size: 3",
    "brief": "mode: session, server_idle_timeout: 1s",
    "aged": "mode: session, server_lifetime: 2s",
    "checked": "mode: session, server_check_delay: 0s",
    "unresettable": "mode: session, server_reset_query: DISCARD NOTHING",
    "plain": "mode: session, server_reset_query: ''",
    "small": "mode: session, max_db_connections: 2",
}


@pytest.fixture(scope="module")
def pooled(cluster, tmp_path_factory):
    with running(tmp_path_factory, cluster, POOLS, "pooled") as own:
        yield own


@pytest.fixture(autouse=True)
def nothing_kept(pooled):
    """Each test begins with a server that keeps nothing."""
    pooled.stop_teleport()
    pooled.start_teleport()


@pytest.fixture
def database(pooled):
    return pooled.database(pooled.home, "pooled")


def test_a_connection_a_query_costs_hardly_a_login(pooled, database, tmp_path):
    script = tmp_path / "script.sql"
    script.write_text("select 1;\n")
    log = pooled.pg / "data/log"
    with pooled.admin() as admin:
        admin.execute("alter system set log_connections = on")
        admin.execute("select pg_reload_conf()")
    try:
        before = len(log.read_text())
        result = subprocess.run(
            ["pgbench", "-n", "-C", "-t", "30", "-f", script], env=pooled.environment | database.environment,
            capture_output=True, text=True, timeout=60)
        assert result.returncode == 0 and "number of transactions actually processed: 30/30" in result.stdout, result.stderr
        logins = re.findall(rf"connection authorized: user=IAMR:{USER}", log.read_text()[before:])
        # A client that comes while the only connection is being reset has one opened.
        assert 1 <= len(logins) <= 2
    finally:
        with pooled.admin() as admin:
            admin.execute("alter system reset log_connections")
            admin.execute("select pg_reload_conf()")
    # The first of the 31 looked around for pgbench.
    wait_until(lambda: pooled.metric("sallyport_pool_servers_kept_total") == 31, "the last reset")
    assert pooled.metric("sallyport_pool_servers_reused_total") == 31 - len(logins)
    assert pooled.metric("sallyport_pool_servers_idle") == len(logins)


def test_every_client_has_its_own_session_on_record(pooled, database):
    before = len(pooled.audit())
    pids = {pid_of(database) for _ in range(3)}
    assert len(pids) < 3

    def records(kind):
        return [record for record in pooled.audit()[before:] if record["event"] == kind]

    wait_until(lambda: len(records("db.session.end")) == 3, "the records")
    assert len({record["sid"] for record in records("db.session.start")}) == 3
    assert {record["message"] for record in records("db.session.end")} == {"client terminated"}
    queries = [record for record in records("db.session.query") if "DISCARD" in record.get("db_query", "")]
    assert not queries


def test_no_state_is_left_to_the_next_client(pooled, database):
    with psycopg.connect(database.dsn, autocommit=True) as first:
        pid = first.info.backend_pid
        backend = first.execute("select pg_backend_pid()").fetchone()[0]
        # The process ID that the client is told is not the database's.
        assert pid != backend
        first.execute("create temporary table leftover (n int)")
        first.execute("set search_path = nowhere")
        first.execute("set statement_timeout = 4711")
        first.execute("set timezone = 'Asia/Kathmandu'")
        first.execute("set datestyle = 'German'")
        first.execute("prepare saved as select 1")
        first.execute("listen gossip")
        first.execute("select pg_advisory_lock(4711)")
        first.execute("declare held cursor with hold for select generate_series(1, 10)")
        first.execute("create temporary sequence counter")
        first.execute("select nextval('counter')")
        assert first.info.parameter_status("TimeZone") == "Asia/Kathmandu"
    pooled.wait_until_kept()
    with psycopg.connect(database.dsn, autocommit=True) as second, pooled.admin() as admin:
        assert second.execute("select pg_backend_pid()").fetchone()[0] == backend
        assert second.info.backend_pid != pid
        assert second.info.parameter_status("TimeZone") != "Asia/Kathmandu"
        assert second.info.parameter_status("TimeZone") == second.execute("show timezone").fetchone()[0]
        assert second.info.parameter_status("DateStyle") == second.execute("show datestyle").fetchone()[0]
        assert second.info.parameter_status("server_version") == second.execute("show server_version").fetchone()[0]
        assert second.execute("show statement_timeout").fetchone() == ("0",)
        assert second.execute("show search_path").fetchone() == ('"$user", public',)
        assert second.execute("select to_regclass('pg_temp.leftover')").fetchone() == (None,)
        for query in ("select * from pg_prepared_statements", "select * from pg_cursors",
                      "select * from pg_listening_channels()"):
            assert second.execute(query).fetchall() == [], query
        assert admin.execute("select pg_try_advisory_lock(4711)").fetchone() == (True,)
        with pytest.raises(psycopg.errors.ObjectNotInPrerequisiteState):
            second.execute("select lastval()")


def test_drivers_with_prepared_statements(pooled, database):
    settings = database.environment

    async def by_asyncpg():
        connection = await asyncpg.connect(
            host=settings["PGHOST"], port=int(settings["PGPORT"]), user=settings["PGUSER"],
            database=settings["PGDATABASE"], ssl=context_of(database))
        try:
            statement = await connection.prepare("select $1::int + 1")
            assert [await statement.fetchval(n) for n in range(5)] == [1, 2, 3, 4, 5]
            return await connection.fetchval("select pg_backend_pid()")
        finally:
            await connection.close()

    pids = {asyncio.run(by_asyncpg()) for _ in range(6)}
    assert len(pids) <= 2
    for _ in range(4):
        with psycopg.connect(database.dsn, autocommit=True, prepare_threshold=0) as connection:
            assert [connection.execute("select %s::int + 1", [n]).fetchone()[0] for n in range(5)] == [1, 2, 3, 4, 5]


def test_only_what_is_at_rest_is_kept(pooled, database):
    def leave(*statements, autocommit=False):
        connection = psycopg.connect(database.dsn, autocommit=autocommit)
        pid = connection.execute("select pg_backend_pid()").fetchone()[0]
        for statement in statements:
            try:
                connection.execute(statement)
            except psycopg.Error:
                pass
        connection.close()
        wait_until(lambda: pid not in pooled.pids(), "the connection to end")

    leave("create table lost_work (n int)")
    leave("select 1/0")
    with psycopg.connect(database.dsn, autocommit=True) as connection:
        assert connection.execute("select to_regclass('lost_work')").fetchone() == (None,)
    pooled.wait_until_kept()
    # In the middle of a COPY, with the socket closed.
    connection = psycopg.connect(database.dsn, autocommit=True)
    pid = connection.execute("select pg_backend_pid()").fetchone()[0]
    connection.pgconn.send_query(b"copy (select repeat('x', 1000) from generate_series(1, 1000000)) to stdout")
    connection.pgconn.flush()
    time.sleep(0.3)
    connection.close()
    wait_until(lambda: pid not in pooled.pids(), "the COPY to end")
    # A query whose client is gone without a word is cancelled.
    client = Raw(database)
    pid = client.pid()
    client.socket.sendall(message(b"Q", b"select pg_sleep(60)\0"))
    time.sleep(0.3)
    client.socket.close()
    wait_until(lambda: pid not in pooled.pids(), "the query to end", seconds=10)
    assert pooled.metric('sallyport_pool_servers_discarded_total{reason="unfinished"}') >= 4


PARSE = parse(b"", b"select 1")
COPY = parse(b"", b"copy copied from stdin") + bind(b"") + execute() + FLUSH


@pytest.mark.parametrize("last_words, is_kept", [
    ([], True),
    ([message(b"X")], True),
    ([PARSE + message(b"X")], False),
    ([PARSE, message(b"X")], False),
    ([PARSE + message(b"S")], True),
    ([message(b"Q", b"select 1\0") + message(b"X")], False),
    ([message(b"X")[:3]], False),
    ([message(b"X")[:3], message(b"X")[3:]], False),
    ([PARSE + FLUSH], False),
    ([PARSE + FLUSH, message(b"X")], False),
    # Without its Sync, the transaction of a COPY is open; it cannot be told from what ends another one.
    ([COPY, message(b"d", b"1\n") + message(b"c"), message(b"X")], False),
    ([COPY, message(b"d", b"1\n") + message(b"c")], False),
    ([COPY + message(b"d", b"1\n") + message(b"c") + SYNC], True),
])
def test_last_words(pooled, database, last_words, is_kept):
    client = Raw(database)
    client.ask(b"create temporary table copied (n int)")
    pid = client.pid()
    for words in last_words:
        client.socket.sendall(words)
        if words.endswith(SYNC):
            client.read()
        time.sleep(0.2)
    client.socket.close()
    if is_kept:
        pooled.wait_until_kept()
        assert pid_of(database) == pid
    else:
        wait_until(lambda: pid not in pooled.pids(), "the connection to end")
        assert pooled.metric("sallyport_pool_servers_idle") == 0


def test_people_users_databases_and_parameters_share_nothing(pooled, database):
    pid = pid_of(database)
    pooled.wait_until_kept()
    bob = pooled.database(pooled.make_user("bob", "dev"), "pooled")
    pooled.database(pooled.home, "pooled")
    assert pid_of(database) == pid
    pooled.wait_until_kept()
    others = {
        "person": lambda: pid_of(bob),
        "parameter": lambda: pid_of(database, application_name="elsewhere"),
        "option": lambda: pid_of(database, options="-c work_mem=1MB"),
        "database": lambda: pid_of(pooled.database(pooled.home, "plain")),
    }
    seen = {pid}
    for name, other in others.items():
        found = other()
        assert found not in seen, name
        seen.add(found)
    assert pid_of(database) in seen
    for change in ({"database": "postgres"}, {"user": OTHER}):
        found = pid_of(pooled.database(pooled.home, "pooled", **change))
        assert found not in seen, change
        seen.add(found)
    users = {row[0]: row[1] for row in pooled.backends()}
    assert users[pid] == f"IAMR:{USER}" and users[found] == "IAMR:on-a-path"


def test_a_kept_connection_that_is_killed_is_not_given_out(pooled, database):
    pid = pid_of(database)
    pooled.wait_until_kept()
    with pooled.admin() as admin:
        admin.execute("select pg_terminate_backend(%s)", [pid])
    pooled.wait_until_kept(0)
    assert pid_of(database) != pid
    # The database says why before it closes: nobody is to take that for an answer.
    assert pooled.metric('sallyport_pool_servers_discarded_total{reason="unexpected"}') == 1


def test_what_is_reported_during_a_session_is_told_to_the_next(pooled, database):
    with psycopg.connect(database.dsn, autocommit=True) as connection, pooled.admin() as admin:
        pid = connection.execute("select pg_backend_pid()").fetchone()[0]
        admin.execute("alter system set timezone = 'Europe/Paris'")
        admin.execute("select pg_reload_conf()")
        try:
            wait_until(lambda: connection.execute("show timezone").fetchone() == ("Europe/Paris",), "the reload")
            connection.close()
            pooled.wait_until_kept()
            with psycopg.connect(database.dsn, autocommit=True) as next_one:
                assert next_one.execute("select pg_backend_pid()").fetchone()[0] == pid
                assert next_one.info.parameter_status("TimeZone") == "Europe/Paris"
        finally:
            admin.execute("alter system reset timezone")
            admin.execute("select pg_reload_conf()")


def test_bounds(pooled, database):
    connections = [psycopg.connect(database.dsn, autocommit=True) for _ in range(5)]
    for connection in connections:
        connection.close()
    # pool_size is 3.
    wait_until(lambda: pooled.metric('sallyport_pool_servers_discarded_total{reason="surplus"}') == 2, "the surplus")
    assert pooled.metric("sallyport_pool_servers_idle") == 3
    small = pooled.database(pooled.home, "small")
    for name in ("a", "b", "c"):
        pid_of(small, application_name=name)
    wait_until(lambda: pooled.metric('sallyport_pool_servers_discarded_total{reason="surplus"}') == 3, "the third")
    assert pooled.metric("sallyport_pool_servers_idle") == 5
    left = {row[2] for row in pooled.backends()} & {"a", "b", "c"}
    assert left == {"b", "c"}


def test_idle_time_and_age(pooled):
    brief = pooled.database(pooled.home, "brief")
    pid_of(brief)
    wait_until(lambda: pooled.metric('sallyport_pool_servers_discarded_total{reason="idle_timeout"}') == 1, "its end")
    assert pooled.metric("sallyport_pool_servers_kept_total") == 1
    aged = pooled.database(pooled.home, "aged")
    first = pid_of(aged)
    pooled.wait_until_kept()
    assert pid_of(aged) == first
    wait_until(lambda: pooled.metric('sallyport_pool_servers_discarded_total{reason="lifetime"}') == 1, "its end")
    # One that gets old in its client's hands is not kept.
    with psycopg.connect(aged.dsn) as connection:
        connection.execute("select 1")
        time.sleep(2.2)
    wait_until(lambda: pooled.metric('sallyport_pool_servers_discarded_total{reason="lifetime"}') == 2, "its end")


def test_credentials_end(pooled):
    pooled.control("lifetimes", {"password": 12})
    try:
        pooled.stop_teleport()
        pooled.start_teleport()
        database = pooled.database(pooled.home, "pooled")
        start = time.monotonic()
        pid = pid_of(database)
        pooled.wait_until_kept()
        assert pid_of(database) == pid
        wait_until(lambda: pid not in pooled.pids(), "the end of the connection", seconds=20)
        assert 5 < time.monotonic() - start < 16
        assert pooled.metric('sallyport_pool_servers_discarded_total{reason="credentials"}') == 1
        assert pid_of(database) != pid
    finally:
        pooled.control("lifetimes", {})


def test_a_check_before_the_next_use(pooled):
    checked = pooled.database(pooled.home, "checked")
    first = pid_of(checked)
    pooled.wait_until_kept()
    assert pid_of(checked) == first
    pooled.wait_until_kept()
    # A backend that is stopped does not answer: the client gets another one, a little later.
    os.kill(first, 19)
    try:
        assert pid_of(checked) != first
    finally:
        os.kill(first, 18)
    assert pooled.metric('sallyport_pool_servers_discarded_total{reason="check"}') == 1


def test_a_reset_that_fails_ends_the_connection_and_is_said(pooled):
    database = pooled.database(pooled.home, "unresettable")
    pids = [pid_of(database) for _ in range(3)]
    assert len(set(pids)) == 3
    wait_until(lambda: not set(pids) & pooled.pids(), "their ends")
    assert pooled.metric('sallyport_pool_servers_discarded_total{reason="reset"}') == 3
    lines = [line for line in pooled.log.read_text().splitlines() if "server_reset_query" in line]
    assert len(lines) == 1 and 'syntax error at or near "NOTHING"' in lines[0] and "'unresettable'" in lines[0]


def test_withdrawn_access_counts_at_once(pooled, database):
    pid_of(database)
    pooled.wait_until_kept()
    pooled.make_role("dev", users="[nobody]")
    try:
        with pytest.raises(psycopg.OperationalError, match="denied"):
            psycopg.connect(database.dsn)
    finally:
        pooled.make_role("dev", users="['*']", names="['*']")
    pooled.run("tctl", "lock", "--user=alice", "--message=away", "--ttl=1h")
    try:
        with pytest.raises(psycopg.OperationalError, match="away"):
            psycopg.connect(database.dsn)
    finally:
        for lock in json.loads(pooled.run("tctl", "get", "locks", "--format=json")):
            pooled.run("tctl", "rm", f"lock/{lock['metadata']['name']}")
    assert pid_of(database)


def test_a_late_cancel_misses_the_next_client(pooled, database):
    first = Raw(database)
    pid, key = first.pid(), first.key
    first.socket.sendall(message(b"X"))
    first.socket.close()
    pooled.wait_until_kept()
    second = Raw(database)
    assert second.pid() == pid and second.key != key
    with concurrent.futures.ThreadPoolExecutor() as pool:
        asked = pool.submit(second.ask, b"select pg_sleep(1)")
        for _ in range(5):
            cancel(database, *key)
            time.sleep(0.1)
        assert [kind for kind, _ in asked.result()] == [b"T", b"D", b"C", b"Z"]
        # Its own key works.
        asked = pool.submit(second.ask, b"select pg_sleep(60)")
        time.sleep(0.3)
        cancel(database, *second.key)
        [error] = [body for kind, body in asked.result() if kind == b"E"]
        assert b"57014" in error


def test_cancels_and_leaving_at_the_same_moment(pooled, database):
    """Whoever cancels and leaves must not hit the one who gets the connection."""
    def hit_and_run():
        for _ in range(15):
            client = Raw(database)
            key = client.key
            client.socket.sendall(message(b"Q", b"select pg_sleep(0.02)\0"))
            cancel(database, *key)
            client.read()
            client.socket.sendall(message(b"X"))
            client.socket.close()

    def work():
        for _ in range(40):
            with psycopg.connect(database.dsn, autocommit=True) as connection:
                assert connection.execute("select pg_sleep(0.01)").fetchone() is not None

    with concurrent.futures.ThreadPoolExecutor() as pool:
        for task in [pool.submit(hit_and_run), pool.submit(work), pool.submit(work)]:
            task.result()
    assert pooled.metric("sallyport_pool_servers_reused_total") > 10


def test_draining_keeps_nothing(pooled, database):
    pid = pid_of(database)
    pooled.wait_until_kept()
    start = time.monotonic()
    pooled.stop_teleport()
    assert time.monotonic() - start < 10
    wait_until(lambda: pid not in pooled.pids(), "the connection to end")


def test_many_clients_at_once(pooled, database):
    def work(number):
        for turn in range(15):
            with psycopg.connect(database.dsn, autocommit=True) as connection:
                connection.execute("create temporary table own (n int)")
                connection.execute("insert into own values (%s)", [number * 1000 + turn])
                assert connection.execute("select n from own").fetchall() == [(number * 1000 + turn,)]

    with concurrent.futures.ThreadPoolExecutor() as pool:
        for task in [pool.submit(work, number) for number in range(6)]:
            task.result()
    pooled.wait_until_kept(3)
    # An attempt to reuse one that nobody has reset would have shown its table.
    assert pooled.metric("sallyport_pool_servers_reused_total") > 20
