"""One cluster of several processes: Auth Service, proxy and Database Service apart, joined by tokens and tunnels."""

import contextlib
import pathlib
import re
import signal
import subprocess
import threading
import time

import psycopg
import pytest

from conftest import BIN, DATABASE, HOST, USER, Cluster, free_port, open_directory, port_is_open, wait_until


# A line that says "not connected" is another one.
CONNECTED = r"\] connected to proxy"


class Host:
    """One process of the cluster with a data directory and a configuration of its own."""

    def __init__(self, cluster, name, text, roles=None):
        self.cluster, self.name, self.roles = cluster, name, roles
        self.directory = cluster.directory / name
        self.directory.mkdir(mode=0o700, exist_ok=True)
        self.data = self.directory / "data"
        self.config = self.directory / "teleport.yaml"
        self.config.write_text(text.replace("DATA", str(self.data)))
        self.log = self.directory / "log"
        self.process = None

    def start(self, port=None):
        command = [BIN / "teleport", "start", "-c", self.config]
        if self.roles:
            command.append(f"--roles={self.roles}")
        self.process = subprocess.Popen(
            command, env=self.cluster.environment, stderr=open(self.log, "a"), stdout=subprocess.DEVNULL)
        if port:
            wait_until(lambda: port_is_open(port) or self.process.poll() is not None, self.name)
            assert self.process.poll() is None, self.log.read_text()

    def stop(self, number=signal.SIGTERM):
        if self.process and self.process.poll() is None:
            self.process.send_signal(number)
            self.process.wait(timeout=60)

    def connects(self):
        return len(re.findall(CONNECTED, self.log.read_text()))

    def restart(self):
        """Starts an agent again and waits for its tunnel."""
        before = self.connects()
        self.start()
        wait_until(lambda: self.connects() > before, f"{self.name} to come back")

    def says(self, text):
        return self.log.exists() and re.search(text, self.log.read_text()) is not None


class Apart(Cluster):
    """auth, proxy and agents as processes of their own; the tools talk to the proxy, tctl to auth's own files."""

    host_ttl = "20s"

    def start(self):
        script = pathlib.Path(__file__).parent / "postgres.sh"
        subprocess.run([script, "start", self.pg, str(self.pg_port), "1200"], check=True)
        self.start_emulator()
        self.start_cluster()

    def start_cluster(self):
        self.auth_port = free_port()
        self.environment["SSL_CERT_FILE"] = str(self.directory / "bundle.pem")
        self.environment["TELEPORT_CONFIG_FILE"] = str(self.directory / "auth/teleport.yaml")
        (self.directory / "bundle.pem").write_text((self.pg / "ca.pem").read_text())
        self.auth = Host(self, "auth", f"""version: v3
teleport: {{data_dir: DATA, shutdown_timeout: 1s}}
auth_service:
  enabled: "yes"
  cluster_name: test
  listen_addr: 127.0.0.1:{self.auth_port}
  tokens: ["proxy:a-static-token-for-proxies"]
  host_certificate_ttl: {self.host_ttl}
proxy_service: {{enabled: "no", public_addr: "localhost:{self.port}"}}
""")
        self.auth.start(self.auth_port)
        self.data = self.auth.data
        wait_until(lambda: (self.data / "admin/ca.pem").exists(), "administrator's identity")
        (self.directory / "bundle.pem").write_text(
            (self.pg / "ca.pem").read_text() + (self.data / "admin/ca.pem").read_text())
        self.pin = re.search(r"sha256:\w+", self.run("tctl", "status")).group(0)
        self.proxy = self.make_proxy("proxy", self.port)
        self.proxy.start(self.port)
        self.token = self.run("tctl", "tokens", "add", "--type=db", "--format=text").strip()
        self.agents = []
        self.add_agent("agent-1")

    def make_proxy(self, name, port, shutdown="1s"):
        return Host(self, name, f"""version: v3
teleport:
  nodename: {name}
  data_dir: DATA
  shutdown_timeout: {shutdown}
  auth_server: localhost:{self.auth_port}
  ca_pin: {self.pin}
  join_params: {{method: token, token_name: a-static-token-for-proxies}}
proxy_service: {{enabled: "yes", web_listen_addr: "127.0.0.1:{port}", public_addr: "localhost:{port}"}}
""", roles="proxy")

    def agent_config(self, name, token, pin=None, databases=None, proxy=None, shutdown="1s"):
        databases = databases or "\n" + DATABASE.format(name="redshift", port=self.pg_port, ca=self.pg / "ca.pem", host=HOST)
        return f"""version: v3
teleport:
  nodename: {name}
  data_dir: DATA
  shutdown_timeout: {shutdown}
  proxy_server: localhost:{proxy or self.port}
  ca_pin: {pin or self.pin}
  join_params: {{method: token, token_name: {token}}}
auth_service: {{enabled: "no"}}
proxy_service: {{enabled: "no"}}
db_service:
  enabled: "yes"
  databases:{databases}"""

    def add_agent(self, name, **options):
        agent = Host(self, name, self.agent_config(name, self.token, **options))
        agent.start()
        self.agents.append(agent)
        wait_until(lambda: agent.says(CONNECTED) or agent.process.poll() is not None, name)
        assert agent.process.poll() is None, agent.log.read_text()
        return agent

    def stop(self):
        for host in [*getattr(self, "agents", []), getattr(self, "proxy", None), getattr(self, "auth", None)]:
            if host:
                host.stop(signal.SIGKILL)
        super().stop()


@contextlib.contextmanager
def running(cluster):
    """The cluster with a user who may use the database, until the end of the block."""
    try:
        cluster.start()
        cluster.make_role("dev")
        cluster.home = cluster.make_user("alice", "dev,editor")
        wait_until(lambda: "redshift" in cluster.run("tsh", "db", "ls", home=cluster.home), "the database in the list")
        yield cluster
    finally:
        cluster.stop()


@pytest.fixture(scope="module")
def apart(tmp_path_factory):
    with running(Apart(open_directory(tmp_path_factory, "apart"))) as cluster:
        yield cluster


@pytest.fixture(scope="module")
def database(apart):
    return apart.database(apart.home)


def one(database):
    with psycopg.connect(database.dsn, autocommit=True) as connection:
        return connection.execute("select current_user").fetchone()[0]


def test_a_session_goes_through_proxy_and_agent(apart, database):
    assert one(database) == f"IAMR:{USER}"
    wait_until(lambda: (apart.agents[0].data / "log/events.log").exists(), "the agent's audit")
    assert "db.session.start" in (apart.agents[0].data / "log/events.log").read_text()


def test_bulk_data_crosses_unchanged(database):
    with psycopg.connect(database.dsn, autocommit=True) as connection, connection.cursor() as cursor:
        cursor.execute("create temporary table bulk (line text)")
        with cursor.copy("copy bulk from stdin") as copy:
            for number in range(20_000):
                copy.write(f"{number:09d}{'x' * 990}\n".encode())
        assert cursor.execute("select count(*), sum(left(line, 9)::int) from bulk").fetchone() == (20_000, 199_990_000)
        with cursor.copy("copy (select * from bulk order by 1) to stdout") as copy:
            total = sum(len(part) for part in copy)
        assert total == 20_000 * 1000


def test_cancel_reaches_the_database(database):
    with psycopg.connect(database.dsn, autocommit=True) as connection:
        start = time.monotonic()
        threading.Timer(0.5, connection.cancel).start()
        with pytest.raises(psycopg.errors.QueryCanceled):
            connection.execute("select pg_sleep(30)")
        assert time.monotonic() - start < 10


def test_a_role_taken_away_counts_within_seconds(apart):
    apart.make_role("passing")
    home = apart.make_user("carl", "passing")
    database = apart.database(home)
    assert one(database) == f"IAMR:{USER}"
    apart.run("tctl", "users", "update", "carl", "--set-roles=access")

    def refused():
        try:
            one(database)
        except psycopg.OperationalError as error:
            return "denied" in str(error)
        return False

    wait_until(refused, "the agent to hear of it", seconds=5)


def test_a_lock_ends_sessions_at_the_agent_soon(apart, database):
    with psycopg.connect(database.dsn, autocommit=True) as connection:
        connection.execute("select 1")
        output = apart.run("tctl", "lock", "--user=alice", "--message=stolen")
        name = re.search(r'name "(\S+)"', output).group(1)
        try:
            start = time.monotonic()
            with pytest.raises(psycopg.errors.AdminShutdown, match="stolen"):
                while time.monotonic() - start < 5:
                    connection.execute("select 1")
                    time.sleep(0.02)
            # A second on a quiet machine; a busy one gets some more.
            assert time.monotonic() - start < 3
            with pytest.raises(psycopg.OperationalError, match=name):
                one(database)
        finally:
            apart.run("tctl", "rm", f"lock/{name}")

    def is_back():
        try:
            return one(database) == f"IAMR:{USER}"
        except psycopg.OperationalError:
            return False

    wait_until(is_back, "the agent to hear that the lock is gone", seconds=5)


def test_sessions_go_on_and_open_while_auth_is_down(apart, database):
    apart.auth.stop(signal.SIGKILL)
    try:
        assert one(database) == f"IAMR:{USER}"
        # An agent that starts now knows what it needs from before.
        agent = apart.agents[0]
        agent.stop(signal.SIGKILL)
        agent.restart()
        assert one(database) == f"IAMR:{USER}"
    finally:
        apart.auth.start(apart.auth_port)
    wait_until(lambda: "redshift" in apart.run("tsh", "db", "ls", home=apart.home), "auth to be back")


def test_host_certificates_are_renewed(apart, database):
    agent = apart.agents[0]
    wait_until(lambda: agent.says("host certificate renewed"), "a renewal", seconds=40)
    time.sleep(12)  # The first certificate has run out by now.
    assert len(re.findall("host certificate renewed", agent.log.read_text())) < 20, "once in half a life"
    agent.stop()
    agent.restart()
    assert one(database) == f"IAMR:{USER}"


def test_another_agent_takes_over_within_one_connect(apart, database):
    second = apart.add_agent("agent-2")
    assert one(database) == f"IAMR:{USER}"
    apart.agents[0].stop(signal.SIGKILL)
    for _ in range(20):
        assert one(database) == f"IAMR:{USER}"
    apart.agents[0].restart()
    second.stop()
    for _ in range(5):
        assert one(database) == f"IAMR:{USER}"


def test_an_agent_that_drains_finishes_its_sessions_and_takes_no_new_ones(apart, database):
    first = apart.agents[0]
    leaving = Host(apart, "agent-3", apart.agent_config("agent-3", apart.token, shutdown="30s"))
    # Alone for a moment, so that the session is its own.
    first.stop(signal.SIGKILL)
    leaving.start()
    wait_until(lambda: leaving.says(CONNECTED), "agent-3")
    connection = psycopg.connect(database.dsn)
    try:
        connection.execute("create temporary table kept (n int)")
        first.restart()
        leaving.process.send_signal(signal.SIGTERM)
        wait_until(lambda: leaving.says("draining"), "the drain to begin")
        # The other one takes them at once: nobody is sent to where the door is closed.
        for _ in range(10):
            assert one(database) == f"IAMR:{USER}"
        assert leaving.process.poll() is None, "it waits for the transaction"
        connection.execute("insert into kept values (1)")
        assert connection.execute("select n from kept").fetchone() == (1,)
        connection.commit()
        connection.close()
        assert leaving.process.wait(timeout=10) == 0
        audit = (leaving.data / "log/events.log").read_text()
        assert audit.count("db.session.start") == 1 == audit.count("db.session.end")
    finally:
        connection.close()
        leaving.stop(signal.SIGKILL)


def test_a_login_at_an_agent_that_froze_is_tried_at_another(apart, database):
    frozen = apart.agents[0]
    frozen.process.send_signal(signal.SIGSTOP)
    second = Host(apart, "agent-4", apart.agent_config("agent-4", apart.token))
    try:
        second.start()
        wait_until(lambda: second.says(CONNECTED), "agent-4")
        # Whichever agent each is given to, all get in; those at the frozen one when its silence has been noticed.
        results = []
        begun = time.monotonic()
        threads = [threading.Thread(target=lambda: results.append(works(database))) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert results == [True] * 8
        assert time.monotonic() - begun < 12, "long before the frozen one counts as gone"
    finally:
        frozen.process.send_signal(signal.SIGCONT)
        second.stop()
    # It may not have been missed at all, or has to connect again.
    wait_until(lambda: works(database), "the frozen agent to be back")


def test_a_draining_proxy_ends_idle_sessions_of_tunnels_early(apart, database):
    port = free_port()
    leaving = apart.make_proxy("proxy-2", port, shutdown="60s")
    leaving.start(port)
    try:
        agent = apart.agents[0]
        wait_until(lambda: agent.says(f"connected to proxy localhost:{port}"), "the agent to dial the second proxy")
        with psycopg.connect(database.dsn.replace(f"port='{apart.port}'", f"port='{port}'"), autocommit=True) as idle:
            assert idle.execute("select 1").fetchone() == (1,)
            start = time.monotonic()
            leaving.process.send_signal(signal.SIGTERM)
            assert leaving.process.wait(timeout=40) == 0
            assert time.monotonic() - start < 30
            with pytest.raises(psycopg.OperationalError, match="shutting down"):
                idle.execute("select 1")
    finally:
        leaving.stop(signal.SIGKILL)


def test_a_host_that_was_away_for_too_long_joins_anew(apart, database):
    agent = Host(apart, "agent-5", apart.agent_config("agent-5", apart.token))
    agent.start()
    wait_until(lambda: agent.says(CONNECTED), "agent-5")
    agent.stop(signal.SIGKILL)
    time.sleep(22)  # Certificates of this cluster are good for 20 s.
    before = (agent.data / "host/certificate.json").read_text()
    agent.restart()
    try:
        assert (agent.data / "host/certificate.json").read_text() != before
    finally:
        agent.stop()


def test_agents_come_back_to_a_proxy_that_was_killed(apart, database):
    apart.proxy.stop(signal.SIGKILL)
    apart.proxy.start(apart.port)
    wait_until(lambda: works(database), "the agents to come back", seconds=20)


def works(database):
    try:
        return one(database) == f"IAMR:{USER}"
    except psycopg.OperationalError:
        return False


@pytest.mark.parametrize("token,pin,complaint", [
    ("not-a-token-of-this-cluster", None, "join token is not valid"),
    ("a-static-token-for-proxies", None, "join token is not valid"),
    ("TOKEN", "sha256:" + "0" * 64, "does not match ca_pin"),
])
def test_who_cannot_join_is_told_why(apart, token, pin, complaint):
    name = f"stranger-{abs(hash((token, pin)))}"
    stranger = Host(apart, name, apart.agent_config(name, apart.token if token == "TOKEN" else token, pin=pin))
    stranger.start()
    assert stranger.process.wait(timeout=30) != 0
    assert complaint in stranger.log.read_text()
    assert token == "TOKEN" or token not in stranger.log.read_text()


def test_a_thousand_sessions_through_one_agent(apart, database):
    connections = []
    try:
        for _ in range(1000):
            connections.append(psycopg.connect(database.dsn, autocommit=True))
        for connection in connections[::50]:
            assert connection.execute("select 1").fetchone() == (1,)
    finally:
        for connection in connections:
            connection.close()
