"""An object storage of the tests' own."""

import pytest

from ceph_server import CephServer


@pytest.fixture(scope="module")
def ceph(shared_directory):
    """A Ceph whose gateway speaks S3."""
    with CephServer(shared_directory) as store:
        yield store
