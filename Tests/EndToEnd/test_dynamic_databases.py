"""Databases that come and go with tctl while sessions run, in one process and at an agent behind a tunnel."""

import json
import subprocess
import time

import psycopg
import pytest

from conftest import HOST, USER, Cluster, wait_until
from test_cluster import apart  # noqa: F401 (a fixture)


def resource(cluster, name, labels="{env: dynamic}", workgroup="some-workgroup", more="", port=None):
    certificate = (cluster.pg / "ca.pem").read_text().strip().replace("\n", "\n      ")
    return f"""
kind: db
version: v3
metadata: {{name: {name}, description: made with tctl, labels: {labels}}}
spec:
  protocol: postgres
  uri: 127.0.0.1:{port or cluster.pg_port}
  tls:
    mode: verify-full
    server_name: {HOST}
    ca_cert: |
      {certificate}
  aws:
    region: us-east-1
    account_id: "123456789012"
    redshift_serverless: {{workgroup_name: {workgroup}}}
{more}"""


def served(cluster, name):
    """The origin of a database that is served now."""
    found = [d for d in json.loads(cluster.run("tctl", "db", "ls", "--format=json")) if d["name"] == name]
    return found[0]["origin"] if found else None


@pytest.fixture(scope="module")
def dynamic(cluster, tmp_path_factory):
    """A cluster of its own whose Database Service takes databases with certain labels."""
    directory = tmp_path_factory.mktemp("dynamic")
    directory.chmod(0o755)
    own = Cluster(directory)
    own.beside(cluster)
    write = own.write_config

    def write_config(database, **options):
        write(database, **options)
        own.config.write_text(own.config.read_text().replace("db_service:\n", """db_service:
  resources:
  - labels: {env: [dynamic, 'test-*']}
  - labels: {chain: "yes"}
    aws: {assume_role_arn: "arn:aws:iam::123456789012:role/middle", external_id: external-1}
"""))

    own.write_config = write_config
    try:
        own.start_cluster()
        own.make_role("dev")
        own.home = own.make_user("alice", "dev,editor")
        yield own
    finally:
        own.teleport.terminate()
        own.teleport.wait(timeout=30)


def test_a_database_appears_changes_and_vanishes_under_a_running_session(dynamic):
    try:
        started = time.monotonic()
        assert "created" in dynamic.run("tctl", "create", stdin=resource(dynamic, "dyn"))
        wait_until(lambda: served(dynamic, "dyn"), "the database", seconds=5)
        assert time.monotonic() - started < 5
        assert served(dynamic, "dyn") == "dynamic" and served(dynamic, "redshift") == "config-file"
        assert "made with tctl" in dynamic.run("tsh", "db", "ls", home=dynamic.home)
        before = dynamic.database(dynamic.home, "dyn")
        with psycopg.connect(before.dsn, autocommit=True) as session:
            assert session.execute("select current_user").fetchone()
            # Other labels, still matched: the session goes on, a new one is judged by them.
            dynamic.run("tctl", "create", "-f", stdin=resource(dynamic, "dyn", "{env: test-1}", port=dynamic.script_port))
            wait_until(
                lambda: "test-1" in dynamic.run("tctl", "db", "ls"), "the change", seconds=5)
            assert session.execute("select 1").fetchone() == (1,)
            # Nothing listens there.
            with pytest.raises(psycopg.OperationalError, match="cannot reach the database"):
                psycopg.connect(before.dsn)
            dynamic.run("tctl", "create", "-f", stdin=resource(dynamic, "dyn"))
            wait_until(lambda: "env=dynamic" in dynamic.run("tctl", "db", "ls"), "the change back", seconds=5)
            psycopg.connect(before.dsn).close()
            dynamic.run("tctl", "rm", "db/dyn")
            wait_until(lambda: served(dynamic, "dyn") is None, "its end", seconds=5)
            with pytest.raises(psycopg.OperationalError, match="access to database 'dyn' denied"):
                psycopg.connect(before.dsn)
            assert session.execute("select 2").fetchone() == (2,)
        starts = [e for e in dynamic.audit() if e["event"] == "db.session.start" and e.get("db_service") == "dyn"]
        assert starts[0]["success"] and starts[0]["db_labels"] == {"env": "dynamic"}
        assert [e["code"] for e in dynamic.audit() if e.get("name") == "dyn"] == ["TDB03I", "TDB04I", "TDB04I", "TDB05I"]
    finally:
        dynamic.tool("tctl", "rm", "db/dyn")


def test_only_what_matches_is_served_and_the_rest_is_shown_as_idle(dynamic):
    dynamic.run("tctl", "create", stdin=resource(dynamic, "elsewhere", "{env: prod}"))
    dynamic.run("tctl", "create", stdin=resource(dynamic, "here"))
    try:
        wait_until(lambda: served(dynamic, "here"), "the database", seconds=5)
        assert served(dynamic, "elsewhere") is None
        line = [line for line in dynamic.run("tctl", "db", "ls").splitlines() if line.startswith("elsewhere")][0]
        assert line.endswith("dynamic, not served")
        assert "elsewhere" not in dynamic.run("tsh", "db", "ls", home=dynamic.home)
        answer = dynamic.tool(
            "tctl", "db", "explain", "--user=alice", "--db=elsewhere", f"--db-user={USER}", "--db-name=dev")
        assert answer.returncode == 1 and "db_service.resources" in answer.stdout and "env=prod" in answer.stdout
        allowed = dynamic.tool("tctl", "db", "explain", "--user=alice", "--db=here", f"--db-user={USER}", "--db-name=dev")
        assert allowed.returncode == 0, allowed
        psycopg.connect(dynamic.database(dynamic.home, "here").dsn).close()
    finally:
        for name in ("elsewhere", "here"):
            dynamic.run("tctl", "rm", f"db/{name}")


def test_a_matcher_gives_the_role_to_assume(dynamic):
    dynamic.make_role("behind", users="[behind-middle]")
    home = dynamic.make_user("bea", "behind")
    dynamic.run("tctl", "create", stdin=resource(dynamic, "chained-by-matcher", '{chain: "yes"}'))
    try:
        wait_until(lambda: served(dynamic, "chained-by-matcher"), "the database", seconds=5)
        answer = json.loads(dynamic.tool(
            "tctl", "db", "explain", "--user=bea", "--db=chained-by-matcher", "--db-user=behind-middle", "--db-name=dev",
            "--format=json").stdout)
        assert answer["aws"]["roles"] == [
            "arn:aws:iam::123456789012:role/middle", "arn:aws:iam::123456789012:role/behind-middle"]
        psycopg.connect(dynamic.database(home, "chained-by-matcher", user="behind-middle").dsn).close()
    finally:
        dynamic.run("tctl", "rm", "db/chained-by-matcher")


def test_a_name_of_the_file_stays_the_files(dynamic):
    dynamic.run("tctl", "create", stdin=resource(dynamic, "redshift"))
    try:
        wait_until(lambda: "teleport.yaml has a database of that name" in dynamic.log.read_text(), "the warning", seconds=5)
        assert served(dynamic, "redshift") == "config-file"
        psycopg.connect(dynamic.database(dynamic.home, "redshift").dsn).close()
    finally:
        dynamic.run("tctl", "rm", "db/redshift")


def test_a_reload_takes_up_other_matchers(dynamic):
    import signal
    dynamic.run("tctl", "create", stdin=resource(dynamic, "later", "{env: later}"))
    text = dynamic.config.read_text()
    try:
        assert served(dynamic, "later") is None
        dynamic.config.write_text(text.replace("[dynamic, 'test-*']", "[dynamic, later]"))
        dynamic.teleport.send_signal(signal.SIGHUP)
        wait_until(lambda: served(dynamic, "later"), "the database", seconds=5)
        dynamic.config.write_text(text)
        dynamic.teleport.send_signal(signal.SIGHUP)
        wait_until(lambda: served(dynamic, "later") is None, "its end", seconds=5)
    finally:
        dynamic.config.write_text(text)
        dynamic.run("tctl", "rm", "db/later")


def test_dynamic_databases_survive_a_restart(dynamic):
    dynamic.run("tctl", "create", stdin=resource(dynamic, "durable"))
    try:
        dynamic.stop_teleport()
        dynamic.start_teleport()
        wait_until(lambda: served(dynamic, "durable") == "dynamic", "the database", seconds=5)
        psycopg.connect(dynamic.database(dynamic.home, "durable").dsn).close()
    finally:
        dynamic.run("tctl", "rm", "db/durable")


def test_an_agent_behind_a_tunnel_takes_them_up_while_it_serves(apart):  # noqa: F811
    name = "agent-dynamic"
    text = apart.agent_config(name, apart.token, databases=" []").replace(
        "  databases:", "  resources: [{labels: {env: dynamic}}]\n  databases:")
    from test_cluster import CONNECTED, Host
    agent = Host(apart, name, text)
    agent.start()
    apart.agents.append(agent)
    wait_until(lambda: agent.says(CONNECTED), name)
    apart.run("tctl", "create", stdin=resource(apart, "far"))
    try:
        wait_until(lambda: served(apart, "far") == "dynamic", "the database", seconds=10)
        database = apart.database(apart.home, "far")

        def opens():
            try:
                psycopg.connect(database.dsn).close()
                return True
            except psycopg.OperationalError as error:
                assert "no database service" in str(error) or "denied" in str(error), error
                return False

        wait_until(opens, "the proxy to hear of it", seconds=10)
        with psycopg.connect(database.dsn, autocommit=True) as session:
            apart.run("tctl", "rm", "db/far")
            wait_until(lambda: served(apart, "far") is None, "its end", seconds=10)
            wait_until(lambda: not opens(), "the proxy to hear of its end", seconds=10)
            assert session.execute("select 1").fetchone() == (1,)
    finally:
        apart.tool("tctl", "rm", "db/far")
        agent.stop()
