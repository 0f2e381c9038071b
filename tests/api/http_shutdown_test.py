"""Shutdown: what becomes of requests and connections when the server is told to stop."""

import json
import signal
import time

from installation import llm_call, wait_until
from wire import Wire, agent_body, post_head


def refuses_connections(installation):
    """Whether the port is closed."""
    try:
        Wire(installation.url, timeout=1).socket.close()
        return False
    except OSError:
        return True


def exit_status(installation):
    """Wait for a process that was told to stop."""
    status = installation.process.wait(timeout=60)
    installation.stop()
    return status


def test_sigterm_finishes_the_request_in_flight_and_exits_0(fresh):
    one = fresh(HTTP_IDLE_TIMEOUT_MS=600_000).start()
    body = agent_body()
    with Wire(one.url) as idle, Wire(one.url) as busy:
        assert idle.get("/").answer().status == 200
        busy.send(post_head("/api/v1/agents", one.key, f"Content-Length: {len(body)}") + body[:10])
        assert idle.get("/").answer().status == 200  # the server has seen what came before, too
        one.process.send_signal(signal.SIGTERM)
        wait_until(lambda: refuses_connections(one), "the listener closed", seconds=10)
        assert idle.closed()
        assert one.process.poll() is None
        answer = busy.send(body[10:]).answer()
        assert answer.status == 201 and answer.headers["connection"].lower() == "close"
        assert busy.closed()
        agent = answer.json()
    assert exit_status(one) == 0
    one.start()
    assert one.api().get(f"/api/v1/agents/{agent['id']}").json() == agent


def test_sigterm_answers_batches_in_flight_and_keeps_what_it_accepted(fresh):
    one = fresh().start()
    run = one.api().run(one.api().agent()["id"])["run_id"]
    wires = [Wire(one.url) for _ in range(8)]
    for wire in wires:
        body = json.dumps([llm_call(run) for _ in range(500)]).encode()
        wire.send(post_head("/api/v1/events", one.key, f"Content-Length: {len(body)}") + body)
    one.process.send_signal(signal.SIGTERM)
    accepted = 0
    for wire in wires:
        try:
            answer = wire.answer()
        except (AssertionError, ConnectionResetError):
            continue  # never taken up: nothing was promised
        assert answer.status in (200, 503), answer.body
        accepted += answer.json()["accepted"] if answer.status == 200 else 0
        wire.socket.close()
    assert accepted > 0
    assert exit_status(one) == 0
    one.start()
    assert one.api().get(f"/api/v1/runs/{run}").json()["totals"]["llm_calls"] >= accepted


def test_sigterm_does_not_wait_for_ever_for_a_client_that_stopped_sending(fresh):
    one = fresh(SHUTDOWN_TIMEOUT_MS=1000).start()
    with Wire(one.url) as stuck:
        stuck.send(post_head("/api/v1/agents", one.key, "Content-Length: 100") + b"{")
        with Wire(one.url) as other:
            assert other.get("/").answer().status == 200
        begin = time.monotonic()
        assert one.stop() == 0
        assert time.monotonic() - begin < 15
