"""What a relayed transaction costs in counts, which do not depend on the machine's mood: system calls, allocations, locks,
instructions.

Every count is a difference: the same load is run twice, once with three times as many transactions, so that what logging in
costs falls out. A transaction is `select 1` as a simple query before the scripted database: one message of the client, one
batch of messages of the database."""

import collections
import contextlib
import pathlib
import re
import signal
import struct
import subprocess
import tempfile
import time

import callgrind
from programs import PROGRAMS
from rows import run

#: Transactions of the shorter load.
SHORT = 400
#: As in perf/counting/counting.c.
KINDS, ORIGINS = ("allocations", "frees", "locks"), ("openssl", "program")
SLOT = struct.Struct(f"<Q{len(KINDS) * len(ORIGINS)}Q")


def load(peer, transactions, clients=1):
    run(["pgbench", "-n", "-f", "-", "-t", str(transactions // clients), "-c", str(clients)], peer, "select 1")


def difference(measure, short=SHORT):
    """`measure(transactions)` gives counts by name; gives them for one transaction."""
    few, many = measure(short), measure(3 * short)
    return {name: max(0.0, (many.get(name, 0) - few.get(name, 0)) / (2 * short)) for name in sorted({*few, *many})}


@contextlib.contextmanager
def running(peer, stage, upstream=None, **options):
    peer.start(upstream or stage.scripted, **options)
    try:
        # Pools fill before anything counts, and what the program still does after its start belongs to no transaction.
        load(peer, SHORT)
        time.sleep(1)
        yield
    finally:
        peer.stop()


# System calls

def system_calls(stage, peer, clients):
    """By name, of all threads."""
    with running(peer, stage):
        return difference(lambda transactions: traced(peer, transactions, clients), SHORT * clients)


def traced(peer, transactions, clients):
    with tempfile.NamedTemporaryFile("r") as table:
        command = ["strace", "-f", "-c", "-o", table.name, *(part for pid in peer.pids for part in ("-p", str(pid)))]
        tracer = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
        try:
            line = tracer.stderr.readline()
            if "attached" not in line:
                raise RuntimeError(f"strace cannot attach: {line}")
            load(peer, transactions, clients)
        finally:
            tracer.send_signal(signal.SIGINT)
            tracer.communicate()
        rows = [line.split() for line in table.read().splitlines()]
    return {row[-1]: int(row[3]) for row in rows if len(row) >= 5 and row[3].isdigit() and row[-1] != "total"}


# Allocations and locks

def allocations(stage, peer):
    """`KIND of ORIGIN on PLACE`: PLACE is `relay`, the threads of Sallyport's reactors and all of another program, or
    `beside`, Sallyport's other threads."""
    with tempfile.TemporaryDirectory() as folder:
        pathlib.Path(folder).chmod(0o777)
        page = pathlib.Path(folder) / "page"
        page.touch()
        page.chmod(0o666)
        with running(peer, stage, environment={"LD_PRELOAD": str(PROGRAMS / "counting.so"), "COUNTING_PAGE": str(page)}):
            return difference(lambda transactions: counted(peer, page, transactions))


def counted(peer, page, transactions):
    before = counts(page)
    load(peer, transactions)
    reactors = reactor_threads(peer)
    result = {}
    for thread, after in counts(page).items():
        place = "relay" if reactors is None or thread in reactors else "beside"
        earlier = before.get(thread, [0] * len(after))
        names = [f"{kind} of {origin} on {place}" for kind in KINDS for origin in ORIGINS]
        for name, value, old in zip(names, after, earlier):
            result[name] = result.get(name, 0) + value - old
    return result


def counts(page):
    slots = SLOT.iter_unpack(page.read_bytes())
    return {thread: list(values) for thread, *values in slots if thread}


def reactor_threads(peer):
    """`None` for a program whose threads all relay."""
    found = set()
    for pid in peer.pids:
        for task in pathlib.Path(f"/proc/{pid}/task").iterdir():
            # Threads of the Dispatch pool come and go.
            with contextlib.suppress(FileNotFoundError, ProcessLookupError):
                if (task / "comm").read_text().startswith("reactor-"):
                    found.add(int(task.name))
    return found or None


# Instructions

def instructions(stage, peer):
    """In user space: of `all` threads, of those that `relay`, and the latter's by part."""
    with profiled(stage, peer) as profile:
        return difference(lambda transactions: (load(peer, transactions), summary(profile()))[1])


def functions(stage, peer, transactions=SHORT):
    """Instructions of the relaying thread by function and file, logging in included."""
    with profiled(stage, peer) as profile:
        load(peer, transactions)
        costs = sum((thread.by_function() for thread in profile() if thread.relays), collections.Counter())
    return {name: cost / transactions for name, cost in costs.most_common()}


@contextlib.contextmanager
def profiled(stage, peer, upstream=None):
    """Gives a function that tells what each thread has executed since its last call."""
    with tempfile.TemporaryDirectory() as folder:
        pathlib.Path(folder).chmod(0o777)
        valgrind = [
            "valgrind", "-q", "--tool=callgrind", "--separate-threads=yes", f"--callgrind-out-file={folder}/out"]

        def profile():
            [pid] = peer.pids
            # Its pipe is open to the process's own user alone.
            subprocess.run([*peer.as_user(), "vgdb", f"--pid={pid}", "dump"], check=True, capture_output=True, timeout=60)
            dumps = list(pathlib.Path(folder).glob("out.*"))
            threads = [callgrind.Thread(dump) for dump in dumps]
            for dump in dumps:
                dump.unlink()
            return threads

        with running(peer, stage, upstream, prefix=valgrind):
            profile()
            yield profile


def summary(threads):
    relaying = [thread for thread in threads if thread.relays]
    parts = sum((thread.by_part() for thread in relaying), collections.Counter())
    return {
        "all": sum(thread.total for thread in threads), "relay": sum(thread.total for thread in relaying),
        **{f"relay, {part}": cost for part, cost in parts.items()}}
