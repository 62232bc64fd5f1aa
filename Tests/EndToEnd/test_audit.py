"""The audit log against what PostgreSQL itself says was executed, and against crashes, full disks and edits."""

import asyncio
import collections
import contextlib
import csv
import json
import os
import pathlib
import signal
import ssl
import subprocess
import tempfile
import time

import asyncpg
import psycopg
import pytest

from conftest import ROOT, Cluster, wait_until

csv.field_size_limit(1 << 24)


def make_cluster(directory, audit_log="{}", query_audit="{}"):
    os.chmod(directory, 0o755)
    cluster = Cluster(directory)
    cluster.audit_log, cluster.query_audit = audit_log, query_audit
    cluster.start()
    cluster.make_role("dev")
    cluster.home = cluster.make_user("alice", "dev,editor,auditor")
    return cluster


@contextlib.contextmanager
def own_cluster(**settings):
    with tempfile.TemporaryDirectory() as directory:
        cluster = None
        try:
            cluster = make_cluster(directory, **settings)
            yield cluster
        finally:
            if cluster:
                cluster.stop()


@pytest.fixture(scope="module")
def audited():
    """A cluster that records everything, before a PostgreSQL that logs everything."""
    with own_cluster(query_audit="{queries: protocol, parameters: yes}") as cluster:
        with cluster.admin() as admin:
            for setting in ["logging_collector = on", "log_destination = 'csvlog'", "log_directory = 'csv'", "log_statement = 'all'"]:
                admin.execute(f"alter system set {setting}")
        subprocess.run([ROOT / "Tests/EndToEnd/postgres.sh", "stop", cluster.pg], check=True)
        subprocess.run([ROOT / "Tests/EndToEnd/postgres.sh", "restart", cluster.pg], check=True)
        yield cluster


@pytest.fixture(scope="module")
def database(audited):
    return audited.database(audited.home)


def settled(cluster, sessions=1):
    """The records, once every session that started has ended."""
    def is_over():
        events = collections.Counter(event["code"] for event in cluster.audit())
        return events["TDB00I"] == events["TDB01I"] >= sessions

    wait_until(is_over, "the end of all sessions")
    return cluster.audit()


# Against PostgreSQL's own log

class ServerLog:
    """What PostgreSQL says its clients asked for."""

    def __init__(self, cluster):
        self.statements, self.failures, self.functions = collections.Counter(), collections.Counter(), collections.Counter()
        previous = {}
        for path in sorted((cluster.pg / "data/csv").glob("*.csv")):
            with open(path, newline="", errors="surrogateescape") as lines:
                for row in csv.reader(lines):
                    if row[1].startswith("IAMR:"):
                        self.read(row, previous)

    def read(self, row, previous):
        session, severity, state, message, query = row[5], row[11], row[12], row[13], row[19]
        text = self.logged(message) if severity == "LOG" else None
        if text is not None:
            self.statements[text] += 1
        elif message.startswith("fastpath function call"):
            self.functions[int(message.rsplit("OID ", 1)[1].rstrip(")"))] += 1
        elif severity in ("ERROR", "FATAL"):
            # Without a text: a deferred constraint, as the implicit transaction ends.
            self.failures[query, state] += 1
            # What fails before it is executed (syntax, parameters) has no line but this.
            if query and previous.get(session) != query:
                self.statements[query] += 1
        previous[session] = text

    @staticmethod
    def logged(message):
        if message.startswith("statement: "):
            return message.removeprefix("statement: ")
        if message.startswith("execute "):
            return message.split(": ", 1)[1]
        return None


def compare(cluster):
    # The log's collector writes a moment later.
    time.sleep(1)
    events = settled(cluster)
    log = ServerLog(cluster)
    queries = [event for event in events if event["event"].startswith("db.session.query")]
    failed = [event for event in queries if event["code"] == "TDB02W"]
    statements = collections.Counter(event.get("db_query") for event in queries if "db_query" in event or event not in failed)
    failures = collections.Counter((event.get("db_query", ""), event["error"]) for event in failed)
    functions = collections.Counter(event["function_oid"] for event in events if event["code"] == "TPG04I")
    assert statements - log.statements == collections.Counter(), "events without a statement"
    assert log.statements - statements == collections.Counter(), "statements without an event"
    assert failures == log.failures
    assert functions == log.functions
    return statements


def psql(database, script):
    return subprocess.run(
        ["psql", "-X", "-q", "-f", "-"], input=script, env={**os.environ, **database.environment}, capture_output=True,
        text=True, timeout=60)


SCRIPT = r"""
create table t (a int primary key, b text);
insert into t select g, 'row ' || g from generate_series(1, 100) g;
select count(*)
  from t  -- a comment
 where b like 'row%';
select 1 \; select 2 \; select 3;
select 'wrong syntax;
';
selec 1;
select 1/0;
select 1 \; select 1/0 \; select 2;
begin;
insert into t values (1, 'double');
select 1;
rollback;
copy t to stdout;
copy t from stdin;
200	from psql
\.
copy t from stdin;
200	again
\.
prepare p as select $1::int + 1;
execute p(1);
deallocate p;
do $$ begin perform 1; raise notice 'hello'; end $$;
select 'é', E'\u2028', 'tab	in it';
\lo_import /etc/hostname
set statement_timeout = 50;
select pg_sleep(1);
reset statement_timeout;
drop table t;
"""


def test_every_statement_of_psql_has_its_event(audited, database):
    assert "syntax error" in psql(database, SCRIPT).stderr
    statements = compare(audited)
    assert sum(statements.values()) > 25


@pytest.mark.parametrize("mode", ["simple", "extended", "prepared"])
def test_every_statement_of_pgbench_has_its_event(audited, database, mode):
    with audited.admin() as admin:
        admin.execute("create table if not exists hits (n int); grant all on hits to public")
    script = "begin;\nselect :client_id + 1;\ninsert into hits values (:client_id);\nend;\n"
    subprocess.run(
        ["pgbench", "-n", "-f", "-", "-c", "8", "-j", "2", "-t", "50", "-M", mode], input=script,
        env={**os.environ, **database.environment}, check=True, capture_output=True, text=True)
    compare(audited)


def test_every_statement_of_psycopg_has_its_event(audited, database):
    with psycopg.connect(database.dsn, autocommit=True) as connection:
        connection.prepare_threshold = 2
        for number in range(20):
            connection.execute("select %s::int as prepared_after_a_while", (number,))
        with contextlib.suppress(psycopg.Error):
            connection.execute("select %s::int / %s::int", (1, 0))
        with contextlib.suppress(psycopg.Error):
            connection.execute("select * from no_such_table where a = %s", (1,))
        with contextlib.suppress(psycopg.Error):
            connection.execute("select %s::int", ("not a number",))
        for failing in range(3):
            with contextlib.suppress(psycopg.Error), connection.pipeline():
                connection.execute("select %s::int as before", (failing,))
                connection.execute("select 1 / %s::int", (0,))
                connection.execute("select %s::int as never_executed", (failing,))
        with connection.pipeline() as pipeline:
            for number in range(500):
                connection.execute("select %s::int as in_a_pipeline", (number,))
                if number % 100 == 0:
                    pipeline.sync()
        with connection.transaction(), connection.cursor(name="c") as cursor:
            cursor.execute("select g from generate_series(1, 25) g")
            cursor.itersize = 10
            assert len(list(cursor)) == 25
        # A constraint that is checked only when the implicit transaction ends.
        connection.execute("create table p (a int unique deferrable initially deferred)")
        with contextlib.suppress(psycopg.Error):
            connection.execute("insert into p values (%s), (%s)", (1, 1))
        connection.execute("drop table p")
        with connection.cursor() as cursor:
            cursor.executemany("select %s::text", [(str(n),) for n in range(50)])
            with cursor.copy("copy (select generate_series(1, 1000)) to stdout") as copy:
                assert sum(1 for _ in copy.rows()) == 1000
    statements = compare(audited)
    assert not any("never_executed" in (text or "") for text in statements)


def test_every_statement_of_asyncpg_has_its_event(audited, database):
    environment = database.environment

    async def scenario():
        context = ssl.create_default_context(cafile=environment["PGSSLROOTCERT"])
        context.load_cert_chain(environment["PGSSLCERT"], environment["PGSSLKEY"])
        pool = await asyncpg.create_pool(
            host=environment["PGHOST"], port=environment["PGPORT"], user=environment["PGUSER"],
            database=environment["PGDATABASE"], ssl=context, min_size=2, max_size=6)
        async with pool:
            await asyncio.gather(*(pool.fetchval("select $1::int * 3", number) for number in range(200)))
            async with pool.acquire() as connection, connection.transaction():
                # A portal that is fetched from in parts: every Execute is a statement.
                assert len([row async for row in connection.cursor("select generate_series(1, 100)", prefetch=30)]) == 100
                with contextlib.suppress(asyncpg.PostgresError):
                    async with connection.transaction():
                        await connection.fetch("select 1 / $1::int", 0)
            await pool.execute("create table a (x int, y text)")
            async with pool.acquire() as connection:
                await connection.executemany("insert into a values ($1, $2)", [(n, str(n)) for n in range(100)])
                with contextlib.suppress(asyncpg.PostgresError):
                    await connection.fetch("select $1::int from no_such_table", 1)
            await pool.execute("drop table a")

    asyncio.run(scenario())
    compare(audited)


def test_protocol_messages_have_events_of_their_own(audited, database):
    before = len(audited.audit())
    with psycopg.connect(database.dsn, autocommit=True) as connection:
        for number in range(3):
            connection.execute("select %s::int as one, %s::text as two", (number, "x"), prepare=True)
        connection.execute("deallocate all")
    events = [event for event in settled(audited)[before:] if event["code"].startswith(("TPG", "TDB02"))]
    assert [event["code"] for event in events[:3]] == ["TPG00I", "TPG01I", "TPG02I"]
    assert events[0]["query"] == "select $1::int as one, $2::text as two"
    assert events[0]["statement_name"] == events[1]["statement_name"] == events[3]["statement_name"]
    executed = [event for event in events if event.get("db_query", "").startswith("select")]
    assert len(executed) == 3 and [event["db_query_parameters"][1] for event in executed] == ["x"] * 3
    assert {event["sid"] for event in events} == {events[0]["sid"]} and all(event["success"] for event in events)


# Hostile input

HOSTILE = [
    b"select 'two\nlines\r\nand\ttabs'",
    b"select '\x1b[2J\x1b]0;title\x07' -- \x7f",
    b'select \'"}\n{"event":"user.login","user":"root"}\'',
    "select 'C1 \u0085\u009b, separators \u2028\u2029, \u202e turned, \ufeff\u200b hidden, \U000e0041 tagged'".encode(),
    b"select '\xff\xfe not \xc0\xaf UTF-8 \xed\xa0\x80 \xf5\x80\x80\x80 \xe2\x80'",
    b"select '\\', E'\\\\x41' /* \\u0000 */",
]


def test_19_statements_cannot_forge_records_or_reach_a_terminal(audited, database):
    before = len(audited.audit())
    with psycopg.connect(database.dsn, autocommit=True) as connection:
        for query in HOSTILE:
            connection.pgconn.exec_(query)
    events = [event for event in settled(audited)[before:] if event["event"].startswith("db.session.query")]
    assert len(events) == len(HOSTILE)
    for event, query in zip(events, HOSTILE):
        assert event["db_query"] == query.decode(errors="replace") or "\\xff\\xfe not \\xc0\\xaf" in event["db_query"]
    raw = (audited.data / "log/events.log").read_bytes()
    unwanted = [chr(code) for code in [*range(0x80, 0xa0), 0x2028, 0x2029, 0x202e, 0x200b, 0xfeff, 0xe0041]]
    assert not any(byte < 0x20 and byte != 0x0a or byte == 0x7f for byte in raw)
    assert not any(character in raw.decode() for character in unwanted)
    for output_format in ("text", "json"):
        shown = audited.run("tctl", "audit", "tail", "-n", "40", f"--format={output_format}")
        assert not any(character in shown for character in ["\x1b", "\x07", "\x7f", "\r", *unwanted])
        assert len(shown.split("\n")) == 41


def test_long_statements_are_cut_and_say_so(audited, database):
    query = "select '" + "x" * 100_000 + "'"
    with psycopg.connect(database.dsn, autocommit=True) as connection:
        connection.pgconn.exec_(query.encode())
        connection.execute("select length(%s::text)", ("y" * 50_000,))
    simple, extended = [event for event in settled(audited) if event["event"] == "db.session.query"][-2:]
    assert simple["db_query"] == query[:8192] and simple["db_query_length"] == len(query) and simple["db_query_truncated"]
    assert extended["db_query"] == "select length($1::text)" and extended["db_query_parameters"] == ["[cut off]"]


def test_23_a_million_names_cost_no_memory(audited, database):
    def resident():
        status = pathlib.Path(f"/proc/{audited.teleport.pid}/status").read_text()
        return int(status.split("VmRSS:")[1].split()[0])

    with psycopg.connect(database.dsn, autocommit=True) as connection:
        pgconn = connection.pgconn
        for number in range(500):
            pgconn.prepare(b"warm%d" % number, b"select 1 /* " + b"x" * 4000 + b" */")
        before = resident()
        for number in range(3000):
            pgconn.prepare(b"s%d" % number, b"select %d /* " % number + b"x" * 4000 + b" */")
            if number % 100 == 0:
                # A debug build's audit thread needs a breath, or best_effort drops some.
                time.sleep(0.1)
        assert pgconn.exec_prepared(b"s2999", []).ntuples == 1
        assert pgconn.exec_prepared(b"s0", []).ntuples == 1
        # A name of a megabyte and as many parameters as there can be.
        assert pgconn.prepare(b"n" * (1 << 20), b"select 'long name'").status == psycopg.pq.ExecStatus.COMMAND_OK
        assert pgconn.exec_prepared(b"n" * (1 << 20), []).ntuples == 1
        many = b"select " + b",".join(b"$%d::int" % (n + 1) for n in range(1600))
        assert pgconn.exec_params(many, [b"1"] * 1600).ntuples == 1
        assert resident() - before < 12_000
    executed = [event for event in settled(audited) if event["event"] == "db.session.query"][-4:]
    assert executed[0]["db_query"].startswith("select 2999 ")
    # Forgotten, and honest about it: the name is all that is left.
    assert "db_query" not in executed[1] and executed[1]["statement_name"] == "s0"
    assert "db_query" not in executed[2]
    assert executed[3]["db_query"].startswith("select $1::int")
