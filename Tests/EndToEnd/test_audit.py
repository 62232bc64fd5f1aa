"""The audit log against what PostgreSQL itself says was executed, and against crashes, full disks and edits."""

import asyncio
import collections
import contextlib
import csv
import json
import os
import pathlib
import re
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


def make_cluster(directory, kind=Cluster, audit_log="{}", query_audit="{}"):
    os.chmod(directory, 0o755)
    cluster = kind(directory)
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


@contextlib.contextmanager
def recording_all(**settings):
    """A cluster that records everything, before a PostgreSQL that logs everything."""
    with own_cluster(query_audit="{queries: protocol, parameters: yes, queue_size: 16MiB}", **settings) as cluster:
        with cluster.admin() as admin:
            for setting in ["logging_collector = on", "log_destination = 'csvlog'", "log_directory = 'csv'", "log_statement = 'all'"]:
                admin.execute(f"alter system set {setting}")
        subprocess.run([ROOT / "Tests/EndToEnd/postgres.sh", "stop", cluster.pg], check=True)
        subprocess.run([ROOT / "Tests/EndToEnd/postgres.sh", "restart", cluster.pg], check=True)
        yield cluster


@pytest.fixture(scope="module")
def audited():
    with recording_all() as cluster:
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
    unasked = {text for text in log.statements - statements if not re.fullmatch(cluster.own_statements, text)}
    assert unasked == set(), "statements without an event"
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
    # A thread each: pgbench prepares without looking after its other clients, who may hold what that waits for.
    subprocess.run(
        ["pgbench", "-n", "-f", "-", "-c", "8", "-j", "8", "-t", "50", "-M", mode], input=script,
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


# Searching

def search(cluster, *options, home=None):
    output = cluster.run("tctl", "audit", "search", "--format=json", *options, home=home)
    return [json.loads(line) for line in output.splitlines()]


def test_search_finds_what_a_scan_of_the_files_finds(audited, database):
    with psycopg.connect(database.dsn, autocommit=True) as connection:
        connection.execute("select 'Needle ' || chr(34) || ' in a haystack \n'")
    events = settled(audited)
    everything = search(audited, "--limit=1000000")
    assert everything[:len(events)] == events
    assert search(audited, "--event=db.session.end,user.login", "--limit=100000") == [
        event for event in everything if event["event"] in ("db.session.end", "user.login")]
    assert search(audited, "--user=alice", "--db=redshift", "--event=db.session.start") == [
        event for event in everything if event["event"] == "db.session.start" and event["user"] == "alice"]
    found = search(audited, "--query-text=needle ' || CHR(34)")
    assert [event["event"] for event in found] == ["db.session.postgres.statements.parse", "db.session.query"] or len(found) == 1
    middle = events[len(events) // 2]["time"]
    assert search(audited, f"--from={middle}", "--limit=1000000")[:1] == [next(e for e in events if e["time"] >= middle)]
    assert search(audited, f"--to={middle}", "--limit=1000000") == [event for event in events if event["time"] <= middle]
    assert search(audited, "--from=1h", "--limit=3") == events[:3] and search(audited, "--to=1h") == []
    assert search(audited, "--user=ali") == [] == search(audited, "--db=redshif")
    refused = audited.tool("tctl", "audit", "search", "--from=yesterday")
    assert refused.returncode == 1 and "is not a time" in refused.stderr and len(refused.stderr.splitlines()) == 1


def test_labels_do_not_pass_for_fields(audited):
    # db_labels is an object: {"env": "dev"} must not be found as a field of its own.
    assert any(event.get("db_labels") == {"env": "dev"} for event in audited.audit())
    assert search(audited, "--user=dev") == []


def test_only_those_who_may_list_events_read_them(audited):
    def remote(*command, home):
        """tctl as on a workstation: no configuration of the cluster, the profile of tsh instead."""
        environment = {**audited.environment, "TELEPORT_HOME": str(home)}
        del environment["TELEPORT_CONFIG_FILE"]
        return subprocess.run(
            [pathlib.Path(os.environ.get("SALLYPORT_BIN", ROOT / ".build/release")) / "tctl", *command], env=environment,
            capture_output=True, text=True, timeout=30)

    allowed = remote("audit", "tail", "-n", "3", home=audited.home)
    assert allowed.returncode == 0 and len(allowed.stdout.splitlines()) == 3
    home = audited.make_user("bob", "dev")
    for command in (["tail"], ["search"], ["search", "--verify"]):
        refused = remote("audit", *command, home=home)
        assert refused.returncode == 1 and "may not list event" in refused.stderr and not refused.stdout


def test_tail_follows(audited, database):
    with subprocess.Popen(
            [pathlib.Path(os.environ.get("SALLYPORT_BIN", ROOT / ".build/release")) / "tctl", "audit", "tail", "-f", "-n", "0",
             "--event=db.session.query"], env=audited.environment, stdout=subprocess.PIPE, text=True) as tail:
        time.sleep(1)
        with psycopg.connect(database.dsn, autocommit=True) as connection:
            connection.execute("select 'seen \x1b[31mlive'")
            line = tail.stdout.readline()
        tail.kill()
    assert "db.session.query TDB02I user=alice db=redshift/dev" in line and "seen \ufffd[31mlive" in line


# Files

def verify(cluster):
    result = cluster.tool("tctl", "audit", "search", "--verify", "--limit=1")
    return result.returncode == 0, result.stderr


def load(database, count=200, size=2000):
    with psycopg.connect(database.dsn, autocommit=True) as connection:
        for number in range(count):
            connection.execute(f"select {number} /* {'x' * size} */".encode())


def test_rotation_keeps_the_chain_and_edits_show():
    with own_cluster(audit_log="{max_size: 1MiB, max_files: 3}") as cluster:
        database = cluster.database(cluster.home)
        load(database, 1000)
        settled(cluster)
        log = cluster.data / "log"
        files = sorted(log.glob("events-*.log"), key=lambda path: path.stem.rsplit("-", 1)[1])
        assert len(files) >= 2
        assert all(1 << 20 <= path.stat().st_size < (1 << 20) + (300 << 10) for path in files)
        assert all(path.stat().st_mode & 0o777 == 0o600 for path in log.iterdir())
        assert verify(cluster)[0], verify(cluster)
        assert len(search(cluster, "--event=db.session.query", "--limit=100000")) == 1000
        cluster.stop_teleport()
        cluster.start_teleport()
        assert verify(cluster)[0]
        load(database, 1500)
        wait_until(lambda: cluster.audit()[-1]["code"] == "TDB01I", "the session's end")
        assert len(list(log.glob("events-*.log"))) == 3
        intact, message = verify(cluster)
        assert intact and "records 1 to" not in message

        for path in [sorted(log.glob("events-*.log"))[1], log / "events.log"]:
            original = path.read_bytes()
            lines = original.split(b"\n")
            middle = len(lines) // 2
            for edited, what in [
                (lines[:middle] + lines[middle + 1:], "are missing"),
                (lines[:middle] + [lines[middle].replace(b'"alice"', b'"mallory"')] + lines[middle + 1:], "was changed"),
                (lines[:middle] + [lines[middle + 1], lines[middle]] + lines[middle + 2:], "are missing"),
                (lines[:middle] + [b"{}"] + lines[middle + 1:], "is no record"),
                (lines[:-2] + [b""], "are missing"),
            ]:
                path.write_bytes(b"\n".join(edited))
                intact, message = verify(cluster)
                assert not intact and what in message, (path, what, message)
            path.write_bytes(original)
            assert verify(cluster)[0]
        removed = sorted(log.glob("events-*.log"))[1]
        content = removed.read_bytes()
        removed.unlink()
        assert "are missing" in verify(cluster)[1]
        removed.write_bytes(content)
        removed.chmod(0o600)
        # Records cut off the end while nothing runs are noticed at the next start.
        cluster.stop_teleport()
        current = log / "events.log"
        current.write_bytes(b"\n".join(current.read_bytes().split(b"\n")[:-3]) + b"\n")
        cluster.start_teleport()
        assert [event["code"] for event in cluster.audit()].count("SPA03W") == 1
        assert "are missing" in verify(cluster)[1]


def starts(cluster):
    """How many sessions are on record."""
    return sum(bool(event) and event["code"] == "TDB00I" for event in read_lines(cluster))


def test_61_a_kill_leaves_whole_records_only(record_property):
    with own_cluster() as cluster:
        database = cluster.database(cluster.home)
        for round_number in range(3):
            workers = [
                subprocess.Popen(
                    ["pgbench", "-n", "-f", "-", "-c", "4", "-T", "20"], env={**os.environ, **database.environment},
                    stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, text=True)
                for _ in range(2)]
            for worker in workers:
                worker.stdin.write("select 1;\n")
                worker.stdin.close()
            wait_until(lambda: starts(cluster) >= 8 * (round_number + 1), "all sessions on record")
            time.sleep(0.5 + 0.3 * round_number)
            cluster.teleport.send_signal(signal.SIGKILL)
            cluster.teleport.wait()
            for worker in workers:
                worker.wait()
            assert starts(cluster) >= 8 * (round_number + 1)
            if round_number == 2:
                with open(cluster.data / "log/events.log", "ab") as log:
                    log.write(b'{"seq":99999,"event":"torn \x1b')
            cluster.start_teleport()
            assert verify(cluster)[0], verify(cluster)
        events = cluster.audit()
        assert [event["torn"] for event in events if event["code"] == "SPA01W"][-1] == '{"seq":99999,"event":"torn \x1b'
        assert [event["seq"] for event in events] == list(range(1, len(events) + 1))
        record_property("survived", (
            f"{round_number + 1} kills with 8 sessions on, the last with half a line in the audit log: the chain of {len(events)} "
            "records is whole"))


def read_lines(cluster):
    for line in (cluster.data / "log/events.log").read_bytes().split(b"\n"):
        with contextlib.suppress(json.JSONDecodeError):
            yield json.loads(line)


@contextlib.contextmanager
def small_disk(cluster, size="8m"):
    """Puts the log on a file system of its own, which `fill` fills up."""
    log = cluster.data / "log"
    cluster.stop_teleport()
    kept = {path.name: path.read_bytes() for path in log.iterdir()}
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size},mode=700", "tmpfs", log], check=True)
    try:
        for name, content in kept.items():
            (log / name).write_bytes(content)
            (log / name).chmod(0o600)
        cluster.start_teleport()
        yield log / "ballast"
        cluster.stop_teleport()
    finally:
        if cluster.teleport.poll() is None:
            cluster.teleport.kill()
            cluster.teleport.wait()
        subprocess.run(["umount", log], check=True)


def fill(ballast):
    with open(ballast, "wb", buffering=0) as file, contextlib.suppress(OSError):
        while True:
            if file.write(b"x" * 65536) < 65536:
                break


needs_mount = pytest.mark.skipif(os.geteuid() != 0, reason="mounting a small file system takes root")


@needs_mount
def test_60_a_full_disk_refuses_sessions_and_recovers(record_property):
    with own_cluster(query_audit="{queue_size: 1MiB}") as cluster:
        database = cluster.database(cluster.home)
        with small_disk(cluster) as ballast, psycopg.connect(database.dsn, autocommit=True) as running:
            fill(ballast)
            # Fills what is left of the last block.
            for _ in range(50):
                running.pgconn.exec_(b"select 'running' /* " + b"x" * 1000 + b" */")
            time.sleep(0.5)
            with pytest.raises(psycopg.OperationalError, match="audit log cannot be written"):
                psycopg.connect(database.dsn)
            assert "No space left" in cluster.log.read_text()
            # The running session goes on; what it asks waits in memory.
            assert running.execute("select 'while full'").fetchone() == ("while full",)
            refused = cluster.tool("tctl", "audit", "tail")
            assert refused.returncode == 0
            ballast.unlink()
            time.sleep(1)
            with psycopg.connect(database.dsn, autocommit=True) as fresh:
                assert fresh.execute("select 1").fetchone() == (1,)
            running.close()
            settled(cluster)
            events = cluster.audit()
            queries = [event["db_query"] for event in events if event["event"] == "db.session.query"]
            kept = sum("'running'" in query for query in queries)
            assert kept == 50 and "select 'while full'" in queries
            refusals = sum(event["code"] == "TDB00W" and event["error"] == "57P03" for event in events)
            assert refusals == 1
            assert verify(cluster)[0], verify(cluster)
            record_property("survived", (
                f"a full disk under the audit log: the running session goes on, {refusals} new one refused; once there was room, "
                f"{kept + 1} of 51 statements from meanwhile are recorded, and the chain of {len(events)} records is whole"))


@needs_mount
@pytest.mark.parametrize("mode", ["best_effort", "strict"])
def test_overflow_follows_the_policy(mode, record_property):
    with own_cluster(query_audit=f"{{queue_size: 1MiB, mode: {mode}}}") as cluster:
        database = cluster.database(cluster.home)
        with small_disk(cluster, "32m") as ballast:
            with psycopg.connect(database.dsn, autocommit=True) as running:
                fill(ballast)
                query = b"select 1 /* " + b"x" * 8000 + b" */"

                def run(count):
                    # Simple queries: a prepared statement would carry its text only once.
                    for _ in range(count):
                        running.execute(query, prepare=False)

                if mode == "strict":
                    # 10 MiB of records and 1 MiB of queue hold less than this.
                    with pytest.raises(psycopg.errors.AdminShutdown, match="audit log cannot keep up"):
                        run(4000)
                else:
                    run(4000)
                    assert running.execute("select 'still here'").fetchone() == ("still here",)
            ballast.unlink()
            wait_until(lambda: any(event["code"] == "TDB01I" for event in cluster.audit()), "the session's end")
            time.sleep(0.5)
            events = cluster.audit()
            dropped = sum(event["count"] for event in events if event["code"] == "SPA00W")
            recorded = sum(event.get("db_query", "").startswith("select 1 /*") for event in events)
            if mode == "strict":
                assert dropped <= 2 and 50 < recorded < 4000
                assert [event["message"] for event in events if event["code"] == "TDB01I"] == ["audit log overloaded"]
            else:
                assert recorded > 50 and dropped >= 4000 - recorded
            assert verify(cluster)[0], verify(cluster)
            with psycopg.connect(database.dsn, autocommit=True) as fresh:
                assert fresh.execute("select 1").fetchone() == (1,)
            record_property("survived", (
                f"a full disk under the audit log for longer than its queue holds, mode {mode}: {recorded} statements recorded, "
                f"{dropped} records dropped and counted"))


def test_off_records_sessions_but_no_statements():
    with own_cluster(query_audit="{queries: off}") as cluster:
        database = cluster.database(cluster.home)
        load(database, 3)
        events = settled(cluster)
        assert not any(event["event"].startswith(("db.session.query", "db.session.postgres")) for event in events)
        assert [event["code"] for event in events][-2:] == ["TDB00I", "TDB01I"]
        for name, code in [("instance.join", "TJ001I"), ("role.created", "T9000I"), ("user.create", "T1002I"),
                           ("user.login", "T1000I"), ("cert.create", "TC000I")]:
            assert any((event["event"], event["code"]) == (name, code) for event in events)


def test_23_a_million_names_cost_no_memory():
    with own_cluster(query_audit="{queue_size: 16MiB}") as cluster:
        name_games(cluster, cluster.database(cluster.home))


def name_games(audited, database):
    def resident():
        status = pathlib.Path(f"/proc/{audited.teleport.pid}/status").read_text()
        return int(status.split("VmRSS:")[1].split()[0])

    with psycopg.connect(database.dsn, autocommit=True) as connection:
        pgconn = connection.pgconn

        def prepare(name, number):
            pgconn.prepare(name, b"select %d /* " % number + b"x" * 4000 + b" */")
            if number % 100 == 0:
                # A busy machine's audit thread needs a breath, or best_effort drops some.
                time.sleep(0.02)

        # The statement without a name is forgotten each time; this touches all of the queue's memory.
        for number in range(4500):
            prepare(b"", number)
        before = resident()
        for number in range(6000):
            prepare(b"s%d" % number, number)
        assert pgconn.exec_prepared(b"s5999", []).ntuples == 1
        assert pgconn.exec_prepared(b"s0", []).ntuples == 1
        # A name of a megabyte and as many parameters as there can be.
        assert pgconn.prepare(b"n" * (1 << 20), b"select 'long name'").status == psycopg.pq.ExecStatus.COMMAND_OK
        assert pgconn.exec_prepared(b"n" * (1 << 20), []).ntuples == 1
        many = b"select " + b",".join(b"$%d::int" % (n + 1) for n in range(1600))
        assert pgconn.exec_params(many, [b"1"] * 1600).ntuples == 1
        assert resident() - before < 10_000
    executed = [event for event in settled(audited) if event["event"] == "db.session.query"][-4:]
    assert executed[0]["db_query"].startswith("select 5999 ")
    # Forgotten, and honest about it: the name is all that is left.
    assert executed[1]["db_query_unknown"] and executed[1]["statement_name"] == "s0" and executed[2]["db_query_unknown"]
    assert executed[3]["db_query"].startswith("select $1::int")
