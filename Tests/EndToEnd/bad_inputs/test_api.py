"""Who may call what, and who tries too often."""

import concurrent.futures
import re

import pytest

from bad_inputs.api import call, identity_of
from conftest import PASSWORD, ROOT

# What anybody may call: version and trust anchors, logins, links with a secret in them, joining.
PUBLIC = {
    "GET /v1/webapi/ping", "GET /v1/webapi/automaticupgrades/channel/default/version", "GET /v1/webapi/cas",
    "POST /v1/webapi/login", "GET /v1/webapi/invites/:secret", "POST /v1/webapi/invites/:secret", "GET /web/invite/:secret",
    "POST /web/invite/:secret", "POST /v1/join", "POST /v1/join/iam", "POST /v1/join/iam/challenge",
}
# What every user may do: with the own certificate, for what the roles say anyway.
USERS = {"GET /v1/status", "GET /v1/databases", "GET /v1/sessions", "POST /v1/certificates/database", "GET /v1/cas/:kind/export"}
KINDS = ["role", "user", "token", "lock", "db", "cluster_auth_preference"]


def routes():
    """Every route that the server's sources declare."""
    found = set()
    for path in (ROOT / "Sources/AuthService").glob("*.swift"):
        for method, route in re.findall(r'router\.(get|post|put|delete)\("([^"]+)"', path.read_text()):
            for kind in KINDS if r"\(kind)" in route else [None]:
                found.add(f"{method.upper()} {route.replace(chr(92) + '(kind)', kind or '')}")
    return sorted(found)


def test_each_route_asks_who_calls(cluster):
    cluster.make_role("nobody", names="[]", users="[]")
    home = cluster.directory / "home-api-nobody"
    user = identity_of(home if home.exists() else cluster.make_user("api-nobody", "nobody"))
    known = routes()
    assert len(known) > 45 and PUBLIC | USERS <= set(known), PUBLIC | USERS - set(known)
    for route in known:
        if route in PUBLIC:
            continue
        method, path = route.split(" ")
        path = re.sub(r":\w+", "x", path)
        body = {} if method in ("POST", "PUT") else None
        status, answer = call(cluster, method, path, body)
        assert status in (400, 401, 404), (route, status, answer)
        if status == 400:
            assert "not the JSON that is expected" in str(answer), (route, answer)
        if route in USERS:
            continue
        status, answer = call(cluster, method, path, body, identity=user)
        assert status in (400, 401, 403, 404), (route, status, answer)
        if status == 400:
            assert "not the JSON that is expected" in str(answer), (route, answer)


@pytest.mark.parametrize("body", [
    b"", b"{", b"[]", b"null", b'"x"', b"\xff\xfe", b"[" * 100_000, b'{"username":' * 10_000, b'{"username": 1e999, "password": []}',
    b'{"username":"\\ud800","password":"x","signingRequestPEM":""}', b"{" + b'"a":1,' * 100_000 + b'"b":1}',
])
def test_bodies_that_are_no_requests(cluster, body):
    for path in ("/v1/webapi/login", "/v1/join", "/v1/webapi/invites/x"):
        status, answer = call(cluster, "POST", path, raw=body, source="127.0.0.79")
        assert status in (400, 401, 413), (path, status, answer)


def login(cluster, user, password, source):
    return call(cluster, "POST", "/v1/webapi/login", {
        "username": user, "password": password, "signingRequestPEM": "x", "ttlSeconds": 60}, source=source)


# Each guess is a derivation of scrypt, which an unoptimised build takes a second or two for.
@pytest.mark.timeout(400)
def test_57_guessing_is_slowed_down(cluster):
    """Per user, known or not; from one address, over all users. Others are not held up."""
    cluster.make_user("guessed-at", "dev")
    for user in ("guessed-at", "no-such-user"):
        answers = [login(cluster, user, f"wrong password {number}", f"127.0.1.{number}") for number in range(11)]
        assert [status for status, _ in answers] == [401] * 10 + [429], answers
        assert "try again in 5 minutes" in str(answers[-1])
    # The right password waits as well, wherever it comes from; another user does not.
    assert login(cluster, "guessed-at", PASSWORD, "127.0.2.1")[0] == 429
    status, answer = login(cluster, "alice", PASSWORD, "127.0.2.1")
    assert status == 400 and "signing request" in str(answer), "the password was right, the request is none"
    with concurrent.futures.ThreadPoolExecutor(3) as pool:
        answers = list(pool.map(lambda number: login(cluster, f"sprayed-{number}", "Spring2026!pass", "127.0.3.1"), range(50)))
    assert {status for status, _ in answers} == {401}, answers
    status, answer = login(cluster, "sprayed-x", "Spring2026!pass", "127.0.3.1")
    assert status == 429 and "from this address" in str(answer)
    assert login(cluster, "sprayed-x", "Spring2026!pass", "127.0.3.2")[0] == 401
