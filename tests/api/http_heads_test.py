"""Heads of requests: malformed ones, and what their targets mean."""

import urllib.parse

import pytest

from installation import uuid7
from wire import check_problem

MALFORMED_HEADS = [
    b"GET\r\n\r\n",
    b"GET /\r\n\r\n",
    b"GET / \r\nHost: test.example\r\n\r\n",
    b"/ HTTP/1.1\r\nHost: t\r\n\r\n",
    b" GET / HTTP/1.1\r\nHost: t\r\n\r\n",
    b"GET / HTTX/1.1\r\nHost: t\r\n\r\n",
    b"GET / HTTP/1.1.1\r\nHost: t\r\n\r\n",
    b"GET / HTTP/9.9\r\nHost: t\r\n\r\n",
    b"GET / http/1.1\r\nHost: t\r\n\r\n",
    b"G@T / HTTP/1.1\r\nHost: t\r\n\r\n",
    b"GET / with spaces HTTP/1.1\r\nHost: t\r\n\r\n",
    b"GET / HTTP/1.1\r\nHost: t\r\nNo colon here\r\n\r\n",
    b"GET / HTTP/1.1\r\nHost : t\r\n\r\n",
    b"GET / HTTP/1.1\r\n: empty name\r\n\r\n",
    b"GET / HTTP/1.1\r\nHost: t\r\nX-Nul: a\0b\r\n\r\n",
    b"GET / HTTP/1.1\r\nHost: t\r\nX Y: 1\r\n\r\n",
    b"GET /\0 HTTP/1.1\r\nHost: t\r\n\r\n",
    b"GET /\xff\xfe HTTP/1.1\r\nHost: t\r\n\r\n",
    b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(range(64)) + b"\r\n\r\n",
    b"\0" * 64 + b"\r\n\r\n",
    b"{\"json\": \"without HTTP\"}\r\n\r\n",
]


@pytest.mark.parametrize("head", MALFORMED_HEADS, ids=lambda head: repr(head[:40]))
def test_a_malformed_head_is_400_and_the_connection_closed(wire, head):
    answer = wire.send(head).answer()
    check_problem(answer, 400)
    assert answer.headers["connection"].lower() == "close"
    assert wire.closed()


@pytest.mark.parametrize("head", [
    b"GET / HTTP/1.1\r\n\r\n",
    b"GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n",
], ids=["no Host", "two Hosts"])
def test_http_1_1_needs_exactly_one_host(wire, head):
    check_problem(wire.send(head).answer(), 400)  # RFC 9112, section 3.2


def test_an_empty_line_before_a_request_is_ignored(wire):
    assert wire.send(b"\r\nGET / HTTP/1.1\r\nHost: t\r\n\r\n").answer().status == 200  # RFC 9112, section 2.2


@pytest.mark.parametrize("target", ["/%", "/%2", "/%zz", "/api/v1/agents?name=%zz", "/api/v1/agents?%=1", "nopath", "?query", "/a[b", "/a\"b",
                                    "/a?b\\c", "/#fragment"])
def test_a_target_that_is_no_path_is_400(installation, wire, target):
    check_problem(wire.get(target, f"X-API-Key: {installation.key}").answer(), 400)
    assert wire.get("/").answer().status == 200, "the framing was fine, so the connection can stay"


@pytest.mark.parametrize("target", ["/%ff", "/%00", "/a%20b", "/%e2%82%ac", "/%0d%0aX-Injected:%201", "/%3Cscript%3E", "/%22", "/%c0%af"])
def test_a_strange_path_is_404_and_reported_as_a_uri_in_valid_json(wire, target):
    answer = wire.get(target).answer()
    body = check_problem(answer, 404)
    assert body["instance"].lower() == target.lower()
    assert "x-injected" not in answer.headers


def test_an_encoded_slash_does_not_separate_segments(installation, wire):
    key = f"X-API-Key: {installation.key}"
    check_problem(wire.get("/api/v1%2Fagents", key).answer(), 404)
    check_problem(wire.get("/api%2Fv1%2Fagents", key).answer(), 404)
    # One segment "a/b" where an id belongs: an invalid id, not a deeper path.
    check_problem(wire.get("/api/v1/agents/a%2Fb", key).answer(), 422)


def test_an_absolute_target_means_its_path(installation, wire):
    # RFC 9112, section 3.2.2: a server must accept it.
    assert wire.get(f"{installation.url}/api/v1/health/liveness?").answer().json() == {"status": "alive"}
    assert wire.get(f"{installation.url}/").answer().status == 200
    assert wire.get(installation.url).answer().status == 200


def test_connect_is_refused(wire):
    answer = wire.get("example.com:443", method="CONNECT").answer()
    assert answer.status in (400, 405, 501)
    check_problem(answer, answer.status)


def test_percent_encoding_and_plus_in_a_query_are_decoded(api):
    name = "q & a=b/ü+" + uuid7()
    agent = api.agent(name)
    found = api.get("/api/v1/agents?name=" + urllib.parse.quote(name, safe="")).json()["items"]
    assert [item["id"] for item in found] == [agent["id"]]
