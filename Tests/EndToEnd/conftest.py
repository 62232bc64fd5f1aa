"""One cluster for the whole run: real PostgreSQL over TLS, the AWS emulator, the release binaries."""

import contextlib
import json
import os
import pathlib
import shutil
import signal
import socket
import ssl
import subprocess
import tempfile
import time
import types
import urllib.request

import psycopg
import pytest

from bad_inputs.unharmed import Witness, is_listed, under_test

# Whoever starts the suite in the background has these ignored, and all that it starts would inherit that.
signal.signal(signal.SIGHUP, signal.SIG_DFL)
signal.signal(signal.SIGINT, signal.default_int_handler)

ROOT = pathlib.Path(__file__).resolve().parents[2]
BIN = pathlib.Path(os.environ.get("SALLYPORT_BIN", ROOT / ".build/release"))
HOST = "some-workgroup.123456789012.us-east-1.redshift-serverless.amazonaws.com"
USER = "teleport-redshift-serverless-access"
PASSWORD = "correct horse battery staple"
# How many times slower than by itself the server is under a tool that watches it.
SLOWNESS = float(os.environ.get("SALLYPORT_SLOWNESS", "1"))


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def wait_until(condition, what, seconds=30):
    deadline = time.monotonic() + seconds * SLOWNESS
    while time.monotonic() < deadline:
        if condition():
            return
        time.sleep(0.05)
    raise TimeoutError(what)


def port_is_open(port):
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


# An entry of db_service's databases.
DATABASE = """  - name: {name}
    protocol: postgres
    uri: 127.0.0.1:{port}
    static_labels: {{env: dev}}
    tls: {{mode: verify-full, ca_cert_file: {ca}, server_name: {host}}}
    aws: {{region: us-east-1, account_id: "123456789012", redshift_serverless: {{workgroup_name: some-workgroup}}}}
"""
ROLE = """version: v5
kind: role
metadata: {{name: {name}}}
spec:
  allow:
    db_labels: {{'*': '*'}}
    db_names: {names}
    db_users: {users}
  options: {options}
"""


def open_directory(tmp_path_factory, name):
    """A temporary directory that PostgreSQL, which runs as another user, can reach."""
    directory = tmp_path_factory.mktemp(name)
    for folder in [directory, *directory.parents]:
        if str(folder).startswith("/tmp/") and folder.owner() == "root":
            os.chmod(folder, 0o755)
    return directory


class Cluster:
    def __init__(self, directory):
        self.directory = pathlib.Path(directory)
        self.pg_port, self.aws_port, self.port, self.script_port, self.diag_port = (free_port() for _ in range(5))
        self.pg = self.directory / "pg"
        self.data = self.directory / "data"
        self.config = self.directory / "teleport.yaml"
        # Lines of YAML for `audit` of auth_service and db_service.
        self.audit_log, self.query_audit = "{}", "{}"
        # What AWS has at the start, and further names for the database's certificate.
        self.world, self.names = "world.json", []
        # What the server itself asks databases, as a pattern.
        self.own_statements = "(?!)"
        self.reactor = os.environ.get("SALLYPORT_REACTOR", "auto")
        # Further lines of section teleport, indented by two.
        self.settings = ""
        self.superuser = "postgres" if os.geteuid() == 0 else os.environ["USER"]
        self.environment = dict(
            os.environ, PATH=f"{BIN}:{os.environ['PATH']}", TELEPORT_CONFIG_FILE=str(self.config),
            SSL_CERT_FILE=str(self.directory / "bundle.pem"), TELEPORT_HOME=str(self.directory / "tsh"),
            PGSERVICEFILE=str(self.directory / "pg_service.conf"),
            AWS_ENDPOINT_URL=f"http://127.0.0.1:{self.aws_port}",
            AWS_EC2_METADATA_SERVICE_ENDPOINT=f"http://127.0.0.1:{self.aws_port}",
            AWS_SHARED_CREDENTIALS_FILE="/nonexistent", AWS_CONFIG_FILE="/nonexistent")
        for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN", "AWS_PROFILE"):
            self.environment.pop(name, None)
        self.log = self.directory / "teleport.log"
        self.teleport = None
        self.emulator = None

    # Processes

    def start(self):
        script = ROOT / "Tests/EndToEnd/postgres.sh"
        connections = os.environ.get("SALLYPORT_MAX_CONNECTIONS", "300")
        subprocess.run(
            [script, "start", self.pg, str(self.pg_port), connections], check=True,
            env=dict(os.environ, MORE_NAMES=",".join(self.names)))
        self.start_emulator()
        self.start_cluster()

    def start_cluster(self):
        shutil.copy(self.pg / "ca.pem", self.directory / "bundle.pem")
        self.write_config(database=False)
        self.start_teleport()
        with open(self.directory / "bundle.pem", "a") as bundle:
            bundle.write((self.data / "admin/ca.pem").read_text())
        token = self.run("tctl", "tokens", "add", "--type=db", "--format=text").strip()
        (self.directory / "token").write_text(token)
        self.join_token = token
        self.stop_teleport()
        self.write_config(database=True)
        self.start_teleport()

    def start_beside(self, other):
        """Beside the database and the AWS of `other`, with role dev and with alice, who has it."""
        self.beside(other)
        self.start_cluster()
        self.make_role("dev")
        self.home = self.make_user("alice", "dev,editor")

    def beside(self, other):
        """Uses the database and the AWS of another cluster instead of ones of its own."""
        self.pg, self.pg_port, self.aws_port = other.pg, other.pg_port, other.aws_port
        for name in ("AWS_ENDPOINT_URL", "AWS_EC2_METADATA_SERVICE_ENDPOINT"):
            self.environment[name] = other.environment[name]

    def start_emulator(self):
        self.emulator = subprocess.Popen(
            [ROOT / ".venv/bin/python", ROOT / "Tests/AWSEmulator/emulator.py", "--port", str(self.aws_port), "--world",
             ROOT / "Tests/AWSEmulator" / self.world, "--postgres",
             f"host={self.pg} port={self.pg_port} user={self.superuser} dbname=dev"],
            stderr=open(self.directory / "aws.log", "a"))
        wait_until(lambda: port_is_open(self.aws_port), "emulator")

    def write_config(self, database, cancel_in_clear="yes", proxy=""):
        """`proxy`: further lines of proxy_service, indented by two."""
        self.config.write_text(f"""version: v3
teleport:
  data_dir: {self.data}
  diag_addr: 127.0.0.1:{self.diag_port}
  shutdown_timeout: 2s
  reactor: {self.reactor}
{self.settings}
  join_params: {{method: token, token_name: {self.directory / 'token'}}}
auth_service: {{enabled: "yes", cluster_name: test, audit: {self.audit_log}}}
proxy_service:
  enabled: "yes"
  web_listen_addr: 127.0.0.1:{self.port}
  public_addr: localhost:{self.port}
  cancel_in_clear: "{cancel_in_clear}"
{proxy}
db_service:
  enabled: "{'yes' if database else 'no'}"
  audit: {self.query_audit}
  databases:
  - name: redshift
    protocol: postgres
    uri: 127.0.0.1:{self.pg_port}
    static_labels: {{env: dev}}
    tls: {{mode: verify-full, ca_cert_file: {self.pg / 'ca.pem'}, server_name: {HOST}}}
    aws: {{region: us-east-1, account_id: "123456789012", redshift_serverless: {{workgroup_name: some-workgroup}}}}
  - name: second
    description: Another workgroup
    protocol: postgres
    uri: 127.0.0.1:{self.pg_port}
    static_labels: {{env: prod, team: a}}
    tls: {{mode: verify-full, ca_cert_file: {self.pg / 'ca.pem'}, server_name: {HOST}}}
    aws: {{region: us-east-1, account_id: "123456789012", redshift_serverless: {{workgroup_name: some-workgroup}}}}
  - name: chained
    protocol: postgres
    uri: 127.0.0.1:{self.pg_port}
    static_labels: {{env: dev}}
    tls: {{mode: verify-full, ca_cert_file: {self.pg / 'ca.pem'}, server_name: {HOST}}}
    aws:
      region: us-east-1
      account_id: "123456789012"
      assume_role_arn: arn:aws:iam::123456789012:role/middle
      external_id: external-1
      redshift_serverless: {{workgroup_name: some-workgroup}}
  - name: untrusted
    protocol: postgres
    uri: 127.0.0.1:{self.pg_port}
    static_labels: {{env: dev}}
    aws: {{region: us-east-1, account_id: "123456789012", redshift_serverless: {{workgroup_name: some-workgroup}}}}
    tls: {{ca_cert_file: {self.pg / 'ca.pem'}, server_name: wrong.example.com}}
  - name: scripted
    protocol: postgres
    uri: 127.0.0.1:{self.script_port}
    static_labels: {{env: dev}}
    tls: {{mode: verify-full, ca_cert_file: {self.pg / 'ca.pem'}, server_name: {HOST}}}
    aws: {{region: us-east-1, account_id: "123456789012", redshift_serverless: {{workgroup_name: some-workgroup}}}}
""")

    def start_teleport(self, prefix=()):
        """`prefix`: a command that runs the server, such as prlimit with its options."""
        self.teleport = subprocess.Popen(
            [*prefix, BIN / "teleport", "start"], env=self.environment, stderr=open(self.log, "a"), stdout=subprocess.DEVNULL)
        wait_until(lambda: port_is_open(self.port) or self.teleport.poll() is not None, "teleport")
        assert self.teleport.poll() is None, self.log.read_text()

    def stop_teleport(self):
        self.teleport.terminate()
        self.teleport.wait(timeout=30)

    def stop(self):
        for process in (self.teleport, self.emulator):
            if process and process.poll() is None:
                process.terminate()
                process.wait(timeout=30)
        subprocess.run([ROOT / "Tests/EndToEnd/postgres.sh", "stop", self.pg], check=False)

    # Tools

    def tool(self, *command, home=None, stdin=None):
        environment = dict(self.environment)
        if home:
            environment["TELEPORT_HOME"] = str(home)
        return subprocess.run(
            [BIN / command[0], *map(str, command[1:])], env=environment, input=stdin, capture_output=True, text=True,
            timeout=60)

    def run(self, *command, **options):
        result = self.tool(*command, **options)
        assert result.returncode == 0, f"{command}: {result.stderr}"
        return result.stdout

    def make_role(self, name, names="[dev]", users=f"[{USER}]", options="{}"):
        text = ROLE.format(name=name, names=names, users=users, options=options)
        self.run("tctl", "create", "--force", stdin=text)

    def make_user(self, name, roles):
        """Adds a user, sets the password through the invite and logs in; gives the home of its tsh."""
        link = [word for word in self.run("tctl", "users", "add", name, f"--roles={roles}").split() if "https://" in word][0]
        subprocess.run(
            ["curl", "-sS", "--fail", "--cacert", self.environment["SSL_CERT_FILE"], "--data-urlencode",
             f"password={PASSWORD}", "-o", "/dev/null", link], check=True)
        return self.log_in(name)

    def log_in(self, name):
        home = self.directory / f"home-{name}"
        self.run(
            "tsh", "login", f"--proxy=localhost:{self.port}", f"--user={name}", "--password-file=-", home=home,
            stdin=PASSWORD + "\n")
        return home

    def database(self, home, name="redshift", user=USER, database="dev"):
        """Logs in to a database; gives libpq's settings."""
        self.run("tsh", "db", "login", name, f"--db-user={user}", f"--db-name={database}", home=home)
        environment = json.loads(self.run("tsh", "db", "env", name, "--format=json", home=home))
        return types.SimpleNamespace(environment=environment, dsn=" ".join(
            f"{key}='{environment[variable]}'" for key, variable in [
                ("host", "PGHOST"), ("port", "PGPORT"), ("user", "PGUSER"), ("dbname", "PGDATABASE"), ("sslmode", "PGSSLMODE"),
                ("sslrootcert", "PGSSLROOTCERT"), ("sslcert", "PGSSLCERT"), ("sslkey", "PGSSLKEY"),
                ("gssencmode", "PGGSSENCMODE")]))

    def open_certificate(self, home, service, user=None, name=None):
        """A database certificate straight from the API: `None` leaves the field to the client, as tsh never does."""
        [keys] = (home / "keys").iterdir()
        [certificate] = [path for path in keys.glob("*.crt")]
        folder = pathlib.Path(tempfile.mkdtemp(dir=self.directory))
        subprocess.run(
            ["openssl", "req", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-subj", "/CN=x", "-keyout",
             folder / "key", "-out", folder / "csr"], check=True, capture_output=True)
        body = {"service": service, "signingRequestPEM": (folder / "csr").read_text()}
        body |= {"databaseUser": user} if user else {}
        body |= {"databaseName": name} if name else {}
        context = ssl.create_default_context(cafile=self.environment["SSL_CERT_FILE"])
        context.load_cert_chain(certificate, certificate.with_suffix(""))
        context.set_alpn_protocols(["http/1.1"])
        request = urllib.request.Request(
            f"https://localhost:{self.port}/v1/certificates/database", data=json.dumps(body).encode(),
            headers={"Content-Type": "application/json"}, method="POST")
        with urllib.request.urlopen(request, context=context) as answer:
            (folder / "crt").write_text(json.load(answer)["certificatePEM"])
        return types.SimpleNamespace(environment={"PGSSLCERT": str(folder / "crt"), "PGSSLKEY": str(folder / "key")}, dsn=(
            f"host=localhost port={self.port} sslmode=verify-full sslrootcert='{self.data / 'admin/ca.pem'}' "
            f"sslcert='{folder / 'crt'}' sslkey='{folder / 'key'}' gssencmode=disable"))

    # AWS and the database behind

    def counters(self):
        with urllib.request.urlopen(f"http://127.0.0.1:{self.aws_port}/_control/counters") as answer:
            return json.load(answer)

    def secrets(self):
        with urllib.request.urlopen(f"http://127.0.0.1:{self.aws_port}/_control/secrets") as answer:
            return json.load(answer)

    def faults(self, *faults):
        self.control("faults", faults)

    def control(self, what, value):
        request = urllib.request.Request(
            f"http://127.0.0.1:{self.aws_port}/_control/{what}", data=json.dumps(value).encode(), method="POST")
        urllib.request.urlopen(request).close()

    def admin(self):
        return psycopg.connect(
            f"host={self.pg} port={self.pg_port} user={self.superuser} dbname=dev", autocommit=True)

    def audit(self):
        """Every record of the log, rotated files included. After millions of statements that takes a minute."""
        return AuditSince(self.data / "log").records()

    def audit_from_now(self):
        """The records that are written from here on."""
        return AuditSince(self.data / "log", from_now=True)


@contextlib.contextmanager
def opened_to_all(cluster, roles="wide,editor"):
    """`cluster`, running, with a role for all database users and with alice, who has `roles`."""
    try:
        cluster.start()
        cluster.make_role("wide", users="['*']")
        cluster.home = cluster.make_user("alice", roles)
        yield cluster
    finally:
        cluster.stop()


@contextlib.contextmanager
def full_listener():
    """The port of a listener whose queue is full: it drops what comes, as a security group does."""
    with contextlib.ExitStack() as stack:
        full = stack.enter_context(socket.create_server(("127.0.0.1", 0), backlog=0))
        for _ in range(4):
            filler = stack.enter_context(socket.socket())
            filler.setblocking(False)
            filler.connect_ex(full.getsockname())
        yield full.getsockname()[1]


class AuditSince:
    """The audit log from some moment on: what was there before is not read, however much it is."""

    def __init__(self, directory, from_now=False):
        self.directory = directory
        self.file, self.offset = None, 0
        if from_now:
            status = os.stat(directory / "events.log")
            self.file, self.offset = status.st_ino, status.st_size

    def text(self):
        """Whole lines, rotated files included."""
        rotated = sorted(self.directory.glob("events-*.log"), key=lambda path: path.stem.rsplit("-", 1)[1])
        files = [*rotated, self.directory / "events.log"]
        numbers = [os.stat(path).st_ino for path in files]
        first = numbers.index(self.file) if self.file in numbers else 0
        text = b""
        for number, path in zip(numbers[first:], files[first:]):
            with open(path, "rb") as file:
                file.seek(self.offset if number == self.file else 0)
                text += file.read()
        return text[:text.rfind(b"\n") + 1].decode()

    def records(self, event=""):
        """Those whose event begins so. A record is written a moment after what it tells of."""
        records = [json.loads(line) for line in self.text().split("\n")[:-1]]
        return [record for record in records if record["event"].startswith(event)]

    def wait(self, count=1, event="", seconds=5):
        """The records, once there are `count` of them."""
        wait_until(lambda: len(self.records(event)) >= count, f"{count} audit records", seconds)
        return self.records(event)


@contextlib.contextmanager
def started(kind):
    """A cluster of that kind, with everything before and behind it, and a user who is logged in at `home`."""
    with tempfile.TemporaryDirectory() as directory:
        # PostgreSQL runs as another user.
        os.chmod(directory, 0o755)
        cluster = kind(directory)
        try:
            cluster.start()
            cluster.make_role("dev")
            cluster.home = cluster.make_user("alice", "dev,editor")
            yield cluster
        finally:
            cluster.stop()


@pytest.fixture(scope="session")
def cluster():
    with started(Cluster) as cluster:
        yield cluster


@pytest.fixture(scope="session")
def redshift(cluster):
    return cluster.database(cluster.home)


@pytest.fixture(autouse=True)
def no_faults(request, unharmed):
    yield
    if "cluster" in request.fixturenames:
        request.getfixturevalue("cluster").faults()


# Bad inputs: what is thrown at a cluster, and the count of it at the end

@pytest.fixture(scope="module")
def witness():
    witness = Witness()
    yield witness
    witness.close()


@pytest.fixture(autouse=True)
def unharmed(request, witness):
    name = under_test(request)
    if not is_listed(request.node) or not name:
        yield
        return
    cluster = request.getfixturevalue(name)
    database = request.getfixturevalue("redshift") if name == "cluster" else cluster.database(cluster.home)
    with witness.watching(cluster, database, request.node):
        yield
    if name != "cluster":
        # Whoever made it stops it now, and waits for its sessions.
        witness.close()


LISTED = pytest.StashKey()


def pytest_collection_modifyitems(config, items):
    config.stash[LISTED] = {item.nodeid for item in items if is_listed(item)}


def pytest_terminal_summary(terminalreporter, config):
    listed = config.stash.get(LISTED, set())
    outcomes = {outcome: {report.nodeid for report in terminalreporter.stats.get(outcome, [])} & listed
                for outcome in ("passed", "failed", "error")}
    failed = outcomes["failed"] | outcomes["error"]
    tried = outcomes["passed"] | failed
    if tried:
        terminalreporter.write_line(f"bad inputs: tried {len(tried)}, passed {len(tried - failed)}")
    for report in terminalreporter.stats.get("passed", []):
        # What the tests of faults have counted.
        for name, text in report.user_properties:
            if name == "survived":
                terminalreporter.write_line(f"survived: {text}")
