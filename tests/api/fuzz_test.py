"""Random mutations of valid bodies and of targets: accepted or refused, but never a server error."""

import gzip
import json
import random

import pytest
import requests

from installation import llm_call
from problems import check_problem
from routes import BATCH, ROUTES, TIME, named
from rubbish import QUERIES, SOME_ID

pytestmark = pytest.mark.usefixtures("server_survives")

JUNK = [None, True, False, 0, -1, 1.5, 10**30, 1e308, "", "x", "\0", "ü" * 300, [], {}, [[]], {"": {}}, ["a"] * 300, "\ud83d\ude00", TIME, SOME_ID, "9999-12-31T23:59:59Z",
        {"input_tokens": 10**10}, "openai", "gpt-4o", "succeeded", "archived", "default"]


def mutate_value(random_, value):
    """A value with one random change somewhere inside."""
    if isinstance(value, dict) and value and random_.random() < 0.85:
        value = dict(value)
        key = random_.choice(list(value))
        action = random_.random()
        if action < 0.15:
            del value[key]
        elif action < 0.25:
            value[random_.choice(["x", "", "id", "name", "type", "run_id", key + "2"])] = value[key]
        else:
            value[key] = mutate_value(random_, value[key])
        return value
    if isinstance(value, list) and value and random_.random() < 0.85:
        value = list(value)
        at = random_.randrange(len(value))
        value[at:at + 1] = random_.choice([[], [mutate_value(random_, value[at])], [value[at]] * 2])
        return value
    if isinstance(value, str) and value and random_.random() < 0.3:
        at = random_.randrange(len(value))
        return value[:at] + random_.choice(["", "\0", "é", value[at] * 2, "Z"]) + value[at + 1:]
    return random_.choice(JUNK)


def mutate_bytes(random_, body):
    """A text with a few random bytes changed, lost, doubled or moved."""
    body = bytearray(body)
    for _ in range(random_.randint(1, 4)):
        at = random_.randrange(len(body)) if body else 0
        action = random_.randrange(6)
        if action == 0:
            body[at:at + 1] = bytes([random_.randrange(256)])
        elif action == 1:
            del body[at:at + random_.randint(1, 5)]
        elif action == 2:
            body[at:at] = random_.choice([b'"', b"\\", b"{", b"}", b"[", b"]", b",", b":", b"\\u0000", b"\\ud800", b"1e999", b"null", b"\xc3", b" ", b"-"])
        elif action == 3:
            del body[at:]
        elif action == 4:
            end = random_.randrange(at, len(body) + 1)
            body[at:at] = body[at:end]
        else:
            other = random_.randrange(len(body) + 1)
            body[at:at] = body[min(at, other):max(at, other)][:20]
    return bytes(body)


@pytest.mark.parametrize("seed", range(6))
def test_mutated_bodies_are_accepted_or_refused_but_never_a_server_error(api, things, seed):
    random_ = random.Random(seed)
    statuses = {}
    for _ in range(500):
        route = random_.choice(ROUTES)
        if route is BATCH:
            value = [llm_call(things["run"]), {"type": "step", "run_id": things["run"]} | named("step_create").sample(things), random_.choice(JUNK)]
        else:
            value = route.sample(things)
        for _ in range(random_.randint(0, 3)):
            value = mutate_value(random_, value)
        body = json.dumps(value, ensure_ascii=random_.random() < 0.5).encode("utf-8", "surrogatepass")
        if random_.random() < 0.5:
            body = mutate_bytes(random_, body)
        headers = {}
        if random_.random() < 0.1:
            body, headers = gzip.compress(body), {"Content-Encoding": "gzip"}
            if random_.random() < 0.5:
                body = mutate_bytes(random_, body)
        if route is BATCH and random_.random() < 0.3:
            headers["Content-Type"] = "application/x-ndjson"
        answer = route.send(api, things, body, headers=headers)
        statuses[answer.status_code] = statuses.get(answer.status_code, 0) + 1
        if answer.status_code not in (200, 201, 202):
            assert 400 <= answer.status_code < 500, f"{route.id}: {body!r}: {answer.text}"
            check_problem(answer, 400, 404, 409, 413, 415, 422, *((401, 403, 429) if route.of_people else ()))
        else:
            json.loads(answer.content.decode("utf-8"))
    assert {400, 422} <= statuses.keys() and statuses.keys() & {200, 201}


@pytest.mark.parametrize("seed", range(2))
def test_mutated_targets_are_answered_but_never_a_server_error(api, things, seed):
    random_ = random.Random(1000 + seed)
    targets = [target for target, _ in QUERIES] + [f"/api/v1/runs/{things['run']}", f"/api/v1/agents/{things['agent']}", "/metrics", "/openapi.json"]
    for _ in range(500):
        target = bytearray(random_.choice(targets).encode())
        for _ in range(random_.randint(1, 4)):
            at = random_.randrange(1, len(target) + 1)
            piece = random_.choice([b"%", b"%00", b"%ff", b"%2F", b"&", b"=", b"?", b"/", b"..", b",", b"0", b"9" * 20, b"x", b"-", b"%25", b"+", b"%E2%82%AC", b""])
            target[at:at + random_.randint(0, 3)] = piece
        answer = api.get("/")  # keeps the session's connection known to be good
        assert answer.status_code == 200
        request = api.session.prepare_request(requests.Request(random_.choice(["GET", "HEAD", "POST", "PATCH"]), api.url + "/"))
        request.url = api.url + target.decode("latin-1")
        answer = api.session.send(request, timeout=30)
        assert answer.status_code < 500, (request.method, request.url, answer.text)
        if answer.status_code >= 400 and request.method != "HEAD":
            check_problem(answer, 400, 404, 405, 409, 413, 415, 422)
