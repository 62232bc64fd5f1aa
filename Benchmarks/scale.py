"""How a cluster of many agents behaves: `tsh db ls`, many sessions through one of them, and their return to a proxy that
was killed.

Real processes on one machine: an Auth Service, a proxy, agents with one reactor each that offer databases of their own.
Usage: scale.py [--agents N] [--databases N] [--rounds N] [--sessions N]
"""

import argparse
import json
import os
import pathlib
import re
import signal
import statistics
import sys
import tempfile
import time

ROOT = pathlib.Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "Tests/EndToEnd"))
import psycopg  # noqa: E402
from conftest import HOST, wait_until  # noqa: E402
from test_cluster import Apart, Host  # noqa: E402

CONNECTED = re.compile(r"^(\S+) .*connected to proxy", re.MULTILINE)


def agent(cluster, number, databases):
    name = f"agent-{number:03d}"
    entries = "".join(f"""
  - name: db-{number:03d}-{index:02d}
    protocol: postgres
    uri: 127.0.0.1:{cluster.pg_port}
    static_labels: {{env: dev, agent: "{number}"}}
    tls: {{mode: verify-full, ca_cert_file: {cluster.pg / 'ca.pem'}, server_name: {HOST}}}
    aws: {{region: us-east-1, account_id: "123456789012", redshift_serverless: {{workgroup_name: some-workgroup}}}}"""
                      for index in range(databases))
    text = cluster.agent_config(name, cluster.token, databases=entries)
    host = Host(cluster, name, text.replace("  data_dir: DATA", "  data_dir: DATA\n  reactors: 1"))
    host.start()
    return host


def connections(agents):
    """When each agent connected last, in seconds since the epoch; `None` for one that never did."""
    times = []
    for host in agents:
        found = [line for line in CONNECTED.finditer(host.log.read_text()) if "not connected" not in line.group(0)]
        times.append(parse(found[-1].group(1)) if found else None)
    return times


def parse(stamp):
    whole, fraction = stamp.rstrip("Z").split(".")
    return time.mktime(time.strptime(whole, "%Y-%m-%dT%H:%M:%S")) - time.timezone + float("0." + fraction)


def spread(times, width):
    """How many came in each `width` seconds."""
    bins = {}
    for moment in times:
        bins[int(moment / width)] = bins.get(int(moment / width), 0) + 1
    return "  ".join(f"{key * width:.1f}s:{bins[key]}" for key in sorted(bins))


def open_sessions(cluster, home, count):
    """Opens `count` sessions through the first agent and waits until the cluster lists them all."""
    dsn = cluster.database(home, name="db-000-00").dsn
    connections = []
    try:
        begun = time.monotonic()
        for _ in range(count):
            connections.append(psycopg.connect(dsn, autocommit=True))
        opened = time.monotonic() - begun
        assert all(connection.execute("select 1").fetchone() == (1,) for connection in connections)
        begun = time.monotonic()
        wait_until(
            lambda: len(json.loads(cluster.run("tctl", "sessions", "ls", "--format=json"))) == count, "the list of sessions")
        print(f"{count} sessions through one agent: opened in {opened:.1f} s, one after the other; all listed by tctl "
              f"sessions ls {time.monotonic() - begun:.1f} s later")
    finally:
        for connection in connections:
            connection.close()


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--agents", type=int, default=100)
    parser.add_argument("--databases", type=int, default=10)
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--sessions", type=int, default=1000)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as directory:
        os.chmod(directory, 0o755)
        cluster = Apart(pathlib.Path(directory))
        cluster.host_ttl = "1h"
        agents = []
        try:
            cluster.start()
            cluster.make_role("dev")
            home = cluster.make_user("alice", "dev,editor")
            start = time.monotonic()
            for number in range(arguments.agents):
                agents.append(agent(cluster, number, arguments.databases))
                time.sleep(0.05)
            wait_until(lambda: all(connections(agents)), "all agents to connect", seconds=300)
            print(f"{arguments.agents} agents joined and connected in {time.monotonic() - start:.1f} s")
            total = arguments.agents * arguments.databases + 1
            wait_until(
                lambda: cluster.run("tsh", "db", "ls", "--format=json", home=home).count('"db-') >= total - 1,
                "all databases in the list", seconds=120)
            times = []
            for _ in range(arguments.rounds):
                begun = time.monotonic()
                cluster.run("tsh", "db", "ls", home=home)
                times.append((time.monotonic() - begun) * 1000)
            print(f"tsh db ls of {total} databases: median {statistics.median(times):.0f} ms, "
                  f"least {min(times):.0f} ms, most {max(times):.0f} ms")

            if arguments.sessions:
                open_sessions(cluster, home, arguments.sessions)

            killed = time.time()
            cluster.proxy.stop(signal.SIGKILL)
            time.sleep(1)
            cluster.proxy.start(cluster.port)
            back = time.time()
            wait_until(lambda: all(moment and moment > killed for moment in connections(agents)),
                       "all agents to come back", seconds=120)
            after = sorted(moment - back for moment in connections(agents))
            print(f"proxy killed, back after {back - killed:.1f} s; agents came back from {after[0]:.1f} s "
                  f"to {after[-1]:.1f} s, median {statistics.median(after):.1f} s")
            print("per half second:", spread(after, 0.5))
        finally:
            for host in agents:
                host.stop(signal.SIGKILL)
            cluster.stop()


if __name__ == "__main__":
    main()
