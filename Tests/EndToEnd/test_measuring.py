"""What `make bench` measures with: the programs in perf/ against a real PostgreSQL, and what reads their output."""

import contextlib
import hashlib
import json
import os
import random
import struct
import subprocess
import sys
import xml.etree.ElementTree

import pytest

from conftest import ROOT, free_port, port_is_open, wait_until

sys.path.insert(0, str(ROOT / "Benchmarks"))
import callgrind  # noqa: E402
import plots  # noqa: E402
import programs  # noqa: E402
from programs import PROGRAMS, Crowd  # noqa: E402
from report import Report  # noqa: E402
from results import Results, percentile  # noqa: E402


@pytest.fixture(scope="module", autouse=True)
def built():
    programs.build()


@contextlib.contextmanager
def running(*command, port):
    process = subprocess.Popen(list(map(str, command)))
    try:
        wait_until(lambda: port_is_open(port), command[0])
        yield process
        assert process.poll() is None
    finally:
        process.kill()
        process.wait()


@contextlib.contextmanager
def floor(cluster, manner, database_port):
    port = free_port()
    certificate, key, ca = (cluster.pg / name for name in ("server.crt", "server.key", "ca.pem"))
    with running(PROGRAMS / "floor", manner, port, database_port, certificate, key, ca, port=port):
        yield port


@pytest.fixture(scope="module")
def backend(cluster):
    port = free_port()
    command = (PROGRAMS / "backend", port, cluster.pg / "server.crt", cluster.pg / "server.key")
    with running(*command, port=port) as process:
        yield port, process.pid


def libpq(cluster, port, password="x"):
    return {
        **os.environ, "PGHOST": "localhost", "PGPORT": str(port), "PGUSER": "measurer", "PGPASSWORD": password,
        "PGDATABASE": "dev", "PGSSLMODE": "verify-full", "PGSSLROOTCERT": str(cluster.pg / "ca.pem"), "PGGSSENCMODE": "disable"}


def psql(environment, *commands, data=None):
    arguments = [part for command in commands for part in ("-c", command)]
    return subprocess.run(["psql", "-XqAt", *arguments], env=environment, input=data, capture_output=True, check=True).stdout


@pytest.mark.parametrize("manner", ["naive", "lean"])
def test_the_floor_relays_every_byte(cluster, manner):
    with cluster.admin() as admin:
        admin.execute("drop role if exists measurer")
        admin.execute("create role measurer login password 'measured'")
    lines = b"".join(b"%d %s\n" % (number, random.randbytes(300).hex().encode()) for number in range(40_000))
    with floor(cluster, manner, cluster.pg_port) as port:
        environment = libpq(cluster, port, "measured")
        # Channel binding holds, for the floor shows the database's own certificate.
        environment["PGCHANNELBINDING"] = "require"
        back = psql(environment, "create temporary table t (line text)", "copy t from stdin", "copy t to stdout", data=lines)
    assert hashlib.sha256(back).digest() == hashlib.sha256(lines).digest()


def test_the_scripted_database_knows_what_pgbench_and_copy_say(cluster, backend):
    port, _ = backend
    environment = libpq(cluster, port)
    assert psql(environment, "select 1", "discard all") == b"1\n"
    assert len(psql(environment, "copy 3 to stdout")) == 3 * 1024 * 1019
    psql(environment, "copy x from stdin", data=b"line\n" * 100_000)
    for mode in ("simple", "extended", "prepared"):
        output = subprocess.run(
            ["pgbench", "-n", "-f", "-", "-M", mode, "-c", "4", "-t", "50"], env=environment, input="select 1",
            capture_output=True, text=True, check=True).stdout
        assert "actually processed: 200/200" in output and "failed transactions: 0" in output


def test_a_crowd_stands_in_the_database_until_its_end(cluster, backend):
    port, pid = backend
    with floor(cluster, "lean", port) as front:
        before = len(os.listdir(f"/proc/{pid}/fd"))
        with Crowd(front, "measurer", "dev") as crowd:
            for number in (10, 200):
                crowd.grow(number)
                assert len(os.listdir(f"/proc/{pid}/fd")) == before + number
        assert crowd.process.returncode == 0
        wait_until(lambda: len(os.listdir(f"/proc/{pid}/fd")) == before, "the sessions to end")


def test_a_crowd_says_why_it_was_refused(cluster):
    result = subprocess.run(
        [PROGRAMS / "crowd", str(cluster.pg_port), "measurer", "dev"], input="1\n", capture_output=True, text=True, timeout=30)
    assert result.returncode == 1 and "no pg_hba.conf entry for host" in result.stderr


def test_allocations_and_locks_are_counted_to_the_last(tmp_path):
    (tmp_path / "program.c").write_text("""
        #include <pthread.h>
        #include <stdlib.h>
        static void *work(void *unused) {
          static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
          for (int i = 0; i < 1000; i++) {
            void *volatile block = i % 2 ? malloc(10) : calloc(1, 10);
            block = realloc(block, 20);
            free(block);
            if (i % 4 == 0) pthread_mutex_lock(&lock), pthread_mutex_unlock(&lock);
          }
          return unused;
        }
        int main(void) {
          pthread_t thread;
          return pthread_create(&thread, NULL, work, NULL) || pthread_join(thread, NULL);
        }""")
    program, page = tmp_path / "program", tmp_path / "page"
    subprocess.run(["clang", "-O1", "-o", program, tmp_path / "program.c", "-lpthread"], check=True)
    subprocess.run(
        [program], check=True, env={"LD_PRELOAD": str(PROGRAMS / "counting.so"), "COUNTING_PAGE": str(page)})
    # Thread, then allocations, frees and locks, each OpenSSL's and others'.
    slots = {slot[0]: slot[1:] for slot in struct.iter_unpack("<7Q", page.read_bytes()) if slot[0]}
    assert (0, 2000, 0, 1000, 0, 250) in slots.values()


def test_callgrind_output_is_read(tmp_path):
    (tmp_path / "out.1-02").write_text("""# callgrind format
version: 1
events: Ir
positions: line
ob=(1) /usr/lib/libssl.so.3
fl=(1) s3.c
fn=(1) SSL_do_handshake
10 100
+2 50
cob=(2) /bin/program
cfn=(2) callback
calls=3 7
12 9000
* 5
ob=(2)
fn=(2)
7 30
ob=(3) /lib/libc.so.6
fn=(3) memcpy
1 40
totals: 225
""")
    thread = callgrind.Thread(tmp_path / "out.1-02")
    assert thread.total == 225 and thread.relays
    assert thread.by_part() == {"OpenSSL": 155, "own": 30, "C library": 40}
    assert thread.by_function()["callback", "program"] == 30


def test_percentiles_are_those_of_the_definition():
    ordered = sorted(random.sample(range(10**6), 1237))
    for part in (0.5, 0.99, 0.999):
        value = percentile(ordered, part)
        assert sum(one <= value for one in ordered) >= part * len(ordered)
        assert sum(one < value for one in ordered) < part * len(ordered)


@pytest.fixture
def run(tmp_path, monkeypatch):
    monkeypatch.setattr("results.FOLDER", tmp_path)
    run = Results()
    run.data["about"] = {
        "command": "bench.py", "started": "today", "commit": "0", "build": "release", "machine": "this", "programs": [], "rounds": 2}
    for key, rates in (("pgbouncer", (90, 110)), ("epoll", (150, 170)), ("uring", (100, 120))):
        run.data["peers"][key] = key
        run.data["values"].setdefault("simple.rate", {})[key] = list(rates)
    return run


def test_a_report_judges_targets_by_medians(run, tmp_path):
    text = Report(run, tmp_path / "plots").document()
    assert "| transactions/s, 64 clients simple | ≥ 1.4 × PgBouncer | 1.6 × met | 1.1 × **not met** |" in text
    assert "| mean latency, 1 client | ≤ 0.95 × PgBouncer | not measured | not measured |" in text
    assert "| 64 clients, simple: transactions/s | 100 ±10 % | 160 ±6 % | 110 ±9 % |" in text
    drawing = xml.etree.ElementTree.parse(tmp_path / "plots/throughput.svg")
    assert len(drawing.findall(".//{*}rect")) == 1 + 3 + 3


def test_a_run_goes_on_where_it_was_cut_short(run):
    run.finish("rounds/1/simple/epoll")
    again = Results(run.path)
    assert again.is_done("rounds/1/simple/epoll") and not again.is_done("rounds/2/simple/epoll")
    assert json.loads(run.path.read_text())["values"] == again.data["values"]


def test_latencies_keep_two_digits_in_their_plot(run):
    run.count_latencies("paced", type("Peer", (), {"key": "epoll"}), [7, 7, 255, 123_456])
    assert run.data["histograms"]["paced"]["epoll"] == {"7": 2, "255": 1, "123392": 1}
    drawing = plots.percentiles("title", "µs", run.data["histograms"]["paced"], {"epoll": "Sallyport"})
    assert len(xml.etree.ElementTree.fromstring(drawing).findall("{*}polyline")) == 1
