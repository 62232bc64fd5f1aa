"""Every kind of resource through tctl create, get and rm, in Teleport's shapes."""

import json
import re
import subprocess

import pytest

from conftest import BIN, PASSWORD

ALL_KINDS = """
kind: role
version: v7
metadata: {name: kinds-role, description: of the test}
spec:
  allow: {db_labels: {env: dev}, db_names: [dev], db_users: ['{{internal.db_users}}']}
---
kind: user
version: v2
metadata: {name: kinds-user}
spec:
  roles: [kinds-role]
  traits: {db_users: [reader], db_names: null, logins: ["-teleport-nologin"]}
  created_by: {user: {name: someone}}
---
kind: token
version: v2
metadata: {name: kinds-token-0123456789abcdef, expires: "2999-01-01T00:00:00Z"}
spec: {roles: [Db, Proxy], join_method: token}
---
kind: db
version: v3
metadata: {name: kinds-db, description: a database, labels: {env: nowhere}}
spec:
  protocol: postgres
  uri: wg.012345678901.eu-west-1.redshift-serverless.amazonaws.com:5439
  aws: {assume_role_arn: "arn:aws:iam::012345678901:role/middle", external_id: 007, redshift_serverless: {workgroup_name: wg}}
---
kind: lock
version: v2
metadata: {name: kinds-lock}
spec: {target: {user: nobody-here}, expires: "2999-01-01T00:00:00Z"}
"""


@pytest.fixture
def kinds(cluster):
    before = {t["metadata"]["name"] for t in json.loads(cluster.run("tctl", "get", "tokens", "--format=json"))}
    output = cluster.run("tctl", "create", stdin=ALL_KINDS)
    after = {t["metadata"]["name"] for t in json.loads(cluster.run("tctl", "get", "tokens", "--format=json"))}
    [token] = after - before
    names = ["role/kinds-role", "user/kinds-user", f"token/{token}", "db/kinds-db", "lock/kinds-lock"]
    yield output, names
    for name in ["user/kinds-user", "role/kinds-role", *names[2:]]:
        cluster.run("tctl", "rm", name)


def test_a_file_of_all_kinds_is_created_and_never_shows_the_token(cluster, kinds):
    output, names = kinds
    assert re.sub(r"[0-9a-f]{12}", "ID", output).splitlines() == [
        "role 'kinds-role' has been created", "user 'kinds-user' has been created",
        "For a link to set a password with: tctl users reset kinds-user", "token 'ID' has been created",
        "db 'kinds-db' has been created", "lock 'kinds-lock' has been created"]
    everything = cluster.run("tctl", "get", "all", "--with-secrets")
    assert "kinds-token" not in everything + cluster.log.read_text() + json.dumps(cluster.audit())
    again = cluster.tool("tctl", "create", stdin=ALL_KINDS)
    assert again.returncode == 1 and "role 'kinds-role' already exists" in again.stderr
    events = [(e["event"], e["code"]) for e in cluster.audit() if e.get("name") == "kinds-db"]
    assert events[-1] == ("db.create", "TDB03I")


@pytest.mark.parametrize("form", ["yaml", "json"])
@pytest.mark.parametrize("options", [[], ["--with-secrets"]])
def test_what_get_prints_create_takes_back_unchanged(cluster, kinds, form, options):
    _, names = kinds
    for name in [*names, "roles,users,tokens,db,locks"]:
        printed = cluster.run("tctl", "get", name, f"--format={form}", *options)
        cluster.run("tctl", "create", "-f", stdin=printed)
        assert cluster.run("tctl", "get", name, f"--format={form}", *options) == printed
    # 'all' has the cluster_auth_preference too, whose label says "dynamic" from then on.
    everything = cluster.run("tctl", "get", "all", f"--format={form}", *options)
    output = cluster.run("tctl", "create", "-f", stdin=everything)
    assert "created" not in output and "cluster auth preference has been updated" in output
    cluster.run("tctl", "rm", "cap")


def test_scalars_stay_as_written_and_shapes_are_teleports(cluster, kinds):
    [database] = json.loads(cluster.run("tctl", "get", "db/kinds-db", "--format=json"))
    assert database["metadata"].pop("revision")
    assert database == {
        "kind": "db", "version": "v3",
        "metadata": {"name": "kinds-db", "description": "a database", "labels": {"env": "nowhere"}},
        "spec": {
            "protocol": "postgres", "uri": "wg.012345678901.eu-west-1.redshift-serverless.amazonaws.com:5439",
            "aws": {"assume_role_arn": "arn:aws:iam::012345678901:role/middle", "external_id": "007",
                    "redshift_serverless": {"workgroup_name": "wg"}}}}
    [user] = json.loads(cluster.run("tctl", "get", "users/kinds-user", "--format=json"))
    assert (user["kind"], user["version"], user["metadata"]["name"]) == ("user", "v2", "kinds-user")
    assert user["spec"] == {
        "roles": ["kinds-role"], "traits": {"db_users": ["reader"], "db_names": [], "logins": ["-teleport-nologin"]}}
    text = cluster.run("tctl", "get", "role/kinds-role")
    assert text.startswith("kind: role\n") and not text.startswith("-")
    overview = cluster.run("tctl", "get", "all", "--format=text")
    for word in ("kinds-role", "kinds-user", "kinds-db", "user=nobody-here", "env=nowhere"):
        assert word in overview


def test_a_token_made_from_a_resource_lets_a_host_in_and_is_hidden(cluster, kinds):
    _, names = kinds
    [token] = json.loads(cluster.run("tctl", "get", names[2], "--format=json"))
    assert re.fullmatch("[0-9a-f]{12}", token["metadata"]["name"])
    assert token["spec"] == {"roles": ["db", "proxy"], "join_method": "token"}
    [secret] = json.loads(cluster.run("tctl", "get", names[2], "--format=json", "--with-secrets"))
    assert re.fullmatch("sha256:[0-9a-f]{64}", secret["metadata"]["name"])
    listing = cluster.run("tctl", "tokens", "ls")
    assert token["metadata"]["name"] in listing and "sha256:" not in listing
    assert secret["metadata"]["name"] in cluster.run("tctl", "tokens", "ls", "--with-secrets")
    # The hash is no token: who has it cannot join.
    body = {"services": ["db"], "hostName": "h", "publicNames": [], "signingRequestPEM": ""}
    for value, words in [(secret["metadata"]["name"], "not valid"), (secret["metadata"]["name"][7:], "not valid"),
                         ("kinds-token-0123456789abcdef", "signing request")]:
        answer = subprocess.run(
            ["curl", "-sS", "--cacert", cluster.environment["SSL_CERT_FILE"], "-H", "Content-Type: application/json",
             "-d", json.dumps(body | {"token": value}), f"https://localhost:{cluster.port}/v1/join"],
            capture_output=True, text=True, check=True).stdout
        assert words in answer, (value, answer)


@pytest.mark.parametrize("text, words", [
    ("kind: rolle\nversion: v5\nmetadata: {name: x}\n", r"stdin:1: unknown kind 'rolle'; did you mean 'role'\?"),
    ("version: v5\nmetadata: {name: x}\n", "stdin:1: 'kind' is missing"),
    ("kind: user\nversion: v2\nmetadata:\n  name: ../x\nspec: {roles: [dev]}\n", "stdin:4: user name"),
    ("kind: user\nversion: v2\nmetadata: {name: x}\nspec:\n  roles: [dev]\n  role: x\n", "stdin:6: unknown key 'role'"),
    ("kind: token\nversion: v2\nmetadata:\n  name: secret-of-0123456789\nspec: {roles: [Db]}\n", "stdin:3: a token needs an end"),
    ("kind: token\nversion: v2\nmetadata: {name: short-secret, expires: '2999-01-01T00:00:00Z'}\nspec: {roles: [Db]}\n",
     "stdin:3: a token has 16 to 512 bytes"),
    ("kind: db\nversion: v3\nmetadata: {name: x}\nspec:\n  protocol: postgres\n  uri: nowhere\n",
     "stdin:6: 'uri' must be HOST:PORT"),
    ("kind: db\nversion: v3\nmetadata: {name: x}\nspec:\n  protocol: postgres\n  uri: h:1\n  tls:\n    ca_cert_file: /x\n",
     "stdin:8: 'ca_cert_file' is for teleport.yaml"),
    ("kind: db\nversion: v3\nmetadata: {name: x}\nspec:\n  protocol: postgres\n  uri: h:1\n  aws:\n    redshift_serverless: {workgroup_name: w}\n",
     "database 'x': aws.region cannot be read from the uri; set it"),
    ("kind: db\nversion: v3\nmetadata: {name: x}\nspec:\n  protocol: postgres\n  uri: h:1\n  tls: {ca_cert: nonsense}\n",
     "database 'x'"),
    ("kind: role\nversion: v5\nmetadata: {name: x}\nspec:\n  allow:\n    db_names: ['^($']\n", "stdin:6: "),
    ("kind: cluster_auth_preference\nversion: v2\nspec:\n  second_factor: on\n  require_session_mfa: true\n",
     "stdin:5: 'require_session_mfa' is not enforced"),
])
def test_mistakes_are_named_with_their_line(cluster, text, words):
    result = cluster.tool("tctl", "create", stdin=text)
    assert result.returncode == 1 and len(result.stderr.splitlines()) == 1, result
    assert re.search(words, result.stderr), result.stderr
    assert "secret" not in result.stderr


@pytest.mark.parametrize("arguments, words", [
    (["get", "rolls"], "did you mean 'roles'?"), (["get", "role/nothing"], "role/nothing not found"),
    (["rm", "role"], "write KIND/NAME"), (["rm", "db/redshift"], "was not made with 'tctl create'"),
    (["get", "db/redshift"], "teleport.yaml"), (["rm", "node/x"], "use one of role, user, token, db"),
    (["edit", "db"], "write KIND/NAME"),
])
def test_references_that_lead_nowhere(cluster, arguments, words):
    result = cluster.tool("tctl", *arguments)
    assert result.returncode == 1 and words in result.stderr and len(result.stderr.splitlines()) == 1, result


def test_help_names_the_kinds(cluster):
    for command in ("get", "create", "edit", "rm"):
        text = " ".join(cluster.run("tctl", command, "--help").split())
        assert "role, user, token, db, cluster_auth_preference, lock" in text


def test_each_verb_of_each_kind_is_asked_for(cluster, tmp_path):
    """On a workstation, as the user of tsh: a role with one rule at a time."""
    (tmp_path / "teleport.yaml").write_text("teleport: {data_dir: /nonexistent}")
    cluster.make_role("ruled")
    home = cluster.make_user("rula", "ruled")
    environment = {
        **cluster.environment, "TELEPORT_HOME": str(home), "TELEPORT_CONFIG_FILE": str(tmp_path / "teleport.yaml")}

    def tctl(*command, stdin=None):
        return subprocess.run(
            [BIN / "tctl", *command], env=environment, input=stdin, capture_output=True, text=True, timeout=60)

    def rule(kind, *verbs):
        rules = f"[{{resources: [{kind}], verbs: [{', '.join(verbs)}]}}]" if verbs else "[]"
        cluster.run(
            "tctl", "create", "-f",
            stdin=f"kind: role\nversion: v5\nmetadata: {{name: ruled}}\nspec: {{allow: {{rules: {rules}}}}}\n")

    documents = {re.search(r"kind: (\w+)", text).group(1): text for text in ALL_KINDS.split("---")}
    documents["user"] = documents["user"].replace("kinds-role", "ruled")
    for kind, text in documents.items():
        name = re.search(r"name: ([-\w]+)", text).group(1)
        if kind == "token":
            # The name without the secret is known once it is there.
            name = None
        for command, verbs in [(["get", kind], ["list"]), (["create"], ["create"]), (["create", "-f"], ["create", "update"])]:
            for allowed in (verbs[:-1], verbs):
                rule(kind, *allowed)
                result = tctl(*command, stdin=text)
                assert (result.returncode == 0) == (allowed == verbs), (kind, command, allowed, result)
                if result.returncode:
                    assert f"may not {verbs[-1]} {kind}" in result.stderr or "may not create" in result.stderr, result
        if kind == "token":
            rule(kind, "list")
            assert "may not read token" in tctl("get", "tokens", "--with-secrets").stderr
            rule(kind, "list", "read")
            assert "sha256:" in tctl("get", "tokens", "--with-secrets").stdout
            name = [t for t in json.loads(tctl("get", "token", "--format=json").stdout)
                    if "2999" in t["metadata"]["expires"]][0]["metadata"]["name"]
        rule(kind, "list", "create", "update")
        assert f"may not delete {kind}" in tctl("rm", f"{kind}/{name}").stderr
        rule(kind, "delete")
        if kind == "role":
            cluster.run("tctl", "rm", f"role/{name}")
            continue
        assert tctl("rm", f"{kind}/{name}").returncode == 0


def test_users_from_add_to_rm(cluster):
    output = cluster.run("tctl", "users", "add", "una", "--roles=dev", "--db-users=a,b", "--ttl=10m")
    assert "valid for 10m" in output
    invite = json.loads(cluster.run("tctl", "users", "reset", "una", "--format=json"))
    assert invite["user"] == "una" and "/web/invite/" in invite["url"]
    output = cluster.run("tctl", "users", "update", "una", "--set-roles=dev,access", "--set-db-names=dev", "--set-db-users=c")
    assert output == (
        "User una has been updated:\n\tNew roles: dev,access\n\tNew database users: c\n\tNew database names: dev\n")
    assert "db_names: dev; db_users: c" in cluster.run("tctl", "users", "ls")
    cluster.run("tctl", "users", "update", "una", "--set-db-users", "")
    [user] = [u for u in json.loads(cluster.run("tctl", "users", "ls", "--format=json")) if u["metadata"]["name"] == "una"]
    assert user["spec"] == {"roles": ["dev", "access"], "traits": {"db_users": [], "db_names": ["dev"]}}
    cluster.run("tctl", "users", "add", "ute", "--roles=dev")
    assert cluster.run("tctl", "users", "rm", "una,ute") == 'User "una" has been deleted\nUser "ute" has been deleted\n'
    for ttl in ("59s", "49h", "soon"):
        result = cluster.tool("tctl", "users", "add", "uwe", "--roles=dev", f"--ttl={ttl}")
        assert result.returncode == 1 and "1m to 48h" in result.stderr


def test_a_user_made_from_a_file_signs_up_and_reaches_a_database(cluster):
    cluster.run("tctl", "create", stdin="kind: user\nversion: v2\nmetadata: {name: finn}\nspec: {roles: [dev]}\n")
    link = [word for word in cluster.run("tctl", "users", "reset", "finn").split() if "https://" in word][0]
    subprocess.run(
        ["curl", "-sS", "--fail", "--cacert", cluster.environment["SSL_CERT_FILE"], "--data-urlencode",
         f"password={PASSWORD}", "-o", "/dev/null", link], check=True)
    home = cluster.log_in("finn")
    # Replacing the user keeps the password.
    cluster.run("tctl", "create", "-f", stdin=cluster.run("tctl", "get", "user/finn"))
    cluster.log_in("finn")
    assert "redshift" in cluster.run("tsh", "db", "ls", home=home)
    cluster.run("tctl", "rm", "user/finn")
