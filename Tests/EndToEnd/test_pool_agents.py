"""Pools of agents: the clients come through tunnels, the server connections stay with the agent."""

import concurrent.futures
import signal
import time

import psycopg
import pytest

from conftest import DATABASE, HOST, open_directory, wait_until
from pooled_cluster import pid_of
from test_cluster import Apart, running


class PooledApart(Apart):
    host_ttl = "1h"

    def agent_config(self, name, token, **options):
        text = super().agent_config(name, token, **options).replace("teleport:\n", "teleport:\n  reactors: 1\n", 1)
        for mode in ("session", "transaction"):
            entry = DATABASE.format(name=mode, port=self.pg_port, ca=self.pg / "ca.pem", host=HOST)
            text += f"\n{entry}    pool: {{mode: {mode}, pool_size: 3}}"
        return text + "\n"

    def pids(self):
        with self.admin() as admin:
            return {row[0] for row in admin.execute(
                "select pid from pg_stat_activity where client_addr is not null").fetchall()}


@pytest.fixture(scope="module")
def apart(tmp_path_factory):
    with running(PooledApart(open_directory(tmp_path_factory, "pooled-apart"))) as cluster:
        yield cluster


@pytest.fixture(scope="module")
def database(apart):
    return apart.database(apart.home, "session")


def test_clients_through_a_tunnel_share_a_connection(apart, database):
    pids = [pid_of(database) for _ in range(10)]
    assert len(set(pids)) <= 2
    assert apart.pids() <= set(pids)
    with psycopg.connect(database.dsn, autocommit=True) as connection:
        connection.execute("create temporary table own (n int)")
        connection.execute("set timezone = 'Asia/Kathmandu'")
    for _ in range(3):
        with psycopg.connect(database.dsn, autocommit=True) as connection:
            assert connection.execute("select to_regclass('pg_temp.own')").fetchone() == (None,)
            assert connection.info.parameter_status("TimeZone") == connection.execute("show timezone").fetchone()[0]
            assert connection.info.parameter_status("TimeZone") != "Asia/Kathmandu"


def test_a_cancel_through_the_tunnel_hits_its_own_query_only(apart, database):
    def cancelled():
        for _ in range(5):
            with psycopg.connect(database.dsn, autocommit=True) as connection:
                connection.pgconn.send_query(b"select pg_sleep(0.2)")
                connection.pgconn.flush()
                connection.cancel_safe()
                while connection.pgconn.get_result():
                    pass

    def work():
        for _ in range(15):
            with psycopg.connect(database.dsn, autocommit=True) as connection:
                connection.execute("select pg_sleep(0.05)")

    with concurrent.futures.ThreadPoolExecutor() as pool:
        for task in [pool.submit(cancelled), pool.submit(work), pool.submit(work)]:
            task.result()


def test_an_agent_that_leaves_takes_its_connections_along(apart, database):
    pid_of(database)
    wait_until(lambda: apart.pids(), "a kept connection")
    agent = apart.agents[0]
    agent.stop(signal.SIGTERM)
    wait_until(lambda: not apart.pids(), "its end")
    agent.restart()
    assert pid_of(database)


def test_transactions_through_a_tunnel(apart):
    shared = apart.database(apart.home, "transaction")

    def work(number):
        with psycopg.connect(shared.dsn, prepare_threshold=0) as connection:
            for turn in range(10):
                with connection.transaction():
                    pids = {connection.execute("select pg_backend_pid()").fetchone()[0] for _ in range(3)}
                    assert len(pids) == 1
                    assert connection.execute("select %s::int", [number * turn]).fetchone() == (number * turn,)

    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        for task in [pool.submit(work, number) for number in range(8)]:
            task.result()
    assert len(apart.pids()) <= 3 + 3
    with psycopg.connect(shared.dsn, autocommit=True) as connection:
        connection.pgconn.send_query(b"select pg_sleep(30)")
        connection.pgconn.flush()
        time.sleep(0.3)
        connection.cancel_safe()
        result = connection.pgconn.get_result()
        assert result.error_field(psycopg.pq.DiagnosticField.SQLSTATE) == b"57014"
        while connection.pgconn.get_result():
            pass
        assert connection.execute("select 1").fetchone() == (1,)
