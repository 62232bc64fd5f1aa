"""`teleport db start`: a Database Service from flags alone."""

import subprocess

import psycopg
import pytest

from conftest import BIN, USER, free_port, open_directory, port_is_open, wait_until
from test_cluster import CONNECTED, Apart, Host


@pytest.fixture(scope="module")
def apart(tmp_path_factory):
    directory = open_directory(tmp_path_factory, "flags")
    cluster = Apart(directory)
    try:
        cluster.start()
        yield cluster
    finally:
        cluster.stop()


class Flags(Host):
    """A host whose process is told everything by flags."""

    def __init__(self, cluster, name, *flags):
        super().__init__(cluster, name, "")
        self.flags = flags

    def start(self, port=None):
        self.process = subprocess.Popen(
            [BIN / "teleport", "db", "start", *map(str, self.flags)], env=self.cluster.environment, cwd=self.directory,
            stderr=open(self.log, "a"), stdout=subprocess.DEVNULL)
        wait_until(lambda: self.says(CONNECTED) or self.process.poll() is not None, self.name)


def flags(cluster, directory, **other):
    values = {
        "name": "by-flags", "protocol": "postgres", "uri": f"127.0.0.1:{cluster.pg_port}",
        "proxy": f"localhost:{cluster.port}", "token": "token-file", "ca-pin": cluster.pin, "labels": "env=dev,team=a",
        "description": "From flags", "aws-region": "us-east-1", "aws-account-id": "123456789012",
        "aws-redshift-serverless-workgroup-name": "some-workgroup", "data-dir": directory, **other}
    return [f"--{name}={value}" for name, value in values.items() if value is not None]


def test_it_serves_what_the_flags_say(apart):
    diagnostics = free_port()
    name = "by-flags"
    data = apart.directory / name / "data"
    host = Flags(apart, name, *flags(apart, data, **{
        "ca-cert": apart.pg / "ca.pem", "diag-addr": f"127.0.0.1:{diagnostics}", "pid-file": data.parent / "pid"}))
    (host.directory / "token-file").write_text(apart.token + "\n")
    try:
        host.start()
        assert host.process.poll() is None, host.log.read_text()
        assert (host.directory / "pid").read_text().strip() == str(host.process.pid) and port_is_open(diagnostics)
        apart.make_role("flags")
        home = apart.make_user("frank", "flags")
        listing = apart.run("tsh", "db", "ls", "--format=json", home=home)
        assert '"by-flags"' in listing and '"team"' in listing and "From flags" in listing
        with psycopg.connect(apart.database(home, "by-flags").dsn) as session:
            assert session.execute("select current_user").fetchone() == (f"IAMR:{USER}",)
    finally:
        host.stop()
    assert not (host.directory / "pid").exists()


def test_a_file_instead_of_flags(apart):
    text = apart.agent_config("by-file", apart.token).replace("auth_service: {enabled: \"no\"}\n", "")
    config = apart.directory / "by-file.yaml"
    data = apart.directory / "by-file-data"
    config.write_text(text.replace("DATA", str(data)))
    host = Flags(apart, "by-file", "-c", config)
    try:
        host.start()
        assert host.process.poll() is None, host.log.read_text()
    finally:
        host.stop()


@pytest.mark.parametrize("change, complaint", [
    ({"name": None}, "--name is needed"), ({"token": None}, "--token is needed"), ({"proxy": None}, "--proxy is needed"),
    ({"protocol": "mysql"}, "must be 'postgres'"), ({"labels": "x"}, "k=v"), ({"uri": "nowhere"}, "HOST:PORT"),
    ({"config": "/etc/teleport.yaml"}, "one or the other"), ({"ca-pin": "sha256:00"}, "64 hex digits"),
])
def test_mistakes_are_one_line(apart, tmp_path, change, complaint):
    result = apart.tool("teleport", "db", "start", *flags(apart, tmp_path / "data", **change))
    assert result.returncode != 0 and complaint in result.stderr and len(result.stderr.splitlines()) == 1, result.stderr


def test_insecure_is_refused_and_so_is_the_clusters_own_directory(apart, tmp_path):
    result = apart.tool("teleport", "db", "start", "--insecure", *flags(apart, tmp_path / "data"))
    assert result.returncode != 0 and "--ca-pin" in result.stderr
    result = apart.tool("teleport", "db", "start", *flags(apart, apart.data))
    assert result.returncode != 0 and "holds a cluster" in result.stderr


def test_the_written_configuration_says_the_same(apart, tmp_path):
    text = apart.run("teleport", "db", "configure", "create", "--join-method=iam",
                     *flags(apart, tmp_path / "data", token="db-hosts"))
    assert "method: iam" in text and 'token_name: "db-hosts"' in text
