"""Reads go to replicas and never show a caller less than it may expect; writes go to the primary; a broken replica costs no request."""

import time
import uuid

import pytest
from deployment import served_by
from installation import llm_call, uuid7, wait_until
from load import Load
from wire import check_problem

LONG_LAG = 600_000  # replicas are read however far they are behind


@pytest.fixture(scope="module")
def reader_key(shared_deployment):
    """A key that never writes, so that nothing is known of what it must see."""
    shared_deployment.bring_back()
    return shared_deployment.make_key("reader", "--permission", "agents:read", "--permission", "runs:read", "--permission", "teams:read")


@pytest.fixture
def stale(deployment):
    """A service that reads from replicas whose replay is paused."""
    one = deployment.serve(DATABASE_MAX_REPLICA_LAG_MS=LONG_LAG)
    one.wait_ok()
    for node in deployment.replicas:
        node.pause_replay()
    return one


def listed(answer):
    """The ids in a list, which must be a success."""
    assert answer.status_code == 200, answer.text
    return [item["id"] for item in answer.json()["items"]]


def primary_reads(service, deployment):
    """How many reads the primary has served."""
    return served_by(service, deployment)[deployment.primary.name]


# --- where requests go ------------------------------------------------------------------------------------------------


def test_reads_are_shared_by_the_replicas_and_the_primary_has_none(deployment, service, reader_key):
    agent = service.api().agent()["id"]
    deployment.wait_caught_up()
    wait_until(lambda: served_by(service, deployment), "the counters", seconds=5)
    before = served_by(service, deployment)
    client = service.api(reader_key)
    for _ in range(60):
        assert client.get(f"/api/v1/agents/{agent}", headers={"Cache-Control": "no-cache"}).status_code == 200
        assert listed(client.get("/api/v1/agents?limit=1"))
    after = served_by(service, deployment)
    gained = {name: after[name] - before[name] for name in after}
    assert gained[deployment.primary.name] == 0
    assert all(gained[node.name] >= 30 for node in deployment.replicas), gained
    assert sum(gained.values()) >= 120


def test_every_kind_of_write_succeeds_and_no_replica_sees_an_error(deployment, service):
    starts = {node.name: node.log.stat().st_size for node in deployment.replicas}
    api = service.api()
    assert api.post("/api/v1/teams", json={"name": f"team-{uuid7()}"}).status_code == 201
    agent = api.agent()["id"]
    assert api.put("/api/v1/agents", json={"name": f"put-{uuid7()}"}).status_code == 201
    assert api.patch(f"/api/v1/agents/{agent}", json={"version": "2"}).status_code == 200
    run = api.run(agent)["run_id"]
    assert api.post("/api/v1/events", json=[llm_call(run)]).json()["accepted"] == 1
    assert api.post(f"/api/v1/runs/{run}/llm-calls", json=llm_call(run)).status_code == 201
    assert api.post(f"/api/v1/runs/{run}/end", json={"status": "succeeded"}).status_code == 200
    assert api.post(f"/api/v1/agents/{agent}/archive").status_code == 200
    assert api.get("/api/v1/analytics/costs").status_code == 200
    for node in deployment.replicas:
        assert "ERROR" not in node.log.read_text()[starts[node.name]:]


def test_without_replicas_everything_works_on_the_primary(deployment):
    service = deployment.serve(DATABASE_READ_URLS="")
    service.wait_ok()
    agent = service.api().agent()["id"]
    assert service.api().get(f"/api/v1/agents/{agent}").status_code == 200
    assert agent in listed(service.api().get("/api/v1/agents?limit=5"))


# --- consistency ------------------------------------------------------------------------------------------------------


def test_a_read_with_the_token_of_a_write_sees_it_although_all_replicas_lag(deployment, stale, reader_key):
    reader = stale.api(reader_key)
    for _ in range(20):
        name = f"fresh-{uuid7()}"
        made = stale.api().post("/api/v1/agents", json={"name": name})
        before = primary_reads(stale, deployment)
        token = made.headers["X-Consistency-Token"]
        assert listed(reader.get(f"/api/v1/agents?name={name}", headers={"X-Consistency-Token": token})) == [made.json()["id"]]
        assert primary_reads(stale, deployment) == before + 1
        # Who brings no token may be shown the past, but never an error.
        assert listed(reader.get(f"/api/v1/agents?name={name}")) == []


def test_a_token_that_the_replicas_have_reached_leaves_the_read_to_them(deployment, service, reader_key):
    made = service.api().post("/api/v1/agents", json={"name": f"reached-{uuid7()}"})
    deployment.wait_caught_up()
    reader = service.api(reader_key)

    def read_on_primary():
        before = primary_reads(service, deployment)
        answer = reader.get("/api/v1/agents?limit=1", headers={"X-Consistency-Token": made.headers["X-Consistency-Token"]})
        assert listed(answer) == [made.json()["id"]]
        return primary_reads(service, deployment) > before

    # The service learns with its next look what the replicas have reached.
    wait_until(lambda: not read_on_primary(), "a read on a replica")
    assert sum(read_on_primary() for _ in range(20)) <= 2


def test_a_client_that_knows_no_tokens_reads_its_own_writes(deployment):
    service = deployment.serve(DATABASE_MAX_REPLICA_LAG_MS=LONG_LAG)
    service.wait_ok()
    paused, slow = deployment.replicas
    paused.pause_replay()
    deployment.proxy_of(slow).delay(0.003)
    api = service.api()
    for _ in range(200):
        name = f"own-{uuid7()}"
        made = api.agent(name)["id"]
        assert listed(api.get(f"/api/v1/agents?name={name}")) == [made]
    assert service.metric("db_host_up", host=deployment.label_of(slow)) == 1


def test_what_was_just_made_through_another_service_is_never_a_false_404(deployment, stale, reader_key):
    other = deployment.serve(DATABASE_MAX_REPLICA_LAG_MS=LONG_LAG)
    reader = stale.api(reader_key)
    for _ in range(20):
        api = other.api()
        team = api.post("/api/v1/teams", json={"name": f"team-{uuid7()}"}).json()["id"]
        agent = api.agent()["id"]
        run = api.run(agent)["run_id"]
        for path in (f"/api/v1/teams/{team}", f"/api/v1/agents/{agent}", f"/api/v1/runs/{run}"):
            assert reader.get(path).status_code == 200, path
    assert reader.get(f"/api/v1/agents/{uuid7()}").status_code == 404


@pytest.mark.parametrize("token", ["garbage", "1-", "-1", "1-g", "01-1", "0-0", "1-1-1", "1 1", "1-11111111111111111", "é", "1" * 1000])
def test_a_token_that_nobody_gave_out_is_a_bad_request(service, token):
    check_problem(service.api().get("/api/v1/agents", headers={"X-Consistency-Token": token.encode()}), 400)


def test_a_token_outlives_a_failover_and_one_of_a_later_timeline_is_never_answered_from_an_earlier_one(deployment, service, reader_key):
    made = service.api().post("/api/v1/agents", json={"name": f"before-{uuid7()}"})
    deployment.wait_caught_up()
    deployment.promote(deployment.replicas[0])
    service.wait_writable()
    timeline = service.health().json()["primary"]["timeline"]
    for token in (made.headers["X-Consistency-Token"], f"{timeline:x}-ffffffffffff"):
        answer = service.api(reader_key).get(f"/api/v1/agents?name={made.json()['name']}", headers={"X-Consistency-Token": token})
        assert listed(answer) == [made.json()["id"]], token
    # Somebody has seen a promotion that this service has not: it must not show what was before.
    check_problem(service.api(reader_key).get("/api/v1/agents", headers={"X-Consistency-Token": f"{timeline + 7:x}-1"}), 503)


def test_a_revoked_key_is_refused_within_a_second_although_replicas_lag(deployment, stale):
    key = deployment.make_key("soon revoked")
    clients = [stale.api(key) for _ in range(2)]
    with Load(lambda thread, _: clients[thread].get("/api/v1/agents?limit=1")) as load:
        wait_until(lambda: load.statuses().get(200, 0) > 5, "reads under way", seconds=5)
        assert deployment.cli("keys", "revoke", str(uuid.UUID(key.split("_")[1]))).returncode == 0
        revoked = time.monotonic()
        wait_until(lambda: load.statuses(revoked + 1.05).get(401, 0) > 5, "refusals", seconds=10)
    assert set(load.statuses(revoked + 1.05)) == {401}
    print(f"\nthe key worked for {load.first(401, 0).begin - revoked:.2f} s after its revocation")


# --- replicas that break ----------------------------------------------------------------------------------------------


FAULTS = {
    "closed": lambda proxy, _: proxy.close_all(),
    "reset": lambda proxy, _: proxy.close_all(reset=True),
    "truncated at once": lambda proxy, _: proxy.truncate_after(1),
    "truncated in an answer": lambda proxy, _: proxy.truncate_after(700),
    "refused": lambda proxy, _: proxy.refuse(),
    "stalled": lambda proxy, _: proxy.stall(),
    "without answers": lambda proxy, _: proxy.stall_responses(),
    "dribbling": lambda proxy, _: proxy.dribble(200),
    "killed": lambda _, node: node.kill(),
    "frozen": lambda _, node: node.freeze(),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_replica_that_breaks_while_it_reads_costs_no_request(deployment, service, reader_key, fault):
    agent = service.api().agent()["id"]
    deployment.wait_caught_up()
    node = deployment.replicas[0]
    paths = (f"/api/v1/agents/{agent}", "/api/v1/agents?limit=50", "/api/v1/runs?limit=5", "/api/v1/teams")
    clients = [service.api(reader_key) for _ in paths]
    with Load(lambda thread, _: clients[thread].get(paths[thread]), threads=len(paths), pause=0.005) as load:
        wait_until(lambda: load.statuses().get(200, 0) > 30, "reads under way", seconds=10)
        broken = time.monotonic()
        FAULTS[fault](deployment.proxy_of(node), node)
        time_over = broken + 2
        wait_until(lambda: time.monotonic() > time_over and load.statuses(broken).get(200, 0) > 50, "reads go on", seconds=25)
        deployment.end_faults()
        if fault == "killed":
            node.start()
        before = served_by(service, deployment)[node.name]
        wait_until(lambda: served_by(service, deployment)[node.name] > before + 5, "the replica is read again", seconds=40)
    print(f"\na replica that is {fault}: {load.statuses()}, longest read {load.seconds_max() * 1000:.0f} ms")
    assert set(load.statuses()) == {200}
    assert load.seconds_max() < 5


def test_replicas_that_swallow_new_connections_cost_no_request(deployment, service, reader_key):
    agent = service.api().agent()["id"]
    deployment.wait_caught_up()
    paths = (f"/api/v1/agents/{agent}", "/api/v1/agents?limit=50", f"/api/v1/agents/{agent}", "/api/v1/teams")
    clients = [service.api(reader_key) for _ in paths]
    for client, path in zip(clients, paths):
        assert client.get(path).status_code == 200
    # Nobody reads while the connections end, so that nobody fails; the next reads have to open new ones.
    for node in deployment.replicas:
        deployment.proxy_of(node).stall()
        deployment.proxy_of(node).close_all()
    with Load(lambda thread, _: clients[thread].get(paths[thread]), threads=len(paths), pause=0.005) as load:
        begin = time.monotonic()
        wait_until(lambda: time.monotonic() > begin + 2 and load.statuses().get(200, 0) > 50, "reads go on", seconds=25)
    print(f"\nreplicas that swallow new connections: {load.statuses()}, longest read {load.seconds_max() * 1000:.0f} ms")
    assert set(load.statuses()) == {200}
    assert load.seconds_max() < 5
