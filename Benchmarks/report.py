"""Tables and plots of a run: writes the measured part of docs/performance.md and docs/plots/*.svg.

Usage: report.py [RESULTS.json], default the newest; --print writes the tables to standard output only.
"""

import argparse
import pathlib
import sys
import tempfile

ROOT = pathlib.Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "Tests/EndToEnd"))
import plots  # noqa: E402
from results import Results, newest  # noqa: E402
from runner import FURTHER, MAIN, REUSING, VARIANTS  # noqa: E402
from targets import JUDGED, TARGETS  # noqa: E402

DOCUMENT = ROOT / "docs/performance.md"
PLOTS = ROOT / "docs/plots"
BEGIN, END = "<!-- measured: begin -->", "<!-- measured: end -->"

#: Title of a section, its rows: measure, title, digits after the point.
SECTIONS = [
    ("Transactions", [
        ("single.rate", "1 client, simple: transactions/s", 0), ("single.mean", "1 client: mean latency, µs", 0),
        ("single.p99", "1 client: p99, µs", 0), ("single.cpu", "1 client: CPU µs/transaction", 1),
        ("prepared.rate", "16 clients, prepared: transactions/s", 0), ("prepared.mean", "16 clients: mean latency, µs", 0),
        ("prepared.p99", "16 clients: p99, µs", 0), ("prepared.cpu", "16 clients: CPU µs/transaction", 1),
        ("simple.rate", "64 clients, simple: transactions/s", 0), ("simple.mean", "64 clients: mean latency, µs", 0),
        ("simple.p99", "64 clients: p99, µs", 0), ("simple.cpu", "64 clients: CPU µs/transaction", 1)]),
    ("Connecting", [
        ("connect.rate", "8 clients, `-C`: connects/s", 0), ("connect.mean", "mean latency, µs", 0),
        ("connect.p99", "p99, µs", 0), ("connect.cpu", "CPU µs/connect", 0)]),
    ("COPY", [
        ("copy_out.speed", "out, GB/s", 3), ("copy_out.cpu", "out, CPU s/GB", 2), ("copy_in.speed", "in, GB/s", 3),
        ("copy_in.cpu", "in, CPU s/GB", 2)]),
    ("Latency at half of PgBouncer's peak", [
        ("paced.p50", "p50, µs", 0), ("paced.p99", "p99, µs", 0), ("paced.p999", "p99.9, µs", 0),
        ("paced.cpu", "CPU µs/transaction", 1)]),
    ("Fairness: small queries beside two COPY streams", [
        ("fairness.p50", "p50, µs", 0), ("fairness.p99", "p99, µs", 0),
        ("fairness.bulk", "the two streams together, GB/s", 3)]),
]
SESSIONS = [
    ("idle_1000.memory", "KB of an idle session, of 1,000", 1), ("idle_10000.sessions", "the most sessions tried", 0),
    ("idle_10000.memory", "KB of an idle session, of that many", 1),
    ("beside_50.cpu", "CPU µs/transaction beside 50 sessions", 1),
    ("beside_5000.cpu", "CPU µs/transaction beside 5,000 sessions", 1)]
COUNTS = [
    ("instructions.relay", "instructions of the thread that relays", 0),
    ("instructions.relay, OpenSSL", "of these in OpenSSL", 0), ("instructions.relay, C library", "in the C library", 0),
    ("instructions.relay, own", "in the program itself", 0),
    ("allocations.allocations of program on relay", "allocations, the program's own", 2),
    ("allocations.allocations of openssl on relay", "allocations, OpenSSL's", 2),
    ("allocations.allocations of program on beside", "allocations on other threads", 2),
    ("allocations.locks of program on relay", "pthread locks, the program's own", 2),
    ("allocations.locks of openssl on relay", "pthread locks, OpenSSL's", 2)]
SCALING = [
    ("prepared.rate", "16 clients, prepared: transactions/s", 0), ("prepared.cpu", "16 clients: CPU µs/transaction", 1),
    ("simple.rate", "64 clients, simple: transactions/s", 0), ("simple.cpu", "64 clients: CPU µs/transaction", 1)]
#: Title, key with one thread or process, key with two.
PAIRS = [
    ("C floor", "floor", "floor2"), ("C floor, lean", "lean", None), ("PgBouncer", "pgbouncer", "pgbouncer2"),
    ("HAProxy, TCP only", "haproxy1", "haproxy"), ("Sallyport, epoll", "epoll1", "epoll"),
    ("Sallyport, io_uring", "uring1", "uring"), ("Sallyport, epoll, no statements recorded", None, "unrecorded")]


class Report:
    def __init__(self, results, folder):
        """`folder`: where plots go."""
        self.results, self.folder = results, folder
        self.titles = results.data["peers"]

    def cell(self, measure, peer, digits):
        value, spread = self.results.median(measure, peer), self.results.spread(measure, peer)
        if value is None:
            return "–"
        return f"{value:,.{digits}f}" + (f" ±{spread * 100:.0f} %" if spread is not None else "")

    def table(self, rows, peers):
        """`rows`: measure, title, digits. Peers that have none of it are left out."""
        peers = [peer for peer in peers if any(self.results.values(measure, peer) for measure, _, _ in rows)]
        if not peers:
            return []
        lines = [f"| | {' | '.join(self.titles[peer] for peer in peers)} |", f"| --- |{' ---: |' * len(peers)}"]
        for measure, title, digits in rows:
            if self.results.peers(measure):
                lines.append(f"| {title} | {' | '.join(self.cell(measure, peer, digits) for peer in peers)} |")
        return [*lines, ""]

    def commands(self, *rows):
        found = [self.results.data["commands"][row] for row in rows if row in self.results.data["commands"]]
        return [f"Made by: {'; '.join(f'`{command}`' for command in dict.fromkeys(found))}.", ""] if found else []

    def section(self, title, rows, peers):
        table = self.table(rows, peers)
        if not table:
            return []
        names = dict.fromkeys(measure.split(".")[0] for measure, _, _ in rows)
        return [f"### {title}", "", *table, *self.commands(*names)]

    # Parts of the document

    def heading(self):
        about = self.results.data["about"]
        tls = {text for ends in about.get("tls", {}).values() for text in ends.values()} - {"none"}
        return [
            f"`{about['command']}`, {about['started']}, commit {about['commit']} ({about['build']} build), on {about['machine']}. "
            f"{'; '.join(about['programs'])}. TLS on both sides: {', '.join(sorted(tls)) or 'not looked at'}. "
            f"Medians of {about['rounds']} interleaved rounds; ± is half the range between them.", ""]

    def targets(self):
        lines = [
            "### Targets", "", f"| row | target | {' | '.join(self.titles.get(peer, peer) for peer in JUDGED)} |",
            f"| --- | --- |{' --- |' * len(JUDGED)}"]
        for target in TARGETS:
            cells = []
            for peer in JUDGED:
                value = target.figure(self.results, peer)
                verdict = "" if value is None else "met" if target.is_met(value) else "**not met**"
                cells.append("not measured" if value is None else " ".join(filter(None, (f"{value:.3g}", target.unit, verdict))))
            lines.append(f"| {target.row} | {target.goal} | {' | '.join(cells)} |")
        openssl = self.results.median("idle_10000.memory", "lean")
        if openssl is not None:
            lines += ["", f"OpenSSL alone takes {openssl:.1f} KB an idle session with TLS on both sides (lean floor)."]
        return [*lines, ""]

    def system_calls(self):
        lines = []
        for clients in (1, 16):
            prefix = f"syscalls_{clients}."
            rows = [
                (measure, measure.removeprefix(prefix), 2) for measure, values in self.results.data["values"].items()
                if measure.startswith(prefix) and any(max(numbers) >= 0.01 for numbers in values.values())]
            if rows:
                name = "one client" if clients == 1 else f"{clients} clients"
                lines += [f"System calls a transaction, {name}:", "", *self.table(rows, self.titles)]
        return lines + self.commands("syscalls_1", "syscalls_16")

    def scaling(self):
        lines = []
        for measure, title, digits in SCALING:
            for name, one, two in PAIRS:
                cells = [self.cell(measure, peer, digits) for peer in (one, two)]
                if any(cell != "–" for cell in cells):
                    lines.append(f"| {title} | {name} | {' | '.join(cells)} |")
        return ["### One thread and two", "", "| | | one | two |", "| --- | --- | ---: | ---: |", *lines, ""] if lines else []

    def document(self):
        lines = self.heading() + self.targets()
        for title, rows in SECTIONS:
            lines += self.section(title, rows, [*MAIN, *REUSING, *FURTHER])
        lines += self.section("Open sessions", SESSIONS, self.titles)
        lines += self.scaling()
        lines += self.section("Counts of one transaction", COUNTS, self.titles) + self.system_calls()
        return "\n".join(lines + self.plots())

    # Plots

    def plots(self):
        """Writes them; gives the lines that show them."""
        self.folder.mkdir(exist_ok=True)
        charts = [
            ("throughput", "Transactions a second", "more is better", [("16 clients, prepared", "prepared.rate"), ("64 clients, simple", "simple.rate")]),
            ("cpu", "CPU of the proxy", "µs a transaction, less is better", [("1 client", "single.cpu"), ("16, prepared", "prepared.cpu"), ("64, simple", "simple.cpu")]),
            ("copy", "COPY", "GB/s, more is better", [("out", "copy_out.speed"), ("in", "copy_in.speed")]),
            ("copy-cpu", "COPY: CPU of the proxy", "s a GB, less is better", [("out", "copy_out.cpu"), ("in", "copy_in.cpu")]),
            ("memory", "Memory of an idle session", "KB, less is better", [("of 1,000", "idle_1000.memory"), ("of 10,000, or as many as descriptors allow", "idle_10000.memory")]),
        ]
        shown = []
        for name, title, unit, groups in charts:
            values = [(label, {peer: self.results.median(measure, peer) for peer in self.titles}) for label, measure in groups]
            peers = {
                peer: self.titles[peer] for peer in [*MAIN, *VARIANTS] if (peer in MAIN or name == "memory") and
                any(group.get(peer) is not None for _, group in values)}
            if peers:
                shown += self.write(name, title, plots.bars(title, unit, values, peers))
        histograms = self.results.data["histograms"].get("paced", {})
        if histograms:
            title = "Latency at half of PgBouncer's peak"
            peers = {peer: self.titles[peer] for peer in histograms}
            shown += self.write("latency", title, plots.percentiles(
                title, "µs, from when a transaction was due; all rounds together", histograms, peers))
        return ["### Plots", "", *shown] if shown else []

    def write(self, name, title, drawing):
        (self.folder / f"{name}.svg").write_text(drawing)
        return [f"![{title}](plots/{name}.svg)", ""]


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("results", nargs="?", type=pathlib.Path, default=newest())
    parser.add_argument("--print", action="store_true", help="leave docs/performance.md as it is")
    arguments = parser.parse_args()
    if arguments.results is None:
        sys.exit("report.py: nothing has been measured yet: run Benchmarks/bench.py first")
    results = Results(arguments.results)
    if arguments.print:
        with tempfile.TemporaryDirectory() as folder:
            print(Report(results, pathlib.Path(folder)).document())
        return
    text = Report(results, PLOTS).document()
    before, rest = DOCUMENT.read_text().split(BEGIN)
    DOCUMENT.write_text(f"{before}{BEGIN}\n{text}{END}{rest.split(END)[1]}")


if __name__ == "__main__":
    main()
