"""Real clients through the gateway: what works against PostgreSQL works here."""

import asyncio
import hashlib
import os
import signal
import ssl
import subprocess
import time

import asyncpg
import psycopg
import pytest

from conftest import BIN, USER, wait_until


def connect(redshift, **options):
    return psycopg.connect(redshift.dsn, autocommit=True, **options)


def test_psql_sees_the_mapped_user(cluster, redshift):
    result = subprocess.run(
        ["psql", "-XAtc", "select current_user, current_database()"], env={**os.environ, **redshift.environment},
        capture_output=True, text=True)
    assert result.stdout == f"IAMR:{USER}|dev\n", result.stderr


def test_tsh_db_connect_passes_arguments_and_exit_code(cluster):
    command = ["tsh", "db", "connect", "redshift", f"--db-user={USER}", "--db-name=dev", "--", "-XAtc"]
    good = cluster.tool(*command, "select 6 * 7", home=cluster.home)
    assert (good.returncode, good.stdout) == (0, "42\n"), good.stderr
    bad = cluster.tool(*command, "select no_such_column", home=cluster.home)
    assert bad.returncode == 1 and "no_such_column" in bad.stderr


@pytest.mark.parametrize("mode", ["simple", "extended", "prepared"])
def test_pgbench(cluster, redshift, mode):
    environment = {**os.environ, **redshift.environment}
    if mode == "simple":
        subprocess.run(["pgbench", "-i", "-q", "-s", "1"], env=environment, check=True, capture_output=True)
    result = subprocess.run(
        ["pgbench", "-n", "-M", mode, "-c", "64", "-j", "2", "-T", "20"], env=environment, capture_output=True, text=True)
    assert result.returncode == 0, result.stderr
    assert "number of failed transactions: 0 (0.000%)" in result.stdout


def test_pgbench_with_a_connection_for_each_transaction(redshift):
    result = subprocess.run(
        ["pgbench", "-n", "-S", "-C", "-c", "8", "-j", "2", "-t", "20"], env={**os.environ, **redshift.environment},
        capture_output=True, text=True)
    assert result.returncode == 0, result.stderr
    assert "number of failed transactions: 0 (0.000%)" in result.stdout


def test_copy_200_megabytes_both_ways(redshift):
    """Each direction against a digest that this direction has no part in: PostgreSQL's own, and one from before."""
    rows = 200 * 1024
    # No two rows are alike: one that is lost, doubled or out of order changes the digest.
    blocks = [b"".join(b"%08d:%s\n" % (number, filler) for number in range(start, start + 1024))
              for filler in [b"x" * 1014] for start in range(0, rows, 1024)]
    expected = hashlib.sha256()
    for block in blocks:
        expected.update(block)
    assert sum(map(len, blocks)) == 200 << 20
    of_lines = "select count(*), encode(sha256(string_agg(sha256(convert_to(line, 'UTF8')), '' order by line)), 'hex') from bulk"
    digest_of_lines = hashlib.sha256()
    for block in blocks:
        for line in block.splitlines():
            digest_of_lines.update(hashlib.sha256(line).digest())
    with connect(redshift) as connection, connection.cursor() as cursor:
        cursor.execute("create temporary table bulk (line text)")
        with cursor.copy("copy bulk from stdin") as copy:
            for block in blocks:
                copy.write(block)
        assert cursor.execute(of_lines).fetchone() == (rows, digest_of_lines.hexdigest()), "on the way in"
        received, size = hashlib.sha256(), 0
        with cursor.copy("copy bulk to stdout") as copy:
            for data in copy:
                received.update(data)
                size += len(data)
    assert (size, received.hexdigest()) == (200 << 20, expected.hexdigest()), "on the way out"


@pytest.mark.parametrize("megabytes", [1, 100])
def test_large_single_rows(redshift, megabytes):
    with connect(redshift) as connection:
        value = "y" * (megabytes << 20)
        assert connection.execute("select md5(%s::text)", (value,)).fetchone() == (hashlib.md5(value.encode()).hexdigest(),)
        assert len(connection.execute("select repeat('z', %s)", (megabytes << 20,)).fetchone()[0]) == megabytes << 20


def test_prepared_statements_and_pipeline(redshift):
    with connect(redshift, prepare_threshold=0) as connection:
        for number in range(50):
            assert connection.execute("select %s::int + 1", (number,)).fetchone() == (number + 1,)
        with connection.pipeline():
            cursors = [connection.execute("select %s::int * 2", (number,)) for number in range(500)]
            assert [cursor.fetchone()[0] for cursor in cursors] == [2 * number for number in range(500)]


def test_error_in_the_middle_of_a_transaction(redshift):
    with psycopg.connect(redshift.dsn) as connection:
        connection.execute("create temporary table t (n int)")
        with pytest.raises(psycopg.errors.DivisionByZero):
            connection.execute("select 1 / 0")
        with pytest.raises(psycopg.errors.InFailedSqlTransaction):
            connection.execute("select 1")
        connection.rollback()
        assert connection.execute("select 1").fetchone() == (1,)


def test_listen_and_notify(redshift):
    with connect(redshift) as listener, connect(redshift) as notifier:
        listener.execute("listen news")
        notifier.execute("notify news, 'hello'")
        note = next(listener.notifies(timeout=10, stop_after=1))
        assert (note.channel, note.payload) == ("news", "hello")


def test_large_objects(redshift):
    data = os.urandom(3 << 20)
    with psycopg.connect(redshift.dsn) as connection:
        oid = connection.execute("select lo_from_bytea(0, %s)", (data,)).fetchone()[0]
        assert connection.execute("select lo_get(%s)", (oid,)).fetchone()[0] == data


def test_startup_parameters_are_relayed(redshift):
    dsn = redshift.dsn + " application_name='my app' options='-c search_path=pg_catalog -c statement_timeout=12345'"
    with psycopg.connect(dsn) as connection:
        shown = [connection.execute(f"show {name}").fetchone()[0] for name in ("application_name", "search_path", "statement_timeout")]
        assert shown == ["my app", "pg_catalog", "12345ms"]


def test_asyncpg(redshift):
    environment = redshift.environment

    async def scenario():
        context = ssl.create_default_context(cafile=environment["PGSSLROOTCERT"])
        context.load_cert_chain(environment["PGSSLCERT"], environment["PGSSLKEY"])
        pool = await asyncpg.create_pool(
            host=environment["PGHOST"], port=environment["PGPORT"], user=environment["PGUSER"],
            database=environment["PGDATABASE"], ssl=context, min_size=4, max_size=16)
        async with pool:
            return await asyncio.gather(*(pool.fetchval("select $1::int * 3", number) for number in range(300)))

    assert asyncio.run(scenario()) == [3 * number for number in range(300)]


def test_psql_is_cancelled_by_ctrl_c_in_the_clear(redshift):
    process = subprocess.Popen(
        ["psql", "-Xc", "select pg_sleep(60)"], env={**os.environ, **redshift.environment}, stdout=subprocess.PIPE,
        stderr=subprocess.PIPE, text=True)
    time.sleep(1.5)
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=20)
    assert "canceling statement due to user request" in errors


def test_ctrl_c_reaches_psql_under_tsh(cluster):
    """tsh becomes psql; what the tool's threads had blocked must not stay blocked."""
    process = subprocess.Popen(
        [BIN / "tsh", "db", "connect", "redshift", f"--db-user={USER}", "--db-name=dev", "--", "-Xc", "select pg_sleep(60)"],
        env={**cluster.environment, "TELEPORT_HOME": str(cluster.home)}, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    with cluster.admin() as admin:
        sleeping = "select count(*) from pg_stat_activity where query = 'select pg_sleep(60)' and state = 'active'"
        wait_until(lambda: admin.execute(sleeping).fetchone()[0] == 1, "the query to run")
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=20)
    assert "canceling statement due to user request" in errors


def test_psycopg_cancels_one_session_only(redshift):
    with connect(redshift) as victim, connect(redshift) as bystander:
        import threading

        result = []

        def work(connection):
            try:
                connection.execute("select pg_sleep(3)")
                result.append("finished")
            except psycopg.errors.QueryCanceled:
                result.append("cancelled")

        threads = [threading.Thread(target=work, args=(connection,)) for connection in (victim, bystander)]
        for thread in threads:
            thread.start()
        time.sleep(1)
        victim.cancel_safe(timeout=10)
        for thread in threads:
            thread.join()
        assert sorted(result) == ["cancelled", "finished"]
        assert victim.execute("select 1").fetchone() == (1,)


def test_query_of_a_client_that_vanishes_is_cancelled(cluster, redshift):
    connection = connect(redshift)
    pid = connection.execute("select pg_backend_pid()").fetchone()[0]
    connection.pgconn.send_query(b"select pg_sleep(100)")
    time.sleep(0.5)
    os.close(connection.fileno())
    with cluster.admin() as admin:
        deadline = time.monotonic() + 10
        while admin.execute("select count(*) from pg_stat_activity where pid = %s", (pid,)).fetchone()[0]:
            assert time.monotonic() < deadline, "the database still works for a client that has gone"
            time.sleep(0.1)


def test_server_that_goes_away_is_told_as_fatal(cluster, redshift):
    with connect(redshift) as connection, connect(redshift) as other:
        pid = connection.execute("select pg_backend_pid()").fetchone()[0]
        with cluster.admin() as admin:
            admin.execute("select pg_terminate_backend(%s)", (pid,))
        with pytest.raises(psycopg.OperationalError, match="terminating connection due to administrator command"):
            connection.execute("select 1")
        assert other.execute("select 1").fetchone() == (1,)
