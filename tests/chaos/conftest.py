"""Fixtures of the chaos tests: one deployment that all of them break and mend, and what must hold whatever is broken."""

import pytest

from deployment import Deployment
from installation import processes_in


@pytest.fixture(scope="session")
def shared_deployment(shared_directory):
    """A primary and two replicas with Cognive's tables, each behind a proxy."""
    with Deployment(shared_directory / "deployment") as running:
        yield running
    assert not processes_in(running.directory)


@pytest.fixture
def deployment(shared_deployment):
    """The deployment with one primary and two replicas that have caught up. Fails when a service erred in a way that no fault excuses."""
    shared_deployment.bring_back()
    shared_deployment.set_synchronous(False)
    starts = {node.name: node.log.stat().st_size for node in shared_deployment.nodes}
    served_before = len(shared_deployment.services)
    yield shared_deployment
    shared_deployment.end_faults()
    shared_deployment.stop_services()
    for node in shared_deployment.nodes:
        log = node.log.read_bytes()[starts[node.name]:].decode(errors="replace")
        assert "in a read-only transaction" not in log, f"a write went to {node.name}"
    for service in shared_deployment.services[served_before:]:
        log = service.log_text()
        assert '"level":"error"' not in log, [line for line in log.splitlines() if '"level":"error"' in line]
        for secret in (shared_deployment.cluster.password, shared_deployment.key, shared_deployment.master_key):
            assert secret not in log


@pytest.fixture
def service(deployment):
    """A service of the test's own, all hosts ok."""
    one = deployment.serve()
    one.wait_ok()
    return one
