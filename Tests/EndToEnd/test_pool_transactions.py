"""Pools in mode transaction: many clients on few server connections, each for the time of a transaction."""

import asyncio
import concurrent.futures
import random
import subprocess
import threading
import time

import asyncpg
import psycopg
import pytest

from conftest import USER, wait_until
from pooled_cluster import pid_of, running
from raw_client import FLUSH, SYNC, Raw, bind, cancel, close, context_of, describe, execute, parse
from scripted_server import message

POOLS = {
    "shared": "mode: transaction, pool_size: 3",
    "single": "mode: transaction, pool_size: 1",
    "hurried": "mode: transaction, pool_size: 1, query_wait_timeout: 1s",
    "crowded": "mode: transaction, pool_size: 1, max_waiting_clients: 2",
    "few": "mode: transaction, pool_size: 1, max_prepared_statements: 2",
    "cleaned": "mode: transaction, pool_size: 1, server_reset_query_always: yes",
    "narrow": "mode: transaction, max_db_connections: 2",
    "checked": "mode: transaction, pool_size: 1, server_check_delay: 0s",
}
RECEIVED = 'sallyport_relayed_bytes_total{direction="to_database"}'


@pytest.fixture(scope="module")
def pooled(cluster, tmp_path_factory):
    with running(tmp_path_factory, cluster, POOLS, "shared") as own:
        with own.admin() as admin:
            admin.execute("create table if not exists pooled (n int primary key, who int)")
            admin.execute("grant all on pooled to public")
        yield own


@pytest.fixture(autouse=True)
def fresh(pooled):
    pooled.stop_teleport()
    pooled.start_teleport()
    with pooled.admin() as admin:
        admin.execute("truncate pooled")


@pytest.fixture
def shared(pooled):
    return pooled.database(pooled.home, "shared")


@pytest.fixture
def single(pooled):
    return pooled.database(pooled.home, "single")


def kinds(messages):
    return b"".join(kind for kind, _ in messages)


def state(messages):
    """The SQLSTATE of the only error."""
    [body] = [body for kind, body in messages if kind == b"E"]
    return dict((field[:1], field[1:]) for field in body.split(b"\0") if field)[b"C"].decode()


def rows(messages):
    return [body[6:].decode() for kind, body in messages if kind == b"D"]


@pytest.mark.parametrize("protocol", ["simple", "extended", "prepared"])
def test_pgbench_with_more_clients_than_connections(pooled, shared, protocol):
    environment = pooled.environment | shared.environment
    result = subprocess.run(
        ["psql", "-qc", "create table if not exists counters (id int primary key, n int)",
         "-c", "truncate counters", "-c", "insert into counters select g, 0 from generate_series(1, 20) g"],
        env=environment, capture_output=True, text=True, timeout=60)
    assert result.returncode == 0, result.stderr
    script = pooled.directory / "script.sql"
    script.write_text(r"""\set id random(1, 20)
begin;
select n from counters where id = :id;
update counters set n = n + 1 where id = :id;
end;
select 1;
""")
    # pgbench waits for an answer to each Parse: a thread for each client, or one that waits for a connection would hold up
    # those that have one.
    result = subprocess.run(
        ["pgbench", "-n", "-M", protocol, "-c", "16", "-j", "16", "-t", "25", "-f", script], env=environment,
        capture_output=True, text=True, timeout=120)
    assert result.returncode == 0 and "actually processed: 400/400" in result.stdout, result.stderr + result.stdout
    assert len([row for row in pooled.backends() if row[2] == "pgbench"]) <= 3
    with psycopg.connect(shared.dsn) as connection:
        assert connection.execute("select sum(n) from counters").fetchone() == (400,)
        connection.execute("drop table counters")


def test_psycopg_and_asyncpg_prepare_side_by_side(pooled, shared):
    def by_psycopg(number):
        with psycopg.connect(shared.dsn, prepare_threshold=0) as connection:
            for turn in range(20):
                with connection.transaction():
                    assert connection.execute("select %s::int * %s::int", [number, turn]).fetchone() == (number * turn,)
                    assert connection.execute(f"select %s::int + {turn % 4}", [turn]).fetchone() == (turn + turn % 4,)

    async def by_asyncpg(number):
        settings = shared.environment
        connection = await asyncpg.connect(
            host=settings["PGHOST"], port=int(settings["PGPORT"]), user=settings["PGUSER"],
            database=settings["PGDATABASE"], ssl=context_of(shared))
        try:
            statement = await connection.prepare("select $1::int - $2::int")
            for turn in range(20):
                assert await statement.fetchval(number, turn) == number - turn
                async with connection.transaction():
                    assert await connection.fetchval(f"select $1::int + {turn % 4}", number) == number + turn % 4
                    assert [row["g"] async for row in connection.cursor("select generate_series(1, 100) g")] == list(
                        range(1, 101))
        finally:
            # It would reset the session first, by statements that a shared one has no use for.
            connection.terminate()

    async def all_of_asyncpg():
        await asyncio.gather(*(by_asyncpg(number) for number in range(6)))

    with concurrent.futures.ThreadPoolExecutor(7) as pool:
        tasks = [pool.submit(by_psycopg, number) for number in range(6)]
        asyncio.run(all_of_asyncpg())
        for task in tasks:
            task.result()
    # The drivers' startup packets differ: each has a pool of its own.
    assert len(pooled.pids()) <= 6
    assert pooled.metric("sallyport_pool_servers_shared") == len(pooled.pids())


def test_a_transaction_stays_on_its_connection(pooled, shared):
    connections = [psycopg.connect(shared.dsn) for _ in range(3)]
    pids = [connection.execute("select pg_backend_pid()").fetchone()[0] for connection in connections]
    assert len(set(pids)) == 3
    for _ in range(3):
        assert pids == [connection.execute("select pg_backend_pid()").fetchone()[0] for connection in connections]
    for number, connection in enumerate(connections):
        connection.execute("insert into pooled values (%s, %s)", [number, number])
    connections[0].commit()
    connections[1].rollback()
    # Gone without a word: rolled back, and the connection with it.
    connections[2].pgconn.finish()
    with psycopg.connect(shared.dsn) as connection:
        assert connection.execute("select n from pooled order by n").fetchall() == [(0,)]
    wait_until(lambda: pids[2] not in pooled.pids(), "the connection of the one who left")
    for connection in connections[:2]:
        assert connection.execute("select 1").fetchone() == (1,)
        connection.commit()
        connection.close()
    assert pooled.metric('sallyport_pool_servers_discarded_total{reason="unfinished"}') == 1


def test_idle_clients_need_no_connection(pooled, single):
    clients = [Raw(single) for _ in range(20)]
    pids = {client.pid() for client in clients}
    assert len(pids) == 1 and pooled.pids() == pids
    assert len({client.key for client in clients}) == 20
    for client in clients:
        client.send(message(b"X"))
        client.socket.close()
    # The connection outlives them.
    assert pid_of(single) in pids


def test_statements_move_with_their_client(pooled, shared):
    """The same name means another statement for each client, on whichever connection."""
    clients = [Raw(shared) for _ in range(4)]
    for number, client in enumerate(clients):
        client.send(parse(b"same", b"select %d + $1::int" % (100 * number)), describe(b"same"), SYNC)
        assert kinds(client.read()) == b"1tTZ"
    order = [(number, turn) for number in range(4) for turn in range(5)]
    random.Random(1).shuffle(order)
    holders = [Raw(shared) for _ in range(2)]
    for step, (number, turn) in enumerate(order):
        # Others keep one connection or another busy, so that clients meet all of them.
        holder = holders[step % 2]
        holder.ask(b"begin" if step % 4 < 2 else b"commit")
        clients[number].send(bind(b"same", b"%d" % turn), execute(), SYNC)
        answer = clients[number].read()
        assert kinds(answer) == b"2DCZ" and rows(answer) == [str(100 * number + turn)]


def test_closing_and_naming_again(single):
    client, other = Raw(single), Raw(single)
    for text in (b"select 1", b"select 2", b"select 1"):
        client.send(parse(b"s", text), bind(b"s"), execute(), close(b"s"), SYNC)
        answer = client.read()
        assert kinds(answer) == b"12DC3Z" and rows(answer) == [text[-1:].decode()]
    client.send(bind(b"s"), execute(), SYNC)
    assert state(client.read()) == "26000"
    # Twice the same name is the database's error, and nobody else's trouble.
    client.send(parse(b"s", b"select 1"), parse(b"s", b"select 3"), SYNC)
    answer = client.read()
    assert kinds(answer) == b"1EZ" and state(answer) == "42P05"
    client.send(bind(b"s"), execute(), SYNC)
    assert rows(client.read()) == ["1"]
    other.send(bind(b"s"), execute(), SYNC)
    assert state(other.read()) == "26000"
    # A close of what is not there is no error.
    other.send(close(b"never"), close(b"x", b"P"), SYNC)
    assert kinds(other.read()) == b"33Z"


def test_a_client_gets_at_no_other_statement(single):
    client, other = Raw(single), Raw(single)
    client.send(parse(b"mine", b"select 'secret'"), SYNC)
    client.read()
    for number in range(10):
        for words in ([bind(b"sallyport_%d" % number), execute()], [describe(b"sallyport_%d" % number)],
                      [close(b"sallyport_%d" % number), bind(b"sallyport_%d" % number)]):
            other.send(*words, SYNC)
            assert state(other.read()) == "26000"
    client.send(bind(b"mine"), execute(), SYNC)
    assert rows(client.read()) == ["secret"]


def test_the_unnamed_statement_is_its_clients(shared):
    client, other = Raw(shared), Raw(shared)
    client.send(parse(b"", b"select 'client'"), SYNC)
    assert kinds(client.read()) == b"1Z"
    other.send(parse(b"", b"select 'other'"), SYNC)
    assert kinds(other.read()) == b"1Z"
    holders = [Raw(shared) for _ in range(2)]
    for holder in (None, *holders):
        if holder:
            holder.ask(b"begin")
        client.send(bind(b""), execute(), SYNC)
        assert rows(client.read()) == ["client"]
        other.send(describe(b""), bind(b""), execute(), SYNC)
        answer = other.read()
        assert kinds(answer) == b"tT2DCZ" and rows(answer) == ["other"]
    # A simple query ends it, and nobody else's takes its place.
    client.ask(b"select 1")
    other.send(parse(b"", b"select 'other'"), SYNC)
    other.read()
    client.send(bind(b""), execute(), SYNC)
    assert state(client.read()) == "26000"
    # Too long to be kept: good on its own connection, unknown on another.
    client.send(parse(b"", b"select " + b" " * 100_000 + b"7"), bind(b""), execute(), SYNC)
    assert rows(client.read()) == ["7"]


def test_connections_keep_a_bounded_number_of_statements(pooled):
    few = pooled.database(pooled.home, "few")
    client = Raw(few)
    for number in range(5):
        client.send(parse(b"s%d" % number, b"select %d" % number), SYNC)
        assert kinds(client.read()) == b"1Z"
    for number in (4, 0, 3, 1, 2, 0, 0, 4):
        client.send(bind(b"s%d" % number), execute(), SYNC)
        answer = client.read()
        assert kinds(answer) == b"2DCZ" and rows(answer) == [str(number)]
    assert int(client.value(b"select count(*) from pg_prepared_statements")) == 2
    # All in one go, more than fit at once.
    client.send(*(bind(b"s%d" % number) + execute() for number in (0, 1, 2, 3, 4, 0)), SYNC)
    answer = client.read()
    assert rows(answer) == ["0", "1", "2", "3", "4", "0"] and kinds(answer) == b"2DC" * 6 + b"Z"
    # An error in their middle: what was believed to be closed or prepared was not.
    for _ in range(3):
        client.send(bind(b"s3") + execute(), parse(b"broken", b"select from where"), *(
            bind(b"s%d" % number) + execute() for number in (0, 1, 2)), SYNC)
        answer = client.read()
        assert kinds(answer) == b"2DCEZ" and state(answer) == "42601"
        for number in (2, 1, 0, 4):
            client.send(bind(b"s%d" % number), execute(), SYNC)
            assert rows(client.read()) == [str(number)]
    client.send(parse(b"broken", b"select 'mended'"), bind(b"broken"), execute(), SYNC)
    assert rows(client.read()) == ["mended"]


def test_deallocate_all_is_understood(single):
    client, other = Raw(single), Raw(single)
    for name in (b"deallocate all", b"discard all"):
        for one in (client, other):
            one.send(parse(b"s", b"select 8"), SYNC)
            one.read()
        client.ask(name)
        client.send(bind(b"s"), execute(), SYNC)
        assert state(client.read()) == "26000"
        other.send(bind(b"s"), execute(), SYNC)
        assert rows(other.read()) == ["8"]
        other.send(close(b"s"), SYNC)
        other.read()


def test_pipelines(single):
    client, other = Raw(single), Raw(single)
    client.send(*(parse(b"p%d" % n, b"select %d" % n) + bind(b"p%d" % n) + execute() + SYNC for n in range(10)))
    for n in range(10):
        answer = client.read()
        assert kinds(answer) == b"12DCZ" and rows(answer) == [str(n)]
    # An error ends its own part only.
    client.send(bind(b"p1"), execute(), SYNC, bind(b"absent"), execute(), parse(b"late", b"select 1"), SYNC,
                bind(b"p2"), execute(), SYNC)
    assert kinds(client.read()) == b"2DCZ"
    assert state(client.read()) == "26000"
    assert rows(client.read()) == ["2"]
    client.send(bind(b"late"), execute(), SYNC)
    assert state(client.read()) == "26000"
    # An error before its Sync has been sent; the rest is not carried out.
    client.send(bind(b"absent"), FLUSH)
    assert kinds(client.read(b"E")) == b"E"
    client.send(parse(b"late", b"select 1"), bind(b"p1"), execute(), SYNC)
    assert kinds(client.read()) == b"Z"
    client.send(bind(b"late"), execute(), SYNC)
    assert state(client.read()) == "26000"
    # Two queries in one go, and a Sync alone.
    client.send(message(b"Q", b"select 1\0"), message(b"Q", b"select 2\0"), SYNC)
    assert [kinds(client.read()) for _ in range(3)] == [b"TDCZ", b"TDCZ", b"Z"]
    # With Flush instead of Sync the transaction goes on, and so does the hold on the connection.
    client.send(parse(b"", b"select pg_backend_pid()"), describe(b""), FLUSH)
    assert kinds(client.read(b"T")) == b"1tT"
    with concurrent.futures.ThreadPoolExecutor() as pool:
        waiting = pool.submit(other.pid)
        time.sleep(0.3)
        assert not waiting.done()
        client.send(bind(b""), execute(), SYNC)
        assert rows(client.read()) == [str(waiting.result())]


@pytest.mark.parametrize("size", [1, 3, 7])
def test_messages_in_pieces(single, size):
    client = Raw(single)
    stream = parse(b"cut", b"select $1::text") + bind(b"cut", b"x" * 50) + describe(b"cut") + execute() + SYNC
    stream += message(b"Q", b"select 1\0")
    for start in range(0, len(stream), size):
        client.send(stream[start:start + size])
    assert kinds(client.read()) == b"12tTDCZ"
    assert kinds(client.read()) == b"TDCZ"


def test_errors_within_transactions(pooled, shared):
    with psycopg.connect(shared.dsn, prepare_threshold=0) as connection:
        for _ in range(5):
            with pytest.raises(psycopg.errors.DivisionByZero), connection.transaction():
                connection.execute("insert into pooled values (1, 1)")
                connection.execute("select 1 / %s::int", [0])
            with pytest.raises(psycopg.errors.InFailedSqlTransaction), connection.transaction():
                try:
                    connection.execute("select 1 / %s::int", [0])
                except psycopg.errors.DivisionByZero:
                    connection.execute("select %s::int", [1])
            assert connection.execute("select count(*) from pooled").fetchone() == (0,)
            connection.rollback()
    client = Raw(shared)
    client.ask(b"begin")
    pid = client.pid()
    assert state(client.ask(b"select 1/0")) == "22012"
    other = [Raw(shared) for _ in range(3)]
    assert pid not in {one.pid() for one in other}
    assert kinds(client.ask(b"rollback")) == b"CZ"


def test_copy_in_and_out(pooled, shared):
    def work(number):
        with psycopg.connect(shared.dsn) as connection:
            for turn in range(3):
                first = number * 10_000 + turn * 1000
                with connection.transaction(), connection.cursor() as cursor:
                    with cursor.copy("copy pooled (n, who) from stdin") as copy:
                        for n in range(first, first + 1000):
                            copy.write_row((n, number))
                with connection.cursor() as cursor, cursor.copy(
                        f"copy (select n from pooled where who = {number} order by n) to stdout") as copy:
                    assert sum(len(block) > 0 for block in copy) > 0
                connection.commit()

    with concurrent.futures.ThreadPoolExecutor(6) as pool:
        for task in [pool.submit(work, number) for number in range(6)]:
            task.result()
    with psycopg.connect(shared.dsn, autocommit=True) as connection:
        assert connection.execute("select count(*) from pooled").fetchone() == (18_000,)
    assert len(pooled.pids()) <= 3


def test_copy_gone_wrong(pooled, single):
    client, other = Raw(single), Raw(single)

    def fine():
        assert other.value(b"select 5") == "5"
        assert client.value(b"select 6") == "6"

    # The client gives up; the data are bad; the client goes on after the error.
    client.send(message(b"Q", b"copy pooled from stdin\0"))
    assert kinds(client.read(b"G")) == b"G"
    client.send(message(b"d", b"1\t1\n"), message(b"f", b"enough\0"))
    assert state(client.read()) == "57014"
    fine()
    client.send(message(b"Q", b"copy pooled from stdin\0"), message(b"d", b"nonsense\n"))
    answer = client.read()
    assert kinds(answer) == b"GEZ" and state(answer) == "22P02"
    client.send(message(b"d", b"2\t2\n"), message(b"d", b"3\t3\n"), message(b"c"))
    fine()
    # In the extended protocol a Sync within the data counts for nothing.
    client.send(parse(b"", b"copy pooled from stdin"), bind(b""), execute(), SYNC)
    assert kinds(client.read(b"G")) == b"12G"
    client.send(message(b"d", b"4\t4\n"), SYNC, message(b"d", b"5\t5\n"), message(b"c"), SYNC)
    assert kinds(client.read()) == b"CZ"
    fine()
    # All of it before the answer.
    client.send(parse(b"", b"copy pooled from stdin"), bind(b""), execute(), SYNC, message(b"d", b"6\t6\n"), message(b"c"), SYNC)
    assert kinds(client.read()) == b"12GCZ"
    fine()
    # And with an error.
    client.send(parse(b"", b"copy pooled from stdin"), bind(b""), execute(), message(b"d", b"bad\n"), message(b"c"), SYNC)
    assert kinds(client.read()) == b"12GEZ"
    fine()
    assert client.value(b"select string_agg(n::text, ',' order by n) from pooled") == "4,5,6"


def test_a_client_that_vanishes_within_a_copy(pooled, single):
    client = Raw(single)
    pid = client.pid()
    client.send(message(b"Q", b"copy pooled from stdin\0"), message(b"d", b"1\t1\n"))
    client.read(b"G")
    client.send(message(b"d", b"2\t2\n")[:6])
    client.socket.close()
    wait_until(lambda: pid not in pooled.pids(), "the connection")
    other = Raw(single)
    assert other.value(b"select count(*) from pooled") == "0"


def test_waiting_has_a_bound_and_a_deadline(pooled):
    hurried = pooled.database(pooled.home, "hurried")
    holder, waiter, patient = Raw(hurried), Raw(hurried), Raw(hurried)
    holder.ask(b"begin")
    start = time.monotonic()
    waiter.send(message(b"Q", b"select 1\0"))
    answer = waiter.read(b"E")
    assert state(answer) == "53300" and 0.8 < time.monotonic() - start < 5
    assert waiter.socket.recv(1) == b""
    assert pooled.metric("sallyport_pool_timeouts_total") == 1
    # In time.
    patient.send(message(b"Q", b"select 7\0"))
    time.sleep(0.3)
    assert pooled.metric("sallyport_pool_clients_waiting") == 1
    holder.ask(b"commit")
    assert rows(patient.read()) == ["7"]
    assert patient.value(b"select 8") == "8"

    crowded = pooled.database(pooled.home, "crowded")
    holder, *waiters = [Raw(crowded) for _ in range(4)]
    holder.ask(b"begin")
    for waiter in waiters:
        waiter.send(message(b"Q", b"select 9\0"))
        time.sleep(0.1)
    assert state(waiters[2].read(b"E")) == "53300"
    # One who leaves makes room.
    waiters[0].socket.close()
    wait_until(lambda: pooled.metric("sallyport_pool_clients_waiting") == 1, "its leaving")
    late = Raw(crowded)
    late.send(message(b"Q", b"select 10\0"))
    time.sleep(0.2)
    holder.ask(b"commit")
    assert rows(waiters[1].read()) == ["9"] and rows(late.read()) == ["10"]


def test_whoever_waited_longest_is_next(single):
    holder = Raw(single)
    holder.ask(b"begin")
    order, waiters = [], [Raw(single) for _ in range(5)]

    def wait(number):
        waiters[number].read()
        order.append(number)

    threads = [threading.Thread(target=wait, args=[number]) for number in range(5)]
    for number, thread in enumerate(threads):
        waiters[number].send(message(b"Q", b"select pg_sleep(0.05)\0"))
        thread.start()
        time.sleep(0.1)
    holder.ask(b"commit")
    for thread in threads:
        thread.join()
    assert order == list(range(5))


def test_a_query_before_a_goodbye_is_carried_out(pooled, single):
    holder, client = Raw(single), Raw(single)
    holder.ask(b"begin")
    client.send(message(b"Q", b"insert into pooled values (77, 7)\0"), message(b"X"))
    time.sleep(0.2)
    holder.ask(b"commit")
    with pooled.admin() as admin:
        wait_until(lambda: admin.execute("select n from pooled").fetchall() == [(77,)], "the insertion")


def test_cancel_hits_the_query_of_its_client_only(pooled, single):
    client, other = Raw(single), Raw(single)
    assert client.pid() == other.pid()
    with concurrent.futures.ThreadPoolExecutor() as pool:
        asked = pool.submit(other.ask, b"select pg_sleep(1)")
        time.sleep(0.2)
        # The connection is another's now.
        for _ in range(3):
            cancel(single, *client.key)
        assert kinds(asked.result()) == b"TDCZ"
        asked = pool.submit(client.ask, b"select pg_sleep(30)")
        time.sleep(0.3)
        cancel(single, *client.key)
        assert state(asked.result()) == "57014"
        # While it waits, there is nothing at the database to cancel: the session ends.
        other.ask(b"begin")
        client.send(message(b"Q", b"select 1\0"))
        time.sleep(0.2)
        cancel(single, *client.key)
        assert state(client.read(b"E")) == "57014"
        assert kinds(other.ask(b"commit")) == b"CZ"


def test_cancels_in_flight_miss_the_next(pooled, single):
    def hit():
        client = Raw(single)
        for _ in range(20):
            client.send(message(b"Q", b"select pg_sleep(0.02)\0"))
            cancel(single, *client.key)
            last = client.read(b"E", b"Z")[-1]
            if last[0] == b"E" and b"SFATAL" in last[1]:
                # The query still waited for the connection, and nothing could be cancelled at the database.
                client = Raw(single)
            elif last[0] == b"E":
                client.read()

    def work():
        client = Raw(single)
        for _ in range(60):
            assert kinds(client.ask(b"select pg_sleep(0.005)")) == b"TDCZ"

    with concurrent.futures.ThreadPoolExecutor() as pool:
        for task in [pool.submit(hit), pool.submit(work), pool.submit(work)]:
            task.result()
    assert pooled.metric('sallyport_pool_servers_discarded_total{reason="cancel"}') == 0


def test_parameters_that_are_reported_are_kept_apart(single):
    tokyo, paris, plain = (psycopg.connect(single.dsn, autocommit=True) for _ in range(3))
    tokyo.execute("set timezone = 'Asia/Tokyo'")
    paris.execute("set timezone = 'Europe/Paris'")
    paris.execute("set datestyle = 'German'")
    paris.execute(r"select set_config('application_name', 'o''clock \ e', false)")
    default = plain.info.parameter_status("TimeZone")
    for _ in range(3):
        for connection, zone in ((tokyo, "Asia/Tokyo"), (paris, "Europe/Paris"), (plain, default)):
            assert connection.execute("show timezone").fetchone() == (zone,)
            assert connection.info.parameter_status("TimeZone") == zone
        assert paris.execute("show datestyle").fetchone()[0].startswith("German")
        assert paris.execute("show application_name").fetchone() == (r"o'clock \ e",)
        assert plain.execute("show application_name").fetchone() == ("",)
    # One that has set nothing hears of nothing.
    with psycopg.connect(single.dsn, autocommit=True) as connection:
        assert connection.info.parameter_status("TimeZone") == connection.execute("show timezone").fetchone()[0]


def test_a_reset_after_each_transaction_if_asked_for(pooled, single):
    cleaned = pooled.database(pooled.home, "cleaned")
    for database, kept in ((single, "4711ms"), (cleaned, "0")):
        client, other = Raw(database), Raw(database)
        client.send(parse(b"s", b"select 11"), SYNC)
        client.read()
        client.ask(b"set statement_timeout = 4711")
        # What is not reported stays with the connection, unless it is reset.
        assert other.value(b"show statement_timeout") == kept
        client.send(bind(b"s"), execute(), SYNC)
        assert rows(client.read()) == ["11"]
        client.ask(b"reset all")


def test_notifications_reach_nobody(pooled, single):
    client, other = Raw(single), Raw(single)
    client.ask(b"listen gossip")
    assert kinds(other.ask(b"notify gossip")) == b"CZ"
    assert kinds(client.ask(b"unlisten *")) == b"CZ"


def test_a_backend_that_dies(pooled, shared):
    idle, busy = Raw(shared), Raw(shared)
    pid = idle.pid()
    with pooled.admin() as admin:
        admin.execute("select pg_terminate_backend(%s)", [pid])
        wait_until(lambda: pid not in pooled.pids(), "its end")
        # A client without a transaction notices nothing.
        assert idle.pid() != pid
        busy.ask(b"begin")
        admin.execute("select pg_terminate_backend(%s)", [busy.pid()])
        assert state(busy.read(b"E")) == "57P01"
    assert idle.pid()


def test_a_database_that_is_away(pooled, cluster, single):
    assert pid_of(single)
    with pooled.admin() as admin:
        client = Raw(single)
        admin.execute(f"alter role \"IAMR:{USER}\" nologin")
        try:
            admin.execute("select pg_terminate_backend(%s)", [client.pid()])
            time.sleep(0.3)
            client.send(message(b"Q", b"select 1\0"))
            assert b"not permitted to log in" in client.read(b"E")[-1][1]
            with pytest.raises(psycopg.OperationalError, match="not permitted to log in"):
                psycopg.connect(single.dsn)
        finally:
            admin.execute(f"alter role \"IAMR:{USER}\" login")
    assert pid_of(single)


def test_a_new_connection_long_after_the_login_has_a_new_password(pooled):
    pooled.control("lifetimes", {"password": 10})
    try:
        pooled.stop_teleport()
        pooled.start_teleport()
        single = pooled.database(pooled.home, "single")
        client = Raw(single)
        first = client.pid()
        wait_until(lambda: first not in pooled.pids(), "the connection's end with its credentials", seconds=20)
        assert client.pid() != first
        assert pooled.metric('sallyport_pool_servers_discarded_total{reason="credentials"}') >= 1
    finally:
        pooled.control("lifetimes", {})


def test_pools_of_one_database_share_its_bound(pooled):
    narrow = pooled.database(pooled.home, "narrow")
    holders = [psycopg.connect(narrow.dsn, application_name=name) for name in ("a", "b")]
    for holder in holders:
        holder.execute("select 1")
    with concurrent.futures.ThreadPoolExecutor() as pool:
        third = pool.submit(pid_of, narrow, application_name="c")
        time.sleep(0.5)
        assert not third.done() and len(pooled.pids()) == 2
        # What nobody uses makes room.
        holders[0].commit()
        assert third.result(20)
    holders[1].commit()
    assert len(pooled.pids()) <= 2
    assert pooled.metric('sallyport_pool_servers_discarded_total{reason="surplus"}') == 1


def test_a_check_before_the_next_use(pooled):
    checked = pooled.database(pooled.home, "checked")
    client = Raw(checked)
    first = client.pid()
    for _ in range(3):
        assert client.pid() == first
    assert pooled.metric("sallyport_pool_servers_reused_total") >= 3


def test_sessions_are_on_record_with_what_they_ask(pooled, shared):
    before = len(pooled.audit())
    with psycopg.connect(shared.dsn, autocommit=True) as connection:
        for _ in range(3):
            connection.execute("select 'on record'")

    def records(kind):
        return [record for record in pooled.audit()[before:] if record["event"] == kind]

    wait_until(lambda: len(records("db.session.end")) == 1, "the record")
    [start] = [record for record in records("db.session.start") if record.get("success")]
    assert start["db_user"] == USER and start["user"] == "alice"


def test_draining(pooled, shared):
    idle, busy = Raw(shared), Raw(shared)
    idle.pid()
    busy.ask(b"begin")
    busy.send(message(b"Q", b"select pg_sleep(0.5)\0"))
    time.sleep(0.1)
    stopping = threading.Thread(target=pooled.stop_teleport)
    stopping.start()
    assert kinds(busy.read()) == b"TDCZ"
    stopping.join(20)
    wait_until(lambda: not pooled.pids(), "all connections")


def test_answers_of_our_own_do_not_pile_up_behind_a_slow_query(pooled, single):
    client = Raw(single)
    client.send(parse(b"known", b"select 1"), SYNC)
    client.read()
    # Neither of the two is anything to the database: only the answers owed can hold the client up.
    pair, count = parse(b"other", b"select 1") + close(b"other"), 15_000
    client.send(parse(b"", b"select pg_sleep(4)"), bind(b""), execute(), FLUSH)
    sender = threading.Thread(target=client.send, args=[pair * count, SYNC])
    before = pooled.metric(RECEIVED)
    sender.start()
    taken = []
    wait_until(
        lambda: taken.append(pooled.metric(RECEIVED) - before) or len(taken) > 3 and taken[-1] == taken[-4] > 0,
        "the client to be held up", seconds=4)
    assert taken[-1] < len(pair) * count / 2
    assert kinds(client.read()) == b"12DC" + b"13" * count + b"Z"
    sender.join(10)
    assert client.value(b"select 5") == "5"


def test_a_client_that_does_not_read_gets_no_further(pooled, single):
    client = Raw(single)
    ask = message(b"Q", b"select repeat('x', 100000)\0")
    client.socket.settimeout(2)
    sent = 0
    try:
        for _ in range(5000):
            client.socket.sendall(ask * 10)
            sent += 10
    except (TimeoutError, OSError):
        pass
    # The server has not taken in what it cannot get rid of.
    memory = int(next(
        line.split()[1] for line in open(f"/proc/{pooled.teleport.pid}/status") if line.startswith("VmRSS")))
    assert memory < 400_000
    assert sent > 0
    client.socket.close()
    assert pid_of(single)
