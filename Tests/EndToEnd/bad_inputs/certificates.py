"""Certificates of every kind, made by openssl in one directory."""

import base64
import contextlib
import datetime
import sqlite3
import subprocess

from cryptography import x509
from cryptography.hazmat.primitives.ciphers.aead import AESGCM


def user_authority(cluster):
    """Certificate and private key (PEM) of the cluster's own user CA, which no program gives away: from its sealed state."""
    with contextlib.closing(sqlite3.connect(f"file:{cluster.data}/state.sqlite?mode=ro", uri=True)) as state:
        certificate, sealed = state.execute("SELECT certificate, key FROM authority WHERE kind = 'user'").fetchone()
    key = AESGCM(base64.b64decode((cluster.data / "second_factor.key").read_text()))
    return certificate, key.decrypt(sealed[:12], sealed[12:], b"authority:user")


def identity_extension(path):
    """Who a certificate of ours speaks for, as a line for openssl."""
    [certificate] = x509.load_pem_x509_certificates(path.read_bytes())
    [extension] = [one.value for one in certificate.extensions if isinstance(one.value, x509.UnrecognizedExtension)]
    return f"{extension.oid.dotted_string}=DER:{extension.value.hex(':')}"


class Forge:
    def __init__(self, directory):
        self.directory = directory

    def run(self, *arguments):
        result = subprocess.run(["openssl", *map(str, arguments)], cwd=self.directory, capture_output=True, text=True)
        assert result.returncode == 0, result.stderr

    def authority(self, name, subject, extensions=()):
        """NAME.pem and NAME.key of what has signed itself: without `extensions` a CA."""
        self.run("req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "2", "-subj", subject,
                 "-keyout", f"{name}.key", "-out", f"{name}.pem", *(word for line in extensions for word in ("-addext", line)))

    def leaf(self, name, ca, extensions, subject="/CN=x", key=("ec", "-pkeyopt", "ec_paramgen_curve:P-256"), digest="sha256",
             begins=-1, ends=1):
        """NAME.crt and NAME.key under CA.pem; `begins` and `ends` in days from now."""
        self.run("req", "-newkey", *key, "-nodes", "-subj", subject, "-keyout", f"{name}.key", "-out", f"{name}.csr")
        (self.directory / f"{name}.ext").write_text("\n".join(extensions) + "\n")
        now = datetime.datetime.now(datetime.timezone.utc)
        begin, end = ((now + datetime.timedelta(days=days)).strftime("%Y%m%d%H%M%SZ") for days in (begins, ends))
        # Only `openssl ca` of this version takes dates.
        (self.directory / "index.txt").write_text("")
        (self.directory / "ca.cnf").write_text(
            "[ca]\ndefault_ca=d\n[d]\ndatabase=index.txt\nrand_serial=yes\nnew_certs_dir=.\npolicy=p\nunique_subject=no\n"
            "[p]\ncommonName=optional\norganizationName=optional\n")
        self.run("ca", "-batch", "-notext", "-config", "ca.cnf", "-in", f"{name}.csr", "-cert", f"{ca}.pem", "-keyfile", f"{ca}.key",
                 "-md", digest, "-startdate", begin, "-enddate", end, "-extfile", f"{name}.ext", "-out", f"{name}.crt")
        return self.directory / f"{name}.crt", self.directory / f"{name}.key"

    def signed(self, name, ca, extensions, subject="/CN=x", **options):
        """A leaf of that CA; `None`: of its own."""
        if ca is not None:
            return self.leaf(name, ca, extensions, subject, **options)
        self.authority(name, subject, extensions)
        return self.directory / f"{name}.pem", self.directory / f"{name}.key"
