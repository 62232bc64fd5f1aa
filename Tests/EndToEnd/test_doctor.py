"""`teleport db doctor`: breaks one link of the way to a database at a time and reads the diagnosis.

The cases are those of the guide's troubleshooting section, and what else breaks on that way."""

import contextlib
import json
import re
import shlex
import socket
import ssl
import subprocess
import threading

import pytest

from conftest import BIN, HOST, USER, free_port, full_listener
from scripted_server import scripted_server

NODE = "arn:aws:iam::123456789012:role/teleport-redshift-serverless-node"


class Doctor:
    """Runs the doctor on the cluster's configuration, altered."""

    def __init__(self, cluster, directory):
        self.cluster, self.config = cluster, directory / "teleport.yaml"

    def run(self, name="redshift", user=USER, database="dev", change=(), environment=(), format="json"):
        text = self.cluster.config.read_text()
        for old, new in change:
            assert old in text
            text = text.replace(old, new)
        self.config.write_text(text)
        return subprocess.run(
            [BIN / "teleport", "db", "doctor", name, f"--db-user={user}", f"--db-name={database}", f"--format={format}",
             "-c", self.config],
            env={**self.cluster.environment, **dict(environment)}, capture_output=True, text=True, timeout=100)

    def broken(self, **options):
        """The one broken link; those after it must be skipped or, where they do not hang on it, work."""
        result = self.run(**options)
        assert result.returncode == 1, result.stdout + result.stderr
        findings = json.loads(result.stdout)["findings"]
        [found] = [finding for finding in findings if finding["outcome"] == "broken"]
        assert found["mend"], found
        self.outcomes = {finding["link"]: finding["outcome"] for finding in findings}
        return found["link"], found["detail"], "\n".join(found["mend"])


@pytest.fixture
def doctor(cluster, tmp_path):
    return Doctor(cluster, tmp_path)


def test_everything_works(doctor):
    result = doctor.run(format="text")
    assert result.returncode == 0, result.stdout + result.stderr
    assert "✘" not in result.stdout and "Everything works." in result.stdout
    for words in [
        r"✔ cluster +'test': 'redshift' is of teleport.yaml; it is served now",
        r"✔ configuration +\S+, workgroup 'some-workgroup' of account 123456789012 in us-east-1",
        r"✔ credentials +.*instance metadata.*key ASIA\w+, good until",
        r"✔ caller identity +arn:aws:sts::123456789012:assumed-role/teleport-redshift-serverless-node/",
        rf"✔ assume role +arn:aws:iam::123456789012:role/{USER} lets {NODE} in",
        rf"✔ database credentials +a password for 'IAMR:{USER}'", r"✔ name resolution", r"✔ connection",
        rf"✔ TLS +TLSv1.3, certificate of .*{re.escape(HOST)}.*valid until",
        rf"✔ authentication +logged in as 'IAMR:{USER}' to 'dev'", r"✔ first query"]:
        assert re.search(words, result.stdout), (words, result.stdout)
    secrets = doctor.cluster.secrets()
    assert secrets and not any(secret in result.stdout + result.stderr for secret in secrets)


def test_a_chain_is_walked_hop_by_hop(doctor):
    findings = json.loads(doctor.run("chained", user="behind-middle").stdout)["findings"]
    hops = [finding["detail"] for finding in findings if finding["link"] == "assume role"]
    assert hops == [
        f"arn:aws:iam::123456789012:role/middle lets {NODE} in",
        "arn:aws:iam::123456789012:role/behind-middle lets arn:aws:iam::123456789012:role/middle in"]


# No credential providers


def test_no_credentials(doctor):
    link, detail, mend = doctor.broken(environment={"AWS_EC2_METADATA_DISABLED": "true"})
    assert link == "credentials" and "NoCredentialProviders: no valid providers in chain" in detail
    assert "- environment" in mend and "instance profile" in mend
    # What does not hang on them is looked at all the same.
    assert doctor.outcomes["TLS"] == "works" and doctor.outcomes["authentication"] == "skipped"


def test_the_metadata_service_is_a_hop_too_far(doctor):
    with socket.create_server(("127.0.0.1", 0)) as silent:
        link, detail, mend = doctor.broken(environment={
            "AWS_EC2_METADATA_SERVICE_ENDPOINT": f"http://127.0.0.1:{silent.getsockname()[1]}"})
    assert link == "credentials"
    assert "aws ec2 modify-instance-metadata-options" in mend and "--http-put-response-hop-limit 2" in mend


def test_the_hop_limit_is_not_blamed_where_nobody_listens(doctor):
    link, detail, mend = doctor.broken(environment={
        "AWS_EC2_METADATA_SERVICE_ENDPOINT": f"http://127.0.0.1:{free_port()}"})
    assert link == "credentials" and "not reachable" in mend
    assert "hop" not in (detail + mend).lower()


def test_keys_that_are_not_valid(doctor):
    link, detail, mend = doctor.broken(
        environment={"AWS_ACCESS_KEY_ID": "AKIANOBODY0000000000", "AWS_SECRET_ACCESS_KEY": "not-a-key"})
    assert link == "caller identity" and "InvalidClientTokenId" in detail and "renew them" in mend
    assert "not-a-key" not in detail + mend


# Not authorized to perform sts:AssumeRole


def policies(mend):
    """The JSON documents to paste."""
    return [json.loads(text) for text in re.findall(r"^\{$.*?^\}$", mend, re.S | re.M)]


def test_the_role_does_not_trust_the_service(doctor):
    link, detail, mend = doctor.broken(user="no-trust")
    assert link == "assume role" and "not authorized to perform: sts:AssumeRole" in detail
    trust, permission, boundary = policies(mend)
    assert trust["Statement"][0]["Principal"] == {"AWS": NODE}
    assert permission["Statement"][0]["Resource"] == "arn:aws:iam::123456789012:role/no-trust"
    assert boundary["Statement"][0]["Action"] == "sts:AssumeRole" and boundary["Statement"][0]["Resource"] == "*"
    assert f"If {NODE} has a permissions boundary, that may be what denies it" in mend
    assert "aws sts assume-role --role-arn arn:aws:iam::123456789012:role/no-trust" in mend


def test_the_second_hop_of_a_chain_is_refused(doctor):
    link, detail, mend = doctor.broken(name="chained", user="no-trust")
    assert link == "assume role" and "role/no-trust" in detail
    assert policies(mend)[0]["Statement"][0]["Principal"] == {"AWS": "arn:aws:iam::123456789012:role/middle"}


def test_the_external_id_is_another(doctor):
    link, detail, mend = doctor.broken(
        name="chained", user="behind-middle", change=[("external_id: external-1", "external_id: 'it''s \"other\"'")])
    assert link == "assume role" and "role/middle" in detail
    assert policies(mend)[0]["Statement"][0]["Condition"] == {"StringEquals": {"sts:ExternalId": 'it\'s "other"'}}
    [command] = [line for line in mend.splitlines() if "aws sts assume-role" in line]
    assert shlex.split(command)[-2:] == ["--external-id", 'it\'s "other"']


def test_a_role_of_another_account(doctor):
    link, detail, _ = doctor.broken(user="arn:aws:iam::999999999999:role/x")
    assert link == "configuration" and "another account" in detail


# The password


def test_the_role_may_not_get_credentials(doctor):
    link, detail, mend = doctor.broken(user="no-permission")
    assert link == "database credentials" and "redshift-serverless:GetCredentials" in detail
    policy, boundary = policies(mend)
    assert policy["Statement"][0]["Action"] == "redshift-serverless:GetCredentials"
    assert re.fullmatch(
        r"arn:aws:redshift-serverless:us-east-1:123456789012:workgroup/[0-9a-f-]{36}", policy["Statement"][0]["Resource"])
    assert boundary["Statement"][0]["Resource"] == "*"
    assert "arn:aws:iam::123456789012:role/no-permission" in mend


def test_there_is_no_such_workgroup(doctor):
    link, detail, mend = doctor.broken(change=[("workgroup_name: some-workgroup", "workgroup_name: nowhere")])
    assert link == "database credentials" and "ResourceNotFoundException" in detail
    assert "aws redshift-serverless list-workgroups --region us-east-1" in mend


# Timeouts


def test_the_name_is_unknown(doctor):
    link, detail, mend = doctor.broken(
        change=[(f"uri: 127.0.0.1:{doctor.cluster.pg_port}", "uri: no-such-host.invalid:5439")])
    assert link == "name resolution" and "no-such-host.invalid" in detail and "getent hosts" in mend


def test_nobody_answers_at_the_port(doctor):
    port = free_port()
    link, detail, mend = doctor.broken(change=[(f"uri: 127.0.0.1:{doctor.cluster.pg_port}", f"uri: 127.0.0.1:{port}")])
    assert link == "connection" and "refused" in detail
    assert "security group" in mend and f"nc -zv 127.0.0.1 {port}" in mend


def test_the_connection_takes_too_long(doctor):
    with full_listener() as port:
        link, detail, mend = doctor.broken(change=[(f"uri: 127.0.0.1:{doctor.cluster.pg_port}", f"uri: 127.0.0.1:{port}")])
    assert link == "connection" and "no answer within 10 s" in detail and "security group" in mend


# Certificates


@pytest.mark.parametrize("names, detail, mend", [
    ([], "certificate relies on legacy Common Name field, use SANs instead", "rotate the database's SSL/TLS certificate"),
    (["other.example.com"], "not for this host name", "tls.server_name"),
])
def test_names_of_the_certificate(doctor, tmp_path, names, detail, mend):
    extension = "subjectAltName=" + ",".join(f"DNS:{name}" for name in names)
    arguments = ["-addext", extension] if names else []
    server_name = "legacy.example.com"
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", f"/CN={server_name}", "-keyout",
         tmp_path / "key", "-out", tmp_path / "crt", *arguments], check=True, capture_output=True)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(tmp_path / "crt", tmp_path / "key")

    def script(conversation):
        conversation.context = context
        with contextlib.suppress(OSError, ConnectionError):
            conversation.secure()

    with scripted_server(doctor.cluster, script):
        link, found, how = doctor.broken(name="scripted", change=[
            (f"server_name: {HOST}", f"server_name: {server_name}"),
            (str(doctor.cluster.pg / "ca.pem"), str(tmp_path / "crt"))])
    assert link == "TLS" and detail in found and mend in how
    # What the server shows is told, though it is not trusted.
    assert f"CN={server_name}" in how


def test_the_issuer_is_not_trusted(doctor, tmp_path):
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=another CA", "-keyout",
         tmp_path / "key", "-out", tmp_path / "ca.pem"], check=True, capture_output=True)
    link, detail, mend = doctor.broken(change=[(str(doctor.cluster.pg / "ca.pem"), str(tmp_path / "ca.pem"))])
    assert link == "TLS" and "issuer is not trusted" in detail
    assert "tls.ca_cert_file" in mend and "Sallyport demo CA" in mend


def test_it_is_no_database(doctor):
    with contextlib.closing(socket.create_server(("127.0.0.1", 0))) as server:
        def answer():
            with contextlib.suppress(OSError):
                while True:
                    with server.accept()[0] as connection:
                        connection.recv(100)
                        connection.sendall(b"HTTP/1.1 400 Bad Request\r\n\r\n")

        threading.Thread(target=answer, daemon=True).start()
        link, detail, mend = doctor.broken(
            change=[(f"uri: 127.0.0.1:{doctor.cluster.pg_port}", f"uri: 127.0.0.1:{server.getsockname()[1]}")])
    assert link == "TLS" and "no PostgreSQL or Redshift server" in detail


# User permission errors


def test_there_is_no_such_database(doctor):
    link, detail, mend = doctor.broken(database="nowhere")
    assert link == "authentication" and 'database "nowhere" does not exist' in detail and "--db-name" in mend


@pytest.mark.parametrize("setting, undo, words, advice", [
    ("connection limit 0", "connection limit -1", "too many connections for role", "database's own log"),
    ("nologin", "login", "is not permitted to log in", f'CREATE USER "IAMR:{USER}" WITH PASSWORD DISABLE;'),
])
def test_the_database_refuses_the_user(doctor, setting, undo, words, advice):
    # AWS makes the user at its first login: this one is there by now.
    assert doctor.run().returncode == 0
    with doctor.cluster.admin() as admin:
        admin.execute(f'alter role "IAMR:{USER}" {setting}')
        try:
            link, detail, mend = doctor.broken()
        finally:
            admin.execute(f'alter role "IAMR:{USER}" {undo}')
    assert link == "authentication" and words in detail and advice in mend


# The command itself


def test_a_name_that_is_not_there(doctor):
    result = doctor.run("nothing")
    assert result.returncode == 1 and result.stdout == ""
    assert "teleport.yaml has no database 'nothing'; it has: redshift, second" in result.stderr
