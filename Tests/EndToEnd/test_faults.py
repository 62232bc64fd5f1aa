"""Parts that fail cost their own session only, and nothing leaks."""

import os
import pathlib
import re
import shutil
import stat
import struct
import subprocess
import time

import psycopg
import pytest

from conftest import PASSWORD, USER, wait_until
from test_refusals import log_in, message, plain, read_all, secure


def descriptors(cluster):
    return len(os.listdir(f"/proc/{cluster.teleport.pid}/fd"))


def resident_kb(cluster):
    status = pathlib.Path(f"/proc/{cluster.teleport.pid}/status").read_text()
    return int(re.search(r"VmRSS:\s+(\d+)", status).group(1))


def alive(database):
    with psycopg.connect(database.dsn) as connection:
        assert connection.execute("select 1").fetchone() == (1,)


def test_killed_client_costs_its_own_session(cluster, redshift):
    # The first login opens what stays open, such as the connection to AWS.
    alive(redshift)
    before = descriptors(cluster)
    with psycopg.connect(redshift.dsn) as other:
        process = subprocess.Popen(
            ["psql", "-Xqc", "select pg_sleep(100)"], env={**os.environ, **redshift.environment}, stderr=subprocess.DEVNULL)
        time.sleep(1)
        process.kill()
        process.wait()
        assert other.execute("select 1").fetchone() == (1,)
    wait_until(lambda: descriptors(cluster) <= before, "descriptors of the killed client to be closed")


def test_killed_database_costs_its_sessions_and_no_more(cluster, redshift):
    before = descriptors(cluster)
    connection = psycopg.connect(redshift.dsn)
    script = pathlib.Path(__file__).parent / "postgres.sh"
    subprocess.run([script, "stop", cluster.pg], check=True)
    with pytest.raises(psycopg.OperationalError):
        connection.execute("select 1")
    connection.close()
    with pytest.raises(psycopg.OperationalError, match="cannot reach the database"):
        psycopg.connect(redshift.dsn)
    subprocess.run([script, "restart", cluster.pg], check=True)
    alive(redshift)
    wait_until(lambda: descriptors(cluster) <= before, "descriptors of the dead sessions to be closed")


def test_killed_aws_leaves_sessions_and_kept_logins_alone(cluster, redshift):
    with psycopg.connect(redshift.dsn) as connection:
        cluster.emulator.kill()
        cluster.emulator.wait()
        try:
            assert connection.execute("select 1").fetchone() == (1,)
            alive(redshift)
        finally:
            cluster.start_emulator()
    alive(redshift)
    # The new emulator knows no sessions of the old one: the server has to look for credentials again.
    cluster.stop_teleport()
    cluster.start_teleport()
    alive(redshift)


def test_client_that_never_reads_does_not_fill_memory(cluster, redshift):
    before = resident_kb(cluster)
    connection, _ = log_in(cluster, redshift)
    query = b"select repeat('x', 1000000) from generate_series(1, 2000)\0"
    with connection:
        connection.sendall(b"Q" + struct.pack("!I", 4 + len(query)) + query)
        for _ in range(30):
            time.sleep(0.1)
            assert resident_kb(cluster) < before + 16 * 1024
    alive(redshift)


def test_half_open_logins_end_at_their_deadline(cluster):
    with plain(cluster) as connection:
        start = time.monotonic()
        for _ in range(40):
            try:
                connection.sendall(b"\0")
            except (BrokenPipeError, ConnectionResetError):
                break
            time.sleep(0.5)
        assert time.monotonic() - start < 15


def test_cancel_in_clear_can_be_switched_off(cluster, redshift):
    cluster.stop_teleport()
    cluster.write_config(database=True, cancel_in_clear="no")
    cluster.start_teleport()
    try:
        connection, (pid, key) = log_in(cluster, redshift)
        query = b"select pg_sleep(2), 'done'\0"
        with connection:
            connection.sendall(b"Q" + struct.pack("!I", 4 + len(query)) + query)
            with plain(cluster) as other:
                other.sendall(message(80877102, struct.pack("!II", pid, key)))
                assert read_all(other) == b""
            assert b"done" in connection.recv(65536)
    finally:
        cluster.stop_teleport()
        cluster.write_config(database=True)
        cluster.start_teleport()


def test_cancel_by_another_user_is_refused_and_recorded(cluster, redshift):
    cluster.make_role("dev-only")
    other = cluster.database(cluster.make_user("mallory", "dev-only"))
    connection, (pid, key) = log_in(cluster, redshift)
    query = b"select pg_sleep(2), 'done'\0"
    with connection:
        connection.sendall(b"Q" + struct.pack("!I", 4 + len(query)) + query)
        with secure(cluster, other) as thief:
            thief.sendall(message(80877102, struct.pack("!II", pid, key)))
            assert read_all(thief) == b""
        assert b"done" in connection.recv(65536)
    wait_until(lambda: any(event["event"] == "db.session.cancel" for event in cluster.audit()), "audit record")
    record = [event for event in cluster.audit() if event["event"] == "db.session.cancel"][-1]
    assert (record["user"], record["success"], record["code"]) == ("mallory", False, "TDB03W")
    assert "alice" in record["message"]


def test_idle_sessions_end_when_the_role_says_so(cluster):
    cluster.make_role("hasty", options="{client_idle_timeout: 1s}")
    database = cluster.database(cluster.make_user("greta", "hasty"))
    with psycopg.connect(database.dsn, autocommit=True) as connection:
        # Waiting for the database is not idling.
        assert connection.execute("select 1 from pg_sleep(3)").fetchone() == (1,)
        time.sleep(2)
        with pytest.raises(psycopg.OperationalError, match="idle for too long"):
            connection.execute("select 1")


def test_sessions_end_with_their_certificate(cluster):
    cluster.make_role("short", options="{max_session_ttl: 6s, disconnect_expired_cert: yes}")
    database = cluster.database(cluster.make_user("henry", "short"))
    with psycopg.connect(database.dsn, autocommit=True) as connection:
        with pytest.raises(psycopg.OperationalError, match="certificate has expired"):
            for _ in range(12):
                connection.execute("select pg_sleep(1)")
    time.sleep(1)
    with pytest.raises(psycopg.OperationalError, match="certificate expired"):
        psycopg.connect(database.dsn)


def test_shutdown_is_told_to_clients(cluster, redshift):
    # A client that waits for its answer reads what comes; one that writes to a closed socket may not.
    process = subprocess.Popen(
        ["psql", "-Xqc", "select pg_sleep(60)"], env={**os.environ, **redshift.environment}, stderr=subprocess.PIPE, text=True)
    time.sleep(1)
    cluster.stop_teleport()
    try:
        _, errors = process.communicate(timeout=20)
        assert "FATAL:  the server is shutting down" in errors
    finally:
        cluster.start_teleport()
    alive(redshift)


def test_two_servers_on_one_directory(cluster):
    result = cluster.tool("teleport", "start")
    assert result.returncode == 1 and "another process uses" in result.stderr


def test_every_session_is_in_the_audit_log(cluster, redshift):
    alive(redshift)
    wait_until(lambda: cluster.audit()[-1]["event"] == "db.session.end", "the session's end")
    events = cluster.audit()
    start, *queries, end = [event for event in events if event.get("sid") == events[-1]["sid"]]
    assert (start["code"], end["code"]) == ("TDB00I", "TDB01I")
    assert queries and all(event["code"] == "TDB02I" for event in queries)
    assert (start["user"], start["db_user"], start["db_name"], start["db_service"]) == ("alice", USER, "dev", "redshift")


def test_no_secret_is_in_any_log(cluster, redshift):
    alive(redshift)
    texts = [cluster.log.read_text(), (cluster.data / "log/events.log").read_text()]
    for secret in [*cluster.secrets(), PASSWORD, cluster.join_token]:
        for text in texts:
            assert secret not in text


def test_files_are_private(cluster):
    # Each for itself: that a folder is closed is a second wall, not the first.
    seen = set()
    for top in (cluster.data, cluster.home):
        assert stat.S_IMODE(os.stat(top).st_mode) == 0o700
        for root, folders, files in os.walk(top):
            for name in folders + files:
                path = os.path.join(root, name)
                try:
                    status = os.lstat(path)
                except FileNotFoundError:
                    continue  # the name of a connection, which lives for a moment
                assert status.st_mode & 0o077 == 0, f"{path} is open to others: {stat.filemode(status.st_mode)}"
                seen.add(os.path.relpath(path, top))
    assert {"state.sqlite", "admin/admin.key", "run/api.sock", "log/events.log"} <= seen
    assert any(re.fullmatch(r"keys/localhost_\d+/alice", path) for path in seen)


@pytest.mark.parametrize("mode", [0o750, 0o701, 0o777])
def test_directories_open_to_others_are_refused(cluster, tmp_path, mode):
    data = tmp_path / "data"
    data.mkdir()
    data.chmod(mode)
    config = tmp_path / "teleport.yaml"
    config.write_text(f"teleport: {{data_dir: {data}}}\n")
    result = cluster.tool("teleport", "start", "-c", config)
    assert result.returncode == 1 and f"run 'chmod 700 {data}'" in result.stderr and not os.listdir(data)
    home = shutil.copytree(cluster.home, tmp_path / "home")
    home.chmod(mode)
    for command in (["status"], ["db", "ls"], ["login", f"--proxy=localhost:{cluster.port}", "--user=alice", "--password-file=-"]):
        result = cluster.tool("tsh", *command, home=home, stdin=PASSWORD)
        assert result.returncode == 1 and f"run 'chmod 700 {home}'" in result.stderr, (command, result)
    home.chmod(0o700)
    assert cluster.tool("tsh", "status", home=home).returncode == 0


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a directory away")
def test_directories_of_others_are_refused(cluster, tmp_path):
    data = tmp_path / "data"
    data.mkdir(mode=0o700)
    os.chown(data, 65534, 65534)
    config = tmp_path / "teleport.yaml"
    config.write_text(f"teleport: {{data_dir: {data}}}\n")
    result = cluster.tool("teleport", "start", "-c", config)
    assert result.returncode == 1 and "belongs to user id 65534" in result.stderr and "chown" in result.stderr
