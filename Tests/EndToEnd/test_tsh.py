"""tsh's commands beside connecting: logins, listings, files it writes, many databases at once."""

import json
import os
import re
import subprocess
import time

import pexpect
import pytest

from conftest import BIN, PASSWORD, USER, wait_until

ROUTE = (f"--db-user={USER}", "--db-name=dev")


@pytest.fixture
def home(cluster, tmp_path):
    """A fresh login of alice with a home and a service file of its own."""
    before = cluster.environment["PGSERVICEFILE"]
    cluster.environment["PGSERVICEFILE"] = str(tmp_path / "services")
    log_in(cluster, tmp_path / "tsh")
    yield tmp_path / "tsh"
    cluster.environment["PGSERVICEFILE"] = before


def log_in(cluster, home, *options, proxy=None):
    return cluster.run(
        "tsh", "login", f"--proxy={proxy or f'localhost:{cluster.port}'}", "--user=alice", "--password-file=-", *options,
        home=home, stdin=PASSWORD + "\n")


def names(output):
    return [entry["metadata"]["name"] for entry in json.loads(output)]


# Logins

def test_several_proxies_and_switching(cluster, home):
    # The same cluster under another name is another proxy to tsh.
    log_in(cluster, home, proxy=f"127.0.0.1:{cluster.port}")
    text = cluster.run("tsh", "status", home=home)
    assert re.match(rf"> Profile URL: +https://127.0.0.1:{cluster.port}\n", text)
    assert re.search(rf"^  Profile URL: +https://localhost:{cluster.port}$", text, re.MULTILINE)
    switched = cluster.run("tsh", "login", f"--proxy=localhost:{cluster.port}", home=home)
    assert re.match(rf"> Profile URL: +https://localhost:{cluster.port}\n", switched)
    shown = json.loads(cluster.run("tsh", "status", "-f", "json", home=home))
    assert shown["active"]["profile_url"].startswith("https://localhost")
    assert [login["profile_url"] for login in shown["profiles"]] == [f"https://127.0.0.1:{cluster.port}"]
    listed = cluster.run("tsh", "db", "ls", "-R", home=home)
    assert len(re.findall(r"^(localhost|127\.0\.0\.1):\d+ +test +redshift ", listed, re.MULTILINE)) == 2
    cluster.run("tsh", "logout", f"--proxy=127.0.0.1:{cluster.port}", home=home)
    assert "127.0.0.1" not in cluster.run("tsh", "status", home=home)
    cluster.run("tsh", "logout", home=home)
    gone = cluster.tool("tsh", "status", home=home)
    assert gone.returncode == 1 and "run: tsh login" in gone.stderr
    assert [file for file in home.rglob("*") if file.is_file()] == []


def test_clusters_and_version(cluster, home):
    assert re.search(r"^test +online +root +\*$", cluster.run("tsh", "clusters", home=home), re.MULTILINE)
    assert json.loads(cluster.run("tsh", "clusters", "-f", "json", home=home))[0]["cluster_name"] == "test"
    text = cluster.run("tsh", "version", home=home)
    assert re.search(r"^Sallyport tsh v\S+\nProxy version: v\S+\nProxy: localhost:\d+$", text, re.MULTILINE)
    assert "Proxy" not in cluster.run("tsh", "version", "--client", home=home)


def test_environment_variables(cluster, home):
    def tsh(*arguments, **variables):
        return subprocess.run(
            [BIN / "tsh", *arguments], env={**cluster.environment, "TELEPORT_HOME": str(home), **variables},
            capture_output=True, text=True, timeout=60)

    assert tsh("db", "ls", TELEPORT_PROXY=f"localhost:{cluster.port}", TELEPORT_USER="alice", TELEPORT_CLUSTER="test").returncode == 0
    other = tsh("db", "ls", TELEPORT_PROXY="elsewhere:3080")
    assert other.returncode == 1 and "run: tsh login --proxy=elsewhere:3080" in other.stderr
    other = tsh("db", "ls", TELEPORT_USER="bob")
    assert other.returncode == 1 and "--user=bob" in other.stderr
    other = tsh("db", "ls", TELEPORT_CLUSTER="leaf")
    assert other.returncode == 1 and "tsh clusters" in other.stderr
    other = tsh("login", "--user=alice", TELEPORT_AUTH="okta")
    assert other.returncode == 1 and "--auth=local" in other.stderr
    debug = tsh("db", "ls", TELEPORT_DEBUG="1")
    assert "GET https://localhost" in debug.stderr and "/v1/databases: 200" in debug.stderr
    assert "DEBUG" in tsh("db", "ls", "--debug").stderr and "DEBUG" not in tsh("db", "ls").stderr


def test_ttl_and_expiry(cluster, home):
    for wrong in ("0", "-5", "9223372036854775807", "x"):
        result = cluster.tool(
            "tsh", "login", f"--proxy=localhost:{cluster.port}", "--user=alice", "--password-file=-", f"--ttl={wrong}",
            home=home, stdin=PASSWORD + "\n")
        assert result.returncode != 0 and "Fatal" not in result.stderr
    assert re.search(r"\[valid for 0h[45]m\]", log_in(cluster, home, "--ttl=5"))
    profile = next(home.glob("localhost*.yaml"))
    profile.write_text(re.sub(r"validUntil: .*", "validUntil: 2020-01-01T00:00:00Z", profile.read_text()))
    status = cluster.tool("tsh", "status", home=home)
    assert status.returncode == 1 and "[EXPIRED]" in status.stdout and "run: tsh login --proxy=localhost" in status.stderr
    listed = cluster.tool("tsh", "db", "ls", home=home)
    assert listed.returncode == 1 and "run: tsh login --proxy=localhost" in listed.stderr


def test_identity_file(cluster, home, tmp_path):
    path, empty = tmp_path / "identity", tmp_path / "empty"
    out = log_in(cluster, empty, f"--out={path}", "--format=file")
    assert "tsh db ls -i" in out and not empty.exists(), "nothing is stored beside the file"
    assert path.stat().st_mode & 0o777 == 0o600
    proxy = f"--proxy=localhost:{cluster.port}"
    again = cluster.tool("tsh", "login", proxy, "--user=alice", "--password-file=-", f"--out={path}", home=empty, stdin=PASSWORD)
    assert again.returncode == 1 and "--overwrite" in again.stderr
    assert "redshift" in names(cluster.run("tsh", "db", "ls", "-i", path, proxy, "-f", "json", home=empty))
    missing = cluster.tool("tsh", "db", "ls", "-i", path, home=empty)
    assert missing.returncode == 1 and "--proxy" in missing.stderr
    answer = cluster.run(
        "tsh", "db", "connect", "redshift", "-i", path, proxy, *ROUTE, "--", "-XAtc", "select 6 * 7", home=empty)
    assert answer == "42\n"
    # tctl acts as alice, who is an editor; the local administrator is not asked.
    (tmp_path / "teleport.yaml").write_text("teleport: {data_dir: /nonexistent}")
    users = cluster.run("tctl", "users", "ls", "-i", path, f"--auth-server=localhost:{cluster.port}", "-c", tmp_path / "teleport.yaml")
    assert "alice" in users
    # One file for psql itself.
    database = tmp_path / "database.pem"
    text = cluster.run("tsh", "db", "login", "redshift", "-i", path, proxy, *ROUTE, f"--out={database}", home=empty)
    conninfo = re.search(r'psql "(.*)"', text).group(1)
    result = subprocess.run(["psql", conninfo, "-XAtc", "select current_user"], capture_output=True, text=True)
    assert result.stdout == f"IAMR:{USER}\n", result.stderr
    path.chmod(0o644)
    assert cluster.tool("tsh", "db", "ls", "-i", path, proxy, home=empty).returncode == 1


# Listing

@pytest.mark.parametrize("options, expected", [
    (["env=dev"], ["redshift", "chained", "untrusted", "scripted"]), (["env=prod"], ["second"]), (["env=dev,team=a"], []),
    (["env=*,team=a"], ["second"]),
    (["--search=chain"], ["chained"]), (["--search=chain,dev"], ["chained"]), (["--search=chain,nothing"], []),
    (["--query", 'labels["env"] == "dev" && name != "redshift"'], ["chained", "untrusted", "scripted"]),
    (["--query", 'hasPrefix(name, "re") || equals(name, "scripted")'], ["redshift", "scripted"]),
    (["--query", 'exists(labels["team"])'], ["second"]), (["--search=red", "--query", 'name != "x"', "env=dev"], ["redshift"]),
])
def test_filters(cluster, options, expected):
    assert sorted(names(cluster.run("tsh", "db", "ls", "-f", "json", *options, home=cluster.home))) == sorted(expected)


@pytest.mark.parametrize("options", [
    ["--query", "name ="], ["--query", "(" * 2000], ["--query", "x" * 5000], ["--query", 'nam == "x"'], ["env"],
])
def test_filters_that_cannot_be_read(cluster, options):
    result = cluster.tool("tsh", "db", "ls", *options, home=cluster.home)
    assert result.returncode == 1 and "the filter cannot be read" in result.stderr and result.stderr.count("\n") == 1


def test_verbose_listing(cluster):
    assert "URI" not in cluster.run("tsh", "db", "ls", home=cluster.home)
    text = cluster.run("tsh", "db", "ls", "-v", home=cluster.home)
    assert "Protocol" in text and f"127.0.0.1:{cluster.pg_port}" in text and "Allowed Names" in text


# What db login leaves

def test_service_file_config_and_logout(cluster, home, tmp_path):
    services = tmp_path / "services"
    services.write_text("# mine\n[mine]\nhost=x\n")
    text = cluster.run("tsh", "db", "login", "redshift", *ROUTE, home=home)
    assert "psql service=test-redshift" in text
    result = subprocess.run(
        ["psql", "service=test-redshift", "-XAtc", "select 1"], env={**os.environ, "PGSERVICEFILE": str(services)},
        capture_output=True, text=True)
    assert result.stdout == "1\n", result.stderr
    listed = cluster.run("tsh", "db", "ls", home=home)
    assert "> redshift" in listed and "tsh db connect redshift" in listed
    command = cluster.run("tsh", "db", "config", "--format=cmd", home=home)
    assert subprocess.check_output(f"{command.strip()} -XAtc 'select 2'", shell=True, text=True) == "2\n"
    assert json.loads(cluster.run("tsh", "db", "config", "redshift", "--format=json", home=home))["user"] == USER
    assert "Database:  dev" in cluster.run("tsh", "db", "config", home=home)
    exported = cluster.run("tsh", "db", "env", home=home)
    assert subprocess.check_output(["bash", "-c", f"{exported}\npsql -XAtc 'select 3'"], text=True) == "3\n"
    # A fresh login renews the database's certificate.
    before = next(home.rglob("redshift.crt")).read_text()
    log_in(cluster, home)
    assert next(home.rglob("redshift.crt")).read_text() != before
    # Without flags the earlier choice counts.
    assert cluster.run("tsh", "db", "connect", "--", "-XAtc", "select 4", home=home) == "4\n"
    cluster.run("tsh", "db", "logout", "redshift", home=home)
    assert services.read_text() == "# mine\n[mine]\nhost=x\n"
    assert list(home.rglob("redshift.*")) == []
    again = cluster.tool("tsh", "db", "env", "redshift", home=home)
    assert again.returncode == 1 and "run: tsh db login redshift" in again.stderr
    cluster.run("tsh", "db", "login", "redshift", *ROUTE, home=home)
    cluster.run("tsh", "logout", home=home)
    assert services.read_text() == "# mine\n[mine]\nhost=x\n"


# psql in a terminal

def test_connect_in_a_terminal_and_ctrl_c(cluster):
    environment = {**cluster.environment, "TELEPORT_HOME": str(cluster.home), "TERM": "dumb", "PAGER": "cat"}
    terminal = pexpect.spawn(
        str(BIN / "tsh"), ["db", "connect", "redshift", *ROUTE, "--", "-X"], env=environment, encoding="utf-8", timeout=30)
    terminal.expect("dev=> ")
    banner = [line for line in terminal.before.replace("\r", "").split("\n") if line.strip()]
    assert banner[0].startswith("psql (") and banner[1].startswith("SSL connection (protocol: TLSv1.3")
    assert banner[2] == 'Type "help" for help.' and len(banner) <= 4
    terminal.sendline("select pg_sleep(60);")
    terminal.expect("pg_sleep")
    time.sleep(1)
    terminal.sendintr()
    terminal.expect("canceling statement due to user request", timeout=15)
    terminal.expect("dev=> ")
    terminal.sendline("select 6 * 7 as answer;")
    terminal.expect(" 42")
    terminal.expect("dev=> ")
    terminal.sendline("\\q")
    terminal.expect(pexpect.EOF)
    terminal.close()
    assert terminal.exitstatus == 0


def test_psql_missing_and_exit_code(cluster):
    environment = {**cluster.environment, "TELEPORT_HOME": str(cluster.home), "PATH": "/nonexistent"}
    result = subprocess.run(
        [BIN / "tsh", "db", "connect", "redshift", *ROUTE], env=environment, capture_output=True, text=True)
    assert result.returncode == 1 and "psql" in result.stderr and "apt-get install" in result.stderr
    command = ["tsh", "db", "connect", "redshift", *ROUTE, "--", "-X", "-v", "ON_ERROR_STOP=1", "-f", "-"]
    assert cluster.tool(*command, home=cluster.home, stdin="select 1/0;\n").returncode == 3


# Many databases

def test_exec_one_after_the_other(cluster):
    result = cluster.tool(
        "tsh", "db", "exec", "select current_database() as here", "redshift", "second", *ROUTE, home=cluster.home)
    assert result.returncode == 0, result.stderr
    assert result.stdout.index("'redshift'") < result.stdout.index("'second'") and result.stdout.count("(1 row)") == 2


def test_exec_in_parallel_marks_the_lines(cluster):
    result = cluster.tool(
        "tsh", "db", "exec", "select generate_series(1, 500) as n", "--search=re", "--query", 'name != "scripted"',
        "--labels=env=dev", "--no-confirm", "--parallel=4", *ROUTE, home=cluster.home)
    assert result.returncode == 0, result.stderr
    assert set(line.split("]")[0] for line in result.stdout.splitlines()) == {"[redshift"}
    result = cluster.tool(
        "tsh", "db", "exec", "select generate_series(1, 500) as n", "--dbs=redshift,second", "--parallel=2", *ROUTE,
        home=cluster.home)
    lines = result.stdout.splitlines()
    for name in ("redshift", "second"):
        numbers = [int(m.group(1)) for line in lines if (m := re.fullmatch(rf"\[{name}\] +(\d+)", line))]
        assert numbers == list(range(1, 501))


def test_exec_into_files_with_failures(cluster, tmp_path):
    out = tmp_path / "out"
    result = cluster.tool(
        "tsh", "db", "exec", "select 1/0", "--dbs=redshift,untrusted", f"--output-dir={out}", "--parallel=2", *ROUTE,
        home=cluster.home)
    assert result.returncode == 1 and "failed on 2 of 2" in result.stderr and result.stdout == ""
    assert "division by zero" in (out / "redshift.output").read_text()
    assert "not for this host name" in (out / "untrusted.output").read_text()
    summary = json.loads((out / "summary.json").read_text())
    assert (summary["total"], summary["failure"]) == (2, 2)
    assert [entry["database"] for entry in summary["databases"]] == ["redshift", "untrusted"]


@pytest.mark.parametrize("options, words", [
    ([], "give names"), (["redshift", "--search=x"], "not both"), (["nothing"], "tsh db ls"),
    (["--search=nothing-at-all"], "no database passes"), (["redshift", "--parallel=0"], "--parallel"),
    (["--search=redshift"], "--no-confirm"),
])
def test_exec_refusals(cluster, options, words):
    environment = {**cluster.environment, "TELEPORT_HOME": str(cluster.home)}
    # A session of its own has no terminal to ask on.
    result = subprocess.run(
        [BIN / "tsh", "db", "exec", "select 1", *options, *ROUTE], env=environment, capture_output=True, text=True,
        start_new_session=True, timeout=60)
    assert result.returncode == 1 and words in result.stderr


def test_exec_asks_before_a_filter_decides(cluster):
    environment = {**cluster.environment, "TELEPORT_HOME": str(cluster.home)}
    for answer, status in (("n", 1), ("y", 0)):
        terminal = pexpect.spawn(
            str(BIN / "tsh"), ["db", "exec", "select 'ran' || '-it' as x", "--search=redshift", *ROUTE], env=environment,
            encoding="utf-8", timeout=30)
        terminal.expect(r"Run on 1 databases \(redshift\)\? \[y/N\]: ")
        terminal.sendline(answer)
        terminal.expect(pexpect.EOF)
        assert ("ran-it" in terminal.before) == (status == 0)
        terminal.close()
        assert terminal.exitstatus == status


def test_exec_is_cancelled_by_ctrl_c(cluster):
    environment = {**cluster.environment, "TELEPORT_HOME": str(cluster.home)}
    terminal = pexpect.spawn(
        str(BIN / "tsh"), ["db", "exec", "select pg_sleep(61)", "redshift", "second", "--parallel=2", *ROUTE], env=environment,
        encoding="utf-8", timeout=30)

    def running():
        with cluster.admin() as admin:
            return admin.execute("select count(*) from pg_stat_activity where query = 'select pg_sleep(61)'").fetchone()[0]

    wait_until(lambda: running() == 2, "both databases at work")
    terminal.sendintr()
    terminal.expect(pexpect.EOF)
    terminal.close()
    assert terminal.exitstatus != 0
    wait_until(lambda: running() == 0, "both queries cancelled", seconds=10)
