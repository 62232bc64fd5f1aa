"""What clients that share connections ask for: every statement of PostgreSQL's own log has its event, and no event lacks one."""

import pytest

from pooled_cluster import Pooled
from test_audit import (
    recording_all, test_every_statement_of_asyncpg_has_its_event, test_every_statement_of_pgbench_has_its_event,
    test_every_statement_of_psql_has_its_event, test_every_statement_of_psycopg_has_its_event)

POOLS = {"session": "mode: session", "transaction": "mode: transaction, pool_size: 2"}


@pytest.fixture(scope="module", params=POOLS)
def audited(request):
    with recording_all(kind=type("Audited", (Pooled,), {"pool": POOLS[request.param]})) as cluster:
        # Between two clients, and where what the next one has set differs (docs/pooling.md).
        cluster.own_statements = r"DISCARD ALL|(SET \w+ TO '[^']*'(; )?)+"
        yield cluster


@pytest.fixture(scope="module")
def database(audited):
    return audited.database(audited.home)
