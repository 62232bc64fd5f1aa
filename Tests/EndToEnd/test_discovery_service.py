"""discovery_service makes `db` resources of what it finds; agents serve those that their `resources` mean."""

import json
import os
import ssl
import subprocess
import urllib.error
import urllib.request

import psycopg
import pytest

from conftest import BIN, ROOT, USER, open_directory, opened_to_all, wait_until
from discovery_world import OTHER_ACCOUNT, DiscoveryCluster, full_name, workgroup
from test_cluster import CONNECTED, Apart, Host
from test_dynamic_databases import resource

SCOUT = f"arn:aws:iam::{OTHER_ACCOUNT}:role/scout"
GROUP = "teleport.internal/discovery-group-name"
EVERYTHING = DiscoveryCluster.EVERYTHING


class Agent(Host):
    """Its server knows the names of the databases."""

    def start(self, port=None):
        self.process = subprocess.Popen(
            [*map(str, self.cluster.cloud.inside), BIN / "teleport", "start", "-c", self.config], env=self.cluster.environment,
            stderr=open(self.log, "a"), stdout=subprocess.DEVNULL)


class Finder(Host):
    """A process of its own with the discovery service alone."""

    def __init__(self, cluster, name, *matchers, group="everything", token=None):
        token = token or cluster.run("tctl", "tokens", "add", "--type=discovery", "--format=text").strip()
        super().__init__(cluster, name, f"""version: v3
teleport:
  nodename: {name}
  data_dir: DATA
  auth_server: localhost:{cluster.auth_port}
  ca_pin: {cluster.pin}
  join_params: {{method: token, token_name: {token}}}
auth_service: {{enabled: "no"}}
proxy_service: {{enabled: "no"}}
discovery_service:
  enabled: "yes"
  discovery_group: {group}
  poll_interval: 1s
  aws: [{', '.join(matchers)}]
""")


class InCloud(Apart):
    """Auth Service, proxy, a finder and an agent that serves what was found, all apart."""

    host_ttl = "168h"

    def __init__(self, directory):
        super().__init__(directory)
        self.cloud = DiscoveryCluster(directory)
        self.world, self.finder = self.cloud.world, None

    def start(self):
        subprocess.run(
            [ROOT / "Tests/EndToEnd/postgres.sh", "start", self.pg, str(self.pg_port)], check=True,
            env=dict(os.environ, MORE_NAMES=",".join(self.cloud.names)))
        self.start_emulator()
        self.start_cluster()
        self.finder = Finder(self, "finder", EVERYTHING)
        self.finder.start()

    def add_agent(self, name, **options):
        agent = Agent(self, name, self.agent_config(name, self.token, databases=" []").replace(
            "  databases:", "  resources: [{labels: {env: [prod, dev], 'teleport.dev/origin': cloud}}]\n  databases:"))
        agent.start()
        self.agents.append(agent)
        wait_until(lambda: agent.says(CONNECTED) or agent.process.poll() is not None, name)
        assert agent.process.poll() is None, agent.log.read_text()

    def have(self, *items):
        self.control("inventory", items)

    def resources(self):
        """The cluster's db resources, by name."""
        return {entry["metadata"]["name"]: entry for entry in json.loads(self.run("tctl", "get", "db", "--format=json"))}

    def served(self):
        return {entry["name"]: entry for entry in json.loads(self.run("tctl", "db", "ls", "--format=json"))}

    def stop(self):
        if self.finder:
            self.finder.stop()
        super().stop()


def opened(cluster, name, user=USER):
    """A session, once the proxy has heard from the agent that it serves the database."""
    dsn = cluster.database(cluster.home, name, user=user).dsn
    sessions = []

    def opens():
        try:
            sessions.append(psycopg.connect(dsn, autocommit=True))
            return True
        except psycopg.OperationalError as error:
            assert "no database service" in str(error), error
            return False

    wait_until(opens, f"a session at {name}", seconds=15)
    return sessions[0]


@pytest.fixture(scope="module")
def running(tmp_path_factory):
    with opened_to_all(InCloud(open_directory(tmp_path_factory, "found"))) as cluster:
        yield cluster


@pytest.fixture
def cloud(running):
    running.faults()
    running.have()
    if running.finder.process.poll() is not None:
        running.finder.start()
    wait_until(lambda: not running.resources(), "an empty cluster", seconds=30)
    yield running


def test_what_is_found_is_served_by_an_agent_that_means_it(cloud):
    name = full_name("analytics")
    cloud.have(
        workgroup("analytics", cloud.pg_port, tags={"env": "dev"}), workgroup("other", cloud.pg_port, tags={"env": "x"}))
    wait_until(lambda: name in cloud.served(), name, seconds=30)
    found = cloud.resources()[name]
    assert found["metadata"]["labels"][GROUP] == "everything" and found["spec"]["aws"]["account_id"] == "123456789012"
    assert cloud.served()[name]["origin"] == "cloud"
    # It is known and nobody serves it: no matcher means it.
    assert full_name("other") in cloud.resources() and full_name("other") not in cloud.served()
    [line] = [line for line in cloud.run("tctl", "db", "ls").splitlines() if line.startswith("other-")]
    assert line.endswith("cloud, not served")
    # The name in AWS is enough for tsh.
    assert "analytics" in cloud.run("tsh", "db", "login", "analytics", f"--db-user={USER}", "--db-name=dev", home=cloud.home)
    assert json.loads(cloud.run("tsh", "db", "env", "analytics", "--format=json", home=cloud.home))["PGUSER"] == USER
    with opened(cloud, name) as session:
        assert session.execute("select current_user").fetchone() == (f"IAMR:{USER}",)
        cloud.have(workgroup("analytics", cloud.pg_port, tags={"env": "prod"}))
        wait_until(lambda: cloud.served()[name]["labels"]["env"] == "prod", "the other tag", seconds=30)
        assert session.execute("select 1").fetchone() == (1,)
        cloud.have()
        wait_until(lambda: name not in cloud.served(), "its end", seconds=30)
        assert session.execute("select 2").fetchone() == (2,) and not cloud.resources()
    codes = [record["code"] for record in cloud.audit() if record.get("name") == name]
    assert codes == ["TDB03I", "TDB04I", "TDB05I"]


def test_resources_of_others_are_left_alone(cloud):
    mine = full_name("analytics")
    cloud.run("tctl", "create", stdin=resource(cloud, mine))
    cloud.run("tctl", "create", stdin=resource(
        cloud, "of-another-group", f"{{'teleport.dev/origin': cloud, '{GROUP}': another, env: x}}"))
    try:
        before = cloud.resources()
        cloud.have(workgroup("analytics", cloud.pg_port, tags={"env": "dev"}), workgroup("fresh", cloud.pg_port))
        wait_until(lambda: full_name("fresh") in cloud.resources(), "the other", seconds=30)
        text = f"'{mine}', found in AWS, has not become a db of the cluster: there is a db of this name"
        wait_until(lambda: text in cloud.finder.log.read_text(), "the reason in the log")
        # Several looks later it has been said once, and both are as they were.
        looked = cloud.counters()["ListWorkgroups"]
        wait_until(lambda: cloud.counters()["ListWorkgroups"] > looked + 6, "some looks", seconds=30)
        assert cloud.finder.log.read_text().count(text) == 1
        cloud.have()
        wait_until(lambda: full_name("fresh") not in cloud.resources(), "the end of the other", seconds=30)
        assert cloud.resources() == before
        # Once the name is free the group takes it.
        cloud.have(workgroup("analytics", cloud.pg_port))
        cloud.run("tctl", "rm", f"db/{mine}")
        wait_until(lambda: mine in cloud.resources(), "the name", seconds=30)
        cloud.have()
    finally:
        cloud.tool("tctl", "rm", f"db/{mine}")
        cloud.tool("tctl", "rm", "db/of-another-group")


def test_a_restart_removes_what_vanished_and_keeps_what_cannot_be_looked_at(cloud):
    east, west = full_name("analytics"), full_name("emea", region="eu-west-1")
    cloud.have(workgroup("analytics", cloud.pg_port), workgroup("emea", cloud.pg_port, region="eu-west-1"))
    wait_until(lambda: set(cloud.resources()) == {east, west}, "both", seconds=30)
    cloud.finder.stop()
    cloud.have(workgroup("fresh", cloud.pg_port))
    cloud.faults({"action": "ListWorkgroups", "kind": "denied", "times": 10_000, "region": "eu-west-1"})
    cloud.finder.start()
    wait_until(lambda: set(cloud.resources()) == {full_name("fresh"), west}, "what is known", seconds=30)
    cloud.faults()
    wait_until(lambda: set(cloud.resources()) == {full_name("fresh")}, "the end of the other", seconds=30)


def test_groups_side_by_side_and_the_role_of_a_matcher(cloud):
    other = Finder(
        cloud, "other-finder", f"{{types: [redshift-serverless], regions: [us-east-1], assume_role_arn: '{SCOUT}', "
        "external_id: vouched}", group="other")
    name = full_name("shared", account=OTHER_ACCOUNT)
    other.start()
    try:
        cloud.have(
            workgroup("shared", cloud.pg_port, account=OTHER_ACCOUNT, tags={"env": "prod"}),
            workgroup("analytics", cloud.pg_port))
        wait_until(lambda: name in cloud.served() and full_name("analytics") in cloud.resources(), "both", seconds=30)
        found = cloud.resources()[name]
        assert found["metadata"]["labels"][GROUP] == "other"
        assert found["spec"]["aws"]["assume_role_arn"] == SCOUT and found["spec"]["aws"]["external_id"] == "vouched"
        with opened(cloud, name, user="analyst") as session:
            assert session.execute("select current_user").fetchone() == ("IAMR:analyst",)
        cloud.have(workgroup("analytics", cloud.pg_port))
        wait_until(lambda: name not in cloud.resources(), "the end of the one", seconds=30)
        assert full_name("analytics") in cloud.resources()
    finally:
        other.stop()
        cloud.tool("tctl", "rm", f"db/{name}")


def test_only_a_host_that_joined_for_it_may_make_databases(cloud):
    stranger = Finder(cloud, "stranger", EVERYTHING, token=cloud.token)
    stranger.start()
    assert stranger.process.wait(timeout=30) == 1
    assert "the join token is not valid for this" in stranger.log.read_text()
    assert "--type=discovery" in stranger.log.read_text()
    # An agent's certificate does not do, though it is a host's.
    folder = cloud.agents[0].data / "host"
    (folder / "chain.pem").write_text(json.loads((folder / "certificate.json").read_text())["certificatePEM"])
    context = ssl.create_default_context(cafile=cloud.environment["SSL_CERT_FILE"])
    context.load_cert_chain(folder / "chain.pem", next(folder.glob("*.key")))
    context.set_alpn_protocols(["http/1.1"])
    body = {"group": "everything", "removed": [], "databases": [{
        "kind": "db", "version": "v3", "metadata": {"name": "forged"}, "spec": {"protocol": "postgres", "uri": "h:5439"}}]}
    request = urllib.request.Request(
        f"https://localhost:{cloud.auth_port}/v1/discovery/databases", data=json.dumps(body).encode(), method="POST",
        headers={"Content-Type": "application/json"})
    with pytest.raises(urllib.error.HTTPError) as refusal:
        urllib.request.urlopen(request, context=context)
    assert refusal.value.code == 403 and "did not join for the discovery service" in refusal.value.read().decode()
    assert not cloud.resources()
