"""TLS as the public port speaks it: what it does not offer."""

import ssl
import subprocess
import time

import pytest

from test_refusals import SSL_REQUEST, finish_login, plain

WEAK = ["AES128-SHA", "AES256-GCM-SHA384", "DES-CBC3-SHA", "ECDHE-ECDSA-AES128-SHA", "aNULL", "eNULL", "RC4", "PSK", "ECDHE-ECDSA-AES256-SHA384"]


@pytest.mark.parametrize("cipher", WEAK)
def test_17_ciphers_without_forward_secrecy_or_authentication(cluster, cipher):
    context = ssl.create_default_context(cafile=cluster.data / "admin/ca.pem")
    context.maximum_version = ssl.TLSVersion.TLSv1_2
    try:
        context.set_ciphers(f"{cipher}:@SECLEVEL=0")
    except ssl.SSLError:
        return  # This OpenSSL does not know it any more: nobody can ask with it.
    with plain(cluster) as connection:
        connection.sendall(SSL_REQUEST)
        assert connection.recv(1) == b"S"
        with pytest.raises(ssl.SSLError, match="HANDSHAKE_FAILURE|NO_SHARED|ALERT|NO_CIPHERS"):
            context.wrap_socket(connection, server_hostname="localhost")


def client(cluster, redshift, *options, text=""):
    """openssl's own client, which can ask for more than Python's."""
    return subprocess.run(
        ["openssl", "s_client", "-connect", f"127.0.0.1:{cluster.port}", "-starttls", "postgres", "-CAfile", cluster.data / "admin/ca.pem",
         "-cert", redshift.environment["PGSSLCERT"], "-key", redshift.environment["PGSSLKEY"], *options],
        input=text, capture_output=True, text=True, timeout=30)


def test_17_no_renegotiation_and_no_compression(cluster, redshift):
    process = subprocess.Popen(
        ["openssl", "s_client", "-connect", f"127.0.0.1:{cluster.port}", "-starttls", "postgres", "-tls1_2", "-legacy_renegotiation",
         "-cert", redshift.environment["PGSSLCERT"], "-key", redshift.environment["PGSSLKEY"]],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    time.sleep(1)
    # A line with an R alone asks for it.
    process.stdin.write("R\n")
    process.stdin.flush()
    output, _ = process.communicate(timeout=30)
    assert "RENEGOTIATING" in output, output
    assert "no renegotiation" in output or "handshake failure" in output or "unexpected message" in output, output
    assert "Compression: NONE" in output


@pytest.mark.parametrize("version", ["-tls1_2", "-tls1_3"])
def test_17_no_session_is_resumed(cluster, redshift, version, tmp_path):
    first = client(cluster, redshift, version, "-sess_out", tmp_path / "session")
    assert "Verify return code: 0" in first.stdout
    again = client(cluster, redshift, version, "-reconnect")
    assert "Reused," not in again.stdout
    if (tmp_path / "session").exists():
        assert "Reused," not in client(cluster, redshift, version, "-sess_in", tmp_path / "session").stdout
    early = tmp_path / "early"
    early.write_text("early")
    assert "Early data was accepted" not in client(cluster, redshift, "-tls1_3", "-early_data", early).stdout


@pytest.mark.parametrize("name", ["localhost", "elsewhere.example.com", "x" * 250, "", "a..b", "xn--nxasmq6b"])
def test_names_that_clients_ask_for_decide_nothing(cluster, redshift, name):
    """SNI is not looked at: there is one certificate for Postgres and one for the API, told apart by ALPN."""
    context = ssl.create_default_context(cafile=cluster.data / "admin/ca.pem")
    context.check_hostname = False
    context.load_cert_chain(redshift.environment["PGSSLCERT"], redshift.environment["PGSSLKEY"])
    with plain(cluster) as connection:
        connection.sendall(SSL_REQUEST)
        assert connection.recv(1) == b"S"
        try:
            secured = context.wrap_socket(connection, server_hostname=name or None)
        except (ValueError, UnicodeError):
            return  # Python does not send such a name.
        with secured:
            finish_login(secured)
