"""Logins, invites, administration, and the files it is done with."""

import json
import re
import subprocess

from conftest import BIN, PASSWORD


def test_wrong_password_and_unknown_user_look_alike(cluster):
    answers = set()
    for user in ("alice", "nobody"):
        result = cluster.tool(
            "tsh", "login", f"--proxy=localhost:{cluster.port}", f"--user={user}", "--password-file=-",
            home=cluster.directory / "home-wrong", stdin="wrong password!\n")
        assert result.returncode == 1
        answers.add(result.stderr)
    assert len(answers) == 1 and answers.pop().startswith("ERROR: wrong user name, password or one-time code (")


def test_invite_works_once(cluster):
    link = [w for w in cluster.run("tctl", "users", "add", "erin", "--roles=dev").split() if "https://" in w][0]
    command = ["curl", "-sS", "-o", "/dev/null", "-w", "%{http_code}", "--cacert", cluster.environment["SSL_CERT_FILE"],
               "--data-urlencode", f"password={PASSWORD}", link]
    assert subprocess.check_output(command) == b"200"
    assert subprocess.check_output(command) == b"401"


def test_only_editors_may_administer(cluster, tmp_path):
    home = cluster.make_user("frank", "dev")
    # As on a workstation: no cluster's state here, so tctl acts as the user of tsh.
    (tmp_path / "teleport.yaml").write_text("teleport: {data_dir: /nonexistent}")
    environment = {**cluster.environment, "TELEPORT_HOME": str(home), "TELEPORT_CONFIG_FILE": str(tmp_path / "teleport.yaml")}
    for command in (["users", "ls"], ["get", "roles"], ["tokens", "add", "--type=db"], ["auth", "export"]):
        result = subprocess.run([BIN / "tctl", *command], env=environment, capture_output=True, text=True)
        assert result.returncode == 1 and "may not" in result.stderr, result


def test_role_files_are_checked(cluster):
    for text, words in [
        ("kind: role\nversion: v5\nmetadata: {name: x}\nspec: {allow: {db_lables: {a: b}}}", "did you mean 'db_labels'"),
        ("kind: role\nversion: v5\nmetadata: {name: ../x}\nspec: {}", "not valid"),
        ("kind: role\nversion: v5\nmetadata: {name: x}\nspec: {allow: {db_users: ['^(bad$']}}", "not a regular expression"),
        ("kind: cat\nversion: v5\nmetadata: {name: x}\nspec: {}", "unknown kind 'cat'"),
    ]:
        result = cluster.tool("tctl", "create", stdin=text)
        assert result.returncode == 1 and words in result.stderr and len(result.stderr.splitlines()) == 1, result.stderr


def test_existing_role_is_not_replaced_without_force(cluster):
    text = "kind: role\nversion: v5\nmetadata: {name: once}\nspec: {}"
    assert cluster.run("tctl", "create", stdin=text) == "role 'once' has been created\n"
    result = cluster.tool("tctl", "create", stdin=text)
    assert result.returncode == 1 and "--force" in result.stderr
    assert cluster.run("tctl", "create", "-f", stdin=text) == "role 'once' has been updated\n"


def test_status_is_what_the_guide_reads(cluster):
    status = json.loads(cluster.run("tsh", "status", "-f", "json", home=cluster.home))
    assert status["active"]["username"] == "alice" and status["active"]["roles"] == ["dev", "editor"]
    lines = cluster.run("tctl", "status").splitlines()
    assert lines[0] == "Cluster test" and re.fullmatch(r"CA pin  sha256:[0-9a-f]{64}", lines[2])


def test_configuration_errors_name_the_line(cluster, tmp_path):
    path = tmp_path / "bad.yaml"
    path.write_text("version: v3\nteleport:\n  data_dri: /x\n")
    result = cluster.tool("teleport", "start", "-c", path)
    assert result.returncode != 0 and "bad.yaml:3: unknown key 'data_dri' (did you mean 'data_dir'?)" in result.stderr
