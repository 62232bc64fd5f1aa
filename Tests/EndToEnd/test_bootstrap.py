"""teleport db configure bootstrap and aws print-iam|create-iam against IAM as moto keeps it, then sessions that its policies
allow or not (Tests/AWSEmulator/iam.py)."""

import asyncio
import json
import os
import ssl
import subprocess
import tempfile

import asyncpg
import boto3
import pexpect
import psycopg
import pytest

from conftest import BIN, HOST, ROOT, Cluster, opened_to_all, port_is_open, wait_until

NODE = "teleport-redshift-serverless-node"
ACCESS = "teleport-redshift-serverless-access"
ADMIN = {"AWS_ACCESS_KEY_ID": "AKIAADMINADMINADMIN0", "AWS_SECRET_ACCESS_KEY": "of the administrator"}
HALF_ADMIN = {
    "AWS_ACCESS_KEY_ID": "AKIAHALFADMIN0000000", "AWS_SECRET_ACCESS_KEY": "of one who may create but not attach"}
SERVICE = {"AWS_ACCESS_KEY_ID": "AKIASERVICESERVICE00", "AWS_SECRET_ACCESS_KEY": "of the database service"}
POLICY = "arn:aws:iam::123456789012:policy/"


class IAMCluster(Cluster):
    """A cluster whose AWS has IAM."""

    def start_emulator(self):
        self.emulator = subprocess.Popen(
            [ROOT / ".venv/bin/python", ROOT / "Tests/AWSEmulator/iam.py", "--port", str(self.aws_port), "--world",
             ROOT / "Tests/AWSEmulator/world_iam.json", "--postgres",
             f"host={self.pg} port={self.pg_port} user={self.superuser} dbname=dev"],
            stderr=open(self.directory / "aws.log", "a"))
        wait_until(lambda: port_is_open(self.aws_port), "emulator")

    def write_config(self, **options):
        super().write_config(**options)
        self.config.write_text(self.config.read_text().replace("role/middle", "role/team/middle"))

    def restart_aws(self):
        """AWS as it is at the start."""
        self.emulator.terminate()
        self.emulator.wait(timeout=30)
        self.start_emulator()

    def forget_logins(self):
        self.stop_teleport()
        self.start_teleport()

    def configure(self, *arguments, keys=ADMIN, **options):
        return subprocess.run(
            [BIN / "teleport", "db", "configure", *map(str, arguments)], env=self.environment | keys, capture_output=True,
            text=True, timeout=60, stdin=subprocess.DEVNULL, **options)

    def bootstrap(self, *arguments, **options):
        return self.configure("bootstrap", "-c", self.config, *arguments, **options)

    @property
    def iam(self):
        return boto3.client(
            "iam", endpoint_url=f"http://127.0.0.1:{self.aws_port}", region_name="us-east-1",
            aws_access_key_id=ADMIN["AWS_ACCESS_KEY_ID"], aws_secret_access_key=ADMIN["AWS_SECRET_ACCESS_KEY"])

    def document(self, name):
        policy = self.iam.get_policy(PolicyArn=POLICY + name)["Policy"]
        version = self.iam.get_policy_version(PolicyArn=policy["Arn"], VersionId=policy["DefaultVersionId"])
        return version["PolicyVersion"]["Document"]

    def statements(self, name):
        return {entry["Sid"]: entry["Resource"] for entry in self.document(name)["Statement"]}

    def attached(self, role=NODE):
        answer = self.iam.list_attached_role_policies(RoleName=role)
        return [policy["PolicyName"] for policy in answer["AttachedPolicies"]]

    def boundary(self, role=NODE):
        return self.iam.get_role(RoleName=role)["Role"].get("PermissionsBoundary", {}).get("PermissionsBoundaryArn")

    def refusal(self, database):
        """What the database's client is told: SQLSTATE, message, hint."""
        environment = database.environment
        context = ssl.create_default_context(cafile=environment["PGSSLROOTCERT"])
        context.load_cert_chain(environment["PGSSLCERT"], environment["PGSSLKEY"])
        with pytest.raises(asyncpg.PostgresError) as failure:
            asyncio.run(asyncpg.connect(
                host=environment["PGHOST"], port=environment["PGPORT"], user=environment["PGUSER"],
                database=environment["PGDATABASE"], ssl=context))
        return failure.value.sqlstate, failure.value.message, failure.value.hint


@pytest.fixture(scope="module")
def running():
    with tempfile.TemporaryDirectory() as directory:
        os.chmod(directory, 0o755)
        with opened_to_all(IAMCluster(directory), "wide") as cluster:
            yield cluster


@pytest.fixture
def aws(running):
    running.restart_aws()
    yield running


def connects_as(database):
    with psycopg.connect(database.dsn) as connection:
        return connection.execute("select current_user").fetchone()[0]


def ok(result):
    assert result.returncode == 0, result.stderr
    return result.stdout


def test_the_plan_is_shown_and_nothing_happens_without_a_yes(aws):
    result = aws.bootstrap("--attach-to-role", NODE)
    assert result.returncode == 1
    assert "stdin is not a terminal" in result.stderr and "--confirm" in result.stderr
    assert len(result.stderr.splitlines()) == 1
    for words in ("1. Create the policy DatabaseAccess", "Attach the policy DatabaseAccess to role " + NODE,
                  "Set the boundary DatabaseAccessBoundary", f"role/{ACCESS}", "role/team/middle"):
        assert words in result.stdout
    assert aws.attached() == [] and aws.boundary() is None
    terminal = pexpect.spawn(
        str(BIN / "teleport"), ["db", "configure", "bootstrap", "-c", str(aws.config), "--attach-to-role", NODE],
        env=aws.environment | ADMIN, encoding="utf-8", timeout=30, dimensions=(60, 200))
    terminal.expect(r"Go ahead\? \[y/N\]")
    terminal.sendline("")
    terminal.expect("stopped; nothing has been changed")
    terminal.expect(pexpect.EOF)
    terminal.close()
    assert terminal.exitstatus == 1 and aws.attached() == []


def test_a_second_run_finds_nothing_to_do(aws):
    assert "Done: " in ok(aws.bootstrap("--attach-to-role", NODE, "--confirm"))
    assert aws.attached() == ["DatabaseAccess"] and aws.boundary() == POLICY + "DatabaseAccessBoundary"
    assert aws.statements("DatabaseAccess") == {"AssumeRoles": [
        "arn:aws:iam::123456789012:role/team/middle", f"arn:aws:iam::123456789012:role/{ACCESS}"]}
    assert aws.statements("DatabaseAccessBoundary") == {"AssumeRoles": "*"}
    before = aws.counters()
    again = ok(aws.bootstrap("--attach-to-role", NODE))
    assert again.startswith("Nothing to do: ")
    changed = {action for action, count in aws.counters().items() if count != before.get(action)}
    assert not [action for action in changed if action.startswith(("Create", "Attach", "Put", "Delete"))]


def test_each_target_gets_its_own_share(aws):
    ok(aws.bootstrap("--attach-to-role", NODE, "--confirm"))
    ok(aws.bootstrap("--attach-to-role", "middle", "--confirm"))
    assert aws.attached("middle") == ["DatabaseAccess-middle"]
    assert aws.statements("DatabaseAccess-middle") == {
        "AssumeRoles": "arn:aws:iam::123456789012:role/behind-middle"}
    assert aws.boundary("middle") == POLICY + "DatabaseAccess-middleBoundary"
    # The same policy name for somebody else would change what the first may do.
    other = aws.bootstrap("--attach-to-role", "lonely", "--assumes-roles", ACCESS, "--confirm")
    assert other.returncode == 1 and "was made for role/" + NODE in other.stderr and "--policy-name" in other.stderr
    assert aws.attached("lonely") == []


def test_a_changed_configuration_makes_a_new_version_and_room_for_it(aws):
    for role in ("a", "b", "c", "d", "e", "f", "g"):
        ok(aws.bootstrap("--attach-to-role", NODE, "--assumes-roles", role, "--confirm"))
        assert f"arn:aws:iam::123456789012:role/{role}" in aws.statements("DatabaseAccess")["AssumeRoles"]
    versions = aws.iam.list_policy_versions(PolicyArn=POLICY + "DatabaseAccess")["Versions"]
    assert len(versions) == 5
    assert [version["VersionId"] for version in versions if version["IsDefaultVersion"]] == ["v7"]


@pytest.mark.parametrize("name", ["DatabaseAccess", "DatabaseAccessBoundary"])
def test_a_policy_of_somebody_else_is_left_alone(aws, name):
    theirs = {"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": "s3:*", "Resource": "*"}]}
    aws.iam.create_policy(PolicyName=name, PolicyDocument=json.dumps(theirs))
    result = aws.bootstrap("--attach-to-role", NODE, "--confirm")
    assert result.returncode == 1 and "was not made by this command" in result.stderr and "--policy-name" in result.stderr
    assert aws.document(name) == theirs
    assert aws.attached() == [] and aws.boundary() is None
    ok(aws.bootstrap("--attach-to-role", NODE, "--policy-name", "Other", "--confirm"))
    assert aws.attached() == ["Other"]


def test_a_boundary_of_somebody_else_stays(aws):
    theirs = aws.iam.create_policy(PolicyName="Company", PolicyDocument=json.dumps({
        "Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": "s3:*", "Resource": "*"}]}))["Policy"]["Arn"]
    aws.iam.put_role_permissions_boundary(RoleName=NODE, PermissionsBoundary=theirs)
    shown = ok(aws.bootstrap("--attach-to-role", NODE, "--confirm"))
    assert theirs in shown and "stays as it is" in shown and "sts:AssumeRole on *" in shown
    assert aws.boundary() == theirs and aws.attached() == ["DatabaseAccess"]


def test_what_was_done_and_what_not_is_said_when_it_breaks_off(aws):
    result = aws.bootstrap("--attach-to-role", NODE, "--confirm", keys=HALF_ADMIN)
    assert result.returncode == 1 and len(result.stderr.splitlines()) == 1
    done, _, rest = result.stderr.partition("Not done: ")
    assert "step 2 of 4" in done and "Done before: create the policy DatabaseAccess" in done
    assert "attach the policy DatabaseAccess" in rest and "create the boundary" in rest
    assert "iam:AttachRolePolicy" in result.stderr
    # Somebody who may goes on from there.
    resumed = ok(aws.bootstrap("--attach-to-role", NODE, "--confirm"))
    assert "Create the policy DatabaseAccess" not in resumed.splitlines()
    assert aws.attached() == ["DatabaseAccess"] and aws.boundary() is not None


def test_errors_name_the_mend(aws):
    for arguments, words in [
        (["--attach-to-role", "nobody"], "there is no role nobody"),
        (["--attach-to-role", "arn:aws:iam::999999999999:role/x"], "of another account"),
        (["--attach-to-role", "arn:aws:iam::123456789012:user/x"], "is not the ARN of what the option names"),
        (["--attach-to-role", "lonely", "--policy-name", "a b"], "is not a policy name"),
        (["--attach-to-role", "lonely", "--assumes-roles", "a b"], "is not the name of an IAM role"),
        (["--attach-to-role", "middle", "--assumes-roles", ",".join(f"role-{n:050}" for n in range(90))],
         "IAM takes 6144"),
        (["--attach-to-role", "a", "--attach-to-user", "b"], "exclude each other"),
    ]:
        result = aws.bootstrap(*arguments, "--confirm")
        assert result.returncode != 0 and words in result.stderr, (arguments, result.stderr)
    lonely = aws.directory / "lonely.yaml"
    lonely.write_text(f"""db_service:
  databases:
  - {{name: a, protocol: postgres, uri: "{HOST}:5439"}}
""")
    result = aws.configure("bootstrap", "-c", lonely, "--attach-to-role", "lonely", "--confirm")
    assert result.returncode == 1 and "role/lonely" in result.stderr and "--assumes-roles" in result.stderr
    nothing = aws.directory / "nothing.yaml"
    nothing.write_text("db_service: {databases: [{name: a, protocol: postgres, uri: 'localhost:5432'}]}\n")
    result = aws.configure("bootstrap", "-c", nothing)
    assert result.returncode == 1 and "no database of Redshift" in result.stderr
    result = aws.bootstrap(keys={"AWS_EC2_METADATA_DISABLED": "true"})
    assert result.returncode == 1 and "NoCredentialProviders" in result.stderr


def test_the_credentials_own_identity_is_the_target_without_an_option(aws):
    # The instance's role may not change IAM, and asking whether it exists is the first thing it may not.
    result = aws.bootstrap("--confirm", keys={})
    assert result.returncode == 1 and "iam:GetRole" in result.stderr and f"assumed-role/{NODE}" in result.stderr
    aws.iam.put_role_policy(RoleName=NODE, PolicyName="iam", PolicyDocument=json.dumps({
        "Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": "iam:*", "Resource": "*"}]}))
    shown = ok(aws.bootstrap("--confirm", keys={}))
    assert "has other policies (iam)" in shown
    assert aws.attached() == ["DatabaseAccess"] and aws.boundary() == POLICY + "DatabaseAccessBoundary"


def test_roles_are_looked_for_on_every_page(aws):
    trust = json.dumps({"Version": "2012-10-17", "Statement": [{
        "Effect": "Allow", "Principal": {"AWS": "arn:aws:iam::123456789012:role/lonely"}, "Action": "sts:AssumeRole"}]})
    names = [f"user-{number:03}" for number in range(120)]
    for name in names:
        aws.iam.create_role(RoleName=name, AssumeRolePolicyDocument=trust)
    ok(aws.bootstrap("--attach-to-role", "lonely", "--confirm"))
    assert aws.statements("DatabaseAccess")["AssumeRoles"] == [
        "arn:aws:iam::123456789012:role/team/middle", *(f"arn:aws:iam::123456789012:role/{name}" for name in names)]
    assert aws.counters()["ListRoles"] == 3


def test_manual_mode_asks_nobody(aws):
    before = aws.counters()
    text = ok(aws.bootstrap("--manual", "--attach-to-role", NODE, keys={"AWS_EC2_METADATA_DISABLED": "true"}))
    assert aws.counters() == before
    for words in ("1. Create the policy DatabaseAccess", "2. Create the policy DatabaseAccessBoundary",
                  "3. Attach DatabaseAccess to role " + NODE, '"sts:ExternalId": "external-1"', "--assumes-roles"):
        assert words in text
    ok(aws.bootstrap("--attach-to-role", NODE, "--assumes-roles", ACCESS, "--confirm"))
    printed = ok(aws.bootstrap("--manual", "--attach-to-role", NODE, "--assumes-roles", ACCESS))
    # What is printed is what is made.
    decoder, documents, position = json.JSONDecoder(), [], 0
    while (position := printed.find("\n{", position)) >= 0:
        document, end = decoder.raw_decode(printed[position + 1:])
        documents.append(document)
        position += end
    assert documents[0] == aws.document("DatabaseAccess")
    assert documents[1] == aws.document("DatabaseAccessBoundary")


def test_print_iam_and_create_iam(aws):
    types = ["--types", "redshift-serverless,redshift"]
    policy = json.loads(ok(aws.configure("aws", "print-iam", *types, "--assumes-roles", "my-access-role", "--policy")))
    assert {entry["Sid"]: entry["Action"] for entry in policy["Statement"]} == {
        "AssumeRoles": "sts:AssumeRole",
        "DiscoverRedshiftServerless": [
            "redshift-serverless:ListEndpointAccess", "redshift-serverless:ListTagsForResource",
            "redshift-serverless:ListWorkgroups"],
        "DiscoverRedshift": "redshift:DescribeClusters", "LogInToRedshift": "redshift:GetClusterCredentials"}
    assert policy["Statement"][0]["Resource"] == "arn:aws:iam::123456789012:role/my-access-role"
    boundary = json.loads(ok(aws.configure(
        "aws", "print-iam", "-r", "redshift-serverless", "--boundary", keys={"AWS_EC2_METADATA_DISABLED": "true"})))
    assert boundary["Statement"][0]["Resource"] == "*"
    assert "Attach DatabaseAccess to role x" in ok(aws.configure("aws", "print-iam", *types, "--role", "x"))
    unknown = aws.configure("aws", "print-iam", "--types", "rds")
    assert unknown.returncode != 0 and "redshift-serverless" in unknown.stderr

    ok(aws.configure("aws", "create-iam", *types, "--role", "lonely", "--assumes-roles", "my-access-role", "--confirm"))
    assert aws.document("DatabaseAccess") == policy
    assert aws.attached("lonely") == ["DatabaseAccess"]
    ok(aws.configure("aws", "create-iam", *types, "--role", NODE, "--name", "Loose", "--no-attach", "--confirm"))
    assert aws.attached() == [] and aws.boundary() is None
    ok(aws.configure("aws", "create-iam", *types, "--user", "service", "--name", "OfUser", "--confirm"))
    answer = aws.iam.list_attached_user_policies(UserName="service")
    assert [entry["PolicyName"] for entry in answer["AttachedPolicies"]] == ["OfUser"]
    boundary = aws.iam.get_user(UserName="service")["User"]["PermissionsBoundary"]["PermissionsBoundaryArn"]
    assert boundary == POLICY + "OfUserBoundary"


# The permissions as AWS enforces them


def test_bootstrap_opens_and_detaching_shuts(aws):
    delegated = aws.database(aws.home, user="delegated")
    chained = aws.database(aws.home, name="chained", user="behind-middle")
    aws.forget_logins()
    # The trust policies name the account: the identities' own policies have to allow it.
    state, message, hint = aws.refusal(delegated)
    assert state == "28000"
    assert f"assumed-role/{NODE}" in message and "is not authorized to perform: sts:AssumeRole" in message
    assert hint.startswith("Allow sts:AssumeRole on arn:aws:iam::123456789012:role/delegated in a permission policy")
    assert "teleport db configure bootstrap" in hint
    assert "sts:AssumeRole on arn:aws:iam::123456789012:role/team/middle" in aws.refusal(chained)[2]

    ok(aws.bootstrap("--attach-to-role", NODE, "--assumes-roles", f"delegated,{ACCESS}", "--confirm"))
    aws.forget_logins()
    assert connects_as(delegated) == "IAMR:delegated"
    # The role of the chain needs nothing of its own as long as the last role's trust policy names it.
    assert connects_as(chained) == "IAMR:behind-middle"

    aws.iam.detach_role_policy(RoleName=NODE, PolicyArn=POLICY + "DatabaseAccess")
    aws.forget_logins()
    assert "no identity-based policy allows the sts:AssumeRole action" in aws.refusal(delegated)[1]
    assert "role/team/middle" in aws.refusal(chained)[1]
    ok(aws.bootstrap("--attach-to-role", NODE, "--assumes-roles", f"delegated,{ACCESS}", "--confirm"))
    aws.forget_logins()
    assert connects_as(delegated) == "IAMR:delegated"


def test_a_boundary_shuts_what_policies_open_until_it_is_bootstrapped(aws):
    access = aws.database(aws.home, user=ACCESS)
    aws.forget_logins()
    # Same account, and the trust policy names the node's role: no policy is needed.
    assert connects_as(access) == f"IAMR:{ACCESS}"
    ok(aws.bootstrap("--attach-to-role", NODE, "--confirm"))
    aws.forget_logins()
    assert connects_as(access) == f"IAMR:{ACCESS}"
    aws.iam.create_policy_version(PolicyArn=POLICY + "DatabaseAccessBoundary", SetAsDefault=True, PolicyDocument=json.dumps({
        "Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": "s3:*", "Resource": "*"}]}))
    aws.forget_logins()
    state, message, hint = aws.refusal(access)
    assert state == "28000" and "no permissions boundary allows the sts:AssumeRole action" in message
    assert hint.startswith(f"Allow sts:AssumeRole on arn:aws:iam::123456789012:role/{ACCESS} in the permissions boundary")
    assert "update the boundary DatabaseAccessBoundary" in ok(aws.bootstrap("--attach-to-role", NODE, "--confirm"))
    aws.forget_logins()
    assert connects_as(access) == f"IAMR:{ACCESS}"


def test_the_users_role_lacks_the_permission_on_the_workgroup(aws):
    ok(aws.bootstrap("--attach-to-role", NODE, "--assumes-roles", "without-permission", "--confirm"))
    database = aws.database(aws.home, user="without-permission")
    aws.forget_logins()
    state, message, hint = aws.refusal(database)
    assert state == "28000" and "not authorized to perform: redshift-serverless:GetCredentials" in message
    assert "redshift-serverless:GetCredentials on workgroup 'some-workgroup'" in hint


def test_a_user_as_the_services_identity(aws):
    delegated = aws.database(aws.home, user="delegated")
    aws.environment |= SERVICE
    try:
        aws.forget_logins()
        assert "user/service" in aws.refusal(delegated)[1]
        ok(aws.bootstrap("--attach-to-user", "service", "--assumes-roles", "delegated", "--confirm"))
        aws.forget_logins()
        assert connects_as(delegated) == "IAMR:delegated"
        assert ok(aws.bootstrap("--attach-to-user", "service", "--assumes-roles", "delegated")).startswith("Nothing to do")
    finally:
        for name in SERVICE:
            del aws.environment[name]
        aws.forget_logins()
