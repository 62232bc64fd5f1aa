"""The programs in perf/."""

import pathlib
import subprocess

ROOT = pathlib.Path(__file__).resolve().parents[1]
PROGRAMS = ROOT / ".build/perf"


def build():
    subprocess.run(["make", "-s", "-C", ROOT / "perf"], check=True)


class Crowd:
    """perf/crowd's sessions; `arguments` are its own. They end with the block."""

    def __init__(self, *arguments):
        self.process = subprocess.Popen(
            [PROGRAMS / "crowd", *map(str, arguments)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
            text=True)

    def __enter__(self):
        return self

    def grow(self, number):
        """Returns when there are, or with --passing have been, so many."""
        print(number, file=self.process.stdin, flush=True)
        if self.process.stdout.readline().strip() != str(number):
            raise RuntimeError(f"{number} sessions: {self.process.stderr.read()}")

    def __exit__(self, *_):
        try:
            self.process.communicate(timeout=10)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.communicate()
            raise
