"""`teleport db doctor` and the running cluster: databases made with `tctl create`, agents, provisioned clusters of Redshift."""

import json
import re
import subprocess

import pytest

from conftest import BIN, USER, wait_until
from test_cluster import CONNECTED, Host, apart  # noqa: F401 (a fixture)
from test_doctor import policies
from test_dynamic_databases import dynamic, resource, served  # noqa: F401 (a fixture)
from test_role_chains import chains, role  # noqa: F401 (a fixture)


def doctor(cluster, name, user=USER, config=None):
    """The doctor's findings by their links, of those that are no chain, and its exit code."""
    result = subprocess.run(
        [BIN / "teleport", "db", "doctor", name, f"--db-user={user}", "--db-name=dev", "--format=json", "-c",
         config or cluster.config],
        env=cluster.environment, capture_output=True, text=True, timeout=100)
    if not result.stdout:
        return result.stderr, result.returncode
    return {found["link"]: found for found in json.loads(result.stdout)["findings"]}, result.returncode


@pytest.fixture
def made(dynamic):  # noqa: F811
    """Makes databases, and takes them away."""
    names = []

    def make(name, **options):
        dynamic.run("tctl", "create", stdin=resource(dynamic, name, **options))
        names.append(name)

    yield make
    for name in names:
        dynamic.run("tctl", "rm", f"db/{name}")


def test_a_dynamic_database_is_looked_at_like_any_other(dynamic, made):  # noqa: F811
    made("dyn")
    wait_until(lambda: served(dynamic, "dyn"), "the database")
    findings, code = doctor(dynamic, "dyn")
    assert code == 0, findings
    assert findings["cluster"]["detail"] == "'test': this host's db_service.resources match db/dyn; it is served now"
    assert findings["first query"]["outcome"] == "works"


def test_its_matcher_decides_which_role_comes_first(dynamic, made):  # noqa: F811
    made("dyn-chained", labels='{chain: "yes"}')
    wait_until(lambda: served(dynamic, "dyn-chained"), "the database")
    findings, code = doctor(dynamic, "dyn-chained", user="behind-middle")
    assert code == 0, findings
    assert findings["assume role"]["detail"].endswith("/behind-middle lets arn:aws:iam::123456789012:role/middle in")


def test_what_is_wrong_with_it_is_found(dynamic, made):  # noqa: F811
    made("dyn-wrong", workgroup="nowhere")
    wait_until(lambda: served(dynamic, "dyn-wrong"), "the database")
    findings, code = doctor(dynamic, "dyn-wrong")
    assert code == 1 and findings["database credentials"]["outcome"] == "broken"
    assert "ResourceNotFoundException" in findings["database credentials"]["detail"]


def test_no_matcher_of_this_host_means_it(dynamic, made):  # noqa: F811
    made("dyn-prod", labels="{env: prod}")
    findings, code = doctor(dynamic, "dyn-prod")
    assert code == 1 and set(findings) == {"cluster"}
    assert "db_service.resources do not match its labels" in findings["cluster"]["detail"]
    mend = "\n".join(findings["cluster"]["mend"])
    assert "{env: prod}" in mend and re.search(r"^  resources:\n  - labels:\n      env: prod$", mend, re.M)


def test_neither_the_file_nor_the_cluster_has_it(dynamic):  # noqa: F811
    error, code = doctor(dynamic, "nothing")
    assert code == 1 and "it has: redshift, second" in error and "cluster 'test' has no db/nothing either" in error
    assert error.count("\n") == 1


def test_the_service_has_not_read_the_file_anew(dynamic, tmp_path):  # noqa: F811
    text = dynamic.config.read_text()
    changed = tmp_path / "teleport.yaml"
    changed.write_text(text.replace("- name: second", "- name: brand-new"))
    findings, code = doctor(dynamic, "brand-new", config=changed)
    assert code == 1 and findings["cluster"]["outcome"] == "broken"
    assert "no Database Service serves 'brand-new' now" in findings["cluster"]["detail"]
    assert "systemctl reload-or-restart teleport" in "\n".join(findings["cluster"]["mend"])
    # The way itself is good.
    assert findings["first query"]["outcome"] == "works"
    changed.write_text(text.replace(f"uri: 127.0.0.1:{dynamic.pg_port}", f"uri: localhost:{dynamic.pg_port}"))
    findings, code = doctor(dynamic, "redshift", config=changed)
    assert code == 0 and f"but at 127.0.0.1:{dynamic.pg_port}" in findings["cluster"]["detail"]


def test_the_service_need_not_run_for_databases_of_the_file(dynamic):  # noqa: F811
    dynamic.stop_teleport()
    try:
        findings, code = doctor(dynamic, "redshift")
        assert code == 0 and findings["cluster"]["outcome"] == "skipped"
        assert "cannot reach" in findings["cluster"]["detail"]
        error, code = doctor(dynamic, "dyn")
        assert code == 1 and "the cluster, which may have it, does not answer" in error
    finally:
        dynamic.start_teleport()


def test_an_agent_asks_by_its_own_certificate(apart):  # noqa: F811
    name = "agent-doctor"
    text = apart.agent_config(name, apart.token, databases=" []").replace(
        "  databases:", "  resources: [{labels: {env: dynamic}}]\n  databases:")
    agent = Host(apart, name, text)
    error, code = doctor(apart, "far", config=agent.config)
    assert code == 1 and "this host is not part of a cluster yet" in error
    agent.start()
    apart.agents.append(agent)
    wait_until(lambda: agent.says(CONNECTED), name)
    apart.run("tctl", "create", stdin=resource(apart, "far"))
    try:
        findings, code = doctor(apart, "far", config=agent.config)
        assert code == 0, findings
        assert findings["cluster"]["detail"].endswith("this host's db_service.resources match db/far")
        host = next(h for h in json.loads(apart.run("tctl", "inventory", "ls", "--format=json")) if h["name"] == name)
        apart.run("tctl", "lock", f"--server-id={host['hostID']}", "--message=away with it")
        try:
            error, code = doctor(apart, "far", config=agent.config)
            assert code == 1 and "away with it" in error
        finally:
            for lock in json.loads(apart.run("tctl", "get", "locks", "--format=json")):
                apart.run("tctl", "rm", f"lock/{lock['metadata']['name']}")
    finally:
        apart.tool("tctl", "rm", "db/far")
        agent.stop()


# Provisioned clusters


def test_a_provisioned_cluster_with_a_role_and_with_a_name(cluster, chains):  # noqa: F811
    findings, code = doctor(cluster, "cluster", user=role(USER))
    assert code == 0, findings
    assert findings["configuration"]["detail"].endswith("cluster 'a-cluster' of account 123456789012 in us-east-1")
    assert f"a password for 'IAMR:{USER}'" in findings["database credentials"]["detail"]
    findings, code = doctor(cluster, "cluster-of-middle", user="reporter")
    assert code == 0, findings
    assert "reporter" in findings["authentication"]["detail"]


def test_what_a_provisioned_cluster_refuses(cluster, chains):  # noqa: F811
    findings, code = doctor(cluster, "cluster-gone", user=role(USER))
    assert code == 1 and "ClusterNotFound" in findings["database credentials"]["detail"]
    assert "aws redshift describe-clusters --region us-east-1" in "\n".join(findings["database credentials"]["mend"])
    findings, code = doctor(cluster, "cluster", user="reporter")
    assert code == 1
    mend = "\n".join(findings["database credentials"]["mend"])
    assert [policy["Statement"][0]["Action"] for policy in policies(mend)] == ["redshift:GetClusterCredentials"] * 2


def test_explain_shows_the_chain_of_a_provisioned_cluster(cluster, chains):  # noqa: F811
    def explain(name, user, format="json"):
        return cluster.run(
            "tctl", "db", "explain", "--user=chain-carla", f"--db={name}", f"--db-user={user}", "--db-name=dev",
            f"--format={format}")

    answer = json.loads(explain("cluster-of-middle", "reporter"))
    assert answer["allowed"] and answer["aws"] == {
        "roles": [role("middle")], "account": "123456789012", "region": "us-east-1", "cluster": "a-cluster",
        "databaseUser": "reporter"}
    answer = json.loads(explain("cluster", role(USER)))
    assert answer["aws"]["roles"] == [role(USER)] and answer["aws"]["databaseUser"] == f"IAMR:{USER}"
    assert "get credentials of cluster a-cluster; the session is user reporter there" in explain(
        "cluster-of-middle", "reporter", "text")
