"""What Sallyport sets out to reach, each target computed from a run's results."""

import dataclasses
from collections.abc import Callable

#: Both back ends are judged.
JUDGED = {"epoll": "epoll1", "uring": "uring1"}
#: The same with connections reused.
REUSING = {"epoll": "reuse", "uring": "reuse_uring"}


@dataclasses.dataclass(frozen=True)
class Target:
    row: str
    goal: str
    limit: float
    #: Whether more than the limit is better than less.
    at_least: bool
    #: Gives the figure of a peer from results, or `None` if something of it has not been measured.
    figure: Callable
    unit: str = "×"

    def is_met(self, value):
        return value >= self.limit if self.at_least else value <= self.limit


def ratio(measure, other, other_measure=None):
    def figure(results, peer):
        mine, theirs = results.median(measure, peer), results.median(other_measure or measure, other)
        return mine / theirs if mine is not None and theirs else None
    return figure


def at_most(row, measure, limit, other, name):
    return Target(row, f"≤ {limit} × {name}", limit, False, ratio(measure, other))


def at_least(row, measure, limit, other, name):
    return Target(row, f"≥ {limit} × {name}", limit, True, ratio(measure, other))


def count(kind):
    """Of our own code on the threads that relay; those of OpenSSL are told in the table of counts."""
    def figure(results, peer):
        return results.median(f"allocations.{kind} of program on relay", JUDGED[peer])
    return figure


def beside_many(results, peer):
    few, many = results.median("beside_50.cpu", peer), results.median("beside_5000.cpu", peer)
    return many / few if few and many else None


def reuse(results, peer):
    return ratio("connect.rate", "pgbouncer")(results, REUSING[peer])


TARGETS = [
    at_most("CPU a transaction, 16 clients prepared", "prepared.cpu", 0.75, "pgbouncer", "PgBouncer"),
    at_most("CPU a transaction, 16 clients prepared", "prepared.cpu", 0.95, "floor", "C floor"),
    at_most("CPU a transaction, 64 clients simple", "simple.cpu", 0.75, "pgbouncer", "PgBouncer"),
    at_most("CPU a transaction, 64 clients simple", "simple.cpu", 0.95, "floor", "C floor"),
    at_least("transactions/s, 16 clients prepared", "prepared.rate", 1.4, "pgbouncer", "PgBouncer"),
    at_least("transactions/s, 64 clients simple", "simple.rate", 1.4, "pgbouncer", "PgBouncer"),
    at_most("mean latency, 1 client", "single.mean", 0.95, "pgbouncer", "PgBouncer"),
    at_most("p99 at half of PgBouncer's peak", "paced.p99", 0.8, "pgbouncer", "PgBouncer"),
    at_least("COPY out, GB/s", "copy_out.speed", 1.2, "pgbouncer", "PgBouncer"),
    at_least("COPY in, GB/s", "copy_in.speed", 1.2, "pgbouncer", "PgBouncer"),
    at_most("COPY out, CPU s/GB", "copy_out.cpu", 1.15, "floor", "C floor"),
    at_most("COPY in, CPU s/GB", "copy_in.cpu", 1.15, "floor", "C floor"),
    Target("connects/s, server connections reused", "≥ 1.2 × PgBouncer", 1.2, True, reuse),
    at_least("connects/s, no reuse", "connect.rate", 0.9, "direct", "direct"),
    at_most("CPU a connect, no reuse", "connect.cpu", 0.8, "floor", "C floor"),
    at_most("memory of an idle session at 10,000", "idle_10000.memory", 0.6, "pgbouncer", "PgBouncer"),
    Target("allocations a relayed transaction, our own", "0", 0.01, False, count("allocations"), ""),
    Target("locks a relayed transaction, our own", "0", 0.01, False, count("locks"), ""),
    Target("CPU a transaction beside 5,000 sessions", "≤ 1.15 × beside 50", 1.15, False, beside_many),
]
