"""What an acknowledged write is worth: with asynchronous replication it can be lost with the primary, with synchronous replication it cannot."""

import contextlib
import os
import signal
import time
from concurrent.futures import ThreadPoolExecutor

import pytest
from installation import llm_call, wait_until
from wire import check_problem

HANDLER_SECONDS = 2  # instead of 15, so that a refusal comes sooner


@contextlib.contextmanager
def cut_off(nodes):
    """Replicas that receive nothing while the block runs, though their connections stand; what was on its way then is lost."""
    for node in nodes:
        [(receiver,)] = node.superuser("SELECT pid FROM pg_stat_wal_receiver")
        os.kill(receiver, signal.SIGSTOP)
    try:
        yield
    finally:
        # Continued, the receiver would still read what the primary's machine has sent: a machine that is lost takes that with it.
        for node in nodes:
            node.kill()
            node.start()


@pytest.fixture
def synchronous(deployment):
    """The deployment, where a commit waits for any one replica."""
    deployment.set_synchronous(True)
    return deployment


@pytest.fixture
def impatient(synchronous):
    """A service that answers within a few seconds, and a run."""
    service = synchronous.serve(HTTP_HANDLER_TIMEOUT_MS=HANDLER_SECONDS * 1000)
    service.wait_ok()
    api = service.api()
    return service, api, api.run(api.agent()["id"])["run_id"]


def stored(node, run):
    """The ids of a run's calls on a node, as often as they are there."""
    return sorted(str(call) for (call,) in node.sql("SELECT id FROM llm_calls WHERE run_id = %s", (run,)))


def all_that_it_has(node):
    """How far a restarted replica has the log: only when it has replayed all of it can it tell."""
    at_the_end = "SELECT 1 FROM pg_stat_activity WHERE backend_type = 'startup' AND wait_event IN ('RecoveryRetrieveRetryInterval', 'RecoveryWalStream')"
    wait_until(lambda: node.superuser(at_the_end), f"{node.name} has replayed what it has", seconds=10)
    return node.replay_lsn()


def post(api, event):
    """Send one event as a batch."""
    return api.post("/api/v1/events", json=[event], timeout=30)


def test_asynchronous_replication_can_lose_an_acknowledged_write(deployment, service):
    api = service.api()
    run = api.run(api.agent()["id"])["run_id"]
    deployment.wait_caught_up()
    event = llm_call(run)
    with cut_off(deployment.replicas):
        assert post(api, event).json()["accepted"] == 1
        deployment.primary.kill()
    deployment.promote(deployment.replicas[0], kill=False)
    service.wait_writable()
    assert stored(deployment.primary, run) == []
    # The sender that kept it may send it again.
    assert post(api, event).json()["accepted"] == 1
    assert stored(deployment.primary, run) == [event["id"]]


def test_synchronous_replication_loses_no_acknowledged_write(impatient, synchronous):
    service, api, run = impatient
    acknowledged, sent = [], []
    with ThreadPoolExecutor(1) as pool:
        def send():
            while True:
                event = llm_call(run)
                sent.append(event)
                answer = post(api, event)
                if answer.status_code != 200:
                    return answer
                acknowledged.append(event["id"])

        last = pool.submit(send)
        wait_until(lambda: len(acknowledged) > 20, "events acknowledged", seconds=10)
        with cut_off(synchronous.replicas):
            refused = last.result(HANDLER_SECONDS + 10)
            synchronous.primary.kill()
    check_problem(refused, 503)
    # With ANY 1 it is the replica that has most that must be promoted.
    old = synchronous.promote(max(synchronous.replicas, key=all_that_it_has), kill=False)
    next(node for node in synchronous.replicas if node is not old).follow(synchronous.primary)
    service.wait_writable()
    found = stored(synchronous.primary, run)
    assert sorted(acknowledged) == [each for each in found if each in set(acknowledged)]
    assert post(api, sent[-1]).status_code == 200
    assert stored(synchronous.primary, run).count(sent[-1]["id"]) == 1


def test_without_any_standby_no_write_succeeds_and_reads_go_on_and_nothing_piles_up(impatient, synchronous):
    service, api, run = impatient
    events = [llm_call(run) for _ in range(8)]
    agents = [api.agent()["id"] for _ in events]
    for node in synchronous.replicas:
        node.stop()

    def attempt(number):
        begin = time.monotonic()
        client = service.api()
        answers = [post(client, events[number]), client.post("/api/v1/agents", json={"name": f"lonely-{events[number]['id']}"}, timeout=30),
                   client.put("/api/v1/agents", json={"name": f"put-{events[number]['id']}"}, timeout=30),
                   client.patch(f"/api/v1/agents/{agents[number]}", json={"version": "2"}, timeout=30)]
        return answers, time.monotonic() - begin

    backends = []

    def count_backends():
        [(count,)] = synchronous.primary.superuser("SELECT count(*) FROM pg_stat_activity WHERE usename = 'cognive'")
        backends.append(count)

    count_backends()
    with ThreadPoolExecutor(len(events)) as pool:
        attempts = [pool.submit(attempt, number) for number in range(len(events))]
        reader = service.api()

        def over():
            count_backends()
            begin = time.monotonic()
            assert reader.get("/api/v1/agents?limit=1").status_code == 200
            assert time.monotonic() - begin < 3
            return all(each.done() for each in attempts)

        wait_until(over, "all answers", seconds=4 * (HANDLER_SECONDS + 2))
    answers = [answer for each in attempts for answer in each.result()[0]]
    assert len(answers) == 32
    for answer in answers:
        check_problem(answer, 503)
        assert answer.headers["Retry-After"].isdigit()
    slowest = max(answer.elapsed.total_seconds() for answer in answers)
    print(f"\n{len(answers)} writes without a standby: slowest answer {slowest:.2f} s, at most {max(backends)} backends")
    assert slowest < HANDLER_SECONDS + 1
    # Each caller has one session in use, and may have one that was given up and has not ended yet.
    assert max(backends) <= backends[0] + 2 * len(events)
    for node in synchronous.replicas:
        node.start()
    service.wait_writable()
    for event in events:
        assert post(api, event).json()["rejected"] == []
    assert stored(synchronous.primary, run) == sorted(event["id"] for event in events)


def test_starting_runs_that_wait_for_a_standby_holds_up_no_read(impatient, synchronous):
    service, api, run = impatient
    agent = api.get(f"/api/v1/runs/{run}").json()["agent_id"]
    for node in synchronous.replicas:
        node.stop()
    with ThreadPoolExecutor(6) as pool:
        starts = [pool.submit(service.api().post, "/api/v1/runs/start", json={"agent_id": agent}) for _ in range(6)]
        seen = []

        def over():
            begin = time.monotonic()
            answer = service.api().get(f"/api/v1/runs/{run}")
            seen.append((answer.status_code, time.monotonic() - begin))
            return all(each.done() for each in starts)

        wait_until(over, "the refusals", seconds=15)
    assert {each.result().status_code for each in starts} == {503}
    print(f"\nslowest read while runs wait for a standby: {max(seconds for _, seconds in seen):.2f} s")
    assert {status for status, _ in seen} == {200} and max(seconds for _, seconds in seen) < 2


def break_off_waits(node, answer):
    """Cancel the waits of commits for a standby until the answer is there: they stand on the primary then and nowhere else, and PostgreSQL only warns.

    Commits of background work wait too, and nothing tells which of them is the request's."""
    broken_off = []

    def is_answered():
        broken_off.extend(node.superuser("SELECT pg_cancel_backend(pid) FROM pg_stat_activity WHERE wait_event = 'SyncRep'"))
        return answer.done()

    wait_until(is_answered, "an answer", seconds=10)
    assert broken_off, "no commit waited for a standby"


def test_a_commit_whose_wait_for_a_standby_is_broken_off_is_not_acknowledged(impatient, synchronous):
    service, api, run = impatient
    event, agent = llm_call(run), api.get(f"/api/v1/runs/{run}").json()["agent_id"]
    for node in synchronous.replicas:
        node.stop()
    with ThreadPoolExecutor(1) as pool:
        for path, body in (("/api/v1/events", [event]), ("/api/v1/agents", {"name": event["id"]}), ("/api/v1/runs/start", {"agent_id": agent})):
            answer = pool.submit(api.post, path, json=body, timeout=30)
            break_off_waits(synchronous.primary, answer)
            check_problem(answer.result(), 503)
            assert answer.result().elapsed.total_seconds() < HANDLER_SECONDS
    assert stored(synchronous.primary, run) == [event["id"]]
    for node in synchronous.replicas:
        node.start()
    service.wait_writable()
    assert post(api, event).json() == {"accepted": 0, "duplicates": 1, "rejected": []}
    assert stored(synchronous.primary, run) == [event["id"]]


@pytest.mark.parametrize("route", ["/api/v1/events", "/api/v1/runs/{run}/llm-calls", "/api/v1/runs/{run}/steps"])
def test_a_repeat_is_not_acknowledged_before_its_first_copy_is_on_a_standby(impatient, synchronous, route):
    _, api, run = impatient
    event = llm_call(run)
    if route.endswith("steps"):
        event = {"id": event["id"], "timestamp": event["timestamp"], "index": 1, "kind": "llm", "name": "plan"}

    def send():
        return api.post(route.format(run=run), json=[event] if route.endswith("events") else event, timeout=30)

    for node in synchronous.replicas:
        node.stop()
    with ThreadPoolExecutor(1) as pool:
        first = pool.submit(send)
        break_off_waits(synchronous.primary, first)
        check_problem(first.result(), 503)
    check_problem(send(), 503)


def test_with_one_of_two_standbys_away_writes_go_on(impatient, synchronous):
    service, api, run = impatient
    synchronous.replicas[0].stop()
    for _ in range(10):
        assert post(api, llm_call(run)).json()["accepted"] == 1
    synchronous.replicas[0].start()
    service.wait_ok()
