"""Further ways to a database: through an agent's tunnel, through `tsh proxy db --tunnel`, and over kept server connections."""

import subprocess

from conftest import BIN, USER
from peers import Peer, Sallyport
from pooled_cluster import Pooled
from stage import free_port, ready
from test_cluster import Apart


class Tunnel(Sallyport):
    """Proxy and Database Service in processes of their own. CPU and memory are those of both."""

    kind = Apart

    def start(self, upstream, prefix=(), environment=None):
        if prefix or environment or upstream != self.stage.postgres:
            raise ValueError("the tunnel is put in front of PostgreSQL only, and as it is")
        self.cluster.start_cluster()
        self.log_in()
        self.database = self.cluster.database(self.home, upstream.resource).environment
        self.port = int(self.database["PGPORT"])
        self.pids = [self.cluster.proxy.process.pid, self.cluster.agents[0].process.pid]

    def stop(self):
        for host in (*self.cluster.agents, self.cluster.proxy, self.cluster.auth):
            host.stop()
        self.pids = []


class LocalProxy(Peer):
    """`tsh proxy db --tunnel` before another peer, which must be running: plain connections in, the cluster's TLS out."""

    def __init__(self, stage, key, title, sallyport):
        super().__init__(stage, key, title)
        self.sallyport, self.process = sallyport, None

    def start(self, upstream, prefix=(), environment=None):
        self.port = free_port()
        log = self.stage.directory / "local-proxy.log"
        self.process = subprocess.Popen(
            [*prefix, BIN / "tsh", "proxy", "db", "--tunnel", f"--port={self.port}", f"--db-user={USER}", "--db-name=dev",
             upstream.resource],
            env={**self.sallyport.cluster.environment, "TELEPORT_HOME": str(self.sallyport.home), **(environment or {})},
            stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=open(log, "w"))
        ready(self.process, self.port, self.title, log)
        self.pids = [self.process.pid, *self.sallyport.pids]

    def stop(self):
        self.process.terminate()
        self.process.wait(timeout=30)
        self.pids = []

    def libpq(self):
        return {
            "PGHOST": "127.0.0.1", "PGPORT": str(self.port), "PGUSER": USER, "PGDATABASE": "dev", "PGSSLMODE": "disable",
            "PGGSSENCMODE": "disable"}


class KeptConnections(Pooled):
    """Its database keeps server connections for the next client, as PgBouncer's session mode does."""

    pool = "mode: session, pool_size: 64"


class Reuse(Sallyport):
    kind = KeptConnections
