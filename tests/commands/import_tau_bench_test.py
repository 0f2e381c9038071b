"""`cognive import tau-bench`: trajectories become runs with their turns, once, and what was said is kept only where the policy says so."""

import copy
import json
import re
import subprocess
from collections import Counter
from pathlib import Path

import pytest

from installation import BINARY, ROOT, clean_environment, uuid7, wait_until

SAMPLE = ROOT / "tests/data/tau_bench_trajectories.json"
FULL = (ROOT / "../shared/data/tau_bench_gpt-4o_airline_trials01.json").resolve()
FILES = [SAMPLE, pytest.param(FULL, marks=pytest.mark.skipif(not FULL.exists(), reason="the trajectories of tau-bench are not here"))]


def expected(path):
    """The counts of a file, without a word of the importer."""
    trajectories = json.loads(path.read_text())
    roles = Counter(message["role"] for one in trajectories for message in one["traj"])
    succeeded = sum(one["reward"] >= 1 for one in trajectories)
    turns = sum(roles.values())
    return {"runs": len(trajectories), "succeeded": succeeded, "failed": len(trajectories) - succeeded, "turns": turns,
            "llm_calls": roles["assistant"], "tool_invocations": roles["tool"], "events": turns + roles["assistant"] + roles["tool"]}


def import_file(installation, path, agent, *flags, model="gpt-4o"):
    """Import and return the summary."""
    done = installation.cli("import", "tau-bench", path, "--agent", agent, "--model", model, "--json", *flags)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def runs_of(installation, agent_id):
    """The runs of an agent by task and trial."""
    api = installation.api()
    runs, cursor = [], None
    while True:
        page = api.get("/api/v1/runs", params={"agent_id": agent_id, "limit": 100} | ({"cursor": cursor} if cursor else {})).json()
        runs += page["items"]
        cursor = page.get("next_cursor")
        if not cursor:
            return {(run["labels"]["task_id"], run["labels"]["trial"]): run for run in runs}


def everything(installation, agent_id):
    """All rows of an agent: nothing may change by a second import."""
    return [installation.sql(f"SELECT e.* FROM {table} e JOIN agent_runs r ON r.id = e.run_id WHERE r.agent_id = %s ORDER BY e.id", agent_id)
            for table in ("execution_steps", "llm_calls", "tool_invocations")] + [
            installation.sql("SELECT * FROM agent_runs WHERE agent_id = %s ORDER BY id", agent_id)]


def expected_timeline(trajectory):
    """What the timeline of a trajectory must be: depth, type, name and index of each moment."""
    messages = trajectory["traj"]
    asked_by = {}
    under = {i: [] for i in range(len(messages))}
    for i, message in enumerate(messages):
        for call in message.get("tool_calls") or []:
            asked_by[call["id"]] = i
        if message["role"] == "assistant":
            under[i].append((1, "llm_call", "gpt-4o", None, "ok"))
        if message["role"] == "tool":
            under[asked_by[message["tool_call_id"]]].append(
                (1, "tool_invocation", message["name"], None, "error" if message["content"].startswith("Error") else "ok"))
    for i, message in enumerate(messages):
        names = {"system": "system prompt", "user": "user message", "tool": message.get("name"),
                 "assistant": "tool call" if message.get("tool_calls") else "reply"}
        status = ("error" if message["content"].startswith("Error") else "ok") if message["role"] == "tool" else None
        yield (0, "step", names[message["role"]], i, status)
        yield from under[i]


@pytest.mark.parametrize("path", FILES)
def test_trajectories_become_runs_with_their_turns_in_order_and_once(installation, path):
    agent = "turns-" + uuid7()
    counts = expected(path)
    summary = import_file(installation, path, agent)
    assert summary == counts | {"agent_id": summary["agent_id"], "accepted": counts["events"], "duplicates": 0, "ended_otherwise": 0}
    runs = runs_of(installation, summary["agent_id"])
    assert len(runs) == counts["runs"]
    api = installation.api()
    for trajectory in json.loads(path.read_text()):
        run = runs[str(trajectory["task_id"]), str(trajectory["trial"])]
        succeeded = trajectory["reward"] >= 1
        assert (run["status"], run["error"]) == (("succeeded", None) if succeeded else ("failed", f"reward {trajectory['reward']}"))
        assert run["labels"] == {"task_id": str(trajectory["task_id"]), "trial": str(trajectory["trial"]), "source": path.name}
        items = api.get(f"/api/v1/runs/{run['run_id']}/timeline").json()["items"]
        assert [(one["depth"], one["type"], one["name"], one["index"], one["status"]) for one in items] == list(expected_timeline(trajectory))
        assert [one["kind"] for one in items if one["type"] == "step"] == [message["role"] for message in trajectory["traj"]]
        assert all(one["error"] in (None, "The tool answered with an error.") for one in items)
        # The file does not know the usage, so nobody does: it is not zero.
        calls = [one for one in items if one["type"] == "llm_call"]
        assert all(one["input_tokens"] is one["output_tokens"] is one["cost_usd"] is None for one in calls)
    before = everything(installation, summary["agent_id"])
    assert [len(rows) for rows in before] == [counts["turns"], counts["llm_calls"], counts["tool_invocations"], counts["runs"]]
    assert import_file(installation, path, agent) == summary | {"accepted": 0, "duplicates": counts["events"]}
    assert everything(installation, summary["agent_id"]) == before


def words_of(path):
    """What must not be found where nothing is kept: long words and addresses of people, other than names that are kept anyway."""
    trajectories = json.loads(path.read_text())
    said = []
    names = {path.name, "gpt-4o"}
    for message in (message for one in trajectories for message in one["traj"]):
        said.append(message["content"] or "")
        said += [call["function"]["arguments"] for call in message.get("tool_calls") or []]
        names |= {message["role"], message.get("name", "")}
    text = "\n".join(said)
    words = set(re.findall(r"[\w.]+@[\w.]+\w", text)) | set(re.findall(r"[A-Za-z_]{12,}", text))
    return {word for word in words if not any(word.lower() in name.lower() for name in names)}


def found(words, text):
    """Those of the words that a text has."""
    text = text.lower()
    return {word for word in words if word.lower() in text}


@pytest.mark.parametrize("path", FILES)
def test_words_are_kept_only_if_told(fresh, path):
    installation = fresh().start()

    def dump():
        return subprocess.run(["pg_dump", "--dbname", installation.variables["DATABASE_URL"]], capture_output=True, text=True, timeout=60, check=True).stdout

    # What the product says itself (comments of columns, permissions) tells nothing.
    words = words_of(path) - found(words_of(path), dump())
    assert len(words) > 4 and any("@" in word for word in words)
    summary = import_file(installation, path, "quiet")
    assert not found(words, dump())
    logs = [Path(installation.log.name), *installation.directory.rglob("*.log")]
    assert not found(words, "\n".join(log.read_text(errors="replace") for log in logs))

    full = import_file(installation, path, "loud", "--store", "full")
    assert full["accepted"] == summary["accepted"]
    runs = runs_of(installation, full["agent_id"])
    for trajectory in json.loads(path.read_text()):
        run = runs[str(trajectory["task_id"]), str(trajectory["trial"])]
        events = installation.api().get(f"/api/v1/runs/{run['run_id']}/replay").json()["events"]
        calls = [one["content"] for one in events if one["type"] == "llm_call"]
        heard = [message for call in calls for message in [*call.get("input", []), call["output"]]]
        heard += [one["content"]["input"] for one in events if one["type"] == "step" and one["content"] and "input" in one["content"]]
        last = max((i for i, message in enumerate(trajectory["traj"]) if message["role"] == "assistant"), default=-1)
        assert heard == [message for i, message in enumerate(trajectory["traj"]) if i <= last or message["role"] != "tool"]
        results = Counter(one["content"]["result"] for one in events if one["type"] == "tool_invocation")
        assert results == Counter(message["content"] for message in trajectory["traj"] if message["role"] == "tool")
    logs = [Path(installation.log.name), *installation.directory.rglob("*.log")]
    assert not found(words, "\n".join(log.read_text(errors="replace") for log in logs))


@pytest.mark.parametrize("path", FILES)
def test_redacted_turns_are_kept_without_an_address_in_the_database_or_a_log(fresh, path):
    installation = fresh().start()
    addresses = {word for word in words_of(path) if "@" in word}
    words = words_of(path) - addresses
    assert addresses
    summary = import_file(installation, path, "masked", "--store", "redacted")
    assert summary["accepted"] == summary["events"]
    dump = subprocess.run(["pg_dump", "--dbname", installation.variables["DATABASE_URL"]], capture_output=True, text=True, timeout=60, check=True).stdout
    assert not found(addresses, dump)
    # The rest of what was said is there.
    assert "[email]" in dump and len(found(words, dump)) > len(words) * 0.9
    logs = [Path(installation.log.name), *installation.directory.rglob("*.log")]
    assert not found(addresses | words, "\n".join(log.read_text(errors="replace") for log in logs))


def test_arguments_are_kept_as_values_and_what_is_not_json_as_text(installation):
    summary = import_file(installation, SAMPLE, "arguments-" + uuid7(), "--store", "full")
    run = runs_of(installation, summary["agent_id"])["0", "0"]
    events = installation.api().get(f"/api/v1/runs/{run['run_id']}/replay").json()["events"]
    assert [one["content"]["arguments"] for one in events if one["type"] == "tool_invocation"] == [
        {"email": "philomena.quartermaine@example.org"}, '{"member_id": "m_4711", "instrument": "bandoneon"',
        {"member_id": "m_4711", "instrument": "bandoneon", "days": 14}]


@pytest.mark.parametrize("store, kept", [("none", []), ("metadata", ["bytes", "items", "type"]), ("hashed", ["bytes", "hmac_sha256", "items", "type"])])
def test_the_policy_can_be_set_and_decides_what_is_kept(installation, store, kept):
    agent = f"{store}-{uuid7()}"
    summary = import_file(installation, SAMPLE, agent, "--store", store)
    assert installation.api().get(f"/api/v1/agents/{summary['agent_id']}").json()["store"] == store
    contents = installation.sql("SELECT content FROM llm_calls WHERE agent_id = %s", summary["agent_id"])
    assert len(contents) == summary["llm_calls"]
    assert all(sorted(content["output"]) == kept if kept else content is None for (content,) in contents)


def test_an_import_leaves_a_known_agent_as_it_is_unless_told(installation, api):
    agent = api.agent("kept-" + uuid7(), description="mine", environment="production", store="hashed")
    import_file(installation, SAMPLE, agent["name"])
    assert api.get(f"/api/v1/agents/{agent['id']}").json() == agent
    import_file(installation, SAMPLE, agent["name"], "--store", "none")
    changed = api.get(f"/api/v1/agents/{agent['id']}").json()
    assert changed == agent | {"store": "none", "updated_at": changed["updated_at"]}


def test_a_second_agent_has_the_same_file_as_runs_of_its_own(installation):
    one = import_file(installation, SAMPLE, "first-" + uuid7())
    other = import_file(installation, SAMPLE, "second-" + uuid7())
    assert other == one | {"agent_id": other["agent_id"]} and other["accepted"] == other["events"]


def test_the_report_for_people_has_the_counts(installation):
    done = installation.cli("import", "tau-bench", SAMPLE, "--agent", "desk", "--model", "gpt-4o", "--provider", "azure", "--environment", "demo")
    assert done.returncode == 0, done.stderr
    counts = expected(SAMPLE)
    assert f"{counts['events']} events of agent desk (gpt-4o): {counts['events']} new, 0 known already" in done.stdout
    assert [line.split() for line in done.stdout.splitlines()][-1] == [
        str(counts[name]) for name in ("runs", "succeeded", "failed", "turns", "llm_calls", "tool_invocations")]
    assert installation.sql("SELECT DISTINCT a.environment, c.provider FROM agents a JOIN llm_calls c ON c.agent_id = a.id WHERE a.name = 'desk'") == [
        ("demo", "azure")]


# --- on the way -------------------------------------------------------------------------------------------------------


def test_an_import_killed_with_its_server_is_completed_by_a_repeat(fresh, tmp_path):
    trajectories = [one | {"task_id": i} for i in range(120) for one in copy.deepcopy(json.loads(SAMPLE.read_text()))]
    path = tmp_path / "many.json"
    path.write_text(json.dumps(trajectories))
    counts = expected(path)
    installation = fresh().start()
    command = [BINARY, "import", "tau-bench", path, "--agent", "many", "--model", "gpt-4o"]
    importer = subprocess.Popen(command, env=clean_environment(COGNIVE_DATA=installation.directory), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        wait_until(lambda: installation.sql("SELECT count(*) FROM execution_steps")[0][0] > 300, "the import under way")
        installation.kill()
        assert importer.poll() is None, "the import was over before the kill"
    finally:
        importer.kill()
        importer.wait()
    installation.start()
    ((kept,),) = installation.sql("SELECT (SELECT count(*) FROM execution_steps) + (SELECT count(*) FROM llm_calls) + (SELECT count(*) FROM tool_invocations)")
    assert 300 < kept < counts["events"]
    summary = import_file(installation, path, "many")
    assert (summary["accepted"], summary["duplicates"]) == (counts["events"] - kept, kept)
    assert [len(rows) for rows in everything(installation, summary["agent_id"])] == [
        counts["turns"], counts["llm_calls"], counts["tool_invocations"], counts["runs"]]
    assert dict(installation.sql("SELECT status, count(*) FROM agent_runs GROUP BY 1")) == {"succeeded": counts["succeeded"], "failed": counts["failed"]}
    assert import_file(installation, path, "many")["duplicates"] == counts["events"]


def test_a_run_that_was_terminated_is_left_so(installation, api):
    agent = "ended-" + uuid7()
    agent_id = api.agent(agent, on_violation="terminate", allowed_tools=["find_member", "lend_instrument"])["id"]
    summary = import_file(installation, SAMPLE, agent)
    assert summary["ended_otherwise"] == 1 and summary["accepted"] == summary["events"]
    assert Counter(run["status"] for run in runs_of(installation, agent_id).values()) == {"succeeded": 1, "terminated": 1, "failed": 1}
    assert import_file(installation, SAMPLE, agent) == summary | {"accepted": 0, "duplicates": summary["events"]}


def test_the_same_file_as_calls_of_another_model_is_a_conflict_that_names_the_messages(installation):
    agent = "models-" + uuid7()
    counts = expected(SAMPLE)
    before = everything(installation, import_file(installation, SAMPLE, agent)["agent_id"])
    done = installation.cli("import", "tau-bench", SAMPLE, "--agent", agent, "--model", "gpt-4o-mini")
    assert done.returncode == 1
    assert f"rejected {counts['llm_calls']} of {counts['events']} events" in done.stderr
    assert "trajectory 0, message 2 (/0/traj/2)" in done.stderr and "conflict" in done.stderr
    agent_id = installation.sql("SELECT id FROM agents WHERE name = %s", agent)[0][0]
    assert everything(installation, agent_id) == before


GOOD = {"task_id": 0, "trial": 0, "reward": 1.0, "traj": [{"role": "user", "content": "Philomena"}]}


def with_message(message):
    """A file whose second trajectory has a second message."""
    return json.dumps([GOOD, GOOD | {"traj": [*GOOD["traj"], message]}])


@pytest.mark.parametrize("content, said", [
    ("", ["not JSON", "empty"]),
    ("{}", ["array"]),
    ("[]", ["no trajectories"]),
    ("[5]", ["trajectory 0", "object"]),
    (json.dumps([GOOD])[:-1], ["not JSON"]),
    (json.dumps([GOOD, GOOD]).replace("}]}]", "},]}]"), ["not JSON", "trajectory 1"]),
    (json.dumps([{**GOOD, "reward": None}]), ["trajectory 0", "reward"]),
    (json.dumps([GOOD, {**GOOD, "traj": None}]), ["trajectory 1", "traj must be"]),
    (json.dumps([{"trial": 0, "reward": 1, "traj": []}]), ["trajectory 0", "task_id"]),
    (with_message({"content": "Philomena"}), ["trajectory 1, message 1", "role"]),
    (with_message({"role": "Philomena", "content": "x"}), ["trajectory 1, message 1", "role must be"]),
    (with_message({"role": "tool", "tool_call_id": "Philomena", "name": "x", "content": "x"}), ["trajectory 1, message 1", "tool_call_id"]),
    (with_message({"role": "assistant", "tool_calls": [{"id": "x", "function": {"name": "", "arguments": "Philomena"}}]}),
     ["trajectory 1, message 1", "tool call 0's function.name"]),
    (json.dumps([GOOD | {"traj": [{}] * 7}]), ["7 faults", "trajectory 0, message 0", "trajectory 0, message 4"]),
])
def test_what_is_malformed_is_named_without_a_word_of_it_and_nothing_is_stored(installation, tmp_path, content, said):
    path = tmp_path / "broken.json"
    path.write_text(content)
    agent = "broken-" + uuid7()
    done = installation.cli("import", "tau-bench", path, "--agent", agent, "--model", "gpt-4o", "--json")
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith(f"cognive: {path}")
    assert all(word in done.stderr for word in said), done.stderr
    assert "Philomena" not in done.stderr
    assert installation.sql("SELECT count(*) FROM agents WHERE name = %s", agent) == [(0,)]


def test_a_policy_that_does_not_exist_is_refused(installation):
    done = installation.cli("import", "tau-bench", SAMPLE, "--agent", "x", "--model", "gpt-4o", "--store", "some")
    assert done.returncode != 0 and "--store" in done.stderr and "redacted" in done.stderr


def test_a_file_that_cannot_be_read_is_named(installation, tmp_path):
    for path in (tmp_path / "nowhere.json", tmp_path):
        done = installation.cli("import", "tau-bench", path, "--agent", "x", "--model", "gpt-4o")
        assert done.returncode == 1 and done.stderr.startswith(f"cognive: {path} cannot be read")
