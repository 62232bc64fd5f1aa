#!/usr/bin/env python3
"""Runs end-to-end tests with the server under a tool that watches its memory or its threads.

usage: watched.py address|thread|memcheck [TEST ...]

AddressSanitizer (with LeakSanitizer) and ThreadSanitizer are built into the programs, which `make sanitize` sees to;
memcheck watches those that `make build` made. Exit code 1 if a test fails or the tool reports something.
"""

import argparse
import collections
import os
import pathlib
import subprocess
import sys
import tempfile

import memcheck

ROOT = memcheck.ROOT
sys.path.insert(0, str(ROOT / "Benchmarks"))
import binaries  # noqa: E402

# What drives the data path and everything written in C.
TESTS = ["test_clients.py", "test_refusals.py", "test_resumption.py"]
POOLS = ["test_pool_sessions.py", "test_pool_transactions.py"]
# The slower the tool, the fewer have time limits that it meets. None does with a crowd that leaves hosts no time to renew
# certificates good for 20 s.
BY_TOOL = {"memcheck": TESTS, "thread": TESTS + POOLS, "address": [*TESTS, *POOLS, "test_cluster.py", "test_faults.py"]}


def sanitized(build, mark, options):
    """Where the programs are, and what their runtime is told: it writes its reports to files, one a process."""
    programs = ROOT / build / "debug"
    if mark not in (programs / "teleport").read_bytes():
        sys.exit(f"{programs}/teleport was not built with the tool: 'make sanitize' does that")
    return programs, options | {"SALLYPORT_SLOWNESS": "3"}


def prepared(tool, folder, logs):
    """The folder of programs to run, and their environment."""
    suppressions = ROOT / "Tests"
    if tool == "address":
        return sanitized(".build-asan", b"__asan_init", {
            "ASAN_OPTIONS": f"log_path={logs}/report", "LSAN_OPTIONS": f"suppressions={suppressions}/leaks-of-others.supp:print_suppressions=0"})
    if tool == "thread":
        return sanitized(".build-tsan", b"__tsan_init", {
            "TSAN_OPTIONS": f"log_path={logs}/report:suppressions={suppressions}/races-of-others.supp"})
    binaries.use()
    memcheck.wrap(pathlib.Path(os.environ["SALLYPORT_BIN"]), folder, logs)
    return folder, memcheck.ENVIRONMENT


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("tool", choices=BY_TOOL)
    parser.add_argument("tests", nargs="*")
    options = parser.parse_args()
    tests = options.tests or BY_TOOL[options.tool]
    with tempfile.TemporaryDirectory() as work:
        folder, logs = pathlib.Path(work) / "bin", pathlib.Path(work) / "logs"
        folder.mkdir()
        logs.mkdir()
        programs, environment = prepared(options.tool, folder, logs)
        failed = subprocess.run(
            [sys.executable, "-m", "pytest", "-q", "--tb=short", "-p", "no:cacheprovider", "-o", "timeout=1200", "-k", "not thousand",
             *(ROOT / "Tests/EndToEnd" / test for test in tests)],
            env=os.environ | environment | {"SALLYPORT_BIN": str(programs)}).returncode != 0
        files = list(logs.iterdir())
        of_file = memcheck.reports if options.tool == "memcheck" else lambda file: [file.read_text()]
        found = collections.Counter(report for file in files for report in of_file(file))
    for text, number in found.items():
        print(f"{number} times {text}")
    print(f"{options.tool}: {sum(found.values())} reports")
    # memcheck writes a file for each process; none means that it did not run.
    return 1 if failed or found or (options.tool == "memcheck" and not files) else 0


if __name__ == "__main__":
    sys.exit(main())
