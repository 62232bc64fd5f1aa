"""What roles forbid is refused on the wire too, whatever the certificate leaves open. Numbers: docs/security.md."""

import json
import re
import subprocess

import psycopg
import pytest

from conftest import USER
from scripted_server import scripted_server
from test_refusals import log_in, read_all, read_until_ready, secure, sqlstate, startup


def denied(cluster, certificate, user, name):
    """Connects in vain; gives the client's error and the one audit record of it."""
    audit, calls, dialled = cluster.audit_from_now(), cluster.counters(), []
    # Whatever dials the database of this name is seen here.
    with scripted_server(cluster, lambda talk: dialled.append(talk.connection.recv(1))):
        with secure(cluster, certificate) as connection:
            connection.sendall(startup(("user", user), ("database", name)))
            answer = read_all(connection)
    assert sqlstate(answer) == "28000", answer
    assert cluster.counters() == calls, "a refused login must not reach AWS"
    assert dialled == [], "a refused login must not reach the database"
    [event] = audit.wait(event="db.session")
    assert (event["event"], event["code"], event["success"]) == ("db.session.start", "TDB00W", False)
    assert event["sid"], "what the log knows of it stands under this"
    return answer, event


@pytest.fixture(scope="module")
def bob(cluster):
    cluster.make_role("wire-narrow", names="[reports]", users="[reader]")
    return cluster.make_user("wire-bob", "wire-narrow")


@pytest.mark.parametrize("user, name, words", [
    ("someone", "reports", b"database user 'someone'"), ("reader", "postgres", b"database name 'postgres'"),
    ("reader'; drop table x; --", "reports", b"drop table"), ("", "reports", b"no database user name"),
])
def test_07_08_forbidden_user_or_name_with_an_open_certificate(cluster, bob, user, name, words):
    certificate = cluster.open_certificate(bob, "scripted")
    if not user:
        with secure(cluster, certificate) as connection:
            connection.sendall(startup(("user", user), ("database", name)))
            answer = read_all(connection)
        assert sqlstate(answer) == "28000" and words in answer
        return
    answer, event = denied(cluster, certificate, user, name)
    assert b"access to database 'scripted' denied" in answer and words in answer
    assert (event["user"], event["db_user"], event["db_name"], event["db_service"]) == ("wire-bob", user, name, "scripted")


def test_07_08_what_the_role_allows_works_with_an_open_certificate(cluster):
    certificate = cluster.open_certificate(cluster.home, "redshift")
    with psycopg.connect(f"{certificate.dsn} user={USER} dbname=dev") as connection:
        assert connection.execute("select current_user").fetchone() == (f"IAMR:{USER}",)


def test_08_unknown_and_forbidden_databases_answer_alike(cluster):
    cluster.make_role("wire-labels")
    home = cluster.make_user("wire-lena", "wire-labels")
    # Both certificates are from when the databases were there and allowed.
    cluster.stop_teleport()
    text = cluster.config.read_text()
    cluster.config.write_text(text.replace("- name: untrusted", "- name: vanishing"))
    cluster.start_teleport()
    try:
        certificates = {name: cluster.open_certificate(home, name) for name in ("vanishing", "scripted")}
    finally:
        cluster.stop_teleport()
        cluster.config.write_text(text)
        cluster.start_teleport()
    role = json.dumps({
        "kind": "role", "version": "v5", "metadata": {"name": "wire-labels"},
        "spec": {"allow": {"db_labels": {"env": "prod"}, "db_names": ["dev"], "db_users": [USER]}}})
    cluster.run("tctl", "create", "--force", stdin=role)
    answers = {}
    for name, certificate in certificates.items():
        answer, event = denied(cluster, certificate, USER, "dev")
        assert event["db_service"] == name
        # Behind type and length, which the name's own length is part of.
        answers[answer[5:].replace(name.encode(), b"NAME")] = event["message"].replace(name, "NAME")
    assert len(answers) == 1 and len(set(answers.values())) == 1, answers


def test_13_replication_that_a_role_allows(cluster, redshift):
    identify = ["psql", "-XAtc", "IDENTIFY_SYSTEM"]

    def run(database):
        return subprocess.run([*identify, f"{database.dsn} replication=database"], capture_output=True, text=True)

    role = json.dumps({
        "kind": "role", "version": "v5", "metadata": {"name": "wire-replication"},
        "spec": {"allow": {
            "db_labels": {"*": "*"}, "db_names": ["dev"], "db_users": [USER], "db_replication": True}}})
    cluster.run("tctl", "create", "--force", stdin=role)
    allowed = cluster.database(cluster.make_user("wire-rita", "wire-replication"))
    with psycopg.connect(allowed.dsn) as connection:
        assert connection.execute("select 1").fetchone() == (1,), "the database user is there from now on"
    with cluster.admin() as admin:
        admin.execute(f'alter role "IAMR:{USER}" replication')
    try:
        result = run(allowed)
        assert result.returncode == 0, result.stderr
        system, timeline, position, database = result.stdout.strip().split("|")
        assert system.isdigit() and timeline == "1" and re.fullmatch(r"[0-9A-F]+/[0-9A-F]+", position) and database == "dev"
        # The database would allow it, the role does not.
        other = run(redshift)
        assert other.returncode != 0 and "replication connections are not allowed" in other.stderr
    finally:
        with cluster.admin() as admin:
            admin.execute(f'alter role "IAMR:{USER}" noreplication')


FORGERIES = [
    'x"}\n{"event":"fake"}', "x\r\n{\"event\":\"fake\"}", "\x1b[2J\x1b]0;title\x07", "a\u2028{\"event\":\"fake\"}\u2029b",
    "a\x85b\x9b2Jc\x7f", "\u202e\u2066drowssap", "\\u0000\\n",
]


@pytest.mark.parametrize("value", FORGERIES)
def test_29_forged_application_names(cluster, redshift, value):
    audit = cluster.audit_from_now()
    with secure(cluster, redshift) as connection:
        connection.sendall(startup(("user", USER), ("database", "dev"), ("application_name", value)))
        read_until_ready(connection)
        connection.sendall(b"X\0\0\0\x04")
    audit.wait(2, event="db.session")
    # Every reader of lines, Python's generous one too, sees the same records.
    text = audit.text()
    start, end = [record for record in map(json.loads, text.splitlines()) if record["event"].startswith("db.session")]
    assert (start["event"], end["event"]) == ("db.session.start", "db.session.end")
    assert start["user_agent"] == value == end["user_agent"]
    assert not re.search("[\x00-\x09\x0b-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069]", text)


@pytest.mark.parametrize("value", ['x"}{"event":"fake', "a\u2028b", "\u202e\u2066x", "e\u0301\u00e9"])
def test_29_forged_users_and_databases(cluster, bob, value):
    certificate = cluster.open_certificate(bob, "redshift")
    _, event = denied(cluster, certificate, value, "reports")
    assert event["db_user"] == value
    _, event = denied(cluster, certificate, "reader", value)
    assert event["db_name"] == value


def test_29_forged_users_at_the_login(cluster):
    name = 'x"}\n{"event":"fake\u2028"}'
    audit = cluster.audit_from_now()
    result = cluster.tool(
        "tsh", "login", f"--proxy=localhost:{cluster.port}", f"--user={name}", "--password-file=-",
        home=cluster.directory / "home-forged", stdin="wrong password!\n")
    assert result.returncode == 1
    [event] = audit.wait(event="user.login")
    assert (event["event"], event["user"], event["success"]) == ("user.login", name, False)


def test_application_name_is_recorded_as_teleport_does(cluster, redshift):
    audit = cluster.audit_from_now()
    with psycopg.connect(redshift.dsn + " application_name=billing"):
        pass
    assert [event.get("user_agent") for event in audit.wait(2, event="db.session")] == ["billing", "billing"]
    audit = cluster.audit_from_now()
    connection, _ = log_in(cluster, redshift)
    connection.close()
    [_, end] = audit.wait(2, event="db.session")
    assert end["event"] == "db.session.end" and "user_agent" not in end, "none was given"
