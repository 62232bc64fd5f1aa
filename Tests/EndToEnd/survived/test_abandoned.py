"""A session ends while its query runs: the query ends with it, whoever or whatever ended the session."""

import re
import signal
import socket
import struct
import time

import psycopg
import pytest

from conftest import wait_until
from test_cluster import works


def reset(apart, session):
    """As a client's kernel does when its process crashes with unread data, or a firewall that has forgotten a connection."""
    raw = socket.socket(fileno=session.fileno())
    raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    raw.close()


def lock(apart, session):
    output = apart.run("tctl", "lock", "--user=alice", "--ttl=1h")
    name = re.search(r'name "(\S+)"', output).group(1)
    return lambda: apart.run("tctl", "rm", f"lock/{name}")


def stop(host, start):
    """Tells a part to stop, whose limit is a second."""
    host.process.send_signal(signal.SIGTERM)

    def mend():
        host.process.wait(20)
        start()

    return mend


def stop_agent(apart, session):
    return stop(apart.agents[0], apart.agents[0].restart)


def stop_proxy(apart, session):
    return stop(apart.proxy, lambda: apart.proxy.start(apart.port))


@pytest.mark.parametrize("end", [reset, lock, stop_agent, stop_proxy])
def test_a_query_ends_with_its_session(apart, database, end, record_property):
    with apart.admin() as admin:
        admin.execute("drop table if exists late")
        admin.execute("create table late (number int)")
        admin.execute("grant all on late to public")

        def running():
            return admin.execute("select count(*) from pg_stat_activity where query like '%into late%' and state = 'active' "
                                 "and pid <> pg_backend_pid()").fetchone()[0]

        session = psycopg.connect(database.dsn, autocommit=True)
        session.pgconn.send_query(b"insert into late select 1 from pg_sleep(20)")
        wait_until(lambda: running() == 1, "the query")
        begun = time.monotonic()
        mend = end(apart, session)
        try:
            wait_until(lambda: running() == 0, "the query's end", 10)
            took = time.monotonic() - begun
        finally:
            if mend:
                mend()
        # It has not come to its own end instead.
        assert took < 10
        assert admin.execute("select count(*) from late").fetchone() == (0,)
    wait_until(lambda: works(database), "new sessions")
    record_property("survived", f"{end.__name__.replace('_', ' ')} in mid query: cancelled in the database after {took:.1f} s")
