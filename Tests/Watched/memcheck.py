"""valgrind's memcheck: how the server runs under it, and which of its reports count.

Three things are not to be had. valgrind knows no io_uring, so the reactor is epoll's. Swift's optimiser loads padding that it
does not use, so values that were never set count where C code looks at them and not where Swift does. And what the headers of
the shims hold is compiled into Swift's functions: wrong addresses in it are seen, values that were never set are not.
"""

import os
import pathlib
import re
import shlex
import xml.etree.ElementTree

ROOT = pathlib.Path(__file__).resolve().parents[2]
# C that looks at what Swift gives it, besides our own.
LIBRARIES = re.compile(r"/lib(ssl|crypto|c|pq|sqlite3|resolv)\.so")
UNSET = {"UninitCondition", "UninitValue", "SyscallParam"}
LOST = "Leak_DefinitelyLost"
# Behind something lost that is told by itself; known by a pointer into its middle, as Swift's objects often are; still in use.
HELD = {"Leak_IndirectlyLost", "Leak_PossiblyLost", "Leak_StillReachable"}
# memcheck's own versions of malloc(3), strlen(3) and the like stand before who called them.
OWN = "vgpreload_memcheck"

ENVIRONMENT = {"SALLYPORT_REACTOR": "epoll", "SALLYPORT_SLOWNESS": "5"}


def wrap(programs, folder, logs):
    """Fills `folder` with `programs`, whose server runs under memcheck and writes to `logs`."""
    for path in [*programs.iterdir(), *(ROOT / ".build/release").glob("*.resources")]:
        if path.name != "teleport":
            (folder / path.name).symlink_to(path)
    # Its threads take turns: a reactor that gives up the processor before it waits would get it at once again.
    command = [
        "valgrind", "-q", "--fair-sched=yes", "--leak-check=full", "--show-leak-kinds=definite", "--num-callers=40", "--xml=yes",
        f"--xml-file={logs}/%p.xml", programs / "teleport"]
    script = folder / "teleport"
    script.write_text(f'#!/bin/sh\nexec {shlex.join(map(str, command))} "$@"\n')
    os.chmod(script, 0o755)


def shims():
    """Names of the functions that our C files define."""
    texts = (path.read_text() for path in (ROOT / "Sources/CPlatform").glob("*.c"))
    return {name for text in texts for name in re.findall(r"^\w[\w *]*?(\w+)\([^;]*?\) \{", text, re.MULTILINE)}


def leaks_of_others():
    """Parts of names of functions that leak in Swift's own libraries: LeakSanitizer's list."""
    lines = (ROOT / "Tests/leaks-of-others.supp").read_text().splitlines()
    return [line.removeprefix("leak:") for line in lines if line.startswith("leak:")]


class Report:
    def __init__(self, error):
        self.kind = error.findtext("kind")
        self.text = error.findtext("what") or error.findtext("xwhat/text")
        self.frames = [(frame.findtext("fn") or "?", frame.findtext("obj") or "") for frame in error.find("stack")]

    def counts(self, shims, leaks_of_others):
        if self.kind in HELD:
            return False
        if self.kind == LOST:
            return not any(part in name for name, _ in self.frames for part in leaks_of_others)
        if self.kind in UNSET:
            innermost, library = next((frame for frame in self.frames if OWN not in frame[1]), self.frames[0])
            return innermost in shims or bool(LIBRARIES.search(library))
        return True

    def __str__(self):
        places = (f"{name} ({pathlib.Path(library).name})" for name, library in self.frames[:12])
        return "\n    ".join([f"{self.kind}: {self.text}", *places])


def everything(log):
    """All reports in a log. That of a killed process is not finished: its last whole report ends it."""
    text = log.read_text()
    end = "</valgrindoutput>"
    if not text.rstrip().endswith(end):
        text = text[:text.rfind("</error>") + len("</error>")] + end if "</error>" in text else "<valgrindoutput>" + end
    return map(Report, xml.etree.ElementTree.fromstring(text).iter("error"))


def reports(log):
    known = shims(), leaks_of_others()
    return [str(report) for report in everything(log) if report.counts(*known)]
