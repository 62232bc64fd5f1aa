"""Who may do what: logins that the roles or the certificate do not allow. Numbers are rows of docs/security.md."""

import re

import psycopg
import pytest

from conftest import USER
from test_refusals import assert_alive


def refused(cluster, dsn):
    audit = cluster.audit_from_now()
    calls = cluster.counters()
    with pytest.raises(psycopg.OperationalError) as failure:
        psycopg.connect(dsn)
    assert cluster.counters() == calls, "a refused login must not reach AWS"
    assert [e for e in audit.records() if e["code"] == "TDB00I"] == []
    return str(failure.value)


def replaced(redshift, **values):
    dsn = redshift.dsn
    for key, value in values.items():
        dsn = re.sub(rf"{key}='[^']*'", f"{key}='{value}'", dsn)
    return dsn


def test_07_08_user_and_name_outside_the_roles(cluster):
    cluster.make_role("narrow", names="[reports]", users="[reader]")
    home = cluster.make_user("bob", "narrow")
    for options in (["--db-user=reader", "--db-name=dev"], [f"--db-user={USER}", "--db-name=reports"]):
        result = cluster.tool("tsh", "db", "login", "redshift", *options, home=home)
        assert result.returncode == 1 and "denied" in result.stderr and "add it to db_" in result.stderr


def test_09_certificate_for_another_user_or_database(cluster, redshift):
    assert "the certificate is for user" in refused(cluster, replaced(redshift, user="someone"))
    assert "the certificate is for database" in refused(cluster, replaced(redshift, dbname="postgres"))


def test_a_role_taken_away_ends_access_at_once(cluster):
    cluster.make_role("brief")
    home = cluster.make_user("carol", "brief")
    database = cluster.database(home)
    assert_alive(database)
    cluster.make_role("other", names="[]", users="[]")
    cluster.run("tctl", "users", "update", "carol", "--set-roles=other")
    assert "denied" in refused(cluster, database.dsn)
    cluster.run("tctl", "users", "rm", "carol")
    assert "no longer exists" in refused(cluster, database.dsn)


def test_unknown_database(cluster):
    result = cluster.tool("tsh", "db", "connect", "nothing", home=cluster.home)
    assert result.returncode == 1 and "tsh db ls" in result.stderr
