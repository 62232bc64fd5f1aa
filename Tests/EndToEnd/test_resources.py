"""Resources as files: what tctl reads and prints."""

import json


def test_scalars_of_a_role_file_stay_as_they_are_written(cluster):
    cluster.run("tctl", "create", stdin="""kind: role
version: v5
metadata: {name: scalars}
spec:
  allow:
    db_labels: {version: 1.20, build: 007}
    db_names: [1.20, 007, 0x10, 1e3, 2024-01-01, yes, Null-ish, 1_000]
    db_users: ['1.20', "007"]
""")
    role = [r for r in json.loads(cluster.run("tctl", "get", "roles", "--format=json")) if r["metadata"]["name"] == "scalars"][0]
    allow = role["spec"]["allow"]
    assert allow["db_labels"] == {"version": "1.20", "build": "007"}
    assert allow["db_names"] == ["1.20", "007", "0x10", "1e3", "2024-01-01", "yes", "Null-ish", "1_000"]
    assert allow["db_users"] == ["1.20", "007"]
    # What tctl prints can be created again, and is the same.
    for form in ("yaml", "json"):
        printed = cluster.run("tctl", "get", "role/scalars", f"--format={form}")
        assert cluster.run("tctl", "create", "-f", stdin=printed) == "role 'scalars' has been updated\n"
        assert json.loads(cluster.run("tctl", "get", "role/scalars", "--format=json")) == [role]


def test_a_file_is_applied_whole_or_not_at_all(cluster):
    role = "kind: role\nversion: v5\nmetadata: {name: %s}\nspec: {}\n"
    for second, words in [("kind: [role\n", "stdin"), (role % "../x", "not valid"), ("a: b: c\n", "stdin")]:
        result = cluster.tool("tctl", "create", stdin=role % "whole" + "---\n" + second)
        assert result.returncode == 1 and words in result.stderr and len(result.stderr.splitlines()) == 1, result
        assert cluster.tool("tctl", "get", "role/whole").returncode == 1
    both = cluster.run("tctl", "create", stdin="---\n" + role % "one" + "---\n---\n" + role % "two")
    assert both == "role 'one' has been created\nrole 'two' has been created\n"
    assert cluster.tool("tctl", "create", stdin="# nothing\n").returncode == 1
