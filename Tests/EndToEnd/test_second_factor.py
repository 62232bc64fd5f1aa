"""Sign-up and login with one-time codes: in the browser's way, by tsh in a terminal, and by scripts."""

import html
import os
import pathlib
import re
import subprocess
import sys

import pexpect
import pytest
import zxingcpp
from PIL import Image

import totp
from conftest import BIN, PASSWORD

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "QRCodeTests"))
from decode import decode  # noqa: E402


@pytest.fixture
def policy(cluster):
    """Sets the cluster's second_factor for one test."""
    def put(mode):
        text = f"kind: cluster_auth_preference\nversion: v2\nspec: {{type: local, second_factor: {mode}}}\n"
        cluster.run("tctl", "create", stdin="metadata: {name: cluster-auth-preference}\n" + text)

    yield put
    put("optional")


def invite(cluster, name):
    output = cluster.run("tctl", "users", "add", name, "--roles=dev")
    return [word for word in output.split() if word.startswith("https://")][0]


def curl(cluster, link, *fields):
    arguments = [part for field in fields for part in ("--data-urlencode", field)]
    result = subprocess.run(
        ["curl", "-sS", "-D", "-", "--cacert", cluster.environment["SSL_CERT_FILE"], *arguments, link],
        capture_output=True, text=True, check=True)
    headers, _, body = result.stdout.partition("\n\n")
    return int(headers.split()[1]), headers.lower(), body


def login(cluster, name, otp=None, password=PASSWORD):
    command = ["tsh", "login", f"--proxy=localhost:{cluster.port}", f"--user={name}", "--password-file=-"]
    lines = [password]
    if otp is not None:
        command.append("--otp-file=-")
        lines.append(otp)
    return cluster.tool(*command, home=cluster.directory / f"home-{name}", stdin="\n".join(lines) + "\n")


def secret_in(page):
    return totp.secret_of(html.unescape(re.search(r'href="(otpauth:[^"]*)"', page).group(1)))


def read_svg(svg, scale=5):
    """Draws the page's picture by its path and lets a decoder look at it."""
    side = int(re.search(r'viewBox="0 0 (\d+) \d+"', svg).group(1))
    image = Image.new("L", (side, side), 255)
    for column, row in re.findall(r"M(\d+) (\d+)h1v1h-1z", svg):
        image.putpixel((int(column), int(row)), 0)
    found = zxingcpp.read_barcodes(image.resize((side * scale, side * scale), Image.Resampling.NEAREST))
    assert len(found) == 1
    return found[0].text


def sign_up_by_page(cluster, name):
    link = invite(cluster, name)
    secret = secret_in(curl(cluster, link)[2])
    # Codes of this step and the next stay for logins.
    status, _, body = curl(cluster, link, f"password={PASSWORD}", f"otp={totp.code(secret, -1)}")
    assert status == 200 and "second factor set" in body
    return secret


def test_the_page_offers_a_code_and_sets_both(cluster, policy):
    policy("otp")
    link = invite(cluster, "page")
    status, headers, page = curl(cluster, link)
    assert status == 200
    assert "content-security-policy: default-src 'none'; base-uri 'none'; form-action 'self'" in headers
    assert "cache-control: no-store" in headers
    assert "<script" not in page and "style=" not in page
    secret = secret_in(page)
    uri = read_svg(page[page.index("<svg"):])
    assert totp.secret_of(uri) == secret and "/test:page?" in uri
    assert secret_in(curl(cluster, link)[2]) == secret, "a second look shows the same key"
    # Mistakes show the form again and do not cost the link.
    for fields, words in [
        ((f"password={PASSWORD}",), "code of your authenticator app is needed"),
        ((f"password={PASSWORD}", "otp=12345x"), "does not fit the QR code"),
        (("password=short", f"otp={totp.code(secret)}"), "12 to 1024 bytes"),
    ]:
        status, _, body = curl(cluster, link, *fields)
        assert status == 400 and words in body and "<form" in body
    code = totp.code(secret, -1)
    status, _, body = curl(cluster, link, f"password={PASSWORD}", f"otp={code[:3]} {code[3:]}")
    assert status == 200 and "tsh login --proxy=" in body
    status, _, body = curl(cluster, link, f"password={PASSWORD}", f"otp={code}")
    assert status == 401 and "not valid" in body and "<form" not in body
    # A code of before the one that signed up is refused; the present one is good, once.
    assert login(cluster, "page", code).returncode == 1
    present = totp.code(secret)
    assert login(cluster, "page", present).returncode == 0
    replayed = login(cluster, "page", present)
    assert replayed.returncode == 1 and "wrong user name, password or one-time code" in replayed.stderr
    assert login(cluster, "page", totp.code(secret, 1), password="not the password").returncode == 1
    assert login(cluster, "page", totp.code(secret, 1)).returncode == 0
    assert any(event["event"] == "mfa.add" and event["name"] == "page" for event in cluster.audit())


def test_optional_leaves_the_choice_and_remembers_it(cluster):
    link = invite(cluster, "free")
    assert curl(cluster, link, f"password={PASSWORD}", "otp=")[0] == 200
    assert login(cluster, "free").returncode == 0
    secret = sign_up_by_page(cluster, "chosen")
    refused = login(cluster, "chosen")
    assert refused.returncode == 1 and "--otp-file" in refused.stderr
    assert login(cluster, "chosen", totp.code(secret)).returncode == 0


def test_demanded_of_those_who_have_none_and_reset(cluster, policy):
    link = invite(cluster, "late")
    curl(cluster, link, f"password={PASSWORD}")
    assert login(cluster, "late").returncode == 0
    policy("on")
    assert "tctl users reset late" in login(cluster, "late", "123456").stderr
    output = cluster.run("tctl", "users", "reset", "late")
    link = [word for word in output.split() if word.startswith("https://")][0]
    secret = secret_in(curl(cluster, link)[2])
    assert curl(cluster, link, f"password={PASSWORD}", f"otp={totp.code(secret, -1)}")[0] == 200
    assert login(cluster, "late", totp.code(secret)).returncode == 0
    cluster.run("tctl", "users", "reset", "late")
    assert login(cluster, "late", totp.code(secret, 1)).returncode == 1
    policy("off")
    link = invite(cluster, "plain")
    page = curl(cluster, link)[2]
    assert "otpauth" not in page and "<svg" not in page


def test_wrong_codes_close_the_account_for_a_while(cluster):
    secret = sign_up_by_page(cluster, "guessed")
    for _ in range(10):
        assert login(cluster, "guessed", "00000x").returncode == 1
    assert "too many" in login(cluster, "guessed", totp.code(secret)).stderr


def test_the_setting_of_the_file_outranks_the_resource(cluster):
    shown = cluster.run("tctl", "get", "cluster_auth_preference", "--format=json")
    assert '"second_factor" : "optional"' in shown
    before = cluster.config.read_text()
    try:
        cluster.config.write_text(before.replace(
            "cluster_name: test,", 'cluster_name: test, authentication: {type: local, second_factor: "on"},'))
        cluster.stop_teleport()
        cluster.start_teleport()
        text = "kind: cluster_auth_preference\nversion: v2\nmetadata: {name: x}\nspec: {type: local, second_factor: off}\n"
        refused = cluster.tool("tctl", "create", stdin=text)
        assert refused.returncode == 1 and "teleport.yaml" in refused.stderr and "--force" in refused.stderr
        cluster.run("tctl", "create", "--force", stdin=text)
        assert '"second_factor" : "off"' in cluster.run("tctl", "get", "cap", "--format=json")
    finally:
        cluster.config.write_text(before)
        cluster.stop_teleport()
        cluster.start_teleport()
    assert '"second_factor" : "optional"' in cluster.run("tctl", "get", "cap", "--format=json")


# In a terminal

def spawn(cluster, home, *arguments):
    environment = {**cluster.environment, "TELEPORT_HOME": str(home), "TERM": "xterm"}
    return pexpect.spawn(
        str(BIN / "tsh"), list(arguments), env=environment, encoding="utf-8", timeout=30, dimensions=(60, 200))


def test_sign_up_and_login_in_a_terminal(cluster, policy, tmp_path):
    policy("otp")
    link = invite(cluster, "typist")
    terminal = spawn(cluster, tmp_path, "signup", link)
    terminal.expect("New password of typist")
    terminal.sendline(PASSWORD)
    terminal.expect("Again: ")
    terminal.sendline(PASSWORD)
    terminal.expect("Key for typing: ([A-Z2-7]{32})")
    shown, secret = terminal.before, terminal.match.group(1)
    blocks = [re.sub(r"\x1b\[[0-9;]*m", "", line) for line in shown.replace("\r", "").split("\n") if "\x1b[30;107m" in line]
    (_, text, _), = decode("\n".join(blocks))
    assert totp.secret_of(text) == secret
    terminal.expect("One-time code of your app: ")
    terminal.sendline(totp.code(secret, -1))
    terminal.expect("tsh login --proxy=localhost")
    terminal.expect(pexpect.EOF)
    assert PASSWORD not in terminal.before and PASSWORD not in shown, "a password is never shown"

    terminal = spawn(cluster, tmp_path, "login", f"--proxy=localhost:{cluster.port}", "--user=typist")
    terminal.expect("Password of typist: ")
    terminal.sendline(PASSWORD + "x\x7f")  # a typing mistake, taken back
    terminal.expect("One-time code of your app: ")
    terminal.sendline(totp.code(secret))
    terminal.expect("Logged in as: +typist")
    terminal.expect(pexpect.EOF)
    terminal.close()
    assert terminal.exitstatus == 0
    # Still valid: logging in again asks nothing.
    terminal = spawn(cluster, tmp_path, "login", f"--proxy=localhost:{cluster.port}")
    terminal.expect("Logged in as: +typist")
    terminal.expect(pexpect.EOF)


def test_two_different_passwords_and_ctrl_c(cluster, tmp_path):
    link = invite(cluster, "hasty")
    terminal = spawn(cluster, tmp_path, "signup", link)
    terminal.expect("New password")
    terminal.sendline(PASSWORD)
    terminal.expect("Again: ")
    terminal.sendline(PASSWORD + "2")
    terminal.expect("the two passwords differ")
    terminal.expect(pexpect.EOF)
    terminal = spawn(cluster, tmp_path, "signup", link)
    terminal.expect("New password")
    terminal.send("abc\x03")
    terminal.expect("interrupted")
    terminal.expect(pexpect.EOF)
    terminal.close()
    assert terminal.exitstatus == 1
    result = cluster.tool("tsh", "signup", link, "--password-file=-", home=tmp_path, stdin=PASSWORD + "\n")
    assert result.returncode == 0, result.stderr
    for wrong in (link + "/x", link.replace("https", "http"), "nonsense", link[:-1] + ("0" if link[-1] != "0" else "1")):
        assert cluster.tool("tsh", "signup", wrong, "--password-file=-", home=tmp_path, stdin="x\n").returncode == 1
    assert os.listdir(tmp_path) == [], "signing up stores nothing"
