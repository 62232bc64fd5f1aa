"""Which roles are assumed for a login, in which order, by whom and under which name; and whose names they are."""

import json
import pathlib
import subprocess
import urllib.request

import psycopg
import pytest

from aws_hosts import NODE, role
from conftest import BIN, HOST, ROOT, USER

FOREIGN = "arn:aws:iam::210987654321:role/abroad"
GATEWAY = "arn:aws:iam::210987654321:role/gateway"
SERVERLESS = "redshift_serverless: {workgroup_name: some-workgroup}"
# Databases beside those of the fixture: what stands in their `aws`.
DATABASES = {
    "through-gateway": f"{SERVERLESS}, assume_role_arn: '{GATEWAY}', external_id: other-account",
    "through-gateway-without-id": f"{SERVERLESS}, assume_role_arn: '{GATEWAY}'",
    "with-id": f"{SERVERLESS}, external_id: direct",
    "cluster": "redshift: {cluster_id: a-cluster}",
    "cluster-of-middle": (
        f"redshift: {{cluster_id: a-cluster}}, assume_role_arn: '{role('middle')}', external_id: external-1"),
    "cluster-gone": "redshift: {cluster_id: no-cluster}",
}


@pytest.fixture(scope="module")
def chains(cluster):
    """The cluster with these databases, and the home of one who may be any user of them."""
    before = cluster.config.read_text()
    entries = "".join(f"""  - name: {name}
    protocol: postgres
    uri: 127.0.0.1:{cluster.pg_port}
    static_labels: {{env: dev}}
    tls: {{mode: verify-full, ca_cert_file: {cluster.pg / 'ca.pem'}, server_name: {HOST}}}
    aws: {{region: us-east-1, account_id: "123456789012", {aws}}}
""" for name, aws in DATABASES.items())
    cluster.config.write_text(before + entries)
    cluster.stop_teleport()
    cluster.start_teleport()
    cluster.make_role("anybody", users="['*']")
    yield cluster.make_user("chain-carla", "anybody")
    cluster.run("tctl", "users", "rm", "chain-carla")
    cluster.stop_teleport()
    cluster.config.write_text(before)
    cluster.start_teleport()


def assumed(cluster):
    with urllib.request.urlopen(f"http://127.0.0.1:{cluster.aws_port}/_control/assumed") as answer:
        return json.load(answer)


def current_user(cluster, home, name, user):
    with psycopg.connect(cluster.database(home, name=name, user=user).dsn) as connection:
        return connection.execute("select current_user").fetchone()[0]


def refusal(cluster, home, name, user):
    with pytest.raises(psycopg.OperationalError) as failure:
        psycopg.connect(cluster.database(home, name=name, user=user).dsn)
    return str(failure.value)


SHAPES = {
    "a name": ("redshift", USER, [(NODE, role(USER), None)]),
    "an ARN": ("redshift", role(USER), [(NODE, role(USER), None)]),
    "a path": ("redshift", role("a/path/on-a-path"), [(NODE, role("a/path/on-a-path"), None)]),
    "a role before": ("chained", "behind-middle", [
        (NODE, role("middle"), "external-1"), (role("middle"), role("behind-middle"), None)]),
    "a role of another account before": ("through-gateway", "behind-gateway", [
        (NODE, GATEWAY, "other-account"), (GATEWAY, role("behind-gateway"), None)]),
    "an external id without one": ("with-id", "vouched-for", [(NODE, role("vouched-for"), "direct")]),
}


@pytest.mark.parametrize("shape", SHAPES)
def test_each_shape_of_a_chain(cluster, chains, shape):
    name, user, hops = SHAPES[shape]
    cluster.stop_teleport()
    cluster.start_teleport()
    before = len(assumed(cluster))
    assert current_user(cluster, chains, name, user) == "IAMR:" + user.split("/")[-1]
    made = assumed(cluster)[before:]
    assert [(hop["by"], hop["role"], hop["external_id"]) for hop in made] == hops
    # One hour is the most that a role assumed by a role may have.
    assert {(hop["session"], hop["duration"]) for hop in made} == {("chain-carla", 3600)}


def test_people_share_no_session_and_long_names_stay_apart(cluster, chains):
    names = ["chain-" + "x" * 65 + end for end in "ab"]
    before = len(assumed(cluster))
    for name in names:
        current_user(cluster, cluster.make_user(name, "anybody"), "redshift", USER)
    first, second = [hop["session"] for hop in assumed(cluster)[before:]]
    assert first != second and len(first) <= 64 and first.startswith("chain-xxx") and second.startswith("chain-xxx")


def test_a_missing_external_id_is_refused_by_aws_and_the_role_is_named(cluster, chains):
    text = refusal(cluster, chains, "through-gateway-without-id", "behind-gateway")
    assert "AccessDenied" in text and GATEWAY in text and "trust policy" in text


def test_a_path_is_not_dropped(cluster, chains):
    """The bare name means the role without a path, which is another."""
    assert role("on-a-path") in refusal(cluster, chains, "redshift", "on-a-path")


@pytest.mark.parametrize("user", [FOREIGN, "arn:aws-cn:iam::123456789012:role/abroad"])
def test_a_role_of_elsewhere_is_refused_although_a_pattern_allows_it(cluster, chains, user):
    text = refusal(cluster, chains, "redshift", user)
    assert f"role {user} is of another account or partition than the database (aws, 123456789012)" in text
    assert "db_users has to name this ARN in full" in text


def test_a_role_of_elsewhere_that_is_named_in_full_is_taken(cluster, chains):
    cluster.make_role("abroad", users=f"['{FOREIGN}']")
    home = cluster.make_user("chain-dirk", "abroad")
    assert current_user(cluster, home, "redshift", FOREIGN) == "IAMR:abroad"
    # An expression that means this ARN alone does not name it.
    cluster.make_role("abroad", users=f"['^{FOREIGN}$']")
    cluster.stop_teleport()
    cluster.start_teleport()
    assert "of another account" in refusal(cluster, home, "redshift", FOREIGN)


def test_clusters_take_roles_and_names(cluster, chains):
    assert current_user(cluster, chains, "cluster", role(USER)) == f"IAMR:{USER}"
    assert current_user(cluster, chains, "cluster-of-middle", "reporter") == "IAM:reporter"
    text = refusal(cluster, chains, "cluster", "reporter")
    assert "not authorized to perform: redshift:GetClusterCredentials" in text
    assert "Allow redshift:GetClusterCredentials on dbuser:a-cluster/reporter" in text
    text = refusal(cluster, chains, "cluster-gone", role(USER))
    assert "ClusterNotFound" in text and "region 'us-east-1'" in text
    assert "db_aws_redshift_cluster_id" in cluster.audit()[-1] or any(
        record.get("db_aws_redshift_cluster_id") == "a-cluster" for record in cluster.audit())


# Databases that cannot be: uri, aws, and what the server says.
IMPOSSIBLE = [
    ("db.example.invalid", "region: us-east-1", "set aws.redshift_serverless.workgroup_name or aws.redshift.cluster_id"),
    ("db.example.invalid", "redshift_serverless: {workgroup_name: w}", "aws.region cannot be read from the uri; set it"),
    ("db.example.invalid", "region: us-east-1, redshift: {cluster_id: c}", "aws.account_id cannot be read from the uri; set it"),
    ("c.r4nd0m.us-east-1.redshift.amazonaws.com", "", "aws.account_id cannot be read from the uri; set it"),
    ("n-endpoint-r.123456789012.us-east-1.redshift-serverless.amazonaws.com", "",
     "aws.redshift_serverless.workgroup_name cannot be read from the uri; set it"),
    ("n-endpoint-r.abc.us-east-1.redshift.amazonaws.com", "account_id: '123456789012'",
     "aws.redshift.cluster_id cannot be read from the uri; set it"),
    (HOST, "region: eu-west-1", "aws.region 'eu-west-1' contradicts the uri, which says 'us-east-1'"),
    (HOST, "redshift: {cluster_id: c}", "aws.redshift contradicts the uri, which is of a workgroup"),
    (HOST, "account_id: '12'", "aws.account_id '12' contradicts the uri"),
    (HOST, "assume_role_arn: 'arn:aws-cn:iam::123456789012:role/x'", "of another partition than region us-east-1"),
]


@pytest.fixture(scope="module")
def stopped(cluster):
    """The cluster without its server, whose directory another configuration may use."""
    cluster.stop_teleport()
    yield cluster
    cluster.start_teleport()


def start_with(cluster, tmp_path, host, aws, prefix=()):
    """What a server with that one database says on its way out."""
    config = tmp_path / "teleport.yaml"
    config.write_text(f"""version: v3
teleport: {{data_dir: {cluster.data}}}
auth_service: {{enabled: yes, cluster_name: test}}
proxy_service: {{enabled: yes, web_listen_addr: 127.0.0.1:{cluster.port}, public_addr: localhost:{cluster.port}}}
db_service:
  enabled: yes
  databases: [{{name: d, protocol: postgres, uri: '{host}:5439', aws: {{{aws}}}}}]
""")
    result = subprocess.run(
        [*prefix, BIN / "teleport", "start", "-c", config], env=cluster.environment, capture_output=True, text=True,
        timeout=60)
    assert result.returncode != 0
    return result.stderr


@pytest.mark.parametrize("host, aws, words", IMPOSSIBLE)
def test_what_the_uri_does_not_tell_is_asked_for_by_its_key(stopped, tmp_path, host, aws, words):
    assert words in start_with(stopped, tmp_path, host, aws)


@pytest.mark.parametrize("target, aws, words", [
    (HOST, "region: eu-west-1", "aws.region 'eu-west-1' contradicts the uri, which says 'us-east-1'"),
    (HOST, "region: us-east-1, account_id: '999999999999'", "which says '123456789012'"),
    ("c.r4nd0m.us-east-1.redshift.amazonaws.com", "region: us-east-1", "aws.account_id cannot be read from the uri; set it"),
    ("elsewhere.example.test", "region: us-east-1", "set aws.redshift_serverless.workgroup_name"),
])
def test_a_custom_domain_tells_what_it_is_an_alias_of(stopped, tmp_path, target, aws, words):
    """A name server of our own, in a network of its own, says that the domain is an alias of `target`."""
    resolver = tmp_path / "resolv.conf"
    resolver.write_text("nameserver 127.0.0.1\n")
    server = pathlib.Path(ROOT / "Tests/EndToEnd/name_server.py")
    script = tmp_path / "network.sh"
    script.write_text(f"""set -e
ip link set lo up
mount --bind "{resolver}" /etc/resolv.conf
"{ROOT}/.venv/bin/python" "{server}" data.example.test {target} &
trap "kill $!" EXIT
until [ -e "{tmp_path}/ready" ]; do sleep 0.05; done
"$@"
""")
    probe = subprocess.run(["unshare", "--net", "--mount", "true"], capture_output=True, text=True)
    if probe.returncode != 0:
        pytest.skip("namespaces need root")
    prefix = ["env", f"READY={tmp_path}/ready", "unshare", "--net", "--mount", "sh", script]
    assert words in start_with(stopped, tmp_path, "data.example.test", aws, prefix)
