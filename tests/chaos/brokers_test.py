"""RabbitMQ, Redis and our own processes are killed, stalled and restarted under load: what was acknowledged is stored and done once, and the API goes on.

It takes minutes: 24 faults in an order drawn at random, whose seed is printed, and which COGNIVE_CHAOS_SEED sets.
"""

import json
import os
import random
import threading
import time

import pytest
from celery import Celery
from redis import Redis

from deployment import Service
from installation import llm_call, uuid7, wait_until
from load import Load
from rabbitmq_server import RabbitMqServer
from redis_server import RedisServer
from workers import Worker

LONG = os.environ.get("COGNIVE_LONG") == "1"
CALLS = "agent.llm.calls"
AWAY_SECONDS = 3  # results of tasks are kept for a while, and tried again
CALM_SECONDS = 2
LATENCY_SECONDS = 5  # of any answer while something is away: what is asked beside PostgreSQL has shorter timeouts
BACK_SECONDS = 60


class Publisher(threading.Thread):
    """Publishes calls on a queue, each until RabbitMQ has confirmed it; their ids."""

    def __init__(self, broker, key, run_id):
        super().__init__(daemon=True)
        self.broker, self.key, self.run_id = broker, key, run_id
        self.confirmed, self.ended = [], threading.Event()

    def run(self):
        """Until it is told to end."""
        while not self.ended.wait(0.02):
            call = llm_call(self.run_id)
            while not self.ended.is_set():
                try:
                    self.broker.publish(CALLS, CALLS, json.dumps(call), headers={"X-API-Key": self.key}, content_type="application/json", delivery_mode=2)
                    self.confirmed.append(call["id"])
                    break
                except Exception:  # noqa: BLE001 whatever pika raises while it is away; perhaps it has it, and it comes twice
                    self.ended.wait(0.2)


class Caller(threading.Thread):
    """Calls cognive.ping with Python's Celery; what it has managed to send."""

    def __init__(self, broker, results):
        super().__init__(daemon=True)
        self.app = Celery("chaos", broker=broker.url(), backend=results.url())
        self.app.conf.update(task_publish_retry=False, broker_connection_timeout=2, broker_transport_options={"confirm_publish": True, "read_timeout": 5, "write_timeout": 5})
        self.sent, self.ended = [], threading.Event()

    def run(self):
        """Until it is told to end."""
        while not self.ended.wait(0.02):
            one = uuid7()
            try:
                self.app.send_task("cognive.ping", [one], task_id=one, ignore_result=False)
                self.sent.append(one)
            except Exception:  # noqa: BLE001 the same; nobody was told that it was taken
                self.ended.wait(0.2)


@pytest.fixture
def stage(installation, shared_directory, tmp_path):
    """RabbitMQ, Redis with a file, two servers and two workers on the database of the shared installation."""
    variables = {name: value for name, value in installation.variables.items() if name.startswith("DATABASE_") or name == "COGNIVE_MASTER_KEY_FILE"}
    with RabbitMqServer(shared_directory) as broker, RedisServer(shared_directory, append_only=True) as results:
        settings = variables | {"RABBITMQ_URL": broker.url() + "?heartbeat=2", "REDIS_URL": results.url(), "WORKER_LEASE_S": 3}
        stage = Stage(installation, broker, results, settings, tmp_path)
        yield stage
        stage.stop()


class Stage:
    """All that plays, and what may befall it."""

    def __init__(self, installation, broker, results, settings, directory):
        self.installation, self.broker, self.results, self.settings, self.directory = installation, broker, results, settings, directory
        self.servers = [Service(directory / f"server-{number}.log", settings | {"HTTP_PORT": 0, "WORKER_IN_SERVER": "false"}, installation.key).start() for number in range(2)]
        self.workers = [self._worker() for _ in range(2)]

    def _worker(self):
        return Worker(self.directory, "--concurrency", 4, **self.settings).__enter__()

    def missing(self, ids):
        """What is known of tasks without a result, for a person who looks for the cause."""
        with_results = dict(zip(ids, Redis.from_url(self.results.url()).mget(["celery-task-meta-" + one for one in ids]), strict=True))
        left = [one for one in ids if with_results[one] is None]
        rows = {table: self.installation.sql(f"SELECT to_jsonb(t) - '{{message,payload}}'::text[] FROM {table} t WHERE {column} = ANY(%s)", left) for table, column in
                (("tasks", "payload->>'id'"), ("task_arrivals", "id::text"), ("sent_tasks", "id::text"), ("kept_results", "task_id"))}
        return f"{len(left)} of {len(ids)}: {left[:20]}; {rows}; queue {self.broker.depth('celery')}; logs in {self.directory}"

    def stop(self):
        """At the end of the test."""
        for worker in self.workers:
            worker.__exit__()
        for server in self.servers:
            assert server.stop() == 0

    def away(self, begin, end):
        """Between the two."""
        begin()
        time.sleep(AWAY_SECONDS)
        end()

    def faults(self):
        """By name."""
        return {"rabbitmq killed": lambda: self.away(self.broker.kill, self.broker.start), "rabbitmq stalled": lambda: self.away(self.broker.freeze, self.broker.thaw),
                "redis killed": lambda: self.away(self.results.kill, self.results.start), "redis stalled": lambda: self.away(self.results.freeze, self.results.thaw),
                "server killed": self.kill_server, "worker killed": self.kill_worker, "worker stalled": lambda: self.away(lambda: self.workers[0].freeze(), lambda: self.workers[0].freeze(on=False))}

    def kill_server(self):
        """The second one; the first is the one that is called."""
        self.servers[1].process.kill()
        self.servers[1].process.wait()
        self.servers[1].start()

    def kill_worker(self):
        """One of the two."""
        self.workers[0].kill()
        self.workers[0] = self._worker()


@pytest.mark.skipif(not LONG, reason="takes minutes: ./test --long")
def test_what_was_taken_is_stored_and_done_once_whatever_is_away(stage):
    seed = int(os.environ.get("COGNIVE_CHAOS_SEED", random.SystemRandom().randrange(1 << 32)))
    print(f"COGNIVE_CHAOS_SEED={seed}")
    chance = random.Random(seed)
    installation = stage.installation
    api = installation.api()
    run = api.run(api.agent()["id"])["run_id"]
    clients = [stage.servers[0].api() for _ in range(3)]
    posted = []

    def post(number, _):
        call = llm_call(run)
        answer = clients[number].post(f"/api/v1/runs/{run}/llm-calls", json={name: value for name, value in call.items() if name not in ("type", "run_id")}, timeout=30)
        if answer.status_code == 201:
            posted.append(call["id"])
        return answer

    def send(number, _):
        return clients[2].post("/api/v1/tasks", json={"name": "cognive.ping", "queue": "celery", "args": [1]}, timeout=30)

    publisher, caller = Publisher(stage.broker, installation.key, run), Caller(stage.broker, stage.results)
    with Load(post, threads=2, pause=0.02) as calls, Load(send, threads=1, pause=0.05) as tasks:
        publisher.start()
        caller.start()
        time.sleep(CALM_SECONDS)
        faults = stage.faults()
        order = [chance.choice(list(faults)) for _ in range(24)]
        for name in order:
            print(f"{name} at {len(posted)} calls, {len(publisher.confirmed)} messages, {len(caller.sent)} tasks")
            faults[name]()
            time.sleep(CALM_SECONDS)
    for thread in (publisher, caller):
        thread.ended.set()
        thread.join(30)
    assert set(calls.statuses()) == {201} and set(tasks.statuses()) == {202}, "neither RabbitMQ nor Redis is needed to take them"
    assert max(calls.seconds_max(), tasks.seconds_max()) < LATENCY_SECONDS
    print(f"slowest answer {calls.seconds_max():.2f} s; of a task {tasks.seconds_max():.2f} s")

    wanted = set(posted) | set(publisher.confirmed)
    stored = wait_until(lambda: wanted <= (ids := {row[0] for row in installation.sql("SELECT id::text FROM llm_calls WHERE run_id = %s", run)}) and ids, "all are stored", BACK_SECONDS)
    assert len(posted) > 100 and len(publisher.confirmed) > 50 and len(caller.sent) > 50
    assert installation.sql("SELECT count(*), count(DISTINCT id) FROM llm_calls WHERE run_id = %s", run) == [(len(stored), len(stored))]

    done = Redis.from_url(stage.results.url())
    from_api = [outcome.answer.json()["id"] for outcome in tasks.outcomes]
    for what, ids in (("that Celery sent", caller.sent), ("that the API sent", from_api)):
        keys = ["celery-task-meta-" + one for one in ids]
        try:
            wait_until(lambda: all(value is not None for value in done.mget(keys)), f"tasks {what} have results", BACK_SECONDS)  # noqa: B023 it ends here
        except AssertionError as error:
            raise AssertionError(f"{error}: {stage.missing(ids)}") from error
        assert {json.loads(value)["status"] for value in done.mget(keys)} == {"SUCCESS"}, what
    wait_until(lambda: installation.sql("SELECT count(*) FROM tasks WHERE queue = 'celery'") == [(0,)], "no task is left", BACK_SECONDS)
    assert installation.sql("SELECT count(*) FROM task_arrivals WHERE id = ANY(%s::uuid[])", caller.sent + from_api) == [(len(caller.sent) + len(from_api),)], "each came once"
    caller.app.close()
