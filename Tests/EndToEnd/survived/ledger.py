"""Clients under whom parts die: each knows what the database must have in the end, neither more nor less."""

import os
import re
import subprocess
import threading
import time

import psycopg

from conftest import wait_until

# Acknowledged means written: a database that is killed may lose nothing of it.
DURABLE = "-c synchronous_commit=on"


class Ledger:
    """Clients that write a row a transaction, and try the same one again whenever their connection breaks.

    A row has a key, so that one that is tried again after its answer was lost is in the table once; a second row of a
    transaction, which must be there as often, tells whether some was done by half.
    """

    def __init__(self, cluster, dsn, clients=8, pause=0.0):
        self.cluster, self.dsn, self.pause = cluster, f"{dsn} options='{DURABLE}' connect_timeout=5", pause
        with cluster.admin() as admin:
            admin.execute("drop table if exists ledger, ledger_sum")
            admin.execute("create table ledger (client int, number int, primary key (client, number))")
            admin.execute("create table ledger_sum (client int primary key, total int not null)")
            admin.execute("insert into ledger_sum select generate_series(0, %s), 0", [clients - 1])
            admin.execute("grant all on ledger, ledger_sum to public")
        self.over, self.is_given_up = threading.Event(), False
        # By client: rows that the database must have, and when the last was acknowledged.
        self.committed, self.last = [0] * clients, [0.0] * clients
        # How often a connection broke, by where its client was: connecting, between transactions, within one, committing.
        self.broken = {"connect": 0, "between": 0, "within": 0, "commit": 0}
        self.texts, self.doubled, self.failures = set(), [], []
        self.lock = threading.Lock()
        self.threads = [threading.Thread(target=self.run, args=[client], daemon=True) for client in range(clients)]

    def __enter__(self):
        for thread in self.threads:
            thread.start()
        self.wait_for_everyone()
        return self

    def __exit__(self, kind, *_):
        self.is_given_up = kind is not None
        self.over.set()
        for thread in self.threads:
            thread.join(40)
        assert kind or not any(thread.is_alive() for thread in self.threads), "a client has not come to its end"

    def run(self, client):
        try:
            self.write(client)
        except Exception as error:  # noqa: BLE001 - told by `check`
            self.failures.append(f"client {client}: {error!r}")

    def write(self, client):
        connection, is_uncertain = None, False
        while not self.over.is_set() or is_uncertain and not self.is_given_up:
            stage = "connect"
            try:
                if connection is None:
                    connection = psycopg.connect(self.dsn, autocommit=True)
                stage, number = "between", self.committed[client]
                connection.execute("begin")
                stage = "within"
                connection.execute("insert into ledger values (%s, %s)", [client, number])
                connection.execute("update ledger_sum set total = total + 1 where client = %s", [client])
                stage = "commit"
                connection.execute("commit")
            except psycopg.errors.UniqueViolation:
                # The one whose answer was lost was done.
                if not is_uncertain:
                    self.doubled.append((client, number))
                connection.execute("rollback")
            except psycopg.OperationalError as error:
                with self.lock:
                    self.broken[stage] += 1
                    self.texts.add(" ".join(str(error).split()))
                is_uncertain = is_uncertain or stage == "commit"
                if connection:
                    connection.close()
                connection = None
                time.sleep(0.02)
                continue
            is_uncertain = False
            self.committed[client] += 1
            self.last[client] = time.monotonic()
            if self.pause:
                time.sleep(self.pause)
        if connection:
            connection.close()

    def wait_for_everyone(self, seconds=30):
        """Until every client has had an answer that came from now on; gives the seconds that took."""
        begun = time.monotonic()
        wait_until(
            lambda: self.failures or all(last > begun for last in self.last), f"all clients: {self.texts}", seconds)
        assert self.failures == []
        return max(self.last) - begun

    def check(self):
        """The clients are done: what they saw is what there is. Gives the count of rows."""
        assert self.over.is_set() and self.failures == [] and self.doubled == []
        with self.cluster.admin() as admin:
            rows = admin.execute("select client, number from ledger").fetchall()
            totals = dict(admin.execute("select client, total from ledger_sum").fetchall())
        expected = {(client, number) for client, count in enumerate(self.committed) for number in range(count)}
        assert len(rows) == len(expected) and set(rows) == expected
        assert totals == dict(enumerate(self.committed))
        return len(rows)


class Bench:
    """pgbench, again and again: every insert that it counts is there, and of others at most those it was waiting for."""

    CLIENTS = 4

    def __init__(self, cluster, database):
        self.cluster = cluster
        self.environment = dict(os.environ, **database.environment, PGOPTIONS=DURABLE)
        with cluster.admin() as admin:
            admin.execute("drop table if exists bench")
            admin.execute("create table bench (number int)")
            admin.execute("grant all on bench to public")
        self.counted, self.runs, self.aborted, self.over = 0, 0, 0, threading.Event()
        self.thread = threading.Thread(target=self.run, daemon=True)

    def __enter__(self):
        self.thread.start()
        return self

    def __exit__(self, *_):
        self.over.set()
        self.thread.join(30)

    def run(self):
        while not self.over.is_set():
            result = subprocess.run(
                ["pgbench", "-n", "-f", "-", "-c", str(self.CLIENTS), "-T", "2"], input="insert into bench values (1);",
                env=self.environment, capture_output=True, text=True)
            self.runs += 1
            processed = re.search(r"actually processed: (\d+)", result.stdout)
            self.counted += int(processed.group(1)) if processed else 0
            if result.returncode != 0:
                self.aborted += 1
                time.sleep(0.1)

    def check(self):
        """Gives the count of rows."""
        assert not self.thread.is_alive()
        with self.cluster.admin() as admin:
            rows = admin.execute("select count(*) from bench").fetchone()[0]
        assert self.counted <= rows <= self.counted + self.CLIENTS * self.aborted, (self.counted, rows, self.aborted)
        assert self.counted > 0
        return rows
