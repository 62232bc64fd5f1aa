"""What a refused client sees in psql, and what the service's log has besides: each case of the guide's troubleshooting."""

import re
import ssl
import subprocess
import types

import psycopg
import pytest

from aws_hosts import Host, placed_on
from conftest import HOST, USER, free_port, full_listener, wait_until
from scripted_server import scripted_server

NODE = "arn:aws:iam::123456789012:role/teleport-redshift-serverless-node"
DATABASE = """  - name: {name}
    protocol: postgres
    uri: {uri}
    static_labels: {{env: dev}}
    tls: {{mode: verify-full, ca_cert_file: {ca}, server_name: {server}}}
    aws: {{region: us-east-1, account_id: "123456789012", redshift_serverless: {{workgroup_name: {workgroup}}}}}
"""


@pytest.fixture(scope="module")
def broken(cluster, tmp_path_factory):
    """The cluster with databases that each have one thing wrong."""
    folder = tmp_path_factory.mktemp("broken")
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=legacy.example.com", "-keyout",
         folder / "key", "-out", folder / "crt"], check=True, capture_output=True)
    with full_listener() as silent:
        good = types.SimpleNamespace(
            uri=f"127.0.0.1:{cluster.pg_port}", ca=cluster.pg / "ca.pem", server=HOST, workgroup="some-workgroup")
        before = cluster.config.read_text()
        databases = [dict(vars(good), **change) for change in (
            dict(name="legacy", uri=f"127.0.0.1:{cluster.script_port}", ca=folder / "crt", server="legacy.example.com"),
            dict(name="no-workgroup", workgroup="nowhere"), dict(name="no-name", uri="no-such-host.invalid:5439"),
            dict(name="closed", uri=f"127.0.0.1:{free_port()}"), dict(name="silent", uri=f"127.0.0.1:{silent}"))]
        cluster.stop_teleport()
        cluster.config.write_text(before + "".join(DATABASE.format(**database) for database in databases))
        cluster.start_teleport()
        cluster.make_role("wide", users="['*']", names="['*']")
        home = cluster.make_user("diana", "wide")
        yield types.SimpleNamespace(cluster=cluster, home=home, folder=folder)
        cluster.stop_teleport()
        cluster.config.write_text(before)
        cluster.start_teleport()


def psql(cluster, home, name="redshift", user=USER, database="dev", query="select 1"):
    """psql's fields of an error, by their names."""
    result = cluster.tool(
        "tsh", "db", "connect", name, f"--db-user={user}", f"--db-name={database}", "--", "-XAtc", query, home=home)
    assert result.returncode != 0, result.stdout
    # What psql says of the connection itself stands before the first.
    fields = re.findall(r"(FATAL|ERROR|DETAIL|HINT): +(.*)", result.stderr)
    return types.SimpleNamespace(**{name.lower(): text for name, text in fields}, all=result.stderr)


def refused(broken, link, message, hint, **options):
    """The refusal, checked for the link that broke, and the lines of the log with the same session."""
    size = broken.cluster.log.stat().st_size
    shown = psql(broken.cluster, broken.home, **options)
    assert message in shown.fatal and hint in shown.hint, shown.all
    found = re.search(rf"Broken link: {link}(, (?P<what>.*))?\. Session (?P<session>[0-9a-f-]{{36}})\.$", shown.detail)
    assert found, shown.all
    assert "'teleport db doctor'" in shown.hint

    def records():
        return [record for record in broken.cluster.audit() if record.get("sid") == found["session"]]

    # Both are written while the client reads.
    wait_until(records, "the record of the refusal")
    assert [record["success"] for record in records()] == [False]
    log = [line for line in broken.cluster.log.read_text()[size:].splitlines() if found["session"] in line]
    assert log
    secrets = broken.cluster.secrets()
    for text in (shown.all, *log):
        assert not any(secret in text for secret in secrets)
    return types.SimpleNamespace(what=found["what"], log="\n".join(log), all=shown.all)


# User permission errors


def test_a_table_that_the_user_may_not_read(broken):
    shown = psql(broken.cluster, broken.home, query="select * from pg_authid")
    assert "permission denied for table pg_authid" in shown.error


def test_a_user_who_may_not_log_in(broken):
    broken.cluster.run(
        "tsh", "db", "connect", "redshift", f"--db-user={USER}", "--db-name=dev", "--", "-c", "select 1", home=broken.home)
    with broken.cluster.admin() as admin:
        admin.execute(f'alter role "IAMR:{USER}" nologin')
        try:
            refused(
                broken, "authentication", "is not permitted to log in", f'CREATE USER "IAMR:{USER}" WITH PASSWORD DISABLE;')
        finally:
            admin.execute(f'alter role "IAMR:{USER}" login')


def test_a_database_that_is_not_there(broken):
    refused(broken, "authentication", 'database "nowhere" does not exist', "--db-name", database="nowhere")


# Certificate error


def test_a_certificate_of_the_old_kind(broken):
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(broken.folder / "crt", broken.folder / "key")

    def script(conversation):
        conversation.context = context
        conversation.secure()

    with scripted_server(broken.cluster, script):
        refused(broken, "TLS", "x509: certificate relies on legacy Common Name field, use SANs instead", "", name="legacy")


def test_a_certificate_of_another_name(broken):
    refused(broken, "TLS", "the certificate is not for this host name", "", name="untrusted")


# No credential providers


def test_no_credentials(broken):
    with placed_on(broken.cluster, Host({"AWS_EC2_METADATA_DISABLED": "true"}, "", ""), restart=True):
        shown = refused(
            broken, "credentials", "NoCredentialProviders: no valid providers in chain", "instance profile")
    assert "hop" not in shown.all.lower()
    # Which files and variables there are on the service's host is for its log.
    assert "/nonexistent" not in shown.all and "AWS_CONFIG_FILE" not in shown.all
    assert "/nonexistent" in shown.log and "switched off by AWS_EC2_METADATA_DISABLED" in shown.log


def test_the_metadata_service_is_a_hop_too_far(broken):
    broken.cluster.stop_teleport()
    broken.cluster.start_teleport()
    broken.cluster.faults({"action": "ImdsToken", "kind": "delay", "times": 9, "seconds": 5})
    shown = refused(broken, "credentials", "NoCredentialProviders", "HttpPutResponseHopLimit to 2")
    assert "no answer in time" in shown.log


def test_a_source_that_fails_is_named_without_its_files(broken):
    variables = {
        "AWS_EC2_METADATA_DISABLED": "true", "AWS_ROLE_ARN": f"arn:aws:iam::123456789012:role/{USER}",
        "AWS_WEB_IDENTITY_TOKEN_FILE": "/run/no/token"}
    with placed_on(broken.cluster, Host(variables, "", ""), restart=True):
        shown = refused(broken, "credentials", "web identity", "")
    assert "/run/no/token" not in shown.all and "/run/no/token" in shown.log


# Timeout errors


def test_nobody_answers_at_the_port(broken):
    refused(broken, "connection", "cannot reach the database", "security groups", name="closed")


def test_the_connection_takes_too_long(broken):
    refused(broken, "connection", "did not answer in time", "nc -zv", name="silent")


def test_the_name_is_unknown(broken):
    shown = refused(broken, "name resolution", "cannot resolve the database's host name", "DNS", name="no-name")
    assert shown.what == "no-such-host.invalid"


# Not authorized to perform sts:AssumeRole


@pytest.mark.parametrize("name, user, role, caller", [
    ("redshift", "no-trust", "no-trust", "assumed-role/teleport-redshift-serverless-node/"),
    ("chained", "no-trust", "no-trust", "assumed-role/middle/"),
])
def test_the_role_is_not_assumed(broken, name, user, role, caller):
    shown = refused(
        broken, "assume role", "not authorized to perform: sts:AssumeRole", "trust policy", name=name, user=user)
    assert shown.what == f"arn:aws:iam::123456789012:role/{role}: AccessDenied"
    assert caller in shown.log and "request id" in shown.log and "AssumeRole at" in shown.log
    # Numbers of requests are for whoever runs the service.
    assert "request id" not in shown.all


def test_the_external_id_is_another(broken):
    cluster = broken.cluster
    before = cluster.config.read_text()
    cluster.config.write_text(before.replace("external_id: external-1", "external_id: other"))
    cluster.stop_teleport()
    cluster.start_teleport()
    try:
        shown = refused(
            broken, "assume role", "not authorized to perform: sts:AssumeRole", "trust policy", name="chained",
            user="behind-middle")
        assert shown.what == "arn:aws:iam::123456789012:role/middle: AccessDenied"
    finally:
        cluster.config.write_text(before)
        cluster.stop_teleport()
        cluster.start_teleport()


# The password


def test_the_role_may_not_get_credentials(broken):
    shown = refused(
        broken, "database credentials", "redshift-serverless:GetCredentials", "permission policy", user="no-permission")
    assert shown.what == "GetCredentials: AccessDeniedException"


def test_there_is_no_such_workgroup(broken):
    shown = refused(broken, "database credentials", "ResourceNotFoundException", "", name="no-workgroup")
    assert shown.what == "GetCredentials: ResourceNotFoundException"


def test_aws_is_silent(broken):
    broken.cluster.stop_teleport()
    broken.cluster.start_teleport()
    broken.cluster.faults({"action": "GetCredentials", "kind": "stall", "times": 9, "seconds": 30})
    shown = refused(broken, "database credentials", "Timeout", "")
    assert shown.what == "GetCredentials: Timeout"


# Whom the roles do not let in


def test_who_may_not_hears_nothing_of_what_is_broken(broken):
    # Such a certificate leaves the user open: the Database Service decides, not the issuing of it.
    certificate = broken.cluster.open_certificate(broken.cluster.home, "no-workgroup")
    with pytest.raises(psycopg.OperationalError, match="access to database 'no-workgroup' denied") as failure:
        psycopg.connect(f"{certificate.dsn} user=no-trust dbname=dev")
    text = str(failure.value)
    assert "HINT" in text and "Broken link" not in text and "Session" not in text and "arn:" not in text
