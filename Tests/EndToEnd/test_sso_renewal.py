"""A login of `aws sso login` is renewed with the refresh token beside it, as botocore does it with the same file."""

import concurrent.futures
import datetime
import hashlib
import json
import stat
import subprocess

import pytest

from aws_hosts import BOTO, Maker, placed_on
from conftest import ROOT

NAME = hashlib.sha1(b"corp").hexdigest()


@pytest.fixture
def login(cluster, tmp_path):
    """Makes a login that ends in so many seconds, with what renews it; gives the host and the login's file."""
    cluster.control("sso", {"refresh": ["sso-refresh-of-the-tests"]})
    maker = Maker(tmp_path, f"http://127.0.0.1:{cluster.aws_port}")

    def make(seconds, without=(), **changes):
        host = maker.sso_session(seconds)
        path = maker.home / f".aws/sso/cache/{NAME}.json"
        contents = json.loads(path.read_text()) | {
            "clientId": "client-of-the-tests", "clientSecret": "client-secret", "refreshToken": "sso-refresh-of-the-tests",
            "registrationExpiresAt": "2999-01-01T00:00:00Z", "ofOthers": {"kept": [1, 2]}} | changes
        path.write_text(json.dumps({key: value for key, value in contents.items() if key not in without}))
        path.chmod(0o644)
        return host, path

    return make


def who_am_i(cluster):
    return cluster.tool("teleport", "aws", "whoami", "--format=json")


def renewals(cluster):
    return cluster.counters().get("CreateToken", 0)


@pytest.mark.parametrize("seconds", [-60, 300])
def test_a_login_that_ends_is_renewed_and_written_back(cluster, login, seconds):
    host, path = login(seconds)
    before = renewals(cluster)
    with placed_on(cluster, host):
        for _ in range(2):
            result = who_am_i(cluster)
            assert result.returncode == 0, result.stderr
            assert json.loads(result.stdout)["arn"].startswith("arn:aws:sts::123456789012:assumed-role/portal/")
        assert renewals(cluster) == before + 1, "the second finds what the first wrote"
        contents = json.loads(path.read_text())
        # botocore takes the file as its own, and has nothing to renew.
        boto = subprocess.run(
            [ROOT / ".venv/bin/python", "-c", BOTO], env=cluster.environment, capture_output=True, text=True, timeout=60)
        assert boto.returncode == 0, boto.stderr
        assert renewals(cluster) == before + 1
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert contents["accessToken"] != "sso-token-of-the-tests" and contents["refreshToken"] != "sso-refresh-of-the-tests"
    end = datetime.datetime.fromisoformat(contents["expiresAt"].replace("Z", "+00:00"))
    left = end - datetime.datetime.now(datetime.timezone.utc)
    assert datetime.timedelta(minutes=58) < left <= datetime.timedelta(hours=1)
    assert contents["ofOthers"] == {"kept": [1, 2]} and contents["clientSecret"] == "client-secret"
    assert [each.name for each in path.parent.iterdir()] == [path.name], "no other file is left"


def test_many_processes_renew_once(cluster, login):
    host, _ = login(-60)
    before = renewals(cluster)
    cluster.faults({"action": "CreateToken", "kind": "delay", "times": 1, "seconds": 1})
    with placed_on(cluster, host), concurrent.futures.ThreadPoolExecutor(5) as pool:
        results = list(pool.map(lambda _: who_am_i(cluster), range(5)))
    assert all(result.returncode == 0 for result in results), [result.stderr for result in results]
    assert renewals(cluster) == before + 1


def test_a_login_that_lasts_is_left_alone(cluster, login):
    host, path = login(3600)
    before, text = renewals(cluster), path.read_text()
    with placed_on(cluster, host):
        assert who_am_i(cluster).returncode == 0
    assert renewals(cluster) == before and path.read_text() == text


def test_while_it_cannot_be_renewed_the_present_one_serves(cluster, login):
    host, path = login(300, refreshToken="of-somebody-else")
    text = path.read_text()
    with placed_on(cluster, host):
        result = who_am_i(cluster)
    assert result.returncode == 0, result.stderr
    assert path.read_text() == text


@pytest.mark.parametrize("options", [
    dict(refreshToken="of-somebody-else"), dict(without=["refreshToken"]), dict(without=["clientSecret"]),
    dict(registrationExpiresAt="2020-01-01T00:00:00Z"),
])
def test_an_ended_login_that_cannot_be_renewed_is_named(cluster, login, options):
    host, path = login(-60, **options)
    with placed_on(cluster, host):
        result = who_am_i(cluster)
    assert result.returncode == 1 and "the login ended at" in result.stderr
    assert "aws sso login --profile people" in result.stderr
    assert ("could not be renewed: InvalidGrantException" in result.stderr) == (options == dict(refreshToken="of-somebody-else"))
    assert "client-secret" not in result.stderr and "sso-refresh" not in result.stderr


def test_times_as_older_tools_wrote_them_are_read(cluster, login):
    host, _ = login(3600, expiresAt="2999-01-01T00:00:00UTC")
    with placed_on(cluster, host):
        assert who_am_i(cluster).returncode == 0
