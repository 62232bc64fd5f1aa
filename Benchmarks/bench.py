"""Side by side in one run: PostgreSQL direct over TLS, PgBouncer (session mode, TLS on both sides), Sallyport.

Rounds are interleaved; medians and ratios are printed as Markdown. Absolute times depend on the machine, ratios less so.
With --audit a second Sallyport, which records every statement, takes part; the first records none. With --uring the
second one works by io_uring, the first by epoll.
Usage: bench.py [--rounds N] [--seconds S] [--idle N] [--audit | --uring]
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
from conftest import HOST, Cluster, free_port, port_is_open, wait_until  # noqa: E402

CLOCK = os.sysconf("SC_CLK_TCK")
PEERS = ["direct", "pgbouncer", "sallyport"]
AUDITED = "sallyport+audit"
URING = "sallyport+uring"


def cpu_seconds(pid):
    fields = pathlib.Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / CLOCK


def resident_kb(pid):
    return int(re.search(r"VmRSS:\s+(\d+)", pathlib.Path(f"/proc/{pid}/status").read_text()).group(1))


class Bench:
    def __init__(self, cluster, second, second_name, arguments):
        self.cluster, self.arguments = cluster, arguments
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
        self.pids = {"direct": None, "pgbouncer": self.start_pgbouncer(), "sallyport": cluster.teleport.pid}
        self.peers = list(PEERS)
        if second:
            self.peers.append(second_name)
            self.environments[second_name] = second.database(second.home).environment
            self.pids[second_name] = second.teleport.pid

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

    def note(self, row, peer, value):
        self.results.setdefault(row, {}).setdefault(peer, []).append(value)

    def pgbench(self, peer, label, *options, connects=False):
        log = tempfile.mkdtemp()
        pid = self.pids[peer]
        before = cpu_seconds(pid) if pid else 0
        output = subprocess.run(
            ["pgbench", "-n", "-f", "-", "-T", str(self.arguments.seconds), "-l", "--log-prefix", f"{log}/p", *options],
            env={**os.environ, **self.environments[peer]}, input="select 1", capture_output=True, text=True)
        if output.returncode:
            raise RuntimeError(f"{peer} {label}: {output.stderr}")
        spent = cpu_seconds(pid) - before if pid else 0
        count = int(re.search(r"actually processed: (\d+)", output.stdout).group(1))
        self.note(f"{label}: {'connects' if connects else 'transactions'}/s", peer, float(re.search(r"tps = ([\d.]+)", output.stdout).group(1)))
        latencies = sorted(int(line.split()[2]) for path in pathlib.Path(log).iterdir() for line in path.open())
        self.note(f"{label}: mean latency µs", peer, statistics.fmean(latencies))
        self.note(f"{label}: p99 latency µs", peer, latencies[int(len(latencies) * 0.99)])
        if pid:
            self.note(f"{label}: proxy CPU µs/{'connect' if connects else 'txn'}", peer, spent / count * 1e6)
        shutil.rmtree(log)

    def copy(self, peer):
        megabytes = 512
        pid = self.pids[peer]
        dsn = " ".join(
            f"{key}='{self.environments[peer][name]}'" for key, name in [
                ("host", "PGHOST"), ("port", "PGPORT"), ("user", "PGUSER"), ("dbname", "PGDATABASE"), ("sslmode", "PGSSLMODE"),
                ("sslrootcert", "PGSSLROOTCERT"), ("sslcert", "PGSSLCERT")])
        key = self.environments[peer].get("PGSSLKEY")
        dsn += f" sslkey='{key}'" if key else f" password='{self.environments[peer]['PGPASSWORD']}'"
        with psycopg.connect(dsn, autocommit=True) as connection, connection.cursor() as cursor:
            for direction in ("out", "in"):
                before, start = cpu_seconds(pid) if pid else 0, time.monotonic()
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
                if pid:
                    self.note(f"COPY {direction}: proxy CPU s/GB", peer, (cpu_seconds(pid) - before) * 1024 / megabytes)

    def idle(self, peer):
        pid = self.pids[peer]
        if not pid:
            return
        environment = self.environments[peer]
        keywords = dict(
            host=environment["PGHOST"], port=environment["PGPORT"], user=environment["PGUSER"], dbname=environment["PGDATABASE"],
            sslmode=environment["PGSSLMODE"], sslrootcert=environment["PGSSLROOTCERT"], sslcert=environment["PGSSLCERT"])
        if "PGSSLKEY" in environment:
            keywords["sslkey"] = environment["PGSSLKEY"]
        else:
            keywords["password"] = environment["PGPASSWORD"]
        before = resident_kb(pid)
        connections = [psycopg.connect(**keywords, autocommit=True) for _ in range(self.arguments.idle)]
        # PgBouncer gives a session its server connection with the first query: before it, one leg would be compared
        # with two.
        for connection in connections:
            connection.execute("select 1")
        time.sleep(1)
        self.note(f"{self.arguments.idle} idle connections: resident KB each", peer, (resident_kb(pid) - before) / self.arguments.idle)
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
        names = {"direct": "direct", "pgbouncer": "PgBouncer", "sallyport": "Sallyport", AUDITED: "Sallyport with audit", URING: "Sallyport on io_uring"}
        ratios = [("sallyport", "pgbouncer")] + [(peer, "sallyport") for peer in self.peers[3:]]
        header = [names[peer] for peer in self.peers] + [f"{names[one]} / {names[other]}" for one, other in ratios]
        print(f"| row | {' | '.join(header)} |\n| --- |{' ---: |' * len(header)}")
        for row, values in self.results.items():
            medians = {peer: statistics.median(values[peer]) for peer in self.peers if peer in values}
            cells = [f"{medians[peer]:,.1f}" if peer in medians else "–" for peer in self.peers]
            cells += [f"{medians[one] / medians[other]:.2f}" for one, other in ratios]
            print(f"| {row} | {' | '.join(cells)} |")


def start_second(cluster, audits, reactor):
    """Another Sallyport before the same database."""
    directory = cluster.directory / "second"
    directory.mkdir()
    second = Cluster(directory)
    second.beside(cluster)
    second.query_audit = "{queries: statements}" if audits else "{queries: off}"
    os.environ["SALLYPORT_REACTOR"] = reactor
    second.start_cluster()
    second.make_role("dev")
    second.home = second.make_user("alice", "dev,editor")
    return second


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=int, default=4)
    parser.add_argument("--idle", type=int, default=1000)
    parser.add_argument("--audit", action="store_true")
    parser.add_argument("--uring", action="store_true")
    arguments = parser.parse_args()
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    with tempfile.TemporaryDirectory() as directory:
        os.chmod(directory, 0o755)
        os.environ["SALLYPORT_MAX_CONNECTIONS"] = str(arguments.idle + 300)
        cluster = Cluster(directory)
        cluster.query_audit = "{queries: off}"
        second = bench = None
        try:
            cluster.start()
            cluster.make_role("dev")
            cluster.home = cluster.make_user("alice", "dev,editor")
            if arguments.audit or arguments.uring:
                second = start_second(cluster, arguments.audit, "io_uring" if arguments.uring else "epoll")
            bench = Bench(cluster, second, URING if arguments.uring else AUDITED, arguments)
            bench.run()
        except Exception:
            print(f"teleport ended with {cluster.teleport.poll()}" if cluster.teleport else "", file=sys.stderr)
            print(cluster.log.read_text()[-2000:], file=sys.stderr)
            raise
        finally:
            if bench:
                bench.bouncer.terminate()
            if second:
                second.stop_teleport()
            cluster.stop()


if __name__ == "__main__":
    main()
