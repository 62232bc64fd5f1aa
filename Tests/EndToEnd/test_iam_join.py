"""Hosts that join by their AWS identity, and those that only seem to have one. Botocore plays the host where it lies."""

import json
import re
import ssl
import subprocess
import urllib.error
import urllib.request

import botocore.auth
import botocore.awsrequest
import botocore.credentials
import pytest

from conftest import open_directory, wait_until
from test_cluster import CONNECTED, Apart, Host

ACCOUNT = "123456789012"
ROLE = "teleport-redshift-serverless-node"
ARN = f"arn:aws:sts::{ACCOUNT}:assumed-role/{ROLE}/*"


@pytest.fixture(scope="module")
def apart(tmp_path_factory):
    directory = open_directory(tmp_path_factory, "iam")
    cluster = Apart(directory)
    try:
        cluster.start()
        for name, options in [("node", [f"--aws-arn={ARN}"]), ("account", [f"--aws-account={ACCOUNT}"]),
                              ("elsewhere", ["--aws-account=210987654321"]),
                              ("another-role", [f"--aws-arn=arn:aws:sts::{ACCOUNT}:assumed-role/other-?ole/*"])]:
            cluster.run("tctl", "tokens", "add", "--type=db", "--join-method=iam", f"--name={name}", *options)
        subprocess.run(["openssl", "req", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-subj", "/CN=x",
                        "-keyout", directory / "key", "-out", directory / "csr"], check=True, capture_output=True)
        yield cluster
    finally:
        cluster.stop()


@pytest.fixture(autouse=True)
def patience(apart):
    """Ten refusals a minute make an address wait; a test must not be refused for what the ones before it did."""
    apart.auth.stop()
    apart.auth.start(apart.auth_port)


def joining(cluster, name, token):
    text = cluster.agent_config(name, token).replace("method: token", "method: iam")
    host = Host(cluster, name, text)
    host.start()
    wait_until(lambda: host.says(CONNECTED) or host.process.poll() is not None, name)
    host.stop()
    return host


def joins(cluster):
    path = cluster.data / "log/events.log"
    return [event for event in map(json.loads, path.read_text().splitlines()) if event["event"] == "instance.join"]


# A host of ours

@pytest.mark.parametrize("token", ["node", "account"])
def test_joins(apart, token):
    host = joining(apart, f"good-{token}", token)
    assert host.says(CONNECTED), host.log.read_text()
    event = joins(apart)[-1]
    assert (event["code"], event["method"], event["token_name"], event["aws_account"]) == ("TJ002I", "iam", token, ACCOUNT)
    assert event["aws_arn"].startswith(ARN[:-1])
    secrets = apart.secrets()
    for text in (host.log.read_text(), apart.auth.log.read_text(), json.dumps(joins(apart))):
        assert secrets and not any(secret in text for secret in secrets)


@pytest.mark.parametrize("token", ["elsewhere", "another-role", "no-such-token"])
def test_whom_the_token_does_not_name_is_refused(apart, token):
    host = joining(apart, f"bad-{token}", token)
    assert host.process.returncode not in (0, None)
    [line] = host.log.read_text().splitlines()[-1:]
    assert "no token of method iam of this name lets this AWS identity join" in line
    assert joins(apart)[-1]["code"] == "TJ002W"


def test_without_credentials_the_host_says_where_it_looked(apart):
    before = dict(apart.environment)
    apart.environment["AWS_EC2_METADATA_DISABLED"] = "true"
    try:
        host = joining(apart, "bare", "node")
    finally:
        apart.environment.clear()
        apart.environment.update(before)
    assert host.process.returncode != 0 and "NoCredentialProviders" in host.log.read_text()


# A host that is made up

def post(cluster, path, body):
    context = ssl.create_default_context(cafile=cluster.environment["SSL_CERT_FILE"])
    context.set_alpn_protocols(["http/1.1"])
    request = urllib.request.Request(
        f"https://localhost:{cluster.port}{path}", data=json.dumps(body).encode(),
        headers={"Content-Type": "application/json"}, method="POST")
    try:
        with urllib.request.urlopen(request, context=context) as answer:
            return answer.status, json.load(answer)
    except urllib.error.HTTPError as error:
        return error.code, json.load(error)["error"]["message"]


def credentials(cluster):
    """What the instance metadata service gives to who runs on the host."""
    base = f"http://127.0.0.1:{cluster.aws_port}/latest"
    request = urllib.request.Request(
        f"{base}/api/token", method="PUT", headers={"X-aws-ec2-metadata-token-ttl-seconds": "60"})
    with urllib.request.urlopen(request) as answer:
        header = {"X-aws-ec2-metadata-token": answer.read().decode()}
    with urllib.request.urlopen(
            urllib.request.Request(f"{base}/meta-data/iam/security-credentials/{ROLE}", headers=header)) as answer:
        found = json.load(answer)
    return botocore.credentials.Credentials(found["AccessKeyId"], found["SecretAccessKey"], found["Token"])


def sign(cluster, challenge, region="us-east-1", headers=(), body="Action=GetCallerIdentity&Version=2011-06-15", path="/"):
    request = botocore.awsrequest.AWSRequest(
        method="POST", url=f"http://127.0.0.1:{cluster.aws_port}{path}", data=body,
        headers={"Content-Type": "application/x-www-form-urlencoded; charset=utf-8",
                 **({"X-Sallyport-Challenge": challenge} if challenge else {}), **dict(headers)})
    botocore.auth.SigV4Auth(credentials(cluster), "sts", region).add_auth(request)
    return {"region": region, "date": request.headers["X-Amz-Date"], "authorization": request.headers["Authorization"],
            "securityToken": request.headers["X-Amz-Security-Token"]}


def challenge(cluster):
    status, answer = post(cluster, "/v1/join/iam/challenge", {})
    assert status == 200 and re.fullmatch("[0-9a-f]{64}", answer["challenge"])
    return answer["challenge"]


def join(cluster, challenge, proof, token="node"):
    return post(cluster, "/v1/join/iam", {"challenge": challenge, "proof": proof, "join": {
        "token": token, "services": ["db"], "hostName": "made-up", "publicNames": [],
        "signingRequestPEM": (cluster.directory / "csr").read_text()}})


def calls(cluster):
    return cluster.counters().get("GetCallerIdentity", 0)


def test_what_botocore_signs_is_a_proof_once(apart):
    drawn = challenge(apart)
    proof = sign(apart, drawn)
    status, answer = join(apart, drawn, proof)
    assert status == 200 and "BEGIN CERTIFICATE" in answer["certificatePEM"]
    before = calls(apart)
    status, message = join(apart, drawn, proof)
    assert status == 401 and "used already" in message
    # An honest proof for another challenge, and a challenge that nobody drew.
    assert join(apart, challenge(apart), proof)[0] == 401
    invented = "0" * 64
    assert join(apart, invented, sign(apart, invented))[0] == 401
    # Only the proof for another challenge came as far as STS, which refused its signature.
    assert calls(apart) == before + 1


@pytest.mark.parametrize("change", [
    {"region": "us-east-1.evil.example/"}, {"region": "evil.example#-1"}, {"region": "us-iso-east-1"}, {"region": ""},
    {"region": "us-east-1@evil-1"}, {"region": "eu-west-1"},
], ids=str)
def test_another_host_is_never_asked(apart, change):
    before, drawn = calls(apart), challenge(apart)
    status, message = join(apart, drawn, {**sign(apart, drawn), **change})
    assert status == 401 and "InvalidParameter" in message, message
    assert calls(apart) == before


@pytest.mark.parametrize("spoil", [
    lambda proof: {**proof, "authorization": proof["authorization"] + "\r\nHost: evil.example"},
    lambda proof: {**proof, "securityToken": proof["securityToken"] + "\r\nX: y"},
    lambda proof: {**proof, "date": "20200101T000000Z\r\nX: y"},
    lambda proof: {**proof, "authorization": proof["authorization"].replace("x-sallyport-challenge", "x-other")},
    lambda proof: {**proof, "authorization": proof["authorization"].replace("host;", "")},
    lambda proof: {**proof, "authorization": "Bearer x"},
    lambda proof: {**proof, "securityToken": "x" * 9000},
], ids=["authorization", "token", "date", "challenge", "host", "scheme", "size"])
def test_what_is_no_signature_of_this_request_goes_nowhere(apart, spoil):
    before, drawn = calls(apart), challenge(apart)
    status, message = join(apart, drawn, spoil(sign(apart, drawn)))
    assert status == 401 and "InvalidParameter" in message, message
    assert calls(apart) == before


def test_other_requests_do_not_pass_for_this_one(apart):
    for options in [{"body": "Action=GetSessionToken&Version=2011-06-15"}, {"path": "/other"},
                    {"headers": [("Content-Type", "text/plain")]}]:
        drawn = challenge(apart)
        status, message = join(apart, drawn, sign(apart, drawn, **options))
        assert status == 401 and "SignatureDoesNotMatch" in message, message
    # Without the challenge, or with a further header: the list of signed ones tells.
    for options in [{"headers": [("X-Other", "y")]}]:
        drawn = challenge(apart)
        assert "InvalidParameter" in join(apart, drawn, sign(apart, drawn, **options))[1]
    drawn = challenge(apart)
    assert "InvalidParameter" in join(apart, drawn, sign(apart, None))[1]


def test_expired_credentials(apart):
    drawn = challenge(apart)
    proof = sign(apart, drawn)
    apart.control("clock", {"ahead": 30 * 3600})
    try:
        status, message = join(apart, drawn, proof)
    finally:
        apart.control("clock", {"ahead": 0})
    assert status == 401 and ("expired" in message), message


def test_answers_of_sts_that_make_no_sense(apart):
    for kind in ("redirect", "doctype", "huge", "malformed", "error"):
        drawn = challenge(apart)
        proof = sign(apart, drawn)
        apart.faults({"action": "GetCallerIdentity", "kind": kind, "times": 1})
        status, message = join(apart, drawn, proof)
        apart.faults()
        assert status == 429 and "AWS could not be asked" in message, (kind, status, message)


# Tokens

@pytest.mark.parametrize("options, complaint", [
    ([], "needs aws_account or aws_arn"), (["--aws-account=1"], "12 digits"), (["--aws-arn=*"], "not an ARN"),
    (["--aws-arn=arn:aws:sts::*:assumed-role/role/*"], "leaves the account open"),
    (["--aws-arn=arn:aws:sts::12345678901?:assumed-role/role/*"], "leaves the account open"),
])
def test_tokens_that_let_in_anybody_are_refused(apart, options, complaint):
    result = apart.tool("tctl", "tokens", "add", "--type=db", "--join-method=iam", "--name=wide", *options)
    assert result.returncode != 0 and complaint in result.stderr and len(result.stderr.splitlines()) == 1


def test_tokens_are_listed_and_removed(apart):
    apart.run("tctl", "tokens", "add", "--type=db", "--method=iam", "--name=short", "--ttl=1h", f"--aws-account={ACCOUNT}")
    assert "exists" in apart.tool(
        "tctl", "tokens", "add", "--type=db", "--method=iam", "--name=short", f"--aws-account={ACCOUNT}").stderr
    listed = {token["metadata"]["name"]: token for token in json.loads(apart.run("tctl", "tokens", "ls", "--format=json"))}
    short, node = listed["short"], listed["node"]
    assert short["spec"]["allow"] == [{"aws_account": ACCOUNT}] and "expires" in short["metadata"]
    assert node["spec"] == {"roles": ["db"], "join_method": "iam", "allow": [{"aws_arn": ARN}]}
    assert "expires" not in node["metadata"]
    assert re.search(r"^node\s+db\s+never$", apart.run("tctl", "tokens", "ls"), re.MULTILINE)
    apart.run("tctl", "tokens", "rm", "short")
    assert "short" not in apart.run("tctl", "tokens", "ls")
    drawn = challenge(apart)
    assert join(apart, drawn, sign(apart, drawn), token="short")[0] == 401


def test_a_token_made_as_a_resource_lets_in_whom_it_names(apart):
    text = f"""
kind: token
version: v2
metadata: {{name: from-a-file}}
spec:
  roles: [Db]
  join_method: iam
  allow:
  - aws_account: "{ACCOUNT}"
    aws_arn: {ARN}
"""
    apart.run("tctl", "create", stdin=text)
    drawn = challenge(apart)
    assert join(apart, drawn, sign(apart, drawn), token="from-a-file")[0] == 200
    shown = apart.run("tctl", "get", "token/from-a-file")
    apart.run("tctl", "create", "-f", stdin=shown.replace(ARN, "arn:aws:sts::123456789012:assumed-role/other/*"))
    drawn = challenge(apart)
    assert join(apart, drawn, sign(apart, drawn), token="from-a-file")[0] == 401
    result = apart.tool("tctl", "create", stdin=text.replace("join_method: iam", "join_method: token"))
    assert result.returncode != 0 and "guessed" in result.stderr
