"""Which teleport, tctl and tsh are measured."""

import os
import pathlib
import subprocess
import sys

ROOT = pathlib.Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "Tests/EndToEnd"))


def use(folder=None):
    """Lets the end-to-end tests' helpers, which read it as they are imported, run copies of these programs without debugging
    information, over which valgrind stumbles. The code in them is the same. Gives the name of the build."""
    source = pathlib.Path(folder or ROOT / ".build/release").resolve()
    copies = ROOT / ".build/perf" / f"stripped-{source.name}"
    copies.mkdir(parents=True, exist_ok=True)
    for name in ("teleport", "tctl", "tsh"):
        program, copy = source / name, copies / name
        if not program.exists():
            sys.exit(f"{program} is missing: run 'make build', or name another folder with --bin")
        if not copy.exists() or copy.stat().st_mtime < program.stat().st_mtime:
            subprocess.run(["strip", "--strip-debug", "-o", copy, program], check=True)
    os.environ["SALLYPORT_BIN"] = str(copies)
    return source.name
