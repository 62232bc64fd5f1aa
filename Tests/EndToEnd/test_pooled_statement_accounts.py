"""What clients that share connections ask for: every statement of PostgreSQL's own log has its event, and no event lacks one."""

import pytest

from conftest import Cluster
from test_audit import (
    recording_all, test_every_statement_of_asyncpg_has_its_event, test_every_statement_of_pgbench_has_its_event,
    test_every_statement_of_psql_has_its_event, test_every_statement_of_psycopg_has_its_event)

POOLS = {"session": "mode: session", "transaction": "mode: transaction, pool_size: 2"}


class Pooled(Cluster):
    """`pool`: the database's, in YAML."""

    pool = None

    def __init__(self, directory):
        super().__init__(directory)
        # Between two clients, and where what the next one has set differs (docs/pooling.md).
        self.own_statements = r"DISCARD ALL|(SET \w+ TO '[^']*'(; )?)+"

    def write_config(self, database, **options):
        super().write_config(database, **options)
        text = self.config.read_text()
        self.config.write_text(text.replace("  - name: redshift\n", f"  - name: redshift\n    pool: {{{self.pool}}}\n", 1))


@pytest.fixture(scope="module", params=POOLS)
def audited(request):
    with recording_all(kind=type("Pooled", (Pooled,), {"pool": POOLS[request.param]})) as cluster:
        yield cluster


@pytest.fixture(scope="module")
def database(audited):
    return audited.database(audited.home)
