"""AWS says no, nonsense, or not now; databases of the wrong name. Numbers are rows of docs/security.md."""

import psycopg
import pytest

from conftest import USER, wait_until


def test_41_43_aws_refusals_name_what_is_missing(cluster):
    cluster.make_role("wide", users="['*']")
    home = cluster.make_user("dave", "wide")
    for user, words in [
        ("no-trust", ["not authorized to perform: sts:AssumeRole", "role/no-trust", "trust policy"]),
        ("no-permission", ["redshift-serverless:GetCredentials", "permission policy"]),
    ]:
        with pytest.raises(psycopg.OperationalError) as failure:
            psycopg.connect(cluster.database(home, user=user).dsn)
        for word in words:
            assert word in str(failure.value)


def test_role_by_arn_and_through_a_chain(cluster):
    cluster.make_role("wide", users="['*']")
    home = cluster.log_in("dave") if (cluster.directory / "home-dave").exists() else cluster.make_user("dave", "wide")
    arn = f"arn:aws:iam::123456789012:role/{USER}"
    with psycopg.connect(cluster.database(home, user=arn).dsn) as connection:
        assert connection.execute("select current_user").fetchone() == (f"IAMR:{USER}",)
    with psycopg.connect(cluster.database(home, name="chained", user="behind-middle").dsn) as connection:
        assert connection.execute("select current_user").fetchone() == ("IAMR:behind-middle",)
    with pytest.raises(psycopg.OperationalError, match="of another account"):
        psycopg.connect(cluster.database(home, user="arn:aws:iam::999999999999:role/x").dsn)


@pytest.mark.parametrize("action, kind, words", [
    # AssumeRole answers in XML, GetCredentials in JSON.
    ("AssumeRole", "malformed", "not well-formed XML"), ("AssumeRole", "doctype", "a document type or an instruction, which are refused"),
    ("GetCredentials", "malformed", "cannot be read"), ("GetCredentials", "doctype", "cannot be read"),
    *((action, *more) for action in ("AssumeRole", "GetCredentials") for more in [
        ("huge", "larger than 1 MiB"), ("endless", "larger than 1 MiB"), ("redirect", "a redirect, which is not followed")]),
])
def test_45_bad_answers_of_aws(cluster, action, kind, words):
    cluster.stop_teleport()
    cluster.start_teleport()
    database = cluster.database(cluster.home)
    before = cluster.counters()
    cluster.faults({"action": action, "kind": kind, "times": 1})
    with pytest.raises(psycopg.OperationalError, match=f"InvalidResponse.*{words}"):
        psycopg.connect(database.dsn)
    after = cluster.counters()
    assert after[action] - before.get(action, 0) == 1, "what makes no sense is not asked for again"
    if kind in ("huge", "endless"):
        wait_until(lambda: cluster.counters().get("Poured", 0) > before.get("Poured", 0), "the end of the connection")
        poured = cluster.counters()["Poured"] - before.get("Poured", 0)
        # Of 100 MiB. What the kernel took and nobody read counts too.
        assert poured < 6 << 20, poured


def test_44_throttling_is_retried_and_a_hundred_connects_cause_one_call(cluster):
    import concurrent.futures

    cluster.stop_teleport()
    cluster.start_teleport()
    database = cluster.database(cluster.home)
    before = cluster.counters()
    cluster.faults({"action": "GetCredentials", "kind": "throttle", "times": 2})
    with concurrent.futures.ThreadPoolExecutor(100) as pool:
        connections = list(pool.map(lambda _: psycopg.connect(database.dsn), range(100)))
    for connection in connections:
        connection.close()
    after = cluster.counters()
    assert after["GetCredentials"] - before.get("GetCredentials", 0) == 3, "two throttled tries and one answer"
    assert after["AssumeRole"] - before.get("AssumeRole", 0) == 1


def test_33_server_certificate_for_another_name(cluster):
    home = cluster.home
    with pytest.raises(psycopg.OperationalError, match="not for this host name"):
        psycopg.connect(cluster.database(home, name="untrusted").dsn)
