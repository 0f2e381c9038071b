"""Limits of an installation that has small ones: sizes of bodies and heads, connections, times of slow and idle clients."""

import gzip
import re
import resource
import select
import socket
import time
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from exposition import gauge
from installation import Installation, wait_until
from wire import Wire, agent_body, check_problem, post_head

BODY_MAX = 64 * 1024
HEAD_MAX = 4096
REQUEST_SECONDS = 1.0
IDLE_SECONDS = 1.5
CONNECTIONS_MAX = 40


@pytest.fixture(scope="module")
def strict(shared_directory):
    """An installation with small limits and short timeouts."""
    running = Installation(shared_directory / "strict", HTTP_BODY_BYTES_MAX=BODY_MAX, HTTP_HEADER_BYTES_MAX=HEAD_MAX,
                           HTTP_REQUEST_TIMEOUT_MS=int(REQUEST_SECONDS * 1000), HTTP_IDLE_TIMEOUT_MS=int(IDLE_SECONDS * 1000),
                           HTTP_CONNECTIONS_MAX=CONNECTIONS_MAX).start()
    yield running
    assert running.stop() == 0


# Sizes and numbers.

def test_a_body_may_be_as_large_as_the_limit_and_not_one_byte_larger(strict):
    body = agent_body()
    padding = b" " * (BODY_MAX - len(body))
    api = strict.api()
    assert api.post("/api/v1/agents", data=body + padding).status_code == 201
    assert api.post("/api/v1/agents", data=iter([agent_body(), padding])).status_code == 201
    assert str(BODY_MAX) in check_problem(api.post("/api/v1/agents", data=body + padding + b" "), 413)["detail"]
    check_problem(api.post("/api/v1/agents", data=iter([body, padding, b" "])), 413)


def test_the_limit_on_the_body_holds_after_decompression_to_the_byte(strict):
    body = agent_body()
    fits = body + b" " * (BODY_MAX - len(body))
    api = strict.api()
    assert api.post("/api/v1/agents", data=gzip.compress(fits), headers={"Content-Encoding": "gzip"}).status_code == 201
    check_problem(api.post("/api/v1/agents", data=gzip.compress(fits + b" "), headers={"Content-Encoding": "gzip"}), 413)


def test_a_body_that_is_too_large_is_refused_instead_of_asked_for(strict):
    with Wire(strict.url) as wire:
        wire.send(post_head("/api/v1/agents", strict.key, f"Content-Length: {BODY_MAX + 1}", "Expect: 100-continue"))
        check_problem(wire.answer(), 413)
        assert wire.closed()


@pytest.mark.parametrize("megabytes", [1, 8, 40])
def test_a_client_that_sends_far_too_much_can_still_read_why(strict, megabytes):
    length = megabytes << 20
    with Wire(strict.url) as wire:
        wire.send(post_head("/api/v1/agents", strict.key, f"Content-Length: {length}"))
        try:
            wire.send(bytes(length))
        except (BrokenPipeError, ConnectionResetError):
            pass  # the server need not take it all, but its answer must be there
        check_problem(wire.answer(), 413)


def test_a_head_over_the_limit_is_431(strict):
    for headers in ([f"X-Long: {'a' * HEAD_MAX}"], [f"X-{number}: {number}" for number in range(1000)], [f"{'n' * HEAD_MAX}: 1"],
                    [f"X-Endless: {'a' * (1 << 20)}"]):
        with Wire(strict.url) as wire:
            try:
                wire.get("/", *headers)
            except (BrokenPipeError, ConnectionResetError):
                pass
            check_problem(wire.answer(), 431)
            assert wire.closed()
    with Wire(strict.url) as wire:
        assert wire.get("/", f"X-Long: {'a' * (HEAD_MAX - 200)}").answer().status == 200


def test_a_very_long_url_is_refused_and_a_long_one_is_read(strict):
    with Wire(strict.url) as wire:
        check_problem(wire.get("/" + "a" * 3000).answer(), 404)
    with Wire(strict.url) as wire:
        answer = wire.get("/" + "a" * 100_000).answer()
        assert answer.status in (414, 431)
        check_problem(answer, answer.status)


def test_connections_above_the_limit_are_closed_and_those_below_still_served(strict):
    wires = [Wire(strict.url) for _ in range(CONNECTIONS_MAX)]
    try:
        assert all(one.get("/").answer().status == 200 for one in wires)
        with Wire(strict.url) as extra:
            assert extra.closed()
        assert all(one.get("/").answer().status == 200 for one in wires)
    finally:
        for one in wires:
            one.socket.close()

    def served():
        try:
            with Wire(strict.url) as one:
                return one.get("/").answer().status == 200
        except (AssertionError, OSError):
            return False

    wait_until(served, "a connection accepted again", seconds=5)


# Slow and idle clients.

def trickle(wire, byte, seconds):
    """Send one byte every tenth of a second until the server answers; the seconds that took."""
    begin = time.monotonic()
    while time.monotonic() - begin < seconds:
        readable, _, _ = select.select([wire.socket], [], [], 0.1)
        if readable:
            return time.monotonic() - begin
        wire.send(byte)
    raise AssertionError(f"not cut off in {seconds} s")


def test_a_client_that_trickles_its_head_is_cut_off_with_408(strict):
    with Wire(strict.url) as wire:
        wire.send(b"GET / HTTP/1.1\r\nHost: t\r\nX-Slow: ")
        taken = trickle(wire, b"a", 10)
        assert REQUEST_SECONDS - 0.2 < taken < REQUEST_SECONDS + 1.5
        answer = wire.answer()
        check_problem(answer, 408)
        assert answer.headers["connection"].lower() == "close"
        assert wire.closed()


@pytest.mark.parametrize("framing", ["Content-Length: 1000", "Transfer-Encoding: chunked"])
def test_a_client_that_trickles_its_body_is_cut_off_with_408(strict, framing):
    with Wire(strict.url) as wire:
        wire.send(post_head("/api/v1/agents", strict.key, framing) + (b"" if "Length" in framing else b"1000\r\n"))
        taken = trickle(wire, b" ", 10)
        assert REQUEST_SECONDS - 0.2 < taken < REQUEST_SECONDS + 1.5
        check_problem(wire.answer(), 408)
        assert wire.closed()


def test_a_client_that_promises_a_body_and_sends_none_is_cut_off_with_408(strict):
    with Wire(strict.url) as wire:
        wire.send(post_head("/api/v1/agents", strict.key, "Content-Length: 10"))
        check_problem(wire.answer(), 408)
        assert wire.closed()


@pytest.mark.parametrize("served", [False, True])
def test_an_idle_connection_is_closed_silently(strict, served):
    with Wire(strict.url) as wire:
        if served:
            assert wire.get("/").answer().status == 200
        begin = time.monotonic()
        assert wire.closed()
        assert IDLE_SECONDS - 0.2 < time.monotonic() - begin < IDLE_SECONDS + 2


def test_a_client_that_does_not_read_its_answers_is_dropped(strict):
    api = strict.api()
    with Wire(strict.url) as wire:
        wire.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        wire.socket.setblocking(False)
        request = b"GET /openapi.json HTTP/1.1\r\nHost: t\r\n\r\n" * 100
        deadline = time.monotonic() + 15
        while time.monotonic() < deadline:
            _, writable, _ = select.select([], [wire.socket], [], 0.2)
            if writable:
                try:
                    wire.socket.send(request)
                except BlockingIOError:
                    continue
                except (BrokenPipeError, ConnectionResetError):
                    break
            elif gauge(api, "cognive_http_connections_open") <= 1:
                break
        else:
            raise AssertionError("still connected although it never read")
    assert api.get("/").status_code == 200


# Many.

IDLE_CONNECTIONS = 10_000
BYTES_PER_CONNECTION_MAX = 24 << 10


def test_ten_thousand_idle_connections_cost_little_and_nobody_waits_for_them(shared_directory):
    """Each has had an answer, and has sent a part of its next request or nothing."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    assert hard > IDLE_CONNECTIONS + 500, f"this needs descriptors: the hard limit is {hard}"
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    running = Installation(shared_directory / "idle", HTTP_CONNECTIONS_MAX=IDLE_CONNECTIONS + 100, HTTP_THREADS=1).start()
    idle = []
    try:
        api = running.api()
        assert api.get("/api/v1/teams").status_code == 200
        rss = lambda: int(re.search(r"VmRSS:\s+(\d+) kB", Path(f"/proc/{running.process.pid}/status").read_text())[1]) * 1024
        before = rss()
        address = ("127.0.0.1", urlsplit(running.url).port)
        request = b"GET /api/v1/health/liveness HTTP/1.1\r\nHost: x\r\n\r\n"
        for number in range(IDLE_CONNECTIONS):
            one = socket.create_connection(address, timeout=20)
            idle.append(one)
            one.sendall(request)
            answer = one.recv(4096)
            assert answer.startswith(b"HTTP/1.1 200 "), number
            if number % 2:
                one.sendall(b"GET /api")
        per_connection = (rss() - before) / IDLE_CONNECTIONS
        assert per_connection < BYTES_PER_CONNECTION_MAX, per_connection
        took = []
        for _ in range(50):
            begun = time.monotonic()
            assert api.get("/api/v1/teams").status_code == 200
            took.append(time.monotonic() - begun)
        assert sorted(took)[25] < 0.2, sorted(took)
        assert gauge(api, "cognive_http_connections_open") >= IDLE_CONNECTIONS
    finally:
        for one in idle:
            one.close()
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
        assert running.stop() == 0
