"""`teleport db doctor` for databases that are neither in teleport.yaml nor in the cluster: `db_service.aws` finds them."""

import json
import subprocess

from conftest import BIN, USER, wait_until
from discovery_world import OTHER_ACCOUNT, full_name, workgroup
from test_discovery import SCOUT, appears, aws, running  # noqa: F401 (fixtures)


def doctor(cluster, name, user=USER, config=None):
    """The findings by their links, or the error if there is none; the exit code."""
    result = subprocess.run(
        [*cluster.inside, BIN / "teleport", "db", "doctor", name, f"--db-user={user}", "--db-name=dev", "--format=json", "-c",
         config or cluster.config],
        env=cluster.environment, capture_output=True, text=True, timeout=100)
    # A look that fails is a finding, and no line of a log besides.
    assert result.stderr.count("\n") == (0 if result.stdout else 1), result.stderr
    if not result.stdout:
        return result.stderr, result.returncode
    return {found["link"]: found for found in json.loads(result.stdout)["findings"]}, result.returncode


def test_what_is_found_is_looked_at_like_any_other(aws):  # noqa: F811
    aws.have(workgroup("analytics", aws.pg_port))
    name = full_name("analytics")
    appears(aws, name)
    findings, code = doctor(aws, name)
    assert code == 0, findings
    assert findings["discovery"]["detail"] == "found in us-east-1"
    assert findings["cluster"]["detail"] == f"'test': '{name}' is not in it, but found in AWS; it is served now"
    assert "workgroup 'analytics' of account 123456789012 in us-east-1" in findings["configuration"]["detail"]
    assert findings["first query"]["outcome"] == "works"
    findings, code = doctor(aws, name, user="nobody")
    assert code == 1 and findings["assume role"]["outcome"] == "broken"


def test_the_role_that_looks_is_the_first_of_the_chain(aws):  # noqa: F811
    aws.look_for(f"{{types: [redshift-serverless], regions: [us-east-1], assume_role_arn: '{SCOUT}', external_id: vouched}}")
    aws.have(workgroup("shared", aws.pg_port, account=OTHER_ACCOUNT))
    name = full_name("shared", account=OTHER_ACCOUNT)
    appears(aws, name)
    findings, code = doctor(aws, name, user="analyst")
    assert code == 0, findings
    assert findings["discovery"]["detail"] == f"found in us-east-1 as {SCOUT}"
    assert findings["assume role"]["detail"] == f"arn:aws:iam::{OTHER_ACCOUNT}:role/analyst lets {SCOUT} in"
    aws.look_for(f"{{types: [redshift-serverless], regions: [us-east-1], assume_role_arn: '{SCOUT}', external_id: wrong}}")
    findings, code = doctor(aws, name, user="analyst")
    assert code == 1 and set(findings) == {"discovery"}
    assert f"us-east-1 as {SCOUT}: {SCOUT}: AccessDenied" in findings["discovery"]["detail"]
    assert "trust policy" in "\n".join(findings["discovery"]["mend"])


def test_a_region_that_refuses_to_be_looked_at(aws):  # noqa: F811
    aws.have(workgroup("analytics", aws.pg_port), workgroup("emea", aws.pg_port, region="eu-west-1"))
    east, west = full_name("analytics"), full_name("emea", region="eu-west-1")
    appears(aws, east), appears(aws, west)
    aws.faults({"action": "ListWorkgroups", "kind": "denied", "times": 1000, "region": "eu-west-1"})
    findings, code = doctor(aws, west)
    assert code == 1 and set(findings) == {"discovery"}
    detail, mend = findings["discovery"]["detail"], "\n".join(findings["discovery"]["mend"])
    assert f"'{west}' may be where AWS cannot be looked at, eu-west-1: AccessDenied" in detail and "us-east-1" not in detail
    assert "Allow redshift-serverless:ListWorkgroups on" in mend and "teleport db configure bootstrap" in mend
    # The other region answers: its databases are found as ever.
    findings, code = doctor(aws, east)
    assert code == 0 and findings["discovery"]["outcome"] == "works"


def test_nobody_has_it(aws):  # noqa: F811
    aws.have(workgroup("analytics", aws.pg_port), workgroup("other", aws.pg_port))
    appears(aws, full_name("other"))
    error, code = doctor(aws, "nothing")
    assert code == 1 and "has no db/nothing either" in error
    assert error.endswith(f"in AWS db_service.aws finds {full_name('analytics')}, {full_name('other')}\n")
    # Under the name that it has in AWS, before its place was added: told is which is meant.
    error, code = doctor(aws, "other")
    assert code == 1 and error.endswith(f"in AWS db_service.aws finds {full_name('other')}\n")


def test_the_service_has_not_heard_of_it(aws, tmp_path):  # noqa: F811
    aws.look_for("{types: [redshift-serverless], regions: [us-east-1], tags: {env: dev}}")
    aws.have(workgroup("analytics", aws.pg_port, tags={"env": "prod"}))
    name = full_name("analytics")
    wait_until(lambda: not aws.found(), "nothing to be found", seconds=20)
    changed = tmp_path / "teleport.yaml"
    changed.write_text(aws.config.read_text().replace("env: dev}}", "env: prod}}"))
    findings, code = doctor(aws, name, config=changed)
    assert code == 1 and findings["cluster"]["outcome"] == "broken"
    assert f"no Database Service serves '{name}' now" in findings["cluster"]["detail"]
    assert "db_service.poll_interval" in "\n".join(findings["cluster"]["mend"])
    # The way itself is good.
    assert findings["first query"]["outcome"] == "works"


def test_the_service_need_not_run(aws):  # noqa: F811
    aws.have(workgroup("analytics", aws.pg_port))
    appears(aws, full_name("analytics"))
    aws.stop_teleport()
    try:
        findings, code = doctor(aws, full_name("analytics"))
        assert code == 0 and findings["cluster"]["outcome"] == "skipped" and findings["discovery"]["outcome"] == "works"
        error, code = doctor(aws, "nothing")
        assert code == 1 and "the cluster, which may have it, does not answer" in error
    finally:
        aws.start_teleport()
