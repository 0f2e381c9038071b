"""HTTP itself: documents that need no key, methods, connections, bodies, limits, slow and vanishing clients, shutdown."""

import gzip
import json
import re
import select
import signal
import socket
import struct
import subprocess
import time
import urllib.parse
import uuid
import zlib
from pathlib import Path

import pytest
import requests

from installation import BINARY, Installation, clean_environment, llm_call, uuid7, wait_until

BODY_MAX = 64 * 1024
HEAD_MAX = 4096
REQUEST_SECONDS = 1.0
IDLE_SECONDS = 1.5
CONNECTIONS_MAX = 40
URI_REFERENCE = re.compile(r"(?:[A-Za-z0-9\-._~:/?#\[\]@!$&'()*+,;=]|%[0-9A-Fa-f]{2})*")


class Answer:
    """One answer as it came over the wire."""

    def __init__(self, status, version, headers, body):
        self.status, self.version, self.headers, self.body = status, version, headers, body

    def json(self):
        """The body, which must be JSON in valid UTF-8."""
        return json.loads(self.body.decode("utf-8"))


class Wire:
    """A socket that speaks HTTP byte by byte, for what a proper client never sends."""

    def __init__(self, url, timeout=15):
        self.address = urllib.parse.urlsplit(url)
        self.socket = socket.create_connection((self.address.hostname, self.address.port), timeout=timeout)
        self.received = b""

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.socket.close()

    def send(self, data):
        """Send bytes; returns the wire."""
        self.socket.sendall(data)
        return self

    def get(self, target, *headers, version="HTTP/1.1", method="GET"):
        """Send a request without a body."""
        lines = [f"{method} {target} {version}", "Host: test", *headers, "", ""]
        return self.send("\r\n".join(lines).encode("latin-1"))

    def _more(self):
        data = self.socket.recv(65536)
        self.received += data
        return bool(data)

    def answer(self, method="GET"):
        """The next answer, read to its end and no further."""
        while b"\r\n\r\n" not in self.received:
            assert self._more(), f"closed in the middle of an answer's head: {self.received!r}"
        head, self.received = self.received.split(b"\r\n\r\n", 1)
        first, *lines = head.decode("latin-1").split("\r\n")
        version, status, _ = first.split(" ", 2)
        headers = {}
        for line in lines:
            name, value = line.split(":", 1)
            assert name.lower() not in headers, f"header twice: {name}"
            headers[name.lower()] = value.strip()
        status = int(status)
        body = b""
        if method != "HEAD" and status >= 200 and status != 204:
            length = int(headers["content-length"])
            while len(self.received) < length:
                assert self._more(), "closed in the middle of an answer's body"
            body, self.received = self.received[:length], self.received[length:]
        return Answer(status, version, headers, body)

    def closed(self):
        """Wait until the server closes; fails when it sends anything else first."""
        try:
            while self._more():
                pass
        except ConnectionResetError:
            pass
        assert self.received == b"", f"unexpected bytes: {self.received[:200]!r}"
        return True

    def reset(self):
        """Close with RST, as a crashing client's machine does."""
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.socket.close()


def check_problem(answer, status):
    """A problem document with all its members; its body."""
    if isinstance(answer, requests.Response):
        answer = Answer(answer.status_code, "HTTP/1.1", {k.lower(): v for k, v in answer.headers.items()}, answer.content)
    assert answer.status == status, answer.body
    assert answer.headers["content-type"] == "application/problem+json"
    body = answer.json()
    assert body["status"] == status
    for name in ("type", "title", "detail", "instance", "request_id"):
        assert isinstance(body[name], str) and body[name], name
    assert body["request_id"] == answer.headers["x-request-id"]
    assert URI_REFERENCE.fullmatch(body["instance"]), f"no URI reference: {body['instance']!r}"
    return body


def post_head(target, key, *headers):
    """The head of a POST with a JSON body."""
    lines = [f"POST {target} HTTP/1.1", "Host: test", f"X-API-Key: {key}", "Content-Type: application/json", *headers, "", ""]
    return "\r\n".join(lines).encode()


def agent_body(**attributes):
    """A valid body for a new agent."""
    return json.dumps({"name": "http-" + uuid7(), **attributes}).encode()


def rss_bytes(pid):
    """Resident memory of a process."""
    return int(re.search(r"VmRSS:\s+(\d+) kB", Path(f"/proc/{pid}/status").read_text())[1]) * 1024


def samples(text):
    """The samples of a Prometheus exposition by name and labels; fails on anything that is not one."""
    label = r'[a-zA-Z_][a-zA-Z0-9_]*="(?:[^"\\\n]|\\["\\n])*"'
    sample = re.compile(rf"([a-zA-Z_:][a-zA-Z0-9_:]*)(?:\{{((?:{label}(?:,{label})*)?)\}})? (\S+)")
    types, found = {}, {}
    for line in text.splitlines():
        if line.startswith("# TYPE "):
            _, _, name, kind = line.split(" ")
            assert name not in types, f"two TYPE lines of {name}"
            assert kind in ("counter", "gauge", "histogram", "summary", "untyped"), line
            types[name] = kind
        elif not line.startswith("# HELP "):
            parsed = sample.fullmatch(line)
            assert parsed, f"no sample: {line}"
            name, labels, value = parsed.groups()
            labels = tuple(sorted(re.findall(r'(\w+)="((?:[^"\\]|\\.)*)"', labels or "")))
            family = re.sub(r"_(bucket|sum|count)$", "", name)
            assert name in types or types.get(family) == "histogram", f"a sample without TYPE: {line}"
            assert (name, labels) not in found, f"a series twice: {line}"
            found[name, labels] = float(value)
    assert text.endswith("\n")
    return types, found


def gauge(api, name):
    """The value of a series without labels."""
    return samples(api.get("/metrics").text)[1][name, ()]


@pytest.fixture(scope="module")
def strict(shared_directory):
    """An installation with small limits and short timeouts."""
    running = Installation(shared_directory / "strict", HTTP_BODY_BYTES_MAX=BODY_MAX, HTTP_HEADER_BYTES_MAX=HEAD_MAX,
                           HTTP_REQUEST_TIMEOUT_MS=int(REQUEST_SECONDS * 1000), HTTP_IDLE_TIMEOUT_MS=int(IDLE_SECONDS * 1000),
                           HTTP_CONNECTIONS_MAX=CONNECTIONS_MAX).start()
    yield running
    assert running.stop() == 0


@pytest.fixture
def wire(installation):
    """One connection to the shared installation."""
    with Wire(installation.url) as one:
        yield one


# Documents that need no key.

def test_the_root_says_what_this_is(installation):
    answer = requests.get(installation.url + "/", timeout=10)
    body = answer.json()
    assert answer.status_code == 200 and answer.headers["Content-Type"] == "application/json"
    assert body["service"] == "Cognive Control Plane API"
    assert re.fullmatch(r"\d+\.\d+\.\d+\S*", body["version"])
    assert (body["docs"], body["redoc"], body["api_base"]) == ("/docs", "/redoc", "/api/v1")


def test_the_api_root_welcomes(installation):
    body = requests.get(installation.url + "/api/v1/", timeout=10).json()
    assert body["message"] and body["version"] and body["environment"] == "development"


def test_liveness_says_alive(installation):
    answer = requests.get(installation.url + "/api/v1/health/liveness", timeout=10)
    assert answer.status_code == 200 and answer.json() == {"status": "alive"}


def test_readiness_names_the_dependencies_and_calls_the_missing_ones_embedded(installation):
    answer = requests.get(installation.url + "/api/v1/health/readiness", timeout=10)
    assert answer.status_code == 200
    body = answer.json()
    assert body["status"] == "ready"
    dependencies = body["dependencies"]
    assert dependencies["database_url"].startswith("postgresql://")
    assert {name: dependencies[name] for name in ("redis_url", "rabbitmq_url", "storage_endpoint")} == dict.fromkeys(
        ("redis_url", "rabbitmq_url", "storage_endpoint"), "embedded")


def serve(installation, **environment):
    """`cognive serve` on the database of a running installation; its process and address."""
    variables = {name: installation.variables[name] for name in ("DATABASE_URL", "COGNIVE_MASTER_KEY_FILE")}
    process = subprocess.Popen([BINARY, "serve", "--port", "0"], env=clean_environment(**variables | environment),
                               stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
    for line in process.stderr:
        if "listening" in line:
            return process, f"http://127.0.0.1:{json.loads(line)['port']}"
    raise AssertionError(f"serve ended with {process.wait()}")


@pytest.mark.parametrize("variable, name", [("REDIS_URL", "redis"), ("RABBITMQ_URL", "rabbitmq"), ("STORAGE_ENDPOINT", "storage")])
def test_readiness_is_503_and_names_the_dependency_that_is_away(installation, variable, name):
    process, url = serve(installation, **{variable: "redis://user:topsecret@127.0.0.1:1/0"})
    try:
        answer = requests.get(url + "/api/v1/health/readiness", timeout=10)
        body = check_problem(answer, 503)
        assert body["detail"].startswith(f"Not ready ({name} unavailable): ")
        assert "topsecret" not in answer.text
        assert int(answer.headers["Retry-After"]) >= 1
    finally:
        process.terminate()
        assert process.wait(timeout=30) == 0


def test_readiness_requires_narrows_the_list_and_masks_passwords(installation):
    process, url = serve(installation, REDIS_URL="redis://user:topsecret@127.0.0.1:1/0", READINESS_REQUIRES="database",
                         STORAGE_ENDPOINT="127.0.0.1:1")
    try:
        answer = requests.get(url + "/api/v1/health/readiness", timeout=10)
        assert answer.status_code == 200
        dependencies = answer.json()["dependencies"]
        assert dependencies["redis_url"] == "redis://user:***@127.0.0.1:1/0"
        assert re.match(r"postgresql://[^:]+:\*\*\*@", dependencies["database_url"])
        assert dependencies["rabbitmq_url"] == "embedded" and dependencies["storage_endpoint"] == "127.0.0.1:1"
    finally:
        process.terminate()
        assert process.wait(timeout=30) == 0


def test_metrics_are_parseable_and_name_routes_by_template(api):
    agent = api.agent()
    api.get(f"/api/v1/agents/{agent['id']}")
    api.get("/metrics")
    answer = api.get("/metrics")
    assert answer.headers["Content-Type"].startswith("text/plain; version=0.0.4")
    types, found = samples(answer.text)
    assert types["cognive_http_requests_total"] == "counter"
    assert types["cognive_http_request_duration_seconds"] == types["cognive_http_response_size_bytes"] == "histogram"
    labels = (("method", "GET"), ("path", "/api/v1/agents/{id}"))
    assert found["cognive_http_requests_total", (*labels, ("status", "200"))] >= 1
    assert found["cognive_http_request_duration_seconds_count", labels] >= 1
    assert agent["id"] not in {value for name, labels in found if "http" in name for _, value in labels}
    assert {"cognive_db_connections_active", "cognive_db_connections_idle"} <= types.keys()


def test_histograms_are_cumulative_and_end_in_infinity(api):
    types, found = samples(api.get("/metrics").text)
    buckets = {}
    for (name, labels), value in found.items():
        if name.endswith("_bucket"):
            bound = float(dict(labels)["le"])
            buckets.setdefault((name[:-7], tuple(l for l in labels if l[0] != "le")), []).append((bound, value))
    assert buckets
    for (name, labels), values in buckets.items():
        values.sort()
        counts = [count for _, count in values]
        assert counts == sorted(counts), name
        assert values[-1] == (float("inf"), found[name + "_count", labels])


def test_unknown_paths_make_no_series(api):
    marker = "nowhere-" + uuid7()
    assert api.get("/" + marker).status_code == 404
    assert api.request("BREW", "/" + marker).status_code == 404
    assert marker not in api.get("/metrics").text


def test_the_docs_need_no_foreign_host(installation):
    for path in ("/docs", "/redoc"):
        answer = requests.get(installation.url + path, timeout=10)
        assert answer.status_code == 200 and answer.headers["Content-Type"].startswith("text/html")
        assert not re.search(r"""(?:src|href)\s*=\s*["']?(?:https?:)?//""", answer.text)


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


# Request ids.

@pytest.mark.parametrize("given", ["a", "req-42", "x" * 128, "!#$%&'*+-.^_`|~", '"quoted\\"', uuid7()])
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


# Bodies.

def test_a_body_is_asked_for_with_100_continue(installation, wire):
    body = agent_body()
    wire.send(post_head("/api/v1/agents", installation.key, f"Content-Length: {len(body)}", "Expect: 100-continue"))
    assert wire.answer().status == 100
    assert wire.send(body).answer().status == 201
    assert wire.get("/").answer().status == 200


def test_a_body_that_is_too_large_is_refused_instead_of_asked_for(strict):
    with Wire(strict.url) as wire:
        wire.send(post_head("/api/v1/agents", strict.key, f"Content-Length: {BODY_MAX + 1}", "Expect: 100-continue"))
        check_problem(wire.answer(), 413)
        assert wire.closed()


def test_a_chunked_body_is_put_together(installation, wire):
    body = agent_body(description="ä" * 300)
    wire.send(post_head("/api/v1/agents", installation.key, "Transfer-Encoding: chunked"))
    for at in range(0, len(body), 100):
        piece = body[at:at + 100]
        wire.send(b"%X;ext=\"1\"\r\n%s\r\n" % (len(piece), piece))
    answer = wire.send(b"0\r\nX-Trailer: 1\r\n\r\n").answer()
    assert answer.status == 201 and answer.json()["description"] == "ä" * 300
    assert wire.get("/").answer().status == 200


@pytest.mark.parametrize("chunks", [b"zz\r\n{}\r\n0\r\n\r\n", b"-1\r\n\r\n", b"fffffffffffffffff\r\n", b"2\r\n{}xx0\r\n\r\n"])
def test_a_broken_chunk_is_400(installation, wire, chunks):
    wire.send(post_head("/api/v1/agents", installation.key, "Transfer-Encoding: chunked") + chunks)
    answer = wire.answer()
    if chunks.startswith(b"f"):
        assert answer.status in (400, 413)
        check_problem(answer, answer.status)
    else:
        check_problem(answer, 400)
    assert wire.closed()


@pytest.mark.parametrize("headers", [
    ["Content-Length: 2", "Transfer-Encoding: chunked"],
    ["Content-Length: 2", "Content-Length: 3"],
    ["Content-Length: -1"],
    ["Content-Length: 2x"],
    ["Content-Length: +2"],
    ["Content-Length: 99999999999999999999999999"],
    ["Content-Length:"],
    ["Transfer-Encoding: chunked, chunked"],
    ["Transfer-Encoding: chunked, gzip"],
    ["Transfer-Encoding: gzip"],
    ["Transfer-Encoding: identity"],
    ["Transfer-Encoding: xchunked"],
], ids=str)
def test_a_body_whose_length_is_ambiguous_is_refused_and_never_read_as_a_request(installation, wire, headers):
    wire.send(post_head("/api/v1/agents", installation.key, *headers) + b"0\r\n\r\n")
    answer = wire.answer()
    assert answer.status in (400, 501)
    check_problem(answer, answer.status)
    if answer.headers.get("connection", "").lower() == "close":
        assert wire.closed()
    else:
        assert wire.get("/").answer().status == 200, "the body was taken for a request"


@pytest.mark.parametrize("encoding", ["gzip", "GZIP", "x-gzip", " gzip "])
def test_a_gzip_body_is_accepted(api, encoding):
    answer = api.post("/api/v1/agents", data=gzip.compress(agent_body()), headers={"Content-Encoding": encoding.strip()})
    assert answer.status_code == 201


def test_a_gzip_body_of_several_members_is_put_together(api):
    body = agent_body(description="in three parts")
    packed = gzip.compress(body[:10]) + gzip.compress(b"") + gzip.compress(body[10:])
    answer = api.post("/api/v1/agents", data=packed, headers={"Content-Encoding": "gzip"})
    assert answer.status_code == 201 and answer.json()["description"] == "in three parts"


BROKEN_GZIP = {
    "empty": b"",
    "garbage": b"this is not gzip at all, not even a little",
    "plain JSON": b'{"name":"plain"}',
    "zlib": zlib.compress(b'{"name":"zlib"}'),
    "header only": gzip.compress(b'{"name":"x"}')[:10],
    "truncated": gzip.compress(b'{"name":"%s"}' % bytes(range(48, 90)).replace(b"\\", b"/"))[:30],
    "without its trailer": gzip.compress(b'{"name":"x"}')[:-8],
    "half a trailer": gzip.compress(b'{"name":"x"}')[:-3],
    "bad checksum": gzip.compress(b'{"name":"x"}')[:-8] + b"\0\0\0\0\0\0\0\0",
    "trailing garbage": gzip.compress(b'{"name":"x"}') + b"garbage behind it",
    "trailing zeros": gzip.compress(b'{"name":"x"}') + b"\0" * 512,
    "second member truncated": gzip.compress(b'{"name":') + gzip.compress(b'"x"}')[:-4],
}


@pytest.mark.parametrize("name", BROKEN_GZIP)
def test_a_broken_gzip_body_is_400_and_stores_nothing(installation, api, name):
    before = installation.sql("SELECT count(*) FROM agents")
    body = check_problem(api.post("/api/v1/agents", data=BROKEN_GZIP[name], headers={"Content-Encoding": "gzip"}), 400)
    assert body["type"] == "urn:cognive:problem:malformed"
    assert installation.sql("SELECT count(*) FROM agents") == before


def test_a_gzip_bomb_is_413_and_costs_no_memory(installation, api):
    member = gzip.compress(bytes(1 << 20), mtime=0)
    packer = zlib.compressobj(9, zlib.DEFLATED, 31)
    one_stream = b"".join(packer.compress(bytes(1 << 20)) for _ in range(256)) + packer.flush()
    nested = gzip.compress(gzip.compress(bytes(64 << 20)))
    headers = {"Content-Encoding": "gzip", "Content-Type": "application/json"}
    check_problem(api.post("/api/v1/agents", data=one_stream, headers=headers), 413)
    before = rss_bytes(installation.process.pid)
    for _ in range(3):
        check_problem(api.post("/api/v1/agents", data=one_stream, headers=headers), 413)
        check_problem(api.post("/api/v1/agents", data=member * 1024, headers=headers), 413)
        check_problem(api.post("/api/v1/agents", data=nested, headers=headers), 400)
        assert rss_bytes(installation.process.pid) - before < 48 << 20
    assert api.get("/").status_code == 200


def test_the_limit_on_the_body_holds_after_decompression_to_the_byte(strict):
    body = agent_body()
    fits = body + b" " * (BODY_MAX - len(body))
    api = strict.api()
    assert api.post("/api/v1/agents", data=gzip.compress(fits), headers={"Content-Encoding": "gzip"}).status_code == 201
    check_problem(api.post("/api/v1/agents", data=gzip.compress(fits + b" "), headers={"Content-Encoding": "gzip"}), 413)


@pytest.mark.parametrize("encoding", ["br", "deflate", "zstd", "compress", "gzip, gzip", "identity, gzip", "gzip\t;q=1", "x" * 500])
def test_an_unknown_content_encoding_is_415(api, encoding):
    check_problem(api.post("/api/v1/agents", data=b"{}", headers={"Content-Encoding": encoding}), 415)


@pytest.mark.parametrize("kind", ["text/plain", "application/xml", "application/x-www-form-urlencoded", "multipart/form-data; boundary=x",
                                  "application/jsonx", "json", "application/x-ndjson", "text/plain; a=application/json"])
def test_a_wrong_content_type_is_415(api, kind):
    for method, path in (("POST", "/api/v1/agents"), ("PUT", "/api/v1/agents"), ("POST", f"/api/v1/runs/{uuid7()}/steps")):
        check_problem(api.request(method, path, data=agent_body(), headers={"Content-Type": kind}), 415)
    if kind != "application/x-ndjson":
        check_problem(api.post("/api/v1/events", data=b"[]", headers={"Content-Type": kind}), 415)


@pytest.mark.parametrize("kind", [None, "application/json", "APPLICATION/JSON", "application/json; charset=utf-8",
                                  "application/json;charset=UTF-8", "application/vnd.cognive.v1+json"])
def test_json_is_accepted_under_its_names_and_without_one(api, kind):
    headers = {} if kind is None else {"Content-Type": kind}
    assert api.post("/api/v1/agents", data=agent_body(), headers=headers).status_code == 201


# Limits and malformed heads.

def test_a_body_may_be_as_large_as_the_limit_and_not_one_byte_larger(strict):
    body = agent_body()
    padding = b" " * (BODY_MAX - len(body))
    api = strict.api()
    assert api.post("/api/v1/agents", data=body + padding).status_code == 201
    assert api.post("/api/v1/agents", data=iter([agent_body(), padding])).status_code == 201
    assert str(BODY_MAX) in check_problem(api.post("/api/v1/agents", data=body + padding + b" "), 413)["detail"]
    check_problem(api.post("/api/v1/agents", data=iter([body, padding, b" "])), 413)


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


# Slow, idle and vanishing clients.

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


# Shutdown.

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
