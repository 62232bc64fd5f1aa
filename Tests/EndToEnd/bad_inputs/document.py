"""Writes the table into docs/security.md, between its heading and the next one."""

import pathlib
import re
import sys

FOLDER = pathlib.Path(__file__).resolve().parents[1]
sys.path.insert(0, str(FOLDER))

from bad_inputs.test_table import documented  # noqa: E402

DOCUMENT = FOLDER.parents[1] / "docs/security.md"
HEAD = "| row | input | outcome | tests |\n| --- | --- | --- | --- |\n"

text = DOCUMENT.read_text()
found = re.search(re.escape(HEAD) + r"(\|.*\n)*", text)
if not found:
    sys.exit(f"{DOCUMENT} has no such table")
DOCUMENT.write_text(text[:found.start()] + HEAD + documented() + "\n" + text[found.end():])
