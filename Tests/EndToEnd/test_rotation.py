"""Rotation of the authorities by phases, on a cluster of three processes: who is trusted when, and that nobody falls."""

import contextlib
import json
import os
import re
import signal
import subprocess
import time

import psycopg
import pytest

from conftest import PASSWORD, open_directory, wait_until
from test_cluster import Apart, Host, one, running

PHASES = ["init", "update_clients", "update_servers", "standby"]
EXPORTS = {"host": "tls-host", "user": "tls-user", "db": "db", "db_client": "db-client"}
FIELDS = {"host": "hostPEMs", "user": "userPEMs", "db": "databasePEMs", "db_client": "databaseClientPEMs"}


class Rotating(Apart):
    # Certificates must not run out while a host is away: that is another story.
    host_ttl = "1h"

    def rotate(self, kind, phase, *options):
        output = self.run("tctl", "auth", "rotate", f"--type={kind}", "--manual", f"--phase={phase}", *options)
        for kind in EXPORTS if kind == "all" else [kind]:
            self.settle(kind, phase)
        return output

    def authorities(self, kind):
        text = self.run("tctl", "auth", "export", f"--type={EXPORTS[kind]}")
        return re.findall(r"-----BEGIN.*?-----END CERTIFICATE-----", text, re.DOTALL)

    def settle(self, kind, phase):
        """Waits until proxy and agents have taken the phase up, their own certificates included."""
        wanted = self.authorities(kind)

        def is_there(host):
            known = json.loads((host.data / "host/snapshot.json").read_text())["authorities"]
            own = json.loads((host.data / "host/certificate.json").read_text())["authorities"]["hostPEMs"][0]
            return ([pem.strip() for pem in known[FIELDS[kind]]] == wanted
                    and (kind != "host" or (known["hostPhase"] == phase and own.strip() == wanted[0])))

        for host in [self.proxy, *self.agents]:
            if host.process.poll() is None:
                wait_until(lambda: is_there(host), f"{host.name} to follow to {phase} of {kind}", seconds=15)
        # What was written to disk is in use already; the reactors get the new contexts by post.
        time.sleep(0.2)

    def phase(self, kind):
        status = json.loads(self.run("tctl", "auth", "rotate", "status", "--format=json"))
        return next(one["phase"] for one in status if one["kind"] == kind)

    def pins(self):
        return re.findall(r"sha256:\w+", self.run("tctl", "status"))

    def renew_trust(self):
        """What an administrator hands out after a rotation of the host CA."""
        (self.directory / "bundle.pem").write_text(
            (self.pg / "ca.pem").read_text() + self.run("tctl", "auth", "export", "--type=tls-host"))
        [self.pin] = self.pins()

    def log_in_anew(self):
        self.renew_trust()
        self.log_in("alice")
        return self.database(self.home)


@pytest.fixture(scope="module")
def apart(tmp_path_factory):
    with running(Rotating(open_directory(tmp_path_factory, "rotation"))) as cluster:
        yield cluster


@contextlib.contextmanager
def load(apart, database):
    """pgbench on connections from before; must be running still at the end, with no transaction failed."""
    script = apart.directory / "bench.sql"
    script.write_text("select 1;\n")
    bench = subprocess.Popen(
        ["pgbench", "-n", "-c", "2", "-T", "600", "-P", "1", "-f", script],
        env=dict(os.environ, **database.environment), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    counted = []
    try:
        yield counted
        assert bench.poll() is None, bench.communicate()
        # Its connections are still the ones from the beginning: it makes no others.
        time.sleep(1.5)
        assert bench.poll() is None, bench.communicate()
    finally:
        bench.send_signal(signal.SIGINT)
        output, errors = bench.communicate(timeout=20)
    progress = re.findall(r"progress: [\d.]+ s, ([\d.]+) tps.*?(\d+) failed", errors)
    assert len(progress) > 2 and all(int(failed) == 0 for _, failed in progress), errors
    assert float(progress[-1][0]) > 0, errors
    counted.append(sum(float(tps) for tps, _ in progress))


def is_refused(database):
    try:
        one(database)
        return False
    except psycopg.OperationalError as error:
        return bool(re.search("unknown ca|certificate verify failed|decrypt error|certificate unknown", str(error)))


@pytest.mark.parametrize("kind", ["host", "user", "db", "db_client"])
def test_no_session_falls_and_new_ones_open_at_every_phase(apart, kind, record_property):
    database = apart.log_in_anew()
    before, opened = apart.authorities(kind), 0
    with psycopg.connect(database.dsn, autocommit=True) as session, load(apart, database) as counted:
        for phase in PHASES[:-1]:
            apart.rotate(kind, phase)
            assert apart.phase(kind) == phase
            for _ in range(5):
                # Certificate and CA file from before the rotation.
                assert one(database)
                opened += 1
            # What tsh gets now works too, whoever issued it.
            assert one(apart.database(apart.home))
            opened += 1
            assert session.execute("select 1").fetchone() == (1,)
            trusted = apart.authorities(kind)
            assert len(trusted) == 2 and set(before) < set(trusted)
            assert (trusted[0] == before[0]) == (phase == "init")
        apart.rotate(kind, "standby")
        assert session.execute("select 1").fetchone() == (1,)
        after = apart.authorities(kind)
        assert len(after) == 1 and after != before
        if kind in ("db", "db_client"):
            assert one(database)
    assert counted[0] > 100
    assert apart.run("tctl", "status").count(f"{kind} CA: rotated 20") == 1
    assert one(apart.log_in_anew())
    record_property("survived", (
        f"rotation of the {kind} CA under load, {len(PHASES)} phases: about {counted[0]:.0f} transactions, none failed; "
        f"{opened} sessions opened between the phases, none refused"))


def test_logins_from_before_count_until_standby_and_tsh_then_says_to_log_in(apart):
    for kind in ("user", "host"):
        database = apart.log_in_anew()
        for phase in PHASES[:-1]:
            apart.rotate(kind, phase)
        assert one(database)
        apart.rotate(kind, "standby")
        # Straight from its files: nothing has refreshed them.
        wait_until(lambda: is_refused(database), "the old files to be refused", seconds=5)
        result = apart.tool("tsh", "db", "ls", home=apart.home)
        assert result.returncode == 1 and "tsh login" in result.stderr, result.stderr
        assert one(apart.log_in_anew())


@pytest.mark.parametrize("reached", ["init", "update_clients", "update_servers"])
def test_rollback_from_each_phase(apart, reached, record_property):
    database = apart.log_in_anew()
    before = {kind: apart.authorities(kind) for kind in EXPORTS}
    with psycopg.connect(database.dsn, autocommit=True) as session, load(apart, database) as counted:
        for phase in PHASES[:PHASES.index(reached) + 1]:
            apart.rotate("all", phase)
        # A certificate of whoever issues now.
        database = apart.database(apart.home)
        apart.run("tctl", "auth", "rotate", "--phase=rollback")
        for kind in EXPORTS:
            apart.settle(kind, "rollback")
        assert one(database)
        assert one(apart.database(apart.home))
        apart.rotate("all", "standby")
        assert {kind: apart.authorities(kind) for kind in EXPORTS} == before
        assert session.execute("select 1").fetchone() == (1,)
        # The login is of the CA that is back.
        assert one(apart.database(apart.home))
    record_property("survived", (
        f"rotation of {len(EXPORTS)} CAs under load, rolled back from {reached}: about {counted[0]:.0f} transactions, none failed"))


def test_an_automatic_rotation_survives_a_restart_and_both_pins_are_good(apart):
    database = apart.log_in_anew()
    [old] = apart.pins()
    count = len(apart.audit())
    with psycopg.connect(database.dsn, autocommit=True) as session:
        apart.run("tctl", "auth", "rotate", "--type=host", "--grace-period=24s")
        result = apart.tool("tctl", "auth", "rotate", "--type=host", "--manual", "--phase=update_clients")
        assert result.returncode == 1 and "automatically" in result.stderr and "rollback" in result.stderr
        first, new = apart.pins()
        assert first == old
        apart.auth.stop(signal.SIGKILL)
        apart.auth.start(apart.auth_port)
        assert one(database)
        agents = len(apart.agents)
        apart.add_agent("agent-new-pin", pin=new)
        wait_until(lambda: apart.phase("host") == "update_clients", "update_clients", seconds=20)
        assert apart.pins() == [new, old]
        apart.add_agent("agent-old-pin", pin=old)
        wait_until(lambda: apart.phase("host") == "update_servers", "update_servers", seconds=20)
        assert one(database)
        wait_until(lambda: apart.phase("host") == "standby", "standby", seconds=20)
        assert apart.pins() == [new]
        assert session.execute("select 1").fetchone() == (1,)
        for agent in apart.agents[agents:]:
            agent.stop()
        del apart.agents[agents:]
    assert one(apart.log_in_anew())
    steps = [(e["phase"], e["mode"], e["name"]) for e in apart.audit()[count:] if e["event"] == "cert_authority.rotate"]
    assert steps == [(phase, "auto", "host") for phase in PHASES]
    assert all(e["code"] == "TCA00I" for e in apart.audit() if e["event"] == "cert_authority.rotate")


def test_a_host_that_was_away_is_told_how_to_join_again(apart):
    away = apart.add_agent("agent-away")
    away.stop()
    apart.agents.remove(away)
    for phase in PHASES:
        apart.rotate("host", phase)
    before = len(away.log.read_text())
    away.start()
    assert away.process.wait(timeout=30) == 1
    words = away.log.read_text()[before:]
    assert "rotated while this host was away" in words and "tctl tokens add --type=db" in words and "ca_pin" in words
    assert f"{away.data}/host" in words
    # And does as it was told.
    apart.renew_trust()
    subprocess.run(["rm", "-r", away.data / "host"], check=True)
    away.config.write_text(apart.agent_config("agent-away", apart.token).replace("DATA", str(away.data)))
    away.restart()
    away.stop()
    apart.log_in_anew()


@pytest.mark.parametrize("options,complaint", [
    (["--manual", "--phase=update_servers"], "init"), (["--manual", "--phase=soon"], "no phase"),
    (["--phase=update_clients"], "does not lead"), (["--type=ssh"], "no kind"), (["--grace-period=soon"], "duration")])
def test_steps_that_make_no_sense(apart, options, complaint):
    result = apart.tool("tctl", "auth", "rotate", *options)
    assert result.returncode == 1 and complaint in result.stderr and result.stderr.count("\n") == 1, result.stderr
    assert apart.phase("host") == apart.phase("user") == "standby"


def test_rotating_takes_a_rule(apart):
    apart.run("tctl", "users", "add", "bob", "--roles=dev")
    identity = apart.directory / "bob"
    apart.run("tctl", "auth", "sign", "--user=bob", f"--out={identity}")
    result = apart.tool("tctl", "auth", "rotate", f"--auth-server=localhost:{apart.port}", "-i", identity)
    assert result.returncode == 1 and "may not rotate cert_authority" in result.stderr, result.stderr
    assert apart.phase("host") == "standby"
