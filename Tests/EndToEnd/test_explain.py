"""tctl db explain: its verdict against what psql meets, and its reasons."""

import json
import subprocess

import psycopg
import pytest

from conftest import BIN, USER


def explain(cluster, user, db="redshift", db_user=USER, db_name="dev", *more):
    return cluster.tool(
        "tctl", "db", "explain", f"--user={user}", f"--db={db}", f"--db-user={db_user}", f"--db-name={db_name}", *more)


def details(cluster, user, db="redshift", db_user=USER, db_name="dev", *more):
    result = explain(cluster, user, db, db_user, db_name, "--format=json", *more)
    assert result.returncode in (0, 1), result
    answer = json.loads(result.stdout)
    assert answer["allowed"] == (result.returncode == 0)
    return answer


@pytest.fixture(scope="module")
def ella(cluster):
    """A user with a role that allows, one that denies, and one that goes by her traits."""
    cluster.run("tctl", "create", "-f", stdin=f"""
kind: role
version: v5
metadata: {{name: ella-dev}}
spec:
  allow: {{db_labels: {{env: [dev, staging]}}, db_names: [dev, 'rep*'], db_users: [{USER}]}}
---
kind: role
version: v5
metadata: {{name: ella-not}}
spec:
  deny: {{db_names: ['^.*_secret$']}}
---
kind: role
version: v5
metadata: {{name: ella-traits}}
spec:
  allow: {{db_labels: {{env: prod}}, db_names: ['{{{{internal.db_names}}}}'], db_users: ['{{{{internal.db_users}}}}']}}
""")
    home = cluster.make_user("ella", "ella-dev,ella-not,ella-traits")
    cluster.run("tctl", "users", "update", "ella", "--set-db-users=reader", "--set-db-names=dev")
    return home


def connects(cluster, home, db, db_user, db_name):
    """Whether a session opens, with a certificate that leaves user and database to the client."""
    certificate = cluster.open_certificate(home, db)
    try:
        psycopg.connect(f"{certificate.dsn} user={db_user} dbname={db_name}").close()
    except psycopg.OperationalError as error:
        text = str(error)
        # What the roles allow and the database or AWS does not is no matter of roles.
        return "denied" not in text, text
    return True, ""


@pytest.mark.parametrize("db, db_user, db_name, allowed", [
    ("redshift", USER, "dev", True), ("redshift", USER, "reports", True), ("redshift", USER, "reports_secret", False),
    ("redshift", "other", "dev", False), ("redshift", USER, "prod", False), ("second", USER, "dev", False),
    ("second", "reader", "dev", True), ("second", "reader", "prod", False),
    ("redshift", f"arn:aws:iam::123456789012:role/{USER}", "dev", True),
])
def test_the_verdict_is_the_sessions(cluster, ella, db, db_user, db_name, allowed):
    answer = details(cluster, "ella", db, db_user, db_name)
    assert answer["allowed"] == allowed, answer
    opens, text = connects(cluster, ella, db, db_user, db_name)
    assert opens == allowed, text
    if not allowed:
        # The reason is the one that psql shows.
        assert any(problem in text for problem in answer["problems"]), (answer["problems"], text)
        assert answer["mends"]
    else:
        assert answer["problems"] == answer["mends"] == []


def test_every_role_says_what_matched(cluster, ella):
    roles = {role["role"]: role for role in details(cluster, "ella", "redshift", USER, "rep_secret")["roles"]}
    assert [(d["field"], d["match"]) for d in roles["ella-not"]["denies"]] == [("db_names", "^.*_secret$")]
    assert [(a["field"], a.get("match")) for a in roles["ella-dev"]["allows"]] == [
        ("db_labels", "env: dev|staging"), ("db_users", USER), ("db_names", "rep*")]
    text = explain(cluster, "ella", "redshift", USER, "rep_secret").stdout
    assert text.startswith("DENIED: ")
    assert "role 'ella-not' denies it" in text and "deny.db_names matches: ^.*_secret$" in text
    assert "take what matches (^.*_secret$) out of deny.db_names" in text
    allowed = explain(cluster, "ella").stdout
    assert allowed.startswith("ALLOWED: ") and "role 'ella-dev' allows it" in allowed


def test_what_it_tells_to_do_works(cluster, ella):
    [mend] = [m for m in details(cluster, "ella", "second", "writer", "dev")["mends"]]
    command = mend[mend.index("tctl users"):].split()
    assert command == ["tctl", "users", "update", "ella", "--set-db-users=reader,writer"]
    cluster.run(*command)
    try:
        assert details(cluster, "ella", "second", "writer", "dev")["allowed"]
    finally:
        cluster.run("tctl", "users", "update", "ella", "--set-db-users=reader")


def test_the_way_through_aws_is_shown(cluster, ella):
    answer = details(cluster, "ella", "chained")
    assert answer["aws"] == {
        "roles": ["arn:aws:iam::123456789012:role/middle", f"arn:aws:iam::123456789012:role/{USER}"],
        "account": "123456789012", "region": "us-east-1", "workgroup": "some-workgroup", "databaseUser": f"IAMR:{USER}"}
    text = explain(cluster, "ella", "chained").stdout
    assert text.index("assume role arn:aws:iam::123456789012:role/middle") < text.index(f"role/{USER}\n")
    foreign = details(cluster, "ella", "chained", f"arn:aws:iam::999999999999:role/{USER}", "dev")
    assert not foreign["allowed"] and "another account" in " ".join(foreign["problems"])
    assert any("123456789012" in mend for mend in foreign["mends"])


def test_locks_count(cluster, ella):
    output = cluster.run("tctl", "lock", "--user=ella", "--db=redshift", "--message=audit week")
    name = output.split('"')[1]
    try:
        answer = details(cluster, "ella")
        assert not answer["allowed"] and answer["locks"] == [name]
        assert "audit week" in answer["problems"][0] and f"tctl rm lock/{name}" in answer["mends"][0]
        assert details(cluster, "ella", "chained")["allowed"]
    finally:
        cluster.run("tctl", "rm", f"lock/{name}")
    assert details(cluster, "ella")["allowed"]


def test_replication_is_asked_for_apart(cluster, ella):
    assert explain(cluster, "ella").returncode == 0
    answer = details(cluster, "ella", "redshift", USER, "dev", "--replication")
    assert not answer["allowed"] and "allow.db_replication" in answer["mends"][0]


def test_what_is_not_there(cluster, ella):
    answer = details(cluster, "nobody")
    assert answer["problems"] == ["user 'nobody' does not exist"] and "tctl users add nobody" in answer["mends"][0]
    answer = details(cluster, "ella", "nothing")
    assert answer["problems"] == ["no Database Service serves 'nothing' now"]


def test_what_cannot_be_found_out_has_a_status_of_its_own(cluster, ella, tmp_path):
    (tmp_path / "teleport.yaml").write_text("teleport: {data_dir: /nonexistent}")
    environment = {
        **cluster.environment, "TELEPORT_HOME": str(ella), "TELEPORT_CONFIG_FILE": str(tmp_path / "teleport.yaml")}
    result = subprocess.run(
        [BIN / "tctl", "db", "explain", "--user=ella", "--db=redshift", f"--db-user={USER}", "--db-name=dev"],
        env=environment, capture_output=True, text=True, timeout=60)
    assert result.returncode == 2 and "may not list user" in result.stderr and len(result.stderr.splitlines()) == 1
