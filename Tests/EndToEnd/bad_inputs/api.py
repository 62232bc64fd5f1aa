"""Calls of the HTTPS API as any program might make them."""

import http.client
import json
import ssl


def call(cluster, method, path, body=None, identity=None, raw=None, source="127.0.0.1"):
    """Status and answer; `identity`: certificate and key files. `raw`: the body's bytes as they are. `source`: our address."""
    context = ssl.create_default_context(cafile=cluster.environment["SSL_CERT_FILE"])
    if identity:
        context.load_cert_chain(*identity)
    context.set_alpn_protocols(["http/1.1"])
    connection = http.client.HTTPSConnection("localhost", cluster.port, context=context, timeout=30, source_address=(source, 0))
    try:
        data = raw if raw is not None else json.dumps(body).encode() if body is not None else None
        connection.request(method, path, data, {"Content-Type": "application/json"} if data is not None else {})
        answer = connection.getresponse()
        text = answer.read().decode(errors="replace")
    finally:
        connection.close()
    try:
        return answer.status, json.loads(text)
    except ValueError:
        return answer.status, text


def identity_of(home):
    """Certificate and key of a user of tsh."""
    [keys] = (home / "keys").iterdir()
    [certificate] = list(keys.glob("*.crt"))
    return certificate, certificate.with_suffix("")
