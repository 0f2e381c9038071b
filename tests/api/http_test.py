"""HTTP itself: methods, connections and clients that drop them, request ids."""

import socket
import uuid

import pytest

from exposition import gauge
from installation import uuid7, wait_until
from wire import Wire, agent_body, check_problem, post_head


# Methods.

def test_an_unknown_path_is_404_and_a_wrong_method_405_with_allow(api):
    assert check_problem(api.get("/api/v1/nothing"), 404)["instance"] == "/api/v1/nothing"
    for path in ("/nothing", "/api/v1", "/api/v1/agents/", "/api/v1//agents", "/API/V1/AGENTS"):
        check_problem(api.get(path), 404)
    allowed = {"/": "GET, HEAD, OPTIONS", "/api/v1/agents": "GET, HEAD, OPTIONS, POST, PUT",
               f"/api/v1/agents/{uuid7()}": "GET, HEAD, OPTIONS, PATCH", "/api/v1/runs/start": "GET, HEAD, OPTIONS, POST",
               f"/api/v1/runs/{uuid7()}/end": "OPTIONS, POST"}
    for path, allow in allowed.items():
        answer = api.request("DELETE", path)
        check_problem(answer, 405)
        assert sorted(answer.headers["Allow"].split(", ")) == allow.split(", "), path


@pytest.mark.parametrize("method", ["BREW", "TRACE", "PROPFIND", "get", "LONG" * 30])
def test_unknown_methods_are_405(wire, method):
    answer = wire.get("/", method=method).answer()
    check_problem(answer, 405)
    assert "GET" in answer.headers["allow"]


@pytest.mark.parametrize("path", ["/", "/api/v1/health/readiness", "/api/v1/agents", "/openapi.json", "/nothing", "/api/v1/events"])
def test_head_answers_like_get_without_the_body(installation, wire, path):
    key = f"X-API-Key: {installation.key}"
    request_id = "X-Request-Id: head-test"
    full = wire.get(path, key, request_id).answer()
    bare = wire.get(path, key, request_id, method="HEAD").answer("HEAD")
    drop = {"date"}
    if path == "/api/v1/events":  # 405: its sentence names the method
        assert bare.status == full.status == 405 and int(bare.headers["content-length"]) > 0
        drop |= {"content-length"}
    else:
        assert bare.status == full.status
    assert {k: v for k, v in bare.headers.items() if k not in drop} == {k: v for k, v in full.headers.items() if k not in drop}
    assert wire.get("/").answer().status == 200, "HEAD left a body on the wire"


def test_options_tells_the_methods_without_a_key(wire):
    answer = wire.get("/api/v1/agents", method="OPTIONS").answer()
    assert answer.status == 204
    assert sorted(answer.headers["allow"].split(", ")) == ["GET", "HEAD", "OPTIONS", "POST", "PUT"]
    assert "content-length" not in answer.headers and "content-type" not in answer.headers
    check_problem(wire.get("/nothing", method="OPTIONS").answer(), 404)


def test_options_of_the_whole_server_is_answered(wire):
    assert wire.get("*", method="OPTIONS").answer().status in (200, 204)


# Connections.

def test_connections_are_kept_and_closed_on_demand(installation, wire):
    for _ in range(3):
        answer = wire.get("/api/v1/health/liveness").answer()
        assert answer.version == "HTTP/1.1" and "close" not in answer.headers.get("connection", "")
    last = wire.get("/api/v1/health/liveness", "Connection: close").answer()
    assert last.status == 200 and last.headers["connection"].lower() == "close"
    assert wire.closed()


def test_pipelined_requests_are_answered_in_their_order(installation, wire):
    body = agent_body()
    stream = b""
    for number in range(20):
        if number % 5 == 2:
            stream += post_head("/api/v1/agents", installation.key, f"X-Request-Id: p{number}", f"Content-Length: {len(body)}") + body
        elif number % 5 == 3:
            stream += f"GET /nothing HTTP/1.1\r\nHost: test\r\nX-Request-Id: p{number}\r\n\r\n".encode()
        else:
            stream += f"GET /openapi.json HTTP/1.1\r\nHost: test\r\nX-Request-Id: p{number}\r\n\r\n".encode()
    wire.send(stream)
    answers = [wire.answer() for _ in range(20)]
    assert [answer.headers["x-request-id"] for answer in answers] == [f"p{number}" for number in range(20)]
    expected = [{2: 201 if number == 2 else 409, 3: 404}.get(number % 5, 200) for number in range(20)]
    assert [answer.status for answer in answers] == expected


def test_nothing_is_answered_after_a_pipelined_close(wire):
    wire.send(b"GET / HTTP/1.1\r\nHost: t\r\nConnection: close\r\n\r\nGET / HTTP/1.1\r\nHost: t\r\n\r\n")
    assert wire.answer().status == 200
    assert wire.closed()


def test_a_request_may_arrive_in_single_bytes(wire):
    for byte in b"GET /api/v1/health/liveness HTTP/1.1\r\nHost: t\r\n\r\n":
        wire.send(bytes([byte]))
    assert wire.answer().json() == {"status": "alive"}


def test_http_1_0_is_answered_and_closed(wire):
    answer = wire.send(b"GET /api/v1/health/liveness HTTP/1.0\r\n\r\n").answer()
    assert answer.status == 200 and answer.json() == {"status": "alive"}
    assert wire.closed()


def test_http_1_0_is_told_when_its_connection_is_kept(wire):
    for _ in range(2):
        answer = wire.send(b"GET /api/v1/health/liveness HTTP/1.0\r\nConnection: keep-alive\r\n\r\n").answer()
        if "connection" not in answer.headers or answer.headers["connection"].lower() == "close":
            assert answer.headers.get("connection", "").lower() == "close", "kept although the client is not told"
            assert wire.closed()
            return
        assert answer.headers["connection"].lower() == "keep-alive"


def test_200_connections_at_once_are_all_answered(installation, api):
    wires = [Wire(installation.url) for _ in range(200)]
    try:
        for number, one in enumerate(wires):
            one.send(f"GET /api/v1/agents?limit=1 HTTP/1.1\r\nX-Request-Id: c{number}\r\nX-API-Key: {installation.key}\r\n".encode())
        assert gauge(api, "cognive_http_connections_open") >= 200
        for one in wires:
            one.send(b"Host: t\r\n\r\n")
        for number, one in enumerate(wires):
            answer = one.answer()
            assert answer.status == 200 and answer.headers["x-request-id"] == f"c{number}"
    finally:
        for one in wires:
            one.socket.close()
    wait_until(lambda: gauge(api, "cognive_http_connections_open") < 50, "the connections gone", seconds=10)


def test_clients_that_vanish_harm_nobody(installation, api):
    log = installation.directory / "log/cognive.log"
    logged = log.stat().st_size
    open_before = gauge(api, "cognive_http_connections_open")
    agents_before = installation.sql("SELECT count(*) FROM agents")
    half = agent_body()
    for _ in range(20):
        for data in (b"", b"GET", b"GET / HTTP/1.1\r\nHost: t\r\n", post_head("/api/v1/agents", installation.key, "Content-Length: 500") + half,
                     post_head("/api/v1/agents", installation.key, "Transfer-Encoding: chunked") + b"ff\r\n" + half,
                     b"GET /openapi.json HTTP/1.1\r\nHost: t\r\n\r\n" * 50):
            gone = Wire(installation.url).send(data)
            gone.reset()
            closed = Wire(installation.url).send(data)
            closed.socket.close()
    reading = Wire(installation.url).send(b"GET /openapi.json HTTP/1.1\r\nHost: t\r\n\r\n" * 50)
    assert reading.answer().status == 200
    reading.reset()
    wait_until(lambda: gauge(api, "cognive_http_connections_open") <= open_before, "the connections gone", seconds=10)
    assert installation.sql("SELECT count(*) FROM agents") == agents_before
    assert api.get("/api/v1/agents", params={"limit": 1}).status_code == 200
    with open(log) as lines:
        lines.seek(logged)
        assert not [line for line in lines if '"level":"error"' in line]


def test_a_client_that_only_closed_its_sending_side_gets_its_answer(wire):
    wire.get("/openapi.json")
    wire.socket.shutdown(socket.SHUT_WR)
    assert wire.answer().status == 200
    assert wire.closed()


# Request ids.

@pytest.mark.parametrize("given", ["a", "req-42", "x" * 128, "!#$%&'*+-.^_`|~", '"quoted\\"', uuid7()],
                         ids=["letter", "word", "longest", "signs", "quoted", "uuid"])
def test_a_valid_request_id_is_taken_over(wire, given):
    answer = wire.get("/nothing", f"X-Request-Id: {given}").answer()
    assert check_problem(answer, 404)["request_id"] == given


@pytest.mark.parametrize("given", [None, "", "x" * 129, "two words", "caf\xe9", "tab\there"])
def test_a_missing_or_invalid_request_id_is_replaced_by_a_new_one(wire, given):
    headers = [] if given is None else [f"X-Request-Id: {given}"]
    made = [check_problem(wire.get("/nothing", *headers).answer(), 404)["request_id"] for _ in range(2)]
    assert made[0] != made[1]
    assert all(uuid.UUID(one).version == 7 for one in made)


def test_the_request_id_reaches_the_audit_trail(installation, api):
    agent = api.post("/api/v1/agents", json={"name": uuid7()}, headers={"X-Request-Id": "audited-request"}).json()
    assert installation.sql("SELECT request_id FROM audit_logs WHERE resource_id = %s", agent["id"]) == [("audited-request",)]
