"""`tsh db doctor`: a user's way to a database, with one link broken at a time."""

import contextlib
import datetime
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import threading
import time
import types

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from conftest import USER, free_port, wait_until
from test_cluster import apart  # noqa: F401 (a fixture)

LINKS = ["profile", "login certificate", "name resolution", "connection", "TLS", "proxy", "roles", "database certificate",
         "database service", "authentication", "first query"]


@pytest.fixture
def home(cluster, tmp_path):
    """A copy of alice's login, to be spoilt."""
    shutil.copytree(cluster.home, tmp_path / "tsh")
    return tmp_path / "tsh"


def doctor(cluster, home, *arguments, name="redshift", user=USER, database="dev"):
    options = [f"--db-user={user}"] if user else []
    options += [f"--db-name={database}"] if database else []
    return cluster.tool("tsh", "db", "doctor", *([name] if name else []), *options, *arguments, home=home)


def findings(cluster, home, *arguments, **options):
    result = doctor(cluster, home, "--format=json", *arguments, **options)
    assert result.stdout, result.stderr
    found = json.loads(result.stdout)["findings"]
    assert [finding["link"] for finding in found] == LINKS
    return {finding["link"]: types.SimpleNamespace(**finding) for finding in found}, result.returncode


def broken(cluster, home, link, *arguments, **options):
    """The one broken link; none behind it that hangs on it is claimed to work."""
    found, code = findings(cluster, home, *arguments, **options)
    assert code == 1
    assert [name for name, finding in found.items() if finding.outcome == "broken"] == [link], found
    return found[link].detail, "\n".join(found[link].mend), {name: finding.outcome for name, finding in found.items()}


def test_everything_works(cluster, home):
    before = sorted(str(path) for path in home.rglob("*"))
    result = doctor(cluster, home)
    assert result.returncode == 0, result.stdout + result.stderr
    for words in [
        rf"✔ profile +alice at localhost:{cluster.port}, cluster 'test', roles dev, editor",
        r"✔ login certificate +issued by .*user CA.*, good until \d{4}-", r"✔ name resolution +localhost is", r"✔ connection",
        r"✔ TLS +TLSv1.3, certificate of .*localhost", r"✔ proxy +version \S+ of cluster 'test'\n",
        rf"✔ roles +they allow db_users \[{USER}\], db_names \[dev\]; chosen: '{USER}' and 'dev'",
        rf"✔ database certificate +for '{USER}' at 'dev', until", r"✔ database service +the proxy reaches one", rf"✔ authentication +logged in as '{USER}' to 'dev'",
        r"✔ first query", r"Everything works\."]:
        assert re.search(words, result.stdout), (words, result.stdout)
    assert sorted(str(path) for path in home.rglob("*")) == before, "it stores nothing"


def test_what_is_not_given_is_derived_as_for_a_connect(cluster, home):
    found, code = findings(cluster, home, user=None, database=None)
    assert code == 0 and f"chosen: '{USER}' and 'dev'" in found["roles"].detail
    cluster.make_role("choice", users="[a, b]", names="[dev, prod]")
    other = cluster.make_user("tessa", "choice")
    detail, mend, outcomes = broken(cluster, other, "roles", user=None, database=None)
    assert "--db-user is needed" in detail and "allowed: a, b" in mend and outcomes["authentication"] == "skipped"


def test_without_a_name_it_is_the_one_logged_in_to(cluster, home):
    result = doctor(cluster, home, name=None, user=None, database=None)
    if len(list(home.rglob("alice-db/test/*.crt"))) != 1:
        assert result.returncode == 1 and "name one; see 'tsh db ls'" in result.stderr
    for path in home.rglob("alice-db/test/*"):
        path.unlink()
    cluster.run("tsh", "db", "login", "second", f"--db-user={USER}", "--db-name=dev", home=home)
    result = doctor(cluster, home, name=None, user=None, database=None)
    assert result.returncode == 0 and "Database 'second' as user" in result.stdout, result.stderr


# Login


def test_nobody_is_logged_in(cluster, tmp_path):
    detail, mend, outcomes = broken(cluster, tmp_path / "empty", "profile")
    assert "not logged in" in detail and "tsh login --proxy=" in mend
    assert set(list(outcomes.values())[1:]) == {"skipped"}


def test_the_login_has_expired(cluster, home):
    [path] = home.glob("keys/*/alice.crt")
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "an old CA")])
    key, now = ec.generate_private_key(ec.SECP256R1()), datetime.datetime.now(datetime.timezone.utc)
    old = x509.CertificateBuilder(
        name, name, key.public_key(), 4711, now - datetime.timedelta(days=2), now - datetime.timedelta(days=1)).sign(
            key, hashes.SHA256())
    path.write_bytes(old.public_bytes(serialization.Encoding.PEM))
    detail, mend, outcomes = broken(cluster, home, "login certificate")
    assert "it ended at" in detail and f"tsh login --proxy=localhost:{cluster.port} --user=alice" in mend
    # What needs no login is looked at all the same.
    assert outcomes["TLS"] == outcomes["proxy"] == "works" and outcomes["roles"] == "skipped"


# Proxy


def point(home, address):
    """Sends the login somewhere else."""
    [profile] = home.glob("*.yaml")
    text = profile.read_text()
    profile.write_text(re.sub(r"localhost:\d+", address, text))
    keys = home / "keys" / profile.stem
    name = address.replace(":", "_")
    profile.rename(home / f"{name}.yaml")
    keys.rename(home / "keys" / name)
    (home / "current-profile").write_text(name + "\n")
    os.chmod(home / "current-profile", 0o600)


def test_the_proxy_is_unknown_to_the_dns(cluster, home):
    point(home, f"no-such-host.invalid:{cluster.port}")
    detail, mend, outcomes = broken(cluster, home, "name resolution")
    assert "no-such-host.invalid" in detail and "getent hosts no-such-host.invalid" in mend
    assert outcomes["proxy"] == "skipped"


def test_nobody_listens(cluster, home):
    port = free_port()
    point(home, f"localhost:{port}")
    detail, mend, _ = broken(cluster, home, "connection")
    assert "refused" in detail and f"nc -zv localhost {port}" in mend


def test_it_is_no_proxy(cluster, home):
    with contextlib.closing(socket.create_server(("localhost", 0))) as server:
        def answer():
            with contextlib.suppress(OSError):
                while True:
                    with server.accept()[0] as connection:
                        connection.recv(100)
                        connection.sendall(b"SSH-2.0-x\r\n")

        threading.Thread(target=answer, daemon=True).start()
        point(home, f"localhost:{server.getsockname()[1]}")
        detail, mend, _ = broken(cluster, home, "TLS")
    assert "is no proxy of a cluster" in detail


def test_the_ca_is_another(cluster, home, tmp_path):
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=another CA", "-keyout",
         tmp_path / "key", "-out", tmp_path / "ca.pem"], check=True, capture_output=True)
    [authorities] = home.rglob("certs.pem")
    authorities.write_text((tmp_path / "ca.pem").read_text())
    detail, mend, _ = broken(cluster, home, "TLS")
    assert "issuer is not trusted" in detail and "rotated" in mend and "The server shows" in mend


# Roles and what the server refuses


def test_the_database_is_not_among_those_of_the_roles(cluster, home):
    detail, mend, _ = broken(cluster, home, "roles", name="nothing")
    assert "database 'nothing' not found" in detail and "tsh db ls" in mend
    assert "tctl db explain --user=alice --db=nothing" in mend


@pytest.mark.parametrize("options, words", [
    (dict(user="somebody"), "database user 'somebody' is not among the allowed ones"),
    (dict(database="prod"), "database name 'prod' is not among the allowed ones"),
])
def test_the_roles_do_not_allow_it(cluster, home, options, words):
    detail, mend, outcomes = broken(cluster, home, "database certificate", **options)
    assert words in detail and "tctl db explain" in mend and outcomes["roles"] == "works"


def test_a_locked_user_hears_so(cluster):
    cluster.make_role("lockable")
    home = cluster.make_user("lucy", "lockable")
    cluster.run("tctl", "lock", "--user=lucy", "--message=lost laptop", "--ttl=1h")
    try:
        found, code = findings(cluster, home)
        assert code == 1 and "lost laptop" in found["roles"].detail + found["database certificate"].detail
    finally:
        for lock in json.loads(cluster.run("tctl", "get", "locks", "--format=json")):
            cluster.run("tctl", "rm", f"lock/{lock['metadata']['name']}")


def test_what_breaks_behind_the_proxy_is_told_in_its_own_words(cluster):
    cluster.make_role("wide", users="['*']")
    home = cluster.log_in("dave") if (cluster.directory / "home-dave").exists() else cluster.make_user("dave", "wide")
    detail, mend, outcomes = broken(cluster, home, "authentication", user="no-trust")
    assert "not authorized to perform: sts:AssumeRole" in detail
    assert re.search(r"Broken link: assume role, arn:aws:iam::123456789012:role/no-trust: AccessDenied\. Session [0-9a-f-]{36}",
                     mend)
    assert "trust policy" in mend and "'teleport db doctor' on its host" in mend
    assert outcomes["database service"] == "works"
    detail, mend, _ = broken(cluster, home, "authentication", name="untrusted")
    assert "not for this host name" in detail and "Broken link: TLS." in mend
    secrets = cluster.secrets()
    assert not any(secret in detail + mend for secret in secrets)


def test_the_service_is_away(cluster, home):
    cluster.stop_teleport()
    try:
        time.sleep(0.2)
        detail, mend, _ = broken(cluster, home, "connection")
        assert "refused" in detail and "Check that the proxy runs" in mend
    finally:
        cluster.start_teleport()


def test_the_proxy_has_lost_the_agent(apart):  # noqa: F811
    found, code = findings(apart, apart.home)
    assert code == 0, found
    [agent] = apart.agents
    agent.stop(signal.SIGKILL)
    try:
        # Its last heartbeat still counts.
        detail, mend, outcomes = broken(apart, apart.home, "database service")
        assert detail == "no database service for 'redshift' is connected" and "journalctl -u teleport" in mend
        assert outcomes["database certificate"] == "works" and outcomes["authentication"] == "skipped"
    finally:
        agent.restart()
    wait_until(lambda: findings(apart, apart.home)[1] == 0, "the agent to be back")
