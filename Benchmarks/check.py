"""Fails if a relayed transaction has come to cost more than is on record in perf/counts.json. Counts only, no times, so a
busy machine does not matter; under two minutes.

Usage: check.py [--bin DIR] [--record | --functions N]
  --record     writes down what is counted now as what is allowed
  --functions  shows the N functions in which the relaying thread spends most, to find what was added
"""

import argparse
import json
import pathlib
import sys

import binaries

RECORD = binaries.ROOT / "perf/counts.json"
#: Our own allocations and locks on the threads that relay are always 0; a login's may fall on either side of the difference.
NOISE = 0.01


def sallyport(stage, queries):
    from peers import Sallyport

    return Sallyport(stage, f"queries-{queries}", "Sallyport", threads=1, queries=queries)


def count(stage, queries):
    """Of one reactor over epoll, by name."""
    import counters

    peer = sallyport(stage, queries)
    taken = counters.allocations(stage, peer)
    return {
        **{f"{kind}, {origin}": taken.get(f"{kind} of {origin} on relay", 0)
           for kind in ("allocations", "locks") for origin in ("program", "openssl")},
        "instructions": counters.instructions(stage, peer)["relay"]}


def show_functions(number):
    import counters
    from stage import prepared_stage

    with prepared_stage() as stage:
        costs = counters.functions(stage, sallyport(stage, "statements"))
    for (name, file), cost in list(costs.items())[:number]:
        print(f"{cost:9,.0f}  {file:20.20}  {name}")


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--bin", type=pathlib.Path, help="where teleport, tctl and tsh are; default: .build/release")
    parser.add_argument("--record", action="store_true", help="write down what is counted now as what is allowed")
    parser.add_argument("--functions", type=int, metavar="N", help="show the N functions that cost most")
    arguments = parser.parse_args()
    build = binaries.use(arguments.bin)
    if build == "debug":
        sys.exit("check.py: debug builds cannot be counted (valgrind crashes in their libdispatch): run 'make build', or --bin")
    if arguments.functions:
        show_functions(arguments.functions)
        return
    from stage import prepared_stage

    with prepared_stage() as stage:
        counted = {name: count(stage, queries) for name, queries in (("relay", "off"), ("relay and record", "statements"))}
    allowed = json.loads(RECORD.read_text())
    if arguments.record:
        allowed["transaction"] = {
            name: {what: round(value) for what, value in counts.items()} for name, counts in counted.items()}
        RECORD.write_text(json.dumps(allowed, indent=2) + "\n")
        print(f"{RECORD.relative_to(binaries.ROOT)} is written, from the {build} build")
        return
    failures = []
    for name, counts in counted.items():
        for what, value in counts.items():
            limit = allowed["transaction"][name][what]
            most = limit * (1 + allowed["tolerance"]) if what == "instructions" else limit + NOISE
            verdict = "ok" if value <= most else "TOO MANY"
            print(f"{name}: {what}: {value:,.2f} a transaction, {limit:,} on record: {verdict}")
            if value > most:
                failures.append(f"{name}, {what}")
            elif what == "instructions" and value < limit * (1 - allowed["tolerance"]):
                print("  fewer than on record: make it the record with Benchmarks/check.py --record")
    if failures:
        sys.exit(f"a relayed transaction costs more than on record: {'; '.join(failures)}. Look for what was added to the "
                 "path of a message with Benchmarks/check.py --functions 40, or accept it with --record")


if __name__ == "__main__":
    main()
