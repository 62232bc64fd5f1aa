"""The state under kill -9 at any moment: what was acknowledged is there, what was not is there whole or not at all."""

import contextlib
import hashlib
import http.client
import json
import os
import random
import signal
import sqlite3
import ssl
import subprocess
import threading
import time

import pytest

from conftest import BIN, free_port, wait_until

KILLS = int(os.environ.get("SALLYPORT_KILLS", "10"))
WRITERS = 3
# What shows of a token's hash as its name.
TOKEN_NAME = 12


class AuthHost:
    """An Auth Service with a proxy before it, and nothing else."""

    def __init__(self, directory):
        self.data, self.config, self.log = directory / "data", directory / "teleport.yaml", directory / "log"
        self.port = free_port()
        self.config.write_text(f"""version: v3
teleport: {{data_dir: {self.data}, shutdown_timeout: 1s}}
auth_service: {{enabled: "yes", cluster_name: test}}
proxy_service: {{enabled: "yes", web_listen_addr: "127.0.0.1:{self.port}", public_addr: "localhost:{self.port}"}}
db_service: {{enabled: "no"}}
""")
        self.process = None

    def launch(self):
        self.process = subprocess.Popen([BIN / "teleport", "start", "-c", self.config], stderr=open(self.log, "a"))

    def start(self):
        self.launch()
        wait_until(lambda: self.serves() or self.process.poll() is not None, "the server")
        assert self.process.poll() is None, self.log.read_text()[-2000:]

    def serves(self):
        try:
            return self.talk().call("GET", "/v1/status")[0] == 200
        except (OSError, http.client.HTTPException):
            return False

    def kill(self):
        self.process.send_signal(signal.SIGKILL)
        assert self.process.wait() == -signal.SIGKILL, self.log.read_text()[-2000:]

    def talk(self):
        return Talk(self)

    def listing(self, kind):
        status, answer = self.talk().call("GET", f"/v1/resources/{kind}")
        assert status == 200, answer
        return answer


class Talk:
    """One connection to the API, as the administrator of the host."""

    def __init__(self, host):
        context = ssl.create_default_context(cafile=host.data / "admin/ca.pem")
        context.load_cert_chain(host.data / "admin/admin.crt", host.data / "admin/admin.key")
        context.set_alpn_protocols(["http/1.1"])
        self.connection = http.client.HTTPSConnection("localhost", host.port, context=context, timeout=20)

    def call(self, method, path, body=None):
        self.connection.request(
            method, path, None if body is None else json.dumps(body), {"Content-Type": "application/json"})
        answer = self.connection.getresponse()
        text = answer.read()
        return answer.status, json.loads(text) if text else None


class Writer(threading.Thread):
    """Makes, changes and removes users, roles and tokens of its own until the server dies; knows what must be there.

    `known` has what was acknowledged. `open` has the one change whose answer was lost: its key, and how it may be now.
    """

    def __init__(self, host, number, known, invites, seed):
        super().__init__(daemon=True)
        self.host, self.number, self.known, self.invites = host, number, known, invites
        self.random = random.Random(seed)
        self.open, self.refused, self.acknowledged = None, [], 0

    def run(self):
        talk = self.host.talk()
        while not self.refused:
            kind = self.random.choice(["user", "role", "token"])
            key = (kind, f"{kind}-of-writer-{self.number}-{self.random.randrange(12)}")
            before = self.known.get(key)
            after = None if before and self.random.random() < 0.3 else self.content()
            try:
                status, answer = self.write(talk, key, before, after)
            except (OSError, http.client.HTTPException):
                self.open = (key, before, after)
                return
            if status not in (200, 204):
                self.refused.append((key, status, answer))
                continue
            self.acknowledged += 1
            self.invites.pop(key, None)
            if after is None:
                del self.known[key]
            else:
                self.known[key] = after
                if answer and "url" in answer:
                    self.invites[key] = answer["url"].rsplit("/", 1)[1]

    def content(self):
        """Several values that are stored as a whole, some of many pages."""
        size = self.random.choice([1, 3, 40, 400])
        return [f"v{self.random.randrange(10**9)}" for _ in range(size)]

    def write(self, talk, key, before, after):
        kind, name = key
        if after is None:
            return talk.call("DELETE", f"/v1/resources/{kind}/{name}")
        if kind == "user" and before is None:
            # With an invite, which is a second row.
            return talk.call("POST", "/v1/users", {"name": name, "roles": ["access"], "traits": {"t": after}})
        if kind == "user":
            return talk.call("PUT", f"/v1/users/{name}", {"roles": ["access"], "traits": {"t": after}})
        if kind == "role":
            spec, version = {"allow": {"db_names": after, "db_users": ["u"], "db_labels": {"*": ["*"]}}}, "v5"
        else:
            # A token has no field for much: its end says which one it is.
            spec, version = {"roles": ["Db"]}, "v2"
        metadata = {"name": name}
        if kind == "token":
            metadata["expires"] = expiry(after)
        resource = {"kind": kind, "version": version, "metadata": metadata, "spec": spec}
        return talk.call("POST", f"/v1/resources/{kind}", {"resource": resource, "condition": "any"})


def expiry(content):
    """An end within the next day, by the content."""
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(START + 40_000 + int(content[0][1:]) % 40_000))


START = int(time.time())


def stored(host):
    """What the server has of the writers, in the form of `Writer.known`; tokens by what shows of them, with their end."""
    found = {}
    for user in host.listing("user"):
        if user["metadata"]["name"].startswith("user-"):
            assert user["spec"]["roles"] == ["access"], user
            found["user", user["metadata"]["name"]] = user["spec"]["traits"]["t"]
    for role in host.listing("role"):
        if role["metadata"]["name"].startswith("role-"):
            found["role", role["metadata"]["name"]] = role["spec"]["allow"]["db_names"]
    for token in host.listing("token"):
        found["token", token["metadata"]["name"]] = token["metadata"]["expires"]
    return found


def as_stored(key, content):
    if key[0] != "token":
        return key, content
    return ("token", hashlib.sha256(key[1].encode()).hexdigest()[:TOKEN_NAME]), content and expiry(content)


def check(host, writers, known):
    """Compares, and takes over what the changes without an answer have become."""
    found = stored(host)
    expected = dict(as_stored(*item) for item in known.items())
    undecided = {}
    for writer in writers:
        assert writer.refused == []
        if writer.open:
            key, before, after = writer.open
            undecided[as_stored(key, None)[0]] = (key, before, after)
    for name in found.keys() | expected.keys():
        if name in undecided:
            key, before, after = undecided[name]
            present = found.get(name)
            states = {json.dumps(as_stored(key, state)[1]): state for state in (before, after)}
            assert json.dumps(present) in states, f"{key} is half made: {present}"
            state = states[json.dumps(present)]
            if state is None:
                known.pop(key, None)
            else:
                known[key] = state
        else:
            assert found.get(name) == expected.get(name), f"{name}: {found.get(name)} and not {expected.get(name)}"


@pytest.mark.timeout(120 + 3 * KILLS)
def test_the_state_survives_kills_at_any_point(tmp_path, record_property):
    host = AuthHost(tmp_path)
    host.start()
    seed = int(os.environ.get("SALLYPORT_SEED", random.randrange(1 << 32)))
    print("seed", seed)
    generator = random.Random(seed)
    pins = host.talk().call("GET", "/v1/status")[1]["caPins"]
    authority = (host.data / "admin/ca.pem").read_bytes()
    known, invites, acknowledged, unanswered, starts, slowest = {}, {}, 0, 0, 0, 0.0
    try:
        for kill in range(KILLS):
            writers = [Writer(host, number, known, invites, generator.random()) for number in range(WRITERS)]
            for writer in writers:
                writer.start()
            time.sleep(generator.uniform(0, 0.15))
            host.kill()
            for writer in writers:
                writer.join(30)
                assert not writer.is_alive()
            acknowledged += sum(writer.acknowledged for writer in writers)
            unanswered += sum(writer.open is not None for writer in writers)
            # Now and then the start that follows is killed as well.
            while generator.random() < 0.2:
                host.launch()
                time.sleep(generator.uniform(0, 0.3))
                host.kill()
                starts += 1
            begun = time.monotonic()
            host.start()
            slowest = max(slowest, time.monotonic() - begun)
            check(host, writers, known)
            talk = host.talk()
            assert talk.call("GET", "/v1/status")[1]["caPins"] == pins
            assert (host.data / "admin/ca.pem").read_bytes() == authority
            for key in generator.sample(sorted(invites), min(3, len(invites))):
                if key in known:
                    status, answer = talk.call("GET", f"/v1/webapi/invites/{invites[key]}")
                    assert status == 200, f"the invite of {key} is lost: {answer}"
    finally:
        with contextlib.suppress(ProcessLookupError):
            host.process.kill()
        host.process.wait()
    with contextlib.closing(sqlite3.connect(host.data / "state.sqlite")) as state:
        assert state.execute("pragma integrity_check").fetchall() == [("ok",)]
        assert state.execute("pragma foreign_key_check").fetchall() == []
    assert acknowledged > 2 * KILLS and unanswered > 0
    record_property("survived", (
        f"{KILLS} kills of the Auth Service in mid write and {starts} in mid start: {acknowledged} changes acknowledged, none "
        f"lost; {unanswered} without an answer, none half made; back within {slowest:.1f} s"))


@pytest.mark.timeout(120 + KILLS)
def test_a_first_start_that_is_killed_leaves_nothing_in_the_way(tmp_path, record_property):
    """The authorities are made then: each of their files is there whole or not at all."""
    seen, count = 0, max(5, KILLS // 5)
    for number in range(count):
        directory = tmp_path / str(number)
        directory.mkdir()
        host = AuthHost(directory)
        host.launch()
        # A first start takes some 0.3 s where nothing else runs.
        time.sleep(random.uniform(0, 0.4))
        host.kill()
        authority = host.data / "admin/ca.pem"
        before = authority.read_bytes() if authority.exists() else None
        host.start()
        host.kill()
        if before:
            assert authority.read_bytes() == before
            seen += 1
    record_property("survived", f"{count} kills in mid first start: all start again, {seen} had an authority and keep it")
