"""`cognive worker` takes the place of a Celery worker: Python's Celery sends it tasks, reads their results, and sees it in its monitors."""

import gc
import json
import threading
import time
import zlib

import pytest
from celery import Celery
from celery.exceptions import SoftTimeLimitExceeded, TaskRevokedError, TimeoutError  # noqa: A004

from installation import wait_until
from rabbitmq_server import RabbitMqServer
from redis_server import RedisServer
from tcp_proxy import TcpProxy
from workers import Worker


@pytest.fixture(scope="module")
def broker(shared_directory):
    """A RabbitMQ of this file."""
    with RabbitMqServer(shared_directory) as server:
        yield server


@pytest.fixture(scope="module")
def redis(shared_directory):
    """Where results are."""
    with RedisServer(shared_directory) as server:
        yield server


@pytest.fixture(scope="module")
def client(broker, redis):
    """Python's Celery, as a team's program has it."""
    app = Celery("client", broker=broker.url(), backend=redis.url())
    app.conf.update(broker_connection_retry_on_startup=True, task_publish_retry=True, broker_connection_timeout=5)
    yield app
    gc.collect()  # results tell Redis that nobody waits for them, which must be there then
    app.close()


@pytest.fixture
def work(installation, shared_directory, broker, redis):
    """Starts workers on the database of the shared installation, whose own worker has no RabbitMQ."""
    variables = {name: value for name, value in installation.variables.items() if name.startswith("DATABASE_") or name == "COGNIVE_MASTER_KEY_FILE"}
    started = []

    def start(*flags, **settings):
        worker = Worker(shared_directory, *flags, **variables | {"RABBITMQ_URL": broker.url(), "REDIS_URL": redis.url()} | settings)
        started.append(worker.__enter__())
        wait_until(lambda: worker.metric("mq_connections_open", connection="cognive worker") == 1, "it is connected", 20)
        return worker

    yield start
    for worker in started:
        worker.__exit__()


def node_of(worker):
    """How Celery calls it."""
    return f"cognive.{worker.process.pid}@"


def done_by(*workers):
    """How many tasks they have done well."""
    return sum(worker.metric("celery_tasks_total", task_name="cognive.ping", status="success") or 0 for worker in workers)


def test_a_task_is_done_and_its_result_is_read(work, client):
    worker = work()
    result = client.send_task("cognive.ping", [{"some": ["thing", None, 1.5, "ü"]}])
    assert result.get(timeout=20)["pong"] == {"some": ["thing", None, 1.5, "ü"]} and result.state == "SUCCESS" and result.get()["host"]
    assert client.send_task("cognive.ping", kwargs={"x": 2}).get(timeout=20)["pong"] == 2
    assert client.send_task("cognive.ping", ["mine"], task_id="an id of my own").get(timeout=20)["pong"] == "mine"
    assert client.send_task("cognive.ping", ["long" * 10_000], compression="zlib").get(timeout=20)["pong"] == "long" * 10_000
    wait_until(lambda: done_by(worker) == 4, "their ends are noted, after their results", 10)


def test_what_fails_says_so(work, client, installation):
    worker = work()
    wrong = client.send_task("cognive.ping", [])
    with pytest.raises(TypeError, match="the argument x is missing"):
        wrong.get(timeout=20)
    assert wrong.state == "FAILURE" and "TypeError" in wrong.traceback
    unknown = client.send_task("nobody.knows", [1])
    with pytest.raises(Exception, match="No task is named nobody.knows"):
        unknown.get(timeout=20)
    chained = client.signature("cognive.ping", [1]) | client.signature("cognive.ping")
    with pytest.raises(Exception, match="chains and chords are not done here"):
        chained.apply_async().parent.get(timeout=20)
    dead = installation.sql("SELECT name, last_error FROM tasks WHERE queue = 'celery' AND died_at IS NOT NULL")
    assert dead == [("cognive.ping", "TypeError: cognive.ping(x): the argument x is missing")], "an operator finds it"
    installation.sql("DELETE FROM tasks WHERE queue = 'celery'")
    assert worker.process.poll() is None


def test_times_are_kept(work, client, installation):
    work()
    begun = time.monotonic()
    assert client.send_task("cognive.ping", ["later"], countdown=2).get(timeout=20)["pong"] == "later"
    assert time.monotonic() - begun >= 2
    expired = client.send_task("cognive.ping", ["too late"], countdown=3, expires=1)
    with pytest.raises(TaskRevokedError):
        expired.get(timeout=20)
    assert expired.state == "REVOKED"
    hard = client.send_task("cognive.ping", ["x"], {"wait_s": 60}, time_limit=1)
    with pytest.raises(Exception, match="1") as failure:
        hard.get(timeout=20)
    assert type(failure.value).__name__ == "TimeLimitExceeded"
    soft = client.send_task("cognive.ping", ["x"], {"wait_s": 60}, soft_time_limit=1, time_limit=30)
    with pytest.raises(Exception, match="SoftTimeLimitExceeded") as failure:
        soft.get(timeout=20)
    assert type(failure.value).__name__ == SoftTimeLimitExceeded.__name__
    installation.sql("DELETE FROM tasks WHERE queue = 'celery'")


def test_ten_thousand_tasks_are_done_once_each(work, client, installation):
    workers = [work("--concurrency", 8) for _ in range(2)]
    with client.producer_or_acquire() as producer:
        results = [client.send_task("cognive.ping", [number], producer=producer) for number in range(10_000)]
    assert [one.get(timeout=120)["pong"] for one in results] == list(range(10_000))
    wait_until(lambda: done_by(*workers) >= 10_000, "their ends are noted", 10)
    assert done_by(*workers) == 10_000
    assert installation.sql("SELECT count(*) FROM tasks WHERE queue = 'celery'") == [(0,)]


def test_monitors_see_it_alive(work, client):
    worker = work()
    inspect = client.control.inspect(timeout=5)

    def ours(answers):
        return next(answer for node, answer in (answers or {}).items() if node.startswith(node_of(worker)))

    answers = inspect.ping()
    assert ours(answers) == {"ok": "pong"}
    # With the one that shall answer nobody waits for others.
    inspect = client.control.inspect(timeout=5, destination=[node for node in answers if node.startswith(node_of(worker))])
    assert ours(inspect.registered()) == ["cognive.ping"]
    assert ours(inspect.active_queues())[0]["name"] == "celery"
    slow = client.send_task("cognive.ping", ["x"], {"wait_s": 8})
    active = wait_until(lambda: ours(inspect.active()), "it is active", 10)
    assert active[0]["id"] == slow.id and active[0]["name"] == "cognive.ping" and active[0]["args"] == ["x"]
    assert slow.get(timeout=20)
    stats = ours(inspect.stats())
    assert stats["total"]["cognive.ping"] == 1 and stats["pid"] == worker.process.pid and stats["pool"]["max-concurrency"] == 4
    revoked = client.send_task("cognive.ping", ["never"], countdown=3)
    client.control.revoke(revoked.id)
    with pytest.raises(TaskRevokedError):
        revoked.get(timeout=20)


def test_events_are_told(work, client):
    worker = work()
    seen = []

    def types(uuid=None):
        return [event["type"] for event in list(seen) if uuid is None or event.get("uuid") == uuid]

    with client.connection_for_read() as connection:
        receiver = client.events.Receiver(connection, handlers={"*": seen.append})
        listening = threading.Thread(target=receiver.capture, kwargs={"wakeup": False})
        listening.start()
        try:
            client.control.enable_events()
            wait_until(lambda: "worker-heartbeat" in types(), "it beats", 20)
            good = client.send_task("cognive.ping", [1])
            bad = client.send_task("cognive.ping", [])
            wait_until(lambda: "task-succeeded" in types(good.id) and "task-failed" in types(bad.id), "both are told of", 20)
        finally:
            receiver.should_stop = True
            listening.join()
    assert types(good.id) == ["task-received", "task-started", "task-succeeded"]
    beat = next(event for event in seen if event["type"] == "worker-heartbeat" and event["hostname"].startswith(node_of(worker)))
    assert beat["sw_ident"] == "cognive" and beat["freq"] == 2.0 and beat["pid"] == worker.process.pid


def test_a_worker_that_is_killed_loses_no_task(work, client):
    first = work(WORKER_LEASE_S=3)
    results = [client.send_task("cognive.ping", [number], {"wait_s": 1}) for number in range(20)]
    wait_until(lambda: any(one.ready() for one in results), "it has begun", 20)
    first.process.kill()
    first.process.wait()
    work(WORKER_LEASE_S=3)
    assert [one.get(timeout=60)["pong"] for one in results] == list(range(20))


def test_tasks_that_were_taken_ahead_are_handed_to_whoever_has_a_slot(work, client):
    busy = work("--concurrency", 2)
    for one in [client.send_task("cognive.ping", [number]) for number in range(100)]:
        one.get(timeout=20)  # so short that it pays to take some ahead
    slow = [client.send_task("cognive.ping", [number], {"wait_s": 5}) for number in range(8)]
    wait_until(lambda: busy.metric("mq_messages_consumed_total", queue="celery") >= 108, "it has taken them all", 20)
    work("--concurrency", 16)
    begun = time.monotonic()
    assert [one.get(timeout=60)["pong"] for one in slow] == list(range(8))
    assert time.monotonic() - begun < 20, "one after the other they would have taken 40 s"


def test_a_worker_that_stops_hands_over_what_it_has_not_done(work, client):
    first = work(HTTP_SHUTDOWN_TIMEOUT_MS=5_000)
    results = [client.send_task("cognive.ping", [number], {"wait_s": 0.5}) for number in range(10)]
    endless = client.send_task("cognive.ping", ["endless"], {"wait_s": 20})
    wait_until(lambda: any(one.ready() for one in results), "it has begun", 20)
    assert first.stop() == 0
    work()
    assert [one.get(timeout=60)["pong"] for one in results] == list(range(10))
    assert endless.get(timeout=60)["pong"] == "endless"


@pytest.mark.parametrize("which", ["broker", "redis"])
def test_a_connection_that_breaks_loses_no_task_and_does_none_twice(work, client, broker, redis, which):
    server = broker if which == "broker" else redis
    with TcpProxy(server.port) as proxy:
        url = broker.url(port=proxy.port) + "?heartbeat=1" if which == "broker" else redis.url(port=proxy.port)
        worker = work(**{"RABBITMQ_URL" if which == "broker" else "REDIS_URL": url})
        results = []
        for fault in (lambda: proxy.close_all(reset=True), proxy.stall, lambda: proxy.truncate_after(2_000), proxy.stall_responses):
            results += [client.send_task("cognive.ping", [len(results) + number]) for number in range(50)]
            fault()
            results += [client.send_task("cognive.ping", [len(results) + number]) for number in range(50)]
            time.sleep(1)
            proxy.pass_through()
        assert [one.get(timeout=60)["pong"] for one in results] == list(range(400))
        wait_until(lambda: done_by(worker) >= 400, "their ends are noted", 10)
        assert done_by(worker) == 400


def test_results_wait_for_a_redis_that_is_away(work, client, broker, redis, installation):
    worker = work("--concurrency", 4)
    away = Celery("client", broker=broker.url())  # asks no Redis
    redis.kill()
    try:
        ids = [away.send_task("cognive.ping", [number]).id for number in range(100)]
        wait_until(lambda: done_by(worker) == 100, "no slot waits for it long", 20)
        assert installation.sql("SELECT count(*) FROM kept_results WHERE task_id = ANY(%s) AND stored_at IS NULL", ids) == [(100,)]
    finally:
        redis.start()
    assert [client.AsyncResult(one).get(timeout=20)["pong"] for one in ids] == list(range(100))
    wait_until(lambda: installation.sql("SELECT count(*) FROM kept_results WHERE task_id = ANY(%s) AND stored_at IS NULL", ids) == [(0,)], "and they are handed over once", 10)
    away.close()


def test_who_waits_for_a_task_hears_that_its_workers_were_lost(work, client, installation):
    result = client.send_task("cognive.ping", ["x"], {"wait_s": 30})
    for attempt in (1, 2, 3):
        worker = work(WORKER_LEASE_S=2)
        wait_until(lambda: installation.sql("SELECT attempts FROM tasks WHERE queue = 'celery' AND claimed_until > now()") == [(attempt,)], "it is being done", 20)  # noqa: B023 it ends here
        worker.kill()
    work(WORKER_LEASE_S=2)
    with pytest.raises(Exception, match="was lost during the last attempt") as failure:
        result.get(timeout=30)
    assert type(failure.value).__name__ == "WorkerLostError" and result.state == "FAILURE"
    installation.sql("DELETE FROM tasks WHERE queue = 'celery'")


def test_rubbish_is_refused_and_does_no_harm(work, client, broker):
    worker = work()
    valid = {"task": "cognive.ping", "id": "x"}
    for headers, content_type, body in ((valid, "application/x-python-serialize", b"\x80\x04\x95"), (valid, "application/json", b"{"), (valid, "application/json", b"[]"),
                                        (valid, "application/json", b"\xff" * 1000), (valid | {"compression": "application/x-gzip"}, "application/json", b"[[1],{},{}]"),
                                        (valid | {"compression": "application/x-gzip"}, "application/json", zlib.compress(b"[[" + b"1," * (8 << 20) + b"1],{},{}]")),
                                        (valid | {"compression": "application/x-bz2"}, "application/json", b"[[1],{},{}]"), ({}, "application/json", b"[[1],{},{}]"), ({"task": 1}, "application/json", b"[[1],{},{}]"),
                                        (valid | {"eta": "never"}, "application/json", b"[[1],{},{}]"), (valid | {"timelimit": [-1, "x"]}, "application/json", b"[[1],{},{}]"),
                                        ({"task": "cognive.ping", "id": "a\0b"}, "application/json", b"[[1],{},{}]"), ({"task": "rollups.compact", "id": "y"}, "application/json", b"[[],{},{}]")):
        broker.publish("", "celery", body, headers=headers, content_type=content_type, content_encoding="utf-8")
    for body in (b"{", b"[]", json.dumps({"method": "shutdown"}).encode(), json.dumps({"method": "ping", "reply_to": {"exchange": "nobody", "routing_key": "x"}}).encode()):
        broker.publish("celery.pidbox", "", body, content_type="application/json")
    assert client.send_task("cognive.ping", ["alive"]).get(timeout=20)["pong"] == "alive"
    assert worker.process.poll() is None and worker.metric("mq_connections_open", connection="cognive worker") == 1
    assert worker.metric("mq_messages_failed_total", queue="celery", reason="malformed") == 12
    assert worker.metric("mq_messages_failed_total", queue="celery", reason="unknown") == 1
    assert not worker.lines("RabbitMQ is away")


def test_without_redis_tasks_are_done_all_the_same(work, client):
    worker = work(REDIS_URL="")
    result = client.send_task("cognive.ping", [1])
    wait_until(lambda: done_by(worker) == 1, "it is done", 20)
    with pytest.raises(TimeoutError):
        result.get(timeout=1)
