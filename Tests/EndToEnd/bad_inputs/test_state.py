"""What lies under the server: its state, its directory, its clock, its processor."""

import json
import os
import random
import re
import shutil
import signal
import subprocess
import time

import psycopg
import pytest

from conftest import BIN, Cluster, free_port, open_directory

CLOCK = r"""
#define _GNU_SOURCE
#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/time.h>
#include <time.h>
// The wall clock runs as many seconds ahead as the file CLOCK_FILE says.
static long ahead(void) {
  static __thread int inside;
  long seconds = 0;
  if (inside) return 0;
  inside = 1;
  FILE *file = fopen(getenv("CLOCK_FILE"), "r");
  if (file) { if (fscanf(file, "%ld", &seconds) != 1) seconds = 0; fclose(file); }
  inside = 0;
  return seconds;
}
int clock_gettime(clockid_t clock, struct timespec *now) {
  static int (*real)(clockid_t, struct timespec *);
  if (!real) real = dlsym(RTLD_NEXT, "clock_gettime");
  int result = real(clock, now);
  if (result == 0 && (clock == CLOCK_REALTIME || clock == CLOCK_REALTIME_COARSE)) now->tv_sec += ahead();
  return result;
}
int gettimeofday(struct timeval *now, void *zone) {
  struct timespec time;
  int result = clock_gettime(CLOCK_REALTIME, &time);
  now->tv_sec = time.tv_sec;
  now->tv_usec = time.tv_nsec / 1000;
  return result;
}
time_t time(time_t *out) {
  struct timespec now;
  clock_gettime(CLOCK_REALTIME, &now);
  if (out) *out = now.tv_sec;
  return now.tv_sec;
}
"""


@pytest.fixture(scope="module")
def own(cluster, tmp_path_factory):
    """A cluster of these tests alone, beside the database and the AWS of all."""
    own = Cluster(open_directory(tmp_path_factory, "own"))
    own.start_beside(cluster)
    yield own
    if own.teleport.poll() is None:
        own.stop_teleport()


def one(database):
    with psycopg.connect(database.dsn) as session:
        return session.execute("select 1").fetchone()[0]


# The clock

@pytest.mark.skipif(shutil.which("cc") is None and shutil.which("clang") is None, reason="no C compiler")
def test_63_clocks_that_are_wrong(own, tmp_path):
    (tmp_path / "clock.c").write_text(CLOCK)
    library, clock = tmp_path / "clock.so", tmp_path / "clock"
    subprocess.run([shutil.which("cc") or shutil.which("clang"), "-shared", "-fPIC", "-o", library, tmp_path / "clock.c"], check=True)
    clock.write_text("0")
    own.stop_teleport()
    own.start_teleport(prefix=["env", f"LD_PRELOAD={library}", f"CLOCK_FILE={clock}"])
    try:
        database, second = own.database(own.home), own.database(own.home, name="second")
        lock = re.search(r'name "([-0-9a-f]+)"', own.run("tctl", "lock", "--db=second", "--ttl=2h")).group(1)
        hour, decade = 3600, 10 * 365 * 86400
        with psycopg.connect(database.dsn, autocommit=True) as session:
            # The server has renewed its own certificate, which clients do not take either.
            far = "alert certificate expired|alert bad certificate|certificate verify failed"
            # Seconds ahead, what is wrong with the certificate then, whether the lock is in force (`None`: not asked).
            for ahead, wrong, is_locked in [
                    (0, None, True), (hour, None, True), (-hour, "alert bad certificate", None), (-decade, far, None), (0, None, True),
                    (3 * hour, None, False), (hour, None, True), (decade, far, None), (0, None, None)]:
                clock.write_text(str(ahead))
                time.sleep(0.5)
                # Waits and limits go by the monotonic clock: the session does not notice.
                assert session.execute("select 42").fetchone() == (42,), ahead
                session.execute("select pg_sleep(0.3)")
                # Certificates go by the wall clock: they are not good yet, or no more.
                if wrong:
                    with pytest.raises(psycopg.OperationalError, match=wrong):
                        psycopg.connect(database.dsn)
                    continue
                assert one(database) == 1, ahead
                # So do locks that end.
                if is_locked:
                    with pytest.raises(psycopg.OperationalError, match=lock):
                        psycopg.connect(second.dsn)
                elif is_locked is not None:
                    # A change, at which locks are read anew: one that is over now may be in force again.
                    own.make_role("later")
                    assert one(second) == 1, ahead
        own.run("tctl", "rm", f"lock/{lock}")
        audit = own.data / "log/events.log"
        numbers = [json.loads(line)["seq" if "seq" in line else "ei"] for line in audit.read_text().splitlines()]
        assert numbers == sorted(numbers)
    finally:
        own.stop_teleport()
        own.start_teleport()


# The processor

def test_64_a_server_that_was_stopped_goes_on(own):
    database = own.database(own.home)
    with psycopg.connect(database.dsn, autocommit=True) as session:
        os.kill(own.teleport.pid, signal.SIGSTOP)
        waiting = [subprocess.Popen(["psql", "-Xqtc", "select 7"], env={**os.environ, **database.environment}, stdout=subprocess.PIPE)
                   for _ in range(20)]
        time.sleep(5)
        os.kill(own.teleport.pid, signal.SIGCONT)
        assert session.execute("select 42").fetchone() == (42,)
        assert all(process.communicate(timeout=30)[0].strip() == b"7" for process in waiting)


# The disk

def starts(config, environment, seconds=4):
    """The exit code and text of a start; `None` if it serves."""
    process = subprocess.Popen([BIN / "teleport", "start", "-c", config], env=environment, stderr=subprocess.PIPE, text=True)
    try:
        _, text = process.communicate(timeout=seconds)
        return process.returncode, text
    except subprocess.TimeoutExpired:
        process.terminate()
        process.communicate(timeout=20)
        return None, ""


@pytest.fixture
def stopped(own, tmp_path):
    """A copy of the state of a cluster, and how to start on it."""
    own.stop_teleport()
    copy = tmp_path / "data"
    shutil.copytree(own.data, copy, ignore=shutil.ignore_patterns("run"))
    own.start_teleport()
    config = tmp_path / "teleport.yaml"
    config.write_text(f"""teleport: {{data_dir: {copy}}}
auth_service: {{enabled: "yes", cluster_name: test}}
proxy_service: {{enabled: "yes", web_listen_addr: "127.0.0.1:{free_port()}"}}
""")
    return copy, config, own.environment


@pytest.mark.timeout(300)
def test_65_a_damaged_state_is_never_replaced(stopped):
    data, config, environment = stopped
    good, authorities = (data / "state.sqlite").read_bytes(), (data / "admin/ca.pem").read_text()
    authority = b"-----BEGIN CERTIFICATE-----"
    assert authority in good
    seed = random.randrange(1 << 32)
    print("seed", seed)
    generator = random.Random(seed)
    sizes = [0, 1, 99, 100, 4096, len(good) // 2, len(good) - 1, *(generator.randrange(len(good)) for _ in range(5))]
    refused = 0
    damaged = [(f"cut at {size}", good[:size]) for size in sizes]
    damaged += [(f"header {place}", good[:place] + b"\xff" + good[place + 1:]) for place in (0, 16, 18, 100)]
    damaged += [("zeros", bytes(len(good))), ("text", b"hello " * 1000)]
    for what, content in damaged:
        for name in ("state.sqlite-wal", "state.sqlite-shm"):
            (data / name).unlink(missing_ok=True)
        (data / "state.sqlite").write_bytes(content)
        code, text = starts(config, environment)
        if code is None:
            # What was hit held nothing, such as the end of the last page: all is as it was.
            assert (data / "admin/ca.pem").read_text() == authorities, what
            continue
        assert code == 1, (what, code)
        assert "state" in text and len(text.splitlines()) <= 2, (what, text)
        # What is there stays as it is, for whoever mends it.
        assert (data / "state.sqlite").read_bytes()[:len(content)] == content, what
        refused += 1
    assert refused >= len(damaged) - 4, "most of it cannot be overlooked"
    (data / "state.sqlite").write_bytes(good)
    assert starts(config, environment)[0] is None


def test_60_a_directory_that_cannot_be_written_is_told(stopped, tmp_path):
    data, config, environment = stopped
    # A bind mount that is read-only stops even root.
    result = subprocess.run(
        ["unshare", "-m", "sh", "-c", f"mount --bind {data} {data} && mount -o remount,bind,ro {data} && exec {BIN}/teleport start -c {config}"],
        env=environment, capture_output=True, text=True, timeout=20)
    assert result.returncode == 1 and str(data) in result.stderr and len(result.stderr.splitlines()) == 1, result.stderr
    assert starts(config, environment)[0] is None
