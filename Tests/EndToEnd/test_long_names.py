"""Names of prepared statements that databases cut: no execution is recorded with a text that is not its own."""

import os
import tempfile

import psycopg
import pytest

from conftest import Cluster, wait_until

OK = psycopg.pq.ExecStatus.COMMAND_OK
NAME = b"n" * 63


@pytest.fixture(params=["best_effort", "strict"])
def mode(request):
    with tempfile.TemporaryDirectory() as directory:
        os.chmod(directory, 0o755)
        cluster = Cluster(directory)
        cluster.query_audit = f"{{mode: {request.param}}}"
        try:
            cluster.start()
            cluster.make_role("dev")
            cluster.database = cluster.database(cluster.make_user("alice", "dev"))
            yield request.param, cluster
        finally:
            cluster.stop()


def queries(cluster):
    wait_until(lambda: any(event["code"] == "TDB01I" for event in cluster.audit()), "the session's end")
    return [event for event in cluster.audit() if event["event"].startswith("db.session.query")]


def test_a_name_that_the_database_cuts(mode):
    mode, cluster = mode
    with psycopg.connect(cluster.database.dsn, autocommit=True) as session:
        wire = session.pgconn
        assert wire.prepare(NAME, b"select 'harmless'").status == OK
        assert wire.exec_prepared(NAME, []).get_value(0, 0) == b"harmless"
        if mode == "strict":
            # PQprepare would return the last of two errors, which is the end of the connection.
            wire.send_prepare(NAME + b"1", b"select 'harmful'")
            refusal = wire.get_result()
            assert refusal.error_field(psycopg.pq.DiagnosticField.SQLSTATE) == b"42622"
            assert "longer than 63 bytes" in refusal.error_message.decode()
            while wire.get_result():
                pass
            assert wire.status == psycopg.pq.ConnStatus.BAD
        else:
            assert wire.close_prepared(NAME + b"1").status == OK
            assert wire.prepare(NAME + b"2", b"select 'harmful'").status == OK
            assert wire.exec_prepared(NAME, []).get_value(0, 0) == b"harmful"
    records = queries(cluster)
    assert records[0]["db_query"] == "select 'harmless'"
    assert not any(record.get("db_query") == "select 'harmless'" for record in records[1:])
    if mode == "strict":
        assert len(records) == 1
        [end] = [event for event in cluster.audit() if event["code"] == "TDB01I"]
        assert end["message"] == "name too long to be recorded"
