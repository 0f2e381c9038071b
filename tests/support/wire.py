"""HTTP spoken byte by byte, for what a proper client never sends, and the check of the problem documents that it gets."""

import json
import re
import socket
import struct
import urllib.parse

import requests

from installation import uuid7

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
