"""kill -9 of each part in turn, under load: nothing that was acknowledged is lost, nothing is done twice, all comes back."""

import os
import pathlib
import signal
import subprocess
import time

import pytest

from conftest import wait_until
from survived.ledger import Bench, Ledger
from test_cluster import works

SCRIPT = pathlib.Path(__file__).resolve().parents[1] / "postgres.sh"
# Kills of each part.
ROUNDS = int(os.environ.get("SALLYPORT_ROUNDS", "1"))


def kill_database(apart):
    """The postmaster and every process of it, as the kernel's killer of what takes too much memory may do."""
    postmaster = int((apart.pg / "data/postmaster.pid").read_text().split()[0])
    family = [postmaster] + [
        int(child) for path in pathlib.Path(f"/proc/{postmaster}/task").glob("*/children") for child in path.read_text().split()]
    for process in family:
        os.kill(process, signal.SIGKILL)
    # Not only dead but buried: while their numbers are taken a new postmaster believes that they live.
    wait_until(lambda: not any(pathlib.Path(f"/proc/{process}").exists() for process in family), "the database's end")


def start_database(apart):
    subprocess.run([SCRIPT, "restart", apart.pg], check=True)


def kill_emulator(apart):
    apart.emulator.kill()
    apart.emulator.wait()


# How each part dies and comes back, and whether its sessions live on meanwhile.
PARTS = {
    "auth": (lambda apart: apart.auth.stop(signal.SIGKILL), lambda apart: apart.auth.start(apart.auth_port), True),
    "proxy": (lambda apart: apart.proxy.stop(signal.SIGKILL), lambda apart: apart.proxy.start(apart.port), False),
    "agent": (lambda apart: apart.agents[0].stop(signal.SIGKILL), lambda apart: apart.agents[0].start(), False),
    "database": (kill_database, start_database, False),
    "AWS emulator": (kill_emulator, lambda apart: apart.start_emulator(), True),
}


def is_whole(apart):
    """Every part does its work: the Auth Service for tools, the proxy for people, the agent and the database for a session."""
    listing = apart.tool("tsh", "db", "ls", home=apart.home)
    return "redshift" in listing.stdout and apart.tool("tctl", "tokens", "add", "--type=db").returncode == 0


@pytest.mark.timeout(90 + 30 * ROUNDS)
@pytest.mark.parametrize("part", PARTS)
def test_a_part_that_is_killed_under_load(apart, database, part, record_property):
    kill, revive, spares_sessions = PARTS[part]
    recovered = []
    with Ledger(apart, database.dsn) as ledger, Bench(apart, database) as bench:
        for _ in range(ROUNDS):
            time.sleep(0.7)
            kill(apart)
            time.sleep(0.3)
            if spares_sessions:
                # Without it.
                ledger.wait_for_everyone()
                assert works(database)
            begun = time.monotonic()
            revive(apart)
            ledger.wait_for_everyone()
            recovered.append(time.monotonic() - begun)
            wait_until(lambda: works(database) and is_whole(apart), "all parts to be back")
    rows, benched = ledger.check(), bench.check()
    broken = sum(ledger.broken[stage] for stage in ("between", "within", "commit"))
    if spares_sessions:
        assert not any(ledger.broken.values()) and bench.aborted == 0, ledger.texts
    else:
        assert broken >= len(ledger.committed) * ROUNDS, "every session was broken"
    # Agents wait between their attempts to dial again, the database's recovery takes its time.
    assert max(recovered) < 15
    record_property("survived", (
        f"{ROUNDS} x kill -9 of {part} under load: {rows} rows of {len(ledger.committed)} clients and {benched} of pgbench, as "
        f"acknowledged; {broken} connections broken, {ledger.broken['commit']} of them in a commit; all clients on again "
        f"within {max(recovered):.1f} s of its start"))
