"""Large policies: no list of patterns and no name makes the server slow or large, and others are answered meanwhile."""

import threading
import time

import pytest

from installation import uuid7
from reports import post_batch, step, tool

LISTS = ("allowed_providers", "allowed_models", "allowed_tools", "allowed_data_sources")
PATTERNS = 256
PATTERN_BYTES = 256


def hostile_patterns(wildcard):
    """As many patterns as a list takes, each half as long as the names: so many places to begin at, and so far to go from each."""
    return [(f"*{wildcard}" + "a" * PATTERN_BYTES)[:PATTERN_BYTES // 2 - number % 16] + "b" for number in range(PATTERNS)]


class Liveness:
    """Asks again and again whether the server lives, over connections of its own; the slowest answer, in seconds."""

    def __init__(self, installation, threads=4):
        self.installation = installation
        self.slowest = 0.0
        self.failures = []
        self.over = threading.Event()
        self.threads = [threading.Thread(target=self.ask) for _ in range(threads)]

    def ask(self):
        """Until it is over."""
        while not self.over.is_set():
            api = self.installation.api()  # another connection may belong to another I/O thread
            before = time.monotonic()
            answer = api.get("/api/v1/health/liveness")
            self.slowest = max(self.slowest, time.monotonic() - before)
            if answer.status_code != 200:
                self.failures.append(answer.text)
            api.session.close()

    def __enter__(self):
        for thread in self.threads:
            thread.start()
        return self

    def __exit__(self, *error):
        self.over.set()
        for thread in self.threads:
            thread.join()


@pytest.mark.parametrize("kind", ["tool", "model"])
@pytest.mark.parametrize("wildcard", ["", "?", "a*", "a?*?"])
def test_many_names_against_many_hostile_patterns_are_decided_quickly_and_others_are_answered_meanwhile(installation, api, kind, wildcard):
    agent = api.agent(**{f"allowed_{kind}s": hostile_patterns(wildcard), "allowed_providers": ["*"]})["id"]
    run_id = api.run(agent)["run_id"]
    names = [f"{number:04}".translate(str.maketrans("0123456789", "acdefghijk")) + "a" * 240 for number in range(500)]
    events = [tool(run_id, tool=name) if kind == "tool" else
              {"type": "llm_call", "id": uuid7(), "run_id": run_id, "provider": "litellm", "model": f"openai/{name}"} for name in names]
    with Liveness(installation) as liveness:
        before = time.monotonic()
        answer = post_batch(api, events)
        seconds = time.monotonic() - before
    assert answer["accepted"] == 500 and len(answer["violations"]) == 500
    assert seconds < 5, seconds
    assert not liveness.failures and liveness.slowest < 1, liveness.slowest


def test_the_policy_of_an_agent_is_read_once_however_many_of_its_runs_report(fresh):
    installation = fresh().start()
    api = installation.api()
    patterns = [f"!{number:04}" + "x" * (PATTERN_BYTES - 5) for number in range(PATTERNS)]
    agent = api.agent(**{name: patterns for name in LISTS})["id"]

    def peak():
        """The most memory that the server has had, in bytes."""
        for line in open(f"/proc/{installation.process.pid}/status"):
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) * 1024
        raise AssertionError("no VmHWM")

    def report(runs):
        return post_batch(api, [step(run_id, agent_id=agent) for run_id in runs])

    runs = [uuid7() for _ in range(1000)]
    report(runs[:1])
    before = peak()
    assert report(runs)["accepted"] == 1000
    assert report(runs)["accepted"] == 1000
    # A quarter of a megabyte is the size of the policy.
    assert peak() - before < 64 << 20
