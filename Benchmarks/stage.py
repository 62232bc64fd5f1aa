"""What stands behind the peers: PostgreSQL, the scripted database, the AWS emulator, and the programs that measure."""

import contextlib
import dataclasses
import os
import pathlib
import subprocess
import tempfile

import programs
from conftest import ROOT, Cluster, free_port, port_is_open, wait_until

PASSWORD = "bench-password"


@dataclasses.dataclass(frozen=True)
class Upstream:
    """A database that peers are put in front of."""

    #: Its name in Sallyport's configuration.
    resource: str
    port: int


class Stage:
    def __init__(self, directory, connections=400):
        self.directory = pathlib.Path(directory)
        programs.build()
        # For its PostgreSQL and its AWS: no teleport of it is started.
        self.cluster = Cluster(self.directory)
        self.certificates = self.cluster.pg
        self.postgres = Upstream("redshift", self.cluster.pg_port)
        self.scripted = Upstream("scripted", self.cluster.script_port)
        self.backend = None
        try:
            subprocess.run(
                [ROOT / "Tests/EndToEnd/postgres.sh", "start", self.cluster.pg, str(self.cluster.pg_port), str(connections)],
                check=True)
            self.cluster.start_emulator()
            with self.cluster.admin() as admin:
                admin.execute(f"create role bench login superuser password '{PASSWORD}'")
            self.start_backend()
        except BaseException:
            self.stop()
            raise

    def start_backend(self):
        self.backend = subprocess.Popen(
            [programs.PROGRAMS / "backend", str(self.scripted.port), self.certificates / "server.crt",
             self.certificates / "server.key"], stderr=open(self.directory / "backend.log", "w"))
        wait_until(lambda: port_is_open(self.scripted.port), "the scripted database")

    def stop(self):
        if self.backend:
            self.backend.kill()
            self.backend.wait()
        self.cluster.stop()

    def libpq(self, port):
        """libpq's settings for a port that demands a password as PostgreSQL does."""
        return {
            "PGHOST": "localhost", "PGPORT": str(port), "PGDATABASE": "dev", "PGUSER": "bench", "PGPASSWORD": PASSWORD,
            "PGSSLMODE": "verify-full", "PGSSLROOTCERT": str(self.certificates / "ca.pem"), "PGGSSENCMODE": "disable",
            "PGSSLCERT": "/nonexistent"}


@contextlib.contextmanager
def prepared_stage():
    with tempfile.TemporaryDirectory() as directory:
        # PostgreSQL runs as another user.
        os.chmod(directory, 0o755)
        stage = Stage(directory)
        try:
            yield stage
        finally:
            stage.stop()


def ready(process, port, name, log):
    """Waits until `process` listens, and says what it said if it never does."""
    wait_until(lambda: port_is_open(port) or process.poll() is not None, name)
    if process.poll() is not None:
        raise RuntimeError(f"{name} ended with {process.returncode}: {pathlib.Path(log).read_text()[-2000:]}")


__all__ = ["PASSWORD", "Stage", "Upstream", "free_port", "prepared_stage", "ready"]
