"""Certificates that do not prove what they should, of clients and of databases."""

import contextlib
import pathlib
import ssl

import psycopg
import pytest

from bad_inputs.api import call
from bad_inputs.certificates import Forge, identity_extension, user_authority
from conftest import HOST, USER, wait_until
from scripted_server import AUTHENTICATION_OK, KEY, READY, scripted_server
from test_operations import metrics
from test_refusals import SSL_REQUEST, finish_login, plain, startup

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
    if ca is None:
        forge.authority("self", "/CN=alice", extensions)
        certificate, key = forge.directory / "self.pem", forge.directory / "self.key"
    else:
        certificate, key = forge.leaf("client", ca, extensions, "/CN=alice", **options)
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


GOOD = names(f"DNS:{HOST}")
WILD = HOST.split(".", 1)[1]
MATRIX = [
    # what, CA, extensions, options, accepted
    ("as it should be", "ca", [GOOD, *SERVER], {}, True),
    ("wildcard of the left-most label", "ca", [names(f"DNS:*.{WILD}"), *SERVER], {}, True),
    ("expired", "ca", [GOOD, *SERVER], {"begins": -3, "ends": -2}, False),
    ("not yet valid", "ca", [GOOD, *SERVER], {"begins": 1, "ends": 2}, False),
    ("of another name", "ca", [names("DNS:elsewhere.example.com"), *SERVER], {}, False),
    ("of a name that ends in ours", "ca", [names(f"DNS:{WILD}"), *SERVER], {}, False),
    ("of our name within another", "ca", [names(f"DNS:{HOST}.example.com"), *SERVER], {}, False),
    ("name in the CN only", "ca", SERVER, {"subject": f"/CN={HOST[:60]}"}, False),
    ("wildcard of everything", "ca", [names("DNS:*"), *SERVER], {}, False),
    ("wildcard over two labels", "ca", [names(f"DNS:*.{WILD.split('.', 1)[1]}"), *SERVER], {}, False),
    ("wildcard in the middle", "ca", [names(f"DNS:some-workgroup.*.{WILD.split('.', 1)[1]}"), *SERVER], {}, False),
    ("address in place of the name", "ca", [names("IP:127.0.0.1"), *SERVER], {}, False),
    ("name as an e-mail address", "ca", [names(f"email:x@{HOST}"), *SERVER], {}, False),
    ("of another CA", "stranger", [GOOD, *SERVER], {}, False),
    ("for clients only", "ca", [GOOD, *CLIENT], {}, False),
    ("under a leaf", "leaf", [GOOD, *SERVER], {}, False),
    ("RSA of 1024 bits", "ca", [GOOD, *SERVER], {"key": ["rsa:1024"]}, False),
    ("signed by SHA-1", "ca", [GOOD, *SERVER], {"digest": "sha1"}, False),
]


@pytest.mark.parametrize("what, ca, extensions, options, accepted", MATRIX, ids=[row[0].replace(" ", "-") for row in MATRIX])
def test_33_certificates_of_databases(cluster, forge, what, ca, extensions, options, accepted):
    if ca == "leaf":
        certificate, key = forge.leaf("leaf", "ca", [GOOD, *SERVER])
        (forge.directory / "leaf.pem").write_bytes(certificate.read_bytes())
    certificate, key = forge.leaf("database", ca, extensions, **options)
    chain = forge.directory / "chain.pem"
    chain.write_bytes(certificate.read_bytes() + ((forge.directory / "leaf.pem").read_bytes() if ca == "leaf" else b""))
    seen = []

    def script(talk):
        talk.context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        talk.context.set_ciphers("ALL:@SECLEVEL=0")
        talk.context.load_cert_chain(chain, key)
        seen.append(talk.secure())
        talk.send(AUTHENTICATION_OK, KEY, READY)
        talk.drain()

    database = cluster.database(cluster.home, name="scripted")
    with scripted_server(cluster, script) as errors:
        if accepted:
            psycopg.connect(database.dsn).close()
        else:
            with pytest.raises(psycopg.OperationalError, match="certificate|TLS") as refused:
                psycopg.connect(database.dsn)
            assert seen == [], "nothing is said to a database that proves nothing"
            assert not any(secret in str(refused.value) for secret in cluster.secrets())
    assert errors == []
