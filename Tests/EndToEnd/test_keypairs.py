"""One port, two certificates: the web's own for HTTPS, the host CA's for databases."""

import shutil
import ssl
import subprocess

import psycopg
import pytest

from conftest import PASSWORD, USER
from test_refusals import SSL_REQUEST, finish_login, plain


@pytest.fixture(scope="module")
def web_ca(cluster, tmp_path_factory):
    """A CA of its own and a certificate of it for the API; the server runs with it for these tests."""
    folder = tmp_path_factory.mktemp("web")

    def openssl(*arguments):
        subprocess.run(["openssl", *arguments], check=True, capture_output=True, cwd=folder)

    curve = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes"]
    openssl("req", "-x509", *curve, "-days", "2", "-subj", "/CN=web CA", "-keyout", "ca.key", "-out", "ca.pem")
    openssl("req", *curve, "-subj", "/CN=web", "-keyout", "web.key", "-out", "web.csr")
    (folder / "extensions").write_text("subjectAltName=DNS:localhost\nextendedKeyUsage=serverAuth\n")
    openssl("x509", "-req", "-in", "web.csr", "-CA", "ca.pem", "-CAkey", "ca.key", "-CAcreateserial", "-days", "2",
            "-extfile", "extensions", "-out", "web.crt")
    (folder / "web.key").chmod(0o600)
    cluster.stop_teleport()
    cluster.write_config(
        database=True, proxy=f"  https_keypairs: [{{key_file: {folder / 'web.key'}, cert_file: {folder / 'web.crt'}}}]")
    cluster.start_teleport()
    yield folder / "ca.pem"
    cluster.stop_teleport()
    cluster.write_config(database=True)
    cluster.start_teleport()


def handshake(cluster, ca, alpn, after_request=False, client=None):
    context = ssl.create_default_context(cafile=ca)
    if alpn:
        context.set_alpn_protocols([alpn])
    if client:
        context.load_cert_chain(client.environment["PGSSLCERT"], client.environment["PGSSLKEY"])
    connection = plain(cluster)
    if after_request:
        connection.sendall(SSL_REQUEST)
        assert connection.recv(1) == b"S"
    return context.wrap_socket(connection, server_hostname="localhost")


def test_each_protocol_has_its_certificate(cluster, redshift, web_ca):
    host_ca = cluster.data / "admin/ca.pem"
    for alpn, after_request, right, wrong in [
        ("http/1.1", False, web_ca, host_ca), ("postgresql", False, host_ca, web_ca),
        ("teleport-postgres", False, host_ca, web_ca), (None, True, host_ca, web_ca), ("postgresql", True, host_ca, web_ca),
    ]:
        with handshake(cluster, right, alpn, after_request) as connection:
            assert connection.selected_alpn_protocol() == alpn
        with pytest.raises(ssl.SSLCertVerificationError):
            handshake(cluster, wrong, alpn, after_request)


def test_clients_are_known_by_their_certificate_under_both(cluster, redshift, web_ca):
    with handshake(cluster, cluster.data / "admin/ca.pem", "postgresql", client=redshift) as connection:
        finish_login(connection)
    with psycopg.connect(redshift.dsn) as connection:
        assert connection.execute("select current_user").fetchone() == (f"IAMR:{USER}",)


def test_the_tools_work_with_the_web_certificate(cluster, redshift, web_ca, tmp_path):
    home = tmp_path / "tsh"
    bundle = tmp_path / "bundle.pem"
    shutil.copy(web_ca, bundle)
    saved = cluster.environment["SSL_CERT_FILE"]
    login = ["tsh", "login", f"--proxy=localhost:{cluster.port}", "--user=alice", "--password-file=-"]
    # Trusting only what the other certificate hangs under, tsh goes no further.
    cluster.environment["SSL_CERT_FILE"] = str(cluster.pg / "ca.pem")
    try:
        refused = cluster.tool(*login, home=home, stdin=PASSWORD + "\n")
        assert refused.returncode == 1 and "certificate" in refused.stderr.lower()
        cluster.environment["SSL_CERT_FILE"] = str(bundle)
        cluster.run(*login, home=home, stdin=PASSWORD + "\n")
        assert "redshift" in cluster.run("tsh", "db", "ls", home=home)
        answer = cluster.run(
            "tsh", "db", "connect", "redshift", f"--db-user={USER}", "--db-name=dev", "--", "-XAtc", "select 6 * 7", home=home)
        assert answer == "42\n"
    finally:
        cluster.environment["SSL_CERT_FILE"] = saved
