"""An authenticator app: RFC 6238 on its own, so that the server's arithmetic is checked by other code."""

import base64
import hashlib
import hmac
import struct
import time
import urllib.parse


def code(secret, offset=0):
    """The code of the step that lies `offset` from now.

    One of the past is good for the rest of this step only: there is at least enough left to use it.
    """
    if offset < 0 and time.time() % 30 > 20:
        time.sleep(30 - time.time() % 30)
    counter = struct.pack(">Q", int(time.time() // 30) + offset)
    digest = hmac.new(base64.b32decode(secret), counter, hashlib.sha1).digest()
    start = digest[-1] & 15
    return f"{(struct.unpack('>I', digest[start:start + 4])[0] & 0x7FFFFFFF) % 1000000:06d}"


def secret_of(uri):
    parts = urllib.parse.urlsplit(uri)
    assert parts.scheme == "otpauth" and parts.netloc == "totp"
    query = dict(urllib.parse.parse_qsl(parts.query))
    assert (query["algorithm"], query["digits"], query["period"]) == ("SHA1", "6", "30")
    return query["secret"]
