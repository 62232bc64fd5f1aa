"""No secret of a run is anywhere but where it belongs: grepped for in logs, audit, arguments, environments and texts."""

import base64
import contextlib
import json
import os
import pathlib
import re
import signal
import subprocess
import threading
import time
import urllib.request

import psycopg
import pytest

import totp
from aws_hosts import KEY, SECRET, Maker
from bad_inputs.api import call
from conftest import BIN, PASSWORD, USER, Cluster, free_port, open_directory, port_is_open, wait_until
from scripted_server import message, scripted_server
from test_second_factor import login, sign_up_by_page

WRONG = "a wrong password that was typed"


class Talkative(Cluster):
    """Everything that can be logged is."""

    def write_config(self, *arguments, **options):
        super().write_config(*arguments, **options)
        text = self.config.read_text()
        self.config.write_text(text.replace("teleport:\n", "teleport:\n  log: {severity: DEBUG}\n", 1))


@pytest.fixture(scope="module")
def talkative(cluster, tmp_path_factory):
    own = Talkative(open_directory(tmp_path_factory, "talkative"))
    # Its credentials are of a program, which the server starts and the sampler has the time to see.
    host = Maker(own.directory, f"http://127.0.0.1:{cluster.aws_port}").process(
        f"#!/bin/sh\nsleep 0.3\necho '{json.dumps({'Version': 1, 'AccessKeyId': KEY, 'SecretAccessKey': SECRET})}'\n")
    own.environment |= host.variables
    own.start_beside(cluster)
    yield own
    own.faults()
    own.stop_teleport()


def family(root):
    """Processes below `root`, itself included."""
    parents = {}
    for folder in pathlib.Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            parents[int(folder.name)] = int((folder / "stat").read_text().rsplit(") ", 1)[1].split()[1])
    found = {root}
    while more := {pid for pid, parent in parents.items() if parent in found} - found:
        found |= more
    return found


class Sampler:
    """Arguments and environments of whatever the server and the tools start, as any user of the host might look at them."""

    def __init__(self, server):
        self.server, self.seen, self.over = server, {}, threading.Event()
        self.thread = threading.Thread(target=self.run, daemon=True)
        self.thread.start()

    def run(self):
        while not self.over.wait(0.01):
            below = family(self.server)
            for pid in family(os.getpid()):
                # The tests themselves and the emulator hold secrets to throw around.
                with contextlib.suppress(OSError):
                    folder = pathlib.Path(f"/proc/{pid}")
                    arguments = (folder / "cmdline").read_bytes()
                    program = pathlib.Path(os.fsdecode(arguments.split(b"\0")[0])).name
                    # Who has ended has no arguments any more.
                    if arguments and (pid in below or program in ("teleport", "tsh", "tctl", "psql")):
                        self.seen.setdefault(program, set()).update([arguments, (folder / "environ").read_bytes()])

    def stop(self):
        self.over.set()
        self.thread.join()
        return self.seen


def private_keys(cluster):
    """The bodies of all keys on the disk, by line: a part of one is too much as well."""
    for top in (cluster.data, *cluster.directory.glob("home-*")):
        for path in top.rglob("*"):
            if path.is_file() and path.stat().st_size < 65536:
                text = path.read_bytes().decode(errors="replace")
                if "PRIVATE KEY" in text:
                    body = text[text.index("PRIVATE KEY-----"):].splitlines()[1:-1]
                    yield from (line for line in body if len(line) > 40 and "-----" not in line)
                elif path.name == "second_factor.key":
                    yield text.strip()


def test_a20_no_secret_of_a_run_is_anywhere(talkative):
    cluster = talkative
    sampler = Sampler(cluster.teleport.pid)
    texts, secrets = [], {PASSWORD, WRONG, cluster.join_token}

    def keep(result):
        texts.append(result.stdout + result.stderr)
        return result

    # What works.
    database = cluster.database(cluster.home)
    certificate = cluster.open_certificate(cluster.home, "redshift")
    keep(cluster.tool("tsh", "db", "connect", "redshift", f"--db-user={USER}", "--db-name=dev", home=cluster.home, stdin="select 1;\n"))
    keep(cluster.tool("tsh", "-d", "status", home=cluster.home))
    for command in (["get", "all"], ["get", "tokens"], ["tokens", "ls"], ["users", "ls"], ["status"], ["get", "users", "--format=json"]):
        keep(cluster.tool("tctl", *command))
    token = cluster.run("tctl", "tokens", "add", "--type=db", "--format=text").strip()
    invite = [word for word in cluster.run("tctl", "users", "add", "canary", "--roles=dev").split() if "https://" in word][0].rsplit("/", 1)[1]
    secrets |= {token, invite}
    assert call(cluster, "GET", f"/v1/webapi/invites/{invite}")[0] == 200
    factor = sign_up_by_page(cluster, "coded")
    assert keep(login(cluster, "coded", totp.code(factor))).returncode == 0
    # One that was used, and one of another time.
    wrong_code = totp.code(factor, 50)
    for code in (totp.code(factor), wrong_code):
        assert keep(login(cluster, "coded", code)).returncode == 1
    # What does not: every error that a secret is near.
    keep(cluster.tool("tsh", "login", f"--proxy=localhost:{cluster.port}", "--user=alice", "--password-file=-",
                      home=cluster.directory / "home-wrong", stdin=WRONG + "\n"))
    call(cluster, "POST", "/v1/join", {"token": token + "x", "services": ["db"], "hostName": "h", "publicNames": [], "signingRequestPEM": "x"})
    call(cluster, "POST", "/v1/join", {"token": token, "services": ["db"], "hostName": "h", "publicNames": [], "signingRequestPEM": "x"})
    call(cluster, "POST", "/v1/webapi/login", raw=f'{{"username": "alice", "password": "{PASSWORD}", "signing'.encode())
    call(cluster, "POST", f"/v1/webapi/invites/{invite}", {"password": "short"})
    call(cluster, "GET", f"/web/invite/{invite}x")
    cluster.make_role("dev", names="['*']")
    for kind in ("expired", "malformed", "doctype", "redirect", "huge"):
        cluster.faults({"action": "GetCredentials", "kind": kind, "times": 9})
        with pytest.raises(psycopg.OperationalError) as refused:
            # A name that no login has been kept for.
            psycopg.connect(f"{certificate.dsn} user={USER} dbname=other-{kind}")
        texts.append(str(refused.value))
    cluster.faults()

    def refuses(talk):
        talk.secure()
        talk.send(message(b"R", b"\0\0\0\x03"))
        kind, password = talk.read_message()
        # A database that gives back what it was told, and one that breaks off.
        talk.send(message(b"E", b"SFATAL\0C28P01\0Mpassword authentication failed\0\0"))

    with scripted_server(cluster, refuses):
        scripted = cluster.database(cluster.home, name="scripted")
        for _ in range(2):
            with pytest.raises(psycopg.OperationalError) as refused:
                psycopg.connect(scripted.dsn)
            texts.append(str(refused.value))
    with psycopg.connect(database.dsn) as session:
        session.execute("select 1")
    wait_until(lambda: "db.session.end" in (cluster.data / "log/events.log").read_text(), "the session's end")

    processes = sampler.stop()
    secrets |= set(cluster.secrets()) | set(private_keys(cluster)) | {factor}
    assert SECRET in secrets
    assert len(secrets) > 12 and all(len(secret) >= 12 for secret in secrets), len(secrets)
    assert {"teleport", "tsh", "tctl", "psql", "sh", "sleep"} <= set(processes), set(processes)
    # Six digits are found within longer numbers as well.
    codes = "|".join([wrong_code, *(totp.code(factor, step) for step in range(-6, 2))])
    codes = re.compile(rf"(?<![0-9A-Za-z.])({codes})(?![0-9A-Za-z])".encode())
    needles = [secret.encode() for secret in secrets] + [base64.b32decode(factor)]
    with urllib.request.urlopen(f"http://127.0.0.1:{cluster.diag_port}/metrics") as answer:
        metrics = answer.read()
    places = {"log": cluster.log.read_bytes(), "metrics": metrics, "texts of tools": "\n".join(texts).encode()}
    places |= {str(path): path.read_bytes() for path in (cluster.data / "log").rglob("*") if path.is_file()}
    places |= {str(path): path.read_bytes() for path in (cluster.data / "run").rglob("*") if path.is_file()}
    # The state holds hashes and what is sealed.
    places |= {str(path): path.read_bytes() for path in cluster.data.glob("state.sqlite*")}
    places |= {f"arguments and environment of {name}": b"\n".join(seen) for name, seen in processes.items()}
    looked = 0
    for place, content in places.items():
        for needle in needles:
            looked += 1
            assert needle not in content, f"a secret of {len(needle)} bytes is in {place}"
        assert not codes.search(content), f"a code is in {place}"
    print(f"{len(needles)} secrets, {len(places)} places: {looked} looks, none found; programs {sorted(processes)}")
    # The search itself finds what is there.
    assert PASSWORD.encode() not in places["log"] and b"alice" in places["log"] + b"".join(places.values())


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root to be somebody else")
def test_a20_memory_is_closed_to_others(cluster, tmp_path_factory):
    """Not even another process of the same user reads the server's memory, and a crash leaves no core."""
    directory = open_directory(tmp_path_factory, "closed")
    data, config, port = directory / "data", directory / "teleport.yaml", free_port()
    data.mkdir(mode=0o700)
    os.chown(data, 65534, 65534)
    config.write_text(f"""teleport: {{data_dir: {data}}}
auth_service: {{enabled: "yes", cluster_name: closed}}
proxy_service: {{enabled: "yes", web_listen_addr: "127.0.0.1:{port}"}}
""")
    config.chmod(0o644)
    nobody = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", "--inh-caps=-all"]
    server = subprocess.Popen([*nobody, BIN / "teleport", "start", "-c", config], env=cluster.environment, cwd=data, stderr=subprocess.PIPE)
    try:
        wait_until(lambda: port_is_open(port) or server.poll() is not None, "the server")
        assert server.poll() is None, server.stderr.read()
        limits = pathlib.Path(f"/proc/{server.pid}/limits").read_text()
        assert re.search(r"Max core file size +0 +0 ", limits), limits
        for what in ("mem", "environ", "maps"):
            result = subprocess.run([*nobody, "head", "-c", "1", f"/proc/{server.pid}/{what}"], capture_output=True, text=True)
            assert result.returncode != 0 and "denied" in result.stderr, (what, result)
        # The same user's other processes can be looked at: it is not the test that is not allowed to.
        other = subprocess.Popen([*nobody, "sleep", "60"])
        time.sleep(0.3)
        assert subprocess.run([*nobody, "head", "-c", "1", f"/proc/{other.pid}/environ"], capture_output=True).returncode == 0
        other.kill()
        other.wait()
        server.send_signal(signal.SIGSEGV)
        assert server.wait(timeout=10) == -signal.SIGSEGV
        assert not list(data.glob("core*"))
        assert server.stderr.read().count(b"\n") < 50, "a crash prints neither memory nor registers"
    finally:
        if server.poll() is None:
            server.kill()
            server.wait()
