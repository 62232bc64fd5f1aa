"""Sallyport beside PostgreSQL direct, PgBouncer, HAProxy, stunnel and a floor in C, in one run of interleaved rounds.

Writes Benchmarks/results/TIME.json; Benchmarks/report.py makes tables and plots of it.
Usage: bench.py [--rounds N] [--seconds S] [--sessions N] [--peers A,B] [--parts P,Q] [--also tunnel,local] [--bin DIR] [--resume]
"""

import argparse
import pathlib
import resource
import signal
import sys

import binaries


def words(text):
    return [word for word in text.split(",") if word]


def parse():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=int, default=2, help="of each pgbench run")
    parser.add_argument("--sessions", type=int, default=10_000, help="idle sessions at most")
    parser.add_argument("--peers", type=words, default=[], help="only these, by their keys in runner.py")
    parser.add_argument("--parts", type=words, default=["sessions", "counts", "rounds"], help="only these")
    parser.add_argument("--also", type=words, default=[], help="tunnel, local")
    parser.add_argument("--bin", type=pathlib.Path, help="where teleport, tctl and tsh are; default: .build/release")
    parser.add_argument("--resume", action="store_true", help="go on with the newest run")
    return parser.parse_args()


def main():
    arguments = parse()
    arguments.build = binaries.use(arguments.bin)
    from results import Results, newest
    from runner import Runner
    from stage import prepared_stage

    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    # What was started is stopped however the run ends.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("bench.py: terminated; --resume goes on"))
    path = newest() if arguments.resume else None
    if arguments.resume and path is None:
        sys.exit("bench.py: there is no run to go on with: leave out --resume")
    results = Results(path)
    with prepared_stage() as stage:
        Runner(stage, results, arguments).run()
    print(results.path)


if __name__ == "__main__":
    main()
