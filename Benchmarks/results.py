"""What a run has measured so far: a JSON file, written after each step, from which a run that was cut short goes on."""

import json
import math
import os
import pathlib
import statistics
import time

from conftest import ROOT

FOLDER = ROOT / "Benchmarks/results"


def newest():
    """The file of the latest run, or `None`."""
    return max(FOLDER.glob("*.json"), default=None)


class Results:
    """`values[measure][peer]`: one number a round. `commands[row]`: what was run. `histograms[row][peer]`: µs to count."""

    def __init__(self, path=None):
        FOLDER.mkdir(exist_ok=True)
        self.path = pathlib.Path(path or FOLDER / f"{time.strftime('%Y%m%d-%H%M%S')}.json")
        empty = {"about": {}, "peers": {}, "commands": {}, "values": {}, "histograms": {}, "done": []}
        self.data = json.loads(self.path.read_text()) if path else empty

    def is_done(self, step):
        return step in self.data["done"]

    def finish(self, step):
        self.data["done"].append(step)
        part = self.path.with_suffix(".part")
        part.write_text(json.dumps(self.data, indent=1))
        os.replace(part, self.path)

    # Noting

    def note(self, measure, peer, value):
        self.data["values"].setdefault(measure, {}).setdefault(peer.key, []).append(value)
        self.data["peers"][peer.key] = peer.title

    def command(self, row, command):
        """The first peer's is kept: the others' differ in port and user only."""
        self.data["commands"].setdefault(row, command)

    def count_latencies(self, row, peer, latencies):
        """Into buckets of less than 1 % width, as HdrHistogram has them."""
        histogram = self.data["histograms"].setdefault(row, {}).setdefault(peer.key, {})
        for latency in latencies:
            shift = max(0, latency.bit_length() - 8)
            bucket = str(latency >> shift << shift)
            histogram[bucket] = histogram.get(bucket, 0) + 1

    # Reading

    def values(self, measure, peer):
        return self.data["values"].get(measure, {}).get(peer, [])

    def median(self, measure, peer):
        """`None` if it has not been measured."""
        values = self.values(measure, peer)
        return statistics.median(values) if values else None

    def spread(self, measure, peer):
        """Half the range in parts of the median: what a round differs by."""
        values, median = self.values(measure, peer), self.median(measure, peer)
        return (max(values) - min(values)) / 2 / median if len(values) > 1 and median else None

    def peers(self, measure):
        return list(self.data["values"].get(measure, {}))


def percentile(ordered, part):
    """Of a sorted, non-empty list: the least value that `part` of all do not exceed."""
    return ordered[max(0, math.ceil(len(ordered) * part) - 1)]
