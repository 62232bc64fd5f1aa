"""Tokens, pins, invites and signing requests that are not what they should be."""

import base64
import concurrent.futures
import socket
import ssl
import subprocess
import threading

from bad_inputs.api import call
from conftest import BIN, PASSWORD, free_port

FLAT = ["ec", "-pkeyopt", "ec_paramgen_curve:P-256"]


def signing_request(folder, *options, key=FLAT):
    subprocess.run(
        ["openssl", "req", "-newkey", *key, "-nodes", *options, *([] if "-subj" in options else ["-subj", "/CN=x"]),
         "-keyout", folder / "key", "-out", folder / "csr"], check=True, capture_output=True)
    return (folder / "csr").read_text()


def join(cluster, token, request, services=("db",), name="a-host", source="127.0.0.78"):
    return call(cluster, "POST", "/v1/join", {
        "token": token, "services": list(services), "hostName": name, "publicNames": [], "signingRequestPEM": request},
        source=source)


def make_token(cluster):
    return cluster.run("tctl", "tokens", "add", "--type=db", "--format=text").strip()


def test_49_wrong_tokens_answer_alike_and_slow_down(cluster, tmp_path):
    request = signing_request(tmp_path)
    token = make_token(cluster)
    removed = make_token(cluster)
    audit = cluster.audit_from_now()
    cluster.run("tctl", "tokens", "rm", removed)
    wrong = ["", "x", token[:-1], token[:-1] + ("0" if token[-1] != "0" else "1"), token + "0", token.upper() + " ", removed,
             "x" * 900_000]
    # Refusals are counted a minute and address: those of here are no other test's.
    source = "127.0.0.77"
    answers = [join(cluster, guess, request, source=source) for guess in wrong]
    assert {status for status, _ in answers} == {401}
    assert len({str(body) for _, body in answers}) == 1, answers
    status, body = join(cluster, token, request, services=["proxy"], source=source)
    assert status == 401, "a token for databases makes no proxy"
    status, body = call(cluster, "POST", "/v1/join", raw=b"x" * (2 << 20), source=source)
    assert status == 413
    join(cluster, "another", request, source=source)
    status, body = join(cluster, token, request, source=source)
    assert status == 429 and "try again in a minute" in str(body), "ten wrong ones cost the right one a minute"
    records = audit.wait(len(wrong) + 3, event="instance.join")
    assert all(record["success"] is False and source in str(record) for record in records)
    text = audit.text() + cluster.log.read_text()
    assert not any(secret in text for secret in (token, removed, "x" * 1000))


def test_50_an_invite_that_many_use_at_once_is_good_for_one(cluster):
    for number in range(3):
        link = [word for word in cluster.run("tctl", "users", "add", f"race-{number}", "--roles=dev").split() if "https://" in word][0]
        secret = link.rsplit("/", 1)[1]
        # Each password costs a derivation of 32 MiB.
        barrier = threading.Barrier(8)

        def use(_):
            barrier.wait()
            return call(cluster, "POST", f"/v1/webapi/invites/{secret}", {"password": PASSWORD})[0]

        with concurrent.futures.ThreadPoolExecutor(8) as pool:
            answers = sorted(pool.map(use, range(8)))
        assert answers.count(200) == 1 and set(answers[1:]) <= {401, 429}, answers
        assert call(cluster, "POST", f"/v1/webapi/invites/{secret}", {"password": PASSWORD})[0] == 401


def test_51_the_token_stays_until_the_pin_fits(cluster, tmp_path):
    """An impostor with a CA of its own hears nothing that is worth anything."""
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", *FLAT, "-nodes", "-days", "1", "-subj", "/CN=impostor", "-addext",
         "subjectAltName=DNS:localhost", "-keyout", tmp_path / "key", "-out", tmp_path / "pem"], check=True, capture_output=True)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(tmp_path / "pem", tmp_path / "key")
    port, heard = free_port(), []
    listener = socket.create_server(("127.0.0.1", port))

    def serve():
        body = (tmp_path / "pem").read_bytes()
        while True:
            try:
                connection, _ = listener.accept()
            except OSError:
                return
            try:
                with context.wrap_socket(connection, server_side=True) as talk:
                    talk.settimeout(5)
                    heard.append(talk.recv(65536))
                    talk.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(body) + body)
                    heard.append(talk.recv(65536))
            except OSError:
                pass

    threading.Thread(target=serve, daemon=True).start()
    token = "a-token-that-nobody-may-hear"
    config = tmp_path / "teleport.yaml"
    config.write_text(f"""teleport:
  data_dir: {tmp_path / 'data'}
  proxy_server: localhost:{port}
  ca_pin: sha256:{'0' * 64}
  join_params: {{method: token, token_name: {token}}}
auth_service: {{enabled: "no"}}
proxy_service: {{enabled: "no"}}
db_service: {{enabled: "yes"}}
""")
    result = subprocess.run(
        [BIN / "teleport", "start", "-c", config], env=cluster.environment, capture_output=True, text=True, timeout=60)
    listener.close()
    assert result.returncode == 1 and "does not match ca_pin; the token was not sent" in result.stderr
    assert heard and not any(token.encode() in data for data in heard), heard
    assert token not in result.stderr


def test_52_the_server_decides_what_a_certificate_says(cluster, tmp_path):
    token = make_token(cluster)
    greedy = signing_request(
        tmp_path, "-subj", "/O=admins/CN=@local-admin", "-addext", "basicConstraints=critical,CA:TRUE", "-addext",
        "keyUsage=keyCertSign,cRLSign", "-addext", "subjectAltName=DNS:localhost,DNS:proxy.example.com,IP:127.0.0.1")
    status, answer = join(cluster, token, greedy)
    assert status == 200
    (tmp_path / "crt").write_text(answer["certificatePEM"])
    text = subprocess.check_output(["openssl", "x509", "-in", tmp_path / "crt", "-noout", "-text"], text=True)
    assert "CA:FALSE" in text and "CA:TRUE" not in text and "Certificate Sign" not in text
    assert "@local-admin" not in text and "proxy.example.com" not in text and "DNS:localhost" not in text, text
    for key in (["rsa:1024"], ["rsa:512"]):
        status, answer = join(cluster, token, signing_request(tmp_path, key=key))
        assert status == 400, answer
    # A request that its own key did not sign: whose key is it?
    lines = signing_request(tmp_path).strip().split("\n")
    body = bytearray(base64.b64decode("".join(lines[1:-1])))
    body[-1] ^= 1
    broken = "\n".join([lines[0], base64.encodebytes(bytes(body)).decode().strip(), lines[-1]]) + "\n"
    for bad in (broken, "", "x", lines[0], "-----BEGIN CERTIFICATE REQUEST-----\nAAAA\n-----END CERTIFICATE REQUEST-----\n"):
        status, answer = join(cluster, token, bad)
        assert status == 400, (bad, answer)
    status, answer = join(cluster, token, signing_request(tmp_path), name="../../etc")
    assert status == 400
