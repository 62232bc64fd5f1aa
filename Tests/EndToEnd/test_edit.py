"""tctl edit: an editor that is a script plays the user."""

import json
import os
import pathlib
import re
import stat
import subprocess

import pytest

from conftest import BIN


@pytest.fixture
def edit(cluster, tmp_path):
    """Runs tctl edit with a shell script for an editor; "$1" in it is the file."""
    def run(resource, script, variable="EDITOR", **environment):
        editor = tmp_path / "editor"
        editor.write_text("#!/bin/sh\nset -e\n" + script)
        editor.chmod(0o755)
        drafts = tmp_path / "drafts"
        drafts.mkdir(exist_ok=True)
        variables = {k: v for k, v in cluster.environment.items() if k not in ("EDITOR", "VISUAL")}
        return subprocess.run(
            [BIN / "tctl", "edit", resource], env=variables | {variable: str(editor), "TMPDIR": str(drafts)} | environment,
            capture_output=True, text=True, timeout=60)

    run.drafts = lambda: [path for path in tmp_path.glob("drafts/tctl-edit-*/*")]
    return run


@pytest.fixture
def role(cluster):
    cluster.make_role("edited", names="[dev]")
    yield lambda: json.loads(cluster.run("tctl", "get", "role/edited", "--format=json"))[0]
    cluster.run("tctl", "rm", "role/edited")


def test_an_edit_is_applied_and_leaves_nothing_behind(cluster, edit, role, tmp_path):
    seen = tmp_path / "seen"
    result = edit("role/edited", f"""
stat -c '%a' "$1" "$(dirname "$1")" > {seen}
sed -i 's/- dev$/- prod/' "$1"
""")
    assert result.returncode == 0 and result.stdout == "role 'edited' has been updated\n", result
    assert role()["spec"]["allow"]["db_names"] == ["prod"]
    assert seen.read_text().split() == ["600", "700"]
    assert edit.drafts() == [] and list(tmp_path.glob("drafts/*")) == []
    assert [e["code"] for e in cluster.audit() if e.get("name") == "edited"][-1] == "T9002I"


def test_no_change_is_no_update(cluster, edit, role):
    before = role()
    events = len(cluster.audit())
    result = edit("role/edited", "true")
    assert result.returncode == 0 and result.stdout == "no change was made\n"
    assert role() == before and len(cluster.audit()) == events and edit.drafts() == []


@pytest.mark.parametrize("script, words", [
    ("""printf 'kind: [role\\n' > "$1" """, "role.yaml"),
    ("""sed -i 's/db_names/db_nmaes/' "$1" """, r"role.yaml:\d+: unknown key 'db_nmaes'; did you mean 'db_names'\?"),
    ("""sed -i 's/name: edited/name: renamed/' "$1" """, "neither its kind nor its name"),
    ("""echo '# half' >> "$1"; exit 7""", "status 7"),
])
def test_what_cannot_be_applied_is_kept(cluster, edit, role, script, words):
    before = role()
    result = edit("role/edited", script)
    assert result.returncode == 1 and len(result.stderr.splitlines()) == 1, result
    assert re.search(words, result.stderr), result.stderr
    path = pathlib.Path(re.search(r"your text is in (\S+/role\.yaml)", result.stderr).group(1))
    assert path.exists() and edit.drafts() == [path]
    assert role() == before


def test_what_the_server_refuses_is_kept_too(cluster, edit):
    cluster.run("tctl", "create", stdin="kind: user\nversion: v2\nmetadata: {name: edna}\nspec: {roles: [dev]}\n")
    try:
        result = edit("user/edna", """sed -i 's/- dev/- no-such-role/' "$1" """)
        assert result.returncode == 1 and "role 'no-such-role' does not exist" in result.stderr
        [path] = edit.drafts()
        assert "no-such-role" in path.read_text() and str(path) in result.stderr
    finally:
        cluster.run("tctl", "rm", "user/edna")


def test_a_change_by_someone_else_is_not_overwritten(cluster, edit, role):
    # While the editor is open, another administrator changes the role.
    script = f"""
{BIN}/tctl get role/edited | sed 's/- dev$/- theirs/' | {BIN}/tctl create -f
sed -i 's/- dev$/- mine/' "$1"
"""
    result = edit("role/edited", script)
    assert result.returncode == 1 and "changed meanwhile" in result.stderr, result
    assert role()["spec"]["allow"]["db_names"] == ["theirs"]
    [path] = edit.drafts()
    assert "- mine" in path.read_text()


def test_visual_comes_before_editor_and_may_have_options(cluster, edit, role, tmp_path):
    log = tmp_path / "log"
    other = tmp_path / "other editor"
    other.write_text(f'#!/bin/sh\necho "$@" > {log}\n')
    other.chmod(0o755)
    result = edit("role/edited", "exit 1", VISUAL=f"'{other}' --wait")
    assert result.returncode == 0, result
    assert re.match(r"--wait \S+/role\.yaml$", log.read_text().strip())


def test_every_kind_can_be_edited(cluster, edit):
    cluster.run("tctl", "create", stdin="""
kind: db
version: v3
metadata: {name: edited-db, labels: {env: none}}
spec: {protocol: postgres, uri: "db.example.com:5432"}
---
kind: lock
version: v2
metadata: {name: edited-lock}
spec: {target: {user: nobody-here}, message: before}
---
kind: token
version: v2
metadata: {name: edited-token-0123456789, expires: "2999-01-01T00:00:00Z"}
spec: {roles: [Db], join_method: token}
""")
    token = [t for t in json.loads(cluster.run("tctl", "get", "tokens", "--format=json")) if "2999" in t["metadata"]["expires"]][0]
    token = token["metadata"]["name"]
    try:
        assert "updated" in edit("db/edited-db", """sed -i 's/5432/5433/' "$1" """).stdout
        assert "5433" in cluster.run("tctl", "get", "db/edited-db")
        assert "updated" in edit("lock/edited-lock", """sed -i 's/before/after/' "$1" """).stdout
        assert "after" in cluster.run("tctl", "get", "lock/edited-lock")
        assert "updated" in edit(f"token/{token}", """sed -i 's/- db/- proxy/' "$1" """).stdout
        assert "proxy" in cluster.run("tctl", "get", f"token/{token}")
        assert "updated" in edit("cap", """sed -i 's/optional/otp/' "$1" """).stdout
        assert "otp" in cluster.run("tctl", "get", "cap")
        assert cluster.run("tctl", "rm", "cap") == "cluster_auth_preference has been reset\n"
        assert "optional" in cluster.run("tctl", "get", "cap")
    finally:
        for name in ("db/edited-db", "lock/edited-lock", f"token/{token}"):
            cluster.run("tctl", "rm", name)


def test_the_terminal_is_the_editors(cluster, role):
    """As a user has it: vi or the like on a terminal, in the foreground, and ctrl-C is the editor's."""
    script = cluster.directory / "terminal-editor"
    script.write_text('''#!/bin/sh
trap 'sed -i "s/- dev$/- terminal/" "$1"; exit 0' INT
echo ready
read line < /dev/tty
''')
    script.chmod(0o755)
    import pty
    pid, terminal = pty.fork()
    if pid == 0:
        os.execve(BIN / "tctl", ["tctl", "edit", "role/edited"], cluster.environment | {"VISUAL": str(script)})
    output = b""
    while b"ready" not in output:
        output += os.read(terminal, 4096)
    os.write(terminal, b"\x03")
    try:
        while True:
            output += os.read(terminal, 4096)
    except OSError:
        # The other end is closed.
        pass
    _, status = os.waitpid(pid, 0)
    assert os.waitstatus_to_exitcode(status) == 0 and b"has been updated" in output, output
    assert role()["spec"]["allow"]["db_names"] == ["terminal"]
