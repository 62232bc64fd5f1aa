"""A disk that becomes read-only under a server that runs, as ext4 does by itself when the device fails."""

import subprocess
import time

import psycopg
import pytest

from conftest import Cluster, open_directory
from survived.test_full_disk import on_disks, pytestmark, users  # noqa: F401
from test_audit import verify


@pytest.fixture(params=["within", "apart"])
def failing(request, cluster, tmp_path_factory):
    """A cluster whose directory lies on an ext4 of its own: `image` in a loop device. `log`: where the audit log is."""
    if subprocess.run(["losetup", "--find"], capture_output=True).returncode != 0:
        pytest.skip("no loop devices here")
    own = Cluster(open_directory(tmp_path_factory, "failing"))
    own.image, own.log_is = own.directory / "disk", request.param
    with open(own.image, "wb") as file:
        file.truncate(64 << 20)
    subprocess.run(["mkfs.ext4", "-q", "-F", own.image], check=True)
    own.disks = {own.data: ["-o", "loop", own.image]}
    if own.log_is == "apart":
        elsewhere = own.directory / "log"
        elsewhere.mkdir(mode=0o700)
        own.disks[own.data / "log"] = ["--bind", elsewhere]
    with on_disks(own, cluster, own.disks) as own:
        yield own


def mend(cluster):
    """What an administrator does: such a disk is only written to again once it was checked and mounted anew."""
    cluster.stop_teleport()
    for folder in reversed(cluster.disks):
        subprocess.run(["umount", folder], check=True)
    # 1: errors were mended.
    assert subprocess.run(["e2fsck", "-p", cluster.image], capture_output=True).returncode in (0, 1)
    for folder, options in cluster.disks.items():
        subprocess.run(["mount", *options, folder], check=True)
    cluster.start_teleport()


def test_a_disk_that_becomes_read_only(failing, record_property):
    database, kept, refused, opened = failing.database(failing.home), failing.run("tctl", "get", "users,roles"), 0, 0
    with psycopg.connect(database.dsn, autocommit=True) as session:
        # Nothing of ours gets the time to write what it has: as if the device had failed.
        subprocess.run(["mount", "-o", "remount,abort", failing.data], check=True)
        with pytest.raises(OSError, match="Read-only file system"):
            (failing.data / "probe").touch()
        for command in [["users", "add", "late", "--roles=dev"], ["users", "rm", "alice"], ["tokens", "add", "--type=db"]]:
            result = failing.tool("tctl", *command)
            assert result.returncode == 1 and len(result.stderr.strip().splitlines()) == 1, (command, result)
            refused += 1
        # This record fails, and with it the log is known to: until then a session may still come in.
        session.execute("select 'while read-only'")
        time.sleep(1)
        for _ in range(3):
            if failing.log_is == "within":
                with pytest.raises(psycopg.OperationalError, match="audit log cannot be written"):
                    psycopg.connect(database.dsn)
            else:
                psycopg.connect(database.dsn).close()
                opened += 1
        for number in range(1000):
            assert session.execute("select %s::int", [number]).fetchone() == (number,)
        assert failing.teleport.poll() is None
        assert failing.log_is == "apart" or "Read-only file system" in failing.log.read_text()
    begun = time.monotonic()
    mend(failing)
    with psycopg.connect(database.dsn, autocommit=True) as session:
        assert session.execute("select 42").fetchone() == (42,)
    assert failing.run("tctl", "get", "users,roles") == kept
    failing.run("tctl", "users", "add", "later", "--roles=dev")
    failing.log_in("alice")
    assert users(failing) == {"alice", "later"}
    assert verify(failing)[0], verify(failing)
    what = "goes on, 3 new ones are refused" if failing.log_is == "within" else f"and {opened} new ones go on"
    record_property("survived", (
        f"a directory that becomes read-only, the audit log {failing.log_is}: {refused} changes refused, the session with 1000 statements "
        f"{what}; once the disk was checked and mounted anew ({time.monotonic() - begun:.0f} s), all is as it was and changes work"))
