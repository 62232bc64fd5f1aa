"""Where a host's own AWS credentials come from: each source alone, against an emulator that computes every signature again
with botocore's signer, and beside boto3 on the same host."""

import http.server
import json
import select
import socket
import ssl
import subprocess
import sys
import threading
import time
import urllib.request

import psycopg
import pytest

from aws_hosts import DEPLOYER, SECRET, SOURCES, Host, Maker, boto, placed_on, role
from conftest import BIN, ROOT, USER

sys.path.insert(0, str(ROOT / "Tests/AWSEmulator"))


@pytest.fixture
def maker(cluster, tmp_path):
    return Maker(tmp_path, f"http://127.0.0.1:{cluster.aws_port}")


@pytest.fixture
def sticky(cluster):
    cluster.control("sticky", True)
    yield
    cluster.control("sticky", False)


def who_am_i(cluster):
    return json.loads(cluster.run("teleport", "aws", "whoami", "--format=json"))


@pytest.mark.parametrize("source", SOURCES)
def test_boto3_and_we_find_the_same_credentials(cluster, maker, sticky, source):
    """The emulator looks the secret and the token up by the access key's id and checks our signature with them: a call that
    succeeds is made with the very bytes that boto3 shows."""
    host = getattr(maker, source)()
    with placed_on(cluster, host):
        cluster.environment |= {"AWS_REGION": "us-east-1", "AWS_DEFAULT_REGION": "us-east-1"}
        key, secret, token = boto(cluster.environment)
        ours = who_am_i(cluster)
        assert ours["source"].startswith(host.source)
        assert ours["access_key_id"] == key
        name = host.principal.split("/")[-1]
        assert ours["arn"] == host.principal or f":assumed-role/{name}/" in ours["arn"]
        with urllib.request.urlopen(f"http://127.0.0.1:{cluster.aws_port}/_control/keys/{key}") as answer:
            entry = json.load(answer)
        assert (entry["secret"], entry["token"]) == (secret, token)
        text = cluster.run("teleport", "aws", "whoami")
        assert key in text and ours["arn"] in text
        for hidden in (secret, token):
            assert not hidden or hidden not in text + json.dumps(ours)
    assert not (maker.home / "shell").exists(), "a credential process is no shell command"


@pytest.mark.parametrize("source", SOURCES)
def test_each_source_opens_the_database(cluster, maker, source):
    host = getattr(maker, source)()
    with placed_on(cluster, host, restart=True):
        with psycopg.connect(cluster.database(cluster.home).dsn) as connection:
            assert connection.execute("select current_user").fetchone() == (f"IAMR:{USER}",)
        last = assumed(cluster)[-1]
        assert (last["role"], last["by"], last["session"]) == (role(USER), host.principal, "alice")


def assumed(cluster):
    with urllib.request.urlopen(f"http://127.0.0.1:{cluster.aws_port}/_control/assumed") as answer:
        return json.load(answer)


def test_settings_of_profiles_reach_sts(cluster, maker):
    with placed_on(cluster, maker.chained_roles()):
        before = len(assumed(cluster))
        who_am_i(cluster)
        middle, last = assumed(cluster)[before:]
        assert (middle["by"], middle["duration"], middle["external_id"]) == (DEPLOYER, 900, None)
        assert (last["by"], last["duration"], last["external_id"]) == (role("operators/base"), 3600, "vouched")
    with placed_on(cluster, maker.assumed_role()):
        who_am_i(cluster)
        assert assumed(cluster)[-1]["session"] == "svc"


def profile(maker, text, **variables):
    return Host(maker.files(text, f"[work]\n{maker.keys}", "app", **variables), "", "")


BASE = f"role_arn = {role('operators/base')}\n"
REFUSED = {
    "no such profile": (lambda m: Host({"AWS_PROFILE": "nobody"}, "", ""), ["profile 'nobody'", "AWS_PROFILE"]),
    "a circle": (lambda m: profile(
        m, f"[profile app]\n{BASE}source_profile = b\n[profile b]\n{BASE}source_profile = app\n"),
        ["leads in a circle: app → b → app"]),
    "no such source": (lambda m: profile(m, f"[profile app]\n{BASE}source_profile = nobody\n"), ["profile 'nobody'"]),
    "two bases": (lambda m: profile(
        m, f"[profile app]\n{BASE}source_profile = work\ncredential_source = Environment\n"), ["both source_profile"]),
    "no base": (lambda m: profile(m, f"[profile app]\n{BASE}"), ["needs source_profile or credential_source"]),
    "a base nobody knows": (lambda m: profile(m, f"[profile app]\n{BASE}credential_source = Moon\n"), ["'Moon'"]),
    "an empty base": (lambda m: profile(m, f"[profile app]\n{BASE}credential_source = Environment\n"),
                      ["credential_source Environment", "not both set"]),
    "a code to type": (lambda m: profile(
        m, f"[profile app]\n{BASE}source_profile = work\nmfa_serial = arn:aws:iam::1:mfa/x\n"), ["mfa_serial", "nobody is there"]),
    "no time": (lambda m: profile(m, f"[profile app]\n{BASE}source_profile = work\nduration_seconds = 1\n"),
                ["duration_seconds is '1'"]),
    "no role": (lambda m: profile(m, "[profile app]\nrole_arn = access\nsource_profile = work\n"), ["not the ARN of an IAM role"]),
    "no external id": (lambda m: profile(
        m, f"[profile app]\nrole_arn = {role('second')}\nsource_profile = work\n"), ["AccessDenied", role("second"), "trust policy"]),
    "an ended login": (lambda m: m.sso_session(seconds=-5), ["the login ended", "aws sso login --profile people"]),
    "a token nobody knows": (lambda m: profile(
        m, f"[profile app]\nrole_arn = {role('portal')}\nweb_identity_token_file = {m.token_file()}\n"),
        ["AccessDenied", "AssumeRoleWithWebIdentity"]),
    "a process that fails": (lambda m: m.process("#!/bin/sh\necho canary-1 >&2; echo canary-2; exit 3\n"), ["exit code 3"]),
    "a process that babbles": (lambda m: m.process("#!/bin/sh\necho canary-1\n"), ["no credentials that can be read"]),
    "a process of the future": (lambda m: m.process(
        "#!/bin/sh\necho '{\"Version\": 2, \"AccessKeyId\": \"a\", \"SecretAccessKey\": \"canary-1\"}'\n"), ["another version"]),
    "an agent far away": (lambda m: Host(
        {"AWS_CONTAINER_CREDENTIALS_FULL_URI": "http://192.0.2.1/x", "AWS_CONTAINER_AUTHORIZATION_TOKEN": "canary-1"}, "", ""),
        ["192.0.2.1", "in the clear"]),
    "an agent that says no": (lambda m: Host(
        {"AWS_CONTAINER_CREDENTIALS_FULL_URI": f"{m.aws}/container/pod", "AWS_CONTAINER_AUTHORIZATION_TOKEN": "canary-1"}, "", ""),
        ["HTTP 403", "the agent at 127.0.0.1"]),
    "a token of two lines": (lambda m: Host(
        {"AWS_CONTAINER_CREDENTIALS_FULL_URI": f"{m.aws}/container/pod",
         "AWS_CONTAINER_AUTHORIZATION_TOKEN": "canary-1\r\nX: y"}, "", ""), ["line breaks"]),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_is_set_up_wrongly_ends_the_search_and_is_named(cluster, maker, case):
    """The instance would have credentials: nobody is to become somebody else by a mistake."""
    make, words = REFUSED[case]
    with placed_on(cluster, make(maker)):
        result = cluster.tool("teleport", "aws", "whoami")
    assert result.returncode != 0 and result.stdout == ""
    assert result.stderr.count("\n") == 1, result.stderr
    for word in words:
        assert word in result.stderr
    assert "canary" not in result.stderr and SECRET not in result.stderr


def test_a_host_without_credentials_hears_where_they_were_looked_for(cluster, maker):
    with placed_on(cluster, Host({"AWS_EC2_METADATA_DISABLED": "true"}, "", "")):
        error = cluster.tool("teleport", "aws", "whoami").stderr
    for words in ["NoCredentialProviders", "environment: AWS_ACCESS_KEY_ID", "profile 'default': it is neither in /nonexistent",
                  "web identity: ", "container credentials: ", "EC2 instance metadata: switched off"]:
        assert words in error


def test_47_the_hop_limit_is_named_in_time(cluster, maker):
    """In a container the answer to the PUT never comes: three tries of a second."""
    cluster.faults({"action": "ImdsToken", "kind": "delay", "times": 9, "seconds": 5})
    start = time.monotonic()
    error = cluster.tool("teleport", "aws", "whoami").stderr
    assert "HttpPutResponseHopLimit" in error
    assert time.monotonic() - start < 5


def test_the_region_of_an_instance_is_found(cluster, maker):
    assert who_am_i(cluster)["region"] == "us-west-2"
    with placed_on(cluster, Host({"AWS_REGION": "eu-west-1"}, "", "")):
        assert who_am_i(cluster)["region"] == "eu-west-1"


def test_addresses_that_only_a_container_and_an_instance_have(cluster, maker, tmp_path):
    """ECS's relative URI and the standard addresses of metadata, in a network of their own."""
    script = tmp_path / "network.sh"
    script.write_text(f"""set -e
ip link set lo up
for address in 169.254.169.254 169.254.170.2; do ip addr add $address/32 dev lo; done
ip -6 addr add fd00:ec2::254/128 dev lo nodad
"{ROOT}/.venv/bin/python" "{ROOT}/Tests/AWSEmulator/emulator.py" --address :: --port 80 \
  --world "{ROOT}/Tests/AWSEmulator/world.json" --postgres "" &
trap "kill $!" EXIT
until curl -s -o /dev/null http://127.0.0.1/_control/counters; do sleep 0.1; done
unset AWS_EC2_METADATA_SERVICE_ENDPOINT
export AWS_ENDPOINT_URL=http://127.0.0.1
AWS_CONTAINER_CREDENTIALS_RELATIVE_URI=/container/task "{BIN}/teleport" aws whoami
"{BIN}/teleport" aws whoami
AWS_EC2_METADATA_SERVICE_ENDPOINT_MODE=IPv6 "{BIN}/teleport" aws whoami
""")
    result = subprocess.run(
        ["unshare", "--net", "sh", script], env=cluster.environment, capture_output=True, text=True, timeout=60)
    if "Operation not permitted" in result.stderr:
        pytest.skip("network namespaces need root")
    assert result.returncode == 0, result.stderr
    sources = [line.split(None, 1)[1] for line in result.stdout.splitlines() if line.startswith("Source")]
    instance = "EC2 instance metadata (instance profile 'teleport-redshift-serverless-node')"
    assert sources == ["container credentials (AWS_CONTAINER_CREDENTIALS_RELATIVE_URI)", instance, instance]


class Proxy(http.server.BaseHTTPRequestHandler):
    """An HTTP proxy in front of the emulator, whatever host is asked for."""
    seen, aws_port = [], None

    def do_CONNECT(self):
        self.seen.append((self.path, self.headers.get("Proxy-Authorization")))
        self.send_response(200)
        self.end_headers()
        self.close_connection = True
        with socket.create_connection(("127.0.0.1", self.aws_port)) as aws:
            while True:
                for ready in select.select([aws, self.connection], [], [])[0]:
                    data = ready.recv(65536)
                    if not data:
                        return
                    (self.connection if ready is aws else aws).sendall(data)

    def log_message(self, *arguments):
        pass


def test_a_proxy_leads_to_aws_and_not_to_the_instance(cluster, maker):
    Proxy.seen, Proxy.aws_port = [], cluster.aws_port
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Proxy) as proxy:
        threading.Thread(target=proxy.serve_forever, daemon=True).start()
        variables = {
            "HTTP_PROXY": f"http://user:pass%20word@127.0.0.1:{proxy.server_port}",
            "AWS_ENDPOINT_URL": "http://sts.us-east-1.example.invalid"}
        with placed_on(cluster, Host(variables, "", "")):
            assert who_am_i(cluster)["source"].startswith("EC2 instance metadata")
            [(path, authorization)] = Proxy.seen
            assert path == "sts.us-east-1.example.invalid:80"
            assert authorization == "Basic dXNlcjpwYXNzIHdvcmQ=", "user:pass word"
            cluster.environment["NO_PROXY"] = ".example.invalid"
            assert "Unreachable" in cluster.tool("teleport", "aws", "whoami").stderr
        assert len(Proxy.seen) == 1
        proxy.shutdown()


def test_aws_is_trusted_by_the_bundle_that_is_named(cluster, maker, tmp_path):
    import emulator

    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "1", "-subj",
         "/CN=localhost", "-addext", "subjectAltName=DNS:localhost", "-keyout", tmp_path / "key", "-out", tmp_path / "ca.pem"],
        check=True, capture_output=True)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(tmp_path / "ca.pem", tmp_path / "key")
    world = json.loads((ROOT / "Tests/AWSEmulator/world.json").read_text())
    server = emulator.serve(0, world, "")
    server.socket = context.wrap_socket(server.socket, server_side=True)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    host = maker.environment()
    host.variables["AWS_ENDPOINT_URL"] = f"https://localhost:{server.server_port}"
    with placed_on(cluster, host):
        refused = cluster.tool("teleport", "aws", "whoami")
        assert refused.returncode != 0 and "CERTIFICATE_VERIFY_FAILED" in refused.stderr
        cluster.environment["AWS_CA_BUNDLE"] = str(tmp_path / "ca.pem")
        assert who_am_i(cluster)["arn"] == DEPLOYER
        cluster.environment["AWS_CA_BUNDLE"] = "/nonexistent"
        assert "AWS_CA_BUNDLE (ca_bundle) /nonexistent" in cluster.tool("teleport", "aws", "whoami").stderr
    server.shutdown()
