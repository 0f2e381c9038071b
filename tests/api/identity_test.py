"""People and their sessions, members of teams, API keys: what each may be given, and how it ends."""

import re
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from deployment import Service
from installation import Installation, uuid7, wait_until
from problems import check_problem, pointers

PASSWORD = "correct horse staple"


def login(api, email, password=PASSWORD, **kwargs):
    """Try to sign in."""
    return api.post("/api/v1/auth/login", json={"email": email, "password": password}, **kwargs)


def refresh(api, token):
    """Try to replace the tokens of a session."""
    return api.post("/api/v1/auth/refresh", json={"refresh_token": token})


def is_in(installation, tokens):
    """Whether an access token is accepted by whoever has not seen it for a second."""
    time.sleep(1.1)
    return installation.api(bearer=tokens["access_token"]).get("/api/v1/auth/me").status_code == 200


# Sessions.

def test_an_address_and_a_wrong_password_learn_nothing(installation, api):
    person = installation.person()
    told = {login(api, email, password).json()["detail"] for email, password in ((person.email, PASSWORD + "x"), (f"{uuid7()}@example.com", PASSWORD))}
    assert len(told) == 1
    assert login(api, person.email.upper()).status_code == 200, "addresses have no case"


def test_whether_there_is_such_a_user_does_not_show_in_the_time_that_it_takes(installation, api):
    """Medians of alternating attempts: without the work for nobody's password it would be a hundredth."""
    person = installation.person()
    taken = {True: [], False: []}
    for exists in (True, False) * 5:
        begin = time.monotonic()
        assert login(api, person.email if exists else f"{uuid7()}@example.com", "wrong").status_code == 401
        taken[exists].append(time.monotonic() - begin)
    known, unknown = sorted(taken[True])[2], sorted(taken[False])[2]
    assert unknown > known / 3, (known, unknown)


def test_a_refresh_token_works_once_and_its_second_use_ends_the_session(installation, api):
    person = installation.person("viewer")
    first = person.tokens
    second = refresh(api, first["refresh_token"]).json()
    assert second["refresh_token"] != first["refresh_token"]
    assert is_in(installation, second) and is_in(installation, first)
    check_problem(refresh(api, first["refresh_token"]), 401)
    check_problem(refresh(api, second["refresh_token"]), 401)
    assert not is_in(installation, second)
    assert installation.sql("SELECT end_reason FROM sessions WHERE user_id = %s", person.id) == [("reuse",)]
    assert installation.sql("SELECT count(*) FROM audit_logs WHERE actor_id = %s AND action = 'session_end' AND details->>'reason' = 'reuse'", person.id) == [(1,)]


def test_of_many_that_use_a_refresh_token_at_once_one_gets_tokens(installation):
    person = installation.person("viewer")
    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(lambda _: refresh(installation.api(), person.tokens["refresh_token"]), range(8)))
    assert sorted(answer.status_code for answer in answers).count(200) == 1
    assert not is_in(installation, next(answer.json() for answer in answers if answer.status_code == 200)), "a copy was used: the session is over"


def test_nobody_ends_a_session_with_a_token_that_was_never_given_out(installation, api):
    person = installation.person("viewer")
    prefix, session, generation, code = person.tokens["refresh_token"].split("_")
    for wrong in (f"{prefix}_{session}_0_{code}", f"{prefix}_{session}_{generation}_{'0' * 64}", f"{prefix}_{session}_99_{code}", f"{prefix}_{session}", "x", "cgr___"):
        check_problem(refresh(api, wrong), 401)
    assert refresh(api, person.tokens["refresh_token"]).status_code == 200


def test_a_new_password_ends_every_session_and_begins_one(installation, api):
    person = installation.person("viewer")
    elsewhere = login(api, person.email).json()
    answer = person.post("/api/v1/auth/password", json={"current_password": "wrong", "new_password": "another horse staple"})
    assert pointers(answer) == ["/current_password"]
    changed = person.post("/api/v1/auth/password", json={"current_password": PASSWORD, "new_password": "another horse staple"}).json()
    assert is_in(installation, changed)
    assert not is_in(installation, elsewhere) and not is_in(installation, person.tokens)
    check_problem(refresh(api, elsewhere["refresh_token"]), 401)
    assert login(api, person.email).status_code == 401
    assert login(api, person.email, "another horse staple").status_code == 200


def test_a_password_that_is_sent_is_never_sent_back(api):
    for body in ({"email": "a@example.com", "password": "pw-short"}, {"email": 1, "password": ["pw-short"]}, {"email": "a@example.com", "password": "pw-short", "x": 1},
                 {"email": "a@example.com", "Password": "pw-short"}, "pw-short", ["pw-short"]):
        for path in ("/api/v1/users", "/api/v1/auth/login", "/api/v1/auth/refresh"):
            assert "pw-short" not in api.post(path, json=body).text
    for path, body in (("/api/v1/auth/login", {"email": "a@example.com", "password": "pw" * 200}), ("/api/v1/auth/refresh", {"refresh_token": "pw" * 2000})):
        assert "pwpw" not in check_problem(api.post(path, json=body), 422)["errors"][0].get("rejected", "")


def test_one_may_list_and_end_ones_sessions_and_nobody_elses(installation, api):
    person, other = installation.person("viewer"), installation.person("admin")
    second = login(api, person.email).json()
    listed = person.get("/api/v1/auth/sessions").json()["items"]
    assert [one["current"] for one in listed] == [False, True] and all(one["address"] == "127.0.0.1" for one in listed)
    check_problem(other.delete(f"/api/v1/auth/sessions/{listed[0]['id']}"), 404)
    assert person.delete(f"/api/v1/auth/sessions/{listed[0]['id']}").status_code == 200
    assert not is_in(installation, second) and is_in(installation, person.tokens)


def test_a_session_ends_with_its_time_and_with_its_user(installation, api):
    person = installation.person("viewer")
    installation.sql("UPDATE sessions SET expires_at = now() WHERE user_id = %s", person.id)
    assert not is_in(installation, person.tokens)
    check_problem(refresh(api, person.tokens["refresh_token"]), 401)
    person = installation.person("viewer")
    assert api.patch(f"/api/v1/users/{person.id}", json={"status": "suspended"}).status_code == 200
    assert not is_in(installation, person.tokens)
    assert "suspended" in check_problem(login(api, person.email), 403)["detail"]
    assert api.patch(f"/api/v1/users/{person.id}", json={"status": "active"}).status_code == 200
    assert login(api, person.email).status_code == 200


def test_no_more_than_a_hundred_sessions_of_one_user_run(installation, api):
    person = installation.person("viewer")
    installation.sql("INSERT INTO sessions (id, user_id, address, expires_at) SELECT gen_random_uuid(), %s, '', now() + interval '1 day' FROM generate_series(1, 150)", person.id)
    newest = installation.api(bearer=login(api, person.email).json()["access_token"])
    assert len(newest.get("/api/v1/auth/sessions").json()["items"]) == 100
    assert installation.sql("SELECT count(*) FROM sessions WHERE user_id = %s AND ended_at IS NULL", person.id) == [(100,)]


# Guessing.

@pytest.fixture(scope="module")
def behind_a_proxy(installation):
    """A server that believes X-Forwarded-For of this machine, so that a test can come from many addresses."""
    variables = {name: value for name, value in installation.variables.items() if name.startswith("DATABASE_") or name == "COGNIVE_MASTER_KEY_FILE"}
    service = Service(installation.directory.parent / "behind-a-proxy.log", variables | {"HTTP_PORT": 0, "HTTP_TRUSTED_PROXIES": "127.0.0.0/8"}, installation.key).start()
    yield service
    assert service.stop() == 0


def from_address(service, address, email, password):
    """Try to sign in from an address."""
    return login(service.api(), email, password, headers={"X-Forwarded-For": address})


def test_whoever_guesses_is_stopped_and_its_victim_is_not(installation, behind_a_proxy):
    person = installation.person("viewer")
    assert from_address(behind_a_proxy, "192.0.2.1", person.email, PASSWORD).status_code == 200
    answers = [from_address(behind_a_proxy, "198.51.100.1", person.email, "wrong").status_code for _ in range(15)]
    assert answers == [401] * 10 + [429] * 5
    refused = check_problem(from_address(behind_a_proxy, "198.51.100.1", person.email, PASSWORD), 429)
    assert "try again in" in refused["detail"]
    for address in ("192.0.2.1", "203.0.113.5"):
        assert from_address(behind_a_proxy, address, person.email, PASSWORD).status_code == 200, address


def test_a_guesser_with_many_addresses_does_not_lock_the_account_where_it_is_used(installation, behind_a_proxy):
    person = installation.person("viewer")
    assert from_address(behind_a_proxy, "192.0.2.2", person.email, PASSWORD).status_code == 200
    answers = [from_address(behind_a_proxy, f"198.51.100.{number}", person.email, "wrong").status_code for number in range(1, 65)]
    assert answers[:50] == [401] * 50 and answers[-5:] == [429] * 5, answers
    assert from_address(behind_a_proxy, "203.0.113.6", person.email, PASSWORD).status_code == 429, "a stranger has to wait"
    assert from_address(behind_a_proxy, "192.0.2.2", person.email, PASSWORD).status_code == 200


def test_right_passwords_are_not_counted(installation, behind_a_proxy):
    person = installation.person("viewer")
    assert {from_address(behind_a_proxy, "192.0.2.3", person.email, PASSWORD).status_code for _ in range(20)} == {200}


# Members of teams, and what each may give.

@pytest.fixture(scope="module")
def lead(installation):
    """The lead of team `ducks`, and the team's id."""
    client = installation.person("team_lead@ducks")
    client.team = client.get("/api/v1/auth/me").json()["team_id"]
    return client


def test_a_lead_manages_the_members_of_the_own_team_only(installation, lead):
    somebody = installation.person("developer@geese")
    geese = somebody.get("/api/v1/auth/me").json()["team_id"]
    members = f"/api/v1/teams/{lead.team}/members"
    assert lead.put(members, json={"email": somebody.email, "role": "developer"}).json()["role"] == "developer"
    assert lead.put(members, json={"email": somebody.email, "role": "viewer"}).json()["role"] == "viewer"
    assert [one["role"] for one in lead.get(members).json()["items"] if one["email"] == somebody.email] == ["viewer"]
    for answer in (lead.put(f"/api/v1/teams/{geese}/members", json={"email": somebody.email, "role": "viewer"}), lead.get(f"/api/v1/teams/{geese}/members"),
                   lead.delete(f"/api/v1/teams/{geese}/members/{somebody.id}")):
        check_problem(answer, 404)
    assert pointers(lead.put(members, json={"email": f"{uuid7()}@example.com", "role": "viewer"})) == ["/email"]
    assert pointers(lead.put(members, json={"email": somebody.email, "role": "admin"})) == ["/role"]
    assert lead.delete(f"{members}/{somebody.id}").status_code == 200
    for method, path in (("GET", "/api/v1/users"), ("POST", "/api/v1/users"), ("POST", "/api/v1/teams")):
        check_problem(lead.request(method, path, data=b"{}"), 403)


def test_a_team_can_be_renamed_and_stays_what_it_is(installation):
    api = installation.api()
    name, other = uuid7(), uuid7()
    lead = installation.person(f"team_lead@{name}")
    installation.person(f"viewer@{other}")
    team = lead.get("/api/v1/auth/me").json()["team_id"]
    path = f"/api/v1/teams/{team}"
    assert lead.patch(path, json={"name": uuid7()}).status_code == 403
    check_problem(api.patch(path, json={"name": other}), 409)
    assert pointers(api.patch(path, json={"name": " x"})) == ["/name"]
    renamed = api.patch(path, json={"name": name + "-2"})
    assert renamed.status_code == 200 and (renamed.json()["id"], renamed.json()["name"]) == (team, name + "-2")
    assert api.patch(path, json={"name": name + "-2"}).status_code == 200
    assert lead.get(path).json()["name"] == name + "-2"
    assert api.post("/api/v1/teams", json={"name": name}).status_code == 201, "the old name is free"
    entries = api.get("/api/v1/audit-entries", params={"resource_id": team, "action": "team_update"}).json()["items"]
    assert [entry["details"] for entry in entries] == [{"name": name + "-2", "name_before": name}]
    check_problem(api.patch("/api/v1/teams/00000000-0000-7000-8000-000000000001", json={"name": uuid7()}), 409)


def test_somebody_of_two_teams_acts_in_one_at_a_time(installation):
    person = installation.person("viewer@ducks", "team_lead@swans")
    ducks = installation.api(installation.team_key("ducks")).agent(f"duck-{uuid7()}")
    for headers in ({}, {"X-Team": "ducks"}):  # which came first
        assert person.get(f"/api/v1/agents/{ducks['id']}", headers=headers).status_code == 200
    check_problem(person.get(f"/api/v1/agents/{ducks['id']}", headers={"X-Team": "swans"}), 404)
    check_problem(person.post("/api/v1/agents", headers={"X-Team": "ducks"}, json={"name": uuid7()}), 403)
    assert person.post("/api/v1/agents", headers={"X-Team": "swans"}, json={"name": uuid7()}).status_code == 201
    assert "X-Team" in check_problem(person.get("/api/v1/agents", headers={"X-Team": "geese"}), 403)["detail"]
    assert person.get("/api/v1/auth/me", headers={"X-Team": "geese"}).json()["permissions"] == []
    assert person.post("/api/v1/auth/logout", headers={"X-Team": "geese"}).status_code == 200


def test_nobody_who_is_added_to_a_second_team_has_to_change_anything(installation, lead):
    person = installation.person("developer@swans")
    made = person.post("/api/v1/agents", json={"name": uuid7()}).json()["id"]
    assert lead.put(f"/api/v1/teams/{lead.team}/members", json={"email": person.email, "role": "viewer"}).status_code == 200
    time.sleep(1.1)
    assert person.get(f"/api/v1/agents/{made}").status_code == 200
    assert person.post("/api/v1/agents", json={"name": uuid7()}).status_code == 201


def test_there_is_one_role_in_each_place(installation, lead, api):
    roles = [{"role": "viewer", "team": "ducks"}, {"role": "team_lead", "team": "ducks"}, {"role": "viewer"}, {"role": "admin"}]
    assert pointers(api.post("/api/v1/users", json={"email": f"{uuid7()}@example.com", "password": PASSWORD, "roles": roles})) == ["/roles/1/role", "/roles/3/role"]
    person = installation.person("team_lead@ducks")
    changes = [lambda: lead.put(f"/api/v1/teams/{lead.team}/members", json={"email": person.email, "role": "viewer"}),
               lambda: api.patch(f"/api/v1/users/{person.id}", json={"roles": [{"role": "developer", "team": "ducks"}]})] * 4
    with ThreadPoolExecutor(8) as pool:
        assert {answer.status_code for answer in pool.map(lambda change: change(), changes)} == {200}
    assert len(api.get(f"/api/v1/users/{person.id}").json()["roles"]) == 1


def test_letters_that_only_the_database_folds_are_no_other_account(installation, api):
    """K (the Kelvin sign) is k to PostgreSQL: each spelling of an address would have its own number of tries."""
    email = f"kiki-{uuid7()}@example.com"
    assert api.post("/api/v1/users", json={"email": email, "password": PASSWORD}).status_code == 201
    assert login(api, email).status_code == 200
    assert login(api, email.replace("k", "\u212a", 1)).status_code == 401


def test_a_password_that_an_admin_sets_meanwhile_stays(installation, api):
    """Whichever comes first, the password and the sessions are those of one of them."""
    for attempt in range(6):
        person = installation.person("viewer")
        change = lambda: person.post("/api/v1/auth/password", json={"current_password": PASSWORD, "new_password": "chosen by the person"})
        reset = lambda: api.patch(f"/api/v1/users/{person.id}", json={"password": "chosen by the admin"})
        with ThreadPoolExecutor(2) as pool:
            changed, was_reset = [answer.result() for answer in (pool.submit(change), pool.submit(reset))]
        assert was_reset.status_code == 200 and changed.status_code in (200, 401)
        # Who comes second has the last word: the person's change is refused after the admin's, and is undone by one that comes later.
        assert installation.sql("SELECT count(*) FROM sessions WHERE user_id = %s AND ended_at IS NULL", person.id) == [(0,)]
        assert login(api, person.email, "chosen by the admin").status_code == 200
        assert login(api, person.email, "chosen by the person").status_code == 401


def test_a_login_with_the_old_password_does_not_outlive_a_new_one(installation, api):
    for attempt in range(4):
        person = installation.person("viewer")
        with ThreadPoolExecutor(6) as pool:
            logins = [pool.submit(login, installation.api(), person.email) for _ in range(4)]
            changed = pool.submit(lambda: person.post("/api/v1/auth/password", json={"current_password": PASSWORD, "new_password": "another horse staple"})).result()
        assert changed.status_code == 200 and {one.result().status_code for one in logins} <= {200, 401}
        assert installation.sql("SELECT count(*) FROM sessions WHERE user_id = %s AND ended_at IS NULL", person.id) == [(1,)]


def test_a_role_that_is_taken_away_is_gone_within_a_second(installation, api):
    person = installation.person("developer@ducks")
    assert person.post("/api/v1/agents", json={"name": uuid7()}).status_code == 201
    assert api.patch(f"/api/v1/users/{person.id}", json={"roles": []}).status_code == 200
    taken = time.monotonic()
    while person.post("/api/v1/agents", json={"name": uuid7()}).status_code == 201:
        assert time.monotonic() - taken < 1.2
    check_problem(person.post("/api/v1/agents", json={"name": uuid7()}), 403)


def test_nobody_gives_what_they_do_not_hold(installation, lead, api):
    for permissions in (["*"], ["users:write"], ["teams:write"], ["events:write", "users:read"]):
        check_problem(lead.post("/api/v1/api-keys", json={"name": "k", "permissions": permissions}), 403)
    check_problem(lead.post("/api/v1/api-keys", json={"name": "k", "team": "geese", "permissions": ["events:write"]}), 422)
    keeper = installation.api(installation.team_key("", "users:write", "users:read", "keys:write", "keys:read"))
    check_problem(keeper.post("/api/v1/users", json={"email": f"{uuid7()}@example.com", "password": PASSWORD, "roles": [{"role": "viewer"}]}), 403)
    person = installation.person("admin")
    for change in ({"password": PASSWORD + "!"}, {"status": "suspended"}, {"roles": []}, {"name": "x"}):
        check_problem(keeper.patch(f"/api/v1/users/{person.id}", json=change), 403)
    powerful = api.post("/api/v1/api-keys", json={"name": "k", "permissions": ["*"]}).json()["id"]
    check_problem(keeper.post(f"/api/v1/api-keys/{powerful}/rotate", json={}), 403)
    assert keeper.post("/api/v1/users", json={"email": f"{uuid7()}@example.com", "password": PASSWORD}).status_code == 201


def test_a_key_of_a_team_or_agent_manages_no_users(installation, api):
    agent = installation.api(installation.team_key("ducks")).agent()["id"]
    bound = api.post("/api/v1/api-keys", json={"name": "k", "agent_id": agent, "permissions": ["*"]}).json()
    assert bound["agent_id"] == agent and bound["team"] == "ducks"
    for key in (bound["key"], installation.team_key("ducks")):
        for answer in (installation.api(key).get("/api/v1/users"), installation.api(key).post("/api/v1/users", json={"email": f"{uuid7()}@example.com", "password": PASSWORD})):
            check_problem(answer, 403)
    for path in ("/api/v1/api-keys", f"/api/v1/teams/{uuid7()}/members"):
        check_problem(installation.api(bound["key"]).get(path), 403)
    other = installation.api(installation.team_key("geese")).agent()["id"]
    check_problem(installation.api(bound["key"]).get(f"/api/v1/agents/{other}"), 404)


def test_the_organisation_always_has_somebody_who_manages_it(shared_directory):
    one = Installation(shared_directory / "last-admin").start()
    try:
        first = one.api().get("/api/v1/users").json()["items"][0]["id"]
        second = one.person("admin")
        # Both at once: one of them has to stay.
        for attempt in range(5):
            with ThreadPoolExecutor(2) as pool:
                answers = list(pool.map(lambda who: one.api().patch(f"/api/v1/users/{who}", json={"status": "suspended"}).status_code, (first, second.id)))
            assert sorted(answers) == [200, 409]
            for who in (first, second.id):
                one.api().patch(f"/api/v1/users/{who}", json={"status": "active"})
        assert one.api().patch(f"/api/v1/users/{first}", json={"roles": []}).status_code == 200
        check_problem(one.api().patch(f"/api/v1/users/{second.id}", json={"roles": [{"role": "viewer"}]}), 409)
    finally:
        assert one.stop() == 0


def test_users_are_created_with_every_fault_named(api):
    body = {"email": "no address", "password": "short", "roles": [{"role": "king"}, {"team": "x"}], "x": 1}
    assert pointers(api.post("/api/v1/users", json=body)) == sorted(["/email", "/password", "/roles/0/role", "/roles/1/role", "/x"])
    roles = [{"role": "admin", "team": "default"}, {"role": "team_lead"}, {"role": "viewer", "team": "no-such-team"}]
    assert pointers(api.post("/api/v1/users", json={"email": "a@example.com", "password": PASSWORD, "roles": roles})) == ["/roles/0/team", "/roles/1/team", "/roles/2/team"]


# Keys.

def test_a_rotated_key_keeps_its_old_secret_for_the_overlap(installation, api):
    made = api.post("/api/v1/api-keys", json={"name": "k", "permissions": ["agents:read"]}).json()
    rotated = api.post(f"/api/v1/api-keys/{made['id']}/rotate", json={"overlap_s": 4}).json()
    assert rotated["id"] == made["id"] and rotated["key"] != made["key"]
    works = lambda key: installation.api(key).get("/api/v1/agents").status_code == 200
    assert works(made["key"]) and works(rotated["key"])
    time.sleep(5.2)
    assert not works(made["key"]) and works(rotated["key"])
    again = api.post(f"/api/v1/api-keys/{made['id']}/rotate", json={"overlap_s": 600}).json()
    third = api.post(f"/api/v1/api-keys/{made['id']}/rotate", json={"overlap_s": 600}).json()
    time.sleep(1.1)
    assert [works(one["key"]) for one in (rotated, again, third)] == [False, True, True]


def test_a_key_that_expires_makes_none_that_lives_longer(installation, api):
    soon, late = "2036-01-01T00:00:00Z", "2036-01-01T00:00:01Z"
    maker = installation.api(api.post("/api/v1/api-keys", json={"name": "k", "permissions": ["keys:write", "agents:read"], "expires_at": soon}).json()["key"])
    for body in ({}, {"expires_at": late}):
        assert pointers(maker.post("/api/v1/api-keys", json={"name": "k", "permissions": ["agents:read"]} | body)) == ["/expires_at"]
    assert maker.post("/api/v1/api-keys", json={"name": "k", "permissions": ["agents:read"], "expires_at": soon}).status_code == 201


def test_an_entry_says_what_of_somebody_was_changed(installation, api):
    person = installation.person("viewer")
    path = f"/api/v1/users/{person.id}"
    assert api.patch(path, json={"name": "Ada"}).status_code == 200
    for nothing in ({}, {"name": "Ada", "status": "active"}):
        assert api.patch(path, json=nothing).status_code == 200
    assert api.patch(path, json={"status": "suspended"}).status_code == 200
    entries = api.get("/api/v1/audit-entries", params={"resource_id": person.id, "action": "user_update"}).json()["items"]
    assert [entry["details"] for entry in entries] == [{"status_before": "active", "status": "suspended"}, {"name_before": "", "name": "Ada", "status": "active"}]


def test_a_key_shows_when_it_was_used_last(installation, api):
    made = api.post("/api/v1/api-keys", json={"name": "k", "permissions": ["agents:read"]}).json()
    assert made["last_used_at"] is None
    installation.api(made["key"]).get("/api/v1/agents")
    wait_until(lambda: api.get(f"/api/v1/api-keys/{made['id']}").json()["last_used_at"], "the use is stored", seconds=40)


def test_no_answer_but_the_first_has_the_key(installation, api):
    made = api.post("/api/v1/api-keys", json={"name": "k", "permissions": ["agents:read"]}).json()
    secret = made["key"].split("_")[2]
    for answer in (api.get(f"/api/v1/api-keys/{made['id']}"), api.get("/api/v1/api-keys?limit=500"), api.delete(f"/api/v1/api-keys/{made['id']}"),
                   api.get(f"/api/v1/audit-entries?resource_id={made['id']}")):
        assert answer.status_code == 200 and secret not in answer.text
    assert installation.sql("SELECT count(*) FROM api_keys k WHERE k::text LIKE %s", f"%{secret}%") == [(0,)]


# Refusals in the audit trail.

def test_refusals_are_recorded_once_for_each_minute_and_reason(shared_directory):
    one = Installation(shared_directory / "refusals").start()
    person = one.person("viewer")
    for _ in range(200):
        assert person.post("/api/v1/teams", json={"name": "x"}).status_code == 403
        assert one.api("cgv_wrong").get("/api/v1/teams").status_code == 401
    assert login(one.api(), person.email, "wrong").status_code == 401
    assert one.stop() == 0
    one.start()
    try:
        entries = one.api().get("/api/v1/audit-entries?action=access_refuse&limit=500").json()["items"]
        sums = {}
        for entry in entries:
            name = (entry["actor_kind"], entry["actor_id"], entry["resource_id"], entry["details"]["reason"])
            sums[name] = sums.get(name, 0) + entry["details"]["count"]
        assert sums == {("user", person.id, "team_create", "forbidden"): 200, ("anonymous", None, "team_list", "unauthenticated"): 200,
                        ("anonymous", None, "session_begin", "unauthenticated"): 1}
        assert len(entries) <= 6, "one for each minute"
        accounts = {entry["resource_id"]: entry["details"].get("account") for entry in entries if entry["actor_kind"] == "anonymous"}
        assert accounts == {"team_list": None, "session_begin": person.id}, "whose password was tried"
        assert one.cli("audit", "verify").returncode == 0
    finally:
        assert one.stop() == 0


# The command line.

def test_users_can_be_made_and_let_in_again_at_the_command_line(installation, api):
    email = f"{uuid7()}@example.com"
    made = installation.cli("users", "create", email, "--role", "admin", "--name", "Ada")
    assert made.returncode == 0 and re.fullmatch(r"\w{20}\n", made.stdout), made.stderr
    assert login(api, email, made.stdout.strip()).status_code == 200
    assert email in installation.cli("users", "list").stdout and "admin" in installation.cli("users", "list", "--json").stdout
    assert installation.cli("users", "create", email, "--role", "viewer").returncode == 1
    assert installation.cli("users", "create", f"{uuid7()}@example.com", "--role", "king").returncode == 2
    assert installation.cli("users", "create", f"{uuid7()}@example.com", "--role", "team_lead").returncode == 1
    assert installation.cli("users", "suspend", email).returncode == 0
    assert login(api, email, made.stdout.strip()).status_code == 403
    assert installation.cli("users", "activate", email).returncode == 0
    reset = installation.cli("users", "reset-password", email, "--password-stdin", input="a chosen password\n")
    assert reset.returncode == 0 and reset.stdout == "", reset.stderr
    assert login(api, email, "a chosen password").status_code == 200
    assert installation.cli("users", "reset-password", "nobody@example.com").returncode == 1
