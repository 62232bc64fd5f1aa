"""tctl auth sign and export: certificates for databases' servers and identities for programs."""

import re
import stat
import subprocess

import pytest

from conftest import wait_until


def mode(path):
    return stat.S_IMODE(path.stat().st_mode)


def certificate(path, *options):
    return subprocess.run(
        ["openssl", "x509", "-in", path, "-noout", *options], check=True, capture_output=True, text=True).stdout


def verify(path, ca):
    return subprocess.run(["openssl", "verify", "-CAfile", ca, path], capture_output=True, text=True).returncode == 0


@pytest.fixture
def authorities(cluster, tmp_path):
    files = {}
    for kind in ("db", "db-client", "tls-host", "tls-user"):
        files[kind] = tmp_path / f"{kind}.pem"
        files[kind].write_text(cluster.run("tctl", "auth", "export", f"--type={kind}"))
    return files


def test_exports_are_four_authorities(cluster, authorities):
    assert len({path.read_text() for path in authorities.values()}) == 4
    result = cluster.tool("tctl", "auth", "export", "--type=ssh")
    assert result.returncode == 1 and "db-client" in result.stderr


def test_a_certificate_for_a_database_server(cluster, authorities, tmp_path):
    out = tmp_path / "server"
    words = cluster.run("tctl", "auth", "sign", "--format=db", "--host=db.example.com,127.0.0.1", f"--out={out}", "--ttl=48h")
    crt, key, cas = (tmp_path / f"server.{suffix}" for suffix in ("crt", "key", "cas"))
    assert [mode(path) for path in (crt, key, cas)] == [0o600] * 3
    assert f"ssl_cert_file = '{crt}'" in words and f"ssl_key_file = '{key}'" in words and f"ssl_ca_file = '{cas}'" in words
    assert "ssl = on" in words and re.search("hostssl .* cert", words)
    assert verify(crt, authorities["db"]) and not verify(crt, authorities["db-client"])
    assert cas.read_text() == authorities["db-client"].read_text()
    text = certificate(crt, "-text")
    assert "DNS:db.example.com, IP Address:127.0.0.1" in text and "TLS Web Server Authentication" in text
    assert "Client Authentication" not in text and "CN = db.example.com" in text
    subprocess.run(["openssl", "x509", "-in", crt, "-checkend", str(47 * 3600), "-noout"], check=True, capture_output=True)
    assert subprocess.run(["openssl", "x509", "-in", crt, "-checkend", str(49 * 3600), "-noout"]).returncode == 1
    result = cluster.tool("tctl", "auth", "sign", "--format=db", "--host=x", f"--out={out}")
    assert result.returncode == 1 and "--overwrite" in result.stderr
    wait_until(lambda: any(e.get("cert_type") == "db_server" and "db.example.com" in e["name"] for e in cluster.audit()),
               "the record")


def test_identities_for_programs(cluster, authorities, tmp_path):
    cluster.run("tctl", "auth", "sign", "--user=alice", f"--out={tmp_path / 'identity'}", "--ttl=1h")
    assert mode(tmp_path / "identity") == 0o600
    options = ["-i", tmp_path / "identity", f"--auth-server=localhost:{cluster.port}"]
    assert "Cluster test" in cluster.run("tctl", "status", *options)
    cluster.run("tctl", "auth", "sign", "--format=tls", "--user=alice", f"--out={tmp_path / 'alice'}", "--ttl=1h")
    assert all(mode(tmp_path / f"alice.{suffix}") == 0o600 for suffix in ("crt", "key", "cas"))
    assert verify(tmp_path / "alice.crt", authorities["tls-user"])
    assert (tmp_path / "alice.cas").read_text() == authorities["tls-host"].read_text()
    answer = subprocess.run(
        ["curl", "-sS", "--fail", "--cacert", tmp_path / "alice.cas", "--cert", tmp_path / "alice.crt", "--key",
         tmp_path / "alice.key", f"https://localhost:{cluster.port}/v1/status"], capture_output=True, text=True)
    assert '"clusterName":"test"' in answer.stdout, answer.stderr


@pytest.mark.parametrize("options,complaint", [
    (["--format=db"], "--host"), (["--format=db", "--host=x", "--user=alice"], "--user"), (["--format=tls"], "--user"),
    (["--format=db", "--host=a b"], "host names"), (["--user=nobody-here"], "does not exist"),
    (["--user=alice", "--ttl=soon"], "duration"), (["--user=alice", "--ttl=200000h"], "ten years")])
def test_requests_that_make_no_sense(cluster, tmp_path, options, complaint):
    result = cluster.tool("tctl", "auth", "sign", *options, f"--out={tmp_path / 'x'}")
    assert result.returncode == 1 and complaint in result.stderr and result.stderr.count("\n") == 1, result.stderr
    assert list(tmp_path.iterdir()) == []


def test_signing_takes_rules(cluster, tmp_path):
    cluster.make_role("plain")
    cluster.run("tctl", "create", "-f", stdin="""kind: role
version: v5
metadata: {name: signer}
spec: {allow: {rules: [{resources: [database_certificate], verbs: [create]}]}}
""")

    def act_as(name):
        cluster.run("tctl", "auth", "sign", f"--user={name}", f"--out={tmp_path / name}")
        return ["-i", tmp_path / name, f"--auth-server=localhost:{cluster.port}"]

    for name, role in (("paul", "plain"), ("sig", "signer")):
        cluster.run("tctl", "users", "add", name, f"--roles={role}")
    plain, signer, editor = act_as("paul"), act_as("sig"), act_as("alice")
    server = ["tctl", "auth", "sign", "--format=db", "--host=x", f"--out={tmp_path / 'x'}"]
    program = ["tctl", "auth", "sign", "--user=alice", f"--out={tmp_path / 'y'}"]
    result = cluster.tool(*server, *plain)
    assert result.returncode == 1 and "may not create database_certificate" in result.stderr, result.stderr
    cluster.run(*server, *signer)
    for someone in (plain, signer):
        result = cluster.tool(*program, *someone)
        assert result.returncode == 1 and "may not create cert_authority" in result.stderr, result.stderr
    assert not (tmp_path / "y").exists()
    # Roles limit what is not made on the cluster's own host.
    cluster.make_role("brief", options="{max_session_ttl: 10m}")
    cluster.run("tctl", "users", "add", "bref", "--roles=brief")
    cluster.run("tctl", "auth", "sign", "--format=tls", "--user=bref", f"--out={tmp_path / 'z'}", "--ttl=9h", *editor)
    assert subprocess.run(
        ["openssl", "x509", "-in", tmp_path / "z.crt", "-checkend", "700", "-noout"], capture_output=True).returncode == 1
