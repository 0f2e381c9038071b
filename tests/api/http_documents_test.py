"""The documents that need no key: roots, health, metrics, pages of documentation."""

import json
import re
import subprocess

import pytest
import requests

from exposition import samples
from installation import BINARY, clean_environment, uuid7
from wire import check_problem


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
    assert dependencies["redis_url"] == dependencies["rabbitmq_url"] == "embedded"
    assert dependencies["storage_endpoint"] == f"file://{installation.directory}/objects"


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
    scheme = "amqp" if name == "rabbitmq" else "redis"
    settings = {variable: f"{scheme}://user:topsecret@127.0.0.1:1/0"}
    if name == "storage":
        settings = {variable: "127.0.0.1:1", "STORAGE_ACCESS_KEY": "key", "STORAGE_SECRET_KEY": "topsecret"}
    process, url = serve(installation, **settings)
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
                         STORAGE_ENDPOINT="127.0.0.1:1", STORAGE_ACCESS_KEY="key", STORAGE_SECRET_KEY="secret")
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
