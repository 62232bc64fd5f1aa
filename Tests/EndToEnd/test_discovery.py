"""db_service finds workgroups, VPC endpoints and clusters in AWS, and serves them as long as they are there."""

import json
import time
import urllib.request

import psycopg
import pytest

from conftest import ROLE, USER, open_directory, opened_to_all, wait_until
from discovery_world import (
    ACCOUNT, OTHER_ACCOUNT, DiscoveryCluster, endpoint, full_name, provisioned, workgroup)

SCOUT = f"arn:aws:iam::{OTHER_ACCOUNT}:role/scout"


@pytest.fixture(scope="module")
def running(tmp_path_factory):
    with opened_to_all(DiscoveryCluster(open_directory(tmp_path_factory, "discovery"))) as cluster:
        yield cluster


@pytest.fixture
def aws(running):
    """Nothing is there, and everything is looked for."""
    running.faults()
    running.have()
    if running.matchers != [running.EVERYTHING]:
        running.look_for(running.EVERYTHING)
        running.matchers = [running.EVERYTHING]
    wait_until(lambda: not running.found(), "an empty cloud", seconds=20)
    yield running


def appears(cluster, name):
    wait_until(lambda: name in cluster.found(), name, seconds=20)
    return cluster.found()[name]


def vanishes(cluster, name):
    wait_until(lambda: name not in cluster.found(), f"the end of {name}", seconds=20)


def test_a_workgroup_appears_changes_and_vanishes_under_a_running_session(aws):
    name = full_name("analytics")
    assert name not in aws.listed()
    aws.run("tctl", "create", "--force", stdin=ROLE.format(
        name="prod-only", names="[dev]", users=f"[{USER}]", options="{}").replace("'*': '*'", "env: prod"))
    bob = aws.make_user("bob", "prod-only")
    began = time.monotonic()
    aws.have(workgroup("analytics", aws.pg_port, namespace="lake", tags={"env": "dev", "Team Name": "a b"}))
    entry = appears(aws, name)
    # A look a second, and the heartbeat at once.
    assert time.monotonic() - began < 8
    assert entry["labels"] == {
        "env": "dev", "Team Name": "a b", "account-id": ACCOUNT, "region": "us-east-1", "endpoint-type": "workgroup",
        "workgroup": "analytics", "namespace": "lake", "vpc-id": "vpc-1", "teleport.dev/cloud": "AWS",
        "teleport.dev/origin": "cloud", "teleport.dev/discovery-type": "redshift-serverless",
        "teleport.internal/discovered-name": "analytics"}
    assert name in aws.run("tsh", "db", "ls", home=aws.home) and name not in aws.run("tsh", "db", "ls", home=bob)
    alice = aws.database(aws.home, name)
    with psycopg.connect(alice.dsn, autocommit=True) as session:
        assert session.execute("select current_user").fetchone() == (f"IAMR:{USER}",)
        # A tag changes who gets in.
        aws.have(workgroup("analytics", aws.pg_port, namespace="lake", tags={"env": "prod"}))
        wait_until(lambda: aws.found()[name]["labels"]["env"] == "prod", "the other tag", seconds=20)
        assert "Team Name" not in aws.found()[name]["labels"]
        of_bob = aws.database(bob, name).dsn
        psycopg.connect(of_bob).close()
        assert session.execute("select 1").fetchone() == (1,)
        aws.have(workgroup("analytics", aws.pg_port, tags={"env": "dev"}))
        wait_until(lambda: aws.found()[name]["labels"]["env"] == "dev", "the tag as before", seconds=20)
        with pytest.raises(psycopg.OperationalError, match="denied"):
            psycopg.connect(of_bob)
        aws.have()
        vanishes(aws, name)
        assert name not in aws.run("tsh", "db", "ls", home=aws.home)
        with pytest.raises(psycopg.OperationalError, match="denied"):
            psycopg.connect(alice.dsn)
        assert session.execute("select 2").fetchone() == (2,)


@pytest.mark.parametrize("status, is_there", [
    ("AVAILABLE", True), ("MODIFYING", True), ("CREATING", False), ("DELETING", False)])
def test_only_what_can_be_connected_to_is_served(aws, status, is_there):
    # The second shows that the first has been looked at.
    aws.have(workgroup("analytics", aws.pg_port, status=status), workgroup("other", aws.pg_port))
    appears(aws, full_name("other"))
    assert (full_name("analytics") in aws.found()) == is_there


def test_a_vpc_endpoint_is_reached_under_the_name_of_its_workgroup(aws):
    aws.have(
        workgroup("analytics", aws.pg_port, namespace="lake"), endpoint("reports", "analytics", aws.pg_port, tags={"env": "dev"}))
    entry = appears(aws, full_name("reports"))
    assert entry["uri"].startswith("reports-endpoint-abc123.")
    labels = entry["labels"]
    assert (labels["endpoint-type"], labels["workgroup"], labels["namespace"], labels["env"], labels["vpc-id"]) == (
        "vpc-endpoint", "analytics", "lake", "dev", "vpc-2")
    # The certificate there has the workgroup's name and not the endpoint's.
    with psycopg.connect(aws.database(aws.home, full_name("reports")).dsn) as session:
        assert session.execute("select current_user").fetchone() == (f"IAMR:{USER}",)


def test_a_provisioned_cluster(aws):
    name = full_name("warehouse", kind="redshift")
    aws.have(provisioned("warehouse", aws.pg_port, tags={"env": "<dev>"}))
    labels = appears(aws, name)["labels"]
    assert (labels["env"], labels["teleport.dev/discovery-type"], labels["vpc-id"]) == ("<dev>", "redshift", "vpc-3")
    assert "endpoint-type" not in labels
    with psycopg.connect(aws.database(aws.home, name, user="loader").dsn) as session:
        assert session.execute("select current_user").fetchone() == ("IAM:loader",)


def failures(cluster):
    return [line for line in cluster.log.read_text().splitlines() if "looking for databases in" in line]


@pytest.mark.parametrize("action", ["ListWorkgroups", "ListTagsForResource"])
def test_a_region_that_fails_keeps_what_it_had_and_others_go_on(aws, action):
    east, west = full_name("analytics"), full_name("emea", region="eu-west-1")
    aws.have(workgroup("analytics", aws.pg_port), workgroup("emea", aws.pg_port, region="eu-west-1"))
    appears(aws, east), appears(aws, west)
    said = len(failures(aws))
    aws.faults({"action": action, "kind": "denied", "times": 1000, "region": "eu-west-1"})
    aws.have(
        workgroup("analytics", aws.pg_port, tags={"env": "new"}), workgroup("fresh", aws.pg_port),
        workgroup("emea", aws.pg_port, region="eu-west-1", tags={"env": "new"}),
        workgroup("later", aws.pg_port, region="eu-west-1"))
    appears(aws, full_name("fresh"))
    wait_until(lambda: aws.found()[east]["labels"].get("env") == "new", "the change in the other region", seconds=20)
    aws.looks()
    assert "env" not in aws.found()[west]["labels"] and full_name("later", region="eu-west-1") not in aws.found()
    psycopg.connect(aws.database(aws.home, west).dsn).close()
    # However often it fails, that is said once.
    [line] = failures(aws)[said:]
    assert "in eu-west-1 failed; the 1 known there stay" in line and "AccessDeniedException" in line and action in line
    assert f"(Allow redshift-serverless:{action} on" in line
    aws.faults()
    appears(aws, full_name("later", region="eu-west-1"))
    assert aws.found()[west]["labels"]["env"] == "new"
    assert failures(aws)[-1].endswith("looking for databases in eu-west-1 works again")


def test_another_account_is_reached_through_a_role(aws):
    aws.look_for(f"{{types: [redshift-serverless], regions: [us-east-1], assume_role_arn: '{SCOUT}', external_id: vouched}}")
    aws.have(workgroup("shared", aws.pg_port, account=OTHER_ACCOUNT), workgroup("analytics", aws.pg_port))
    name = full_name("shared", account=OTHER_ACCOUNT)
    assert appears(aws, name)["labels"]["account-id"] == OTHER_ACCOUNT
    assert list(aws.found()) == [name]
    # The role that looked is the first of the login's chain, and so is its external ID.
    with psycopg.connect(aws.database(aws.home, name, user="analyst").dsn) as session:
        assert session.execute("select current_user").fetchone() == ("IAMR:analyst",)
    with urllib.request.urlopen(f"http://127.0.0.1:{aws.aws_port}/_control/assumed") as answer:
        hops = [(hop["role"], hop["external_id"], hop["session"]) for hop in json.load(answer)]
    assert (SCOUT, "vouched", "sallyport-discovery") in hops
    assert hops[-2:] == [(SCOUT, "vouched", "alice"), (f"arn:aws:iam::{OTHER_ACCOUNT}:role/analyst", None, "alice")]
    # Without it AWS refuses: what was found stays, and the log says what to mend.
    aws.look_for(f"{{types: [redshift-serverless], regions: [us-east-1], assume_role_arn: '{SCOUT}', external_id: wrong}}")
    wait_until(lambda: "trust policy" in failures(aws)[-1], "the refusal in the log", seconds=20)
    assert f"us-east-1 as {SCOUT} failed; the 0 known there stay: {SCOUT}: AccessDenied" in failures(aws)[-1]


def test_tags_choose(aws):
    things = {
        "both": {"env": "prod", "team": "a"}, "no-team": {"env": "prod"}, "wildcard": {"env": "test-7", "team": ""},
        "elsewhere": {"env": "dev", "team": "a"}, "untagged": {}}
    aws.have(*(workgroup(name, aws.pg_port, tags=tags) for name, tags in things.items()))
    appears(aws, full_name("untagged"))
    assert len(aws.found()) == 5
    base = "types: [redshift-serverless], regions: [us-east-1]"
    for tags, expected in [
        ("{env: [prod, 'test-*'], team: '*'}", {"both", "wildcard"}), ("{'*': '*'}", set(things)),
        ("{env: '^(dev|prod)$'}", {"both", "no-team", "elsewhere"}), ("{workgroup: 'no-*'}", {"no-team"}),
    ]:
        aws.look_for(f"{{{base}, tags: {tags}}}")
        names = {full_name(name) for name in expected}
        wait_until(lambda: set(aws.found()) == names, f"what {tags} means", seconds=20)
    # Of several matchers one is enough.
    aws.look_for(f"{{{base}, tags: {{team: a}}}}", f"{{{base}, tags: {{env: prod}}}}")
    wait_until(lambda: set(aws.found()) == {full_name(n) for n in ("both", "no-team", "elsewhere")}, "the union", seconds=20)


def test_250_workgroups_come_over_pages(aws):
    aws.have(*(workgroup(f"w{number:03}", aws.pg_port, tags={"number": str(number)}) for number in range(250)))
    wait_until(lambda: len(aws.found()) == 250, "all of them", seconds=60)
    assert aws.found()[full_name("w249")]["labels"]["number"] == "249"
    before = aws.counters()

    def since(action):
        return aws.counters()[action] - before[action]

    # Three pages of workgroups in the one region, one in the other; then the tags, which take their time.
    wait_until(lambda: since("ListWorkgroups") >= 4 and since("ListTagsForResource") >= 250, "another look", seconds=60)
    assert len(aws.found()) == 250
    aws.have(*(workgroup(f"w{number:03}", aws.pg_port) for number in range(0, 250, 2)))
    wait_until(lambda: len(aws.found()) == 125, "the rest", seconds=60)


def test_tags_give_names_and_clashes_are_settled_and_said(aws):
    aws.have(
        workgroup("analytics", aws.pg_port, tags={"TeleportDatabaseName": "sales"}),
        workgroup("other", aws.pg_port, tags={"teleport.dev/database_name": "sales"}),
        workgroup("bad", aws.pg_port, tags={"TeleportDatabaseName": "no such/name"}),
        workgroup("thief", aws.pg_port, tags={"TeleportDatabaseName": full_name("plain")}), workgroup("plain", aws.pg_port),
        endpoint("plain", "plain", aws.pg_port), workgroup("filed", aws.pg_port, tags={"TeleportDatabaseName": "redshift"}))
    appears(aws, "sales")
    names = {name: entry["labels"]["workgroup"] for name, entry in aws.found().items()}
    assert names == {
        "sales": "analytics", full_name("other"): "other", full_name("bad"): "bad", full_name("thief"): "thief",
        full_name("plain"): "plain", full_name("plain") + "-vpc-endpoint": "plain"}
    assert aws.listed()["redshift"]["origin"] == "config-file"
    psycopg.connect(aws.database(aws.home, "sales").dsn).close()
    aws.looks()
    log = aws.log.read_text()
    for words in (
        f"workgroup/id-of-other is called '{full_name('other')}' and not 'sales', as its tag wants: arn:",
        f"workgroup/id-of-bad is called '{full_name('bad')}' and not 'no such/name', as its tag wants: it is not a name",
        f"workgroup/id-of-thief is called '{full_name('thief')}' and not '{full_name('plain')}'",
        f"managedvpcendpoint/id-of-plain is called '{full_name('plain')}-vpc-endpoint'",
        "the database 'redshift' found in AWS is not served: teleport.yaml has a database of that name",
    ):
        assert log.count(words) == 1, words


def test_a_tag_forges_no_fact(aws):
    aws.have(workgroup("analytics", aws.pg_port, tags={
        "account-id": "999999999999", "teleport.dev/origin": "config-file", "teleport.internal/discovery-group-name": "x",
        "region": "eu-west-1"}))
    labels = appears(aws, full_name("analytics"))["labels"]
    assert (labels["account-id"], labels["region"], labels["teleport.dev/origin"]) == (ACCOUNT, "us-east-1", "cloud")
    assert "teleport.internal/discovery-group-name" not in labels


def test_a_matcher_that_cannot_be_used_ends_the_start_with_its_reason(aws):
    bad = aws.directory / "bad.yaml"
    for matcher, words in [
        ("{types: [rds], regions: [us-east-1]}", "has 'rds', which is not looked for"),
        ("{types: [redshift]}", "must name the regions"), ("{types: [redshift], regions: ['*']}", "must name the regions"),
        ("{types: [redshift], regions: [us-east-1], assume_role_arn: nobody}", "is not the ARN of an IAM role"),
        ("{types: [redshift], regions: [cn-north-1], assume_role_arn: 'arn:aws:iam::123456789012:role/x'}", "another partition"),
        ("{types: [redshift], regions: [us-east-1], integration: x}", "is not supported"),
    ]:
        bad.write_text(aws.config.read_text().replace(aws.EVERYTHING, matcher))
        result = aws.tool("teleport", "start", "-c", bad, "--data-dir", aws.directory / "unused")
        assert result.returncode == 1 and words in result.stderr, (matcher, result.stderr)
        assert len(result.stderr.splitlines()) == 1
