"""Events through the API and reads with consistency tokens while everything fails in turn: no acknowledged event is lost, no read is too old.

COGNIVE_LONG=1 repeats it with faults in an order drawn at random; the seed is printed, and COGNIVE_CHAOS_SEED sets it.
"""

import os
import random
import threading
import time

import pytest
from installation import BINARY, llm_call, wait_until
from wire import check_problem

LONG = os.environ.get("COGNIVE_LONG") == "1"
HANDLER_SECONDS = 6
GRACE_SECONDS = 2  # of a busy machine
SANITIZED = any(part in BINARY.parts for part in ("asan", "tsan"))
GROWTH_BYTES_MAX = (1024 if SANITIZED else 64) << 20  # a sanitizer keeps what is freed
TABLES = ("agents", "agent_runs", "llm_calls")


class Worker(threading.Thread):
    """Sends numbered events of a run of its own until each is acknowledged, and reads the run through another service with the token it got."""

    def __init__(self, writes, reads, reader_key):
        super().__init__(daemon=True)
        self.writes, self.reads = writes.api(), reads.api(reader_key)
        run = self.writes.run(self.writes.agent()["id"])
        self.run_id = run["run_id"]
        self.acknowledged = []
        self.refusals = []  # (when, how long it took)
        self.acknowledged_at = []
        self.slowest = 0
        self.checked_reads = 0
        self.failure = None
        self.ended = threading.Event()

    def run(self):
        try:
            while not self.ended.is_set():
                self.read(self.write())
        except BaseException as error:  # shown by the test's thread
            self.failure = error

    def attempt(self, send):
        """One request: its answer, or None after a refusal, which must be a proper one and in time."""
        begin = time.monotonic()
        answer = send()
        seconds = time.monotonic() - begin
        self.slowest = max(self.slowest, seconds)
        assert seconds < HANDLER_SECONDS + GRACE_SECONDS, f"an answer took {seconds:.1f} s"
        if answer.status_code == 200:
            return answer
        check_problem(answer, 503)
        assert answer.headers["Retry-After"].isdigit()
        self.refusals.append((begin, seconds))
        self.ended.wait(0.05)
        return None

    def write(self):
        """Send one event until it is acknowledged; the consistency token, or None when only a repeat told that it is there."""
        event = llm_call(self.run_id, metadata={"number": len(self.acknowledged)})
        while True:
            answer = self.attempt(lambda: self.writes.post("/api/v1/events", json=[event], timeout=HANDLER_SECONDS + GRACE_SECONDS))
            if answer is not None:
                break
        body = answer.json()
        assert body["accepted"] + body["duplicates"] == 1, body
        self.acknowledged.append(event["id"])
        self.acknowledged_at.append(time.monotonic())
        return answer.headers.get("X-Consistency-Token")

    def read(self, token):
        """What was acknowledged is seen by a read with its token, and no more than was sent."""
        if token is None:
            return
        path, headers = f"/api/v1/runs/{self.run_id}", {"X-Consistency-Token": token}
        answer = self.attempt(lambda: self.reads.get(path, headers=headers, timeout=HANDLER_SECONDS + GRACE_SECONDS))
        if answer is not None:
            assert answer.json()["totals"]["llm_calls"] == len(self.acknowledged), "a read is older than its token, or an event is there twice"
            self.checked_reads += 1


class Crew:
    """All workers of a test."""

    def __init__(self, services, reader_key, count):
        self.workers = [Worker(services[number % 2], services[(number + 1) % 2], reader_key) for number in range(count)]

    def __enter__(self):
        for worker in self.workers:
            worker.start()
        return self

    def __exit__(self, *_):
        for worker in self.workers:
            worker.ended.set()
        for worker in self.workers:
            worker.join(60)
        assert not any(worker.is_alive() for worker in self.workers), "a request hangs"

    def check(self):
        """Fail if any worker has."""
        for worker in self.workers:
            if worker.failure is not None:
                raise worker.failure

    def acknowledged(self):
        """How many events have been acknowledged."""
        return sum(len(worker.acknowledged) for worker in self.workers)

    def wait_progress(self, seconds=20):
        """Wait until every worker has had a further event acknowledged; when the last of them had."""
        before = [len(worker.acknowledged) for worker in self.workers]

        def all_further():
            self.check()
            return all(len(worker.acknowledged) > count + 1 for worker, count in zip(self.workers, before))

        wait_until(all_further, "events of every worker acknowledged", seconds)
        return max(worker.acknowledged_at[-1] for worker in self.workers)

    def work(self, seconds):
        """Let them work for a time."""
        end = time.monotonic() + seconds
        wait_until(lambda: self.check() or time.monotonic() > end, "the time is over", seconds + 5)


class Storm:
    """The faults, each of which ends before the next."""

    def __init__(self, deployment, crew, services):
        self.deployment, self.crew, self.services = deployment, crew, services

    def during(self, begin, end, what, seconds=1.2):
        """A fault for a time, and how soon everybody goes on."""
        begin()
        self.crew.work(seconds)
        end()
        ended = time.monotonic()
        print(f"  {what}: all go on {max(0, self.crew.wait_progress() - ended):.2f} s after its end")

    def pause_a_replica(self, node):
        self.during(node.pause_replay, node.resume_replay, f"replay of {node.name} paused")

    def freeze_a_replica(self, node):
        self.during(node.freeze, node.thaw, f"{node.name} frozen")

    def break_the_way(self, node):
        """Every fault of a network, one after the other."""
        proxy = self.deployment.proxy_of(node)
        self.during(lambda: proxy.close_all(reset=True), proxy.pass_through, f"connections to {node.name} reset", 0.3)
        self.during(lambda: proxy.truncate_after(900), proxy.pass_through, f"answers of {node.name} truncated")
        self.during(proxy.stall, proxy.pass_through, f"{node.name} stalled", 1.5)
        self.during(proxy.refuse, proxy.pass_through, f"{node.name} refusing", 0.6)

    def fail_over(self):
        """Lose the primary, promote the replica that has most, re-point the other one, let the old one come back and re-seed it."""
        old = self.deployment.primary
        old.kill()
        killed = time.monotonic()
        self.crew.work(0.5)
        new = max(self.deployment.replicas, key=lambda node: max(node.received_lsn(), node.replay_lsn()))
        [other] = [node for node in self.deployment.replicas if node is not new]
        self.deployment.promote(new, kill=False)
        promoted = time.monotonic()
        other.follow(new)
        followed = time.monotonic()
        resumed = self.crew.wait_progress()
        print(f"  {old.name} killed, {new.name} promoted after {promoted - killed:.2f} s, {other.name} follows {followed - promoted:.2f} s later; "
              f"all go on {resumed - promoted:.2f} s after the promotion, {max(0, resumed - followed):.2f} s after there is a standby")
        old.start()
        before = [old.sql(f"SELECT count(*) FROM {table}") for table in TABLES]
        for service in self.services:
            wait_until(lambda: service.replica(self.deployment.url_of(old))["state"] == "outdated", "the old primary outdated", seconds=10)
        self.crew.wait_progress()
        assert [old.sql(f"SELECT count(*) FROM {table}") for table in TABLES] == before, "written to the old primary"
        old.reseed_from(new)
        self.deployment.set_synchronous(True)
        for service in self.services:
            service.wait_ok()


@pytest.fixture
def crew(deployment):
    """A deployment that loses nothing, two services and workers who use them."""
    deployment.set_synchronous(True)
    settings = {"DATABASE_PROBE_INTERVAL_MS": 1000, "HTTP_HANDLER_TIMEOUT_MS": HANDLER_SECONDS * 1000}
    services = [deployment.serve(HTTP_THREADS=2, **settings), deployment.serve(**settings)]
    for service in services:
        service.wait_ok()
    reader = deployment.make_key("reader", "--permission", "runs:read")
    return services, Crew(services, reader, 6 if LONG else 4)


def check_everything_is_there(deployment, crew, service):
    """Each acknowledged event is on every node and in the API exactly once, and nothing is that was not sent."""
    deployment.wait_caught_up()
    for worker in crew.workers:
        for node in deployment.nodes:
            found = [str(event) for (event,) in node.sql("SELECT id FROM llm_calls WHERE run_id = %s", (worker.run_id,))]
            assert sorted(found) == sorted(worker.acknowledged), f"on {node.name}"
        assert service.api().get(f"/api/v1/runs/{worker.run_id}").json()["totals"]["llm_calls"] == len(worker.acknowledged)


def test_no_acknowledged_event_is_lost_and_no_read_is_too_old_whatever_fails(deployment, crew):
    services, crew = crew
    seed = int(os.environ.get("COGNIVE_CHAOS_SEED", random.SystemRandom().randrange(1 << 32) if LONG else 1))
    chance = random.Random(seed)
    print(f"\nseed {seed}")
    begin = time.monotonic()
    with crew:
        storm = Storm(deployment, crew, services)
        crew.wait_progress()
        resident = [service.resident_bytes() for service in services]
        for _ in range(4 if LONG else 1):
            one, two = deployment.replicas
            faults = [lambda: storm.pause_a_replica(one), lambda: storm.break_the_way(two), lambda: storm.freeze_a_replica(one),
                      lambda: storm.break_the_way(deployment.primary)]
            if LONG:
                chance.shuffle(faults)
            for fault in faults:
                fault()
            storm.fail_over()
        storm.fail_over()
        crew.wait_progress()
    crew.check()
    check_everything_is_there(deployment, crew, services[0])
    refusals = [each for worker in crew.workers for each in worker.refusals]
    print(f"  {crew.acknowledged()} events acknowledged, {sum(worker.checked_reads for worker in crew.workers)} reads with tokens, {len(refusals)} refusals, "
          f"slowest answer {max(worker.slowest for worker in crew.workers):.2f} s, {time.monotonic() - begin:.0f} s in all")
    assert crew.acknowledged() > 200
    for service, before in zip(services, resident):
        grown = service.resident_bytes() - before
        print(f"  memory {before >> 20} MB, and {grown >> 20} MB more at the end")
        assert grown < GROWTH_BYTES_MAX
        assert service.metric("db_failovers_total") == (5 if LONG else 2)
