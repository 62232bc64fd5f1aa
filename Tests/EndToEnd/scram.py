"""The server's half of SCRAM-SHA-256(-PLUS), RFC 5802 and RFC 5929, for scripted databases."""

import base64
import hashlib
import hmac
import os
import struct

from scripted_server import message


class ScramServer:
    """Follows one exchange; `mechanism` and `binding` tell what the client really did."""

    def __init__(self, talk, mechanisms, certificate_der, passwords, iterations=4096):
        self.talk, self.mechanisms, self.passwords, self.iterations = talk, mechanisms, passwords, iterations
        self.end_point = hashlib.sha256(certificate_der).digest()

    def run(self):
        """Up to the final message; raises AssertionError if the client proves nothing."""
        offer = b"".join(name + b"\0" for name in self.mechanisms) + b"\0"
        self.talk.send(message(b"R", struct.pack("!I", 10) + offer))
        kind, body = self.talk.read_message()
        assert kind == b"p"
        self.mechanism, rest = body.split(b"\0", 1)
        first = rest[4:]
        header_end = first.index(b"n=")
        self.header, bare = first[:header_end], first[header_end:]
        nonce = bare.split(b"r=")[1] + base64.b64encode(os.urandom(12))
        salt = os.urandom(16)
        challenge = b"r=%s,s=%s,i=%d" % (nonce, base64.b64encode(salt), self.iterations)
        self.talk.send(message(b"R", struct.pack("!I", 11) + challenge))
        kind, final = self.talk.read_message()
        assert kind == b"p"
        without_proof, proof = final.rsplit(b",p=", 1)
        fields = dict(part.split(b"=", 1) for part in without_proof.split(b","))
        assert fields[b"r"] == nonce
        self.binding = base64.b64decode(fields[b"c"])
        auth_message = b",".join([bare, challenge, without_proof])
        for password in self.passwords:
            salted = hashlib.pbkdf2_hmac("sha256", password.encode(), salt, self.iterations)
            client_key = hmac.digest(salted, b"Client Key", "sha256")
            signature = hmac.digest(hashlib.sha256(client_key).digest(), auth_message, "sha256")
            if bytes(a ^ b for a, b in zip(client_key, signature)) == base64.b64decode(proof):
                server_key = hmac.digest(salted, b"Server Key", "sha256")
                verifier = base64.b64encode(hmac.digest(server_key, auth_message, "sha256"))
                return self.talk.send(message(b"R", struct.pack("!I", 12) + b"v=" + verifier))
        raise AssertionError("the client's proof fits no password")
