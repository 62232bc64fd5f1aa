"""From flags to a served database: configure create with discovery, bootstrap of its permissions, discovery with IAM
deciding every call."""

import subprocess

import psycopg
import pytest

from conftest import BIN, open_directory, opened_to_all, wait_until
from discovery_world import DiscoveryCluster, full_name, workgroup
from test_bootstrap import IAMCluster, NODE, ok


class CloudWithIAM(DiscoveryCluster):
    """Discovery in an account whose IAM decides."""

    start_emulator, configure, bootstrap = IAMCluster.start_emulator, IAMCluster.configure, IAMCluster.bootstrap
    iam, document, statements = IAMCluster.iam, IAMCluster.document, IAMCluster.statements
    EVERYTHING = "{types: [redshift-serverless], regions: [us-east-1]}"


@pytest.fixture(scope="module")
def aws(tmp_path_factory):
    with opened_to_all(CloudWithIAM(open_directory(tmp_path_factory, "bootstrapped")), "wide") as cluster:
        yield cluster


def test_bootstrap_lets_the_service_look_and_log_in(aws):
    name = full_name("analytics")
    aws.have(workgroup("analytics", aws.pg_port, tags={"env": "dev"}))

    def complaints():
        return [line for line in aws.log.read_text().splitlines() if "looking for databases in us-east-1 failed" in line]

    wait_until(complaints, "a refusal", seconds=20)
    [line] = complaints()
    assert "not authorized to perform: redshift-serverless:List" in line and "Allow redshift-serverless:List" in line
    assert name not in aws.found()
    shown = ok(aws.bootstrap("--attach-to-role", NODE, "--confirm"))
    assert "DiscoverRedshiftServerless" in shown
    discover = {
        "Sid": "DiscoverRedshiftServerless", "Effect": "Allow", "Resource": "*", "Action": [
            "redshift-serverless:ListEndpointAccess", "redshift-serverless:ListTagsForResource",
            "redshift-serverless:ListWorkgroups"]}
    for policy in ("DatabaseAccess", "DatabaseAccessBoundary"):
        assert discover in aws.document(policy)["Statement"]
    # The service is not told: its next look succeeds.
    wait_until(lambda: name in aws.found(), name, seconds=20)
    assert "looking for databases in us-east-1 works again" in aws.log.read_text()
    with psycopg.connect(aws.database(aws.home, name).dsn) as session:
        assert session.execute("select current_user").fetchone() == ("IAMR:teleport-redshift-serverless-access",)
    # Taken away again, what is known stays and sessions begin.
    aws.iam.detach_role_policy(RoleName=NODE, PolicyArn="arn:aws:iam::123456789012:policy/DatabaseAccess")
    aws.have(workgroup("analytics", aws.pg_port, tags={"env": "dev"}), workgroup("unseen", aws.pg_port))
    wait_until(lambda: len(complaints()) == 2, "another refusal", seconds=20)
    assert name in aws.found() and full_name("unseen") not in aws.found()


def test_the_discovery_services_share_is_looking_alone(aws):
    only = aws.directory / "discovery.yaml"
    only.write_text("""discovery_service:
  discovery_group: g
  aws:
  - {types: [redshift, redshift-serverless], regions: [us-east-1, eu-west-1]}
  - {types: [redshift], regions: [us-east-1], assume_role_arn: "arn:aws:iam::123456789012:role/team/middle", external_id: x}
""")
    ok(aws.configure("bootstrap", "-c", only, "--attach-to-role", "lonely", "--policy-name", "Looking", "--confirm"))
    statements = aws.statements("Looking")
    # Nobody logs in through it: no role of a user, no login at a cluster.
    assert statements == {
        "AssumeRoles": "arn:aws:iam::123456789012:role/team/middle", "DiscoverRedshift": "*",
        "DiscoverRedshiftServerless": "*"}
    manual = subprocess.run(
        [BIN / "teleport", "discovery", "bootstrap", "-c", only, "--manual", "--attach-to-role", "middle"], env=aws.environment,
        capture_output=True, text=True, timeout=60)
    assert manual.returncode == 0 and "redshift:DescribeClusters" in manual.stdout
    assert "redshift-serverless:ListWorkgroups" not in manual.stdout and "GetClusterCredentials" not in manual.stdout


def test_configure_create_writes_matchers(aws):
    created = ok(aws.configure(
        "create", "--proxy", "localhost:3080", "--token", "some-token", "--redshift-serverless-discovery=us-east-1",
        "--redshift-serverless-discovery=eu-west-1,eu-west-2", "--redshift-discovery", "us-west-2", "--aws-tags", "env=dev,team=a",
        "--aws-assume-role-arn", "arn:aws:iam::123456789012:role/scout"))
    assert "databases:" not in created
    for words in ('types: [redshift-serverless]', '- "us-east-1"', '- "eu-west-2"', 'types: [redshift]\n      regions:\n        - "us-west-2"',
                  '"env": "dev"', '"team": "a"', 'assume_role_arn: "arn:aws:iam::123456789012:role/scout"'):
        assert words in created, (words, created)
    path = aws.directory / "created.yaml"
    path.write_text(created)
    shown = ok(aws.configure("bootstrap", "-c", path, "--manual", "--attach-to-role", "scout"))
    assert "redshift-serverless:ListWorkgroups" in shown and "redshift:DescribeClusters" in shown
    # With a database besides, and without anything to serve.
    both = ok(aws.configure(
        "create", "--proxy", "localhost:3080", "--token", "t", "--name", "x", "--protocol", "postgres", "--uri", "h:5432",
        "--redshift-discovery", "us-west-2"))
    assert "databases:" in both and 'tags:\n        "*": "*"' in both
    for missing, words in [((), "--protocol"), (("--redshift-discovery", "*"), "must name the regions")]:
        refused = aws.configure("create", "--proxy", "localhost:3080", "--token", "t", *missing)
        assert refused.returncode == 1 and words in refused.stderr, refused.stderr
