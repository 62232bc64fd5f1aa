"""`make demo` as a person sees it: on a terminal it ends in psql, without one it runs its queries and is done."""

import os
import pathlib
import signal
import subprocess
import sys

import pexpect
import pytest

from conftest import BIN, ROOT, USER, free_port, port_is_open


@pytest.fixture
def environment(tmp_path):
    """Ports and configuration of its own, so that it disturbs no demo and no server that runs already."""
    ports = {f"SALLYPORT_DEMO_{name}": str(free_port()) for name in ("PORT", "AWS_PORT", "DATABASE_PORT")}
    environment = dict(
        os.environ, **ports, SALLYPORT_BIN=str(BIN), SALLYPORT_DEMO_CONFIG=str(tmp_path / "teleport.yaml"), PAGER="cat",
        PSQLRC="/nonexistent", TERM="dumb")
    yield environment
    port = ports["SALLYPORT_DEMO_PORT"]
    assert f"sallyport demo on port {port}" not in pathlib.Path("/etc/hosts").read_text(), "the demo cleans up"
    assert not (tmp_path / "teleport.yaml").exists()


def test_on_a_terminal_a_person_is_left_in_psql(environment):
    demo = pexpect.spawn(
        str(ROOT / "Tests/Demo/demo.sh"), env=environment, cwd=str(ROOT), encoding="utf-8", timeout=120,
        logfile=sys.stdout)
    try:
        demo.expect_exact("You are the person in psql now")
        demo.expect("dev=[>#] ")
        demo.sendline("select current_user, 6 * 7 as answer;")
        demo.expect_exact(f"IAMR:{USER} |     42")
        demo.expect("dev=[>#] ")
        demo.sendline("select pg_sleep(60);")
        # The query has to be under way before it can be cancelled.
        with pytest.raises(pexpect.TIMEOUT):
            demo.expect("dev=[>#] ", timeout=1.5)
        demo.sendintr()
        demo.expect_exact("canceling statement due to user request", timeout=20)
        demo.expect("dev=[>#] ")
        demo.sendline("\\q")
        demo.expect_exact("The demo is over", timeout=60)
        demo.expect(pexpect.EOF, timeout=60)
    finally:
        leave(demo)
    assert demo.exitstatus == 0


def leave(demo):
    """Closes the terminal and waits until the demo has taken away what it set up."""
    if demo.isalive():
        os.close(demo.child_fd)
        demo.closed = True
        os.kill(demo.pid, signal.SIGHUP)
    demo.wait()


def test_a_terminal_that_is_closed_leaves_nothing_behind(environment):
    demo = pexpect.spawn(
        str(ROOT / "Tests/Demo/demo.sh"), env=environment, cwd=str(ROOT), encoding="utf-8", timeout=120)
    demo.expect("dev=[>#] ")
    database = int(environment["SALLYPORT_DEMO_DATABASE_PORT"])
    assert port_is_open(database)
    leave(demo)
    assert demo.exitstatus == 130
    assert not any(port_is_open(int(environment[f"SALLYPORT_DEMO_{name}"])) for name in ("PORT", "AWS_PORT", "DATABASE_PORT"))


def test_ctrl_c_before_psql_ends_the_demo_and_cleans_up(environment):
    demo = pexpect.spawn(
        str(ROOT / "Tests/Demo/demo.sh"), env=environment, cwd=str(ROOT), encoding="utf-8", timeout=120)
    demo.expect_exact("Step 2/4")
    demo.sendintr()
    demo.expect(pexpect.EOF, timeout=60)
    demo.wait()
    assert demo.exitstatus == 130


def test_without_a_terminal_it_runs_its_queries(environment):
    result = subprocess.run(
        [ROOT / "Tests/Demo/demo.sh"], env=environment, cwd=ROOT, stdin=subprocess.DEVNULL, capture_output=True, text=True,
        timeout=180)
    assert result.returncode == 0, result.stdout + result.stderr
    assert f"IAMR:{USER}" in result.stdout and "500500" in result.stdout and "The demo is over" in result.stdout
