"""Rubbish in paths and queries: a documented 4xx that names each parameter, nothing stored."""

import json
import uuid
from urllib.parse import quote

import pytest

from installation import uuid7
from problems import check_problem, pointers
from routes import DOCUMENT, OBJECTS, operations
from rubbish import BAD_UUIDS, QUERIES, SOME_ID, SQL

pytestmark = pytest.mark.usefixtures("server_survives")


# Paths.

WITH_ID = [(method.upper(), path) for method, path, operation in operations() if "{id}" in path]


@pytest.mark.parametrize("method, path", WITH_ID)
def test_a_path_id_that_is_no_uuid_is_422(api, things, nothing_stored, method, path):
    operation = DOCUMENT["paths"][path][method.lower()]["operationId"]
    body = next((json.dumps(route.sample(things)).encode() for route in OBJECTS if route.id == operation), None)
    for text in ("x", "0", "null", "%20", "-1", "*", "'%20OR%20'1'='1", "%00", "%ff", "%0a", "a" * 3000, "%E2%82%AC" * 200, *map(quote, BAD_UUIDS)):
        if "/" in text:
            continue
        answer = api.request(method, path.replace("{id}", text).replace("{call_id}", uuid7()).replace("{user_id}", uuid7()).replace("{number}", "1"), data=body)
        if text == "%ff":
            check_problem(answer, 400, 404, 422)
        else:
            assert pointers(answer) == ["{id}"], text[:50]


@pytest.mark.parametrize("method, path", WITH_ID)
def test_an_unknown_id_is_404(api, things, nothing_stored, method, path):
    operation = DOCUMENT["paths"][path][method.lower()]["operationId"]
    body = next((json.dumps(route.sample(things)).encode() for route in OBJECTS if route.id == operation), None)
    for text in (uuid7(), str(uuid.uuid4()), "00000000-0000-0000-0000-000000000000", "ffffffff-ffff-ffff-ffff-ffffffffffff", uuid7().upper()):
        check_problem(api.request(method, path.replace("{id}", text).replace("{call_id}", uuid7()).replace("{user_id}", uuid7()).replace("{number}", "1"), data=body), 404)


# Queries.

LISTS = ["/api/v1/teams", "/api/v1/agents", "/api/v1/runs"]


@pytest.mark.parametrize("limit", ["0", "-1", "501", "1.5", "1e99", "abc", "", "99999999999999999999", "+5", "0x10", "05", "null", "true", "5,6", "%20", "1%00", "٣"])
def test_a_bad_limit_is_422(api, nothing_stored, limit):
    for path in LISTS:
        assert pointers(api.get(f"{path}?limit={limit}")) == ["?limit"]


@pytest.mark.parametrize("cursor", ["", "x", ".", "0.0", f"zz.{SOME_ID}", f"0.{SOME_ID}x", f"0x10.{SOME_ID}", f".{SOME_ID}", f"0{SOME_ID}", f"ffffffffffffffff.{SOME_ID}", "%00", "a" * 3000])
def test_a_cursor_that_we_did_not_make_is_422(api, nothing_stored, cursor):
    for path in LISTS:
        assert pointers(api.get(f"{path}?cursor={cursor}")) == ["?cursor"]


@pytest.mark.parametrize("micros", ["7fffffffffffffff", "-8000000000000000", "-7fffffffffffffff", "7ffcb9cce5cc8000", "0", "-1"])
def test_a_forged_cursor_far_away_in_time_is_no_server_error(api, nothing_stored, micros):
    for path in LISTS:
        answer = api.get(f"{path}?cursor={micros}.{SOME_ID}")
        if answer.status_code != 200:
            assert pointers(answer) == ["?cursor"]


@pytest.mark.parametrize("target, expected", QUERIES)
def test_bad_query_parameters_are_422_with_each_one_named(api, nothing_stored, target, expected):
    found = pointers(api.get(target))
    if target.startswith("/api/v1/prices/quote") and (expected is None or len(expected) > 1):
        # The caller wrote ?input_tokens=; the member of the same name is how we keep it.
        sent = {pair.split("=")[0] for pair in target.split("?")[1].split("&")} - {"model"}
        assert found == sorted("?" + name for name in sent)
    else:
        assert found == expected


@pytest.mark.parametrize("target", ["/api/v1/agents?name=%ff", "/api/v1/agents?%ff=1", "/api/v1/agents?cursor=%ed%a0%80", "/api/v1/prices/quote?model=%c0%af"])
def test_a_query_that_is_no_utf_8_is_refused(api, nothing_stored, target):
    check_problem(api.get(target), 400, 422)


def test_reads_with_hostile_filters_answer_emptily(api, nothing_stored):
    for text in SQL:
        assert api.get("/api/v1/agents", params={"name": text + "?"}).json()["items"] == []
        assert api.get("/api/v1/agents", params={"team": text + "?"}).json()["items"] == []
        assert api.get("/api/v1/analytics/costs", params={"model": text + "?", "group_by": "model"}).json()["items"] == []
        assert api.get("/api/v1/prices/quote", params={"model": text}).status_code == 200
    first, last = "0001-01-01T00:00:00Z", "9999-12-31T23:59:59.999999Z"
    for path in ("/api/v1/runs", "/api/v1/analytics/costs", "/api/v1/analytics/runs", "/api/v1/analytics/coverage"):
        assert api.get(path, params={"from": first, "to": last}).status_code == 200
    for interval in ("hour", "day", "week", "month"):
        assert api.get("/api/v1/analytics/costs", params={"from": first, "to": last, "interval": interval}).status_code == 200
    for bound in (first, last):
        assert api.get("/api/v1/prices/quote", params={"model": "gpt-4o", "at": bound}).status_code == 200


def test_a_thousand_query_parameters_are_refused_briefly(api, nothing_stored):
    body = check_problem(api.get("/api/v1/agents?" + "&".join(f"p{number}=1" for number in range(1000))), 422)
    assert len(body["errors"]) <= 101
