"""Two Auth Services on one PostgreSQL, two proxies, two agents: any one of each may die."""

import pathlib
import re
import shutil
import signal
import subprocess
import time

import psycopg
import pytest

from conftest import BIN, free_port, open_directory, wait_until
from test_cluster import Apart, Host, one

STATE_PASSWORD = "the password of the state"


class TwoOfEach(Apart):
    """The state lies in a PostgreSQL of its own, reached over TLS with a password."""

    def start(self):
        script = pathlib.Path(__file__).parent / "postgres.sh"
        subprocess.run([script, "start", self.pg, str(self.pg_port), "300"], check=True)
        self.state, self.state_port = self.directory / "state", free_port()
        subprocess.run([script, "start", self.state, str(self.state_port), "100"], check=True)
        with psycopg.connect(
                f"host={self.state} port={self.state_port} user={self.superuser} dbname=dev", autocommit=True) as admin:
            admin.execute(f"create role sallyport login password '{STATE_PASSWORD}'")
            admin.execute("create database sallyport owner sallyport")
            # The script's server may lose the last commits when it is killed; a state must not.
            admin.execute("alter role sallyport set synchronous_commit = on")
        self.start_emulator()
        self.environment["SSL_CERT_FILE"] = str(self.directory / "bundle.pem")
        (self.directory / "bundle.pem").write_text((self.pg / "ca.pem").read_text())
        self.auth_ports = [free_port(), free_port()]
        self.ports = [self.port, free_port()]
        self.auths = [self.make_auth(number) for number in (0, 1)]
        self.environment["TELEPORT_CONFIG_FILE"] = str(self.auths[0].config)
        self.auths[0].start(self.auth_ports[0])
        self.data = self.auths[0].data
        wait_until(lambda: (self.data / "admin/ca.pem").exists(), "administrator's identity")
        (self.directory / "bundle.pem").write_text(
            (self.pg / "ca.pem").read_text() + (self.data / "admin/ca.pem").read_text())
        self.pin = re.search(r"sha256:\w+", self.run("tctl", "status")).group(0)
        self.proxies = [self.make_proxy(f"proxy-{number}", port) for number, port in enumerate(self.ports)]
        self.token = self.run("tctl", "tokens", "add", "--type=db", "--format=text").strip()
        self.agents = []

    def make_auth(self, number):
        connection = (
            f"postgresql://sallyport:{STATE_PASSWORD.replace(' ', '%20')}@localhost:{self.state_port}/sallyport"
            f"?sslmode=verify-full&sslrootcert={self.state / 'ca.pem'}")
        return Host(self, f"auth-{number}", f"""version: v3
teleport:
  nodename: auth-{number}
  data_dir: DATA
  shutdown_timeout: 1s
  storage: {{type: postgresql, conn_string: "{connection}"}}
auth_service:
  enabled: "yes"
  cluster_name: test
  listen_addr: 127.0.0.1:{self.auth_ports[number]}
  tokens: ["proxy:a-static-token-for-proxies"]
proxy_service: {{enabled: "no", public_addr: "localhost:{self.port}"}}
""")

    def make_proxy(self, name, port, shutdown="1s"):
        servers = ", ".join(f"localhost:{port}" for port in self.auth_ports)
        return Host(self, name, f"""version: v3
teleport:
  nodename: {name}
  data_dir: DATA
  shutdown_timeout: {shutdown}
  auth_servers: [{servers}]
  ca_pin: {self.pin}
  join_params: {{method: token, token_name: a-static-token-for-proxies}}
proxy_service: {{enabled: "yes", web_listen_addr: "127.0.0.1:{port}", public_addr: "localhost:{port}"}}
""", roles="proxy")

    def agent_config(self, name, token, **options):
        text = super().agent_config(name, token, **options)
        proxies = ", ".join(f"localhost:{port}" for port in self.ports)
        return re.sub(r"proxy_server: .*", f"proxy_server: [{proxies}]", text)

    def at(self, number, *command):
        """tctl on the host of one of the Auth Services."""
        environment = dict(self.environment, TELEPORT_CONFIG_FILE=str(self.auths[number].config))
        result = subprocess.run(
            [BIN / command[0], *command[1:]], env=environment, capture_output=True, text=True, timeout=60)
        assert result.returncode == 0, result.stderr
        return result.stdout

    def stop(self):
        for host in [*getattr(self, "agents", []), *getattr(self, "proxies", []), *getattr(self, "auths", [])]:
            host.stop(signal.SIGKILL)
        subprocess.run([pathlib.Path(__file__).parent / "postgres.sh", "stop", self.state], check=False)
        self.proxy = self.auth = None
        super().stop()


@pytest.fixture(scope="module")
def pair(tmp_path_factory):
    directory = open_directory(tmp_path_factory, "pair")
    cluster = TwoOfEach(directory)
    try:
        cluster.start()
        yield cluster
    finally:
        cluster.stop()


def test_a_second_auth_service_needs_the_key_that_seals(pair):
    second = pair.auths[1]
    second.start()
    second.process.wait(timeout=30)
    assert second.process.returncode != 0
    assert re.search(r"second_factor.key is missing.*copy it from the cluster's other Auth Service", second.log.read_text())
    shutil.copy(pair.data / "second_factor.key", second.data / "second_factor.key")
    second.start(pair.auth_ports[1])
    assert pair.at(1, "tctl", "status").replace(" ", "") == pair.at(0, "tctl", "status").replace(" ", "")


def test_nothing_in_the_database_opens_anything(pair):
    dump = subprocess.run(
        ["pg_dump", "-h", pair.state, "-p", str(pair.state_port), "-U", pair.superuser, "sallyport"], check=True,
        capture_output=True, text=True).stdout
    assert "BEGIN CERTIFICATE" in dump
    # bytea is shown in hex.
    assert "PRIVATE KEY" not in dump and b"PRIVATE KEY".hex() not in dump


def test_what_one_changes_the_other_knows_within_a_second(pair):
    if pair.auths[1].process.poll() is not None:
        pytest.fail("the second Auth Service does not run")
    pair.at(0, "tctl", "users", "add", "bob", "--roles=access")
    assert "bob" in pair.at(1, "tctl", "users", "ls")
    pair.at(1, "tctl", "users", "rm", "bob")
    assert "bob" not in pair.at(0, "tctl", "users", "ls")


def test_the_whole_works(pair):
    for proxy, port in zip(pair.proxies, pair.ports):
        proxy.start(port)
    pair.add_agent("agent-1")
    pair.add_agent("agent-2")
    pair.make_role("dev")
    pair.home = pair.make_user("alice", "dev")
    wait_until(lambda: "redshift" in pair.run("tsh", "db", "ls", home=pair.home), "the database in the list")
    wait_until(lambda: all(agent.connects() >= 2 for agent in pair.agents), "agents at both proxies")
    pair.redshift = pair.database(pair.home)
    assert one(pair.redshift)


def through(pair, number):
    """A new session through one of the proxies."""
    dsn = re.sub(r"port='\d+'", f"port='{pair.ports[number]}'", pair.redshift.dsn)
    with psycopg.connect(dsn, autocommit=True, connect_timeout=10) as connection:
        return connection.execute("select 1").fetchone()[0]


def works(pair, number):
    try:
        return through(pair, number) == 1
    except psycopg.OperationalError:
        return False


@pytest.mark.parametrize("kind", ["auths", "agents", "proxies"])
@pytest.mark.parametrize("victim", [0, 1])
def test_any_one_may_be_killed(pair, kind, victim):
    hosts = getattr(pair, kind)
    survivor = 1 - victim if kind == "proxies" else None
    ports = {"auths": pair.auth_ports, "proxies": pair.ports}.get(kind)
    hosts[victim].stop(signal.SIGKILL)
    try:
        # The death of an agent is noticed by its connections, which the kernel ends at once.
        for number in [survivor] if survivor is not None else [0, 1]:
            wait_until(lambda: works(pair, number), f"a session through proxy {number}", seconds=10)
            for _ in range(5):
                assert through(pair, number) == 1
        if kind == "auths":
            # A login and a change through the Auth Service that is left.
            pair.log_in("alice")
            pair.at(1 - victim, "tctl", "tokens", "add", "--type=db")
    finally:
        before = [agent.connects() for agent in pair.agents]
        hosts[victim].start(ports[victim] if ports else None)
    if kind == "agents":
        wait_until(lambda: hosts[victim].connects() >= before[victim] + 2, "the agent to come back to both proxies")
    elif kind == "proxies":
        wait_until(
            lambda: all(agent.connects() > count for agent, count in zip(pair.agents, before)), "the agents to come back")
    assert works(pair, 0) and works(pair, 1)


def test_a_lock_made_at_one_ends_sessions_that_the_other_feeds(pair):
    with psycopg.connect(pair.redshift.dsn, autocommit=True) as connection:
        connection.execute("select 1")
        output = pair.at(1, "tctl", "lock", "--user=alice", "--ttl=1m")
        began = time.monotonic()
        with pytest.raises(psycopg.OperationalError):
            while time.monotonic() - began < 10:
                connection.execute("select 1")
                time.sleep(0.05)
        assert time.monotonic() - began < 3
    name = re.search(r'name "(\S+)"', output).group(1)
    pair.at(0, "tctl", "rm", f"lock/{name}")
    wait_until(lambda: works(pair, 0), "access after the lock")


def test_sessions_open_while_the_state_is_away(pair):
    script = pathlib.Path(__file__).parent / "postgres.sh"
    subprocess.run([script, "stop", pair.state], check=True)
    try:
        for number in (0, 1):
            assert through(pair, number) == 1
        result = pair.tool("tctl", "tokens", "add", "--type=db")
        assert result.returncode != 0
        assert "cannot reach the cluster's state; try again" in result.stderr
        assert STATE_PASSWORD not in result.stderr
    finally:
        subprocess.run([script, "restart", pair.state], check=True)
    wait_until(lambda: pair.tool("tctl", "tokens", "add", "--type=db").returncode == 0, "the state to be back")
    logs = "".join(auth.log.read_text() for auth in pair.auths)
    assert "PostgreSQL at localhost" in logs
    assert STATE_PASSWORD not in logs and STATE_PASSWORD.replace(" ", "%20") not in logs
