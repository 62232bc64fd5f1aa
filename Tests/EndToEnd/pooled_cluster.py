"""A cluster whose databases have pools; PostgreSQL, AWS and the binaries are those of the other tests."""

import contextlib
import re
import urllib.request

import psycopg

from conftest import DATABASE, HOST, Cluster, wait_until


class Pooled(Cluster):
    """`pool`: that of its one database, in YAML."""

    pool = None

    def write_config(self, database, **options):
        super().write_config(database, **options)
        entry = "  - name: redshift\n"
        self.config.write_text(self.config.read_text().replace(entry, f"{entry}    pool: {{{self.pool}}}\n", 1))


class PooledCluster(Cluster):
    """`pools`: the `pool` of each database in YAML, by its name."""

    def __init__(self, directory, other, pools):
        super().__init__(directory)
        self.pools = pools
        self.beside(other)

    def write_config(self, database, **options):
        super().write_config(database, **options)
        text = self.config.read_text().replace("teleport:\n", "teleport:\n  reactors: 1\n", 1)
        for name, pool in self.pools.items():
            text += DATABASE.format(name=name, port=self.pg_port, ca=self.pg / "ca.pem", host=HOST) + f"    pool: {{{pool}}}\n"
        self.config.write_text(text)

    def metric(self, name):
        with urllib.request.urlopen(f"http://127.0.0.1:{self.diag_port}/metrics") as answer:
            text = answer.read().decode()
        found = re.search(rf"^{re.escape(name)} (\S+)$", text, re.MULTILINE)
        return float(found.group(1)) if found else 0

    def backends(self):
        """(process ID, user, application, state) of every connection over TCP."""
        with self.admin() as admin:
            return admin.execute(
                "select pid, usename, application_name, state from pg_stat_activity where client_addr is not null").fetchall()

    def pids(self):
        return {row[0] for row in self.backends()}

    def wait_until_kept(self, count=1):
        wait_until(lambda: self.metric("sallyport_pool_servers_idle") == count, f"{count} kept connections", seconds=10)


@contextlib.contextmanager
def running(tmp_path_factory, other, pools, name):
    directory = tmp_path_factory.mktemp(name)
    directory.chmod(0o755)
    cluster = PooledCluster(directory, other, pools)
    try:
        cluster.start_cluster()
        cluster.make_role("dev", users="['*']", names="['*']")
        cluster.home = cluster.make_user("alice", "dev,editor")
        yield cluster
    finally:
        cluster.stop_teleport()


def pid_of(database, **options):
    with psycopg.connect(database.dsn, autocommit=True, **options) as connection:
        return connection.execute("select pg_backend_pid()").fetchone()[0]
