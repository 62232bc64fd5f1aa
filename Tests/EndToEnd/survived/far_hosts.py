"""Three hosts with bad links between them: a workstation, the cluster's front, and the host of the database."""

import ctypes
import os
import pathlib
import re
import subprocess
import sys
import threading
import types

from conftest import HOST, PASSWORD, USER, wait_until
from three_hosts import DATABASE_PORT, FRONT_OUTSIDE, NAME, PORT, ThreeHosts

CLONE_NEWNET = 0x40000000

DATABASES = """
  - name: redshift
    protocol: postgres
    uri: {host}:{port}
    static_labels: {{env: dev}}
    tls: {{mode: verify-full, ca_cert_file: {directory}/pg/ca.pem}}
    aws: {{region: us-east-1, account_id: "123456789012", redshift_serverless: {{workgroup_name: some-workgroup}}}}
"""

ROLE = f"""version: v5
kind: role
metadata: {{name: dev}}
spec: {{allow: {{db_labels: {{'*': '*'}}, db_names: [dev], db_users: [{USER}]}}}}
"""


class BadLink:
    def __init__(self, *ends):
        self.process = subprocess.Popen(
            [sys.executable, pathlib.Path(__file__).with_name("bad_link.py"), *ends], stdin=subprocess.PIPE,
            stdout=subprocess.PIPE, text=True)
        self.read()

    def read(self):
        answer = self.process.stdout.readline()
        assert answer, "the link has ended"
        return tuple(map(int, answer.split()))

    def set(self, **values):
        """Loss and reorder as probabilities, delay and jitter in seconds. Gives `counts`."""
        self.process.stdin.write(" ".join(f"{name}={value}" for name, value in values.items()) + "\n")
        self.process.stdin.flush()
        return self.read()

    def counts(self):
        """Packets carried, lost, and sent ahead of others."""
        return self.set()

    def cut(self):
        """Nothing arrives any more, and nobody is told."""
        self.set(loss=1)

    def end(self):
        self.process.stdin.close()
        self.process.wait()


class FarHosts(ThreeHosts):
    emulator, world = "emulator.py", "world.json"

    def __init__(self, directory, number=0):
        super().__init__(directory)
        self.prefix = f"flt{number}-{os.getpid()}"
        self.bad_links = {}

    def join(self, host, address, front_address):
        self.bad_links[host] = BadLink(self.namespace(host), address, self.namespace("front"), front_address)

    def start(self):
        self.build()
        self.start_database()
        self.start_front()
        self.run("front", f"tctl create --force <<'END'\n{ROLE}END")
        link = re.search(r"https://\S+", self.run("front", "tctl users add alice --roles=dev")).group(0)
        self.run("front", f"curl -sS --fail --data-urlencode 'password={PASSWORD}' -o /dev/null {link}")
        pin = re.search(r"sha256:\w+", self.run("front", "tctl status")).group(0)
        token = self.run("front", "tctl tokens add --type=db --format=text").strip()
        config = self.directory / "database-host/teleport.yaml"
        config.write_text(f"""version: v3
teleport:
  data_dir: {self.directory}/database-host/data
  proxy_server: {NAME}:{PORT}
  ca_pin: {pin}
  join_params: {{method: token, token_name: {token}}}
auth_service: {{enabled: "no"}}
proxy_service: {{enabled: "no"}}
db_service:
  enabled: "yes"
  databases:{DATABASES.format(host=HOST, port=DATABASE_PORT, directory=self.directory)}""")
        self.agent = self.spawn("database-host", "agent", "teleport", "start", "-c", config)
        self.settings = {host: self.log_in(host) for host in ("workstation", "front")}

    def log_in(self, host):
        """Alice on `host`; gives her settings of libpq."""
        self.run(host, f"tsh login --proxy={NAME}:{PORT} --user=alice --password-file=- <<< '{PASSWORD}'")
        wait_until(lambda: "redshift" in self.run(host, "tsh db ls"), "the database in the list")
        self.run(host, f"tsh db login redshift --db-user={USER} --db-name=dev")
        text = self.run(host, "tsh db env redshift")
        values = dict(re.findall(r"export (PG\w+)='?([^'\n]*)'?", text))
        keys = {"PGUSER": "user", "PGDATABASE": "dbname", "PGSSLROOTCERT": "sslrootcert", "PGSSLCERT": "sslcert", "PGSSLKEY": "sslkey"}
        settings = " ".join(f"{key}='{values[name]}'" for name, key in keys.items())
        return f"host={NAME} hostaddr={FRONT_OUTSIDE} port={PORT} sslmode=verify-full gssencmode=disable {settings}"

    def on(self, host, work):
        """Starts a thread whose sockets are those of `host`; gives it, with the outcome of `work` in `outcome` when it is done."""
        def run():
            namespace = os.open(f"/run/netns/{self.namespace(host)}", os.O_RDONLY)
            try:
                if ctypes.CDLL(None, use_errno=True).setns(namespace, CLONE_NEWNET) != 0:
                    raise OSError(ctypes.get_errno(), "setns")
            finally:
                os.close(namespace)
            try:
                job.outcome = work(self.settings[host])
            except Exception as error:  # noqa: BLE001 - looked at by the test
                job.outcome = error

        job = types.SimpleNamespace(outcome=None, thread=threading.Thread(target=run, daemon=True))
        job.thread.start()
        return job

    def backends(self):
        """Sessions in the database, by application name."""
        text = subprocess.run(
            ["psql", "-h", self.directory / "pg", "-p", str(DATABASE_PORT), "-U", "postgres", "-Atc",
             "select application_name from pg_stat_activity where datname = 'dev' and application_name like 'far-%'", "dev"],
            check=True, capture_output=True, text=True).stdout
        return set(text.split())

    def stop(self):
        # How they stop is the subject of others.
        for process in self.processes:
            process.kill()
        super().stop()
        for link in self.bad_links.values():
            link.end()
