"""Starting on hosts that are not as they should be, and addresses and numbers at their limits."""

import contextlib
import json
import os
import re
import stat
import subprocess
import types

import pytest

from conftest import BIN, PASSWORD, free_port, port_is_open, wait_until


def start(directory, data, settings="", common="nodename: x"):
    """Runs 'teleport start' with its data in `data`; for programs that are to fail at once."""
    config = directory / "teleport.yaml"
    config.write_text(f"""version: v3
teleport: {{data_dir: "{data}", {common}}}
auth_service: {{cluster_name: test}}
proxy_service: {{web_listen_addr: "127.0.0.1:{free_port()}"}}
{settings}
""")
    return subprocess.run([BIN / "teleport", "start", "-c", config], capture_output=True, text=True, timeout=20)


def test_a_data_dir_too_long_for_sockets_is_told_at_once(tmp_path):
    long = tmp_path / ("d" * (120 - len(str(tmp_path))))
    result = start(tmp_path, long)
    assert result.returncode == 1 and len(result.stderr.splitlines()) == 1, result.stderr
    most = int(re.search(r"is too long .* at most (\d+) bytes", result.stderr).group(1))
    assert not long.exists()
    # What it says is right: that many bytes do, one more does not.
    fitting = tmp_path / ("d" * (most - len(str(tmp_path)) - 1))
    assert "too long" in start(tmp_path, f"{fitting}d").stderr
    with running(fitting, "127.0.0.1") as server:
        assert server.tool("tctl", "status").returncode == 0


def test_an_api_that_cannot_start_ends_the_program(tmp_path):
    socket = tmp_path / "data/run/api.sock"
    for folder in (tmp_path / "data", tmp_path / "data/run", socket):
        folder.mkdir(mode=0o700)
    (socket / "x").touch(mode=0o600)
    result = start(tmp_path, tmp_path / "data")
    assert result.returncode == 1 and f"the API cannot start at {socket}" in result.stderr, result.stderr


@contextlib.contextmanager
def running(data, host, common="nodename: x"):
    """A server of its own, without databases, listening on `host`."""
    address = f"[{host}]:{free_port()}" if ":" in host else f"{host}:{free_port()}"
    port = int(address.rsplit(":", 1)[1])
    directory = data.parent
    config = directory / "running.yaml"
    config.write_text(f"""version: v3
teleport: {{data_dir: "{data}", {common}}}
proxy_service: {{web_listen_addr: "{address}", public_addr: "{address}"}}
""")
    environment = {**os.environ, "TELEPORT_CONFIG_FILE": str(config), "TELEPORT_HOME": str(directory / "tsh"),
                   "SSL_CERT_FILE": str(data / "admin/ca.pem")}

    def tool(*command, stdin=None):
        return subprocess.run(
            [BIN / command[0], *map(str, command[1:])], env=environment, capture_output=True, text=True, input=stdin, timeout=60)

    with open(directory / "log", "a") as log, open(directory / "out", "a") as out:
        server = subprocess.Popen([BIN / "teleport", "start"], env=environment, stderr=log, stdout=out)
    try:
        wait_until(lambda: tool("tctl", "status").returncode == 0 or server.poll() is not None, "teleport")
        assert server.poll() is None, (directory / "log").read_text()
        yield types.SimpleNamespace(tool=tool, address=address, port=port, environment=environment, directory=directory)
    finally:
        server.terminate()
        server.wait(timeout=30)


def test_ipv6_addresses_have_brackets_on_the_command_line_and_none_in_libpq(tmp_path):
    with running(tmp_path / "data", "::1") as server:
        invite = server.tool("tctl", "users", "add", "alice", "--roles=access").stdout
        link = re.search(r"https://\S+", invite).group()
        assert link.startswith(f"https://{server.address}/")
        subprocess.run(
            ["curl", "-sS", "--fail", "--cacert", server.environment["SSL_CERT_FILE"], "-o", "/dev/null", "--data-urlencode",
             f"password={PASSWORD}", link], check=True)
        login = server.tool(
            "tsh", "login", f"--proxy={server.address}", "--user=alice", "--password-file=-", stdin=PASSWORD)
        assert login.returncode == 0, login.stderr
        status = json.loads(server.tool("tsh", "status", "-f", "json").stdout)
        assert status["active"]["profile_url"] == f"https://{server.address}" and status["active"]["cluster"] == "::1"
        assert (server.directory / f"tsh/keys/::1_{server.port}/alice.crt").exists()
        wrong = server.tool("tsh", "login", f"--proxy=::1:{server.port}", "--user=alice", "--password-file=-", stdin=PASSWORD)
        assert wrong.returncode == 1 and "[IPv6]:PORT" in wrong.stderr


def test_the_log_goes_where_and_how_it_is_told(tmp_path):
    log = tmp_path / "sallyport.log"
    with running(tmp_path / "data", "127.0.0.1", f"log: {{output: {log}, format: json, severity: INFO}}"):
        pass
    lines = [json.loads(line) for line in log.read_text().splitlines()]
    up = [line for line in lines if line["message"] == "serving"]
    assert len(up) == 1 and up[0]["level"] == "info" and up[0]["component"] == "teleport" and up[0]["cluster"] == "127.0.0.1"
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", up[0]["timestamp"])
    assert stat.S_IMODE(log.stat().st_mode) == 0o600
    assert (tmp_path / "log").read_text() == "", "nothing is left for stderr"
    with running(tmp_path / "data", "127.0.0.1", f"log: {{output: {log}, severity: error}}"):
        pass
    added = log.read_text().splitlines()[len(lines):]
    assert all(" ERROR " in line for line in added), added
    with running(tmp_path / "data", "127.0.0.1", "log: {output: stdout, format: text}"):
        pass
    assert re.search(r"^\S+Z INFO \[teleport\] serving cluster=127.0.0.1 ", (tmp_path / "out").read_text(), re.M)
    result = start(tmp_path, tmp_path / "data", "", "log: {output: /nonexistent/x}")
    assert result.returncode == 1 and "log.output: cannot open /nonexistent/x" in result.stderr


@pytest.mark.parametrize("ttl", ["0", "-1", "153722867280912931", "9223372036854775807"])
def test_absurd_lifetimes_are_refused(tmp_path, ttl):
    result = subprocess.run(
        [BIN / "tsh", "login", "--proxy=localhost:1", "--user=alice", f"--ttl={ttl}", "--password-file=-"], input="x",
        env={**os.environ, "TELEPORT_HOME": str(tmp_path)}, capture_output=True, text=True, timeout=20)
    assert result.returncode == 1 and "--ttl is in minutes, from 1" in result.stderr, result


def test_configure_quotes_what_it_writes(tmp_path):
    path = tmp_path / 'a "quoted" \\ place: {x}'
    written = tmp_path / "teleport.yaml"
    result = subprocess.run(
        [BIN / "teleport", "configure", f"--data-dir={path}", f"--cert-file={path}", f"--key-file={path}",
         "--public-addr=[::1]:443", "-o", written], capture_output=True, text=True)
    assert result.returncode == 0, result.stderr
    assert stat.S_IMODE(written.stat().st_mode) == 0o600
    # Double-quoted scalars without line ends are JSON's strings.
    scalars = dict(re.findall(r'^[ -]*(\w+): (".*")$', written.read_text(), re.M))
    for key in ("data_dir", "cert_file", "key_file"):
        assert json.loads(scalars[key]) == str(path)
    assert scalars["web_listen_addr"] == '"0.0.0.0:443"' and scalars["public_addr"] == '"[::1]:443"'
    result = subprocess.run(
        [BIN / "teleport", "configure", "--data-dir=/x\nevil: yes"], capture_output=True, text=True)
    assert result.returncode != 0 and "control characters" in result.stderr
