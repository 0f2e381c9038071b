"""Tasks that are sent over the API are done by Python's Celery, and their states and results come back."""

import concurrent.futures
import os
import subprocess
import sys
import time
from datetime import datetime, timedelta, timezone

import pytest
from redis import Redis

from contract import DOCUMENT, check_answer
from installation import uuid7, wait_until
from problems import check_problem
from rabbitmq_server import RabbitMqServer
from redis_server import RedisServer

# What a team's own workers do. Each execution is counted, since a result looks the same after two.
PROGRAM = """
import time
from celery import Celery
from redis import Redis
app = Celery("team", broker={broker!r}, backend={backend!r})
app.conf.update(broker_connection_retry_on_startup=True, broker_connection_max_retries=None, worker_send_task_events=False, task_track_started=True)
executions = Redis.from_url({backend!r})

@app.task(name="team.add", bind=True)
def add(self, x, y=0):
    executions.incr("executions:" + self.request.id)
    return {{"sum": x + y}}

@app.task(name="team.wait", bind=True)
def wait(self, seconds):
    executions.incr("executions:" + self.request.id)
    self.update_state(state="PROGRESS", meta={{"done": 0.5}})
    time.sleep(seconds)

@app.task(name="team.fail")
def fail(text):
    raise ValueError(text)
"""


@pytest.fixture(scope="module")
def broker(shared_directory):
    """A RabbitMQ of this file."""
    with RabbitMqServer(shared_directory) as server:
        yield server


@pytest.fixture(scope="module")
def results(shared_directory):
    """The Redis where workers put results."""
    with RedisServer(shared_directory) as server:
        yield server


@pytest.fixture
def python_worker(broker, results, tmp_path):
    """Starts workers of Python's Celery for a queue."""
    (tmp_path / "team.py").write_text(PROGRAM.format(broker=broker.url(), backend=results.url()))
    started = []

    def start(queue, concurrency=1):
        log = open(tmp_path / f"celery-{len(started)}.log", "a")  # noqa: SIM115 the process has it
        command = [sys.executable, "-m", "celery", "-A", "team", "worker", "--pool", "prefork", "--concurrency", str(concurrency), "-Q", queue, "-n", f"{queue}@%h",
                   "--loglevel", "INFO", "--without-gossip", "--without-mingle"]
        process = subprocess.Popen(command, cwd=tmp_path, stdout=log, stderr=log, env=os.environ | {"C_FORCE_ROOT": "1"})
        started.append((process, log))
        wait_until(lambda: " ready." in open(log.name).read(), "it is ready", 30)
        return process

    yield start
    for process, log in started:
        process.kill()
        process.wait()
        log.close()


@pytest.fixture
def client(serve, broker, results):
    """The API of a server that has both."""
    service = serve(RABBITMQ_URL=broker.url(), REDIS_URL=results.url(), WORKER_IN_SERVER="true")
    wait_until(lambda: service.metric("mq_connections_open", connection="cognive publisher") == 1, "it is connected")
    return service.api()


def send(client, name, queue, status=202, **more):
    """A task, as it was taken."""
    answer = client.post("/api/v1/tasks", json={"name": name, "queue": queue} | more)
    check_answer("task_send", answer, status)
    return answer.json()


def state(client, task):
    """What is known of it now."""
    answer = client.get(f"/api/v1/tasks/{task['id']}")
    check_answer("task_get", answer, 200)
    return answer.json()


def wait_for(client, task, wanted, seconds=20):
    """Wait for a state."""
    return wait_until(lambda: (now := state(client, task))["state"] == wanted and now, f"it is {wanted}", seconds)


def executions(results, task):
    """How often it was begun."""
    return int(Redis.from_url(results.url()).get("executions:" + task["id"]) or 0)


def test_a_python_worker_does_it_and_its_result_is_read(client, python_worker, results, installation):
    python_worker("adders")
    sent = send(client, "team.add", "adders", args=[2], kwargs={"y": 3})
    assert sent["state"] in ("waiting", "sent") and sent["name"] == "team.add" and sent["queue"] == "adders"
    done = wait_for(client, sent, "succeeded")
    assert done["result"] == {"sum": 5} and done["worker_state"] == "SUCCESS" and done["finished_at"] > sent["created_at"] and done["error"] is None
    words = wait_for(client, send(client, "team.add", "adders", args=["ü\"\\ "], kwargs={"y": "…"}), "succeeded")
    assert words["result"] == {"sum": "ü\"\\ …"}
    failed = wait_for(client, send(client, "team.fail", "adders", args=["too small"]), "failed")
    assert failed["error"] == "ValueError: too small" and "in fail" in failed["traceback"] and failed["result"] is None
    strange = wait_for(client, send(client, "team.unknown", "adders", kwargs={"a": 1}, expires_at="2036-01-01T00:00:00Z"), "failed")
    assert "NotRegistered" in strange["error"]
    latest = client.get("/api/v1/tasks?limit=3").json()["items"]
    assert [(task["id"], task["state"]) for task in latest] == [(one["id"], "sent") for one in (strange, failed, words)]
    told = installation.api().get(f"/api/v1/audit-entries?resource_id={sent['id']}").json()["items"]
    assert [(entry["action"], entry["details"]) for entry in told] == [("task_send", {"name": "team.add", "queue": "adders"})], "and no arguments"
    assert executions(results, sent) == 1


def test_its_own_progress_is_seen(client, python_worker):
    python_worker("slow")
    sent = send(client, "team.wait", "slow", args=[2])
    going = wait_until(lambda: (now := state(client, sent))["worker_state"] == "PROGRESS" and now, "it tells", 20)
    assert going["state"] == "started" and going["result"] == {"done": 0.5} and going["finished_at"] is None
    assert wait_for(client, sent, "succeeded")["result"] is None


def test_a_repeat_sends_nothing(client, python_worker, results):
    python_worker("adders")
    mine = uuid7()
    first = send(client, "team.add", "adders", id=mine, args=[1])
    assert send(client, "team.add", "adders", status=200, id=mine, args=[1])["id"] == first["id"] == mine
    wait_for(client, first, "succeeded")
    send(client, "team.add", "adders", status=200, id=mine, args=[1])
    problem = check_problem(client.post("/api/v1/tasks", json={"name": "team.add", "queue": "adders", "id": mine, "args": [2]}), 409)
    assert "Another task" in problem["detail"]
    time.sleep(2)
    assert executions(results, first) == 1


def test_what_has_no_queue_waits_and_says_so(client, python_worker):
    sent = send(client, "team.add", "not-there-yet", args=[1])
    waiting = wait_until(lambda: (now := state(client, sent))["error"] and now, "it could not be sent", 20)
    assert waiting["state"] == "waiting" and "no queue not-there-yet" in waiting["error"] and waiting["due_at"]
    python_worker("not-there-yet")
    wait_for(client, sent, "succeeded", 60)


def test_times_are_kept(client, python_worker, results):
    python_worker("adders")
    begun = time.monotonic()
    later = send(client, "team.add", "adders", args=[1], countdown_s=3)
    assert later["state"] == "waiting" and later["due_at"]
    expired = send(client, "team.add", "nowhere", args=[1], expires_at=(datetime.now(timezone.utc) + timedelta(seconds=2)).isoformat())
    wait_for(client, later, "succeeded")
    assert time.monotonic() - begun >= 3
    assert "expired" in wait_for(client, expired, "undeliverable", 90)["error"]
    assert executions(results, later) == 1


def test_a_time_that_is_far_away_harms_nobody(client, python_worker):
    python_worker("adders")
    far = [send(client, "team.add", "adders", args=[year], expires_at=f"{year}-01-01T00:00:00Z") for year in (2027, 2050, 2099, 9999)]
    for task in far:
        assert wait_for(client, task, "succeeded")["error"] is None


def test_whoever_may_only_send_sees_no_results(client, python_worker, installation):
    python_worker("adders")
    done = wait_for(client, send(client, "team.add", "adders", args=["secret"], kwargs={"y": "!"}), "succeeded")
    key = installation.api().post("/api/v1/api-keys", json={"name": "sends", "permissions": ["tasks:write"]}).json()["key"]
    client.session.headers["X-API-Key"] = key
    assert client.get(f"/api/v1/tasks/{done['id']}").status_code == 403
    shown = client.post(f"/api/v1/tasks/{done['id']}/revoke").json()
    assert shown["state"] == "succeeded" and shown["result"] is None


def test_a_task_can_be_taken_back(client, python_worker, results, installation):
    python_worker("one-slot")
    waiting = send(client, "team.add", "one-slot", args=[1], countdown_s=2)
    revoked = client.post(f"/api/v1/tasks/{waiting['id']}/revoke")
    check_answer("task_revoke", revoked, 200)
    assert revoked.json()["state"] == "revoked"
    busy = send(client, "team.wait", "one-slot", args=[4])
    wait_for(client, busy, "started")
    behind = send(client, "team.add", "one-slot", args=[1])
    wait_for(client, behind, "sent")
    taken_back = client.post(f"/api/v1/tasks/{behind['id']}/revoke").json()
    assert taken_back["state"] == "sent" and taken_back["revoked_at"] and taken_back["finished_at"] is None, "its worker decides"
    wait_for(client, busy, "succeeded")
    wait_for(client, behind, "revoked")
    time.sleep(1)
    assert executions(results, waiting) == executions(results, behind) == 0
    assert state(client, waiting)["state"] == "revoked"
    done = client.post(f"/api/v1/tasks/{busy['id']}/revoke").json()
    assert done["state"] == "succeeded", "too late"
    told = [entry["action"] for entry in installation.api().get(f"/api/v1/audit-entries?resource_id={busy['id']}").json()["items"]]
    assert told == ["task_send"], "nothing was taken back"
    check_problem(client.post(f"/api/v1/tasks/{uuid7()}/revoke"), 404)


def test_a_body_made_from_the_schemas_examples_is_accepted(client):
    fields = DOCUMENT["components"]["schemas"]["TaskSend"]["properties"]
    body = {name: field["examples"][0] for name, field in fields.items() if "examples" in field}
    assert set(body) == {"name", "queue", "args", "kwargs"}
    check_answer("task_send", client.post("/api/v1/tasks", json=body), 202)


def test_what_is_wrong_is_told(client, installation):
    for body, pointer in (({"name": "x", "queue": "agent.llm.calls"}, "/queue"), ({"name": "x", "queue": "ü" * 130}, "/queue"), ({"name": "x", "queue": "w@h.celery.pidbox"}, "/queue"), ({"name": "x", "queue": "q", "args": ["x" * (1 << 20)]}, "/args"), ({"name": "x", "queue": "q", "args": {}}, "/args"), ({"name": "x", "queue": "q", "kwargs": []}, "/kwargs"),
                          ({"name": "x", "queue": "q", "countdown_s": 1, "eta": "2036-01-01T00:00:00Z"}, "/eta"), ({"name": "x", "queue": "q", "expires_at": "2026-01-01T00:00:00Z"}, "/expires_at"), ({"name": "x", "queue": "q", "eta": "9999-12-31T00:00:00Z"}, "/eta"),
                          ({"name": "x", "queue": "q", "time_limit_s": 1, "soft_time_limit_s": 2}, "/soft_time_limit_s"), ({"name": "x", "queue": "celery"}, "/name"),
                          ({"name": "a\0", "queue": "q"}, "/name"), ({"queue": "q"}, "/name"), ({"name": "x"}, "/queue"), ({"name": "x", "queue": "q", "args": ["\0"]}, "/args")):
        problem = check_problem(client.post("/api/v1/tasks", json=body), 422)
        assert [error["pointer"] for error in problem["errors"]] == [pointer], body
    without = check_problem(installation.api().post("/api/v1/tasks", json={"name": "x", "queue": "q"}), 409)
    assert "RABBITMQ_URL" in without["detail"]


def test_a_result_that_is_no_json_or_endless_is_not_shown(client, python_worker, results):
    python_worker("adders")
    sent = send(client, "team.add", "adders", args=[1])
    wait_for(client, sent, "succeeded")
    for text in ('{"status": "SUCCESS", "result": NaN, "task_id": "x"}', '{"status": "SUCCESS", "result": "' + "x" * (5 << 20) + '"}'):
        Redis.from_url(results.url()).set("celery-task-meta-" + sent["id"], text)
        shown = state(client, sent)
        assert shown["state"] == "succeeded" and shown["result"] is None and "cannot be shown" in shown["error"]
    for text in ("", "rubbish", "[1]", '{"status": 1}', '{"status": "', "\xff" * 100):
        Redis.from_url(results.url()).set("celery-task-meta-" + sent["id"], text)
        assert state(client, sent)["state"] == "sent"


def test_our_own_workers_can_be_sent_tasks_too(client):
    assert wait_for(client, send(client, "cognive.ping", "celery", args=["me"]), "succeeded")["result"]["pong"] == "me"


def test_nothing_is_lost_while_rabbitmq_or_redis_is_away(client, python_worker, broker, results):
    python_worker("adders")
    broker.kill()
    begun = time.monotonic()
    tasks = [send(client, "team.add", "adders", args=[number]) for number in range(20)]
    assert time.monotonic() - begun < 10, "nobody waits for it"
    waiting = wait_until(lambda: (now := state(client, tasks[-1]))["error"] and now, "it says why", 10)
    assert waiting["state"] == "waiting" and "RabbitMQ" in waiting["error"]
    assert {task["id"] for task in client.get("/api/v1/tasks?state=waiting&queue=adders&name=team.add").json()["items"]} <= {task["id"] for task in tasks}
    assert not client.get("/api/v1/tasks?state=undeliverable&queue=adders").json()["items"]
    broker.start()
    for number, task in enumerate(tasks):
        assert wait_for(client, task, "succeeded", 60)["result"] == {"sum": number}
    assert all(executions(results, task) == 1 for task in tasks)
    results.freeze()
    try:
        begun = time.monotonic()
        check_problem(client.get(f"/api/v1/tasks/{tasks[0]['id']}"), 503)
        assert time.monotonic() - begun < 2
        sent = send(client, "team.add", "adders", args=[1])
    finally:
        results.thaw()
    wait_for(client, sent, "succeeded")


def test_a_server_that_is_killed_while_it_sends_loses_nothing(serve, broker, results, python_worker):
    python_worker("adders", concurrency=4)
    first = serve(RABBITMQ_URL=broker.url(), REDIS_URL=results.url(), WORKER_LEASE_S=3, WORKER_IN_SERVER="true")
    tasks = [send(first.api(), "team.add", "adders", args=[number]) for number in range(300)]
    first.process.kill()
    first.process.wait()
    second = serve(RABBITMQ_URL=broker.url(), REDIS_URL=results.url(), WORKER_LEASE_S=3, WORKER_IN_SERVER="true").api()
    for number, task in enumerate(tasks):
        assert wait_for(second, task, "succeeded", 60)["result"] == {"sum": number}
    again = sum(executions(results, task) - 1 for task in tasks)
    assert again <= 200, "only what was sent, and not noted when it was killed"


def test_ten_thousand_tasks_are_done_once_each(client, python_worker, results):
    python_worker("many", concurrency=4)
    count = 10_000

    def some(first):
        return [send(client, "team.add", "many", args=[number])["id"] for number in range(first, count, 8)]

    with concurrent.futures.ThreadPoolExecutor(8) as senders:
        ids = [one for part in senders.map(some, range(8)) for one in part]
    stored = Redis.from_url(results.url())
    keys = ["executions:" + one for one in ids]
    wait_until(lambda: sum(value is not None for value in stored.mget(keys)) == count, "all are begun", 240)
    assert {int(value) for value in stored.mget(keys)} == {1}
    wait_until(lambda: client.get(f"/api/v1/tasks/{ids[-1]}").json()["state"] == "succeeded", "the last has ended", 20)
