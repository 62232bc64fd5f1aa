import pytest

from conftest import open_directory
from test_cluster import Apart, running


@pytest.fixture(scope="package")
def apart(tmp_path_factory):
    """Auth Service, proxy and agent as processes of their own; hosts' certificates are good for 20 s."""
    with running(Apart(open_directory(tmp_path_factory, "survived"))) as cluster:
        yield cluster


@pytest.fixture(scope="package")
def database(apart):
    return apart.database(apart.home)
