"""Certificates that do not prove what they should, of clients and of databases."""

import ssl

import psycopg
import pytest

from bad_inputs.api import call
from bad_inputs.certificates import Forge
from conftest import HOST, USER
from scripted_server import AUTHENTICATION_OK, KEY, READY, scripted_server
from test_refusals import SSL_REQUEST, plain, startup

SERVER = ["basicConstraints=CA:FALSE", "extendedKeyUsage=serverAuth"]
CLIENT = ["basicConstraints=CA:FALSE", "extendedKeyUsage=clientAuth"]


@pytest.fixture(scope="module")
def forge(cluster, tmp_path_factory):
    forge = Forge(tmp_path_factory.mktemp("forge"))
    for name in ("ca.pem", "ca.key"):
        (forge.directory / name).write_bytes((cluster.pg / name).read_bytes())
    # Called as the cluster's own user CA is: only the key tells them apart.
    forge.authority("namesake", "/O=test/CN=test user CA")
    forge.authority("stranger", "/CN=nobody")
    return forge


# Clients

@pytest.mark.parametrize("kind", [
    "stranger", "namesake", "expired", "future", "server", "self-signed", "authority", "sha1", "rsa-1024",
])
def test_06_certificates_that_speak_for_nobody(cluster, forge, kind):
    options = {
        "expired": {"begins": -3, "ends": -2}, "future": {"begins": 1, "ends": 2}, "sha1": {"digest": "sha1"},
        "rsa-1024": {"key": ["rsa:1024"]}}.get(kind, {})
    if kind == "self-signed":
        forge.authority("self", "/CN=alice")
        certificate, key = forge.directory / "self.pem", forge.directory / "self.key"
    else:
        extensions = {"server": SERVER, "authority": ["basicConstraints=critical,CA:TRUE", "keyUsage=keyCertSign"]}.get(kind, CLIENT)
        ca = "stranger" if kind == "stranger" else "namesake"
        certificate, key = forge.leaf(f"client-{kind}", ca, extensions, "/CN=alice", **options)
    context = ssl.create_default_context(cafile=cluster.data / "admin/ca.pem")
    context.set_ciphers("ALL:@SECLEVEL=0")
    context.load_cert_chain(certificate, key)
    with plain(cluster) as connection:
        connection.sendall(SSL_REQUEST)
        assert connection.recv(1) == b"S"
        with pytest.raises(ssl.SSLError, match="ALERT|alert") as refused:
            with context.wrap_socket(connection, server_hostname="localhost") as secured:
                secured.sendall(startup(("user", USER), ("database", "dev")))
                secured.recv(1)
    # Nothing of the certificate's text comes back.
    assert "alice" not in str(refused.value)


def test_06_certificates_of_hosts_are_no_users(cluster, forge, tmp_path):
    """What joins as a host has a certificate of the host CA: it opens no database."""
    certificate, key = joined_host(cluster, forge, tmp_path)
    context = ssl.create_default_context(cafile=cluster.data / "admin/ca.pem")
    context.load_cert_chain(certificate, key)
    with plain(cluster) as connection:
        connection.sendall(SSL_REQUEST)
        assert connection.recv(1) == b"S"
        answer = b""
        try:
            with context.wrap_socket(connection, server_hostname="localhost") as secured:
                secured.sendall(startup(("user", USER), ("database", "dev")))
                answer = secured.recv(65536)
        except ssl.SSLError:
            pass
    assert answer == b"" or b"C28000\0" in answer, answer


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
