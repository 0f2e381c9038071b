"""Alerts reach people: webhooks that are signed, e-mail, what is tried again, and what must not be reached at all."""

import concurrent.futures
import json
import time
import uuid

import pytest

from installation import Installation, clean_environment, llm_call, processes_in, run_cognive, uuid7, wait_until
from problems import check_problem, pointers
from receivers import MailServer, WebhookReceiver, verify_signature
from reports import post_batch

EXAMPLE = "https://hooks.example.com/cognive"


@pytest.fixture(scope="module")
def mail_server():
    """A mail server."""
    one = MailServer()
    yield one
    one.stop()


@pytest.fixture(scope="module")
def served(shared_directory, mail_server):
    """An installation that may post to this machine and sends e-mail."""
    one = Installation(shared_directory / "alert-channels", ALERTS_PRIVATE_NETWORKS="127.0.0.0/8", SMTP_URL=mail_server.url,
                       SMTP_FROM="alerts@cognive.example").start()
    yield one
    assert one.stop() == 0
    assert not processes_in(one.directory)


@pytest.fixture
def receiver():
    """A server that webhooks are posted to."""
    one = WebhookReceiver()
    yield one
    one.stop()


@pytest.fixture
def team(served):
    """A team of the test's own with an agent and a run: name, key, API, agent, run."""
    name = "team-" + uuid7()
    api = served.api(served.team_key(name))
    agent = api.agent(team=name)["id"]
    return {"name": name, "api": api, "agent": agent, "run": api.run(agent)["run_id"]}


def channel(api, **body):
    """A new channel; its body."""
    answer = api.post("/api/v1/alert-channels", json={"kind": "webhook"} | body)
    assert answer.status_code == 201, answer.text
    return answer.json()


def budget(team, **body):
    """A new budget of the team's agent that alerts with its first call."""
    answer = team["api"].post("/api/v1/budgets", json={"scope": "agent", "agent_id": team["agent"], "window": "day", "limit_requests": 1,
                                                      "thresholds": [100]} | body)
    assert answer.status_code == 201, answer.text
    return answer.json()


def cross(team):
    """A call is made, which crosses what there is to cross."""
    assert post_batch(team["api"], [llm_call(team["run"])])["accepted"] == 1


def deliveries(api, **query):
    """Deliveries, newest first."""
    answer = api.get("/api/v1/alert-deliveries", params=query)
    assert answer.status_code == 200, answer.text
    return answer.json()["items"]


def test_an_alert_is_posted_once_and_its_signature_can_be_verified(team, receiver):
    api = team["api"]
    made = channel(api, url=receiver.url + "/hook?token=1", name="pager")
    one = budget(team, name="nightly", hard_stop=True)
    cross(team)
    wait_until(lambda: receiver.requests, "the alert is posted", 15)
    request = receiver.requests[0]
    assert request["path"] == "/hook?token=1" and request["headers"]["content-type"] == "application/json"
    assert verify_signature(request, made["secret"])
    assert not verify_signature(request | {"body": request["body"] + b" "}, made["secret"])
    message = json.loads(request["body"])
    alert = api.get("/api/v1/alerts", params={"budget_id": one["id"]}).json()["items"][0]
    assert message["type"] == "budget.threshold_crossed" and message["timestamp"] == alert["created_at"]
    assert message["data"]["alert"] == alert and alert["threshold"] == 100 and alert["ends_at"] > alert["begins_at"]
    assert message["data"]["budget"] | {"id": one["id"], "name": "nightly", "team": team["name"], "hard_stop": True} == message["data"]["budget"]
    delivery = wait_until(lambda: deliveries(api, channel_id=made["id"], state="delivered"), "the delivery is noted", 10)[0]
    assert delivery["id"] == request["headers"]["webhook-id"] and delivery["attempts"] == 1 and delivery["last_error"] is None
    cross(team)
    time.sleep(1)
    assert len(receiver.requests) == 1


def test_a_channel_gets_the_alerts_of_its_team_and_one_of_the_organisation_those_of_all(served, team):
    own, foreign, everybody = (WebhookReceiver() for _ in range(3))
    try:
        channel(team["api"], url=own.url)
        other = served.api(served.team_key("team-" + uuid7()))
        channel(other, url=foreign.url)
        overall = channel(served.api(), url=everybody.url)
        one = budget(team)
        cross(team)
        wait_until(lambda: own.requests and everybody.requests, "both have it", 15)
        assert own.messages()[0][1] == everybody.messages()[0][1] and own.messages()[0][0] != everybody.messages()[0][0]
        assert not foreign.requests
        assert deliveries(other) == [] and len(deliveries(team["api"])) == 1 and len(deliveries(served.api(), alert_id=deliveries(team["api"])[0]["alert_id"])) == 2
        assert one["id"] == own.messages()[0][1]["data"]["budget"]["id"]
        # What is not for its eyes is not there for a team.
        for method, path in [("GET", ""), ("PATCH", ""), ("DELETE", ""), ("POST", "/test"), ("POST", "/rotate-secret")]:
            check_problem(team["api"].request(method, f"/api/v1/alert-channels/{overall['id']}{path}", json={} if method == "PATCH" else None), 404)
        assert [item["id"] for item in other.get("/api/v1/alert-channels").json()["items"]] != []
    finally:
        served.api().request("DELETE", f"/api/v1/alert-channels/{overall['id']}")
        for one in (own, foreign, everybody):
            one.stop()


def test_what_is_not_accepted_is_tried_again_under_the_same_id(team, receiver):
    attempts = []

    def answer(_):
        attempts.append(time.monotonic())
        return 503 if len(attempts) < 3 else 200

    receiver.answer = answer
    made = channel(team["api"], url=receiver.url)
    budget(team)
    cross(team)
    wait_until(lambda: receiver.requests, "the first attempt", 15)
    waiting = wait_until(lambda: [one for one in deliveries(team["api"], channel_id=made["id"]) if one["attempts"]], "the attempt is noted", 10)[0]
    assert waiting["state"] in ("waiting", "delivered")
    delivered = wait_until(lambda: deliveries(team["api"], channel_id=made["id"], state="delivered"), "it is delivered", 60)[0]
    assert delivered["attempts"] == 3 and len({request["headers"]["webhook-id"] for request in receiver.requests}) == 1
    # Each attempt is signed anew, so that a receiver may refuse what is old.
    assert all(verify_signature(request, made["secret"]) for request in receiver.requests)
    assert len({request["body"] for request in receiver.requests}) == 1


def test_a_delivery_that_has_failed_for_good_is_a_dead_letter_and_can_be_sent_again(served, team, receiver):
    receiver.answer = 500
    made = channel(team["api"], url=receiver.url)
    budget(team)
    cross(team)
    first = wait_until(lambda: [one for one in deliveries(team["api"], channel_id=made["id"]) if one["attempts"]], "an attempt is noted", 20)[0]
    assert first["state"] == "waiting" and "status 500" in first["last_error"]
    # The last attempt comes next.
    wait_until(lambda: served.sql("UPDATE tasks SET attempts = attempts_max - 1, due_at = now() WHERE key = %s AND claimed_until IS NULL RETURNING 1", first["id"] + "/1"),
               "the task waits", 10)
    failed = wait_until(lambda: deliveries(team["api"], channel_id=made["id"], state="failed"), "it has failed", 20)[0]
    dead = json.loads(served.cli("tasks", "list", "--state", "dead", "--name", "alerts.deliver", "--json").stdout)["items"]
    assert [task["key"] for task in dead] == [failed["id"] + "/1"] and "status 500" in dead[0]["last_error"]
    receiver.answer = 200
    again = team["api"].post(f"/api/v1/alert-deliveries/{failed['id']}/redeliver")
    assert again.status_code == 200 and again.json()["state"] == "waiting"
    delivered = wait_until(lambda: deliveries(team["api"], channel_id=made["id"], state="delivered"), "it is delivered", 20)[0]
    assert delivered["id"] == failed["id"] and {request["headers"]["webhook-id"] for request in receiver.requests} == {failed["id"]}
    # Once more, although it was.
    count = len(receiver.requests)
    assert team["api"].post(f"/api/v1/alert-deliveries/{failed['id']}/redeliver").json()["state"] == "waiting"
    wait_until(lambda: len(receiver.requests) > count, "it is sent again", 20)
    again = wait_until(lambda: deliveries(team["api"], channel_id=made["id"], state="delivered"), "it is delivered again", 20)[0]
    assert again["delivered_at"] == delivered["delivered_at"]
    check_problem(team["api"].post(f"/api/v1/alert-deliveries/{uuid7()}/redeliver"), 404)


def test_who_does_not_want_to_wait_has_a_delivery_begun_anew(served, team, receiver):
    receiver.answer = 500
    made = channel(team["api"], url=receiver.url)
    budget(team)
    cross(team)
    first = wait_until(lambda: [one for one in deliveries(team["api"], channel_id=made["id"]) if one["attempts"]], "an attempt is noted", 20)[0]
    later = "UPDATE tasks SET due_at = now() + interval '1 hour' WHERE key = %s AND claimed_until IS NULL RETURNING 1"
    wait_until(lambda: served.sql(later, first["id"] + "/1"), "the task waits", 10)
    count = len(receiver.requests)
    assert team["api"].post(f"/api/v1/alert-deliveries/{first['id']}/redeliver").status_code == 200
    wait_until(lambda: len(receiver.requests) > count, "it is tried at once", 20)
    wait_until(lambda: served.sql(later, first["id"] + "/2"), "the second series waits", 10)
    # What was to be tried later of the first series is over.
    count = len(receiver.requests)
    served.sql("UPDATE tasks SET due_at = now() WHERE key = %s", first["id"] + "/1")
    wait_until(lambda: not served.sql("SELECT 1 FROM tasks WHERE key = %s", first["id"] + "/1"), "the task is done", 20)
    assert len(receiver.requests) == count
    receiver.answer = 200
    served.sql("UPDATE tasks SET due_at = now() WHERE key = %s", first["id"] + "/2")
    wait_until(lambda: deliveries(team["api"], channel_id=made["id"], state="delivered"), "it is delivered", 20)


def test_a_dead_letter_of_an_earlier_series_can_be_tried_again_when_the_last_has_failed_too(served, team, receiver):
    receiver.answer = 500
    made = channel(team["api"], url=receiver.url)
    budget(team)
    cross(team)
    first = wait_until(lambda: deliveries(team["api"], channel_id=made["id"]), "a delivery", 20)[0]
    last_attempt = "UPDATE tasks SET attempts = attempts_max - 1, due_at = now() WHERE key = %s AND claimed_until IS NULL AND attempts > 0 RETURNING 1"
    for series in (1, 2):
        wait_until(lambda: served.sql(last_attempt, f"{first['id']}/{series}"), "the task waits", 20)
        wait_until(lambda: deliveries(team["api"], channel_id=made["id"], state="failed"), "it has failed", 20)
        if series == 1:
            assert team["api"].post(f"/api/v1/alert-deliveries/{first['id']}/redeliver").status_code == 200
    dead = json.loads(served.cli("tasks", "list", "--state", "dead", "--name", "alerts.deliver", "--json").stdout)["items"]
    earlier = [task["id"] for task in dead if task["key"] == first["id"] + "/1"]
    receiver.answer = 200
    assert served.cli("tasks", "retry", *earlier).returncode == 0
    wait_until(lambda: deliveries(team["api"], channel_id=made["id"], state="delivered"), "it is delivered", 20)


def test_a_delivery_whose_task_was_lost_is_found(served, team, receiver):
    receiver.answer = 500
    made = channel(team["api"], url=receiver.url)
    budget(team)
    cross(team)
    first = wait_until(lambda: [one for one in deliveries(team["api"], channel_id=made["id"]) if one["attempts"]], "an attempt is noted", 20)[0]
    wait_until(lambda: served.sql("DELETE FROM tasks WHERE key = %s AND claimed_until IS NULL RETURNING 1", first["id"] + "/1"), "the task is lost", 10)
    receiver.answer = 200
    served.sql("UPDATE alert_deliveries SET waiting_since = now() - interval '3 hours' WHERE id = %s", first["id"])
    wait_until(lambda: deliveries(team["api"], channel_id=made["id"], state="delivered"), "it is delivered", 40)


def test_a_team_has_at_most_twenty_channels_however_many_are_made_at_once(served, team):
    body = {"kind": "webhook", "url": EXAMPLE}
    key = served.team_key(team["name"])
    with concurrent.futures.ThreadPoolExecutor(8) as threads:
        answers = list(threads.map(lambda _: served.api(key).post("/api/v1/alert-channels", json=body).status_code, range(28)))
    assert sorted(answers) == [201] * 20 + [409] * 8


def test_alerts_that_were_raised_while_nothing_delivered_are_found_without_a_message(served, team, receiver):
    channel(team["api"], url=receiver.url)
    budget(team)
    # As after an upgrade from a version that knows no deliveries: its leader drops messages that nobody reads.
    served.sql("CREATE FUNCTION forget() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NULL; END'; "
               "CREATE TRIGGER forget BEFORE INSERT ON outbox FOR EACH ROW WHEN (NEW.topic = 'budgets.alerted') EXECUTE FUNCTION forget()")
    try:
        cross(team)
        wait_until(lambda: receiver.requests, "the sweep has found it", 40)
    finally:
        served.sql("DROP TRIGGER forget ON outbox; DROP FUNCTION forget()")


def test_a_receiver_that_hangs_keeps_no_other_work_waiting(shared_directory, receiver):
    """Not even where there is one slot for tasks."""
    receiver.answer = lambda _: time.sleep(9) or 200
    one = Installation(shared_directory / "one-slot", ALERTS_PRIVATE_NETWORKS="127.0.0.0/8", WORKER_CONCURRENCY=1).start()
    try:
        api = one.api()
        agent = api.agent()["id"]
        team = {"api": api, "agent": agent, "run": api.run(agent)["run_id"]}
        channel(api, url=receiver.url)
        budget(team)
        cross(team)
        wait_until(lambda: receiver.requests, "the receiver hangs", 20)
        asked = {"agent_id": agent, "provider": "openai", "model": "gpt-4o", "max_cost_usd": 0.01, "expires_in_s": 1}
        held = api.post("/api/v1/budgets/authorize", json=asked).json()["reservation_id"]
        wait_until(lambda: api.get(f"/api/v1/budgets/reservations/{held}").json()["state"] == "expired", "a reservation expires", 8)
        assert not deliveries(api, state="delivered")
        wait_until(lambda: deliveries(api, state="delivered"), "it is delivered", 20)
    finally:
        assert one.stop() == 0


def test_who_only_looks_does_not_see_the_secret_of_the_other_side(installation):
    name = "looks-" + uuid7()
    lead, viewer = installation.person(f"team_lead@{name}"), installation.person(f"viewer@{name}")
    url = "https://hooks.example.com/services/secret?token=1"
    made = lead.post("/api/v1/alert-channels", json={"kind": "webhook", "url": url, "enabled": False}).json()
    for who, shown in ((lead, url), (viewer, "https://hooks.example.com/")):
        assert who.get(f"/api/v1/alert-channels/{made['id']}").json()["url"] == shown
        assert [row["url"] for row in who.get("/api/v1/alert-channels").json()["items"]] == [shown]


def test_nothing_goes_to_a_channel_that_is_disabled_or_deleted(team, receiver):
    api = team["api"]
    receiver.answer = 500
    disabled = channel(api, url=receiver.url + "/disabled", enabled=False)
    deleted = channel(api, url=receiver.url + "/deleted")
    budget(team)
    cross(team)
    wait_until(lambda: receiver.requests, "the first attempt", 15)
    assert api.request("DELETE", f"/api/v1/alert-channels/{deleted['id']}").status_code == 200
    failed = wait_until(lambda: deliveries(api, channel_id=deleted["id"], state="failed"), "it is given up", 60)[0]
    assert "deleted" in failed["last_error"]
    assert not any(request["path"] == "/disabled" for request in receiver.requests) and deliveries(api, channel_id=disabled["id"]) == []
    check_problem(api.get(f"/api/v1/alert-channels/{deleted['id']}"), 404)
    check_problem(api.post(f"/api/v1/alert-deliveries/{failed['id']}/redeliver"), 409)


def test_a_test_message_tells_at_once_whether_a_channel_works(team, receiver):
    api = team["api"]
    made = channel(api, url=receiver.url, enabled=False)
    path = f"/api/v1/alert-channels/{made['id']}"
    answer = api.post(path + "/test").json()
    assert answer["delivered"] is True and answer["error"] is None and answer["duration_ms"] >= 0
    message = json.loads(receiver.requests[0]["body"])
    assert message["type"] == "alert_channel.test" and message["data"] == {"channel_id": made["id"]}
    assert verify_signature(receiver.requests[0], made["secret"])
    receiver.answer = 302
    answer = api.post(path + "/test").json()
    assert answer["delivered"] is False and "302" in answer["error"] and len(receiver.requests) == 2
    assert api.patch(path, json={"url": "http://127.0.0.1:1/?token=hunter2"}).status_code == 200
    answer = api.post(path + "/test").json()
    assert answer["delivered"] is False and "nothing accepts connections" in answer["error"] and "hunter2" not in answer["error"]


def test_a_rotated_secret_signs_beside_the_one_before(served, team, receiver):
    api = team["api"]
    made = channel(api, url=receiver.url)
    path = f"/api/v1/alert-channels/{made['id']}"
    rotated = api.post(path + "/rotate-secret").json()
    assert rotated["secret"] != made["secret"] and rotated["secret_rotated_at"]
    assert "secret" not in api.get(path).json() and made["secret"] not in api.get("/api/v1/alert-channels").text
    api.post(path + "/test")
    assert verify_signature(receiver.requests[0], made["secret"]) and verify_signature(receiver.requests[0], rotated["secret"])
    served.sql("UPDATE alert_channels SET secret_rotated_at = now() - interval '25 hours' WHERE id = %s", made["id"])
    api.post(path + "/test")
    assert not verify_signature(receiver.requests[1], made["secret"]) and verify_signature(receiver.requests[1], rotated["secret"])
    # Nothing secret is at rest.
    assert served.sql("SELECT c::text FROM alert_channels c WHERE id = %s", made["id"])[0][0].count(rotated["secret"][6:]) == 0


def test_mail_tells_people_what_happened(served, team, mail_server):
    made = channel(team["api"], kind="email", address="oncall@team.example")
    assert made["secret"] is None
    one = budget(team, name="Überstunden\nBcc: everybody@example.com", limit_requests=2, thresholds=[50])
    cross(team)
    sender, recipients, mail = wait_until(lambda: mail_server.mails, "the mail has come", 15)[-1]
    assert (sender, recipients) == ("alerts@cognive.example", ["oncall@team.example"])
    delivery = wait_until(lambda: deliveries(team["api"], channel_id=made["id"], state="delivered"), "the delivery is noted", 10)[0]
    assert mail["Message-ID"] == f"<{delivery['id']}@cognive.example>" and mail["Bcc"] is None and mail["Date"]
    assert "Überstunden" in mail["Subject"] and "50 % of 2 requests" in mail["Subject"]
    text = next(part for part in mail.walk() if part.get_content_type() == "text/plain").get_content()
    assert one["id"] in text and "1 requests" in text and "Überstunden" in text
    mail_server.refusal = "550 nobody of this name"
    try:
        answer = team["api"].post(f"/api/v1/alert-channels/{made['id']}/test").json()
        assert answer["delivered"] is False and "550" in answer["error"]
    finally:
        mail_server.refusal = None
    assert team["api"].post(f"/api/v1/alert-channels/{made['id']}/test").json()["delivered"] is True


@pytest.mark.parametrize("url", ["http://127.0.0.1:{port}", "http://localhost:{port}", "http://[::ffff:127.0.0.1]:{port}", "http://2130706433:{port}"],
                         ids=["number", "name", "mapped", "decimal"])
def test_private_addresses_are_refused_unless_allowed(installation, api, receiver, url):
    url = url.format(port=receiver.server.server_port)
    answer = api.post("/api/v1/alert-channels", json={"kind": "webhook", "url": url})
    assert pointers(answer) == ["/url"]
    # A name that is harmless when the channel is made may mean something else later.
    made = channel(api, url=EXAMPLE)
    installation.sql("UPDATE alert_channels SET target = %s, sealed_target = NULL WHERE id = %s", url, made["id"])
    tested = api.post(f"/api/v1/alert-channels/{made['id']}/test").json()
    assert tested["delivered"] is False and "ALERTS_PRIVATE_NETWORKS" in tested["error"]
    assert not receiver.requests
    assert api.request("DELETE", f"/api/v1/alert-channels/{made['id']}").status_code == 200


def test_channels_are_made_changed_listed_and_deleted(installation, api):
    body = {"id": uuid7(), "kind": "webhook", "url": EXAMPLE + "?token=hunter2", "name": "n"}
    made = api.post("/api/v1/alert-channels", json=body)
    assert made.status_code == 201 and made.json()["secret"].startswith("whsec_") and made.json()["team_id"] is None
    repeated = api.post("/api/v1/alert-channels", json=body)
    assert repeated.status_code == 200 and repeated.json() == made.json()
    check_problem(api.post("/api/v1/alert-channels", json=body | {"url": EXAMPLE}), 409)
    path = f"/api/v1/alert-channels/{body['id']}"
    assert api.patch(path, json={"name": "m", "enabled": False}).json()["enabled"] is False
    assert api.get(path).json() | {"name": "m", "url": body["url"]} == api.get(path).json()
    assert api.post("/api/v1/alert-channels", json=body).status_code == 200
    assert body["id"] in [item["id"] for item in api.get("/api/v1/alert-channels", params={"limit": 500}).json()["items"]]
    assert api.request("DELETE", path).status_code == 200
    check_problem(api.request("DELETE", path), 404)
    check_problem(api.post("/api/v1/alert-channels", json=body), 409)
    entries = installation.sql("SELECT action, details::text FROM audit_logs WHERE resource_id = %s ORDER BY occurred_at", body["id"])
    assert [action for action, _ in entries] == ["alert_channel_create", "alert_channel_update", "alert_channel_delete"]
    assert not any("hunter2" in details or "whsec_" in details for _, details in entries)


@pytest.mark.parametrize("body, wrong", [
    ({"kind": "webhook"}, ["/url"]),
    ({"kind": "webhook", "url": "ftp://example.com"}, ["/url"]),
    ({"kind": "webhook", "url": "https://user:secret@example.com"}, ["/url"]),
    ({"kind": "webhook", "url": "http://169.254.169.254/latest/meta-data"}, ["/url"]),
    ({"kind": "webhook", "url": EXAMPLE, "address": "a@example.com"}, ["/address"]),
    ({"kind": "email", "address": "a@example.com"}, ["/kind"]),
    ({"kind": "email"}, ["/address"]),
    ({"kind": "pigeon", "url": EXAMPLE}, ["/kind"]),
    ({"kind": "webhook", "url": EXAMPLE, "team": "nobody of this name"}, ["/team"]),
], ids=["no-url", "scheme", "password", "metadata", "both", "no-mail-here", "no-address", "kind", "team"])
def test_a_channel_that_cannot_be_meant_is_refused(api, body, wrong):
    assert pointers(api.post("/api/v1/alert-channels", json=body)) == wrong


@pytest.mark.parametrize("address", ["nobody", "a@b@c", "a b@example.com", "<a@example.com>", "a@example.com\r\nRCPT TO:<b@example.com>", "a@", "@example.com"])
def test_an_address_is_one_address(served, address):
    answer = served.api().post("/api/v1/alert-channels", json={"kind": "email", "address": address})
    assert pointers(answer) == ["/address"]


def test_a_key_of_one_agent_has_nothing_to_do_with_channels(served, team):
    key = served.team_key(team["name"])
    served.sql("UPDATE api_keys SET agent_id = %s WHERE id = %s", team["agent"], str(uuid.UUID(key.split("_")[1])))
    api = served.api(key)
    check_problem(api.post("/api/v1/alert-channels", json={"kind": "webhook", "url": EXAMPLE}), 403)
    check_problem(api.get("/api/v1/alert-channels"), 403)


@pytest.mark.parametrize("variables, named", [
    ({"SMTP_URL": "http://mail.example.com"}, "SMTP_URL"),
    ({"SMTP_URL": "smtp://mail.example.com"}, "SMTP_FROM"),
    ({"SMTP_URL": "smtp://user:hunter2@mail.example.com", "SMTP_FROM": "Cognive <a@example.com>"}, "SMTP_FROM"),
    ({"ALERTS_PRIVATE_NETWORKS": "10.0.0.1/8"}, "ALERTS_PRIVATE_NETWORKS"),
], ids=["scheme", "no-from", "from", "network"])
def test_settings_of_alerts_are_checked_before_anything_starts(variables, named):
    base = {"DATABASE_URL": "postgresql://nobody@127.0.0.1:1/nowhere", "COGNIVE_MASTER_KEY": "0" * 32}
    done = run_cognive("serve", env=clean_environment(**base, **variables))
    assert done.returncode != 0 and named + ":" in done.stderr and "hunter2" not in done.stderr
