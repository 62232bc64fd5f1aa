"""What twice as many sessions as may be cost those that are in, and how soon the others hear that they are too many.

pgbench's throughput over its own sessions, alone and beside as many logins again as may be, in turn, so that whatever else the
machine does weighs on both. The test of it, test_overload.py, has a bound wide enough for any machine; here, less than LEAST of
the throughput fails.

Usage: overload.py [--rounds N] [--seconds S] [--bin DIR]
"""

import argparse
import contextlib
import pathlib
import statistics
import sys

import binaries

# Of the throughput alone, the median of the rounds.
LEAST = 0.9


def parse():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=int, default=10, help="of each pgbench run")
    parser.add_argument("--bin", type=pathlib.Path, help="where teleport, tctl and tsh are; default: .build/release")
    return parser.parse_args()


def measure(cluster, arguments):
    """Prints what it finds; gives the part of the throughput that is left, the median of the rounds."""
    import psycopg

    from bad_inputs.test_overload import CLIENTS, LIMIT, Crowd, rate

    with contextlib.ExitStack() as stack:
        for _ in range(LIMIT - CLIENTS):
            stack.enter_context(psycopg.connect(cluster.login.dsn, autocommit=True))
        ratios, times, lasted, peak = [], [], 0.0, 0.0
        for _ in range(arguments.rounds):
            alone = rate(cluster, CLIENTS, arguments.seconds)
            crowds = []
            crowded = rate(cluster, CLIENTS, arguments.seconds, lambda: crowds.append(Crowd(cluster, LIMIT)))
            crowds[0].stop()
            if crowds[0].odd:
                raise RuntimeError(f"refused for another reason: {crowds[0].odd[0]}")
            ratios.append(crowded / alone)
            times += crowds[0].times
            lasted += crowds[0].lasted
            peak = max(peak, alone)
            print(f"{alone:.0f} transactions a second alone, {crowded:.0f} ({crowded / alone:.0%}) beside {len(crowds[0].times)} refusals")
    percentiles = statistics.quantiles(times, n=100)
    print(
        f"{LIMIT} sessions may be and are, {LIMIT} more clients ask for one again and again, {len(times) / lasted:.0f} logins a second: "
        f"{statistics.median(ratios):.0%} of the throughput (median of {len(ratios)}; peak {peak:.0f} a second); {len(times)} refusals "
        f"with 53300, half within {percentiles[49] * 1000:.0f} ms, 99 % within {percentiles[98] * 1000:.0f} ms")
    return statistics.median(ratios)


def main():
    arguments = parse()
    binaries.use(arguments.bin)
    from bad_inputs.test_overload import Small
    from conftest import started

    with started(Small) as cluster:
        cluster.login = cluster.database(cluster.home)
        left = measure(cluster, arguments)
    if left < LEAST:
        sys.exit(f"{left:.0%} of the throughput is left: less than {LEAST:.0%}")


if __name__ == "__main__":
    main()
