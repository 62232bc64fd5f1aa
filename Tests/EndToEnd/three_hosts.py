"""Three hosts as network namespaces: the cluster's front in the middle, a workstation on one side, the host of the
database on the other. Nothing is routed through the middle."""

import os
import pathlib
import shutil
import signal
import subprocess
import time

from conftest import BIN, HOST, ROOT, wait_until

PORT = 3080
DATABASE_PORT = 5439
AWS_PORT = 4566
NAME = "teleport.example.com"
WORKSTATION, FRONT_OUTSIDE = "10.213.1.2", "10.213.1.1"
DATABASE_HOST, FRONT_INSIDE = "10.213.2.2", "10.213.2.1"


class ThreeHosts:
    # What plays AWS, and with which world: here nothing is allowed before the guide's policies are made.
    emulator, world = "iam.py", "world_iam.json"

    def __init__(self, directory):
        self.directory = pathlib.Path(directory)
        self.prefix = f"cluster-{os.getpid()}"
        self.links = {"workstation": f"w{os.getpid()}", "database-host": f"d{os.getpid()}"}
        self.processes = []
        self.environments = {}
        for host in ("front", "workstation", "database-host"):
            (self.directory / host).mkdir(mode=0o755)
            self.environments[host] = dict(
                os.environ, PATH=f"{self.directory / 'bin'}:{BIN}:{os.environ['PATH']}", TERM="dumb", PAGER="cat",
                PSQLRC="/nonexistent", HOME=str(self.directory / host), TELEPORT_HOME=str(self.directory / host / "tsh"),
                SSL_CERT_FILE=str(self.directory / "bundle.pem"), CURL_CA_BUNDLE=str(self.directory / "bundle.pem"))
            for name in [*self.environments[host]]:
                if name.startswith("AWS_") or name == "TELEPORT_CONFIG_FILE":
                    del self.environments[host][name]
        aws = f"http://127.0.0.1:{AWS_PORT}"
        self.environments["database-host"] |= {
            "AWS_ENDPOINT_URL": aws, "AWS_EC2_METADATA_SERVICE_ENDPOINT": aws,
            "AWS_SHARED_CREDENTIALS_FILE": "/nonexistent", "AWS_CONFIG_FILE": "/nonexistent"}
        # `sudo` of the guide: the test is root already.
        (self.directory / "bin").mkdir()
        (self.directory / "bin/sudo").write_text('#!/bin/sh\nexec "$@"\n')
        (self.directory / "bin/sudo").chmod(0o755)

    # Network

    def namespace(self, host):
        return f"{self.prefix}-{host}"

    def inside(self, host, *command):
        return ["ip", "netns", "exec", self.namespace(host), *map(str, command)]

    def build(self):
        for host in ("front", "workstation", "database-host"):
            ip("netns", "add", self.namespace(host))
            ip("-n", self.namespace(host), "link", "set", "lo", "up")
            # Mounted over /etc/hosts by 'ip netns exec'.
            folder = pathlib.Path("/etc/netns") / self.namespace(host)
            folder.mkdir(parents=True)
            front = FRONT_INSIDE if host == "database-host" else FRONT_OUTSIDE
            names = f"127.0.0.1 localhost\n{front} {NAME}\n"
            if host == "database-host":
                names += f"127.0.0.1 {HOST}\n"
            (folder / "hosts").write_text(names)
        self.join("workstation", WORKSTATION, FRONT_OUTSIDE)
        self.join("database-host", DATABASE_HOST, FRONT_INSIDE)

    def join(self, host, address, front_address):
        link = self.links[host]
        ip("link", "add", f"{link}a", "netns", self.namespace(host), "type", "veth",
           "peer", "name", f"{link}b", "netns", self.namespace("front"))
        for namespace, name, own in ((host, f"{link}a", address), ("front", f"{link}b", front_address)):
            ip("-n", self.namespace(namespace), "address", "add", f"{own}/30", "dev", name)
            ip("-n", self.namespace(namespace), "link", "set", name, "up")

    def reaches(self, host, address, port):
        """Whether a program on `host` can connect there."""
        script = f"import socket; socket.create_connection(('{address}', {port}), 2)"
        command = self.inside(host, ROOT / ".venv/bin/python", "-c", script)
        return subprocess.run(command, capture_output=True, timeout=30).returncode == 0

    def listening(self, host):
        """(address, port) of every TCP listener of a host."""
        lines = subprocess.run(
            self.inside(host, "ss", "-Htln"), capture_output=True, text=True, check=True).stdout.splitlines()
        return {tuple(line.split()[3].rsplit(":", 1)) for line in lines}

    # Programs

    def spawn(self, host, name, *command):
        log = open(self.directory / f"{name}.log", "a")
        process = subprocess.Popen(
            self.inside(host, *command), env=self.environments[host], stdout=log, stderr=log,
            cwd=self.directory / host)
        self.processes.append(process)
        return process

    def shell(self, host, command):
        """Types `command` on `host`; variables it sets are there for the next one."""
        state = self.directory / host / "variables"
        script = f"""[ -e '{state}' ] && . '{state}'
{command}
status=$?
declare -p ROLES TELEPORT_DOMAIN TELEPORT_VERSION > '{state}' 2> /dev/null
exit $status"""
        return self.inside(host, "bash", "-c", script)

    def run(self, host, command):
        result = subprocess.run(
            self.shell(host, command), env=self.environments[host], cwd=self.directory / host, capture_output=True,
            text=True, timeout=60, stdin=subprocess.DEVNULL)
        assert result.returncode == 0, f"{command}: {result.stdout}{result.stderr}"
        return result.stdout

    def start_database(self):
        """PostgreSQL and AWS, which only the database's host can reach: they listen on its loopback."""
        pg = self.directory / "pg"
        script = ROOT / "Tests/EndToEnd/postgres.sh"
        subprocess.run(self.inside("database-host", script, "start", pg, DATABASE_PORT), check=True)
        shutil.copy(pg / "ca.pem", self.directory / "bundle.pem")
        self.spawn(
            "database-host", "aws", ROOT / ".venv/bin/python", ROOT / "Tests/AWSEmulator" / self.emulator, "--port",
            AWS_PORT, "--world", ROOT / "Tests/AWSEmulator" / self.world, "--postgres",
            f"host={pg} port={DATABASE_PORT} user=postgres dbname=dev")
        wait_until(lambda: self.reaches("database-host", "127.0.0.1", AWS_PORT), "emulator")

    def start_front(self):
        config = self.directory / "front/teleport.yaml"
        self.environments["front"]["TELEPORT_CONFIG_FILE"] = str(config)
        self.run("front", f"""teleport configure --cluster-name={NAME} --public-addr={NAME}:{PORT} \
            --data-dir={self.directory}/front/data -o {config}""")
        self.front = self.spawn("front", "front", "teleport", "start")
        admin = self.directory / "front/data/admin/ca.pem"
        wait_until(
            lambda: self.reaches("workstation", FRONT_OUTSIDE, PORT) and admin.exists() or self.front.poll() is not None,
            "the front")
        assert self.front.poll() is None, (self.directory / "front.log").read_text()
        with open(self.directory / "bundle.pem", "a") as bundle:
            bundle.write(admin.read_text())

    def stop(self):
        for process in reversed(self.processes):
            if process.poll() is None:
                process.send_signal(signal.SIGTERM)
        deadline = time.monotonic() + 15
        for process in self.processes:
            try:
                process.wait(timeout=max(0.1, deadline - time.monotonic()))
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        if (self.directory / "pg/data").exists():
            subprocess.run(
                self.inside("database-host", ROOT / "Tests/EndToEnd/postgres.sh", "stop", self.directory / "pg"), check=False)
        for host in ("front", "workstation", "database-host"):
            subprocess.run(["ip", "netns", "del", self.namespace(host)], check=False, capture_output=True)
            shutil.rmtree(pathlib.Path("/etc/netns") / self.namespace(host), ignore_errors=True)


def ip(*arguments):
    result = subprocess.run(["ip", *arguments], capture_output=True, text=True)
    assert result.returncode == 0, f"ip {' '.join(arguments)}: {result.stderr}"
