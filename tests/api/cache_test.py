"""Agents and states of budgets come from a cache, in the process or in Redis; it never has the last word, and its loss is no one's."""

import json
import time

import pytest

from installation import uuid7, wait_until
from redis_server import RedisServer
from reports import post_batch
from tcp_proxy import TcpProxy

HEALTH = "/api/v1/health/cache"


@pytest.fixture(params=["embedded", "redis"])
def services(request, serve):
    """Two processes on one database, with a Redis between them or with none."""
    settings = {"REDIS_URL": request.getfixturevalue("redis").url()} if request.param == "redis" else {}
    return [serve(**settings) for _ in range(2)]


@pytest.fixture
def reader(installation):
    """The key of somebody who changes nothing, and so has not to be shown what they have just changed."""
    asked = {"name": "reader", "permissions": ["agents:read", "budgets:read"]}
    return installation.api().post("/api/v1/api-keys", json=asked).json()["key"]


def counts(service):
    """How often the cache had what was read, and had not."""
    state = service.api().get(HEALTH).json()
    return state["hits"], state["misses"], state["errors"]


def agent_of(service, reader, agent, **headers):
    """The agent, as the reader is told."""
    answer = service.api(reader).get(f"/api/v1/agents/{agent}", headers=headers)
    assert answer.status_code == 200, answer.text
    return answer.json()


def test_an_agent_is_read_once_and_a_change_is_seen_everywhere(services, installation, reader):
    here, there = services
    agent = installation.api().agent(description="first")
    before = counts(here)
    for _ in range(10):
        assert agent_of(here, reader, agent["id"]) == agent
    hits, misses, errors = (now - then for now, then in zip(counts(here), before, strict=True))
    assert hits + misses == 10 and hits >= 5 and errors == 0
    assert agent_of(there, reader, agent["id"]) == agent
    changed = here.api().patch(f"/api/v1/agents/{agent['id']}", json={"description": "second", "metadata": {"a": [1, None, "ü"]}}).json()
    assert agent_of(here, reader, agent["id"]) == changed, "at once in the process that changed it"
    wait_until(lambda: agent_of(there, reader, agent["id"]) == changed, "within a second in the others", 2)
    put = there.api().put("/api/v1/agents", json={"name": agent["name"], "description": "third"}).json()
    assert agent_of(there, reader, agent["id"])["description"] == put["description"] == "third"
    wait_until(lambda: agent_of(here, reader, agent["id"])["description"] == "third", "within a second in the others", 2)
    here.api().post(f"/api/v1/agents/{agent['id']}/archive")
    assert agent_of(here, reader, agent["id"])["status"] == "archived"


def test_a_cached_agent_is_only_shown_to_whoever_may_see_it(services, installation):
    here, _ = services
    api = here.api()
    team = api.post("/api/v1/teams", json={"name": uuid7()}).json()
    agent = api.agent(team=team["name"])["id"]
    others = [api.agent(team=team["name"])["id"], api.agent()["id"]]
    keys = {}
    for name, asked in {"of the team": {"team": team["name"]}, "of the agent": {"agent_id": agent}, "of another team": {"team": "default"},
                        "of another agent": {"agent_id": others[0]}}.items():
        made = api.post("/api/v1/api-keys", json={"name": name, "permissions": ["agents:read"]} | asked)
        assert made.status_code == 201, made.text
        keys[name] = made.json()["key"]
    for _ in range(2):
        found = {name: here.api(key).get(f"/api/v1/agents/{agent}").status_code for name, key in keys.items()}
        assert found == {"of the team": 200, "of the agent": 200, "of another team": 404, "of another agent": 404}


def test_who_asks_for_it_is_answered_by_the_database(services, installation, reader):
    here, _ = services
    agent = installation.api().agent(description="first")["id"]
    agent_of(here, reader, agent)
    installation.sql("UPDATE agents SET description = 'second' WHERE id = %s", agent)
    assert agent_of(here, reader, agent, **{"Cache-Control": "no-cache"})["description"] == "second"
    assert agent_of(here, reader, agent, **{"Cache-Control": "max-age=0"})["description"] == "second"


def test_a_budget_is_exact_but_for_who_accepts_an_old_answer(services, installation, reader):
    here, there = services
    api = here.api()
    agent = api.agent()["id"]
    budget = api.post("/api/v1/budgets", json={"scope": "agent", "agent_id": agent, "window": "total", "limit_usd": 10}).json()["id"]

    def status(service=here, **headers):
        answer = service.api(reader).get(f"/api/v1/budgets/{budget}/status", headers=headers)
        assert answer.status_code == 200, answer.text
        return answer.json()

    old = {"Cache-Control": "max-age=60"}
    first = status(**old)
    assert first["window"]["spent"] == 0
    run = api.run(agent)["run_id"]
    post_batch(api, [{"type": "llm_call", "id": uuid7(), "run_id": run, "provider": "openai", "model": "gpt-4o",
                      "usage": {"input_tokens": 1_000_000, "output_tokens": 0}}])
    spent = status()["window"]["spent"]
    assert spent > 0, "exact unless one says otherwise"
    assert status(**old) == first, "as old as it says it is"
    assert status(**{"Cache-Control": "max-age=60, no-cache"})["window"]["spent"] == spent
    time.sleep(1.1)
    newer = status(**{"Cache-Control": "max-age=1"})
    assert newer["window"]["spent"] == spent, "too old"
    assert status(**old) == newer, "and what was read instead has taken its place"
    there_first = status(there, **old)
    assert there.api().patch(f"/api/v1/budgets/{budget}", json={"limit_usd": 20}).status_code == 200
    changed = status(there, **old)
    assert changed["budget"]["limit_usd"] == 20 and changed["window"]["spent"] == spent and changed["as_of"] > there_first["as_of"]
    there.api().delete(f"/api/v1/budgets/{budget}")
    assert there.api(reader).get(f"/api/v1/budgets/{budget}/status", headers=old).status_code == 404


def test_a_cached_budget_is_only_shown_to_whoever_may_see_it(services, reader):
    here, _ = services
    api = here.api()
    team = api.post("/api/v1/teams", json={"name": uuid7()}).json()["name"]
    agent = api.agent(team=team)["id"]
    budget = api.post("/api/v1/budgets", json={"scope": "agent", "agent_id": agent, "window": "total", "limit_tokens": 7}).json()
    target = f"/api/v1/budgets/{budget['id']}/status"
    old = {"Cache-Control": "max-age=60"}
    first = here.api(reader).get(target, headers=old).json()
    found = {}
    for name, asked in {"of the team": {"team": team}, "of the agent": {"agent_id": agent}, "of another team": {"team": "default"},
                        "of another agent": {"agent_id": api.agent(team=team)["id"]}}.items():
        key = api.post("/api/v1/api-keys", json={"name": name, "permissions": ["budgets:read"]} | asked).json()["key"]
        answer = here.api(key).get(target, headers=old)
        found[name] = answer.status_code
        assert answer.status_code == 404 or answer.json() == first
    assert found == {"of the team": 200, "of the agent": 200, "of another team": 404, "of another agent": 404}


def test_a_budget_by_run_is_never_old(services, reader):
    here, _ = services
    api = here.api()
    agent = api.agent()["id"]
    budget = api.post("/api/v1/budgets", json={"scope": "agent", "agent_id": agent, "window": "run", "limit_usd": 10}).json()["id"]
    run = api.run(agent)["run_id"]
    for _ in range(2):
        answer = here.api(reader).get(f"/api/v1/budgets/{budget}/status?run_id={run}", headers={"Cache-Control": "max-age=60"})
        assert answer.status_code == 200 and answer.json()["window"]["run_id"] == run
        assert here.api(reader).get(f"/api/v1/budgets/{budget}/status", headers={"Cache-Control": "max-age=60"}).status_code == 422


def test_the_cache_tells_how_it_does(services, installation, reader):
    here, _ = services
    agent = installation.api().agent()["id"]
    for _ in range(3):
        agent_of(here, reader, agent)
    state = here.api().get(HEALTH).json()
    assert set(state) == {"hits", "misses", "errors", "total", "hit_rate_percent", "redis_info"}
    assert state["total"] == state["hits"] + state["misses"] >= 3
    assert state["hit_rate_percent"] == pytest.approx(100 * state["hits"] / state["total"], abs=0.01)
    assert set(state["redis_info"]) == {"used_memory_human", "used_memory_peak_human", "maxmemory_human", "connected_clients"}
    assert all(state["redis_info"].values())
    for name in ("hits", "misses", "errors"):
        assert here.metric(f"cache_{name}_total") == state[name]


def test_whatever_becomes_of_redis_agents_are_read_and_changes_are_seen(serve, installation, shared_directory, reader):
    """Killed, frozen, slow, cut off in the middle of a reply, emptied: nobody waits, nobody is shown what is no more."""
    with RedisServer(shared_directory) as server, TcpProxy(server.port) as proxy:
        settings = {"REDIS_SOCKET_TIMEOUT": "1", "REDIS_SOCKET_CONNECT_TIMEOUT": "1"}
        behind = serve(REDIS_URL=server.url(port=proxy.port), **settings)
        beside = serve(REDIS_URL=server.url(), **settings)
        agent = installation.api().agent(description="first")["id"]

        def is_cached():
            before = counts(behind)[0]
            agent_of(behind, reader, agent)
            return counts(behind)[0] > before

        for number, (fault, mend) in enumerate((
                (proxy.stall, proxy.pass_through), (proxy.stall_responses, proxy.pass_through), (lambda: proxy.truncate_after(7), proxy.pass_through),
                (proxy.refuse, proxy.pass_through), (lambda: proxy.close_all(reset=True), proxy.pass_through), (server.freeze, server.thaw),
                (server.kill, server.start), (lambda: server.command("FLUSHALL"), lambda: None), (lambda: server.command("SCRIPT", "FLUSH"), lambda: None))):
            wait_until(is_cached, "it is cached", 20)
            fault()
            begun = time.monotonic()
            wanted = f"change {number}"
            assert behind.api().patch(f"/api/v1/agents/{agent}", json={"description": wanted}).status_code == 200
            for _ in range(20):
                assert agent_of(behind, reader, agent)["description"] == wanted
            assert time.monotonic() - begun < 5, "far below any patience of a client: each waits for 50 ms at most"
            mend()
            assert agent_of(behind, reader, agent)["description"] == wanted
            # Redis is told as soon as it is there again.
            wait_until(lambda: agent_of(beside, reader, agent)["description"] == wanted, "others see it as well", 20)  # noqa: B023
        assert counts(behind)[2] > 0
        assert '"level":"error"' not in behind.log_text()


def test_without_redis_its_state_is_null(serve, installation, shared_directory, reader):
    with RedisServer(shared_directory) as server:
        service = serve(REDIS_URL=server.url(), READINESS_REQUIRES="database")
        agent = installation.api().agent()["id"]
        agent_of(service, reader, agent)
        server.kill()
        agent_of(service, reader, agent)
        state = service.api().get(HEALTH)
        assert state.status_code == 200 and state.json()["redis_info"] is None and state.json()["errors"] > 0


def test_a_redis_that_was_started_again_is_not_believed(serve, installation, shared_directory, reader):
    """It may have lost the last second of what it has on its disk: that something was forgotten."""
    with RedisServer(shared_directory, append_only=True) as server:
        service = serve(REDIS_URL=server.url(), REDIS_SOCKET_TIMEOUT="1", REDIS_SOCKET_CONNECT_TIMEOUT="1")
        agent = installation.api().agent(description="first")["id"]
        name = f"cognive:cache:agent:{agent}"
        agent_of(service, reader, agent)
        wait_until(lambda: server.command("GET", name).startswith("V"), "it is there", 5)
        kept = server.command("GET", name).rstrip("\n")
        assert service.api().patch(f"/api/v1/agents/{agent}", json={"description": "second"}).status_code == 200
        assert server.command("SET", name, kept).strip() == "OK"
        time.sleep(1.2)  # by then it is on the disk
        server.kill()
        server.start()
        assert server.command("GET", name).rstrip("\n") == kept
        for _ in range(20):
            assert agent_of(service, reader, agent)["description"] == "second"
        wait_until(lambda: agent_of(service, reader, agent)["description"] == "second" and server.command("GET", name).rstrip("\n") != kept, "it is replaced", 10)


def test_a_price_that_was_mended_in_the_database_is_read_again(serve, installation):
    service = serve(CACHE_TTL_LLM_PRICING="1")
    quote = "/api/v1/prices/quote?provider=openai&model=gpt-4o&input_tokens=1000000"
    before = service.api().get(quote).json()
    version = before["price_version_id"]
    # A trigger refuses that: whoever does it has to mean it.
    mend = "ALTER TABLE llm_pricing DISABLE TRIGGER USER; UPDATE llm_pricing SET rates = %s::jsonb WHERE id = %s; ALTER TABLE llm_pricing ENABLE TRIGGER USER"
    (rates,) = installation.sql("SELECT rates FROM llm_pricing WHERE id = %s", version)[0]
    try:
        doubled = {name: value * 2 if isinstance(value, (int, float)) else value for name, value in rates.items()}
        assert doubled != rates
        installation.sql(mend, json.dumps(doubled), version)
        wait_until(lambda: service.api().get(quote).json()["cost_usd"] != before["cost_usd"], "it is read again", 10)
    finally:
        installation.sql(mend, json.dumps(rates), version)


def test_what_somebody_else_puts_into_redis_is_taken_for_nothing(serve, installation, redis, reader):
    service = serve(REDIS_URL=redis.url(database=5))
    api = installation.api()
    one, other = api.agent(description="one")["id"], api.agent(description="other")["id"]
    names = {agent: f"cognive:cache:agent:{agent}" for agent in (one, other)}

    def command(*words):
        return redis.command("-n", 5, *words).strip()

    agent_of(service, reader, other)
    wait_until(lambda: command("GET", names[other]).startswith("V"), "it is there", 5)
    kept = command("GET", names[other])
    assert 0 < int(command("PTTL", names[other])) <= 300_000 and "other" in kept
    spoilt = [["SET", names[one], kept], ["SET", names[one], ""], ["SET", names[one], "V"], ["SET", names[one], "V" + "0" * 64 + " 9999999999999999 {}"],
              ["SET", names[one], "rubbish"], ["SET", names[one], "V" + "\xff" * 300], ["RPUSH", names[one], "a", "list"], ["SET", names[one], "Lsomebody"]]
    for words in spoilt:
        command("DEL", names[one])
        command(*words)
        for _ in range(2):
            found = agent_of(service, reader, one)
            assert found["id"] == one and found["description"] == "one", words
    forged = kept.replace("other", "forgd")
    agent_of(service, reader, one)
    assert command("GET", names[one]).startswith("V"), "what nobody has the lease of stands in nobody's way"
    command("SET", names[other], forged)
    assert agent_of(service, reader, other)["description"] == "other"
    assert counts(service)[2] >= 5
