"""Parts that stop, read their configuration again or change their certificates, under load: no transaction fails of clients
that connect again when a session ends between two of theirs."""

import contextlib
import re
import signal
import threading
import time

import psycopg
import pytest

from conftest import free_port, wait_until
from survived.ledger import Bench, Ledger
from test_cluster import CONNECTED, Host

# Of those that stop: sessions that never pause are told in the last quarter.
LIMIT = 6


def through(database, *ports):
    """The database through the first of these proxies that answers, as libpq's lists of hosts do."""
    hosts, numbers = ",".join("localhost" for _ in ports), ",".join(map(str, ports))
    return re.sub(r"host='\S+'", f"host='{hosts}'", re.sub(r"port='\d+'", f"port='{numbers}'", database.dsn))


@contextlib.contextmanager
def leaving_proxy(apart):
    port = free_port()
    host = apart.make_proxy("proxy-leaving", port, shutdown=f"{LIMIT}s")

    def start():
        before = apart.agents[0].connects()
        host.start(port)
        wait_until(lambda: apart.agents[0].connects() > before, "the agent at the proxy", 40)

    yield host, [port, apart.port], start
    host.stop(signal.SIGKILL)


@contextlib.contextmanager
def leaving_agent(apart):
    host = Host(apart, "agent-leaving", apart.agent_config("agent-leaving", apart.token, shutdown=f"{LIMIT}s"))

    def start():
        host.start()
        wait_until(lambda: host.says(CONNECTED), "the agent at the proxy")

    yield host, [apart.port], start
    host.stop(signal.SIGKILL)


class LongTransaction(threading.Thread):
    """One that is under way when the drain begins, and takes half of its limit."""

    def __init__(self, dsn):
        super().__init__(daemon=True)
        self.connection, self.outcome = psycopg.connect(dsn), None
        self.connection.execute("create temporary table long (number int)")
        self.connection.commit()
        self.connection.execute("insert into long values (1)")

    def run(self):
        try:
            self.connection.execute("select pg_sleep(%s)", [LIMIT / 2])
            self.connection.execute("insert into long values (2)")
            count = self.connection.execute("select count(*) from long").fetchone()[0]
            self.connection.commit()
            self.outcome = count
        except psycopg.OperationalError as error:
            self.outcome = error
        self.connection.close()


@pytest.mark.parametrize("leaving", [leaving_proxy, leaving_agent], ids=["proxy", "agent"])
def test_a_part_that_drains_under_load_fails_no_transaction(apart, database, leaving, record_property):
    with leaving(apart) as (host, ports, start):
        start()
        dsn = through(database, *ports)
        with Ledger(apart, dsn) as ledger:
            time.sleep(0.5)
            # As many as it takes for one to go through what leaves.
            long = [LongTransaction(dsn) for _ in range(4)]
            for each in long:
                each.start()
            begun = time.monotonic()
            host.process.send_signal(signal.SIGTERM)
            wait_until(lambda: host.says("drained left=0"), "the drain's end", LIMIT + 3)
            took = time.monotonic() - begun
            # An agent hands over the rest of its audit records.
            assert host.process.wait(timeout=10) == 0
            ledger.wait_for_everyone()
            for each in long:
                each.join(LIMIT)
        rows = ledger.check()
    assert [each.outcome for each in long] == [2] * len(long), "a transaction under way is let finish"
    assert took > LIMIT / 2
    told = ledger.broken.pop("between")
    assert 0 < told <= len(ledger.committed) and ledger.broken == {"connect": 0, "within": 0, "commit": 0}, ledger.texts
    # libpq hands the error to nobody if it reads it in one go with the answer to a commit: then the next request finds the end.
    assert all(re.search("shutting down|connection has been closed", text) for text in ledger.texts), ledger.texts
    record_property("survived", (
        f"SIGTERM under load, {host.name.split('-')[0]}: {rows} rows of {len(ledger.committed)} clients, 0 transactions failed; "
        f"{told} sessions ended between two transactions, drained in {took:.1f} s of {LIMIT}"))


def test_reloads_under_load_are_not_noticed(apart, database, record_property):
    hosts, count = [apart.auth, apart.proxy, apart.agents[0]], 10
    reloads = {host: host.log.read_text().count("configuration reloaded") for host in hosts}
    with Ledger(apart, database.dsn) as ledger, Bench(apart, database) as bench:
        for number in range(count):
            for host in hosts:
                host.process.send_signal(signal.SIGHUP)
            for host in hosts:
                wait_until(
                    lambda: host.log.read_text().count("configuration reloaded") == reloads[host] + number + 1, "the reload")
            # And new sessions.
            psycopg.connect(database.dsn).close()
        ledger.wait_for_everyone()
    rows, benched = ledger.check(), bench.check()
    assert not any(ledger.broken.values()) and bench.aborted == 0, ledger.texts
    record_property("survived", (
        f"{count} x SIGHUP of auth, proxy and agent under load: {rows} rows of {len(ledger.committed)} clients and {benched} of "
        "pgbench, 0 transactions failed, 0 connections broken"))


def test_host_certificates_are_renewed_under_load(apart, database, record_property):
    """Certificates of 20 s are renewed at half of their life. Those of before have run out at the end."""
    hosts, opened, failures, over = [apart.proxy, apart.agents[0]], 0, [], threading.Event()
    renewed = {host: host.log.read_text().count("host certificate renewed") for host in hosts}

    def renewals(host):
        return host.log.read_text().count("host certificate renewed") - renewed[host]

    def connect():
        nonlocal opened
        while not over.is_set():
            try:
                with psycopg.connect(database.dsn, connect_timeout=10) as connection:
                    connection.execute("select 1")
                opened += 1
            except psycopg.OperationalError as error:
                failures.append(str(error))

    connecting = threading.Thread(target=connect)
    with Ledger(apart, database.dsn) as ledger, psycopg.connect(database.dsn, autocommit=True) as session:
        connecting.start()
        try:
            wait_until(lambda: all(renewals(host) >= 2 for host in hosts), "two renewals", 60)
            time.sleep(1)
            ledger.wait_for_everyone()
            assert session.execute("select 42").fetchone() == (42,)
        finally:
            over.set()
            connecting.join()
    rows = ledger.check()
    assert failures == [] and opened > 20 and not any(ledger.broken.values()), (failures, ledger.texts)
    record_property("survived", (
        f"{sum(map(renewals, hosts))} renewals of hosts' certificates under load: {rows} rows of {len(ledger.committed)} clients, "
        f"{opened} new sessions, 0 failed"))
