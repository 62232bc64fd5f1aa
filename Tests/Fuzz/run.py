#!/usr/bin/env python3
"""Runs every fuzz target for some time, or some number of inputs, and prints what each reached.

usage: run.py FUZZ [--seconds=N] [--runs=N] [--work=FOLDER] [TARGET...]

Inputs that reach something new are kept in FOLDER/corpus, those that break something in FOLDER/found: put such a one into
Tests/Fuzz/Corpus/TARGET once it is mended. Exit code 1 if anything broke.
"""
import argparse
import pathlib
import re
import subprocess
import sys
import time

SEEDS = pathlib.Path(__file__).resolve().parent / "Corpus"
# Inputs of one process. Foundation's XMLParser keeps some memory of each malformed document: ten million in one process would
# be stopped for that.
PIECE = 1_000_000


def pieces(options):
    """Inputs of each process; 0: until its time is over."""
    if options.seconds:
        return [options.runs or 0]
    whole, rest = divmod(options.runs, PIECE)
    return [PIECE] * whole + [rest] * (rest > 0)


def run(fuzz, target, longest, options):
    started, count, works, log = time.monotonic(), 0, True, ""
    for runs in pieces(options):
        executions, text, works = run_piece(fuzz, target, longest, options, runs)
        count += executions
        log += text
        if not works:
            break
    file = options.work / f"{target}.log"
    file.write_text(log)
    progress = re.findall(r"cov: (\d+) ft: (\d+) corp: (\d+)", log)
    edges, features, inputs = progress[-1] if progress else ("?", "?", "?")
    outcome = "ok" if works else f"BROKEN: see {file}"
    rate = count / (time.monotonic() - started)
    print(f"{target:22}{count:>12,}{rate:>10,.0f}{edges:>8}{features:>10}{inputs:>8}  {outcome}", flush=True)
    return works


def run_piece(fuzz, target, longest, options, runs):
    """One process, with so many inputs if not 0. Gives how many there were, what it said, and whether all went well."""
    corpus, found = (options.work / kind / target for kind in ("corpus", "found"))
    for folder in (corpus, found):
        folder.mkdir(parents=True, exist_ok=True)
    limits = [f"-max_total_time={options.seconds}"] if options.seconds else []
    limits += [f"-runs={runs}"] if runs else []
    process = subprocess.run(
        [fuzz, target, *limits, f"-max_len={longest}", "-timeout=10", "-rss_limit_mb=2048", "-malloc_limit_mb=256",
         "-print_final_stats=1", f"-artifact_prefix={found}/", corpus, SEEDS / target],
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, errors="replace")
    executions = re.search(r"stat::number_of_executed_units:\s*(\d+)", process.stdout)
    return int(executions.group(1)) if executions else 0, process.stdout, process.returncode == 0


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("fuzz")
    parser.add_argument("--seconds", type=int)
    parser.add_argument("--runs", type=int)
    parser.add_argument("--work", type=pathlib.Path, default=pathlib.Path(".build-fuzz"))
    parser.add_argument("targets", nargs="*")
    options = parser.parse_intermixed_args()
    if not options.seconds and not options.runs:
        options.seconds = 10
    listed = subprocess.run([options.fuzz, "--list"], check=True, capture_output=True, text=True).stdout
    known = dict(line.split() for line in listed.splitlines())
    unknown = [name for name in options.targets if name not in known]
    if unknown:
        sys.exit(f"no such target: {', '.join(unknown)}")
    print(f"{'target':22}{'executions':>12}{'a second':>10}{'edges':>8}{'features':>10}{'corpus':>8}")
    outcomes = [run(options.fuzz, name, known[name], options) for name in options.targets or known]
    sys.exit(0 if all(outcomes) else 1)


main()
