"""Databases without AWS know their users by certificates of the db_client CA: pg_hba's `cert`, ssl_ca_file the export."""

import concurrent.futures
import json
import os
import pathlib
import shutil
import signal
import ssl
import subprocess
import urllib.error
import urllib.request

import psycopg
import pytest

from conftest import ROOT, free_port, open_directory, wait_until
from test_cluster import Apart

SCRIPT = ROOT / "Tests/EndToEnd/postgres.sh"


class SelfHosted:
    """A PostgreSQL that lets in who has a certificate, with a server certificate of `tctl auth sign`."""

    def __init__(self, cluster):
        self.cluster, self.port, self.directory = cluster, free_port(), cluster.directory / "self-hosted"
        subprocess.run([SCRIPT, "start", self.directory, str(self.port), "100"], check=True)
        cluster.run("tctl", "auth", "sign", "--format=db", "--host=localhost,127.0.0.1", f"--out={cluster.directory / 'signed'}")
        for suffix, target in (("crt", "server.crt"), ("key", "server.key"), ("cas", "client.cas")):
            self.install(cluster.directory / f"signed.{suffix}", target)
        (self.directory / "data/pg_hba.conf").write_text(
            "local all all trust\nhostssl all all 127.0.0.1/32 cert\nhostssl all all ::1/128 cert\n")
        self.trust("client.cas")
        self.sql("create user app", "create user other")

    def install(self, source, target):
        shutil.copy(source, self.directory / target)
        (self.directory / target).chmod(0o600)
        if os.geteuid() == 0:
            shutil.chown(self.directory / target, "postgres")

    def trust(self, name):
        with open(self.directory / "data/postgresql.conf", "a") as configuration:
            configuration.write(f"ssl_ca_file = '{self.directory / name}'\nlisten_addresses = 'localhost'\n")
        subprocess.run([SCRIPT, "stop", self.directory], check=True)
        subprocess.run([SCRIPT, "restart", self.directory], check=True)

    def sql(self, *statements):
        with psycopg.connect(
                f"host={self.directory} port={self.port} user={self.cluster.superuser} dbname=dev", autocommit=True) as admin:
            for statement in statements:
                admin.execute(statement)

    def stop(self):
        subprocess.run([SCRIPT, "stop", self.directory], check=False)


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    directory = open_directory(tmp_path_factory, "certificates")
    cluster = Apart(directory)
    database = None
    try:
        cluster.start()
        database = cluster.self_hosted = SelfHosted(cluster)
        cluster.add_agent("agent-2", databases=f"""
  - name: self-hosted
    protocol: postgres
    uri: localhost:{database.port}
    static_labels: {{env: dev}}
""")
        cluster.make_role("dev", users="[app, other, nobody]")
        cluster.home = cluster.make_user("alice", "dev,editor")
        wait_until(lambda: "self-hosted" in cluster.run("tsh", "db", "ls", home=cluster.home), "the database in the list")
        yield cluster
    finally:
        cluster.stop()
        if database:
            database.stop()


def made(cluster, user):
    return [e for e in cluster.audit() if e.get("cert_type") == "db_client" and e.get("name") == user]


def test_the_database_knows_its_user_by_the_certificate(world):
    database = world.database(world.home, "self-hosted", "app")
    result = subprocess.run(
        ["psql", "-Atc", "select current_user || ' ' || ssl || ' ' || client_dn from pg_stat_ssl where pid = pg_backend_pid()"],
        env=dict(os.environ, **database.environment), capture_output=True, text=True)
    assert result.stdout.strip() == "app true /CN=app", result.stderr


def test_one_certificate_serves_many_logins(world):
    database = world.database(world.home, "self-hosted", "other")

    def who(_):
        with psycopg.connect(database.dsn, autocommit=True) as connection:
            return connection.execute("select current_user").fetchone()[0]

    with concurrent.futures.ThreadPoolExecutor(20) as pool:
        assert list(pool.map(who, range(40))) == ["other"] * 40
    assert len(made(world, "other")) == 1


def test_kept_certificates_serve_while_auth_is_down(world):
    database = world.database(world.home, "self-hosted", "app")
    psycopg.connect(database.dsn).close()
    world.auth.stop(signal.SIGKILL)
    try:
        psycopg.connect(database.dsn).close()
    finally:
        world.auth.start(world.auth_port)
        wait_until(lambda: world.tool("tsh", "db", "ls", home=world.home).returncode == 0, "auth to be back")


def is_recorded(world, state, words):
    """Whether the agent's last refusal is on record with that SQLSTATE."""
    lines = (world.agents[-1].data / "log/events.log").read_text().splitlines()
    refusals = [e for e in map(json.loads, lines) if e["event"] == "db.session.start" and not e["success"]]
    return bool(refusals) and refusals[-1]["error"] == state and words in refusals[-1]["message"]


def test_a_user_that_the_database_does_not_know(world):
    database = world.database(world.home, "self-hosted", "nobody")
    with pytest.raises(psycopg.OperationalError, match='role "nobody" does not exist'):
        psycopg.connect(database.dsn)
    wait_until(lambda: is_recorded(world, "28000", "does not exist"), "the record")


def test_a_database_that_trusts_another_ca(world):
    database = world.database(world.home, "self-hosted", "app")
    world.self_hosted.install(world.pg / "ca.pem", "foreign.cas")
    world.self_hosted.trust("foreign.cas")
    try:
        with pytest.raises(psycopg.OperationalError, match="(?s)refused the client certificate.*HINT.*--type=db-client"):
            psycopg.connect(database.dsn)
        wait_until(lambda: is_recorded(world, "28000", "client certificate"), "the record")
    finally:
        world.self_hosted.trust("client.cas")
    psycopg.connect(database.dsn).close()


def test_the_exported_ca_is_what_the_database_needs(world):
    (world.directory / "export.cas").write_text(world.run("tctl", "auth", "export", "--type=db-client"))
    world.self_hosted.install(world.directory / "export.cas", "export.cas")
    world.self_hosted.trust("export.cas")
    psycopg.connect(world.database(world.home, "self-hosted", "app").dsn).close()


def ask(world, agent, service):
    """An agent's own call for a certificate."""
    folder = pathlib.Path(agent.data / "host")
    certificate = json.loads((folder / "certificate.json").read_text())
    (world.directory / "agent.crt").write_text(certificate["certificatePEM"])
    [key] = folder.glob("*.key")
    subprocess.run(
        ["openssl", "req", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-subj", "/CN=x", "-keyout",
         world.directory / "x.key", "-out", world.directory / "x.csr"], check=True, capture_output=True)
    context = ssl.create_default_context(cafile=world.environment["SSL_CERT_FILE"])
    context.load_cert_chain(world.directory / "agent.crt", key)
    context.set_alpn_protocols(["http/1.1"])
    body = {"service": service, "databaseUser": "app", "signingRequestPEM": (world.directory / "x.csr").read_text()}
    request = urllib.request.Request(
        f"https://localhost:{world.auth_port}/v1/certificates/database-client", data=json.dumps(body).encode(),
        headers={"Content-Type": "application/json"}, method="POST")
    try:
        with urllib.request.urlopen(request, context=context) as answer:
            return answer.status, json.load(answer)
    except urllib.error.HTTPError as error:
        return error.code, json.load(error)


def test_an_agent_gets_certificates_for_what_it_serves_only(world):
    first, second = world.agents
    status, answer = ask(world, second, "self-hosted")
    assert status == 200 and "BEGIN CERTIFICATE" in answer["certificatePEM"]
    status, answer = ask(world, first, "self-hosted")
    assert status == 403 and "does not serve" in answer["error"]["message"]
    status, answer = ask(world, world.proxy, "self-hosted")
    assert status == 403


def test_a_rotated_ca_is_taken_up_at_once(world):
    database = world.database(world.home, "self-hosted", "app")
    world.run("tctl", "auth", "rotate", "--type=db_client", "--manual", "--phase=init")
    (world.directory / "both.cas").write_text(world.run("tctl", "auth", "export", "--type=db-client"))
    assert (world.directory / "both.cas").read_text().count("BEGIN CERTIFICATE") == 2
    world.self_hosted.install(world.directory / "both.cas", "both.cas")
    world.self_hosted.trust("both.cas")
    psycopg.connect(database.dsn).close()
    before = len(made(world, "app"))
    world.run("tctl", "auth", "rotate", "--type=db_client", "--manual", "--phase=update_clients")

    def renewed():
        psycopg.connect(database.dsn).close()
        return len(made(world, "app")) > before

    wait_until(renewed, "a certificate of the new CA", seconds=10)
    for phase in ("update_servers", "standby"):
        world.run("tctl", "auth", "rotate", "--type=db_client", "--manual", f"--phase={phase}")
    psycopg.connect(database.dsn).close()
