"""Running as a service: health, metrics, reload, drain, status, and what systemd is told."""

import contextlib
import os
import re
import signal
import socket
import subprocess
import time
import urllib.error
import urllib.request

import psycopg
import pytest
from prometheus_client.parser import text_string_to_metric_families

from conftest import free_port, port_is_open, wait_until


def get(cluster, path):
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{cluster.diag_port}{path}", timeout=10) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        return error.code, error.read().decode()


def metrics(cluster):
    """All samples by name and labels; a duplicate would be a bug that Prometheus refuses."""
    status, text = get(cluster, "/metrics")
    assert status == 200
    samples = {}
    for family in text_string_to_metric_families(text):
        assert family.documentation and family.type in ("counter", "gauge", "histogram"), family
        for sample in family.samples:
            key = (sample.name, *sorted(sample.labels.items()))
            assert key not in samples, key
            samples[key] = sample.value
    return samples


def rows(connection, query="select 1"):
    return connection.execute(query).fetchall()


@contextlib.contextmanager
def configured(cluster, *changes):
    """The server restarted with another configuration, and put back afterwards; gives a function that changes more."""
    original = cluster.config.read_text()

    def change(*changes):
        text = cluster.config.read_text()
        for old, new in changes:
            assert old in text
            text = text.replace(old, new)
        cluster.config.write_text(text)

    cluster.stop_teleport()
    try:
        change(*changes)
        cluster.start_teleport()
        yield change
    finally:
        cluster.config.write_text(original)
        if cluster.teleport.poll() is None:
            cluster.stop_teleport()
        cluster.start_teleport()


def reload(cluster, expecting="configuration reloaded"):
    before = cluster.log.stat().st_size
    cluster.teleport.send_signal(signal.SIGHUP)
    added = lambda: cluster.log.read_text()[before:]
    wait_until(lambda: expecting in added(), expecting)
    return added()


# Diagnostics


def test_health_and_readiness(cluster):
    assert get(cluster, "/healthz") == (200, '{"status":"ok"}\n')
    assert get(cluster, "/readyz") == (200, '{"status":"ok"}\n')
    assert get(cluster, "/nothing")[0] == 404


def test_metrics_follow_what_happens(cluster, redshift):
    psycopg.connect(redshift.dsn).close()
    wait_until(lambda: metrics(cluster)[("sallyport_sessions_open",)] == 0, "earlier sessions to end")
    before = metrics(cluster)
    with psycopg.connect(redshift.dsn) as connection:
        assert len(rows(connection, "select repeat('x', 1000) from generate_series(1, 1000)")) == 1000
        during = metrics(cluster)
    with pytest.raises(psycopg.OperationalError, match="not 'other'"):
        psycopg.connect(redshift.dsn.replace("dbname='dev'", "dbname='other'"))
    after = metrics(cluster)

    def grew(*key, by, between=(before, after)):
        difference = between[1].get(key, 0) - between[0].get(key, 0)
        assert difference in by if isinstance(by, range) else difference == by, (key, difference)

    grew("sallyport_sessions_total", by=1)
    grew("sallyport_sessions_open", by=1, between=(before, during))
    assert after[("sallyport_sessions_open",)] == 0 and after[("sallyport_logins_underway",)] == 0
    grew("sallyport_relayed_bytes_total", ("direction", "to_client"), by=range(1_000_000, 1_100_000))
    grew("sallyport_relayed_bytes_total", ("direction", "to_database"), by=range(50, 5_000))
    grew("sallyport_sessions_refused_total", ("sqlstate", "28000"), by=1)
    grew("sallyport_tls_handshakes_total", ("peer", "database"), by=1)
    grew("sallyport_tls_handshakes_total", ("peer", "client"), by=range(2, 50))
    grew("sallyport_credential_cache_total", ("result", "hit"), by=1)
    grew("sallyport_audit_events_total", ("outcome", "written"), by=range(3, 20))
    assert after[("sallyport_aws_calls_total", ("operation", "GetCredentials"), ("outcome", "ok"))] >= 1
    count = after[("sallyport_aws_call_seconds_count", ("operation", "AssumeRole"))]
    assert after[("sallyport_aws_call_seconds_bucket", ("le", "+Inf"), ("operation", "AssumeRole"))] == count >= 1
    reactors = [key for key in after if key[0] == "sallyport_reactor_channels"]
    assert len(reactors) == os.cpu_count() and all(after[key] >= 1 for key in reactors)
    assert all(value == 1 for key, value in after.items() if key[0] == "sallyport_reactor_up")
    version = re.search(r"v(\S+)", cluster.run("teleport", "version")).group(1)
    assert after[("sallyport_build_info", ("version", version))] == 1


def test_process_metrics_agree_with_the_kernel(cluster):
    known = metrics(cluster)
    pid = cluster.teleport.pid
    assert abs(known[("process_open_fds",)] - len(os.listdir(f"/proc/{pid}/fd"))) <= 4
    resident = int(re.search(r"VmRSS:\s+(\d+)", open(f"/proc/{pid}/status").read()).group(1)) * 1024
    assert abs(known[("process_resident_memory_bytes",)] - resident) < 8 << 20
    assert 0 < known[("process_cpu_seconds_total",)] < 1000
    assert abs(known[("process_start_time_seconds",)] - os.stat(f"/proc/{pid}").st_ctime) < 60


def test_failed_handshakes_are_counted(cluster):
    key = ("sallyport_tls_handshake_failures_total", ("peer", "client"), ("reason", "noApplicationProtocol"))
    before = metrics(cluster).get(key, 0)
    subprocess.run(
        ["openssl", "s_client", "-connect", f"127.0.0.1:{cluster.port}", "-alpn", "nonsense"], stdin=subprocess.DEVNULL,
        capture_output=True)
    wait_until(lambda: metrics(cluster).get(key, 0) == before + 1, "the failure to be counted")


def test_occupied_diagnostics_port(cluster, tmp_path):
    config = tmp_path / "teleport.yaml"
    config.write_text(f"proxy_service: {{web_listen_addr: 127.0.0.1:{free_port()}}}\n")
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        result = cluster.tool("teleport", "start", f"--config={config}", f"--data-dir={tmp_path}/data", f"--diag-addr=127.0.0.1:{port}")
    assert result.returncode == 1 and f"diag_addr 127.0.0.1:{port}: Address already in use" in result.stderr


# Status and PID file


def test_status_of_a_running_and_a_stopped_server(cluster, tmp_path):
    text = cluster.run("teleport", "status")
    for line in (f"PID +{cluster.teleport.pid}", "Status +ready", "Services +auth, proxy, db",
                 f"Listening on +127.0.0.1:{cluster.port}", f"Diagnostics +127.0.0.1:{cluster.diag_port}"):
        assert re.search(line, text), line
    assert f'"pid" : {cluster.teleport.pid}' in cluster.run("teleport", "status", "--format=json")
    result = cluster.tool("teleport", "status", f"--data-dir={tmp_path}")
    assert result.returncode == 1 and "does not run" in result.stderr and result.stderr.count("\n") == 1
    cluster.teleport.kill()
    cluster.teleport.wait()
    try:
        assert "does not run" in cluster.tool("teleport", "status").stderr
    finally:
        cluster.start_teleport()


def test_pid_file(cluster, tmp_path):
    path = tmp_path / "teleport.pid"
    with configured(cluster, ("  shutdown_timeout: 2s\n", f"  shutdown_timeout: 2s\n  pid_file: {path}\n")):
        assert path.read_text() == f"{cluster.teleport.pid}\n"
        cluster.stop_teleport()
        assert not path.exists()
        cluster.start_teleport()


# Reload


def test_reload_changes_databases_under_running_sessions(cluster, redshift):
    with configured(cluster) as change, psycopg.connect(redshift.dsn, autocommit=True) as session:
        rows(session)
        change(("name: redshift", "name: renamed"))
        reload(cluster)
        names = [line.split()[0] for line in cluster.run("tsh", "db", "ls", home=cluster.home).splitlines()]
        assert "renamed" in names and "redshift" not in names
        assert rows(session) == [(1,)]
        with psycopg.connect(cluster.database(cluster.home, name="renamed").dsn) as other:
            assert rows(other) == [(1,)]
        with pytest.raises(psycopg.OperationalError, match="denied"):
            psycopg.connect(redshift.dsn)


@pytest.mark.parametrize("old, new, complaint", [
    ("db_service:", "db_servise:", "unknown key 'db_servise' (did you mean 'db_service'?)"),
    ("mode: verify-full", "mode: very", "has a mode other than"),
    ("ca.pem, server_name: wrong", "nothing.pem, server_name: wrong", "nothing.pem cannot be read"),
    ("version: v3", "version: {", "teleport.yaml"),
])
def test_a_bad_file_leaves_the_old_configuration(cluster, redshift, old, new, complaint):
    with configured(cluster) as change:
        change((old, new))
        lines = [line for line in reload(cluster, "not reloaded").splitlines() if "not reloaded" in line]
        assert len(lines) == 1 and complaint in lines[0]
        with psycopg.connect(redshift.dsn) as connection:
            assert rows(connection) == [(1,)]
        change((new, old))
        reload(cluster)


def test_what_needs_a_restart_is_said(cluster):
    with configured(cluster) as change:
        change((f"data_dir: {cluster.data}", "data_dir: /elsewhere"), (f"web_listen_addr: 127.0.0.1:{cluster.port}", "web_listen_addr: 127.0.0.1:1"))
        text = reload(cluster)
        assert "teleport.data_dir has changed and needs a restart" in text
        assert "proxy_service.web_listen_addr has changed and needs a restart" in text
        assert "join_params" not in text and port_is_open(cluster.port)


def test_reload_takes_new_certificates_and_severity(cluster, redshift, tmp_path):
    def make(name):
        subprocess.run(
            ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "1", "-subj",
             f"/CN={name}", "-addext", f"subjectAltName=DNS:{name}", "-keyout", tmp_path / "web.key", "-out", tmp_path / "web.pem"],
            check=True, capture_output=True)
        (tmp_path / "web.key").chmod(0o600)

    def shown():
        result = subprocess.run(
            ["openssl", "s_client", "-connect", f"127.0.0.1:{cluster.port}", "-alpn", "http/1.1"], stdin=subprocess.DEVNULL,
            capture_output=True, text=True)
        return re.search(r"subject=CN ?= ?(\S+)", result.stdout).group(1)

    make("first.example")
    pair = f"  https_keypairs: [{{cert_file: {tmp_path}/web.pem, key_file: {tmp_path}/web.key}}]\n"
    with configured(cluster, ("proxy_service:\n", "proxy_service:\n" + pair)) as change:
        assert shown() == "first.example"
        with psycopg.connect(redshift.dsn, autocommit=True) as session:
            make("second.example")
            change(("teleport:\n", "teleport:\n  log: {severity: ERROR}\n"))
            cluster.teleport.send_signal(signal.SIGHUP)
            wait_until(lambda: shown() == "second.example", "the new certificate")
            assert rows(session) == [(1,)]
        size = cluster.log.stat().st_size
        psycopg.connect(redshift.dsn).close()
        time.sleep(0.5)
        assert "session started" not in cluster.log.read_text()[size:]


# Drain


def test_drain_lets_running_work_end(cluster, redshift):
    with configured(cluster, ("shutdown_timeout: 2s", "shutdown_timeout: 60s")):
        bench = subprocess.Popen(
            ["pgbench", "-n", "-f", "-", "-c", "8", "-j", "2", "-T", "5"], env={**os.environ, **redshift.environment},
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        bench.stdin.write("begin; select 1; select pg_sleep(0.01); commit;")
        bench.stdin.close()
        wait_until(lambda: metrics(cluster)[("sallyport_sessions_open",)] == 8, "pgbench")
        cluster.teleport.terminate()
        wait_until(lambda: get(cluster, "/readyz") == (503, '{"status":"draining"}\n'), "draining")
        assert get(cluster, "/healthz")[0] == 200
        assert "draining" in cluster.run("teleport", "status")
        wait_until(lambda: not port_is_open(cluster.port), "the port to close")
        with pytest.raises(psycopg.OperationalError, match="refused"):
            psycopg.connect(redshift.dsn)
        output, errors = bench.stdout.read(), bench.stderr.read()
        assert bench.wait() == 0 and "number of failed transactions: 0 (" in output, errors
        assert int(re.search(r"actually processed: (\d+)", output).group(1)) > 100
        assert cluster.teleport.wait(timeout=10) == 0
        cluster.start_teleport()


def test_drain_ends_idle_sessions_early_and_the_rest_in_time(cluster, redshift):
    with configured(cluster, ("shutdown_timeout: 2s", "shutdown_timeout: 9s")):
        idle, held = (psycopg.connect(redshift.dsn, autocommit=True) for _ in range(2))
        rows(idle)
        held.execute("begin")
        # Two requests in one go: the answer to the first must not make the session look idle.
        query = subprocess.Popen(
            ["psql", "-Xqt", "-v", "ON_ERROR_STOP=1", "-c", "select 1", "-c", "select pg_sleep(7), 'slept'"],
            env={**os.environ, **redshift.environment}, stdout=subprocess.PIPE, text=True)
        wait_until(lambda: metrics(cluster)[("sallyport_sessions_open",)] == 3, "three sessions")
        start = time.monotonic()
        cluster.teleport.terminate()
        wait_until(lambda: metrics(cluster)[("sallyport_sessions_open",)] == 2, "the idle session to end", seconds=8)
        with pytest.raises(psycopg.errors.AdminShutdown):
            rows(idle)
        assert rows(held) == [(1,)]
        assert "slept" in query.communicate(timeout=20)[0] and query.returncode == 0
        cluster.teleport.wait(timeout=20)
        assert 8.5 < time.monotonic() - start < 14
        with pytest.raises(psycopg.errors.AdminShutdown):
            rows(held)
        cluster.start_teleport()


@pytest.mark.parametrize("signals", [[signal.SIGTERM, signal.SIGTERM], [signal.SIGQUIT, signal.SIGINT], [signal.SIGINT]])
def test_told_to_stop_at_once(cluster, redshift, signals):
    with configured(cluster, ("shutdown_timeout: 2s", "shutdown_timeout: 60s")):
        query = subprocess.Popen(
            ["psql", "-Xqc", "select pg_sleep(60)"], env={**os.environ, **redshift.environment}, stderr=subprocess.PIPE, text=True)
        wait_until(lambda: metrics(cluster)[("sallyport_sessions_open",)] == 1, "the session")
        time.sleep(0.3)
        start = time.monotonic()
        for number in signals:
            cluster.teleport.send_signal(number)
            time.sleep(0.5)
        assert cluster.teleport.wait(timeout=10) == 0
        assert time.monotonic() - start < 5
        assert "FATAL:  the server is shutting down" in query.communicate(timeout=10)[1]
        cluster.start_teleport()


# systemd


def test_systemd_is_told(cluster, tmp_path):
    path = tmp_path / "notify"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(str(path))
        manager.settimeout(15)

        def expect(word):
            while True:
                message = manager.recv(4096).decode().splitlines()
                if any(line.startswith(word) for line in message):
                    return message

        cluster.stop_teleport()
        cluster.environment |= {"NOTIFY_SOCKET": str(path), "WATCHDOG_USEC": "1000000"}
        try:
            cluster.start_teleport()
            assert expect("READY=1") == ["READY=1", f"STATUS=Serving 5 databases on 127.0.0.1:{cluster.port}"]
            beats = []
            for _ in range(4):
                expect("WATCHDOG=1")
                beats.append(time.monotonic())
            assert all(later - earlier < 0.9 for earlier, later in zip(beats, beats[1:]))
            before = time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1000
            cluster.teleport.send_signal(signal.SIGHUP)
            message = expect("RELOADING=1")
            stamp = int(message[1].removeprefix("MONOTONIC_USEC="))
            assert before <= stamp <= time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1000
            expect("READY=1")
            cluster.teleport.terminate()
            message = expect("STOPPING=1")
            assert message[1] == "EXTEND_TIMEOUT_USEC=17000000" and message[2].startswith("STATUS=Draining")
            assert cluster.teleport.wait(timeout=10) == 0
        finally:
            for name in ("NOTIFY_SOCKET", "WATCHDOG_USEC"):
                cluster.environment.pop(name)
            if cluster.teleport.poll() is None:
                cluster.stop_teleport()
            cluster.start_teleport()
