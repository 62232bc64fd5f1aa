"""Files that mean harm: configurations, resources, names that lead out of directories, keys that are open to others."""

import os
import subprocess

import pytest

from bad_inputs.api import call, identity_of
from conftest import BIN, PASSWORD, free_port

BOMB = "a: &a [x, x, x, x, x, x, x, x, x, x]\n" + "".join(
    f"{chr(98 + level)}: &{chr(98 + level)} [{', '.join(['*' + chr(97 + level)] * 10)}]\n" for level in range(10))
HARMFUL = {
    "expanding aliases": BOMB, "an anchor": "teleport: &x {nodename: a}\n", "a cycle": "teleport: &x [*x]\n",
    "a tag": "teleport: !!python/object/apply:os.system [id]\n", "another tag": "teleport: !x {}\n",
    "a key twice": "teleport: {nodename: a, nodename: b}\n", "a section twice": "teleport: {}\nteleport: {}\n",
    "an unknown key": "teleport: {nodnaem: a}\n", "an unknown section": "teleports: {}\n",
    "depth": "teleport: " + "[" * 20_000 + "]" * 20_000 + "\n", "depth of mappings": "teleport: " + "{a: " * 5_000 + "}" * 5_000 + "\n",
    "two megabytes": "teleport: {nodename: " + "x" * (2 << 20) + "}\n", "no mapping": "- a\n", "no YAML": "teleport: {a: [\n",
    "not UTF-8": b"teleport: {nodename: \xff\xfe}\n", "control characters": b"teleport: {nodename: \"a\x00b\"}\n",
    "two documents": "teleport: {}\n---\nteleport: {}\n",
    "a port of 65536": "proxy_service: {enabled: yes, web_listen_addr: '0.0.0.0:65536'}\n",
    "a duration that overflows": "teleport: {shutdown_timeout: 99999999999999999999h}\n",
    "a number that overflows": "teleport: {connection_limits: {max_connections: 99999999999999999999999}}\n",
}


@pytest.mark.parametrize("what", HARMFUL)
def test_55_configurations_that_mean_harm(cluster, tmp_path, what):
    text = HARMFUL[what]
    config = tmp_path / "teleport.yaml"
    config.write_bytes(text if isinstance(text, bytes) else text.encode())
    # A gigabyte of memory, and ten seconds, are more than a megabyte of text may cost.
    result = subprocess.run(
        ["prlimit", "--data=1073741824", BIN / "teleport", "start", "-c", config, f"--data-dir={tmp_path / 'data'}"],
        env=cluster.environment, capture_output=True, text=True, timeout=10)
    assert result.returncode == 1, result
    assert len(result.stderr.splitlines()) == 1 and str(config) in result.stderr, result.stderr[:500]
    assert len(result.stderr) < 1000 and not (tmp_path / "data").exists()


ROLE = "kind: role\nversion: v7\nmetadata: {name: harm}\nspec:\n  allow: "
RESOURCES = {
    "expanding aliases": BOMB, "a tag": ROLE + "!!binary aGk=\n", "an anchor": ROLE + "&a {}\n", "a key twice": ROLE + "{db_names: [a], db_names: [b]}\n",
    "an unknown key": ROLE + "{db_name: [a]}\n", "depth": ROLE + "[" * 20_000, "a bad pattern": ROLE + "{db_names: ['^(a$']}\n",
    "a pattern that explodes elsewhere": ROLE + "{db_names: ['^(a+)+$']}\nx: 1\n", "a list for a text": ROLE + "{db_names: [[a]]}\n",
    "a number of a name": "kind: role\nversion: v7\nmetadata: {name: [1]}\nspec: {}\n", "two megabytes": ROLE + "{db_names: [" + "x," * (1 << 20) + "]}\n",
    "a second resource that is wrong": "kind: role\nversion: v7\nmetadata: {name: harm}\nspec: {}\n---\nkind: role\nversion: v9\nmetadata: {name: harm2}\nspec: {}\n",
}


@pytest.mark.parametrize("what", RESOURCES)
def test_55_resources_that_mean_harm(cluster, what):
    result = cluster.tool("tctl", "create", stdin=RESOURCES[what])
    assert result.returncode == 1 and len(result.stderr.splitlines()) == 1 and len(result.stderr) < 1000, result.stderr[:500]
    assert "harm" not in cluster.run("tctl", "get", "roles"), "nothing of it is applied"


def test_54_deny_wins_and_empty_opens_nothing(cluster):
    role = "kind: role\nversion: v7\nmetadata: {{name: row-54}}\nspec:\n  allow: {allow}\n  deny: {deny}\n"
    everything = "{db_labels: {'*': '*'}, db_names: ['*'], db_users: ['*']}"
    home = None
    for allow, deny, sees in [
        (everything, "{}", True), (everything, "{db_labels: {'*': '*'}}", False), (everything, "{db_labels: {env: '*'}}", False),
        ("{db_labels: {'*': '*'}, db_names: [], db_users: []}", "{}", True), ("{}", "{}", False), ("{db_labels: {}}", "{}", False),
        # A template that nothing fills opens nothing, and denies nothing less.
        ("{db_labels: {'*': '*'}, db_names: ['{{internal.none}}'], db_users: ['{{internal.none}}']}", "{}", True),
    ]:
        cluster.run("tctl", "create", "--force", stdin=role.format(allow=allow, deny=deny))
        home = home or cluster.make_user("row-54", "row-54")
        assert ("redshift" in cluster.run("tsh", "db", "ls", "--format=json", home=home)) == sees, (allow, deny)
    # A user's own roles are not the user's to change.
    identity = identity_of(home)
    assert call(cluster, "PUT", "/v1/users/row-54", {"roles": ["editor"]}, identity=identity)[0] == 403
    assert call(cluster, "POST", "/v1/resources/role", {}, identity=identity)[0] in (400, 403)


@pytest.mark.parametrize("name", ["../../x", "..", "a/b", "/etc/passwd", "a\nb", "-o", "", "x" * 300, "a%2fb", ".hidden"])
def test_a22_names_stay_in_their_directory(cluster, tmp_path, name):
    before = {path for path in cluster.directory.rglob("*") if "pg/data" not in str(path) and "home-" in str(path)}
    for command in (["users", "add", f"--roles=dev", "--", name], ["lock", f"--user=x", f"--message=x", "--", name]):
        result = cluster.tool("tctl", *command)
        assert result.returncode != 0 and "\n" not in result.stderr.strip("\n").replace("\n", " ", 3), result
    result = cluster.tool("tsh", "db", "login", f"--db-user=x", "--", name, home=cluster.home)
    assert result.returncode != 0
    result = cluster.tool(
        "tsh", "login", f"--proxy=localhost:{cluster.port}", f"--user={name}", "--password-file=-", home=tmp_path / "home",
        stdin="not the password\n")
    assert result.returncode != 0
    after = {path for path in cluster.directory.rglob("*") if "pg/data" not in str(path) and "home-" in str(path)}
    assert after == before, after - before


CONTENT = "root:x:secret content of a file that is not ours"


def test_a22_key_files_are_their_owners_and_no_links(cluster, tmp_path):
    """What is open to others, or a link, ends the start with its name and the mend, and without a word of its content."""
    data, config, port = tmp_path / "data", tmp_path / "teleport.yaml", free_port()
    config.write_text(f"""teleport: {{data_dir: {data}}}
auth_service: {{enabled: "yes", cluster_name: files}}
proxy_service: {{enabled: "yes", web_listen_addr: "127.0.0.1:{port}"}}
""")

    def start():
        try:
            result = subprocess.run(
                [BIN / "teleport", "start", "-c", config], env=cluster.environment, capture_output=True, text=True, timeout=3)
            return result.returncode, result.stderr
        except subprocess.TimeoutExpired:
            return None, ""

    assert start()[0] is None, "it serves until it is ended"
    for name in ("second_factor.key", "state.sqlite", "admin/admin.key", "host_uuid", "log/events.log"):
        path = data / name
        for mode in (0o640, 0o604, 0o660):
            path.chmod(mode)
            code, text = start()
            assert code == 1 and f"{path} is open to others" in text and f"'chmod 600 {path}'" in text, (name, text)
        path.chmod(0o600)
    (data / "admin").chmod(0o750)
    assert f"'chmod 700 {data / 'admin'}'" in start()[1]
    (data / "admin").chmod(0o700)
    secret = tmp_path / "secret"
    secret.write_text(CONTENT)
    secret.chmod(0o600)
    for name in ("second_factor.key", "state.sqlite", "host_uuid"):
        path, kept = data / name, data / "kept"
        path.rename(kept)
        path.symlink_to(secret)
        code, text = start()
        assert code == 1 and str(path) in text and CONTENT[:10] not in text, (name, text)
        path.unlink()
        kept.rename(path)
    # A path in place of a token: what the file says is a token, and shown to nobody.
    config.write_text(config.read_text().replace(f"{{data_dir: {data}}}", f"{{data_dir: {data}, join_params: {{token_name: {secret}, method: token}}}}")
                      + 'db_service: {enabled: "yes"}\n')
    code, text = start()
    assert code == 1 and "join token is not valid" in text and CONTENT[:10] not in text and "secret content" not in text
    config.write_text(config.read_text().replace('db_service: {enabled: "yes"}\n', "").replace(f", join_params: {{token_name: {secret}, method: token}}", ""))
    assert start()[0] is None, "it starts again once all is as it was"
