"""A cluster whose AWS has an inventory that tests change while programs look for databases in it."""

import json
import signal
import time

from conftest import Cluster

ACCOUNT, OTHER_ACCOUNT = "123456789012", "210987654321"


def workgroup(name, port, region="us-east-1", account=ACCOUNT, **more):
    host = f"{name}.{account}.{region}.redshift-serverless.amazonaws.com"
    return dict(kind="workgroup", name=name, region=region, account=account, host=host, port=port) | more


def endpoint(name, of, port, region="us-east-1", account=ACCOUNT, **more):
    host = f"{name}-endpoint-abc123.{account}.{region}.redshift-serverless.amazonaws.com"
    return dict(kind="endpoint", name=name, workgroup=of, region=region, account=account, host=host, port=port) | more


def provisioned(name, port, region="us-east-1", account=ACCOUNT, **more):
    host = f"{name}.abc123.{region}.redshift.amazonaws.com"
    return dict(kind="cluster", name=name, region=region, account=account, host=host, port=port) | more


def full_name(name, region="us-east-1", account=ACCOUNT, kind="redshift-serverless"):
    return f"{name}-{kind}-{region}-{account}"


class DiscoveryCluster(Cluster):
    """Looks every second. The names of its databases lead to this host, as far as its server sees."""

    # Of what tests connect to; the names of VPC endpoints are not among them, as in AWS.
    HOSTS = [
        "analytics.123456789012.us-east-1.redshift-serverless.amazonaws.com",
        "emea.123456789012.eu-west-1.redshift-serverless.amazonaws.com",
        "shared.210987654321.us-east-1.redshift-serverless.amazonaws.com",
        "warehouse.abc123.us-east-1.redshift.amazonaws.com",
    ]
    ENDPOINT = "reports-endpoint-abc123.123456789012.us-east-1.redshift-serverless.amazonaws.com"
    EVERYTHING = "{types: [redshift-serverless, redshift], regions: [us-east-1, eu-west-1]}"

    def __init__(self, directory):
        super().__init__(directory)
        self.world, self.names = "world_discovery.json", self.HOSTS
        self.matchers = [self.EVERYTHING]
        self.hosts = self.directory / "hosts"
        self.hosts.write_text("127.0.0.1 localhost\n" + "".join(f"127.0.0.1 {name}\n" for name in [*self.HOSTS, self.ENDPOINT]))

    @property
    def inside(self):
        """A command in front of another one that has these host names."""
        return ["unshare", "--mount", "sh", "-c", 'mount --bind "$0" /etc/hosts && exec "$@"', self.hosts]

    def start_teleport(self, prefix=()):
        super().start_teleport([*self.inside, *prefix])

    def write_config(self, **options):
        super().write_config(**options)
        entries = "".join(f"  - {matcher}\n" for matcher in self.matchers)
        self.config.write_text(self.config.read_text().replace(
            "db_service:\n", f"db_service:\n  poll_interval: 1s\n  aws:\n{entries}" if entries else "db_service:\n"))

    def look_for(self, *matchers):
        """From now on, by a reload."""
        self.matchers = matchers
        self.write_config(database=True)
        self.teleport.send_signal(signal.SIGHUP)

    def have(self, *items):
        self.control("inventory", items)

    def listed(self):
        """Every database that is served, by name."""
        return {entry["name"]: entry for entry in json.loads(self.run("tctl", "db", "ls", "--format=json"))}

    def found(self):
        return {name: entry for name, entry in self.listed().items() if entry["origin"] == "cloud"}

    def looks(self):
        """Returns when at least one whole look has been taken since the call."""
        before = self.counters().get("ListWorkgroups", 0)
        deadline = time.monotonic() + 20
        while self.counters().get("ListWorkgroups", 0) < before + 4 and time.monotonic() < deadline:
            time.sleep(0.1)
        time.sleep(0.5)
