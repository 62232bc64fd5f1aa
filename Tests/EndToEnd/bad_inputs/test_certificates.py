"""Certificates that do not prove what they should, of clients and of databases."""

import contextlib
import pathlib
import ssl

import psycopg
import pytest

from bad_inputs.api import call
from bad_inputs.certificates import Forge, identity_extension, user_authority
from conftest import DATABASE, USER, wait_until
from scripted_server import AUTHENTICATION_OK, KEY, READY, scripted_server
from test_operations import metrics
from test_refusals import SSL_REQUEST, finish_login, plain, read_all, secure, sqlstate, startup

SERVER = ["basicConstraints=CA:FALSE", "extendedKeyUsage=serverAuth"]
CLIENT = ["basicConstraints=CA:FALSE", "extendedKeyUsage=clientAuth"]
AUTHORITY = ["basicConstraints=critical,CA:TRUE", "keyUsage=keyCertSign"]


@pytest.fixture(scope="module")
def forge(cluster, tmp_path_factory):
    forge = Forge(tmp_path_factory.mktemp("forge"))
    for name in ("ca.pem", "ca.key"):
        (forge.directory / name).write_bytes((cluster.pg / name).read_bytes())
    certificate, key = user_authority(cluster)
    (forge.directory / "user.pem").write_text(certificate)
    (forge.directory / "user.key").write_bytes(key)
    # Called as the cluster's own user CA is: only the key tells them apart.
    forge.authority("namesake", "/O=test/CN=test user CA")
    forge.authority("stranger", "/CN=nobody")
    # Good for clients, and then used as a CA.
    forge.leaf("user-leaf", "user", CLIENT)[0].rename(forge.directory / "user-leaf.pem")
    return forge


# Clients

CLIENTS = [
    # what, CA, extensions, options, reason in the metrics (`None`: it works), alert
    ("as tsh's", "user", CLIENT, {}, None, ""),
    ("of a CA that nobody knows", "stranger", CLIENT, {}, "untrustedIssuer", "unknown ca"),
    ("of a CA with our name and another key", "namesake", CLIENT, {}, "untrustedIssuer", "unknown ca"),
    ("self-signed", None, CLIENT, {}, "untrustedIssuer", "unknown ca"),
    ("under a leaf", "user-leaf", CLIENT, {}, "untrustedIssuer", "unknown ca"),
    ("expired", "user", CLIENT, {"begins": -3, "ends": -2}, "expired", "certificate expired"),
    ("not yet valid", "user", CLIENT, {"begins": 1, "ends": 2}, "notYetValid", "bad certificate"),
    ("for servers only", "user", SERVER, {}, "wrongPurpose", "unsupported certificate"),
    ("of an authority", "user", AUTHORITY, {}, "wrongPurpose", "unsupported certificate"),
    ("signed by SHA-1", "user", CLIENT, {"digest": "sha1"}, "badCertificate", "bad certificate"),
    ("RSA of 1024 bits", "user", CLIENT, {"key": ["rsa:1024"]}, "badCertificate", "bad certificate"),
]


@pytest.mark.parametrize("what, ca, extensions, options, reason, alert", CLIENTS, ids=[row[0].replace(" ", "-") for row in CLIENTS])
def test_06_certificates_that_speak_for_nobody(cluster, redshift, forge, what, ca, extensions, options, reason, alert):
    """All carry alice's identity, and but for those of other CAs the cluster's own user CA has signed them."""
    extensions = [*extensions, identity_extension(pathlib.Path(redshift.environment["PGSSLCERT"]))]
    certificate, key = forge.signed("client", ca, extensions, "/CN=alice", **options)
    if ca == "user-leaf":
        certificate.write_bytes(certificate.read_bytes() + (forge.directory / "user-leaf.pem").read_bytes())
    if reason is None:
        with offered(cluster, (certificate, key)) as secured:
            finish_login(secured)
    else:
        refused_with(cluster, (certificate, key), reason, alert)


@contextlib.contextmanager
def offered(cluster, identity):
    """A TLS connection that shows the certificate; TLS 1.3 refuses it after its own handshake."""
    context = ssl.create_default_context(cafile=cluster.data / "admin/ca.pem")
    context.set_ciphers("ALL:@SECLEVEL=0")
    context.load_cert_chain(*identity)
    with plain(cluster) as connection:
        connection.sendall(SSL_REQUEST)
        assert connection.recv(1) == b"S"
        with context.wrap_socket(connection, server_hostname="localhost") as secured:
            yield secured


def refused_with(cluster, identity, reason, alert):
    counted = ("sallyport_tls_handshake_failures_total", ("peer", "client"), ("reason", reason))
    before = metrics(cluster).get(counted, 0)
    with pytest.raises(ssl.SSLError, match=f"alert {alert}") as refused, offered(cluster, identity) as secured:
        secured.sendall(startup(("user", USER), ("database", "dev")))
        secured.recv(1)
    # Nothing of the certificate's text comes back.
    assert "alice" not in str(refused.value)
    wait_until(lambda: metrics(cluster).get(counted, 0) == before + 1, f"a handshake that fails as {reason}")


def test_06_certificates_of_hosts_are_no_users(cluster, forge, tmp_path):
    """What joins as a host has a certificate of the host CA: it opens no database."""
    refused_with(cluster, joined_host(cluster, forge, tmp_path), "untrustedIssuer", "unknown ca")


def joined_host(cluster, forge, tmp_path):
    """A host's certificate straight from the API."""
    forge.run("req", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-subj", "/CN=x", "-keyout",
              tmp_path / "host.key", "-out", tmp_path / "host.csr")
    token = cluster.run("tctl", "tokens", "add", "--type=db", "--format=text").strip()
    status, answer = call(cluster, "POST", "/v1/join", {
        "token": token, "services": ["db"], "hostName": "bad-host", "publicNames": [],
        "signingRequestPEM": (tmp_path / "host.csr").read_text()})
    assert status == 200, answer
    (tmp_path / "host.crt").write_text(answer["certificatePEM"])
    return tmp_path / "host.crt", tmp_path / "host.key"


# Databases

def names(*values):
    return f"subjectAltName={','.join(values)}"


# A Common Name has room for 64 characters: that of a workgroup is longer.
NAME = "some-workgroup.123456.us-east-1.example.com"
WILD = NAME.split(".", 1)[1]
GOOD = names(f"DNS:{NAME}")


def name_with_a_nul():
    """As C reads it, it ends where ours does."""
    name = f"{NAME}\0.example.com".encode()
    return f"subjectAltName=DER:{(bytes([0x30, len(name) + 2, 0x82, len(name)]) + name).hex(':')}"


# What the client is told.
NAMELESS, CN_ONLY, UNTRUSTED = "is not for this host name", "relies on legacy Common Name field, use SANs instead", "issuer is not trusted"
MATRIX = [
    # what, CA, extensions, options, words of the refusal (`None`: it is accepted)
    ("as it should be", "ca", [GOOD, *SERVER], {}, None),
    ("wildcard of the left-most label", "ca", [names(f"DNS:*.{WILD}"), *SERVER], {}, None),
    ("under an intermediate CA", "intermediate", [GOOD, *SERVER], {"chain": ["intermediate"]}, None),
    ("expired", "ca", [GOOD, *SERVER], {"begins": -3, "ends": -2}, "has expired"),
    ("not yet valid", "ca", [GOOD, *SERVER], {"begins": 1, "ends": 2}, "is not valid yet; check the clocks"),
    ("of another name", "ca", [names("DNS:elsewhere.example.com"), *SERVER], {}, NAMELESS),
    ("of a name that ends in ours", "ca", [names(f"DNS:{WILD}"), *SERVER], {}, NAMELESS),
    ("of our name within another", "ca", [names(f"DNS:{NAME}.example.com"), *SERVER], {}, NAMELESS),
    ("of our name and a NUL", "ca", [name_with_a_nul(), *SERVER], {}, NAMELESS),
    ("name in the CN only", "ca", SERVER, {"subject": f"/CN={NAME}"}, CN_ONLY),
    ("name in the CN, another in the SAN", "ca", [names("DNS:elsewhere.example.com"), *SERVER], {"subject": f"/CN={NAME}"}, NAMELESS),
    ("wildcard of everything", "ca", [names("DNS:*"), *SERVER], {}, NAMELESS),
    ("wildcard over two labels", "ca", [names(f"DNS:*.{WILD.split('.', 1)[1]}"), *SERVER], {}, NAMELESS),
    ("wildcard in the middle", "ca", [names(f"DNS:some-workgroup.*.{WILD.split('.', 1)[1]}"), *SERVER], {}, NAMELESS),
    ("address in place of the name", "ca", [names("IP:127.0.0.1"), *SERVER], {}, NAMELESS),
    ("name as an e-mail address", "ca", [names(f"email:x@{NAME}"), *SERVER], {}, NAMELESS),
    ("of a CA that nobody knows", "stranger", [GOOD, *SERVER], {}, UNTRUSTED),
    ("of a CA with the name of ours", "twin", [GOOD, *SERVER], {}, UNTRUSTED),
    ("of the CA of clients", "user", [GOOD, *SERVER], {}, UNTRUSTED),
    ("self-signed", None, [GOOD, *SERVER], {}, UNTRUSTED),
    ("without its intermediate CA", "intermediate", [GOOD, *SERVER], {}, UNTRUSTED),
    ("under a leaf", "leaf", [GOOD, *SERVER], {"chain": ["leaf"]}, "was refused: invalid CA certificate"),
    ("for clients only", "ca", [GOOD, *CLIENT], {}, "is not meant for this use"),
    ("of an authority", "ca", [GOOD, *AUTHORITY], {}, "is not meant for this use"),
    ("RSA of 1024 bits", "ca", [GOOD, *SERVER], {"key": ["rsa:1024"]}, "key too weak"),
    ("signed by SHA-1", "ca", [GOOD, *SERVER], {"digest": "sha1"}, "digest algorithm too weak"),
]


@pytest.fixture(scope="module")
def hostile(cluster, forge):
    """A database that is called NAME: each test says what it shows."""
    forge.leaf("intermediate", "ca", AUTHORITY)[0].rename(forge.directory / "intermediate.pem")
    forge.leaf("leaf", "ca", [GOOD, *SERVER])[0].rename(forge.directory / "leaf.pem")
    forge.authority("twin", "/CN=Sallyport demo CA")
    text = cluster.config.read_text()
    cluster.config.write_text(text + DATABASE.format(name="hostile", port=cluster.script_port, ca=cluster.pg / "ca.pem", host=NAME))
    cluster.stop_teleport()
    cluster.start_teleport()
    yield cluster.database(cluster.home, name="hostile")
    cluster.config.write_text(text)
    cluster.stop_teleport()
    cluster.start_teleport()


@pytest.mark.parametrize("what, ca, extensions, options, words", MATRIX, ids=[row[0].replace(" ", "-") for row in MATRIX])
def test_33_certificates_of_databases(cluster, hostile, forge, what, ca, extensions, options, words):
    options = dict(options)
    chain = [forge.directory / f"{name}.pem" for name in options.pop("chain", [])]
    certificate, key = forge.signed("database", ca, extensions, **options)
    certificate.write_bytes(b"".join(path.read_bytes() for path in [certificate, *chain]))
    seen = []

    def script(talk):
        talk.context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        talk.context.set_ciphers("ALL:@SECLEVEL=0")
        talk.context.load_cert_chain(certificate, key)
        seen.append(talk.secure())
        talk.send(AUTHENTICATION_OK, KEY, READY)
        talk.drain()

    with scripted_server(cluster, script) as errors:
        if words is None:
            psycopg.connect(hostile.dsn).close()
            assert len(seen) == 1
        else:
            with secure(cluster, hostile) as connection:
                connection.sendall(startup(("user", USER), ("database", "dev")))
                answer = read_all(connection)
            assert sqlstate(answer) == "08001" and words.encode() in answer, answer
            assert seen == [], "nothing is said to a database that proves nothing"
            assert not any(secret.encode() in answer for secret in cluster.secrets())
    assert errors == []
