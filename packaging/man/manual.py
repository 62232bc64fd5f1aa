#!/usr/bin/env python3
"""Makes the manual page of one program, in mdoc(7): `PROGRAM --experimental-dump-help | manual.py SECTION TAIL`.

The commands and options are the program's own words; TAIL holds what it cannot say of itself: signals, files,
environment.
"""

import json
import os
import pathlib
import re
import sys
import time


def sentences(discussion):
    """Its lines, each sentence on a new one, as mdoc(7) wants it."""
    return re.sub(r"(?<=[\w)'])\. +(?=[A-Z])", ".\n", discussion).splitlines()


def text(words):
    """Words as running text: nothing in them is a macro or an escape."""
    words = " ".join(words.split()).replace("\\", "\\e")
    words = words.replace("-", "\\-") if words.startswith("-") else words
    return "\\&" + words if words[:1] in (".", "'") else words


def macro(word):
    """A word as a macro's argument."""
    return '"' + text(word).replace('"', "\\(dq") + '"' if " " in word or len(word) < 4 else text(word)


def flags(argument):
    names = sorted(argument.get("names", []), key=lambda name: name["kind"] != "short")
    value = f" Ar {macro(argument['valueName'])}" if argument["kind"] == "option" else ""
    return " , ".join("Fl " + ("" if name["kind"] == "short" else "\\-") + name["name"] + value for name in names)


def shown(command):
    hidden = ("help", "version")
    return [
        argument for argument in command.get("arguments", [])
        if argument.get("shouldDisplay", True) and argument.get("preferredName", {}).get("name") not in hidden]


def synopsis(path, command):
    yield ".Nm" + "".join(" Cm " + word for word in path)
    for argument in shown(command):
        if argument["kind"] == "positional":
            words = f"Ar {macro(argument['valueName'])}" + (" ..." if argument["isRepeating"] else "")
        else:
            names = argument["names"]
            words = flags(argument | {"names": [argument.get("preferredName", names[0])]})
        yield f".Op {words}" if argument["isOptional"] else "." + words


def describe(argument):
    yield ".It " + (f"Ar {macro(argument['valueName'])}" if argument["kind"] == "positional" else flags(argument))
    if argument.get("abstract"):
        yield text(argument["abstract"])
    if argument.get("defaultValue"):
        yield "Default:"
        yield text(argument["defaultValue"]) + "."


def leaves(command, path=()):
    """The commands that do something, with the words that lead there."""
    inner = [sub for sub in command.get("subcommands", []) if sub["commandName"] != "help"]
    for sub in inner:
        yield from leaves(sub, (*path, sub["commandName"]))
    if not inner:
        yield path, command


def page(command, section, tail):
    date = time.gmtime(int(os.environ.get("SOURCE_DATE_EPOCH", time.time())))
    name = command["commandName"]
    yield from (f".Dd {time.strftime('%B', date)} {date.tm_mday}, {date.tm_year}", f".Dt {name.upper()} {section}", ".Os")
    yield from (".Sh NAME", f".Nm {name}", f".Nd {text(command['abstract']).rstrip('.')}", ".Sh SYNOPSIS")
    commands = list(leaves(command))
    for path, leaf in commands:
        yield from synopsis(path, leaf)
    yield from (".Sh DESCRIPTION", "The commands:", ".Bl -tag -width Ds")
    for path, leaf in commands:
        yield ".It Cm " + " ".join(path)
        yield text(leaf.get("abstract", ""))
        if leaf.get("discussion"):
            # A sentence a line, as mdoc wants it.
            yield from (text(line) for line in sentences(leaf["discussion"]) if line.strip())
        arguments = shown(leaf)
        if arguments:
            yield ".Bl -tag -width Ds"
            for argument in arguments:
                yield from describe(argument)
            yield ".El"
    yield ".El"
    yield from ("Every command takes", ".Fl \\-help .")
    yield tail.rstrip("\n")


if __name__ == "__main__":
    section, tail = sys.argv[1:]
    print("\n".join(page(json.load(sys.stdin)["command"], section, pathlib.Path(tail).read_text())))
