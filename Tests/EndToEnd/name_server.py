"""A name server for one alias: name_server.py ALIAS TARGET. Answers every other question with "no such name".

If TARGET is the path of a file, the target is what stands there at the moment."""

import os
import pathlib
import socket
import struct
import sys


def encoded(name):
    return b"".join(bytes([len(label)]) + label.encode() for label in name.split(".")) + b"\0"


def record(name, kind, data):
    return name + struct.pack("!HHIH", kind, 1, 60, len(data)) + data


def asked(query):
    """The question of a query as it stands there, its name in small letters, and the kind of record."""
    question = query[12:query.index(b"\0", 12) + 5]
    return question, question[:-4].lower(), struct.unpack("!H", question[-4:-2])[0]


def reply(query, records, exists):
    """The answer: these records of a name that exists, or that there is no such name."""
    question, _, _ = asked(query)
    flags = 0x8180 if exists else 0x8183
    return query[:2] + struct.pack("!HHHHH", flags, 1, len(records), 0, 0) + question + b"".join(records)


def answer(query, alias, target):
    known = asked(query)[1] == encoded(alias)
    # The name of the question is at 12: a pointer there stands for it.
    records = [record(b"\xc0\x0c", 5, encoded(target)), record(encoded(target), 1, bytes([192, 0, 2, 1]))] if known else []
    return reply(query, records, known)


def main():
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as server:
        server.bind(("127.0.0.1", 53))
        pathlib.Path(os.environ["READY"]).touch()
        while True:
            query, client = server.recvfrom(512)
            alias, target = sys.argv[1:]
            if target.startswith("/"):
                target = pathlib.Path(target).read_text().strip()
            server.sendto(answer(query, alias, target), client)


if __name__ == "__main__":
    main()
