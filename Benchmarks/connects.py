"""Where the instructions of a connect go: `pgbench -C` through Sallyport and through the C floor under callgrind, to PostgreSQL
with TLS and SCRAM. Instructions, not times: a busy machine does not change them.

Usage: connects.py [--bin DIR] [--connects N]
"""

import argparse
import pathlib
import re

import binaries

#: What is shown, and the calls of OpenSSL that it consists of. Lines overlap: a certificate's signature is verified by
#: EVP_DigestVerify too.
PARTS = [
    ("certificates read", r"d2i_X509"), ("of which decoders gathered for their keys", r"OSSL_DECODER_CTX_new_for_pkey"),
    ("signatures verified", r"EVP_DigestVerify"), ("of which of certificates", r"X509_verify_cert"),
    ("signatures made", r"EVP_DigestSign"), ("ephemeral keys made", r"EVP_PKEY_generate"),
    ("secrets agreed on", r"EVP_PKEY_derive(_set_peer)?")]


def measure(stage, peer, connects):
    """Instructions a connect by name."""
    import counters
    from rows import run

    def load(number):
        run(["pgbench", "-n", "-f", "-", "-C", "-c", "1", "-t", str(number)], peer, "select 1")

    with counters.profiled(stage, peer, stage.postgres) as profile:
        load(connects)
        profile()
        load(connects)
        threads = profile()
    relaying = [thread for thread in threads if thread.relays]
    result = {"all threads": sum(thread.total for thread in threads), "threads that relay": sum(thread.total for thread in relaying)}
    for title, pattern in PARTS:
        result[title] = sum(
            cost for thread in relaying for number, cost in thread.inclusive.items()
            if re.fullmatch(pattern, thread.functions[number].strip()))
    return {title: cost / connects for title, cost in result.items()}


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--bin", type=pathlib.Path, help="where teleport, tctl and tsh are; default: .build/release")
    parser.add_argument("--connects", type=int, default=50)
    arguments = parser.parse_args()
    binaries.use(arguments.bin)
    from runner import ALL
    from stage import prepared_stage

    with prepared_stage() as stage:
        peers = [ALL[key](stage, {}) for key in ("floor", "epoll1")]
        columns = [measure(stage, peer, arguments.connects) for peer in peers]
    print(f"| instructions a connect | {' | '.join(peer.title for peer in peers)} |\n| --- | ---: | ---: |")
    for title in columns[0]:
        print(f"| {title} | {' | '.join(f'{column[title]:,.0f}' for column in columns)} |")


if __name__ == "__main__":
    main()
