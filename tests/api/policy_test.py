"""Policies: patterns decide as an independent matcher does, questions are answered in full, and what is no pattern is refused."""

import fnmatch
import os
import random
import re
import uuid

import pytest

from installation import llm_call, uuid7
from problems import check_problem, pointers
from reports import post_one, tool

LISTS = ("allowed_providers", "allowed_models", "allowed_tools", "allowed_data_sources")


def ask(api, agent_id, **question):
    """The answer to a question, as its status and body."""
    return api.post(f"/api/v1/agents/{agent_id}/check", json=question)


def subjects(api, agent_id, **question):
    """What of a question is refused."""
    answer = ask(api, agent_id, **question)
    assert answer.status_code == 200, answer.text
    body = answer.json()
    assert set(body) == {"allowed", "reasons"} and body["allowed"] == (body["reasons"] == [])
    assert all(set(reason) == {"subject", "detail"} and reason["detail"] for reason in body["reasons"])
    return [reason["subject"] for reason in body["reasons"]]


@pytest.mark.parametrize("patterns, allowed, refused", [
    ([], ["anything", "!"], []),
    (["gpt-4o"], ["gpt-4o", "GPT-4O"], ["gpt-4o-mini", "my-gpt-4o", "gpt-4"]),
    (["GPT-*"], ["gpt-", "gpt-4o", "Gpt-5"], ["gpt", "o3"]),
    (["*"], ["x", "x/y z"], []),
    (["?"], ["a", "*"], ["ab"]),
    (["gpt-?o*"], ["gpt-4o", "gpt-4o-mini"], ["gpt-o", "gpt-40"]),
    (["*mini*nano*"], ["a-mini-b-nano-c", "mininano"], ["nano-mini", "mini"]),
    (["a[bc]"], ["a[bc]"], ["ab", "ac"]),
    (["a.c", "x\\*"], ["a.c", "x\\yz"], ["abc", "x*"]),
    (["!gpt-*"], ["o3", "claude"], ["gpt-4o", "GPT-5"]),
    (["!gpt-*", "!o?"], ["claude", "o33"], ["gpt-4o", "o3"]),
    (["gpt-*", "!*-mini"], ["gpt-4o"], ["gpt-4o-mini", "o3", "o3-mini"]),
    (["!*-mini", "gpt-*"], ["gpt-4o"], ["gpt-4o-mini"]),
    (["!!x"], ["x", "y"], ["!x"]),
    (["!*"], [], ["x"]),
])
def test_patterns_are_globs_whatever_the_case_and_a_bang_forbids(api, patterns, allowed, refused):
    agent = api.agent(allowed_tools=patterns, allowed_data_sources=patterns, allowed_providers=patterns, allowed_models=patterns)["id"]
    for name in allowed:
        assert subjects(api, agent, tool=name, data_source=name, provider=name) == [], name
        assert subjects(api, agent, tool=name, data_source=name, provider=name, model=name) == [], name
    for name in refused:
        assert subjects(api, agent, tool=name, data_source=name, provider=name) == ["provider", "tool", "data_source"], name


def test_a_model_is_looked_for_by_its_name_and_as_provider_and_name(api):
    agent = api.agent(allowed_models=["openai/gpt-*", "claude-*", "!openai/*-mini"])["id"]
    assert subjects(api, agent, model="gpt-4o", provider="openai") == []
    assert subjects(api, agent, model="GPT-4o", provider="OpenAI") == []
    assert subjects(api, agent, model="gpt-4o", provider="azure") == ["model"]
    assert subjects(api, agent, model="gpt-4o-mini", provider="openai") == ["model"]
    assert subjects(api, agent, model="claude-x", provider="anyone") == []
    assert subjects(api, agent, model="claude-x") == []


def test_a_star_crosses_the_slash_of_provider_and_model(api):
    agent = api.agent(allowed_models=["open*4o"])["id"]
    assert subjects(api, agent, model="gpt-4o", provider="openai") == []
    assert subjects(api, agent, model="gpt-4o", provider="azure") == ["model"]


def test_a_restriction_of_providers_is_not_kept_by_a_model_whose_provider_nobody_knows(api):
    unknown = "model-" + uuid7()
    assert subjects(api, api.agent(allowed_providers=["openai"])["id"], model=unknown) == ["provider"]
    assert subjects(api, api.agent(allowed_providers=["openai", "!azure"])["id"], model=unknown) == ["provider"]
    assert subjects(api, api.agent(allowed_providers=["!azure"])["id"], model=unknown) == []
    assert subjects(api, api.agent(allowed_providers=["*"])["id"], model=unknown) == []
    assert subjects(api, api.agent()["id"], model=unknown) == []


@pytest.mark.parametrize("patterns", [["*", "openai"], ["**"]])
def test_a_list_that_allows_every_provider_allows_the_unknown_one(api, patterns):
    assert subjects(api, api.agent(allowed_providers=patterns)["id"], model="model-" + uuid7()) == []


def test_a_list_that_forbids_every_provider_forbids_the_unknown_one(api):
    assert subjects(api, api.agent(allowed_providers=["!*"])["id"], model="model-" + uuid7()) == ["provider"]


@pytest.mark.parametrize("policy", [{"allowed_providers": ["openai"]}, {"allowed_providers": ["!openai"]}, {"allowed_models": ["!openai/*"]},
                                    {"allowed_models": ["openai/*"]}])
def test_a_question_and_an_event_of_the_same_model_get_the_same_verdict(api, policy):
    agent = api.agent(**policy)["id"]
    told = post_one(api, llm_call(api.run(agent)["run_id"], provider=None, model="gpt-4o")).json()
    assert subjects(api, agent, model="gpt-4o") == ([told["violation"]] if "violation" in told else [])


# What is said: what it is priced as. `provider` absent: nobody says it.
ALIASES = [
    {"provider": "openai", "model": "gpt-4o"}, {"provider": "openai ", "model": "gpt-4o"}, {"provider": "\tOpenAI", "model": " GPT-4o\n"},
    {"provider": "litellm", "model": "openai/gpt-4o"}, {"provider": " LiteLLM", "model": "OpenAI /gpt-4o"}, {"provider": "litellm", "model": "gpt-4o"},
    {"provider": "my-openai-gateway", "model": "gpt-4o"}, {"model": " gpt-4o"}, {"provider": " ", "model": "gpt-4o"},
    {"provider": "openai", "model": "gpt-4o-2024-08-06"},
]


def verdicts(api, agent, said):
    """What is refused of a model, by a question and by an event, which must agree."""
    told = post_one(api, llm_call(api.run(agent)["run_id"], **{"provider": None} | said)).json()
    refused = subjects(api, agent, **said)
    assert refused == ([told["violation"]] if "violation" in told else []), said
    return refused


@pytest.mark.parametrize("policy, refused", [
    ({"allowed_providers": ["!openai"]}, ["provider"]), ({"allowed_providers": ["!OPENAI "]}, ["provider"]), ({"allowed_providers": ["azure"]}, ["provider"]),
    ({"allowed_models": ["!openai/gpt-4o"]}, ["model"]), ({"allowed_models": ["! GPT-4o"]}, ["model"]), ({"allowed_models": ["o3"]}, ["model"]),
    ({"allowed_providers": ["openai"]}, []), ({"allowed_models": ["openai/*"]}, []), ({"allowed_models": ["gpt-4o"]}, []),
    ({"allowed_providers": ["!azure"], "allowed_models": ["!azure/*", "!o3"]}, []),
])
def test_a_model_is_known_by_what_it_is_priced_as_however_it_is_written(api, policy, refused):
    agent = api.agent(**policy)["id"]
    for said in ALIASES:
        assert verdicts(api, agent, said) == refused, said


def test_a_provider_alone_is_known_by_what_it_is_priced_as(api):
    agent = api.agent(allowed_providers=["!openai"])["id"]
    for provider in ("openai", " OpenAI\t", "azure_openai"):
        assert subjects(api, agent, provider=provider) == ["provider"], provider
    assert subjects(api, agent, provider="azure") == subjects(api, agent, provider="litellm") == []


def test_a_call_is_known_by_what_it_says_as_well(api):
    agent = api.agent(allowed_providers=["litellm"], allowed_models=["openai/gpt-4o-2024-08-06"])["id"]
    assert verdicts(api, agent, {"provider": "litellm", "model": "openai/gpt-4o-2024-08-06"}) == []
    assert verdicts(api, api.agent(allowed_providers=["!litellm"])["id"], {"provider": "litellm", "model": "openai/gpt-4o"}) == ["provider"]


def test_a_model_that_nobody_prices_is_known_by_the_provider_behind_a_proxy(api):
    model = "openai/secret-" + uuid7()
    assert verdicts(api, api.agent(allowed_providers=["!openai"])["id"], {"provider": "litellm", "model": model}) == ["provider"]
    assert verdicts(api, api.agent(allowed_models=["!openai/*"])["id"], {"provider": "litellm", "model": model}) == ["model"]


def test_a_provider_is_the_one_that_is_called_even_at_the_rates_of_another(api):
    said = {"provider": "azure", "model": "gpt-4o"}
    assert verdicts(api, api.agent(allowed_providers=["!openai"], allowed_models=["!openai/*"])["id"], said) == []
    assert verdicts(api, api.agent(allowed_providers=["openai"])["id"], said) == ["provider"]
    assert verdicts(api, api.agent(allowed_models=["openai/*"])["id"], said) == ["model"]
    assert verdicts(api, api.agent(allowed_models=["azure/gpt-4o"])["id"], said) == []


@pytest.mark.parametrize("padded", ["shell ", " shell", "\tSHELL\n"])
def test_blanks_around_tools_and_data_sources_hide_nothing(api, padded):
    agent = api.agent(allowed_tools=["!shell"], allowed_data_sources=["! shell "])["id"]
    assert subjects(api, agent, tool=padded, data_source=padded) == ["tool", "data_source"]
    run_id = api.run(agent)["run_id"]
    assert post_one(api, tool(run_id, tool=padded)).json()["violation"] == "tool"
    assert post_one(api, tool(run_id, data_source=padded)).json()["violation"] == "data_source"


def test_a_question_mark_stands_for_one_character_of_any_script(api):
    agent = api.agent(allowed_tools=["caf?"])["id"]
    assert subjects(api, agent, tool="cafe") == []
    assert subjects(api, agent, tool="café") == []
    agent = api.agent(allowed_tools=["*??"])["id"]
    assert subjects(api, agent, tool="é") == subjects(api, agent, tool="😀") == ["tool"]
    assert subjects(api, agent, tool="é😀") == subjects(api, agent, tool="a€é") == subjects(api, agent, tool="é" * 256) == []


def test_the_case_of_letters_beyond_a_to_z_counts(api):
    agent = api.agent(allowed_tools=["ÄRGER"])["id"]
    assert subjects(api, agent, tool="Ärger") == []
    assert subjects(api, agent, tool="ärger") == ["tool"]


def test_every_reason_is_told(api):
    agent = api.agent(allowed_models=["o3"], allowed_tools=["calculator"], allowed_data_sources=["!payroll"])["id"]
    answer = ask(api, agent, model="gpt-4o", tool="shell", data_source="payroll").json()
    assert answer["allowed"] is False
    assert [reason["subject"] for reason in answer["reasons"]] == ["model", "tool", "data_source"]
    assert [name in reason["detail"] for name, reason in zip(("gpt-4o", "shell", "payroll"), answer["reasons"], strict=True)] == [True] * 3
    assert subjects(api, agent, model="gpt-4o", tool="calculator") == ["model"]
    assert subjects(api, agent, tool="calculator", data_source="weather") == []


def test_an_agent_that_is_not_active_may_use_nothing(api):
    agent = api.agent(allowed_tools=["calculator"])["id"]
    api.patch(f"/api/v1/agents/{agent}", json={"status": "suspended"})
    assert subjects(api, agent, tool="calculator") == ["agent"]
    assert subjects(api, agent, tool="shell") == ["agent", "tool"]
    api.patch(f"/api/v1/agents/{agent}", json={"status": "active"})
    assert subjects(api, agent, tool="calculator") == []
    api.post(f"/api/v1/agents/{agent}/archive")
    assert subjects(api, agent, tool="calculator") == ["agent"]


def test_a_change_of_policy_is_in_the_next_answer(api):
    agent = api.agent(allowed_tools=["a"])["id"]
    for number in range(20):
        api.patch(f"/api/v1/agents/{agent}", json={"allowed_tools": [f"t{number}"]})
        assert subjects(api, agent, tool=f"t{number}") == []
        assert subjects(api, agent, tool=f"t{number + 1}") == ["tool"]
    api.patch(f"/api/v1/agents/{agent}", json={"allowed_tools": []})
    assert subjects(api, agent, tool="whatever") == []


def test_a_question_is_answered_for_agents_that_the_key_may_see_only(installation, api):
    team = "asking-" + uuid7()
    ours = installation.api(installation.team_key(team, "agents:read"))
    first, second = (api.agent(team=team)["id"] for _ in range(2))
    key = installation.team_key(team, "agents:read")
    # No command binds a key to an agent; the server has not seen this one yet, so it remembers nothing of it.
    installation.sql("UPDATE api_keys SET agent_id = %s WHERE id = %s", first, str(uuid.UUID(key.split("_")[1])))
    bound = installation.api(key)
    assert ask(ours, first, tool="x").status_code == ask(ours, second, tool="x").status_code == ask(bound, first, tool="x").status_code == 200
    check_problem(ask(bound, second, tool="x"), 404)
    check_problem(ask(ours, api.agent()["id"], tool="x"), 404)
    check_problem(ask(api, uuid7(), tool="x"), 404)
    writer = installation.api(installation.team_key(team, "agents:write"))
    assert "agents:read" in check_problem(ask(writer, first, tool="x"), 403)["detail"]


def test_a_question_records_nothing(installation, api):
    agent = api.agent(allowed_tools=["a"])["id"]
    before = installation.sql("SELECT count(*) FROM audit_logs")
    assert subjects(api, agent, tool="b") == ["tool"]
    assert installation.sql("SELECT count(*) FROM audit_logs") == before


def test_a_question_names_something_and_nothing_else(api):
    agent = api.agent()["id"]
    assert pointers(ask(api, agent)) == [""]
    assert pointers(ask(api, agent, tool=None)) == [""]
    assert pointers(ask(api, agent, colour="red")) == ["/colour"]
    assert pointers(ask(api, agent, tool="", model="m" * 257, provider="p" * 129, data_source=7)) == ["/data_source", "/model", "/provider", "/tool"]
    check_problem(api.post("/api/v1/agents/rubbish/check", json={"tool": "x"}), 422)


@pytest.mark.parametrize("name", LISTS)
@pytest.mark.parametrize("pattern", ["", "!", " ", "! ", "x" * 257, "ü" * 129],
                         ids=["empty", "nothing forbidden", "a blank", "a blank forbidden", "too long", "too many bytes"])
def test_what_is_no_pattern_is_refused_with_a_pointer(api, name, pattern):
    agent = api.agent()
    body = {name: ["fine", pattern]}
    for answer in (api.post("/api/v1/agents", json={"name": uuid7()} | body), api.patch(f"/api/v1/agents/{agent['id']}", json=body),
                   api.put("/api/v1/agents", json={"name": agent["name"]} | body)):
        assert pointers(answer) == [f"/{name}/1"]
    assert api.get(f"/api/v1/agents/{agent['id']}").json() == agent


@pytest.mark.parametrize("name", LISTS)
def test_each_pattern_that_is_none_is_told_with_its_place(api, name):
    answer = api.post("/api/v1/agents", json={"name": uuid7(), name: ["", "fine", "!", "ü" * 129, 7, "x" * 257, "fine"]})
    assert pointers(answer) == [f"/{name}/{index}" for index in (0, 2, 3, 4, 5)]


@pytest.mark.parametrize("before", ["", "x", "xx", "xxx"])
@pytest.mark.parametrize("character", ["ü", "€", "😀"])
def test_a_refused_pattern_is_shown_in_whole_characters(api, before, character):
    pattern = before + character * 200
    answer = api.post("/api/v1/agents", json={"name": uuid7(), "allowed_tools": [pattern]})
    (fault,) = check_problem(answer, 422)["errors"]
    shown = fault["rejected"].strip('"').rstrip("…")
    assert pattern.startswith(shown) and 61 <= len(shown.encode()) <= 64


def test_faults_of_all_lists_are_told_at_once(api):
    answer = api.post("/api/v1/agents", json={"name": uuid7()} | {name: [""] for name in LISTS} | {"on_violation": "shout", "store": "some", "silence_timeout_s": -1})
    assert pointers(answer) == sorted([*(f"/{name}/0" for name in LISTS), "/on_violation", "/store", "/silence_timeout_s"])


@pytest.mark.parametrize("name", LISTS)
def test_the_longest_pattern_is_kept_and_read_back(api, name):
    patterns = ["x" * 256, "*" * 256, "ü" * 128]
    assert api.agent(**{name: patterns})[name] == patterns


def test_a_pattern_of_many_stars_is_decided_quickly(api):
    agent = api.agent(allowed_tools=["*a" * 128])["id"]
    assert ask(api, agent, tool="a" * 255 + "b", data_source="x").elapsed.total_seconds() < 2
    assert subjects(api, agent, tool="a" * 255 + "b") == ["tool"]
    assert subjects(api, agent, tool="a" * 256) == []


# --- agreement with an independent matcher ----------------------------------------------------------------------------


def is_match(pattern, name):
    """Whether a glob matches, as Python's own globs see it once brackets are only brackets."""
    return re.compile(fnmatch.translate(pattern.replace("[", "[[]")), re.IGNORECASE | re.ASCII).match(name) is not None


def allows(patterns, *names):
    """Whether a list of patterns allows something known by these names."""
    forbidding = [pattern[1:] for pattern in patterns if pattern.startswith("!")]
    allowing = [pattern for pattern in patterns if not pattern.startswith("!")]
    if any(is_match(pattern, name) for pattern in forbidding for name in names):
        return False
    return not allowing or any(is_match(pattern, name) for pattern in allowing for name in names)


def refused_by(policy, question):
    """What a policy refuses of a question."""
    found = []
    provider, model = question.get("provider"), question.get("model")
    if provider is not None and not allows(policy["allowed_providers"], provider):
        found.append("provider")
    elif model is not None and not allows(policy["allowed_models"], model, *([f"{provider}/{model}"] if provider else [])):
        found.append("model")
    for subject in ("tool", "data_source"):
        if subject in question and not allows(policy[f"allowed_{subject}s"], question[subject]):
            found.append(subject)
    return found


def random_pattern(chance):
    """A short pattern over few letters, so that many match."""
    text = "".join(chance.choice("aabBA*?*/-[].!é") for _ in range(chance.randint(1, 5)))
    text = chance.choice(["", "", "!"]) + text
    return text if text != "!" else "*"


def test_random_patterns_decide_as_an_independent_matcher_does(api):
    chance = random.Random(20261124)
    agent = api.agent()["id"]
    verdicts = set()
    for _ in range(600 if os.environ.get("COGNIVE_LONG") else 60):
        policy = {name: [random_pattern(chance) for _ in range(chance.choice([0, 1, 1, 2, 3]))] for name in LISTS}
        assert api.patch(f"/api/v1/agents/{agent}", json=policy).status_code == 200
        for _ in range(6):
            # With a provider always: what an unknown one means is tested apart.
            question = {name: "".join(chance.choice("aabBA/-[].!*é") for _ in range(chance.randint(1, 5)))
                        for name in ("provider", *chance.sample(["model", "tool", "data_source"], chance.randint(0, 3)))}
            expected = refused_by(policy, question)
            assert subjects(api, agent, **question) == expected, (policy, question)
            verdicts.add(tuple(expected))
    assert {(), ("provider",), ("model",), ("tool",), ("provider", "tool", "data_source"), ("model", "tool")} <= verdicts
