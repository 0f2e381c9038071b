"""POSTs with an Idempotency-Key: a repeat gets the answer of the first, and changes nothing again, whatever was lost between."""

import concurrent.futures
import threading

import pytest

from contract import OPERATIONS, check_answer, parameters_of
from deployment import Deployment
from installation import uuid7, wait_until
from problems import check_problem


def keyed(api, path, key, **kwargs):
    """A POST with a key."""
    return api.post(path, headers={"Idempotency-Key": key}, **kwargs)


def test_a_repeat_gets_the_same_answer_and_makes_nothing(installation):
    api, key, name = installation.api(), uuid7(), uuid7()
    first = keyed(api, "/api/v1/teams", key, json={"name": name})
    check_answer("team_create", first, 201)
    assert "Idempotent-Replayed" not in first.headers
    again = keyed(api, "/api/v1/teams", key, json={"name": name})
    check_answer("team_create", again, 201)
    assert again.content == first.content and again.headers["Idempotent-Replayed"] == "true"
    assert installation.sql("SELECT count(*) FROM audit_logs WHERE action = 'team_create' AND resource_id = %s", first.json()["id"]) == [(1,)]
    assert keyed(api, "/api/v1/teams", uuid7(), json={"name": name}).status_code == 409, "another key is another request"


def test_a_secret_is_shown_again_to_who_made_it_and_is_not_stored_readably(installation):
    api, key = installation.api(), uuid7()
    first, again = (keyed(api, "/api/v1/api-keys", key, json={"name": "kept", "permissions": ["teams:read"]}) for _ in range(2))
    assert first.status_code == 201 and first.json()["key"] == again.json()["key"]
    (stored,), = installation.sql("SELECT answer FROM idempotency_keys WHERE key = %s", key)
    assert first.json()["key"].encode() not in bytes(stored) and b"kept" not in bytes(stored)


def test_the_key_belongs_to_its_request_and_its_caller(installation):
    api, key, name = installation.api(), uuid7(), uuid7()
    assert keyed(api, "/api/v1/teams", key, json={"name": name}).status_code == 201
    body = check_problem(keyed(api, "/api/v1/teams", key, json={"name": name + "x"}), 422)
    assert body["errors"][0]["pointer"] == "Idempotency-Key" and "another request" in body["detail"]
    check_problem(keyed(api, "/api/v1/agents", key, json={"name": name}), 422)
    other = installation.api(installation.team_key("", "teams:write", "teams:read"))
    assert keyed(other, "/api/v1/teams", key, json={"name": name + "y"}).status_code == 201


def test_a_refusal_frees_the_key(api):
    key = uuid7()
    check_problem(keyed(api, "/api/v1/teams", key, json={"name": ""}), 422)
    assert keyed(api, "/api/v1/teams", key, json={"name": uuid7()}).status_code == 201


@pytest.mark.parametrize("key", ["", "k" * 256, "a b", "ä", "a\tb"])
def test_a_key_that_is_none_is_400(api, key):
    check_problem(api.post("/api/v1/teams", json={"name": uuid7()}, headers={"Idempotency-Key": key.encode()}), 400)


def test_uploads_take_ids_in_place_of_keys(api):
    agent = api.agent()["id"]
    assert "id of your own" in check_problem(api.post("/api/v1/artifacts", params={"agent_id": agent, "name": "a"}, data=b"x", headers={"Idempotency-Key": "k"}), 400)["detail"]


def test_of_many_at_once_one_is_done(installation):
    api, key, name = installation.api(), uuid7(), uuid7()
    barrier = threading.Barrier(8)

    def send(_):
        barrier.wait()
        return keyed(installation.api(), "/api/v1/teams", key, json={"name": name})

    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(send, range(8)))
    assert {answer.status_code for answer in answers} <= {201, 409} and any(answer.status_code == 201 for answer in answers)
    for answer in answers:
        if answer.status_code == 409:
            assert "being answered at this moment" in answer.json()["detail"]
    assert len({answer.json()["id"] for answer in answers if answer.status_code == 201}) == 1
    assert keyed(api, "/api/v1/teams", key, json={"name": name}).status_code == 201


def test_what_a_lost_process_has_not_done_is_done_by_the_repeat(installation):
    """As a process leaves it that was killed before it changed anything: the same run is started then."""
    api, key, agent = installation.api(), uuid7(), installation.api().agent()["id"]
    first = keyed(api, "/api/v1/runs/start", key, json={"agent_id": agent})
    assert first.status_code == 201
    installation.sql("UPDATE idempotency_keys SET answer = NULL, has_changed = false, claimed_at = now() - interval '5 minutes' WHERE key = %s", key)
    again = keyed(api, "/api/v1/runs/start", key, json={"agent_id": agent})
    assert again.status_code in (200, 201) and again.json()["run_id"] == first.json()["run_id"]
    assert len(api.get("/api/v1/runs", params={"agent_id": agent}).json()["items"]) == 1


def test_a_key_is_of_the_team_that_it_was_used_for(installation):
    person, key = installation.person("developer@one team", "developer@another team"), uuid7()
    teams = [one["team"] for one in person.get("/api/v1/auth/me").json()["roles"]] if "roles" in person.get("/api/v1/auth/me").json() else ["one team", "another team"]
    send = lambda team: person.post("/api/v1/agents", json={"name": "same"}, headers={"Idempotency-Key": key, "X-Team": team})
    first = send(teams[0])
    assert first.status_code == 201, first.text
    check_problem(send(teams[1]), 422)


@pytest.mark.parametrize("path", ["/api/v1/runs/start", "/api/v1/budgets/authorize"])
def test_what_ends_with_503_and_was_done_all_the_same_is_not_done_twice(shared_directory, path):
    """The commit takes longer than the caller may wait: the repeat has the same run, or the same reservation."""
    with Deployment(shared_directory / ("slow-" + path.rsplit("/", 1)[1]), replicas=0) as deployment:
        service = deployment.serve(HTTP_HANDLER_TIMEOUT_MS=1500)
        service.wait_ok()
        api, key = service.api(), uuid7()
        agent = api.agent()["id"]
        table = "agent_runs" if "runs" in path else "budget_reservations"
        if "budgets" in path:
            assert api.post("/api/v1/budgets", json={"scope": "agent", "agent_id": agent, "window": "day", "limit_usd": 10}).status_code == 201
        body = {"agent_id": agent} if "runs" in path else {"agent_id": agent, "model": "gpt-4o", "max_cost_usd": 1}
        deployment.primary.superuser(f"CREATE FUNCTION slow() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN PERFORM pg_sleep(3); RETURN NULL; END $$; "
                                     f"CREATE TRIGGER slow AFTER INSERT ON {table} FOR EACH STATEMENT EXECUTE FUNCTION slow()", database="cognive")
        check_problem(keyed(api, path, key, json=body), 503)
        deployment.primary.superuser(f"DROP TRIGGER slow ON {table}", database="cognive")
        answers = []
        wait_until(lambda: answers.append(keyed(api, path, key, json=body)) or answers[-1].status_code in (200, 201), "a repeat is answered", 30)
        wait_until(lambda: deployment.primary.sql(f"SELECT count(*) FROM {table}")[0][0] >= 1, "it is there", 10)
        threading.Event().wait(3)
        assert deployment.primary.sql(f"SELECT count(*) FROM {table}") == [(1,)]


def test_what_a_lost_process_has_done_is_not_done_again(installation):
    api, key, name = installation.api(), uuid7(), uuid7()
    assert keyed(api, "/api/v1/teams", key, json={"name": name}).status_code == 201
    installation.sql("UPDATE idempotency_keys SET answer = NULL, claimed_at = now() - interval '5 minutes' WHERE key = %s", key)
    assert "took effect" in check_problem(keyed(api, "/api/v1/teams", key, json={"name": name}), 409)["detail"]


def test_while_it_is_answered_a_repeat_is_told_to_wait(installation):
    api, key, name = installation.api(), uuid7(), uuid7()
    assert keyed(api, "/api/v1/teams", key, json={"name": name}).status_code == 201
    installation.sql("UPDATE idempotency_keys SET answer = NULL, has_changed = false WHERE key = %s", key)
    assert "at this moment" in check_problem(keyed(api, "/api/v1/teams", key, json={"name": name}), 409)["detail"]


def test_after_a_day_the_key_is_new(installation):
    api, key, name = installation.api(), uuid7(), uuid7()
    assert keyed(api, "/api/v1/teams", key, json={"name": name}).status_code == 201
    installation.sql("UPDATE idempotency_keys SET created_at = now() - interval '25 hours' WHERE key = %s", key)
    answer = keyed(api, "/api/v1/teams", key, json={"name": name + "b"})
    assert answer.status_code == 201 and "Idempotent-Replayed" not in answer.headers


def test_a_server_that_is_killed_while_it_answers_makes_one_team(shared_directory):
    """Whenever the process dies: repeats end with one team, and one entry of the trail."""
    with Deployment(shared_directory / "idempotent", replicas=0) as deployment:
        for round_number in range(4):
            service = deployment.serve(HTTP_HANDLER_TIMEOUT_MS=1000, DATABASE_TIMEOUT_MS=1000)
            service.wait_ok()
            key, name = uuid7(), f"team-{round_number}"
            api = service.api()

            def send(api=api, key=key, name=name):
                try:
                    keyed(api, "/api/v1/teams", key, json={"name": name}, timeout=10)
                except OSError:
                    pass

            sender = threading.Thread(target=send)
            sender.start()
            threading.Event().wait(0.002 * round_number)
            service.process.kill()
            service.process.wait()
            sender.join()
            service = deployment.serve(HTTP_HANDLER_TIMEOUT_MS=1000, DATABASE_TIMEOUT_MS=1000)
            service.wait_ok()
            api = service.api()
            answers = []
            wait_until(lambda: answers.append(keyed(api, "/api/v1/teams", key, json={"name": name})) or "at this moment" not in answers[-1].text, "the claim of the lost process ends", 30)
            assert answers[-1].status_code == 201 or "took effect" in answers[-1].text, answers[-1].text
            assert deployment.primary.sql(f"SELECT count(*) FROM teams WHERE name = '{name}'") == [(1,)]
            assert service.stop() == 0


def test_every_post_that_changes_something_takes_a_key():
    for method, path, operation in OPERATIONS:
        takes = "Idempotency-Key" in [parameter["name"] for parameter in parameters_of(operation)]
        assert takes == (method == "POST" and bool(operation["security"]) and operation["operationId"] != "artifact_upload"), path
