"""Audit records of hosts of their own reach the Auth Service: all, once, in order, and only what is the host's own."""

import collections
import datetime
import hashlib
import json
import re
import signal
import ssl
import subprocess
import threading
import time
import urllib.error
import urllib.request

import psycopg
import pytest

from conftest import BIN, open_directory, wait_until
from test_cluster import CONNECTED, Apart, Host, one, running, works


@pytest.fixture(scope="module")
def apart(tmp_path_factory):
    cluster = Apart(open_directory(tmp_path_factory, "shipping"))
    # Longer than auth is down here.
    cluster.host_ttl = "10m"
    with running(cluster):
        yield cluster


@pytest.fixture(scope="module")
def database(apart):
    return apart.database(apart.home)


def host_id(host):
    return json.loads((host.data / "host/certificate.json").read_text())["hostID"]


def lines(folder):
    """The bytes of a log, rotated files first."""
    files = sorted(folder.glob("events-*.log"), key=lambda path: path.stem.rsplit("-", 1)[1])
    return b"".join(path.read_bytes() for path in [*files, folder / "events.log"] if path.exists())


def copy(apart, host):
    return lines(apart.auth.data / "log/hosts" / host_id(host))


def is_shipped(apart, host):
    return copy(apart, host) == lines(host.data / "log")


def search(apart, *options):
    output = apart.run("tctl", "audit", "search", "--format=json", "--limit=100000", *options)
    return [json.loads(line) for line in output.splitlines()]


def seconds(stamp):
    return datetime.datetime.fromisoformat(stamp.replace("Z", "+00:00")).timestamp()


def verify(apart):
    return apart.tool("tctl", "audit", "search", "--verify", "--limit=1")


def test_events_of_an_agent_are_searched_at_auth(apart, database):
    agent = apart.agents[0]
    with psycopg.connect(database.dsn, autocommit=True) as connection:
        connection.execute("select 'a statement to look for'")
        start = time.monotonic()
        wait_until(lambda: search(apart, "--query-text=statement to look for"), "the statement", seconds=10)
        assert time.monotonic() - start < 5
    [statement] = search(apart, "--query-text=statement to look for")
    assert statement["host_id"] == host_id(agent) and statement["user"] == "alice"
    wait_until(lambda: is_shipped(apart, agent), "the whole log")
    apart.make_role("between")
    assert one(database)
    apart.make_role("behind")
    wait_until(lambda: is_shipped(apart, agent), "the whole log")
    everything = search(apart)
    # A log's own order is kept, and an event may be written a moment after its time, a login's as long as a password
    # takes: apart from that, by time.
    latest = ""
    for event in [event for event in everything if event["event"] != "user.login"]:
        assert seconds(event["time"]) > seconds(latest or event["time"]) - 2, event
        latest = max(latest, event["time"])
    for host in (None, host_id(agent)):
        numbers = [event["seq"] for event in everything if event.get("host_id") == host]
        assert numbers == list(range(1, len(numbers) + 1)) != []
    marks = [event.get("host_id") for event in everything]
    assert sum(one != other for one, other in zip(marks, marks[1:])) >= 3, "one after the other would not be merged"
    assert {"user.login", "db.session.query"} <= {event["event"] for event in everything}
    assert {event.get("host_id") for event in everything if event["event"].startswith("db.session")} == {host_id(agent)}
    of_host = search(apart, f"--host={host_id(agent)}")
    assert of_host == [event for event in everything if "host_id" in event]
    tail = apart.run("tctl", "audit", "tail", "-n", "3", "--event=db.session.query", "--format=json").splitlines()
    assert json.loads(tail[-1])["time"] > statement["time"] and statement in map(json.loads, tail)
    assert f"host={host_id(agent)}" in apart.run("tctl", "audit", "tail", "--event=db.session.query")
    result = verify(apart)
    assert result.returncode == 0 and "1 other host" in result.stderr


def test_follow_shows_what_agents_bring(apart, database):
    process = subprocess.Popen(
        [BIN / "tctl", "audit", "tail", "-f", "-n", "0", "--event=db.session.query", "--format=json"],
        env=apart.environment, stdout=subprocess.PIPE, text=True)
    try:
        time.sleep(1)
        with psycopg.connect(database.dsn, autocommit=True) as connection:
            for number in range(3):
                connection.execute(f"select 'followed {number}'")
        seen = [json.loads(process.stdout.readline())["db_query"] for _ in range(3)]
        assert seen == [f"select 'followed {number}'" for number in range(3)]
    finally:
        process.kill()


def test_auth_down_for_ten_seconds(apart, database):
    agent = apart.agents[0]
    apart.auth.stop(signal.SIGKILL)
    try:
        for number in range(10):
            with psycopg.connect(database.dsn, autocommit=True) as connection:
                connection.execute(f"select 'while auth is down {number}'")
            time.sleep(1)
    finally:
        apart.auth.start(apart.auth_port)
    wait_until(lambda: is_shipped(apart, agent), "the log to catch up", seconds=60)
    found = search(apart, "--query-text=while auth is down")
    assert [event["db_query"] for event in found] == [f"select 'while auth is down {number}'" for number in range(10)]


def test_nothing_is_lost_or_doubled_by_kills(apart, database):
    agent = apart.agents[0]
    stop = threading.Event()
    done = collections.Counter()

    def load(name):
        number = 0
        while not stop.is_set():
            try:
                with psycopg.connect(database.dsn, autocommit=True) as connection:
                    while not stop.is_set():
                        connection.execute(f"select 'load {name} {number}', '{'x' * 500}'")
                        done[name] += 1
                        number += 1
            except psycopg.Error:
                time.sleep(0.2)

    threads = [threading.Thread(target=load, args=(name,)) for name in range(4)]
    for thread in threads:
        thread.start()
    try:
        for _ in range(3):
            time.sleep(2)
            apart.auth.stop(signal.SIGKILL)
            apart.auth.start(apart.auth_port)
            time.sleep(2)
            agent.stop(signal.SIGKILL)
            agent.restart()
    finally:
        stop.set()
        for thread in threads:
            thread.join()
    wait_until(lambda: is_shipped(apart, agent), "the whole log", seconds=60)
    numbers = [json.loads(line)["seq"] for line in copy(apart, agent).splitlines()]
    assert numbers == list(range(1, len(numbers) + 1))
    assert len(numbers) > 1000 < sum(done.values())
    assert verify(apart).returncode == 0
    # Sessions that the kills cut off: each start has one end.
    sessions = collections.defaultdict(list)
    for event in search(apart, "--event=db.session.start,db.session.end"):
        if event["code"] in ("TDB00I", "TDB01I"):
            sessions[event["sid"]].append(event)
    wait_until(lambda: agent.says("session ended"), "ends")
    assert all([event["event"] for event in events] == ["db.session.start", "db.session.end"] for events in sessions.values())
    killed = [events[1] for events in sessions.values() if events[1].get("reason") == "service_killed"]
    assert len(killed) >= 3
    for start, end in (events for events in sessions.values() if events[1] in killed):
        assert end["session_start"] == start["time"] and "killed" in end["message"]
        for field in ("user", "db_service", "db_user", "db_name", "db_labels", "server_id", "addr.remote"):
            assert end[field] == start[field], field


def test_the_last_records_are_shipped_before_the_end(apart, database):
    agent = apart.agents[0]
    with psycopg.connect(database.dsn, autocommit=True) as connection:
        connection.execute("select 'last words'")
        agent.stop()
    assert is_shipped(apart, agent)
    agent.restart()


# Who says what

def call(apart, host, body=None, gap=""):
    """The shipping route with a host's own certificate, through the proxy."""
    stored = json.loads((host.data / "host/certificate.json").read_text())
    certificate = host.directory / "certificate.pem"
    certificate.write_text(stored["certificatePEM"])
    [key] = (host.data / "host").glob("*.key")
    context = ssl.create_default_context(cafile=apart.environment["SSL_CERT_FILE"])
    context.load_cert_chain(certificate, key)
    context.set_alpn_protocols(["http/1.1"])
    request = urllib.request.Request(
        f"https://localhost:{apart.port}/v1/hosts/audit{gap}", data=body, method="GET" if body is None else "POST")
    try:
        with urllib.request.urlopen(request, context=context) as answer:
            return answer.status, json.load(answer)
    except urllib.error.HTTPError as error:
        return error.code, json.load(error)["error"]["message"]


def record(place, **fields):
    event = {"event": "db.session.start", "code": "TDB00I", "time": "2030-01-01T00:00:00.000Z",
             "uid": "00000000-0000-4000-8000-000000000000"} | fields
    body = json.dumps({"seq": place["last"] + 1, **event}, separators=(",", ":"), ensure_ascii=False)
    return f'{body[:-1]},"prev":"{place["digest"]}"}}\n'.encode()


@pytest.fixture(scope="module")
def rogue(apart):
    """A host whose certificate is in the wrong hands; its own service does not run."""
    rogue = apart.add_agent("rogue")
    rogue.stop()
    return rogue


def test_a_host_speaks_for_itself_only(apart, rogue):
    place = call(apart, rogue)[1]
    other = host_id(apart.agents[0])
    wait_until(lambda: call(apart, rogue, record(place, server_id=other))[0] == 403, "the refusal")
    assert f"speaks for host {other}" in call(apart, rogue, record(place, server_id=other))[1]
    status, message = call(apart, rogue, record(place, event="user.login", code="T1000I", user="alice"))
    assert status == 403 and "no event user.login" in message
    for wrong in (
            record(place, time="tomorrow"), record(place, message="X").replace(b'"X"', b'"\x1b[2J"'),
            record(place, message="\u202e"), record(place, message="\u009b2J"), b"{}\n", b"no line end", record(place)[:-40] + b"\n",
            record(place).replace(b'"code"', b"'code'")):
        assert call(apart, rogue, wrong)[0] == 400, wrong
    assert call(apart, rogue, b"x" * (6 << 20))[0] == 413
    assert call(apart, rogue)[1] == place, "nothing of it was taken"
    status, after = call(apart, rogue, record(place, server_id=host_id(rogue), message="of its own"))
    assert status == 200 and after["last"] == place["last"] + 1
    assert call(apart, rogue, record(place, message="of its own"))[1] == after, "what is there already is passed over"
    assert call(apart, rogue, record(after | {"last": after["last"] + 1}))[0] == 409
    assert [event["host_id"] for event in search(apart) if event.get("message") == "of its own"] == [host_id(rogue)]


def test_who_is_no_host_ships_nothing(apart):
    result = subprocess.run(
        ["curl", "-sS", "--cacert", apart.environment["SSL_CERT_FILE"], "--http1.1", "-d", "{}", "-w", "%{http_code}",
         f"https://localhost:{apart.port}/v1/hosts/audit"], capture_output=True, text=True)
    assert result.stdout.endswith("401"), result


def test_holes_and_changes_come_to_light(apart, rogue):
    place = call(apart, rogue)[1]
    status, place = call(apart, rogue, record(place | {"last": place["last"] + 5}), gap="?gap=1")
    assert status == 200
    call(apart, rogue, record(place | {"digest": hashlib.sha256(b"another line").hexdigest()}))
    wait_until(lambda: len(search(apart, "--event=audit.fault")) >= 2, "both in the log of auth")
    missing, changed = [event["message"] for event in search(apart, "--event=audit.fault")][-2:]
    assert host_id(rogue) in missing and re.search(r"records \d+ to \d+ are missing", missing)
    assert "was changed after it was written" in changed
    result = verify(apart)
    assert result.returncode == 1 and result.stderr.count(f"host {host_id(rogue)}") == 2, result.stderr
    # It cannot roll the log of auth over with such.
    for _ in range(30):
        status, answer = call(apart, rogue, record(place | {"last": place["last"] + 5}), gap="?gap=1")
        if status != 200:
            break
        place = answer
    assert status == 429 and "faults" in answer
    subprocess.run(["rm", "-r", apart.auth.data / "log/hosts" / host_id(rogue)], check=True)
    apart.auth.stop()
    apart.auth.start(apart.auth_port)
    wait_until(lambda: verify(apart).returncode == 0, "the rest to be whole")


def test_a_record_changed_at_the_agent_is_noticed(apart, database):
    agent = apart.agents[0]
    apart.auth.stop(signal.SIGKILL)
    with psycopg.connect(database.dsn, autocommit=True) as connection:
        connection.execute("select 'the truth'")
        connection.execute("select 'something else'")
    wait_until(lambda: b"something else" in lines(agent.data / "log"), "the records")
    agent.stop(signal.SIGKILL)
    log = agent.data / "log/events.log"
    log.write_bytes(log.read_bytes().replace(b"the truth", b"all a lie"))
    try:
        apart.auth.start(apart.auth_port)
    finally:
        agent.restart()
    wait_until(lambda: is_shipped(apart, agent), "the rest")
    event = search(apart, "--event=audit.fault")[-1]
    assert host_id(agent) in event["message"] and "was changed" in event["message"]
    result = verify(apart)
    assert result.returncode == 1 and f"host {host_id(agent)}" in result.stderr
    # The copy at auth, too, is checked.
    stored = apart.auth.data / "log/hosts" / host_id(agent) / "events.log"
    stored.write_bytes(stored.read_bytes().replace(b"all a lie", b"the truth"))
    assert verify(apart).returncode == 0


def test_what_rotation_removes_unshipped_is_counted(apart, database):
    text = apart.agent_config("small", apart.token).replace(
        'auth_service: {enabled: "no"}', 'auth_service: {enabled: "no", audit: {max_size: 1MiB, max_files: 1}}')
    agent = Host(apart, "small", text)
    apart.agents[0].stop()
    try:
        agent.start()
        wait_until(lambda: agent.says(CONNECTED), "the agent")
        assert works(database)
        wait_until(lambda: is_shipped(apart, agent), "the first records")
        apart.auth.stop(signal.SIGKILL)
        with psycopg.connect(database.dsn, autocommit=True) as connection:
            for number in range(1200):
                connection.execute(f"select {number}, '{'x' * 4000}'")
                # A busy machine would drop some of so many: that is another test.
                if number % 50 == 49:
                    time.sleep(0.1)
        wait_until(lambda: b"select 1199," in lines(agent.data / "log"), "the records")
        wait_until(lambda: b"audit.unshipped" in lines(agent.data / "log"), "the loss on record")
        apart.auth.start(apart.auth_port)
        end = lines(agent.data / "log").splitlines()
        wait_until(lambda: copy(apart, agent).splitlines()[-1:] == end[-1:], "the rest")
        # Records of the loss may be among what is lost: each says how much it was by then.
        lost = max(event["count"] for event in search(apart, "--event=audit.unshipped"))
        numbers = [json.loads(line)["seq"] for line in copy(apart, agent).splitlines()]
        assert lost == numbers[-1] - len(numbers) > 0
        assert "are missing" in search(apart, "--event=audit.fault")[-1]["message"]
        assert agent.says("records were removed before the Auth Service had them")
    finally:
        agent.stop()
        if apart.auth.process.poll() is not None:
            apart.auth.start(apart.auth_port)
        apart.agents[0].restart()


def test_a_log_put_back_is_not_taken_for_the_one_that_was_shipped(apart, database):
    agent = apart.agents[0]
    agent.stop()
    old = (agent.data / "log/events.log").read_bytes()
    agent.restart()
    wait_until(lambda: works(database), "the agent to serve")
    wait_until(lambda: copy(apart, agent).splitlines()[-1] == lines(agent.data / "log").splitlines()[-1], "the log")
    agent.stop(signal.SIGKILL)
    (agent.data / "log/events.log").write_bytes(old)
    for name in ("events.head", "events.shipped", "events.open"):
        (agent.data / "log" / name).unlink()
    before = copy(apart, agent)
    agent.restart()
    wait_until(lambda: agent.says("it was replaced by an older one"), "the complaint")
    agent.stop()
    agent.restart()
    assert one(database)
    wait_until(lambda: len(copy(apart, agent)) > len(before), "records to come again")
    assert copy(apart, agent).startswith(before)
