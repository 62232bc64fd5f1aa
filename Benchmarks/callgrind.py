"""Reads what callgrind writes (https://valgrind.org/docs/manual/cl-format.html), as far as is needed: each function's own
instructions, and what it and all below it cost."""

import collections
import pathlib
import re

NAME = re.compile(r"(c?)(fn|ob)=\((\d+)\)(?: (.*))?")
COST = re.compile(r"[+*-]?\d*\+?\d* (\d+)")


class Thread:
    """What one thread executed between two dumps."""

    def __init__(self, path):
        # By number: functions, and the files they are in.
        self.functions, self.objects = {}, {}
        self.cost, self.home = collections.Counter(), {}
        # What the calls of each function cost. What calls itself counts more than once.
        self.inclusive = collections.Counter()
        self.read(pathlib.Path(path).read_text(errors="replace"))

    def read(self, text):
        current = callee = object_number = None
        belongs_to_call = False
        for line in text.splitlines():
            if found := NAME.match(line):
                of_callee, kind, number, name = found.groups()
                if name:
                    (self.functions if kind == "fn" else self.objects)[number] = name
                if not of_callee and kind == "ob":
                    object_number = number
                elif not of_callee:
                    current = number
                    self.home.setdefault(number, object_number)
                elif kind == "fn":
                    callee = number
            elif line.startswith("calls="):
                # The next line has what the callee and all below it cost.
                belongs_to_call = True
            elif found := COST.match(line):
                if belongs_to_call:
                    self.inclusive[callee] += int(found.group(1))
                else:
                    self.cost[current] += int(found.group(1))
                belongs_to_call = False

    @property
    def total(self):
        return sum(self.cost.values())

    @property
    def relays(self):
        """Whether it is one that clients have logged in through meanwhile."""
        return any(name.startswith("SSL_do_handshake") for name in self.functions.values())

    def by_function(self):
        """By name and file."""
        result = collections.Counter()
        for number, cost in self.cost.items():
            result[self.functions[number], self.file(number)] += cost
        return result

    def by_part(self):
        """`OpenSSL`, `C library` and `own`, which is all else."""
        result = collections.Counter()
        for number, cost in self.cost.items():
            file = self.file(number)
            part = "OpenSSL" if re.match("lib(ssl|crypto)", file) else "C library" if file.startswith("libc.") else "own"
            result[part] += cost
        return result

    def file(self, number):
        return pathlib.Path(self.objects.get(self.home[number]) or "?").name
