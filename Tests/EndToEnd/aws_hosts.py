"""Hosts whose AWS credentials come from one source: files and variables as an administrator would write them."""

import contextlib
import dataclasses
import datetime
import hashlib
import json
import pathlib
import subprocess

from conftest import ROOT

ACCOUNT = "123456789012"
DEPLOYER = f"arn:aws:iam::{ACCOUNT}:user/deployer"
KEY, SECRET = "AKIADEPLOYER00000000", "deployer/secret+of=the/tests"
NODE = f"arn:aws:iam::{ACCOUNT}:role/teleport-redshift-serverless-node"


def role(name):
    return f"arn:aws:iam::{ACCOUNT}:role/{name}"


@dataclasses.dataclass
class Host:
    """`variables` on top of the cluster's; `principal`: whom AWS takes it for; `source`: how our report begins."""
    variables: dict
    principal: str
    source: str


class Maker:
    """Makes hosts below a directory, each a method."""

    def __init__(self, home, aws):
        self.home, self.aws = pathlib.Path(home), aws
        (self.home / ".aws/sso/cache").mkdir(parents=True, exist_ok=True)
        self.config, self.credentials = self.home / ".aws/config", self.home / ".aws/credentials"

    def files(self, config="", credentials="", profile=None, **variables):
        self.config.write_text(config)
        self.credentials.write_text(credentials)
        named = {"AWS_PROFILE": profile} if profile else {}
        return named | variables | {
            "AWS_CONFIG_FILE": str(self.config), "AWS_SHARED_CREDENTIALS_FILE": str(self.credentials)}

    keys = f"aws_access_key_id = {KEY}\naws_secret_access_key = {SECRET}\n"

    def environment(self):
        return Host({"AWS_ACCESS_KEY_ID": KEY, "AWS_SECRET_ACCESS_KEY": SECRET}, DEPLOYER, "environment")

    def credentials_file(self):
        return Host(self.files(credentials=f"[work]\n{self.keys}", profile="work"), DEPLOYER, "profile 'work' (keys)")

    def config_file(self):
        return Host(self.files(config=f"[default]\n{self.keys}"), DEPLOYER, "profile 'default' (keys)")

    def assumed_role(self):
        config = f"[profile app]\nrole_arn = {role('operators/base')}\nsource_profile = work\nrole_session_name = svc\n"
        return Host(
            self.files(config, f"[work]\n{self.keys}", "app"), role("operators/base"),
            f"profile 'app' ({role('operators/base')}) from profile 'work' (keys)")

    def assumed_role_of_itself(self):
        config = f"[profile app]\nrole_arn = {role('operators/base')}\nsource_profile = app\n{self.keys}"
        return Host(self.files(config, profile="app"), role("operators/base"), "profile 'app' (arn:")

    def chained_roles(self):
        config = (
            f"[profile app]\nrole_arn = {role('second')}\nsource_profile = middle\nexternal_id = vouched\n"
            f"[profile middle]\nrole_arn = {role('operators/base')}\nsource_profile = work\nduration_seconds = 900\n")
        return Host(
            self.files(config, f"[work]\n{self.keys}", "app"), role("second"),
            f"profile 'app' ({role('second')}) from profile 'middle' ({role('operators/base')}) from")

    def role_from_environment(self):
        config = f"[profile app]\nrole_arn = {role('operators/base')}\ncredential_source = Environment\n"
        # The SDKs take keys of the environment before any profile, unless it is asked for in the program.
        return Host(
            self.files(config, profile="app", AWS_ACCESS_KEY_ID=KEY, AWS_SECRET_ACCESS_KEY=SECRET), DEPLOYER, "environment")

    def role_from_instance(self):
        config = f"[profile app]\nrole_arn = {role('operators/base')}\ncredential_source = Ec2InstanceMetadata\n"
        return Host(
            self.files(config, profile="app"), role("operators/base"),
            f"profile 'app' ({role('operators/base')}) from EC2 instance metadata")

    def role_from_container(self):
        config = f"[profile app]\nrole_arn = {role('operators/base')}\ncredential_source = EcsContainer\n"
        variables = {"AWS_CONTAINER_CREDENTIALS_FULL_URI": f"{self.aws}/container/task"}
        return Host(
            self.files(config, profile="app", **variables), role("operators/base"),
            f"profile 'app' ({role('operators/base')}) from container credentials")

    def token_file(self):
        path = self.home / "token"
        path.write_text("header.payload.signature")
        return path

    def web_identity_of_profile(self):
        config = f"[profile app]\nrole_arn = {role('federated')}\nweb_identity_token_file = {self.token_file()}\n"
        return Host(self.files(config, profile="app"), role("federated"), "profile 'app' (arn:")

    def web_identity(self):
        variables = {"AWS_ROLE_ARN": role("federated"), "AWS_WEB_IDENTITY_TOKEN_FILE": str(self.token_file())}
        return Host(variables, role("federated"), f"web identity ({role('federated')})")

    def sso(self, key, config, seconds=3600):
        name = hashlib.sha1(key.encode()).hexdigest()
        end = datetime.datetime.now(datetime.timezone.utc) + datetime.timedelta(seconds=seconds)
        (self.home / f".aws/sso/cache/{name}.json").write_text(json.dumps({
            "accessToken": "sso-token-of-the-tests", "expiresAt": end.strftime("%Y-%m-%dT%H:%M:%SZ"),
            "region": "us-east-1", "startUrl": "https://corp.awsapps.com/start"}))
        return Host(
            self.files(config, profile="people", HOME=str(self.home)), role("portal"),
            f"profile 'people' (SSO role 'portal' of account {ACCOUNT})")

    def sso_session(self, seconds=3600):
        return self.sso("corp", (
            f"[profile people]\nsso_session = corp\nsso_account_id = {ACCOUNT}\nsso_role_name = portal\n"
            "[sso-session corp]\nsso_region = us-east-1\nsso_start_url = https://corp.awsapps.com/start\n"), seconds)

    def sso_of_old(self):
        return self.sso("https://corp.awsapps.com/start", (
            f"[profile people]\nsso_start_url = https://corp.awsapps.com/start\nsso_region = us-east-1\n"
            f"sso_account_id = {ACCOUNT}\nsso_role_name = portal\n"))

    def process(self, body=None):
        program = self.home / "give credentials"
        answer = {"Version": 1, "AccessKeyId": KEY, "SecretAccessKey": SECRET}
        program.write_text(body or f"#!/bin/sh\n[ \"$1\" = 'a b' ] && [ $# = 2 ] && echo '{json.dumps(answer)}'\n")
        program.chmod(0o755)
        config = f"[profile app]\ncredential_process = \"{program}\" 'a b' $(touch${{IFS}}{self.home}/shell)\n"
        return Host(self.files(config, profile="app"), DEPLOYER, "profile 'app' (credential_process)")

    def container(self):
        return Host(
            {"AWS_CONTAINER_CREDENTIALS_FULL_URI": f"{self.aws}/container/task"}, role("task"),
            "container credentials (AWS_CONTAINER_CREDENTIALS_FULL_URI)")

    def pod(self):
        path = self.home / "pod-token"
        path.write_text("pod-token")
        return Host(
            {"AWS_CONTAINER_CREDENTIALS_FULL_URI": f"{self.aws}/container/pod",
             "AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE": str(path)}, role("pod"), "container credentials")

    def pod_with_variable(self):
        return Host(
            {"AWS_CONTAINER_CREDENTIALS_FULL_URI": f"{self.aws}/container/pod",
             "AWS_CONTAINER_AUTHORIZATION_TOKEN": "pod-token"}, role("pod"), "container credentials")

    def instance(self):
        return Host({}, NODE, "EC2 instance metadata (instance profile 'teleport-redshift-serverless-node')")


SOURCES = [
    "environment", "credentials_file", "config_file", "assumed_role", "assumed_role_of_itself", "chained_roles",
    "role_from_environment", "role_from_instance", "role_from_container", "web_identity_of_profile", "web_identity",
    "sso_session", "sso_of_old", "process", "container", "pod", "pod_with_variable", "instance",
]


@contextlib.contextmanager
def placed_on(cluster, host, restart=False):
    """The cluster's programs run on that host; with `restart` its server too."""
    before = dict(cluster.environment)
    cluster.environment.update(host.variables)
    try:
        if restart:
            cluster.stop_teleport()
            cluster.start_teleport()
        yield
    finally:
        cluster.environment.clear()
        cluster.environment.update(before)
        if restart:
            cluster.stop_teleport()
            cluster.start_teleport()


BOTO = """
import json, boto3
found = boto3.Session().get_credentials().get_frozen_credentials()
print(json.dumps([found.access_key, found.secret_key, found.token]))
"""


def boto(environment):
    """What boto3 finds on the same host: access key, secret key, token."""
    result = subprocess.run(
        [ROOT / ".venv/bin/python", "-c", BOTO], env=environment, capture_output=True, text=True, timeout=60)
    assert result.returncode == 0, result.stderr
    return json.loads(result.stdout)
