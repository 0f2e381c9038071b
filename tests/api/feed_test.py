"""The feed: what happens to runs, events and budgets is published on RabbitMQ once it is committed, and all of it, whatever dies in between."""

import json
import time

import psycopg2
import pytest

from deployment import Deployment
from installation import uuid7, wait_until
from rabbitmq_server import RabbitMqServer
from tcp_proxy import TcpProxy


@pytest.fixture(scope="module")
def broker(shared_directory):
    """A RabbitMQ of this file."""
    with RabbitMqServer(shared_directory) as server:
        yield server


@pytest.fixture(scope="module")
def proxy(broker):
    """Between Cognive and its RabbitMQ."""
    with TcpProxy(broker.port) as one:
        yield one


class Telling:
    """A service with a feed, which leads, on a database of its own."""

    def __init__(self, deployment, broker, proxy):
        self.deployment = deployment
        self.settings = {"RABBITMQ_URL": broker.url(port=proxy.port) + "?heartbeat=1", "DATABASE_READ_URLS": ""}
        self.service = deployment.serve(**self.settings)

    def api(self):
        """With the organisation's key."""
        return self.service.api()

    def sql(self, statement, *parameters):
        """Rows, asked from PostgreSQL directly."""
        with psycopg2.connect(self.deployment.primary.url) as connection, connection.cursor() as cursor:
            cursor.execute(statement, parameters)
            return cursor.fetchall() if cursor.description else []

    def kill(self):
        """SIGKILL, and another one in its place."""
        self.service.process.kill()
        self.service.process.wait()
        self.deployment.services.remove(self.service)
        self.service = self.deployment.serve(**self.settings)


@pytest.fixture(scope="module")
def telling(shared_directory, broker, proxy):
    """A service that has a feed; the queue `listener` gets all of it."""
    with Deployment(shared_directory / "telling") as deployment:
        one = Telling(deployment, broker, proxy)
        wait_until(lambda: one.sql("SELECT is_on FROM feed_switch") == [(True,)], "the feed is on", 20)
        with broker.connection() as connection:
            channel = connection.channel()
            channel.queue_declare("listener", durable=True)
            channel.queue_bind("listener", "cognive.events", "#")
        yield one


@pytest.fixture
def heard(broker, telling):
    """Waits for so many messages with these routing keys; their bodies, without those that came twice."""
    def listen(count, *topics, queue="listener", seconds=15):
        found, ids = [], set()
        deadline = time.monotonic() + seconds
        while len(found) < count and time.monotonic() < deadline:
            for method, properties, body in broker.get_all(queue, seconds=0.3):
                if properties.message_id not in ids and (not topics or method.routing_key in topics):
                    ids.add(properties.message_id)
                    found.append(json.loads(body))
                    assert properties.content_type == "application/json" and properties.type and properties.delivery_mode == 2
        assert len(found) == count, found
        return found

    broker.get_all("listener", seconds=0.3)
    return listen


def call(run_id, **attributes):
    """A call that costs 0.0035 USD."""
    return {"type": "llm_call", "id": uuid7(), "run_id": run_id, "provider": "openai", "model": "gpt-4o",
            "usage": {"input_tokens": 1000, "output_tokens": 100}, "input": "a secret prompt", "metadata": {"private": "note"}} | attributes


def test_it_tells_of_runs_and_of_what_they_did(telling, heard):
    api = telling.api()
    agent = api.agent()["id"]
    run = api.run(agent)["run_id"]
    events = [call(run), {"type": "tool_invocation", "id": uuid7(), "run_id": run, "tool": "search"},
              {"type": "step", "id": uuid7(), "run_id": run, "index": 0, "kind": "plan", "name": "plan"}]
    assert api.post("/api/v1/events", json=events).status_code == 200
    assert api.post("/api/v1/events", json=events).json()["duplicates"] == 3
    assert api.post(f"/api/v1/runs/{run}/end", json={"status": "succeeded"}).status_code == 200
    told = heard(5)
    by_type = {one["type"]: one for one in told}
    assert sorted(by_type) == ["call.stored", "run.running", "run.succeeded", "step.stored", "tool.stored"]
    assert by_type["run.running"]["data"]["run_id"] == run and by_type["run.succeeded"]["data"]["ended_at"]
    stored = by_type["call.stored"]
    assert stored["id"] == events[0]["id"] and stored["run_id"] == run and stored["agent_id"] == agent and stored["cost_usd"] == 0.0035
    assert "secret" not in json.dumps(told) and "private" not in json.dumps(told), "content stays where it is"
    assert [one["type"] for one in told].index("run.running") == 0, "in the order in which it happened"


def test_a_large_batch_is_told_in_whole(telling, heard):
    api = telling.api()
    run = api.run(api.agent()["id"])["run_id"]
    events = [call(run) for _ in range(2500)]
    assert api.post("/api/v1/events", json=events).json()["accepted"] == 2500
    told = heard(2500, "call.stored", seconds=30)
    assert [one["id"] for one in told] == [one["id"] for one in events] or {one["id"] for one in told} == {one["id"] for one in events}
    wait_until(lambda: telling.sql("SELECT count(*) FROM feed_messages")[0][0] == 0, "nothing is left", 10)


def test_it_tells_of_budgets(telling, broker, heard):
    api = telling.api()
    agent = api.agent()["id"]
    budget = api.post("/api/v1/budgets", json={"scope": "agent", "agent_id": agent, "window": "run", "limit_usd": 0.005, "hard_stop": True, "thresholds": [50, 100]}).json()["id"]
    run = api.run(agent)["run_id"]
    for _ in range(2):
        assert api.post("/api/v1/events", json=[call(run)]).status_code == 200
    told = heard(4, "budget.alerted", "budget.exhausted", "run.terminated")
    alerts = [one for one in told if one["type"] == "budget.alerted"]
    assert {one["threshold"] for one in alerts} == {50, 100} and all(one["budget_id"] == budget and one["run_id"] == run and one["limit"] == 0.005 for one in alerts)
    assert sorted(one["type"] for one in told)[2:] == ["budget.exhausted", "run.terminated"]
    queued = [json.loads(body) for _, _, body in broker.get_all("budget.alerts", count=2, seconds=10)]
    assert sorted(one["threshold"] for one in queued) == [50, 100]


@pytest.mark.parametrize("fault", ["killed", "broker restarted", "closed", "stalled", "cut", "refused"])
def test_nothing_committed_is_left_out(telling, broker, proxy, heard, fault):
    api = telling.api()
    run = api.run(api.agent()["id"])["run_id"]
    events = [call(run) for _ in range(300)]

    def report(some):
        for one in some:
            assert telling.api().post("/api/v1/events", json=[one]).status_code == 200

    report(events[:100])
    if fault == "killed":
        telling.kill()
    elif fault == "broker restarted":
        broker.kill()
        report(events[100:150])
        broker.start()
    else:
        {"closed": lambda: proxy.close_all(reset=True), "stalled": proxy.stall, "cut": lambda: proxy.truncate_after(3_000), "refused": proxy.refuse}[fault]()
    stored = {one[0] for one in telling.sql("SELECT id::text FROM llm_calls WHERE run_id = %s", run)}
    report([one for one in events[100:200] if one["id"] not in stored])
    proxy.pass_through()
    report(events[200:])
    told = heard(300, "call.stored", seconds=60)
    assert {one["id"] for one in told} == {one["id"] for one in events}
    wait_until(lambda: telling.sql("SELECT count(*) FROM feed_messages")[0][0] == 0, "nothing is left", 20)


def test_without_a_broker_nothing_is_kept(installation, api, subject):
    assert api.post("/api/v1/events", json=[call(subject["run_id"])]).status_code == 200
    wait_until(lambda: installation.sql("SELECT is_on FROM feed_switch") == [(False,)], "the leader has turned it off", 20)
    assert installation.sql("SELECT count(*) FROM feed_messages") == [(0,)]


def test_while_the_broker_takes_nothing_all_else_goes_on(telling, broker, heard):
    """It is short of memory: it stops reading from whoever publishes, and says so."""
    api = telling.api()
    run = api.run(api.agent()["id"])["run_id"]
    heard(1, "run.running")
    broker.control("set_vm_memory_high_watermark", "0.000001")
    try:
        events = [call(run) for _ in range(20)]
        for one in events:
            begun = time.monotonic()
            assert telling.api().post("/api/v1/events", json=[one]).status_code == 200
            assert time.monotonic() - begun < 2
        wait_until(lambda: telling.service.metric("mq_connections_blocked", connection="cognive publisher") == 1, "it knows", 20)
        answer = telling.service.readiness()
        assert answer.status_code == 503 and "memory" in answer.json()["detail"]
        # Those that came before are acknowledged all the same: over a connection of their own.
        assert telling.service.metric("mq_connections_blocked", connection="cognive events") == 0
    finally:
        broker.control("set_vm_memory_high_watermark", "0.6")
    assert {one["id"] for one in heard(20, "call.stored", seconds=60)} == {one["id"] for one in events}
    wait_until(lambda: telling.service.readiness().status_code == 200, "it is ready again", 20)


def test_what_waits_for_a_day_is_dropped(telling, proxy):
    proxy.refuse()
    proxy.close_all()
    try:
        telling.sql("INSERT INTO feed_messages (kind, payload, created_at) VALUES ('run', '{}', now() - interval '25 hours')")
        wait_until(lambda: telling.sql("SELECT count(*) FROM feed_messages WHERE created_at < now() - interval '24 hours'")[0][0] == 0, "it is dropped", 80)
    finally:
        proxy.pass_through()
