"""What the control plane refuses, keeps to itself, and tells only its log."""

import contextlib
import sqlite3
import subprocess

import psycopg
import pytest

from conftest import USER


def curl(cluster, path, *options, certificate=None):
    """Status and body of a request to the API."""
    if certificate:
        options += ("--cert", certificate.environment["PGSSLCERT"], "--key", certificate.environment["PGSSLKEY"])
    output = subprocess.run(
        ["curl", "-sS", "--cacert", cluster.environment["SSL_CERT_FILE"], "-w", "\n%{http_code}", *options,
         f"https://localhost:{cluster.port}{path}"], check=True, capture_output=True, text=True).stdout
    body, status = output.rsplit("\n", 1)
    return int(status), body


@contextlib.contextmanager
def broken_table(cluster, name):
    """Takes a table of the state away for a while."""
    def rename(before, after):
        with contextlib.closing(sqlite3.connect(cluster.data / "state.sqlite")) as state:
            state.execute(f"ALTER TABLE {before} RENAME TO {after}")
            state.commit()

    rename(name, "elsewhere")
    try:
        yield
    finally:
        rename("elsewhere", name)


def test_a_database_certificate_is_no_identity_for_the_api(cluster, redshift):
    for path, options in [
        ("/v1/databases", ()), ("/v1/resources/role", ()), ("/v1/status", ()), ("/v1/users/alice/reset", ("-d", "{}")),
        ("/v1/certificates/database", ("-d", '{"service": "redshift", "signingRequestPEM": ""}')),
    ]:
        status, body = curl(cluster, path, *options, certificate=redshift)
        assert status == 403 and "tsh login" in body and "redshift" in body, (path, status, body)
    # The login's own certificate is one.
    [folder] = (cluster.home / "keys").iterdir()
    status, _ = curl(cluster, "/v1/databases", "--cert", folder / "alice.crt", "--key", folder / "alice")
    assert status == 200


@pytest.mark.parametrize("path, size", [("/v1/webapi/login", 2 << 20), ("/web/invite/0123456789abcdef", 20 << 10)])
def test_too_large_bodies_are_answered_as_such(cluster, tmp_path, path, size):
    before = len(cluster.log.read_text())
    (tmp_path / "body").write_bytes(b"x" * size)
    status, body = curl(cluster, path, "--data-binary", f"@{tmp_path / 'body'}")
    assert status == 413 and "too large" in body
    assert "request failed" not in cluster.log.read_text()[before:]


def test_secrets_in_paths_stay_out_of_the_log(cluster):
    before = len(cluster.log.read_text())
    secret = "5ec2e7" * 10
    with broken_table(cluster, "invite"):
        status, body = curl(cluster, f"/web/invite/{secret}")
    assert status == 500 and "SQLite" not in body and "for id " in body
    identifier = body.split("for id ")[1].split('"')[0]
    log = cluster.log.read_text()[before:]
    assert identifier in log and "/web/invite/" in log and "no such table" in log
    assert secret not in log


def test_inner_errors_of_a_login_are_logged_under_an_id_and_not_shown(cluster, redshift):
    before = len(cluster.log.read_text())
    # Decisions that are remembered are asked of the state again once a role has changed.
    cluster.make_role("unread")
    with broken_table(cluster, "cluster_user"):
        with pytest.raises(psycopg.OperationalError) as failure:
            psycopg.connect(redshift.dsn)
    text = str(failure.value)
    assert "could not be decided" in text and "SQLite" not in text and "no such table" not in text
    identifier = text.split("for session ")[1].split(".")[0]
    log = [line for line in cluster.log.read_text()[before:].splitlines() if identifier in line]
    assert len(log) == 1 and "no such table" in log[0]
    with psycopg.connect(redshift.dsn) as connection:
        assert connection.execute("select current_user").fetchone() == (f"IAMR:{USER}",)
