"""Labels whose value a command prints: what roles and listings make of them while they change."""

import json
import re

import psycopg
import pytest

from conftest import Cluster, wait_until

ROLE = """
kind: role
version: v7
metadata: {name: open}
spec:
  allow:
    db_labels: {state: open}
    db_names: [dev]
    db_users: [teleport-redshift-serverless-access]
"""


@pytest.fixture(scope="module")
def labelled(cluster, tmp_path_factory):
    directory = tmp_path_factory.mktemp("labels")
    directory.chmod(0o755)
    own = Cluster(directory)
    own.beside(cluster)
    own.state = directory / "state"
    own.state.write_text("open\n")
    (directory / "environment").write_text("#!/bin/sh\nenv | cut -d= -f1 | sort | tr '\\n' ' '\n")
    (directory / "environment").chmod(0o755)
    # A secret that no command may be given.
    own.environment["AWS_SECRET_ACCESS_KEY"] = "not-for-commands"
    write = own.write_config

    def write_config(database, **options):
        write(database, **options)
        text = own.config.read_text()
        own.config.write_text(re.sub(r"( *)static_labels: .*\n", lambda found: found.group(0) + f"""{found.group(1)}dynamic_labels:
{found.group(1)}- {{name: state, command: [cat, {own.state}], period: 1s}}
{found.group(1)}- {{name: variables, command: [{directory / 'environment'}], period: 1h}}
""", text, count=1))

    own.write_config = write_config
    try:
        own.start_cluster()
        own.run("tctl", "create", stdin=ROLE)
        own.home = own.make_user("alice", "open")
        yield own
    finally:
        own.stop_teleport()


def labels(labelled):
    listed = json.loads(labelled.run("tctl", "db", "ls", "--format=json"))
    return next(database["labels"] for database in listed if database["name"] == "redshift")


def sees(labelled):
    return "redshift" in labelled.run("tsh", "db", "ls", home=labelled.home)


def test_roles_go_by_the_value_of_the_moment(labelled):
    wait_until(lambda: sees(labelled), "the label's first value", seconds=10)
    database = labelled.database(labelled.home)
    with psycopg.connect(database.dsn, autocommit=True) as connection:
        labelled.state.write_text("closed for maintenance\n")
        wait_until(lambda: not sees(labelled), "the database to vanish from the list", seconds=10)
        assert labels(labelled)["state"] == "closed for maintenance"
        # A session that is open stays so; no new one opens.
        assert connection.execute("select 1").fetchone()[0] == 1
        with pytest.raises(psycopg.OperationalError, match="access to database 'redshift' denied"):
            psycopg.connect(database.dsn)
    labelled.state.write_text("open")
    wait_until(lambda: sees(labelled), "the database to come back", seconds=10)
    psycopg.connect(database.dsn).close()


def test_a_command_that_fails_leaves_the_value(labelled):
    wait_until(lambda: labels(labelled).get("state") == "open", "the value", seconds=10)
    labelled.state.unlink()
    wait_until(
        lambda: "label 'state' of database 'redshift' stays as it was: its command failed with exit code 1"
        in labelled.log.read_text(), "the warning", seconds=10)
    assert labels(labelled)["state"] == "open"
    labelled.state.write_text("open")


def test_commands_are_given_nothing_but_the_path(labelled):
    wait_until(lambda: "variables" in labels(labelled), "the value", seconds=10)
    # The shell sets PWD itself.
    assert set(labels(labelled)["variables"].split()) - {"PWD", "_", "SHLVL"} == {"PATH"}
