#!/usr/bin/env python3
"""Spoils Sources/AccessControl in one place after the other and sees whether its tests notice.

usage: mutate.py [--work=FOLDER] [--jobs=N] [--only=FILE[:LINE]] [--list]

The module is a library of its own here, which the tests load: of a mutant one file is compiled anew and the library
linked, in a second or two. A mutant that does not compile is none. Exit code 1 if fewer than 90 % are killed.
Survivors that mean the same as the original stand in equivalents.txt, each with the reason.
"""
import argparse
import concurrent.futures
import os
import pathlib
import queue
import random
import re
import resource
import shutil
import subprocess
import sys

ROOT = pathlib.Path(__file__).resolve().parents[2]
SOURCES = ROOT / "Sources/AccessControl"
EQUIVALENTS = pathlib.Path(__file__).with_name("equivalents.txt")
GOAL = 0.9
# Seconds of the processor after which a mutant counts as noticed: it runs in circles.
PATIENCE = 10

# (name, what is looked for, what takes its place). One mutant for each place where it fits.
REPLACEMENTS = [
    ("equal", r"(?<= )==(?= )", "!="), ("unequal", r"(?<= )!=(?= )", "=="),
    ("less", r"(?<= )<(?= )", "<="), ("at most", r"(?<= )<=(?= )", "<"),
    ("more", r"(?<= )>(?= )", ">="), ("at least", r"(?<= )>=(?= )", ">"),
    ("turn", r"(?<= )<=?(?= )", ">"), ("turn", r"(?<= )>=?(?= )", "<"),
    ("and", r"&&", "||"), ("or", r"\|\|", "&&"), ("not", r"(?<![\w)!])!(?=[\w(.])", ""),
    ("true", r"\btrue\b", "false"), ("false", r"\bfalse\b", "true"),
    ("deny", r"(?<=[.])deny\b(?![:(])", "allow"), ("allow", r"(?<=[.])allow\b(?![:(])", "deny"),
    ("any", r"\.contains(?= ?[({] ?\$|(?: ?\{| where:|\(where:))", ".allSatisfy"),
    ("all", r"\.allSatisfy(?=[ ({])", ".contains"),
    ("least", r"\.min\(\)", ".max()"), ("least", r"(?<![\w.])min\(", "max("), ("greatest", r"(?<![\w.])max\(", "min("),
    ("first", r"\.first\b(?! ?[({])", ".last"), ("prefix", r"\.hasPrefix\(", ".hasSuffix("),
    ("suffix", r"\.hasSuffix\(", ".hasPrefix("), ("plus", r"(?<= )\+(?= 1\b)", "-"), ("minus", r"(?<= )-(?= 1\b)", "+"),
    ("more by one", r"(?<![\w.$])(\d[\d_]*)(?![\w.\d])", lambda m: str(int(m[1].replace("_", "")) + 1)),
    ("less by one", r"(?<![\w.$])([1-9][\d_]*)(?![\w.\d])", lambda m: str(int(m[1].replace("_", "")) - 1)),
    ("closed", r"\.\.<", "..."), ("filter", r"\.filter \{ (?!\$0 in)", ".filter { !("),
    ("dropped", r"\.dropFirst\(\)", ""), ("dropped", r"\.dropLast\(\)", ""),
    ("product", r"(?<= )\*(?= )", "+"), ("sum", r" \+ spellings\.alsoDenied", ""),
]


def code_of(line):
    """The line with texts and comments blanked out, so that only code is spoiled."""
    line = re.sub(r'"(?:\\.|[^"\\])*"', lambda m: '"' + " " * (len(m[0]) - 2) + '"', line)
    return re.sub(r"//.*", lambda m: " " * len(m[0]), line)


def mutants(text):
    """(line number, name, the whole mutated text) of one file."""
    lines = text.split("\n")

    def put(number, name, line):
        return number + 1, name, "\n".join(lines[:number] + [line] + lines[number + 1:])

    for number, line in enumerate(lines):
        code = code_of(line)
        stripped = code.strip()
        if not stripped or stripped.startswith(("import", "case .", "extension", "public init(", "@")):
            # Cases of a switch are spoiled by what they lead to; `case .x: f(1)` is.
            if not (stripped.startswith("case .") and ":" in stripped):
                continue
        if re.match(r"[\w: \[\],.?]+: [\w.?\[\]: ]+ = (false|true|nil)\b", stripped) and not stripped.startswith(("let", "var")):
            # Default arguments are compiled into their callers, which are not built again.
            continue
        for name, pattern, replacement in REPLACEMENTS:
            for match in re.finditer(pattern, code):
                new = replacement(match) if callable(replacement) else replacement
                tail = line[match.end():]
                if name == "filter":
                    tail = tail.replace(" }", ") }", 1)
                yield put(number, f"{name}: {match[0].strip()} -> {new.strip() or 'nothing'}",
                          line[:match.start()] + new + tail)
        # A guard that never bars the way, one that always does, a branch that is turned.
        guard = re.match(r"(\s*)guard (?!let|case|var)(.+?) else \{(.*)", line)
        if guard and not re.search(r"\b(let|case)\b", guard[2]):
            yield put(number, "guard dropped", f"{guard[1]}guard true || ({guard[2]}) else {{{guard[3]}")
            yield put(number, "guard turned", f"{guard[1]}guard !({guard[2]}) else {{{guard[3]}")
        branch = re.match(r"(.*\bif )(?!let|case|var|#)([^{]+?) \{(.*)", line)
        if branch and not re.search(r"\b(let|case|in)\b", branch[2]) and "contains {" not in branch[2]:
            yield put(number, "branch turned", f"{branch[1]}!({branch[2]}) {{{branch[3]}")
            yield put(number, "branch never", f"{branch[1]}false && ({branch[2]}) {{{branch[3]}")
        # A step left out.
        if re.match(r"(_ = )?try [\w.]+\(.*\)$", stripped) or re.match(r"[\w.\[\]]+ (\+|-|\|)?= [^{]*[^{(,]$", stripped):
            if not stripped.startswith(("let", "var")) and " in " not in stripped:
                yield put(number, "step left out", re.match(r"\s*", line)[0] + "do {}")
        if re.match(r"[\w.]+\.(append|insert|removeFirst|removeLast|removeAll)\(.*\)$", stripped):
            yield put(number, "step left out", re.match(r"\s*", line)[0] + "do {}")
        # A function that answers without looking.
        function = re.match(r"(\s*)(?:[\w]+ )*func .*\{$", line)
        signature = code
        if not function and stripped.endswith("{") and "->" in code or stripped.startswith(") throws"):
            function = re.match(r"(\s*)\)? ?.*\{$", line)
        if function and "func " in signature + "".join(lines[max(0, number - 2):number]):
            for kind, answers in (("Bool", ["true", "false"]), ("?", ["nil"]), ("[String]", ["[]"])):
                if re.search(r"-> [\w.\[\]]*" + re.escape(kind) + r" (where .*)?\{$", code):
                    for answer in answers:
                        yield put(number, f"answers {answer}", line + f" if Bool(true) {{ return {answer} }};")
            if "->" not in code and re.search(r"\bthrows\b.*\{$", code):
                yield put(number, "looks at nothing", line + " if Bool(true) { return };")


class Bench:
    """The module, its tests and the tools that build them. Only the tests are optimised: compiling is most of the work."""

    def __init__(self, work):
        self.work = work
        self.flags = ["-enable-testing", "-swift-version", "6", "-module-name", "AccessControl",
                      "-package-name", "sallyport", "-parse-as-library"]
        self.sources = sorted(SOURCES.glob("*.swift"))

    def call(self, *command, patience=resource.RLIM_INFINITY):
        return subprocess.run(
            [str(word) for word in command], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, errors="replace",
            env=self.environment(),
            preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_CPU, (patience, resource.RLIM_INFINITY)))

    def environment(self):
        # Enough role sets to notice; the full number is for the whole suite.
        return dict(os.environ, LD_LIBRARY_PATH=str(self.work), SALLYPORT_ROLE_SETS="1000",
                    SALLYPORT_EXPRESSIONS="1000")

    def must(self, *command):
        result = self.call(*command)
        if result.returncode != 0:
            sys.exit(result.stdout[-4000:])

    def prepare(self):
        shutil.rmtree(self.work, ignore_errors=True)
        self.work.mkdir(parents=True)
        for source in self.sources:
            if not self.compile(source, self.sources):
                sys.exit(f"{source} does not compile")
        self.must("swiftc", "-emit-module", "-Onone", *self.flags, *self.sources, "-emit-module-path",
                  self.work / "AccessControl.swiftmodule")
        self.link()
        self.must("swiftc", "-emit-library", "-emit-module", "-parse-as-library", "-module-name", "TestSupport",
                  "-emit-module-path", self.work / "TestSupport.swiftmodule", "-o", self.work / "libTestSupport.so",
                  *(ROOT / "Tests/TestSupport").glob("*.swift"))
        entry = self.work / "Entry.swift"
        entry.write_text("import Testing\n@main enum Entry { static func main() async { await __swiftPMEntryPoint() as Never } }\n")
        self.must("swiftc", "-O", "-swift-version", "6", "-parse-as-library", "-module-name", "Tests", "-I", self.work,
                  "-L", self.work, "-lAccessControl", "-lTestSupport", "-o", self.work / "tests", entry,
                  *sorted((ROOT / "Tests/AccessControlTests").glob("*.swift")))

    def copy(self, number):
        """Another bench of the same, to work beside this one."""
        other = Bench(self.work / f"job{number}")
        shutil.copytree(self.work, other.work, ignore=shutil.ignore_patterns("job*"))
        return other

    def object(self, source):
        return self.work / (pathlib.Path(source).stem + ".o")

    def compile(self, source, sources):
        others = [word for path in sources for word in (["-primary-file", path] if path == source else [path])]
        result = self.call("swiftc", "-frontend", "-c", "-Onone", *others, *self.flags, "-o", self.object(source))
        return result.returncode == 0

    def link(self):
        self.must("swiftc", "-emit-library", "-use-ld=lld", "-o", self.work / "libAccessControl.so",
                  *(self.object(source) for source in self.sources))

    def tests(self):
        """Whether the tests pass, and what they said."""
        result = self.call(self.work / "tests", "--no-parallel", patience=PATIENCE)
        return result.returncode == 0 and " passed after " in result.stdout, result.stdout

    def judge(self, source, text):
        """`None` if it does not compile, else whether the tests notice."""
        copy = self.work / source.name
        copy.write_text(text)
        kept = self.work / "kept.o"
        shutil.copy(self.object(source), kept)
        try:
            if not self.compile(copy, [copy if path == source else path for path in self.sources]):
                return None
            self.link()
            return not self.tests()[0]
        finally:
            shutil.copy(kept, self.object(source))
            copy.unlink()


def equivalents():
    """FILE: the line's code: mutation, of those that change nothing."""
    lines = EQUIVALENTS.read_text().splitlines() if EQUIVALENTS.exists() else []
    return {line.strip() for line in lines if line.strip() and not line.startswith(("#", " "))}


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--work", type=pathlib.Path, default=ROOT / ".build-mutation")
    parser.add_argument("--jobs", type=int, default=os.cpu_count())
    parser.add_argument("--only", default="")
    parser.add_argument("--list", action="store_true")
    options = parser.parse_args()
    bench = Bench(options.work.resolve())
    file, _, place = options.only.partition(":")
    chosen = []
    for source in bench.sources:
        text = source.read_text()
        for line, name, mutated in dict.fromkeys(mutants(text)):
            if (not file or source.name.startswith(file)) and (not place or int(place) == line) and mutated != text:
                chosen.append((source, line, name, mutated, text.split("\n")[line - 1].strip()))
    if options.list:
        for source, line, name, _, code in chosen:
            print(f"{source.name}:{line}: {name}: {code}")
        return
    bench.prepare()
    passed, log = bench.tests()
    if not passed:
        sys.exit("the tests fail without any mutation:\n" + log[-3000:])
    benches = queue.SimpleQueue()
    for number in range(options.jobs):
        benches.put(bench.copy(number))

    def judge(source, mutated):
        own = benches.get()
        try:
            return own.judge(source, mutated)
        finally:
            benches.put(own)

    known = equivalents()
    counts = {"killed": 0, "survived": 0, "equivalent": 0, "does not compile": 0}
    # In any order: what is there of a run that was cut short is a fair sample.
    random.Random(1).shuffle(chosen)
    with concurrent.futures.ThreadPoolExecutor(options.jobs) as pool:
        running = {}
        for source, line, name, mutated, code in chosen:
            key = f"{source.name}: {code}: {name}"
            if key in known:
                counts["equivalent"] += 1
            else:
                running[pool.submit(judge, source, mutated)] = f"{source.name}:{line}\t{key}"
        for result in concurrent.futures.as_completed(running):
            noticed, what = result.result(), running[result]
            outcome = "does not compile" if noticed is None else "killed" if noticed else "survived"
            counts[outcome] += 1
            if noticed is not None:
                print(f"{outcome}\t{what}", flush=True)
    judged = counts["killed"] + counts["survived"]
    share = counts["killed"] / judged if judged else 0
    print(f"{judged} mutants: {counts['killed']} killed ({share:.1%}), {counts['survived']} survived; "
          f"{counts['equivalent']} equivalent, {counts['does not compile']} that do not compile")
    sys.exit(0 if share >= GOAL else 1)


main()
