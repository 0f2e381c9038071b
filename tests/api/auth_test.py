"""Who may do what: every route that asks for a key refuses everybody else, and secrets stay where they belong."""

import hashlib
import json
import re
import uuid
from pathlib import Path

import psycopg2
import pytest
import requests

from installation import Installation, llm_call, processes_in, run_cognive, uuid7

DOCUMENT = json.loads(run_cognive("openapi").stdout)
OPERATIONS = [(method.upper(), path, operation) for path, item in DOCUMENT["paths"].items() for method, operation in item.items()]
GUARDED = [each for each in OPERATIONS if each[2].get("security")]
WITH_PERMISSION = [each for each in GUARDED if "x-permission" in each[2]]
OPEN = [each for each in OPERATIONS if not each[2].get("security")]
PERMISSIONS = sorted({operation["x-permission"] for _, _, operation in WITH_PERMISSION})
OPEN_IDS = {"root", "welcome", "health_liveness", "health_readiness", "health_replication", "health_cache", "health_storage", "metrics", "docs", "docs_file", "redoc", "redoc_file", "openapi"}
SIGN_IN_IDS = {"session_begin", "session_refresh"}  # open, but for whoever has something else to show
SIGNED_IN_IDS = {"session_logout", "password_change", "me_get", "session_list", "session_end", "role_list"}
with_permission = pytest.mark.parametrize("method, path, operation", WITH_PERMISSION, ids=lambda value: value["operationId"] if isinstance(value, dict) else "")
guarded = pytest.mark.parametrize("method, path, operation", GUARDED, ids=lambda value: value["operationId"] if isinstance(value, dict) else "")


def call(url, method, path, headers=None, **kwargs):
    """A request with exactly these headers; ids in the path are well-formed and unknown."""
    kwargs.setdefault("data", b"" if method == "GET" else b"{}")
    path = path.replace("{file}", "start.js")
    return requests.request(method, url + re.sub(r"\{\w+\}", lambda _: uuid7(), path), headers=headers, timeout=30, stream=path == "/api/v1/stream", **kwargs)


def check_problem(answer, status):
    """A problem document; its body."""
    assert answer.status_code == status, answer.text
    assert answer.headers["Content-Type"] == "application/problem+json"
    body = answer.json()
    assert body["status"] == status
    for name in ("type", "title", "detail", "instance", "request_id"):
        assert isinstance(body[name], str) and body[name], name
    assert body["request_id"] == answer.headers["X-Request-Id"]
    return body


def check_unauthenticated(answer):
    """A 401 that says how to authenticate and nothing about why not."""
    body = check_problem(answer, 401)
    assert body["type"] == "urn:cognive:problem:unauthenticated"
    assert re.match(r"[A-Za-z][A-Za-z0-9-]*(\s|,|$)", answer.headers["WWW-Authenticate"])
    return body


def wrong_keys(key):
    """What is almost a key, and what is nothing like one."""
    prefix, key_id, secret = key.split("_")
    other = "a" if secret[-1] != "a" else "b"
    first = "a" if secret[0] != "a" else "b"
    return {
        "blank": " ",
        "a word": "secret",
        "a UUID": str(uuid.UUID(key_id)),
        "the prefix": "cgv_",
        "only separators": "__",
        "no secret": f"{prefix}_{key_id}_",
        "no id": f"{prefix}__{secret}",
        "the id alone": f"{prefix}_{key_id}",
        "the secret alone": secret,
        "another prefix": f"sk_{key_id}_{secret}",
        "no prefix": f"{key_id}_{secret}",
        "id with dashes": f"{prefix}_{uuid.UUID(key_id)}_{secret}",
        "an unknown id": f"{prefix}_{uuid.uuid4().hex}_{secret}",
        "the nil id": f"{prefix}_{'0' * 32}_{secret}",
        "another secret": f"{prefix}_{key_id}_{'A' * len(secret)}",
        "the last letter wrong": f"{prefix}_{key_id}_{secret[:-1]}{other}",
        "the first letter wrong": f"{prefix}_{key_id}_{first}{secret[1:]}",
        "secret reversed": f"{prefix}_{key_id}_{secret[::-1]}",
        "truncated": key[:-1],
        "half": key[:len(key) // 2],
        "one letter more": key + "A",
        "twice": key + key,
        "twice as a list": f"{key}, {key}",
        "lower-case": key.lower(),
        "upper-case": key.upper(),
        "secret in lower case": f"{prefix}_{key_id}_{secret.lower()}",
        "secret in upper case": f"{prefix}_{key_id}_{secret.upper()}",
        "spaces inside": f"{prefix}_{key_id}_ {secret}",
        "quoted": f'"{key}"',
        "with a scheme": f"Bearer {key}",
        "SQL": "' OR '1'='1",
        "SQL in a key": f"{prefix}_{key_id}_' OR '1'='1' -- aaaaaaaaaaaaaaaaaaaaaaaaaa"[:len(key)],
        "percent-encoded": key.replace("_", "%5F"),
        "not ASCII": f"{prefix}_{key_id}_{'é' * len(secret)}",
        "long": "cgv_" + "a" * 8000,
    }


@pytest.fixture(scope="module")
def bystanders(installation):
    """Per permission a key that holds every permission but that one."""
    return {one: installation.team_key("", *(other for other in PERMISSIONS if other != one)) for one in PERMISSIONS}


def test_the_open_routes_are_the_documents_and_the_probes():
    assert {operation["operationId"] for _, _, operation in OPEN} == OPEN_IDS | SIGN_IN_IDS
    assert {operation["operationId"] for _, _, operation in GUARDED if "x-permission" not in operation} == SIGNED_IN_IDS
    assert all(re.fullmatch(r"[a-z_]+:[a-z_]+", operation["x-permission"]) for _, _, operation in WITH_PERMISSION)


@pytest.mark.parametrize("method, path, operation", [each for each in OPEN if each[2]["operationId"] in OPEN_IDS], ids=lambda value: value["operationId"] if isinstance(value, dict) else "")
def test_an_open_route_answers_without_a_key_and_with_a_wrong_one(installation, method, path, operation):
    assert call(installation.url, method, path).status_code == 200
    assert call(installation.url, method, path, {"X-API-Key": "rubbish"}).status_code == 200


@guarded
def test_without_a_key_it_is_401(installation, method, path, operation):
    body = check_unauthenticated(call(installation.url, method, path))
    assert "X-API-Key" in body["detail"]
    check_unauthenticated(call(installation.url, method, path, {"X-API-Key": ""}))


@guarded
def test_every_wrong_key_is_401_and_learns_nothing(installation, method, path, operation):
    told = set()
    for name, key in wrong_keys(installation.key).items():
        if key.strip():
            body = check_unauthenticated(call(installation.url, method, path, {"X-API-Key": key.encode()}))
            told.add((body["detail"], body["title"]))
            # The path is what was asked for, whatever words are in it.
            assert key[:40] not in json.dumps(body | {"instance": ""}), name
    assert len(told) == 1, "the answers tell the kinds of wrong keys apart"
    assert call(installation.url, method, path, {"X-API-Key": installation.key}).status_code not in ((401, 403) if "x-permission" in operation else (401,))


@guarded
def test_other_ways_to_send_the_key_are_401(installation, method, path, operation):
    key = installation.key
    url = installation.url
    for headers in ({"Authorization": f"Basic {key}"}, {"Authorization": key}, {"Authorization": f"Bearer{key}"}, {"Authorization": "Bearer"},
                    {"Authorization": "Bearer a.b.c"}, {"Authorization": f"Bearer {key[:-1]}"}, {"Authorization": f"Bearer Bearer {key}"}, {"Cookie": f"X-API-Key={key}"}, {"Api-Key": key}):
        check_unauthenticated(call(url, method, path, headers))
    check_unauthenticated(call(url, method, path, params={"api_key": key, "X-API-Key": key}))


def test_a_key_may_come_as_a_bearer_token_and_x_api_key_wins(installation):
    for scheme in ("Bearer", "bearer", "BEARER"):
        assert call(installation.url, "GET", "/api/v1/teams", {"Authorization": f"{scheme} {installation.key}"}).status_code == 200
    check_unauthenticated(call(installation.url, "GET", "/api/v1/teams", {"Authorization": f"Bearer {installation.key}", "X-API-Key": "rubbish"}))
    assert call(installation.url, "GET", "/api/v1/teams", {"Authorization": "Bearer rubbish", "X-API-Key": installation.key}).status_code == 200


@with_permission
def test_a_key_without_the_permission_is_403_with_its_name(installation, bystanders, method, path, operation):
    permission = operation["x-permission"]
    for key in (bystanders[permission], installation.team_key("", next(one for one in PERMISSIONS if one != permission))):
        body = check_problem(call(installation.url, method, path, {"X-API-Key": key}), 403)
        assert permission in body["detail"]


@with_permission
def test_a_key_with_only_that_permission_is_enough(installation, method, path, operation):
    key = installation.team_key("", operation["x-permission"])
    answer = call(installation.url, method, path, {"X-API-Key": key})
    assert answer.status_code != 401
    assert answer.status_code != 403 or "This needs the permission" not in answer.json()["detail"]


@with_permission
def test_who_may_not_learns_nothing_from_the_order_of_checks(installation, bystanders, method, path, operation):
    """Without a key or a permission, neither a bad id nor a bad body nor a bad query changes the answer."""
    bad = path.replace("{id}", "not-a-uuid") + "?nope=1"
    for data, headers in ((b"{", {}), (b"x", {"Content-Type": "text/plain"}), (b'{"unknown":1}', {})):
        check_unauthenticated(call(installation.url, method, bad, headers, data=data))
        refused = call(installation.url, method, bad, headers | {"X-API-Key": bystanders[operation["x-permission"]]}, data=data)
        check_problem(refused, 403)


def test_head_needs_the_key_like_get(installation):
    for method, path, _ in GUARDED:
        if method == "GET":
            assert call(installation.url, "HEAD", path).status_code == 401


def test_a_wrong_key_stays_wrong_and_a_right_one_right_when_asked_in_turn(installation):
    wrong = wrong_keys(installation.key)["the last letter wrong"]
    for _ in range(20):
        assert call(installation.url, "GET", "/api/v1/teams", {"X-API-Key": wrong}).status_code == 401
        assert call(installation.url, "GET", "/api/v1/teams", {"X-API-Key": installation.key}).status_code == 200


def test_many_wrong_keys_do_not_throw_out_the_right_one(installation):
    session = requests.Session()
    prefix, key_id, _ = installation.key.split("_")
    for number in range(500):
        key = f"{prefix}_{key_id}_{number:043d}"
        assert session.get(installation.url + "/api/v1/teams", headers={"X-API-Key": key}, timeout=30).status_code == 401
    assert session.get(installation.url + "/api/v1/teams", headers={"X-API-Key": installation.key}, timeout=30).status_code == 200


def test_an_expired_key_is_401(installation):
    key = installation.team_key("")
    installation.sql("UPDATE api_keys SET expires_at = now() - interval '1 second' WHERE id = %s", str(uuid.UUID(key.split("_")[1])))
    check_unauthenticated(call(installation.url, "GET", "/api/v1/teams", {"X-API-Key": key}))


def test_spaces_around_a_key_do_not_matter(installation):
    assert call(installation.url, "GET", "/api/v1/teams", {"X-API-Key": installation.key + "  "}).status_code == 200


def test_an_unknown_permission_makes_no_key(installation):
    for permission in ("agents:fly", "agents", "*:*", "", "agents:read,agents:write"):
        made = installation.cli("keys", "create", "--name", "bad", "--permission", permission)
        assert made.returncode != 0 and made.stdout == "", permission
    made = installation.cli("keys", "create", "--name", "bad", "--team", "no-such-team")
    assert made.returncode != 0 and made.stdout == ""


# Where secrets may be.

@pytest.fixture(scope="module")
def used(shared_directory):
    """An installation that has seen all kinds of traffic, with its secrets: first key, a made key, the password of the database."""
    one = Installation(shared_directory / "secrets", LOG_LEVEL="debug").start()
    api = one.api()
    made = one.team_key("secretive")
    run = api.run(api.agent()["id"])["run_id"]
    api.post("/api/v1/events", json=[llm_call(run)])
    one.api(made).agent()
    for key in wrong_keys(one.key).values():
        if key.strip():
            call(one.url, "GET", "/api/v1/agents", {"X-API-Key": key.encode()})
    # Keys where they do not belong, as confused callers put them.
    api.get("/api/v1/agents", params={"api_key": made})
    api.get(f"/api/v1/agents/{made}")
    api.get(f"/{made}")
    api.post("/api/v1/agents", data=made)
    call(one.url, "GET", "/api/v1/agents", {"Authorization": f"Bearer {made}"})
    assert one.cli("keys", "list").returncode == 0
    revoked = one.team_key("secretive")
    assert one.cli("keys", "revoke", str(uuid.UUID(revoked.split("_")[1]))).returncode == 0
    password = psycopg2.extensions.parse_dsn(one.variables["DATABASE_URL"])["password"]
    assert len(password) >= 16
    master_key = Path(one.variables["COGNIVE_MASTER_KEY_FILE"]).read_text().strip()
    one.secrets = {"first key": one.key.split("_")[2], "made key": made.split("_")[2], "revoked key": revoked.split("_")[2],
                   "database password": password, "master key": master_key}
    admin = re.search(r"password (\S+)", one.output)
    one.secrets["admin's password"] = admin[1]
    yield one
    assert one.stop() == 0


def check_clean(text, secrets, where):
    """No secret is in a text."""
    for name, secret in secrets.items():
        assert secret not in text, f"the {name} is in {where}"


def test_no_secret_is_in_the_log(used):
    logs = list((used.directory / "log").rglob("*"))
    assert any(path.name == "cognive.log" and path.stat().st_size for path in logs)
    for path in logs:
        if path.is_file():
            check_clean(path.read_text(errors="replace"), used.secrets, path.name)


def test_no_secret_is_in_a_public_document(used):
    for path in ("/metrics", "/api/v1/health/readiness", "/openapi.json", "/docs", "/redoc", "/", "/api/v1/"):
        check_clean(requests.get(used.url + path, timeout=10).text, used.secrets, path)


def test_no_secret_is_in_the_audit_trail_or_any_other_table(used):
    assert used.sql("SELECT count(*) FROM audit_logs WHERE action = 'api_key_create'")[0][0] >= 2
    tables = [name for (name,) in used.sql("SELECT quote_ident(tablename) FROM pg_tables WHERE schemaname = 'public'")]
    for table in tables:
        for name, secret in used.secrets.items():
            rows = used.sql(f"SELECT count(*) FROM {table} AS one WHERE strpos(one::text, %s) > 0 OR strpos(one::text, %s) > 0",
                            secret, secret.encode().hex())
            assert rows == [(0,)], f"the {name} is in {table}"


def test_of_a_key_only_a_32_byte_hash_is_stored(used):
    rows = used.sql("SELECT octet_length(secret_hash), secret_hash FROM api_keys")
    assert len(rows) >= 3 and {length for length, _ in rows} == {32}
    hashes = {bytes(value) for _, value in rows}
    assert len(hashes) == len(rows)
    for secret in used.secrets.values():
        assert hashlib.sha256(secret.encode()).digest() not in hashes, "the hash is not keyed"


def test_the_password_of_a_person_is_stored_as_argon2id(used):
    assert all(value.startswith("$argon2id$") for (value,) in used.sql("SELECT password_hash FROM users"))


def test_no_secret_is_on_a_command_line(used):
    for pid, command in processes_in(used.directory):
        check_clean(command, used.secrets, f"the command line of process {pid}")


def test_files_with_secrets_are_for_their_owner_only(used):
    for name in ("master-key", "api-key", "env"):
        assert (used.directory / name).stat().st_mode & 0o077 == 0, name


def test_the_list_of_keys_shows_no_secret(used):
    listed = used.cli("keys", "list")
    assert str(uuid.UUID(used.key.split("_")[1])) in listed.stdout
    check_clean(listed.stdout + listed.stderr, used.secrets, "keys list")


def test_secrets_are_shown_once(used):
    assert used.key in used.output and used.secrets["admin's password"] in used.output
    used.stop()
    used.start()
    check_clean(used.output, used.secrets, "the output of the second start")
    assert used.api().get("/api/v1/agents").status_code == 200
