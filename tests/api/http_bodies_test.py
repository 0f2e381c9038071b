"""Bodies of requests: how their length is told, compression, content types."""

import gzip
import os
import re
import zlib
from pathlib import Path

import pytest

from installation import uuid7
from wire import agent_body, check_problem, post_head


def rss_bytes(pid):
    """Resident memory of a process."""
    return int(re.search(r"VmRSS:\s+(\d+) kB", Path(f"/proc/{pid}/status").read_text())[1]) * 1024


# Length.

def test_a_body_is_asked_for_with_100_continue(installation, wire):
    body = agent_body()
    wire.send(post_head("/api/v1/agents", installation.key, f"Content-Length: {len(body)}", "Expect: 100-continue"))
    assert wire.answer().status == 100
    assert wire.send(body).answer().status == 201
    assert wire.get("/").answer().status == 200


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


# Compression.

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


@pytest.mark.skipif("asan" in os.environ.get("COGNIVE_BINARY", ""), reason="the address sanitizer keeps what was freed")
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


@pytest.mark.parametrize("encoding", ["br", "deflate", "zstd", "compress", "gzip, gzip", "identity, gzip", "gzip\t;q=1", "x" * 500])
def test_an_unknown_content_encoding_is_415(api, encoding):
    check_problem(api.post("/api/v1/agents", data=b"{}", headers={"Content-Encoding": encoding}), 415)


# Content types.

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
