"""AWS that stalls, forgets and disagrees about the time. Numbers are rows of the bad-input table in docs/security.md."""

import concurrent.futures
import time

import psycopg
import pytest

from conftest import USER


@pytest.fixture
def fresh(cluster):
    """A database whose login is not kept yet: the server begins anew."""
    cluster.stop_teleport()
    cluster.start_teleport()
    return cluster.database(cluster.home)


def alive(database):
    with psycopg.connect(database.dsn) as connection:
        assert connection.execute("select 1").fetchone() == (1,)


def test_44_an_answer_that_stops_half_way_is_tried_again(cluster, fresh):
    cluster.faults({"action": "GetCredentials", "kind": "stall", "times": 1, "seconds": 60})
    start = time.monotonic()
    alive(fresh)
    assert 4 < time.monotonic() - start < 8, "one try of 5 s, then a good one"


@pytest.mark.parametrize("action", ["AssumeRole", "GetCredentials"])
def test_44_answers_that_keep_stopping_end_in_time_and_hold_up_nobody(cluster, fresh, action):
    cluster.faults({"action": action, "kind": "stall", "times": 100, "seconds": 60})

    def connect(_):
        start = time.monotonic()
        with pytest.raises(psycopg.OperationalError, match="Timeout"):
            psycopg.connect(fresh.dsn)
        return time.monotonic() - start

    with concurrent.futures.ThreadPoolExecutor(5) as pool:
        assert all(8 < seconds < 14 for seconds in pool.map(connect, range(5)))
    cluster.faults()
    time.sleep(1.1)
    alive(fresh)


def test_44_a_chain_of_three_shares_one_budget(cluster, fresh):
    cluster.make_role("wide", users="['*']")
    home = cluster.make_user("wire-dora", "wide")
    chained = cluster.database(home, name="chained", user="behind-middle")
    cluster.faults({"action": "AssumeRole", "kind": "delay", "times": 2, "seconds": 4},
                   {"action": "GetCredentials", "kind": "delay", "times": 9, "seconds": 4})
    start = time.monotonic()
    with pytest.raises(psycopg.OperationalError, match="Timeout"):
        psycopg.connect(chained.dsn)
    assert 9 < time.monotonic() - start < 12


def test_42_expired_credentials_are_looked_for_again_once(cluster, fresh):
    alive(fresh)
    cluster.stop_teleport()
    cluster.start_teleport()
    before = cluster.counters()
    cluster.faults({"action": "AssumeRole", "kind": "expired", "times": 1, "service": "sts"})
    alive(fresh)
    after = cluster.counters()
    assert after["InstanceCredentials"] - before["InstanceCredentials"] == 2, "found, called expired, found again"
    assert after["AssumeRole"] - before["AssumeRole"] == 2


def test_42_credentials_that_stay_expired_are_an_error(cluster, fresh):
    before = cluster.counters()
    cluster.faults({"action": "AssumeRole", "kind": "expired", "times": 9, "service": "sts"})
    with pytest.raises(psycopg.OperationalError, match="ExpiredToken"):
        psycopg.connect(fresh.dsn)
    assert cluster.counters()["AssumeRole"] - before["AssumeRole"] == 2, "once anew, then no more"


@pytest.mark.parametrize("ahead", [3600, -3000])
def test_42_a_wrong_clock_is_corrected(cluster, fresh, ahead):
    before = cluster.counters()
    cluster.control("clock", {"ahead": ahead})
    alive(fresh)
    after = cluster.counters()
    assert after["AssumeRole"] - before["AssumeRole"] == 2, "refused for its date, then right by the answer's Date"


def test_passwords_beyond_ascii_are_prepared_as_postgres_does(cluster, fresh):
    """RFC 4013 examples as a temporary password: PostgreSQL made its verifier from the prepared form."""
    for password in ("I\u00adX \u2168 \u00aa", "p\u00e4ssw\u00f6rd \u00a0 \ufb01", "\u0627\u0031\u0628", "\u0627\u0031"):
        cluster.faults({"action": "GetCredentials", "kind": "password", "times": 1, "text": password})
        cluster.stop_teleport()
        cluster.start_teleport()
        with psycopg.connect(fresh.dsn) as connection:
            assert connection.execute("select current_user").fetchone() == (f"IAMR:{USER}",)
        assert password in cluster.secrets()
