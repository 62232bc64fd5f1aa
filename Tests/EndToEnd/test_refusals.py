"""Refusals at every stage, and clients that mean harm. Numbers are rows of the bad-input table in docs/security.md."""

import json
import os
import re
import socket
import ssl
import struct
import subprocess

import psycopg
import pytest

from conftest import PASSWORD, USER


def message(code, body=b""):
    return struct.pack("!II", 8 + len(body), code) + body


SSL_REQUEST = message(80877103)
GSS_REQUEST = message(80877104)


def startup(*pairs, code=196608, end=b"\0"):
    return message(code, b"".join(part.encode() + b"\0" for pair in pairs for part in pair) + end)


def plain(cluster):
    connection = socket.create_connection(("127.0.0.1", cluster.port), timeout=15)
    return connection


def secure(cluster, redshift=None, alpn=None, negotiate=True, maximum=None):
    """A TLS connection, with the database certificate if there is one."""
    connection = plain(cluster)
    if negotiate:
        connection.sendall(SSL_REQUEST)
        assert connection.recv(1) == b"S"
    context = ssl.create_default_context(cafile=cluster.data / "admin/ca.pem")
    if redshift:
        context.load_cert_chain(redshift.environment["PGSSLCERT"], redshift.environment["PGSSLKEY"])
    if alpn:
        context.set_alpn_protocols(alpn)
    if maximum:
        context.minimum_version = ssl.TLSVersion.TLSv1
        context.maximum_version = maximum
        context.set_ciphers("ALL:@SECLEVEL=0")
    return context.wrap_socket(connection, server_hostname="localhost")


def read_all(connection):
    data = b""
    try:
        while part := connection.recv(65536):
            data += part
    except (ConnectionResetError, ssl.SSLError):
        pass
    return data


def sqlstate(data):
    match = re.search(rb"C(\w{5})\0", data)
    return match and match.group(1).decode()


def assert_alive(redshift):
    with psycopg.connect(redshift.dsn) as connection:
        assert connection.execute("select 1").fetchone() == (1,)


# Before TLS

def test_01_bytes_behind_the_ssl_request_close_the_connection(cluster, redshift):
    with plain(cluster) as connection:
        connection.sendall(SSL_REQUEST + b"Q\0\0\0\x0dselect 1\0")
        assert read_all(connection) == b""
    assert_alive(redshift)


def test_02_startup_in_the_clear_is_told_that_tls_is_required(cluster):
    with plain(cluster) as connection:
        connection.sendall(startup(("user", "x"), ("database", "dev")))
        data = read_all(connection)
    assert sqlstate(data) == "28000" and b"TLS is required" in data


@pytest.mark.parametrize("length", [0, 4, 7, 0xFFFFFFFF, 0x7FFFFFFF, 10001])
def test_03_bad_startup_lengths(cluster, redshift, length):
    with plain(cluster) as connection:
        connection.sendall(struct.pack("!I", length))
        assert read_all(connection) == b""
    with secure(cluster, redshift) as connection:
        connection.sendall(struct.pack("!I", length))
        assert sqlstate(read_all(connection)) == "08P01"


@pytest.mark.parametrize("data", [b"GET / HTTP/1.1\r\nHost: x\r\n\r\n", b"SSH-2.0-OpenSSH_9.2\r\n", os.urandom(1 << 20)])
def test_04_other_protocols_are_closed(cluster, redshift, data):
    with plain(cluster) as connection:
        try:
            connection.sendall(b"\x01" + data if data[0] == 0x16 else data)
        except (ConnectionResetError, BrokenPipeError):
            pass
        assert read_all(connection) == b""
    assert_alive(redshift)


def test_14_gss_then_tls_then_startup_works_and_a_third_is_refused(cluster, redshift):
    with plain(cluster) as connection:
        connection.sendall(GSS_REQUEST)
        assert connection.recv(1) == b"N"
        connection.sendall(SSL_REQUEST)
        assert connection.recv(1) == b"S"
    with plain(cluster) as connection:
        connection.sendall(GSS_REQUEST)
        assert connection.recv(1) == b"N"
        connection.sendall(GSS_REQUEST)
        assert read_all(connection) == b""


# TLS

def test_05_no_client_certificate(cluster):
    with secure(cluster) as connection:
        connection.sendall(startup(("user", USER), ("database", "dev")))
        data = read_all(connection)
    assert sqlstate(data) == "28000" and b"client certificate is required" in data


def test_06_certificates_of_others(cluster, redshift, tmp_path):
    def make(*arguments):
        subprocess.run(["openssl", *arguments], check=True, capture_output=True, cwd=tmp_path)

    make("req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "1", "-subj",
         "/O=test/CN=test user CA", "-keyout", "ca.key", "-out", "ca.pem")
    make("req", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-subj", "/CN=alice", "-keyout", "other.key",
         "-out", "other.csr")
    make("x509", "-req", "-in", "other.csr", "-CA", "ca.pem", "-CAkey", "ca.key", "-CAcreateserial", "-days", "1", "-out", "other.crt")
    # A user's certificate signing another one: the leaf is no authority.
    make("x509", "-req", "-in", "other.csr", "-CA", redshift.environment["PGSSLCERT"], "-CAkey", redshift.environment["PGSSLKEY"],
         "-CAcreateserial", "-CAserial", str(tmp_path / "serial"), "-days", "1", "-out", "leaf.crt")
    for certificate in ("other.crt", "leaf.crt"):
        context = ssl.create_default_context(cafile=cluster.data / "admin/ca.pem")
        context.load_cert_chain(tmp_path / certificate, tmp_path / "other.key")
        connection = plain(cluster)
        connection.sendall(SSL_REQUEST)
        assert connection.recv(1) == b"S"
        with pytest.raises((ssl.SSLError, ConnectionResetError)):
            with context.wrap_socket(connection, server_hostname="localhost") as secured:
                secured.sendall(startup(("user", USER), ("database", "dev")))
                if not secured.recv(1):
                    raise ConnectionResetError


def test_16_direct_tls_needs_a_protocol_of_ours(cluster, redshift):
    with secure(cluster, redshift, alpn=["postgresql"], negotiate=False) as connection:
        assert connection.selected_alpn_protocol() == "postgresql"
        connection.sendall(startup(("user", USER), ("database", "dev")))
        assert connection.recv(9)[:1] == b"R"
    for alpn in (None, ["h2"]):
        with pytest.raises(ssl.SSLError, match="no application protocol|NO_APPLICATION_PROTOCOL"):
            secure(cluster, redshift, alpn=alpn, negotiate=False)


def test_17_old_tls_versions(cluster, redshift):
    with pytest.raises((ssl.SSLError, ConnectionResetError)):
        secure(cluster, redshift, maximum=ssl.TLSVersion.TLSv1_1)


# Who may do what

def refused(cluster, dsn):
    dialled = len([e for e in cluster.audit() if e["code"] == "TDB00I"])
    calls = cluster.counters()
    with pytest.raises(psycopg.OperationalError) as failure:
        psycopg.connect(dsn)
    assert cluster.counters() == calls, "a refused login must not reach AWS"
    assert len([e for e in cluster.audit() if e["code"] == "TDB00I"]) == dialled
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


def test_10_missing_user(cluster, redshift):
    with secure(cluster, redshift) as connection:
        connection.sendall(startup(("database", "dev")))
        data = read_all(connection)
    assert sqlstate(data) == "28000" and b"no database user name" in data


@pytest.mark.parametrize("packet", [
    startup(("user", "a"), ("user", "b")), startup(("user", "a"), end=b""), startup(("user", "a"), end=b"\0\0junk"),
    message(196608, b"user\0\xff\xfe\0\0"), startup(("user", "a\nb")), message(196608, b"user\0"),
])
def test_11_malformed_startup_packets(cluster, redshift, packet):
    with secure(cluster, redshift) as connection:
        connection.sendall(packet)
        assert sqlstate(read_all(connection)) == "08P01"


@pytest.mark.parametrize("value", ["true", "database", "1", "on", "yes", "TRUE", "whatever"])
def test_13_replication_is_refused(cluster, redshift, value):
    with secure(cluster, redshift) as connection:
        connection.sendall(startup(("user", USER), ("database", "dev"), ("replication", value)))
        assert sqlstate(read_all(connection)) == "0A000"


def test_15_protocol_versions(cluster, redshift):
    with secure(cluster, redshift) as connection:
        connection.sendall(startup(("user", USER), ("database", "dev"), ("_pq_.feature", "1"), code=196610))
        header = connection.recv(5)
        assert header[:1] == b"v"
        body = connection.recv(struct.unpack("!I", header[1:])[0] - 4)
        assert body == struct.pack("!II", 0, 1) + b"_pq_.feature\0"
    for code in (2 << 16, 4 << 16):
        with secure(cluster, redshift) as connection:
            connection.sendall(startup(("user", "a"), code=code))
            assert sqlstate(read_all(connection)) == "0A000"


# In the session

def log_in(cluster, redshift):
    connection = secure(cluster, redshift)
    connection.sendall(startup(("user", USER), ("database", "dev")))
    data = b""
    while b"Z\0\0\0\x05" not in data:
        part = connection.recv(65536)
        assert part, data
        data += part
    return connection, struct.unpack("!II", re.search(rb"K\0\0\0\x0c(.{8})", data, re.S).group(1))


@pytest.mark.parametrize("junk", [b"\x01\0\0\0\x04", b"Q\0\0\0\x03", b"S\x00\xff\xff\xff", b"p\0\0\0\x09abcd\0", b"Q\xff\xff\xff\xff"])
def test_20_21_broken_messages_end_both_legs(cluster, redshift, junk):
    connection, _ = log_in(cluster, redshift)
    with connection:
        connection.sendall(junk)
        assert sqlstate(read_all(connection)) == "08P01"
    assert_alive(redshift)


def test_28_query_before_the_login_is_complete(cluster, redshift):
    with secure(cluster, redshift) as connection:
        connection.sendall(startup(("user", USER), ("database", "dev")) + b"Q\0\0\0\x0dselect 1\0")
        assert sqlstate(read_all(connection)) == "08P01"


def test_18_19_wrong_and_stale_cancel_keys_do_nothing(cluster, redshift):
    connection, (pid, key) = log_in(cluster, redshift)
    query = b"select pg_sleep(2), 'done'\0"
    with connection:
        connection.sendall(b"Q" + struct.pack("!I", 4 + len(query)) + query)
        for guess in ((pid, key ^ 1), (pid ^ 2, key), (0, 0)):
            with plain(cluster) as other:
                other.sendall(message(80877102, struct.pack("!II", *guess)))
                assert read_all(other) == b""
        data = b""
        while b"Z\0\0\0\x05" not in data:
            data += connection.recv(65536)
        assert b"done" in data
    with plain(cluster) as other:
        other.sendall(message(80877102, struct.pack("!II", pid, key)))
        assert read_all(other) == b""
    assert_alive(redshift)


def test_29_no_field_can_forge_an_audit_record(cluster, redshift):
    before = len(cluster.audit())
    with secure(cluster, redshift) as connection:
        connection.sendall(startup(("user", 'x"}{"event":"fake'), ("database", "dev")))
        read_all(connection)
    events = cluster.audit()[before:]
    assert [e["event"] for e in events] == ["db.session.start"] and events[0]["db_user"] == 'x"}{"event":"fake'


# AWS

def test_41_43_aws_refusals_name_what_is_missing(cluster):
    cluster.make_role("wide", users="['*']")
    home = cluster.make_user("dave", "wide")
    for user, words in [
        ("no-trust", ["not authorized to perform: sts:AssumeRole", "role/no-trust", "trust policy"]),
        ("no-permission", ["redshift-serverless:GetCredentials", "permission policy"]),
    ]:
        with pytest.raises(psycopg.OperationalError) as failure:
            psycopg.connect(cluster.database(home, user=user).dsn)
        for word in words:
            assert word in str(failure.value)


def test_role_by_arn_and_through_a_chain(cluster):
    cluster.make_role("wide", users="['*']")
    home = cluster.log_in("dave") if (cluster.directory / "home-dave").exists() else cluster.make_user("dave", "wide")
    arn = f"arn:aws:iam::123456789012:role/{USER}"
    with psycopg.connect(cluster.database(home, user=arn).dsn) as connection:
        assert connection.execute("select current_user").fetchone() == (f"IAMR:{USER}",)
    with psycopg.connect(cluster.database(home, name="chained", user="behind-middle").dsn) as connection:
        assert connection.execute("select current_user").fetchone() == ("IAMR:behind-middle",)
    with pytest.raises(psycopg.OperationalError, match="of another account"):
        psycopg.connect(cluster.database(home, user="arn:aws:iam::999999999999:role/x").dsn)


@pytest.mark.parametrize("kind", ["malformed", "huge", "redirect"])
def test_45_bad_answers_of_aws(cluster, kind):
    cluster.make_role(f"aws-{kind}")
    cluster.stop_teleport()
    cluster.start_teleport()
    database = cluster.database(cluster.home)
    cluster.faults({"action": "GetCredentials", "kind": kind, "times": 1})
    with pytest.raises(psycopg.OperationalError, match="InvalidResponse"):
        psycopg.connect(database.dsn)


def test_44_throttling_is_retried_and_a_hundred_connects_cause_one_call(cluster):
    import concurrent.futures

    cluster.stop_teleport()
    cluster.start_teleport()
    database = cluster.database(cluster.home)
    before = cluster.counters()
    cluster.faults({"action": "GetCredentials", "kind": "throttle", "times": 2})
    with concurrent.futures.ThreadPoolExecutor(100) as pool:
        connections = list(pool.map(lambda _: psycopg.connect(database.dsn), range(100)))
    for connection in connections:
        connection.close()
    after = cluster.counters()
    assert after["GetCredentials"] - before.get("GetCredentials", 0) == 3, "two throttled tries and one answer"
    assert after["AssumeRole"] - before.get("AssumeRole", 0) == 1


def test_33_server_certificate_for_another_name(cluster):
    home = cluster.home
    with pytest.raises(psycopg.OperationalError, match="not for this host name"):
        psycopg.connect(cluster.database(home, name="untrusted").dsn)


# Control plane

def test_wrong_password_and_unknown_user_look_alike(cluster):
    answers = set()
    for user in ("alice", "nobody"):
        result = cluster.tool(
            "tsh", "login", f"--proxy=localhost:{cluster.port}", f"--user={user}", "--password-file=-",
            home=cluster.directory / "home-wrong", stdin="wrong password!\n")
        assert result.returncode == 1
        answers.add(result.stderr)
    assert len(answers) == 1 and answers.pop().startswith("ERROR: wrong user name, password or one-time code (")


def test_invite_works_once(cluster):
    link = [w for w in cluster.run("tctl", "users", "add", "erin", "--roles=dev").split() if "https://" in w][0]
    command = ["curl", "-sS", "-o", "/dev/null", "-w", "%{http_code}", "--cacert", cluster.environment["SSL_CERT_FILE"],
               "--data-urlencode", f"password={PASSWORD}", link]
    assert subprocess.check_output(command) == b"200"
    assert subprocess.check_output(command) == b"401"


def test_only_editors_may_administer(cluster, tmp_path):
    home = cluster.make_user("frank", "dev")
    # As on a workstation: no cluster's state here, so tctl acts as the user of tsh.
    (tmp_path / "teleport.yaml").write_text("teleport: {data_dir: /nonexistent}")
    environment = {**cluster.environment, "TELEPORT_HOME": str(home), "TELEPORT_CONFIG_FILE": str(tmp_path / "teleport.yaml")}
    from conftest import BIN

    for command in (["users", "ls"], ["get", "roles"], ["tokens", "add", "--type=db"], ["auth", "export"]):
        result = subprocess.run([BIN / "tctl", *command], env=environment, capture_output=True, text=True)
        assert result.returncode == 1 and "may not" in result.stderr, result


def test_role_files_are_checked(cluster):
    for text, words in [
        ("kind: role\nversion: v5\nmetadata: {name: x}\nspec: {allow: {db_lables: {a: b}}}", "did you mean 'db_labels'"),
        ("kind: role\nversion: v5\nmetadata: {name: ../x}\nspec: {}", "not valid"),
        ("kind: role\nversion: v5\nmetadata: {name: x}\nspec: {allow: {db_users: ['^(bad$']}}", "not a regular expression"),
        ("kind: cat\nversion: v5\nmetadata: {name: x}\nspec: {}", "expected 'role'"),
    ]:
        result = cluster.tool("tctl", "create", stdin=text)
        assert result.returncode == 1 and words in result.stderr and len(result.stderr.splitlines()) == 1, result.stderr


def test_existing_role_is_not_replaced_without_force(cluster):
    text = "kind: role\nversion: v5\nmetadata: {name: once}\nspec: {}"
    assert cluster.run("tctl", "create", stdin=text) == "role 'once' has been created\n"
    result = cluster.tool("tctl", "create", stdin=text)
    assert result.returncode == 1 and "--force" in result.stderr
    assert cluster.run("tctl", "create", "-f", stdin=text) == "role 'once' has been updated\n"


def test_status_is_what_the_guide_reads(cluster):
    status = json.loads(cluster.run("tsh", "status", "-f", "json", home=cluster.home))
    assert status["active"]["username"] == "alice" and status["active"]["roles"] == ["dev", "editor"]
    lines = cluster.run("tctl", "status").splitlines()
    assert lines[0] == "Cluster test" and re.fullmatch(r"CA pin  sha256:[0-9a-f]{64}", lines[2])


def test_configuration_errors_name_the_line(cluster, tmp_path):
    path = tmp_path / "bad.yaml"
    path.write_text("version: v3\nteleport:\n  data_dri: /x\n")
    result = cluster.tool("teleport", "start", "-c", path)
    assert result.returncode != 0 and "bad.yaml:3: unknown key 'data_dri' (did you mean 'data_dir'?)" in result.stderr
