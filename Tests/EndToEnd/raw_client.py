"""A client of bytes, for what no driver sends."""

import socket
import ssl
import struct

from scripted_server import message


def context_of(database):
    context = ssl.create_default_context(cafile=database.environment["PGSSLROOTCERT"])
    context.load_cert_chain(database.environment["PGSSLCERT"], database.environment["PGSSLKEY"])
    return context


def open_tls(database):
    host = database.environment["PGHOST"]
    plain = socket.create_connection((host, int(database.environment["PGPORT"])), 20)
    plain.sendall(struct.pack("!II", 8, 80877103))
    assert plain.recv(1) == b"S"
    return context_of(database).wrap_socket(plain, server_hostname=host)


def cancel(database, process_id, secret):
    with open_tls(database) as talk:
        talk.sendall(struct.pack("!IIII", 16, 80877102, process_id, secret))
        talk.recv(1)


class Raw:
    def __init__(self, database, tls=None, until=(b"Z",)):
        """`tls`: a connection of `open_tls` on which nothing was said yet. `until`: what ends the login."""
        self.socket = tls or open_tls(database)
        names = ["user", database.environment["PGUSER"], "database", database.environment["PGDATABASE"]]
        body = struct.pack("!I", 196608) + b"".join(name.encode() + b"\0" for name in names) + b"\0"
        self.socket.sendall(struct.pack("!I", 4 + len(body)) + body)
        self.login = self.read(*until)

    @property
    def key(self):
        [body] = [body for kind, body in self.login if kind == b"K"]
        return struct.unpack("!II", body)

    def exactly(self, count):
        data = b""
        while len(data) < count:
            more = self.socket.recv(count - len(data))
            assert more, "closed"
            data += more
        return data

    def read(self, *until):
        """Messages up to the first of these kinds, by itself ReadyForQuery."""
        messages = []
        while not messages or messages[-1][0] not in (until or (b"Z",)):
            header = self.exactly(5)
            messages.append((header[:1], self.exactly(struct.unpack("!I", header[1:])[0] - 4)))
        return messages

    def send(self, *messages):
        self.socket.sendall(b"".join(messages))

    def ask(self, query):
        self.send(message(b"Q", query + b"\0"))
        return self.read()

    def value(self, query):
        """The only column of the only row."""
        [row] = [body for kind, body in self.ask(query) if kind == b"D"]
        return row[6:].decode()

    def pid(self):
        return int(self.value(b"select pg_backend_pid()"))


def parse(name, query):
    return message(b"P", name + b"\0" + query + b"\0\0\0")


def bind(name, *values, portal=b""):
    body = portal + b"\0" + name + b"\0" + struct.pack("!HH", 0, len(values))
    for value in values:
        body += struct.pack("!I", len(value)) + value
    return message(b"B", body + struct.pack("!H", 0))


def describe(name, kind=b"S"):
    return message(b"D", kind + name + b"\0")


def close(name, kind=b"S"):
    return message(b"C", kind + name + b"\0")


def execute(portal=b"", rows=0):
    return message(b"E", portal + b"\0" + struct.pack("!I", rows))


SYNC, FLUSH = message(b"S"), message(b"H")
