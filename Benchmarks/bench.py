"""Side by side in one run: PostgreSQL direct over TLS, PgBouncer (session mode, TLS on both sides), Sallyport.

Rounds are interleaved; medians and ratios are printed as Markdown. Absolute times depend on the machine, ratios less so.
Sallyport records every statement, as it does by default. Further peers:
--audit: a second Sallyport, which records none;
--uring: a second Sallyport, which works by io_uring and not by epoll;
--paths: proxy and Database Service in processes of their own, joined by a tunnel, and `tsh proxy db --tunnel` before the
first one. CPU and memory are those of all processes that a session goes through; memory of the local proxy is its own.
Usage: bench.py [--rounds N] [--seconds S] [--idle N] [--audit] [--uring] [--paths]
"""

import argparse
import json
import os
import pathlib
import re
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
import time

ROOT = pathlib.Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "Tests/EndToEnd"))
import psycopg  # noqa: E402
from conftest import BIN, USER, Cluster, free_port, port_is_open, wait_until  # noqa: E402
from test_cluster import Apart  # noqa: E402

CLOCK = os.sysconf("SC_CLK_TCK")
PEERS = ["direct", "pgbouncer", "sallyport"]
UNRECORDED, URING, TUNNEL, LOCAL = "unrecorded", "uring", "tunnel", "local"
NAMES = {
    "direct": "direct", "pgbouncer": "PgBouncer", "sallyport": "Sallyport", UNRECORDED: "Sallyport, no recording",
    URING: "Sallyport, io_uring",
    TUNNEL: "Sallyport, tunnel", LOCAL: "Sallyport, local proxy"}


def cpu_seconds(pids):
    fields = [pathlib.Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split() for pid in pids]
    return sum(int(one[11]) + int(one[12]) for one in fields) / CLOCK


def resident_kb(pids):
    texts = [pathlib.Path(f"/proc/{pid}/status").read_text() for pid in pids]
    return sum(int(re.search(r"VmRSS:\s+(\d+)", text).group(1)) for text in texts)


class Bench:
    def __init__(self, cluster, arguments):
        self.cluster, self.arguments = cluster, arguments
        # What `close` ends, the last first.
        self.others = []
        self.results = {}
        with cluster.admin() as admin:
            admin.execute("create role bench login superuser password 'bench-password'")
        database = cluster.database(cluster.home)
        base = {
            "PGHOST": "localhost", "PGDATABASE": "dev", "PGUSER": "bench", "PGPASSWORD": "bench-password",
            "PGSSLMODE": "verify-full", "PGSSLROOTCERT": str(cluster.pg / "ca.pem"), "PGGSSENCMODE": "disable",
            "PGSSLCERT": "/nonexistent"}
        self.bouncer_port = free_port()
        self.environments = {
            "direct": {**base, "PGPORT": str(cluster.pg_port)},
            "pgbouncer": {**base, "PGPORT": str(self.bouncer_port)}, "sallyport": database.environment}
        self.pids = {"direct": [], "pgbouncer": [self.start_pgbouncer()], "sallyport": [cluster.teleport.pid]}
        self.peers = list(PEERS)
        if arguments.audit:
            self.add(UNRECORDED, *self.start_unrecorded())
        if arguments.uring:
            self.add(URING, *self.start_by_uring())
        if arguments.paths:
            self.add(TUNNEL, *self.start_tunnel())
            self.add(LOCAL, *self.start_local_proxy())

    def add(self, peer, environment, pids):
        self.peers.append(peer)
        self.environments[peer], self.pids[peer] = environment, pids

    def start_beside(self, kind, name):
        """A second Sallyport before the same database."""
        directory = self.cluster.directory / name
        directory.mkdir()
        other = kind(directory)
        other.beside(self.cluster)
        return other

    def ready(self, other):
        other.make_role("dev")
        home = other.make_user("alice", "dev,editor")
        wait_until(lambda: "redshift" in other.run("tsh", "db", "ls", home=home), "the database in the list")
        return other.database(home).environment

    def start_unrecorded(self):
        other = self.start_beside(Cluster, "unrecorded")
        other.query_audit = "{queries: off}"
        other.start_cluster()
        self.others.append(other.stop_teleport)
        return self.ready(other), [other.teleport.pid]

    def start_by_uring(self):
        other = self.start_beside(Cluster, "uring")
        other.reactor = "io_uring"
        other.start_cluster()
        self.others.append(other.stop_teleport)
        return self.ready(other), [other.teleport.pid]

    def start_tunnel(self):
        other = self.start_beside(Apart, "apart")
        self.others.append(lambda: [host.stop() for host in (*other.agents, other.proxy, other.auth)])
        other.start_cluster()
        return self.ready(other), [other.proxy.process.pid, other.agents[0].process.pid]

    def start_local_proxy(self):
        port = free_port()
        process = subprocess.Popen(
            [BIN / "tsh", "proxy", "db", "--tunnel", f"--port={port}", f"--db-user={USER}", "--db-name=dev", "redshift"],
            env={**self.cluster.environment, "TELEPORT_HOME": str(self.cluster.home)}, stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL, stderr=open(self.cluster.directory / "local-proxy.log", "w"))
        self.others.append(lambda: (process.terminate(), process.wait(timeout=30)))
        wait_until(lambda: port_is_open(port) or process.poll() is not None, "the local proxy")
        environment = {
            "PGHOST": "127.0.0.1", "PGPORT": str(port), "PGUSER": USER, "PGDATABASE": "dev", "PGSSLMODE": "disable",
            "PGGSSENCMODE": "disable"}
        return environment, [process.pid, self.cluster.teleport.pid]

    def close(self):
        for end in reversed(self.others):
            end()
        self.bouncer.terminate()

    def start_pgbouncer(self):
        directory = self.cluster.directory / "pgbouncer"
        directory.mkdir()
        for name in ("server.crt", "server.key", "ca.pem"):
            shutil.copy(self.cluster.pg / name, directory / name)
        (directory / "users").write_text('"bench" "bench-password"\n')
        (directory / "pgbouncer.ini").write_text(f"""[databases]
dev = host=127.0.0.1 port={self.cluster.pg_port} dbname=dev
[pgbouncer]
listen_addr = 127.0.0.1
listen_port = {self.bouncer_port}
unix_socket_dir =
auth_type = scram-sha-256
auth_file = {directory}/users
pool_mode = session
default_pool_size = 1200
max_client_conn = 5000
client_tls_sslmode = require
client_tls_key_file = {directory}/server.key
client_tls_cert_file = {directory}/server.crt
server_tls_sslmode = verify-ca
server_tls_ca_file = {directory}/ca.pem
server_idle_timeout = 5
log_connections = 0
log_disconnections = 0
ignore_startup_parameters = extra_float_digits
""")
        prefix = []
        if os.geteuid() == 0:
            subprocess.run(["chown", "-R", "postgres", directory], check=True)
            prefix = ["setpriv", "--reuid=postgres", "--regid=postgres", "--clear-groups"]
        program = shutil.which("pgbouncer") or "/usr/sbin/pgbouncer"
        self.bouncer = subprocess.Popen(
            [*prefix, program, directory / "pgbouncer.ini"], stderr=open(directory / "log", "w"), stdout=subprocess.DEVNULL)
        wait_until(lambda: port_is_open(self.bouncer_port), "pgbouncer")
        return self.bouncer.pid

    def keywords(self, peer):
        """libpq's settings; what is not among them, as a password for the local proxy, is not needed."""
        variables = [
            ("host", "PGHOST"), ("port", "PGPORT"), ("user", "PGUSER"), ("dbname", "PGDATABASE"), ("sslmode", "PGSSLMODE"),
            ("sslrootcert", "PGSSLROOTCERT"), ("sslcert", "PGSSLCERT"), ("sslkey", "PGSSLKEY"), ("password", "PGPASSWORD")]
        return {key: self.environments[peer][name] for key, name in variables if name in self.environments[peer]}

    def note(self, row, peer, value):
        self.results.setdefault(row, {}).setdefault(peer, []).append(value)

    def pgbench(self, peer, label, *options, connects=False):
        log = tempfile.mkdtemp()
        pids = self.pids[peer]
        before = cpu_seconds(pids) if pids else 0
        output = subprocess.run(
            ["pgbench", "-n", "-f", "-", "-T", str(self.arguments.seconds), "-l", "--log-prefix", f"{log}/p", *options],
            env={**os.environ, **self.environments[peer]}, input="select 1", capture_output=True, text=True)
        if output.returncode:
            raise RuntimeError(f"{peer} {label}: {output.stderr}")
        spent = cpu_seconds(pids) - before if pids else 0
        count = int(re.search(r"actually processed: (\d+)", output.stdout).group(1))
        self.note(f"{label}: {'connects' if connects else 'transactions'}/s", peer, float(re.search(r"tps = ([\d.]+)", output.stdout).group(1)))
        latencies = sorted(int(line.split()[2]) for path in pathlib.Path(log).iterdir() for line in path.open())
        self.note(f"{label}: mean latency µs", peer, statistics.fmean(latencies))
        self.note(f"{label}: p99 latency µs", peer, latencies[int(len(latencies) * 0.99)])
        if pids:
            self.note(f"{label}: proxy CPU µs/{'connect' if connects else 'txn'}", peer, spent / count * 1e6)
        shutil.rmtree(log)

    def copy(self, peer):
        megabytes = 512
        pids = self.pids[peer]
        with psycopg.connect(**self.keywords(peer), autocommit=True) as connection, connection.cursor() as cursor:
            for direction in ("out", "in"):
                before, start = cpu_seconds(pids) if pids else 0, time.monotonic()
                if direction == "out":
                    query = f"copy (select repeat('x', 1023) from generate_series(1, {megabytes * 1024})) to stdout"
                    with cursor.copy(query) as copy:
                        for _ in copy:
                            pass
                else:
                    cursor.execute("create temporary table bulk (line text)")
                    block = (b"x" * 1023 + b"\n") * 64
                    with cursor.copy("copy bulk from stdin") as copy:
                        for _ in range(megabytes * 16):
                            copy.write(block)
                elapsed = time.monotonic() - start
                self.note(f"COPY {direction}: MB/s", peer, megabytes / elapsed)
                if pids:
                    self.note(f"COPY {direction}: proxy CPU s/GB", peer, (cpu_seconds(pids) - before) * 1024 / megabytes)

    def idle(self, peer):
        # The other process behind the local proxy had its turn, and keeps what it got then.
        pids = self.pids[peer][:1] if peer == LOCAL else self.pids[peer]
        if not pids:
            return
        before = resident_kb(pids)
        connections = [psycopg.connect(**self.keywords(peer), autocommit=True) for _ in range(self.arguments.idle)]
        # PgBouncer gives a session its server connection with the first query: before it, one leg would be compared
        # with two.
        for connection in connections:
            connection.execute("select 1")
        time.sleep(1)
        self.note(f"{self.arguments.idle} idle connections: resident KB each", peer, (resident_kb(pids) - before) / self.arguments.idle)
        for connection in connections:
            connection.close()
        time.sleep(6)

    def run(self):
        # Memory first, from the fresh process: what later load leaves behind would hide it.
        for peer in self.peers:
            self.idle(peer)
        for round_number in range(self.arguments.rounds):
            print(f"round {round_number + 1} of {self.arguments.rounds}", file=sys.stderr)
            for peer in self.peers:
                self.pgbench(peer, "1 client simple", "-c", "1", "-j", "1")
            for peer in self.peers:
                self.pgbench(peer, "16 clients prepared", "-c", "16", "-j", "2", "-M", "prepared")
            for peer in self.peers:
                self.pgbench(peer, "64 clients simple", "-c", "64", "-j", "2")
            for peer in self.peers:
                self.pgbench(peer, "-C 8 clients", "-C", "-c", "8", "-j", "2", connects=True)
            for peer in self.peers:
                self.copy(peer)
        self.report()

    def report(self):
        folder = ROOT / "Benchmarks/results"
        folder.mkdir(exist_ok=True)
        (folder / f"{time.strftime('%Y%m%d-%H%M%S')}.json").write_text(json.dumps(self.results, indent=1))
        ratios = [(peer, "pgbouncer" if peer == "sallyport" else "sallyport") for peer in self.peers[2:]]
        header = [NAMES[peer] for peer in self.peers] + [f"{NAMES[one]} / {NAMES[other]}" for one, other in ratios]
        print(f"| row | {' | '.join(header)} |\n| --- |{' ---: |' * len(header)}")
        for row, values in self.results.items():
            medians = {peer: statistics.median(values[peer]) for peer in self.peers if peer in values}
            cells = [f"{medians[peer]:,.1f}" if peer in medians else "–" for peer in self.peers]
            cells += [
                f"{medians[one] / medians[other]:.2f}" if medians[other] else "–" for one, other in ratios]
            print(f"| {row} | {' | '.join(cells)} |")


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=int, default=4)
    parser.add_argument("--idle", type=int, default=1000)
    parser.add_argument("--audit", action="store_true", help="with a Sallyport that records no statements")
    parser.add_argument("--uring", action="store_true", help="with a Sallyport on io_uring")
    parser.add_argument("--paths", action="store_true", help="with the tunnel and the local proxy")
    arguments = parser.parse_args()
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    with tempfile.TemporaryDirectory() as directory:
        os.chmod(directory, 0o755)
        os.environ["SALLYPORT_MAX_CONNECTIONS"] = str(arguments.idle + 300)
        cluster = Cluster(directory)
        bench = None
        try:
            cluster.start()
            cluster.make_role("dev")
            cluster.home = cluster.make_user("alice", "dev,editor")
            bench = Bench(cluster, arguments)
            bench.run()
        except Exception:
            print(f"teleport ended with {cluster.teleport.poll()}" if cluster.teleport else "", file=sys.stderr)
            print(cluster.log.read_text()[-2000:], file=sys.stderr)
            raise
        finally:
            if bench:
                bench.close()
            cluster.stop()


if __name__ == "__main__":
    main()
