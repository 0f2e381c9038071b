"""Fixtures that several files of API tests share: a connection byte by byte, and what rubbish must leave as it was."""

import sys

import pytest

sys.set_int_max_str_digits(0)  # a list may hold metadata of the hostile tests, with longer integers than Python reads unasked
pytest.register_assert_rewrite("exposition", "problems", "wire")

from routes import TIME  # noqa: E402
from wire import Wire  # noqa: E402


@pytest.fixture
def wire(installation):
    """One connection to the shared installation."""
    with Wire(installation.url) as one:
        yield one


@pytest.fixture(scope="module")
def things(installation):
    """Ids of an agent and of a run of it that nobody should manage to end."""
    api = installation.api()
    agent = api.agent()["id"]
    return {"agent": agent, "run": api.run(agent, started_at=TIME)["run_id"]}


def row_counts(installation):
    """The number of rows of every table."""
    tables = installation.sql("SELECT quote_ident(tablename) FROM pg_tables WHERE schemaname = 'public' ORDER BY 1")
    return dict(installation.sql(" UNION ALL ".join(f"SELECT '{name}', count(*) FROM {name}" for (name,) in tables)))


@pytest.fixture
def nothing_stored(installation, things):
    """Fails when the test left a row in any table."""
    before = row_counts(installation)
    yield
    assert row_counts(installation) == before


@pytest.fixture(scope="module")
def server_survives(installation):
    """After all of it the server lives, and it logged no failure of its own."""
    log = installation.directory / "log/cognive.log"
    start = log.stat().st_size
    yield
    assert installation.process.poll() is None
    assert installation.api().get("/api/v1/health/readiness").status_code == 200
    assert '"level":"error"' not in log.read_text()[start:]
