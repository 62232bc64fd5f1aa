"""A database made of a script: speaks just enough Postgres over TLS to behave in one particular, often wrong, way."""

import contextlib
import hashlib
import socket
import ssl
import struct
import threading


def message(kind, body=b""):
    return kind + struct.pack("!I", 4 + len(body)) + body


AUTHENTICATION_OK = message(b"R", struct.pack("!I", 0))
READY = message(b"Z", b"I")
KEY = message(b"K", struct.pack("!II", 4711, 815))


class Conversation:
    """What a script can do with the connection it was given."""

    def __init__(self, connection, context):
        self.connection, self.context = connection, context

    def read(self, count):
        data = b""
        while len(data) < count:
            part = self.connection.recv(count - len(data))
            if not part:
                raise ConnectionError("closed")
            data += part
        return data

    def read_startup(self):
        return self.read(struct.unpack("!I", self.read(4))[0] - 4)

    def read_message(self):
        header = self.read(5)
        return header[:1], self.read(struct.unpack("!I", header[1:])[0] - 4)

    def secure(self):
        assert self.read(8) == struct.pack("!II", 8, 80877103)
        self.connection.sendall(b"S")
        self.connection = self.context.wrap_socket(self.connection, server_side=True)
        return self.read_startup()

    def send(self, *parts):
        self.connection.sendall(b"".join(parts))

    def drain(self):
        with contextlib.suppress(OSError):
            while self.connection.recv(65536):
                pass


@contextlib.contextmanager
def scripted_server(cluster, script, version=None):
    """Runs `script(conversation)` for each connection; the errors of scripts are collected in the yielded list.

    `version`: the only one of TLS that the server speaks.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    if version is not None:
        context.minimum_version = context.maximum_version = version
    context.load_cert_chain(cluster.pg / "server.crt", cluster.pg / "server.key")
    listener = socket.create_server(("127.0.0.1", cluster.script_port))
    errors = []

    def serve(connection):
        connection.settimeout(20)
        conversation = Conversation(connection, context)
        try:
            script(conversation)
        except (ConnectionError, ssl.SSLError, TimeoutError):
            # The gateway hung up on us: for hostile scripts that is the point.
            pass
        except Exception as error:  # noqa: BLE001
            errors.append(error)
        finally:
            conversation.connection.close()

    def accept():
        with contextlib.suppress(OSError):
            while True:
                threading.Thread(target=serve, args=(listener.accept()[0],), daemon=True).start()

    threading.Thread(target=accept, daemon=True).start()
    try:
        yield errors
    finally:
        listener.shutdown(socket.SHUT_RDWR)
        listener.close()


def redshift_digest(password, salt, server_nonce, client_nonce):
    inner = hashlib.sha256(password.encode() + salt).digest()
    return hashlib.sha256(inner + server_nonce + client_nonce).digest()
