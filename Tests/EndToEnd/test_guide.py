"""The Redshift Serverless guide, command by command, on three hosts: the front (auth and proxy), the host of the database
that only dials out, and a workstation."""

import os
import pathlib
import re
import shutil
import subprocess
import tempfile
import types

import pexpect
import pytest

from conftest import HOST, PASSWORD, wait_until
from three_hosts import DATABASE_HOST, DATABASE_PORT, FRONT_INSIDE, FRONT_OUTSIDE, NAME, PORT, ThreeHosts

COMMANDS = pathlib.Path(__file__).parent / "guide_commands.txt"

ADMINISTRATOR = {
    "AWS_ACCESS_KEY_ID": "AKIAADMINADMINADMIN0", "AWS_SECRET_ACCESS_KEY": "of the administrator"}

ROLE = """version: v5
kind: role
metadata:
  name: redshift-serverless-access
spec:
  allow:
    db_labels:
      '*': '*'
    db_names:
    - dev
    db_users:
    - 'teleport-redshift-serverless-access'
"""


def substitutions(directory):
    """What a reader of the guide puts in place of its examples; everything else is typed as printed."""
    return {
        # One cluster and one person go by several names in the guide.
        "--proxy=example.teleport.sh:443": f"--proxy={NAME}:{PORT}",
        "--proxy=mytenant.teleport.sh": f"--proxy={NAME}",
        "TELEPORT_DOMAIN=example.teleport.com": f"TELEPORT_DOMAIN={NAME}:{PORT}",
        "--user=email@example.com": "--user=alice",
        "my-redshift": "redshift-serverless",
        "REDSHIFT_SERVERLESS_URI": f"{HOST}:{DATABASE_PORT}",
        # Files of the test's own in place of the machine's.
        "-o file": f"-o {directory}/database-host/teleport.yaml",
        "-c /etc/teleport.yaml": f"-c {directory}/database-host/teleport.yaml",
        "/tmp/token": f"{directory}/database-host/token",
    }


def commands():
    """The commands of the file with their hosts, expectations and reasons."""
    host, found, continued = None, [], False
    for number, line in enumerate(COMMANDS.read_text().splitlines(), 1):
        if continued:
            found[-1].text += "\n" + line
        elif not line or line.startswith("#"):
            continue
        else:
            mark, rest = line[0], line[2:]
            assert line[1] == " " and mark in "@$+=->", f"line {number}"
            if mark == "@":
                host = rest
            elif mark in "$+":
                found.append(types.SimpleNamespace(
                    text=rest, host=host, is_printed=mark == "$", expected=[], reason=None, saved=None))
            elif mark == "=":
                found[-1].expected.append(rest)
            elif mark == "-":
                found[-1].reason = rest
            else:
                found[-1].saved = rest
        continued = (continued or line[:2] in ("$ ", "+ ")) and line.endswith("\\")
    return found


def test_the_file_of_commands_is_read_whole():
    printed = [command for command in commands() if command.is_printed]
    assert len(printed) == 22
    assert [command.text.split()[0] for command in printed if command.reason] == [
        "curl", "sudo", "sudo", "aws", "nc", "aws"]
    assert all(command.host in ("workstation", "database-host") for command in printed)


@pytest.fixture(scope="module")
def hosts():
    if os.geteuid() != 0 or not shutil.which("ip"):
        pytest.skip("network namespaces need root and iproute2")
    if subprocess.run(["ip", "netns", "add", f"cluster-{os.getpid()}-probe"], capture_output=True).returncode != 0:
        pytest.skip("this kernel or container lets nobody make network namespaces")
    subprocess.run(["ip", "netns", "del", f"cluster-{os.getpid()}-probe"], check=True)
    with tempfile.TemporaryDirectory() as directory:
        os.chmod(directory, 0o755)
        hosts = ThreeHosts(directory)
        try:
            hosts.build()
            hosts.start_database()
            hosts.start_front()
            yield hosts
        finally:
            hosts.stop()


def type_in(hosts, command, text):
    """Types a command on a terminal, answers what it asks, gives what was on the screen."""
    screen = hosts.directory / "screen"
    with open(screen, "w") as log:
        argv = hosts.shell(command.host, text)
        environment = hosts.environments[command.host]
        if "bootstrap" in text:
            # The guide: "This requires IAM permissions to create and attach IAM policies."
            environment = environment | ADMINISTRATOR
        terminal = pexpect.spawn(
            argv[0], argv[1:], env=environment, cwd=str(hosts.directory / command.host),
            encoding="utf-8", timeout=30, logfile=log, dimensions=(50, 200))
        if text.startswith("tsh login"):
            # A login that is still valid is taken up without a question.
            if terminal.expect(["(?i)password", pexpect.EOF]) == 0:
                terminal.sendline(PASSWORD)
                # The cluster's setting is 'optional': alice has no second factor.
                terminal.expect("Enter if you have none")
                terminal.sendline("")
        elif text.startswith("teleport db configure bootstrap"):
            terminal.expect("Go ahead")
            terminal.sendline("y")
        elif text.startswith("tsh db connect"):
            terminal.expect("dev=> ")
            terminal.sendline("select current_user;")
            terminal.expect("dev=> ")
            terminal.sendline("\\q")
        terminal.expect(pexpect.EOF)
        terminal.close()
    shown = screen.read_text().replace("\r\n", "\n")
    assert terminal.exitstatus == 0, f"{text}: {shown}"
    return shown


def test_every_command_of_the_guide_works_as_printed(hosts):
    invite = hosts.run("front", "tctl users add alice --roles=editor,access")
    hosts.run("workstation", f"curl -sS --fail --data-urlencode 'password={PASSWORD}' " + re.search(r"https://\S+", invite)[0])
    (hosts.directory / "workstation/redshift-role.yaml").write_text(ROLE)
    table = substitutions(hosts.directory)
    used = set()
    for command in commands():
        text = command.text
        for example, own in table.items():
            if example in text:
                used.add(example)
                text = text.replace(example, own)
        if command.reason:
            if "systemctl start" in text:
                start_agent(hosts)
            continue
        is_for_person = text.startswith(("tsh login", "tsh db connect", "teleport db configure bootstrap"))
        answer = type_in(hosts, command, text) if is_for_person else hosts.run(command.host, text)
        for pattern in command.expected:
            assert re.search(pattern, answer, re.MULTILINE), f"{text}\n{answer}\nlacks {pattern}"
        if command.saved:
            pathlib.Path(table[command.saved]).write_text(answer)
    assert used | {"/tmp/token"} == set(table), "a substitution that nothing needs"
    # 'tsh db logout' has removed the credentials.
    assert not list((hosts.directory / "workstation/tsh").rglob("*redshift-serverless*"))


def start_agent(hosts):
    config = hosts.directory / "database-host/teleport.yaml"
    agent = hosts.spawn(
        "database-host", "agent", "teleport", "start", "-c", config, f"--data-dir={hosts.directory}/database-host/data")
    log = hosts.directory / "agent.log"
    wait_until(lambda: "connected to proxy" in log.read_text() or agent.poll() is not None, "the agent")
    assert agent.poll() is None, log.read_text()
    # The list of databases follows the connection.
    wait_until(lambda: "redshift-serverless" in hosts.run("front", "tctl db ls"), "the database in the list")


def test_only_the_fronts_one_port_is_reachable(hosts):
    # What runs beside the database listens on its loopback only; the agent does not listen at all.
    assert {address for address, _ in hosts.listening("database-host")} == {"127.0.0.1"}
    assert {port for _, port in hosts.listening("database-host")} == {str(DATABASE_PORT), "4566"}
    assert {port for _, port in hosts.listening("front")} == {str(PORT)}
    assert hosts.listening("workstation") == set()
    assert hosts.reaches("database-host", "127.0.0.1", DATABASE_PORT)
    assert hosts.reaches("database-host", FRONT_INSIDE, PORT) and hosts.reaches("workstation", FRONT_OUTSIDE, PORT)
    for host in ("workstation", "front"):
        assert not hosts.reaches(host, DATABASE_HOST, DATABASE_PORT)
    assert not hosts.reaches("database-host", "10.213.1.2", 22), "nothing is routed through the front"
