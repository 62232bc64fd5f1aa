"""What is measured under load, a function a row: each puts one peer to work for some seconds and notes what came of it."""

import os
import pathlib
import re
import statistics
import subprocess
import tempfile
import time

from results import percentile

OUT_MEGABYTES, IN_MEGABYTES = 512, 256
#: psql's two streams of the fairness row never end by themselves.
ENDLESS = "copy (select repeat('x', 1023) from (select generate_series(1, 2000000000)) as lines) to stdout"
COPY_OUT = f"copy (select repeat('x', 1023) from (select generate_series(1, {OUT_MEGABYTES * 1024})) as lines) to stdout"
#: A second, while two COPY streams run beside: far below what any peer can do alone.
FAIRNESS_RATE = 400


def cpu_seconds(pids):
    """What these processes have used so far, to the nanosecond: their CPU clocks, as clock_getcpuclockid(3) names them."""
    return sum(time.clock_gettime(~pid << 3 | 2) for pid in pids)


class Load:
    def __init__(self, stage, results, seconds):
        self.stage, self.results, self.seconds = stage, results, seconds

    def note(self, row, measure, peer, value):
        self.results.note(f"{row}.{measure}", peer, value)

    # pgbench

    def pgbench(self, peer, row, *options, sampling=1.0, rate=None):
        """`sampling`: the part of latencies that is logged; writing all of many slows the generator."""
        options = [*options, *([f"--rate={rate}"] if rate else [])]
        self.results.command(row, f"echo 'select 1' | pgbench -n -f - -T {self.seconds} {' '.join(options)}")
        # pgbench's time runs while it connects, and on a busy machine that may take all of it.
        for seconds in (self.seconds, 4 * self.seconds):
            before = cpu_seconds(peer.pids)
            output, latencies = attempt(peer, seconds, options, sampling)
            spent = cpu_seconds(peer.pids) - before
            count = int(re.search(r"actually processed: (\d+)", output).group(1))
            if count > 0:
                break
        else:
            raise RuntimeError(f"{peer.title}, {row}: not one transaction in {seconds} s")
        # Without -C pgbench leaves the time that connecting took out of this.
        self.note(row, "rate", peer, float(re.search(r"tps = ([\d.]+)", output).group(1)))
        if latencies:
            self.note(row, "mean", peer, statistics.fmean(latencies))
            for name, part in (("p50", 0.5), ("p99", 0.99), ("p999", 0.999)):
                self.note(row, name, peer, percentile(latencies, part))
        if peer.pids:
            self.note(row, "cpu", peer, spent / count * 1e6)
        return latencies

    def single(self, peer):
        self.pgbench(peer, "single", "-c", "1", "-j", "1")

    def prepared(self, peer):
        self.pgbench(peer, "prepared", "-c", "16", "-j", "2", "-M", "prepared", sampling=0.1)

    def simple(self, peer):
        self.pgbench(peer, "simple", "-c", "64", "-j", "2", sampling=0.1)

    def connect(self, peer):
        self.pgbench(peer, "connect", "-C", "-c", "8", "-j", "2")

    def paced(self, peer):
        """Latency at half of PgBouncer's peak. pgbench reckons it from when a transaction was due, not from when it could
        be sent: a stall counts for all that it kept waiting (no coordinated omission)."""
        peak = self.results.median("prepared.rate", "pgbouncer")
        if peak is None:
            return
        latencies = self.pgbench(
            peer, "paced", "-c", "16", "-j", "2", "-M", "prepared", rate=round(peak / 2))
        self.results.count_latencies("paced", peer, latencies)

    # COPY

    def copy_out(self, peer):
        commands = [r"\o /dev/null", COPY_OUT]
        self.results.command("copy_out", f'psql -c "{COPY_OUT}" -o /dev/null')
        self.copy(peer, "copy_out", OUT_MEGABYTES, commands, subprocess.DEVNULL)

    def copy_in(self, peer):
        bulk = self.stage.directory / "bulk"
        if not bulk.exists():
            bulk.write_bytes((b"x" * 1023 + b"\n") * (IN_MEGABYTES * 1024))
        self.results.command("copy_in", f'psql -c "copy bulk from stdin" < {IN_MEGABYTES} MB of lines of 1 KB')
        with bulk.open() as lines:
            commands = ["create temporary table bulk (line text)", "copy bulk from stdin"]
            self.copy(peer, "copy_in", IN_MEGABYTES, commands, lines)

    def copy(self, peer, row, megabytes, commands, stdin):
        arguments = [part for command in [r"\timing on", *commands] for part in ("-c", command)]
        before = cpu_seconds(peer.pids)
        result = subprocess.run(
            ["psql", "-Xq", "-v", "ON_ERROR_STOP=1", *arguments], env={**os.environ, **peer.libpq()}, stdin=stdin,
            capture_output=True, text=True)
        if result.returncode:
            raise RuntimeError(f"{peer.title}, {row}: {result.stderr}")
        milliseconds = float(re.findall(r"Time: ([\d.]+) ms", result.stdout)[-1])
        self.note(row, "speed", peer, megabytes / 1024 / milliseconds * 1000)
        if peer.pids:
            self.note(row, "cpu", peer, (cpu_seconds(peer.pids) - before) * 1024 / megabytes)

    # Fairness

    def fairness(self, peer):
        streams = [
            subprocess.Popen(
                ["psql", "-Xq", "-c", ENDLESS], env={**os.environ, **peer.libpq()}, stdout=subprocess.DEVNULL,
                stdin=subprocess.DEVNULL, stderr=subprocess.DEVNULL) for _ in range(2)]
        try:
            time.sleep(0.5)
            before, start = sum(map(bytes_written, streams)), time.monotonic()
            self.pgbench(peer, "fairness", "-c", "8", "-j", "1", rate=FAIRNESS_RATE)
            speed = (sum(map(bytes_written, streams)) - before) / (time.monotonic() - start) / 2**30
            if any(stream.poll() is not None for stream in streams):
                raise RuntimeError(f"{peer.title}: a COPY stream ended early")
        finally:
            for stream in streams:
                stream.kill()
                stream.wait()
        self.note("fairness", "bulk", peer, speed)


def attempt(peer, seconds, options, sampling):
    """Gives what pgbench prints and its latencies in µs, sorted."""
    with tempfile.TemporaryDirectory() as log:
        output = run(
            ["pgbench", "-n", "-f", "-", "-T", str(seconds), *options, "-l", f"--log-prefix={log}/p",
             f"--sampling-rate={sampling}"], peer, "select 1")
        lines = [line for path in pathlib.Path(log).iterdir() for line in path.read_text().splitlines()]
    return output, sorted(int(line.split()[2]) for line in lines)


def bytes_written(process):
    return int(re.search(r"wchar: (\d+)", pathlib.Path(f"/proc/{process.pid}/io").read_text()).group(1))


def run(command, peer, text=""):
    result = subprocess.run(
        command, env={**os.environ, **peer.libpq()}, input=text, capture_output=True, text=True)
    if result.returncode:
        raise RuntimeError(f"{peer.title}: {' '.join(command)}: {result.stderr}")
    return result.stdout


#: In this order, a round: the paced row needs PgBouncer's peak.
ROWS = ["single", "prepared", "simple", "connect", "copy_out", "copy_in", "paced", "fairness"]
