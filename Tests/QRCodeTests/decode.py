"""Reads a file of half-block QR codes, separated by empty lines, and prints what an independent decoder sees as JSON."""

import json
import sys

import zxingcpp
from PIL import Image

SCALE = 4
CELLS = {"█": (1, 1), "▀": (1, 0), "▄": (0, 1), " ": (0, 0)}


def decode(text):
    rows = []
    for line in text.split("\n"):
        cells = [CELLS[character] for character in line]
        rows += [[upper for upper, _ in cells], [lower for _, lower in cells]]
    width = len(rows[0])
    image = Image.new("L", (width, len(rows)), 255)
    image.putdata([0 if dark else 255 for row in rows for dark in row])
    found = zxingcpp.read_barcodes(image.resize((width * SCALE, len(rows) * SCALE), Image.Resampling.NEAREST))
    return [(str(code.format), code.text, code.ec_level) for code in found]


if __name__ == "__main__":
    with open(sys.argv[1], encoding="utf-8") as codes:
        print(json.dumps([decode(text) for text in codes.read().split("\n\n")]))
