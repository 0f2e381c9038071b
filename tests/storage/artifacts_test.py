"""Artifacts: what agents store is there as a whole or not at all, in a directory and in S3, whatever breaks meanwhile."""

import base64
import concurrent.futures
import hashlib
import http.client
import json
import os
import random
import re
import threading
import time
from urllib.parse import quote

import pytest
import requests

from contract import check_answer
from deployment import Service
from installation import uuid7, wait_until
from problems import check_problem
from tcp_proxy import TcpProxy

PART = 5 << 20
LONG = os.environ.get("COGNIVE_LONG") == "1"


def digest(data):
    """As the API writes it."""
    return hashlib.sha256(data).hexdigest()


@pytest.fixture(scope="module")
def proxy(ceph):
    """Between the server and Ceph."""
    with TcpProxy(ceph.port) as between:
        yield between


@pytest.fixture(scope="module")
def on_s3(installation, ceph, proxy, shared_directory):
    """A server that keeps artifacts in Ceph."""
    variables = {name: value for name, value in installation.variables.items() if name.startswith("DATABASE_") or name == "COGNIVE_MASTER_KEY_FILE"}
    service = Service(shared_directory / "artifacts.log", variables | ceph.settings(proxy.port) | {"HTTP_PORT": 0}, installation.key).start()
    wait_until(lambda: service.api().get("/api/v1/health/storage").json().get("healthy"), "buckets are there", 30)
    yield service
    assert service.stop() == 0


@pytest.fixture(params=["directory", "s3"])
def store(request, installation):
    """The API over each adapter: the shared installation keeps its objects in a directory."""
    if request.param == "directory":
        return installation.api()
    api = request.getfixturevalue("on_s3").api()
    api.ceph = request.getfixturevalue("ceph")
    return api


def upload(api, agent, data, name="a file", status=201, **parameters):
    """Store some bytes in one go; the artifact."""
    answer = api.post("/api/v1/artifacts", params={"agent_id": agent, "name": name} | parameters, data=data, headers={"Content-Type": "text/plain; charset=utf-8"}, timeout=60)
    assert answer.status_code == status, answer.text
    check_answer("artifact_upload", answer, status)
    return answer.json()


def content(api, artifact, status=200, **headers):
    """Its bytes."""
    answer = api.get(f"/api/v1/artifacts/{artifact['id']}/content", headers=headers, timeout=60)
    assert answer.status_code == status, answer.text[:300]
    return answer


def test_an_artifact_is_read_as_it_was_stored(store):
    agent = store.agent()["id"]
    run = store.run(agent)["run_id"]
    for size in (0, 1, 100_000, (8 << 20) + 1, 20_000_000):
        data = random.Random(size).randbytes(size)
        made = upload(store, agent, data, name="rapport ü \"1\".bin", run_id=run)
        assert made["bytes"] == size and made["sha256"] == digest(data) and made["state"] == "stored" and made["run_id"] == run
        answer = content(store, made)
        assert answer.content == data and answer.headers["Content-Type"] == "text/plain; charset=utf-8"
        assert answer.headers["Repr-Digest"] == f"sha-256=:{base64.b64encode(hashlib.sha256(data).digest()).decode()}:"
        assert answer.headers["Content-Disposition"].endswith("filename*=UTF-8''" + quote("rapport ü \"1\".bin"))
        check_answer("artifact_get", store.get(f"/api/v1/artifacts/{made['id']}"), 200)
    listed = store.get("/api/v1/artifacts", params={"run_id": run, "limit": 3})
    check_answer("artifact_list", listed, 200)
    assert [one["bytes"] for one in listed.json()["items"]] == [20_000_000, (8 << 20) + 1, 100_000]
    rest = store.get("/api/v1/artifacts", params={"run_id": run, "limit": 3, "cursor": listed.json()["next_cursor"]}).json()
    assert [one["bytes"] for one in rest["items"]] == [1, 0] and rest["next_cursor"] is None


def test_parts_of_it_are_read_by_range(store):
    agent = store.agent()["id"]
    data = random.Random(1).randbytes(3_000_000)
    made = upload(store, agent, data)
    for asked, first, last in (("bytes=0-0", 0, 0), ("bytes=10-19", 10, 19), ("bytes=2999999-", 2_999_999, 2_999_999), ("bytes=-5", 2_999_995, 2_999_999),
                               ("bytes=-9999999", 0, 2_999_999), ("bytes=100-99999999", 100, 2_999_999)):
        answer = content(store, made, 206, Range=asked)
        assert answer.content == data[first:last + 1] and answer.headers["Content-Range"] == f"bytes {first}-{last}/3000000", asked
    for ignored in ("bytes=5-4", "bytes=a-b", "lines=1-2", "bytes=0-1,5-6", "bytes=-"):
        assert content(store, made, 200, Range=ignored).content == data, ignored
    for outside in ("bytes=3000000-", "bytes=-0"):
        answer = content(store, made, 416, Range=outside)
        check_problem(answer, 416)
        assert answer.headers["Content-Range"] == "bytes */3000000"
    tag = content(store, made).headers["ETag"]
    assert content(store, made, 304, **{"If-None-Match": tag}).content == b""
    assert content(store, made, 206, Range="bytes=0-1", **{"If-Range": tag}).content == data[:2]
    assert content(store, made, 200, Range="bytes=0-1", **{"If-Range": '"another"'}).content == data
    head = store.request("HEAD", f"/api/v1/artifacts/{made['id']}/content")
    assert head.status_code == 200 and head.headers["Content-Length"] == "3000000" and not head.content


def test_a_repeat_with_the_same_id_stores_nothing_again(store):
    agent, one = store.agent()["id"], uuid7()
    made = upload(store, agent, b"first", id=one)
    assert upload(store, agent, b"first", id=one, status=200) == made
    assert "another artifact" in upload(store, agent, b"first", name="other", id=one, status=409)["detail"]
    assert "with other bytes" in upload(store, agent, b"second", id=one, sha256=digest(b"second"), status=409)["detail"]
    assert content(store, made).content == b"first"


def test_what_was_declared_must_come(store):
    agent, one = store.agent()["id"], uuid7()
    assert upload(store, agent, b"x" * 100, sha256=digest(b"x" * 100).upper())["bytes"] == 100
    answer = upload(store, agent, b"x" * 100, id=one, sha256=digest(b"y"), status=422)
    assert answer["errors"][0]["pointer"] == "?sha256"
    assert store.get(f"/api/v1/artifacts/{one}").status_code == 404, "nothing of it is there"
    assert upload(store, agent, b"y", id=one, sha256=digest(b"y"))["id"] == one, "and the id is free"
    for wrong in ({"sha256": "g" * 64}, {"sha256": "00"}, {"run_id": uuid7()}, {"agent_id": uuid7()}, {"name": "a\nb"}, {"name": ""}, {"id": "x"}):
        upload(store, wrong.get("agent_id", agent), b"x", status=422, **wrong)
    answer = store.post("/api/v1/artifacts", params={"agent_id": agent, "name": "x"}, data=b"x", headers={"Content-Encoding": "gzip"})
    check_problem(answer, 415)
    assert store.get("/api/v1/artifacts", params={"agent_id": agent}).json()["next_cursor"] is None


def broken_upload(url, key, agent, one, sent, announced):
    """Begins an upload of `announced` bytes, sends `sent` of them and goes away."""
    host = url.removeprefix("http://")
    connection = http.client.HTTPConnection(host, timeout=20)
    connection.putrequest("POST", f"/api/v1/artifacts?agent_id={agent}&name=broken&id={one}")
    for name, value in (("X-API-Key", key), ("Content-Length", announced)):
        connection.putheader(name, value)
    connection.endheaders()
    connection.send(b"z" * sent)
    return connection


def test_an_upload_that_breaks_off_leaves_nothing(store, installation):
    agent, one = store.agent()["id"], uuid7()
    connection = broken_upload(store.url, installation.key, agent, one, 12 << 20, 50 << 20)
    wait_until(lambda: store.get(f"/api/v1/artifacts/{one}").json().get("state") == "uploading", "it has begun", 10)
    check_problem(store.get(f"/api/v1/artifacts/{one}/content"), 409)
    connection.close()
    wait_until(lambda: store.get(f"/api/v1/artifacts/{one}").status_code == 404, "it is gone", 10)
    assert upload(store, agent, b"whole", id=one)["state"] == "stored"


def test_who_takes_an_upload_over_wins(store, installation):
    agent, one = store.agent()["id"], uuid7()
    slow = broken_upload(store.url, installation.key, agent, one, 1 << 20, 2 << 20)
    wait_until(lambda: store.get(f"/api/v1/artifacts/{one}").status_code == 200, "it has begun", 10)
    answer = store.post("/api/v1/artifacts", params={"agent_id": agent, "name": "broken", "id": one}, data=b"mine")
    assert answer.status_code == 201, answer.text
    slow.send(b"z" * (1 << 20))
    late = slow.getresponse()
    assert late.status == 409, late.read()
    slow.close()
    assert content(store, answer.json()).content == b"mine"


def begin(api, agent, status=201, **more):
    """Begin an upload."""
    answer = api.post("/api/v1/artifact-uploads", json={"agent_id": agent, "name": "large", "content_type": "application/zip"} | more)
    assert answer.status_code == status, answer.text
    check_answer("artifact_upload_begin", answer, status)
    return answer.json()


def put_part(api, upload_id, number, data, status=200, **parameters):
    """Store a part."""
    answer = api.put(f"/api/v1/artifact-uploads/{upload_id}/parts/{number}", data=data, params=parameters, headers={"Content-Type": "application/octet-stream"})
    assert answer.status_code == status, answer.text
    check_answer("artifact_part_put", answer, status)
    return answer.json()


def complete(api, upload_id, status=200):
    """Say that all is there."""
    answer = api.post(f"/api/v1/artifact-uploads/{upload_id}/complete")
    assert answer.status_code == status, answer.text
    check_answer("artifact_upload_complete", answer, status)
    return answer.json()


def test_a_large_artifact_comes_in_parts_and_goes_on_after_an_interruption(store):
    agent, one = store.agent()["id"], uuid7()
    parts = [random.Random(number).randbytes(PART) for number in (1, 2)] + [b"the last one"]
    whole = b"".join(parts)
    assert begin(store, agent, id=one, sha256=digest(whole))["parts"] == []
    put_part(store, one, 3, parts[2], sha256=digest(parts[2]))
    put_part(store, one, 1, parts[1])
    assert "Part 2 is missing" in complete(store, one, 409)["detail"]
    assert put_part(store, one, 2, parts[1])["sha256"] == digest(parts[1])
    resumed = begin(store, agent, id=one, sha256=digest(whole))
    assert [(part["number"], part["bytes"], part["sha256"]) for part in resumed["parts"]] == [(1, PART, digest(parts[1])), (2, PART, digest(parts[1])), (3, 12, digest(parts[2]))]
    put_part(store, one, 1, parts[0])  # in place of the wrong one
    put_part(store, one, 2, b"short", status=422, sha256=digest(b"other"))
    assert store.get("/api/v1/artifacts", params={"agent_id": agent, "state": "stored"}).json()["items"] == []
    made = complete(store, one)
    assert made["bytes"] == len(whole) and made["sha256"] == digest(whole) and made["content_type"] == "application/zip"
    assert complete(store, one) == made, "a repeat changes nothing"
    assert content(store, made).content == whole
    check_answer("artifact_upload_get", store.get(f"/api/v1/artifact-uploads/{one}"), 200)
    put_part(store, one, 4, b"late", status=409)
    assert begin(store, agent, id=one, status=200)["artifact"]["state"] == "stored"


def test_parts_that_are_not_what_was_declared_are_refused_at_the_end(store):
    agent, one = store.agent()["id"], uuid7()
    begin(store, agent, id=one, sha256=digest(b"good"))
    put_part(store, one, 1, b"evil")
    complete(store, one, 422)
    assert store.get(f"/api/v1/artifacts/{one}").status_code == 404
    assert "There is no part yet" in complete(store, begin(store, agent)["artifact"]["id"], 409)["detail"]
    short = begin(store, agent)["artifact"]["id"]
    for number in (1, 2):
        put_part(store, short, number, b"short")
    assert "shorter than 5242880" in complete(store, short, 409)["detail"]
    put_part(store, short, 0, b"x", status=422)
    put_part(store, short, 10_001, b"x", status=422)
    put_part(store, uuid7(), 1, b"x", status=404)


def test_ways_do_not_disturb_each_other(store, installation):
    agent, one = store.agent()["id"], uuid7()
    slow = broken_upload(store.url, installation.key, agent, one, 1 << 20, 2 << 20)
    wait_until(lambda: store.get(f"/api/v1/artifacts/{one}").status_code == 200, "it has begun", 10)
    assert "in another way" in begin(store, agent, id=one, name="broken", status=409)["detail"]
    assert "in one go" in store.get(f"/api/v1/artifact-uploads/{one}").json()["detail"]
    assert "in one go" in complete(store, one, 409)["detail"]
    slow.send(b"z" * (1 << 20))
    assert slow.getresponse().status == 201, "it goes on as if nobody had come"
    slow.close()
    begun = begin(store, agent)["artifact"]["id"]
    upload(store, agent, b"x", name="large", id=begun, status=409)


def test_two_who_begin_and_complete_at_once_get_one_artifact(store):
    agent, one = store.agent()["id"], uuid7()
    with concurrent.futures.ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda _: begin(store, agent, id=one), range(4)))
        put_part(store, one, 1, b"the only part")
        made = list(pool.map(lambda _: complete(store, one), range(4)))
    assert all(each == made[0] for each in made) and content(store, made[0]).content == b"the only part"


def test_nothing_is_longer_than_may_be(installation, tmp_path):
    variables = {name: value for name, value in installation.variables.items() if name.startswith("DATABASE_") or name == "COGNIVE_MASTER_KEY_FILE"}
    service = Service(tmp_path / "small.log", variables | {"HTTP_PORT": 0, "STORAGE_DIRECTORY": tmp_path / "objects", "ARTIFACT_BYTES_MAX": 6 << 20}, installation.key).start()
    api = service.api()
    wait_until(lambda: api.get("/api/v1/health/storage").json().get("healthy"), "buckets are there", 30)
    agent = api.agent()["id"]
    upload(api, agent, b"x" * (6 << 20))
    for body in (b"x" * ((6 << 20) + 1), (b"x" * (1 << 20) for _ in range(40))):  # announced, and in chunks
        answer = api.post("/api/v1/artifacts", params={"agent_id": agent, "name": "long"}, data=body, timeout=60)
        assert "ARTIFACT_BYTES_MAX" in check_problem(answer, 413)["detail"]
    begun = begin(api, agent)["artifact"]["id"]
    put_part(api, begun, 1, b"x" * PART)
    put_part(api, begun, 2, b"x" * PART, status=413)
    put_part(api, begun, 2, b"x" * (1 << 20))
    assert complete(api, begun)["bytes"] == 6 << 20
    assert [one["bytes"] for one in api.get("/api/v1/artifacts", params={"agent_id": agent}).json()["items"]] == [6 << 20] * 2
    assert service.stop() == 0


def test_what_was_damaged_does_not_come_to_its_end(installation):
    api = installation.api()
    data = random.Random(9).randbytes(5_000_000)
    made = upload(api, api.agent()["id"], data)
    path = next(path for path in (installation.directory / "objects" / "agent-artifacts" / "objects").rglob("*") if made["id"] in path.name)
    times = path.stat()
    with open(path, "r+b") as file:
        file.seek(4_000_000)
        file.write(b"damaged")
    os.utime(path, ns=(times.st_atime_ns, times.st_mtime_ns))
    answer = content(api, made)  # requests does not mind that bytes are missing
    assert int(answer.headers["Content-Length"]) == 5_000_000 and len(answer.content) < 5_000_000
    path.unlink()
    check_problem(api.get(f"/api/v1/artifacts/{made['id']}/content"), 404)


def test_requests_follow_each_other_on_a_connection_that_streams(store, installation):
    agent = store.agent()["id"]
    connection = http.client.HTTPConnection(store.url.removeprefix("http://"), timeout=20)
    for number, (body, headers) in enumerate(((b"a" * 3_000_000, {}), ([b"b" * 70_000] * 3, {"Transfer-Encoding": "chunked"}), (b"", {}), (b"c", {"Expect": "100-continue"}))):
        connection.request("POST", f"/api/v1/artifacts?agent_id={agent}&name={number}", body=body, headers={"X-API-Key": installation.key} | headers,
                           encode_chunked="Transfer-Encoding" in headers)
        answer = connection.getresponse()
        assert answer.status == 201, answer.read()
        made = json.loads(answer.read())
        connection.request("GET", f"/api/v1/artifacts/{made['id']}/content", headers={"X-API-Key": installation.key})
        assert connection.getresponse().read() == (b"".join(body) if isinstance(body, list) else body)
    connection.close()


def test_without_a_storage_uploads_say_what_to_configure(installation, tmp_path):
    variables = {name: value for name, value in installation.variables.items() if name.startswith("DATABASE_") or name == "COGNIVE_MASTER_KEY_FILE"}
    service = Service(tmp_path / "none.log", variables | {"HTTP_PORT": 0}, installation.key).start()
    api, other = service.api(), installation.api()
    agent = api.agent()["id"]
    assert "STORAGE_ENDPOINT" in upload(api, agent, b"x", status=503)["detail"]
    assert "STORAGE_ENDPOINT" in begin(api, agent, status=503)["detail"]
    begun, made = begin(other, agent)["artifact"]["id"], upload(other, agent, b"x")
    for method, path in (("GET", f"artifact-uploads/{begun}"), ("POST", f"artifact-uploads/{begun}/complete"), ("GET", f"artifacts/{made['id']}/content"), ("POST", f"artifacts/{made['id']}/url")):
        assert api.request(method, f"/api/v1/{path}").status_code in (409, 503), path
    assert api.get("/api/v1/health/readiness").json()["dependencies"]["storage_endpoint"] == "embedded"
    check_problem(api.get("/api/v1/health/storage"), 503)
    assert service.stop() == 0


def test_bytes_go_straight_to_the_store_and_come_from_there(on_s3):
    api = on_s3.api()
    agent, data = api.agent()["id"], random.Random(3).randbytes(100_000)
    begun = begin(api, agent, direct=True, sha256=digest(data))
    put = begun["put"]
    assert put["method"] == "PUT" and "X-Amz-Signature=" in put["url"]
    one = begun["artifact"]["id"]
    assert "Nothing has been put" in complete(api, one, 409)["detail"]
    headers = {header["name"]: header["value"] for header in put["headers"]}
    assert requests.put(put["url"], data=data, headers=headers | {"Content-Type": "text/html"}, timeout=20).status_code == 403, "what was signed is what may be sent"
    assert requests.put(put["url"], data=data, headers=headers, timeout=20).status_code == 200
    assert begin(api, agent, id=one, direct=True)["put"]["url"].split("?")[0] == put["url"].split("?")[0], "a repeat goes on"
    made = complete(api, one)
    assert requests.put(put["url"], data=b"other", headers=headers, timeout=20).status_code == 200, "the URL is good for an hour"
    assert made["bytes"] == 100_000 and made["sha256"] == digest(data) and content(api, made).content == data
    answer = api.post(f"/api/v1/artifacts/{one}/url", params={"lifetime_s": 2})
    check_answer("artifact_url", answer, 200)
    url = answer.json()["url"]
    got = requests.get(url, timeout=20)
    assert got.content == data and got.headers["Content-Type"] == "application/zip" and got.headers["Content-Disposition"].startswith("attachment")
    assert requests.get(url.replace(re.search("X-Amz-Signature=(.{8})", url)[1], "00000000"), timeout=20).status_code == 403
    wait_until(lambda: requests.get(url, timeout=20).status_code == 403, "its time has passed", 10)


def test_a_directory_has_no_urls(installation):
    api = installation.api()
    agent = api.agent()["id"]
    assert begin(api, agent, direct=True, status=422)["errors"][0]["pointer"] == "/direct"
    made = upload(api, agent, b"x")
    check_problem(api.post(f"/api/v1/artifacts/{made['id']}/url"), 409)


def test_teams_and_agents_see_their_own(store, installation):
    key = installation.team_key("artists")
    insider, outsider = (type(store)(store.url, one) for one in (key, installation.team_key("others")))
    agent, other = insider.agent()["id"], insider.agent()["id"]
    made = upload(insider, agent, b"secret")
    for method, path in (("GET", ""), ("GET", "/content"), ("POST", "/url"), ("DELETE", "")):
        assert outsider.request(method, f"/api/v1/artifacts/{made['id']}{path}").status_code == 404
    assert outsider.get("/api/v1/artifacts").json()["items"] == []
    upload(outsider, agent, b"x", status=422)
    assert upload(outsider, outsider.agent()["id"], b"x", id=made["id"], status=409)
    bound = insider.post("/api/v1/api-keys", json={"name": "bound", "agent_id": agent, "permissions": ["artifacts:read", "artifacts:write"]})
    one = type(store)(store.url, bound.json()["key"])
    assert content(one, made).content == b"secret"
    upload(one, other, b"x", status=422)
    assert one.get("/api/v1/artifacts", params={"agent_id": other}).json()["items"] == []


def objects_of(store, installation, one):
    """The keys of the objects that an artifact has had, of those that the store still has."""
    if store.url == installation.url:
        names = [path.name for path in (installation.directory / "objects" / "agent-artifacts" / "objects").rglob("*") if path.is_file()]
        return [name.replace("%2F", "/") for name in names if one in name]
    ceph = store.ceph
    listed = ceph.admin("bucket", "list", "--bucket=agent-artifacts", "--max-entries=10000")
    return [entry["name"] for entry in json.loads(listed) if one in entry["name"]]


def swept(store, installation, one):
    """Whether nothing is left of an artifact. The server whose store it is does not sweep here, but the leader, whose store is another."""
    left = installation.sql("SELECT count(*) FROM artifact_leftovers WHERE object_key LIKE %s", f"%/{one}/%") == [(0,)]
    return left and (store.url != installation.url or objects_of(store, installation, one) == [])


def test_a_deleted_artifact_is_gone_and_so_are_its_bytes(store, installation):
    agent = store.agent()["id"]
    made = upload(store, agent, b"bytes that must go")
    answer = store.delete(f"/api/v1/artifacts/{made['id']}")
    check_answer("artifact_remove", answer, 200)
    for path in ("", "/content"):
        assert store.get(f"/api/v1/artifacts/{made['id']}{path}").status_code == 404
    assert store.get("/api/v1/artifacts", params={"agent_id": agent}).json()["items"] == []
    told = installation.sql("SELECT action FROM audit_logs WHERE resource_id = %s ORDER BY id", made["id"])
    assert [action for action, in told] == ["artifact_store", "artifact_remove"]
    (key,), = installation.sql("SELECT object_key FROM artifact_leftovers WHERE object_key LIKE %s", f"%/{made['id']}/%")
    assert objects_of(store, installation, made["id"]) == [key], "who downloads it may finish"
    installation.sql("UPDATE artifact_leftovers SET remove_after = now() WHERE object_key = %s", key)
    wait_until(lambda: swept(store, installation, made["id"]), "its bytes are gone", 60)


def test_what_has_outlived_its_time_is_not_shown(store, installation):
    agent = store.agent()["id"]
    made = upload(store, agent, b"old")
    installation.sql("UPDATE artifacts SET expires_at = now() WHERE id = %s", made["id"])
    assert store.get(f"/api/v1/artifacts/{made['id']}").status_code == 404
    begun = begin(store, agent)["artifact"]["id"]
    put_part(store, begun, 1, b"never completed")
    installation.sql("UPDATE artifacts SET touched_at = now() - interval '25 hours' WHERE id = %s", begun)
    wait_until(lambda: installation.sql("SELECT count(*) FROM artifacts WHERE id = ANY(%s::uuid[])", [made["id"], begun]) == [(0,)], "both are swept", 60)
    for one in (made["id"], begun):
        assert installation.sql("UPDATE artifact_leftovers SET remove_after = now() WHERE object_key LIKE %s RETURNING 1", f"%/{one}/%") == [(1,)]
        wait_until(lambda: swept(store, installation, one), "its bytes are gone", 60)  # noqa: B023 it ends here


def test_without_the_store_uploads_are_503_and_all_else_goes_on(on_s3, proxy):
    api = on_s3.api()
    agent = api.agent()["id"]
    made = upload(api, agent, b"before")
    for break_it in (proxy.refuse, proxy.stall):
        break_it()
        one = uuid7()
        begun = time.monotonic()
        upload(api, agent, b"meanwhile", id=one, status=503)
        assert time.monotonic() - begun < 50
        assert api.get("/api/v1/artifacts", params={"agent_id": agent}).status_code == 200
        api.run(agent)
        proxy.pass_through()
        wait_until(lambda: api.get(f"/api/v1/artifacts/{one}").status_code == 404, "nothing of it is there", 90)  # noqa: B023 it ends here
        assert upload(api, agent, b"afterwards", id=one)["bytes"] == 10
    assert content(api, made).content == b"before"


def test_a_killed_server_leaves_nothing_visible(installation, ceph, tmp_path):
    variables = {name: value for name, value in installation.variables.items() if name.startswith("DATABASE_") or name == "COGNIVE_MASTER_KEY_FILE"}
    service = Service(tmp_path / "killed.log", variables | ceph.settings() | {"HTTP_PORT": 0}, installation.key).start()
    api = service.api()
    wait_until(lambda: api.get("/api/v1/health/storage").json().get("healthy"), "buckets are there", 30)
    agent, one = api.agent()["id"], uuid7()
    connection = broken_upload(service.url, installation.key, agent, one, 20 << 20, 50 << 20)
    wait_until(lambda: service.metric("storage_request_seconds_count", operation="put_part"), "a part is stored", 20)
    service.process.kill()
    service.process.wait()
    connection.close()
    api = service.start().api()
    assert api.get(f"/api/v1/artifacts/{one}").json()["state"] == "uploading"
    assert api.get("/api/v1/artifacts", params={"agent_id": agent, "state": "stored"}).json()["items"] == []
    check_problem(api.get(f"/api/v1/artifacts/{one}/content"), 409)
    answer = api.post("/api/v1/artifacts", params={"agent_id": agent, "name": "broken", "id": one}, data=b"again")
    assert answer.status_code == 201 and content(api, answer.json()).content == b"again"
    assert service.stop() == 0


class Flat(threading.Thread):
    """Watches how much memory a process has."""

    def __init__(self, pid):
        super().__init__(daemon=True)
        self.pid, self.ended, self.samples = pid, threading.Event(), []

    def run(self):
        """Until it is told to end."""
        while not self.ended.wait(0.1):
            with open(f"/proc/{self.pid}/status") as status:
                self.samples.append(int(re.search(r"VmRSS:\s+(\d+)", status.read())[1]) << 10)


def stream_through(api, pid, size):
    """Uploads and downloads so many bytes; the most memory that the process needed for it, and how long each took."""
    agent, block = api.agent()["id"], random.Random(5).randbytes(1 << 20)
    sent, got = hashlib.sha256(), hashlib.sha256()

    def blocks():
        for _ in range(size >> 20):
            sent.update(block)
            yield block

    api.get("/api/v1/agents")
    watch = Flat(pid)
    watch.start()
    begun = time.monotonic()
    answer = api.post("/api/v1/artifacts", params={"agent_id": agent, "name": "large"}, data=blocks(), timeout=900)
    assert answer.status_code == 201, answer.text
    uploaded = time.monotonic() - begun
    assert answer.json()["bytes"] == size and answer.json()["sha256"] == sent.hexdigest()
    with requests.get(f"{api.url}/api/v1/artifacts/{answer.json()['id']}/content", headers=api.session.headers, stream=True, timeout=900) as download:
        for piece in download.iter_content(1 << 20):
            got.update(piece)
    downloaded = time.monotonic() - begun - uploaded
    watch.ended.set()
    watch.join(5)
    assert got.hexdigest() == sent.hexdigest()
    assert api.delete(f"/api/v1/artifacts/{answer.json()['id']}").status_code == 200
    return max(watch.samples) - watch.samples[0], uploaded, downloaded


def test_memory_stays_flat(on_s3):
    """Chunks of a body whose length nobody has announced."""
    grown, _, _ = stream_through(on_s3.api(), on_s3.process.pid, 256 << 20)
    assert grown < 100 << 20, f"{grown >> 20} MiB"


@pytest.mark.skipif(not LONG, reason="takes minutes and 6 GB: ./test --long")
def test_five_gigabytes_stream_through_with_flat_memory(installation, shared_directory, tmp_path):
    from ceph_server import CephServer  # noqa: PLC0415 one with a disk
    variables = {name: value for name, value in installation.variables.items() if name.startswith("DATABASE_") or name == "COGNIVE_MASTER_KEY_FILE"}
    with CephServer(shared_directory, bluestore_bytes=9 << 30) as store:
        settings = variables | store.settings() | {"HTTP_PORT": 0, "ARTIFACT_BYTES_MAX": 6 << 30}
        service = Service(tmp_path / "large.log", settings, installation.key).start()
        wait_until(lambda: service.api().get("/api/v1/health/storage").json().get("healthy"), "buckets are there", 60)
        grown, uploaded, downloaded = stream_through(service.api(), service.process.pid, 5 << 30)
        print(f"5 GiB: {grown >> 20} MiB more memory, up in {uploaded:.0f} s, down in {downloaded:.0f} s")
        assert grown < 150 << 20
        assert service.stop() == 0
