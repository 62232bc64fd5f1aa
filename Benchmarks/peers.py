"""What is compared: each peer can be put in front of a database, and says which processes a session goes through."""

import os
import pathlib
import shutil
import signal
import subprocess

from conftest import USER, Cluster, port_is_open, wait_until
from programs import PROGRAMS
from stage import PASSWORD, free_port, ready


class Peer:
    """`threads`: threads of the data path, or processes that share a port where the program has one thread."""

    #: More sessions than this are not asked of it.
    most_sessions = None

    def __init__(self, stage, key, title, threads=1):
        self.stage, self.key, self.title, self.threads = stage, key, title, threads
        self.pids = []

    def start(self, upstream, prefix=(), environment=None):
        """`prefix`: a command that runs the program, such as valgrind; `environment`: variables it gets besides."""
        raise NotImplementedError

    def stop(self):
        raise NotImplementedError

    def libpq(self):
        """libpq's settings as environment variables, while it runs."""
        raise NotImplementedError

    def as_user(self):
        """What runs commands as the user that it runs as, if that is another one."""
        return []

    def crowd(self):
        """What perf/crowd is told, while it runs."""
        return [str(self.port), "bench", "dev"]


class Direct(Peer):
    def start(self, upstream, prefix=(), environment=None):
        self.port = upstream.port

    def stop(self):
        pass

    def libpq(self):
        return self.stage.libpq(self.port)


class Program(Peer):
    """One that is told its port, database and certificate by its command line or a file."""

    def __init__(self, *arguments, **options):
        super().__init__(*arguments, **options)
        self.port = free_port()
        self.folder = self.stage.directory / self.key
        self.folder.mkdir()
        self.certificate, self.private_key, self.ca = (
            str(self.stage.certificates / name) for name in ("server.crt", "server.key", "ca.pem"))
        self.log = self.folder / "log"
        self.processes = []

    #: Processes that share the port.
    copies = 1

    def command(self, upstream):
        raise NotImplementedError

    def start(self, upstream, prefix=(), environment=None):
        command = [*self.as_user(), *prefix, *self.command(upstream)]
        for _ in range(self.copies):
            process = subprocess.Popen(
                command, env={**os.environ, **(environment or {})}, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
                stderr=open(self.log, "a"))
            self.processes.append(process)
        self.pids = [process.pid for process in self.processes]
        for process in self.processes:
            ready(process, self.port, self.title, self.log)

    def stop(self):
        for process in self.processes:
            process.send_signal(signal.SIGINT)
        for process in self.processes:
            try:
                process.wait(timeout=10)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        self.processes, self.pids = [], []

    def libpq(self):
        return self.stage.libpq(self.port)


class Floor(Program):
    """perf/floor: what the kernel and OpenSSL alone cost."""

    def __init__(self, stage, key, title, manner, threads=1):
        super().__init__(stage, key, title, threads)
        self.manner, self.copies = manner, threads

    def command(self, upstream):
        return [
            str(PROGRAMS / "floor"), self.manner, str(self.port), str(upstream.port), self.certificate, self.private_key, self.ca]


class HAProxy(Program):
    """Passes TCP on, TLS and all: the bound without cryptography."""

    def command(self, upstream):
        (self.folder / "haproxy.cfg").write_text(f"""global
  nbthread {self.threads}
  maxconn 9950
defaults
  mode tcp
  timeout connect 10s
  timeout client 1h
  timeout server 1h
frontend clients
  bind 127.0.0.1:{self.port}
  default_backend database
backend database
  server database 127.0.0.1:{upstream.port} maxconn 9950
""")
        return ["haproxy", "-db", "-f", str(self.folder / "haproxy.cfg")]


class Stunnel(Program):
    """TLS on both sides by two services of one process; a thread for each end of each session."""

    most_sessions = 1000

    def command(self, upstream):
        inner = free_port()
        (self.folder / "stunnel.conf").write_text(f"""foreground = yes
debug = err
pid =
syslog = no
socket = l:TCP_NODELAY=1
socket = r:TCP_NODELAY=1
sslVersionMin = TLSv1.2
[clients]
accept = 127.0.0.1:{self.port}
connect = 127.0.0.1:{inner}
protocol = pgsql
cert = {self.certificate}
key = {self.private_key}
[database]
client = yes
accept = 127.0.0.1:{inner}
connect = 127.0.0.1:{upstream.port}
protocol = pgsql
CAfile = {self.ca}
verifyChain = yes
""")
        return ["stunnel4", str(self.folder / "stunnel.conf")]


class PgBouncer(Program):
    """Session mode, TLS on both sides. With two processes they share the port (so_reuseport), as its manual advises."""

    def __init__(self, stage, key, title, threads=1):
        super().__init__(stage, key, title, threads)
        self.copies = threads
        for path in (self.certificate, self.private_key, self.ca):
            shutil.copy(path, self.folder)
        (self.folder / "users").write_text(f'"bench" "{PASSWORD}"\n')
        # The scripted database's sessions are opened by perf/crowd, which has no password.
        (self.folder / "hba").write_text("hostssl all all 127.0.0.0/8 scram-sha-256\n")
        (self.folder / "hba-open").write_text("hostssl all all 127.0.0.0/8 trust\n")
        if os.geteuid() == 0:
            subprocess.run(["chown", "-R", "postgres", self.folder], check=True)

    def command(self, upstream):
        is_open = upstream.port == self.stage.scripted.port
        (self.folder / "pgbouncer.ini").write_text(f"""[databases]
dev = host=127.0.0.1 port={upstream.port} dbname=dev
[pgbouncer]
listen_addr = 127.0.0.1
listen_port = {self.port}
so_reuseport = 1
unix_socket_dir =
auth_type = hba
auth_hba_file = {self.folder}/{'hba-open' if is_open else 'hba'}
auth_file = {self.folder}/users
pool_mode = session
default_pool_size = 11000
max_client_conn = 11000
client_tls_sslmode = require
client_tls_key_file = {self.folder}/server.key
client_tls_cert_file = {self.folder}/server.crt
server_tls_sslmode = verify-ca
server_tls_ca_file = {self.folder}/ca.pem
server_idle_timeout = 5
log_connections = 0
log_disconnections = 0
ignore_startup_parameters = extra_float_digits
""")
        return [shutil.which("pgbouncer") or "/usr/sbin/pgbouncer", str(self.folder / "pgbouncer.ini")]

    def as_user(self):
        # It refuses to run as root.
        return ["setpriv", "--reuid=postgres", "--regid=postgres", "--clear-groups"] if os.geteuid() == 0 else []


class Sallyport(Peer):
    """The product: one process with everything in it. `queries`: which statements it records."""

    kind = Cluster

    def __init__(self, stage, key, title, reactor="epoll", threads=None, queries="statements"):
        super().__init__(stage, key, title, threads or os.cpu_count())
        directory = stage.directory / key
        directory.mkdir()
        self.cluster = self.kind(directory)
        self.cluster.beside(stage.cluster)
        self.cluster.script_port = stage.scripted.port
        self.cluster.reactor = reactor
        self.cluster.query_audit = f"{{queries: {queries}}}"
        # perf/crowd comes from several addresses of loopback; by default only the first has no limits.
        self.cluster.settings = f"  reactors: {self.threads}\n  connection_limits: {{exempt: [127.0.0.0/8]}}"
        self.home = None

    def start(self, upstream, prefix=(), environment=None):
        if self.home is None:
            self.prepare()
        self.cluster.start_teleport(["env", *(f"{name}={value}" for name, value in (environment or {}).items()), *prefix])
        self.database = self.cluster.database(self.home, upstream.resource).environment
        self.port = int(self.database["PGPORT"])
        self.pids = [self.cluster.teleport.pid]

    def prepare(self):
        self.cluster.start_cluster()
        self.log_in()
        self.cluster.stop_teleport()

    def log_in(self):
        self.cluster.make_role("dev")
        self.home = self.cluster.make_user("alice", "dev,editor")
        wait_until(lambda: "redshift" in self.cluster.run("tsh", "db", "ls", home=self.home), "the database in the list")

    def stop(self):
        if self.cluster.teleport:
            self.cluster.stop_teleport()
        self.pids = []

    def libpq(self):
        return self.database

    def crowd(self):
        return [str(self.port), USER, "dev", self.database["PGSSLCERT"], self.database["PGSSLKEY"]]
