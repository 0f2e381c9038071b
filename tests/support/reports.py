"""Events of the kinds that `installation.llm_call` does not make, and the two ways to report them."""

from installation import uuid7

TIMESTAMP = "2026-11-23T06:02:00.123456Z"
SINGLE_ROUTES = {"llm_call": "llm-calls", "tool_invocation": "tool-invocations", "step": "steps"}


def step(run_id, **attributes):
    """A step event with sensible content."""
    return {"type": "step", "id": uuid7(), "run_id": run_id, "timestamp": TIMESTAMP, "index": 3, "kind": "llm", "name": "plan"} | attributes


def tool(run_id, **attributes):
    """A tool invocation event with sensible content."""
    return {"type": "tool_invocation", "id": uuid7(), "run_id": run_id, "timestamp": TIMESTAMP, "tool": "search_flights"} | attributes


def post_one(api, event):
    """Report an event alone, by the route of its kind."""
    return api.post(f"/api/v1/runs/{event['run_id']}/{SINGLE_ROUTES[event['type']]}", json=event)


def post_batch(api, events):
    """Report events together; the answer's body."""
    answer = api.post("/api/v1/events", json=events)
    assert answer.status_code == 200, answer.text
    return answer.json()


def run_of(api, run_id):
    """A run with its totals."""
    answer = api.get(f"/api/v1/runs/{run_id}")
    assert answer.status_code == 200, answer.text
    return answer.json()
