"""Fixtures of all tests: one running installation that most of them share, and fresh ones for those that stop or kill it."""

import os
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent / "support"))

pytest.register_assert_rewrite("deployment", "exposition", "ledger", "problems", "reports", "wire")

from installation import Installation, processes_in  # noqa: E402


@pytest.fixture(scope="session")
def shared_directory(tmp_path_factory):
    """A directory that the unprivileged PostgreSQL may pass through, unlike pytest's own, which is closed."""
    base = tmp_path_factory.getbasetemp()
    for directory in (base, *base.parents):
        if directory.is_relative_to("/tmp") and directory != Path("/tmp"):
            directory.chmod(0o711)
    return base


@pytest.fixture(scope="session")
def installation(shared_directory):
    """The installation that tests share; they keep apart by agents and teams of their own."""
    # The whole API must not notice replicas: COGNIVE_TEST_REPLICAS=2 runs the same tests with reads from two of them.
    replicas = os.environ.get("COGNIVE_TEST_REPLICAS", "0")
    running = Installation(shared_directory / "shared-installation").start("--replicas", replicas)
    yield running
    status = running.stop()
    assert status == 0
    assert not processes_in(running.directory)


@pytest.fixture
def api(installation):
    """The API with the organisation-wide key."""
    return installation.api()


@pytest.fixture
def fresh(shared_directory, request):
    """A factory of installations of the test's own, stopped at its end: fresh(HTTP_BODY_BYTES_MAX=1024)."""
    made = []

    def make(**environment):
        name = f"{request.node.name.replace('[', '-').replace(']', '')[:40]}-{len(made)}"
        made.append(Installation(shared_directory / name, **environment))
        return made[-1]

    yield make
    for one in made:
        if one.process is not None:
            one.stop()
        assert not processes_in(one.directory)
