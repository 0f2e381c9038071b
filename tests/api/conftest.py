"""Fixtures that several files of API tests share: a connection byte by byte, and what rubbish must leave as it was."""

import sys
import uuid

import pytest

sys.set_int_max_str_digits(0)  # a list may hold metadata of the hostile tests, with longer integers than Python reads unasked

from deployment import Service  # noqa: E402
from installation import uuid7  # noqa: E402
from redis_server import RedisServer  # noqa: E402
from routes import TIME  # noqa: E402
from tables import row_counts  # noqa: E402
from wire import Wire  # noqa: E402


@pytest.fixture
def wire(installation):
    """One connection to the shared installation."""
    with Wire(installation.url) as one:
        yield one


@pytest.fixture(scope="module")
def things(installation):
    """Ids of an agent, of a run of it that nobody should manage to end, of a budget, of a reservation, and of one of everything else that has one."""
    api = installation.api()
    agent = api.agent()["id"]
    budget = api.post("/api/v1/budgets", json={"scope": "agent", "agent_id": agent, "window": "total", "limit_usd": 1_000_000}).json()["id"]
    asked = {"agent_id": agent, "model": "gpt-4o", "max_cost_usd": 1, "expires_in_s": 86_400}
    reservation = api.post("/api/v1/budgets/authorize", json=asked).json()["reservation_id"]
    channel = api.post("/api/v1/alert-channels", json={"kind": "webhook", "url": "https://hooks.example.com/cognive", "enabled": False}).json()["id"]
    team = api.post("/api/v1/teams", json={"name": uuid7()}).json()["id"]
    user = api.post("/api/v1/users", json={"email": "sampled@example.com", "password": "a first password"})
    if user.status_code == 409:
        user = api.get("/api/v1/users?email=sampled@example.com").json()["items"][0]["id"]
    else:
        user = user.json()["id"]
    key = api.post("/api/v1/api-keys", json={"name": "a thing", "permissions": ["events:write"]}).json()["id"]
    return {"agent": agent, "run": api.run(agent, started_at=TIME)["run_id"], "budget": budget, "reservation": reservation, "alert-channel": channel,
            "team": team, "user": user, "api-key": key}


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


@pytest.fixture(scope="module")
def other_node(installation):
    """A second server on the database of the shared installation."""
    variables = {name: value for name, value in installation.variables.items()
                 if name.startswith("DATABASE_") or name == "COGNIVE_MASTER_KEY_FILE"}
    log = installation.directory.parent / f"other-node-{uuid.uuid4()}.log"
    service = Service(log, variables | {"HTTP_PORT": 0}, installation.key).start()
    yield service
    assert service.stop() == 0


@pytest.fixture
def subject(api):
    """A new agent and a run of it."""
    agent = api.agent()["id"]
    return {"agent_id": agent, "run_id": api.run(agent)["run_id"]}


@pytest.fixture(scope="module")
def redis(shared_directory):
    """One that the tests of a file share."""
    with RedisServer(shared_directory, password="s3cret of redis") as server:
        yield server


@pytest.fixture
def serve(installation, tmp_path):
    """Starts servers on the database of the shared installation."""
    variables = {name: value for name, value in installation.variables.items() if name.startswith("DATABASE_") or name == "COGNIVE_MASTER_KEY_FILE"}
    started = []

    def start(**settings):
        started.append(Service(tmp_path / f"served-{len(started)}.log", variables | {"HTTP_PORT": 0, "WORKER_IN_SERVER": "false"} | settings, installation.key))
        return started[-1].start()

    yield start
    for service in started:
        assert service.stop() in (0, None)
