"""A disk that is full under the state: changes are refused, everything else goes on, and nothing has to be mended afterwards."""

import contextlib
import os
import re
import signal
import subprocess
import time

import psycopg
import pytest

from conftest import Cluster, open_directory, wait_until
from test_audit import fill

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="mounting a small file system takes root")


@contextlib.contextmanager
def on_disks(own, cluster, disks):
    """`own`, running beside `cluster`, with file systems of its own: by folder, what mount is told."""
    mounted = []
    try:
        for folder, options in disks.items():
            folder.mkdir(mode=0o700)
            subprocess.run(["mount", *options, folder], check=True)
            mounted.append(folder)
            folder.chmod(0o700)
        own.start_beside(cluster)
        yield own
        own.stop_teleport()
    finally:
        if own.teleport and own.teleport.poll() is None:
            own.teleport.kill()
            own.teleport.wait()
        for folder in reversed(mounted):
            subprocess.run(["umount", folder], check=True)


@pytest.fixture(scope="module")
def cramped(cluster, tmp_path_factory):
    """A cluster whose state lies on a small disk, and its audit log on another one."""
    own = Cluster(open_directory(tmp_path_factory, "cramped"))
    small = {folder: ["-t", "tmpfs", "-o", f"size={size}", "tmpfs"] for folder, size in [(own.data, "16m"), (own.data / "log", "64m")]}
    with on_disks(own, cluster, small) as own:
        yield own


def users(cluster):
    return {name for name in re.findall(r"^ +name: (\S+)$", cluster.run("tctl", "get", "users"), re.MULTILINE)}


def test_a_full_disk_under_the_state(cramped, record_property):
    database = cramped.database(cramped.home)
    ballast, changes = cramped.data / "ballast", [
        ["users", "rm", "alice"], ["users", "update", "alice", "--set-roles=access"], ["tokens", "add", "--type=db"],
        ["auth", "rotate", "--type=user", "--manual", "--phase=init"]]
    refused, before = 0, cramped.run("tctl", "get", "users,roles")
    with psycopg.connect(database.dsn, autocommit=True) as session:

        def goes_on():
            assert session.execute("select 42").fetchone() == (42,)
            psycopg.connect(database.dsn).close()
            cramped.log_in("alice")
            assert cramped.run("tctl", "get", "users,roles") == before

        fill(ballast)
        # What the write-ahead log still has room for is written, if anything; then nothing is.
        late = []
        while (result := cramped.tool("tctl", "users", "add", f"late-{len(late)}", "--roles=dev")).returncode == 0:
            late.append(f"late-{len(late)}")
            before = cramped.run("tctl", "get", "users,roles")
        for command in [["users", "add", "later", "--roles=dev"], *changes]:
            result = cramped.tool("tctl", *command)
            assert result.returncode == 1 and "the disk with the cluster's state is full" in result.stderr, (command, result)
            assert len(result.stderr.splitlines()) == 1
            refused += 1
        goes_on()
    # A start needs a little room, for the files that say that it runs: it is told, and harms nothing.
    cramped.teleport.send_signal(signal.SIGKILL)
    cramped.teleport.wait()
    result = cramped.tool("teleport", "start")
    assert result.returncode == 1 and "No space left on device" in result.stderr.splitlines()[-1], result.stderr
    ballast.unlink()
    cramped.start_teleport()
    with psycopg.connect(database.dsn, autocommit=True) as session:
        goes_on()
        fill(ballast)
        wait_until(lambda: "is full" in cramped.tool("tctl", "tokens", "add", "--type=db").stderr, "the disk to be full again")
        ballast.unlink()
        begun = time.monotonic()
        cramped.run("tctl", "users", "add", "later", "--roles=dev")
        took = time.monotonic() - begun
        assert users(cramped) == {"alice", "later", *late}
        assert session.execute("select 42").fetchone() == (42,)
    assert "the disk with the state is full" in cramped.log.read_text()
    record_property("survived", (
        f"a full disk under the state: {refused + 1} changes refused, sessions and logins go on, a start is refused with the "
        f"file's name; the first change once there was room worked ({took:.1f} s)"))
