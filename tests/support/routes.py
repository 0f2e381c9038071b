"""The operations of the OpenAPI document as routes to send bodies to, with a valid sample body of each that takes an object.

What each field takes comes from the document, so that a new route is covered as soon as it has a sample body here.
"""

import json

from installation import run_cognive, uuid7

DOCUMENT = json.loads(run_cognive("openapi").stdout)
TIME = "2026-11-23T06:02:00.123456Z"

# A valid body per operation; `agent` and `run` stand for the ids of existing ones, `new` for a fresh id.
SAMPLES = {
    "team_create": {"name": "new"},
    "team_update": {"name": "new"},
    "session_begin": {"email": "nobody@example.com", "password": "not a password"},
    "session_refresh": {"refresh_token": "cgr_nothing"},
    "password_change": {"current_password": "not a password", "new_password": "a new password"},
    "user_create": {"email": "created@example.com", "name": "Sampled", "password": "a first password", "roles": []},
    "user_update": {"name": "renamed", "status": "active", "roles": []},
    "member_put": {"email": "sampled@example.com", "role": "viewer"},
    "api_key_create": {"name": "sampled", "team": "default", "agent_id": "agent", "permissions": ["events:write"], "expires_at": "2036-11-23T06:02:00Z"},
    "api_key_rotate": {"overlap_s": 60},
    "agent_create": {"name": "new", "team": "default", "description": "d", "framework": "custom", "environment": "production",
                     "version": "1", "status": "active", "allowed_providers": ["openai"], "allowed_models": ["gpt-*"],
                     "allowed_tools": [], "allowed_data_sources": [], "on_violation": "record", "store": "none", "silence_timeout_s": 3600,
                     "labels": {"a": "b"}, "metadata": {"a": 1}},
    "agent_put": {"name": "new", "labels": {"a": "b"}},
    "agent_update": {"version": "2"},
    "agent_check": {"provider": "openai", "model": "gpt-4o", "tool": "search", "data_source": "crm"},
    "run_start": {"agent_id": "agent", "run_id": "new", "session_id": "s", "labels": {"a": "b"}, "metadata": {"a": [1]},
                  "status": "running", "started_at": TIME},
    "run_end": {"status": "succeeded", "error": "none", "ended_at": "2026-11-23T07:00:00Z"},
    "run_terminate": {"reason": "it burns money"},
    "price_override_create": {"id": "new", "team": "default", "provider": "acme", "model": "sampled", "effective_from": TIME, "rates": {"input_mtok": 2},
                              "windows": [{"from": "22:00:00", "to": "06:00:00", "rates": {"input_mtok": 1}}], "note": "a deal"},
    "charges_reprice": {"from": "2026-11-01T00:00:00Z", "to": "2026-11-01T00:00:01Z", "team": "default", "agent_id": "agent", "provider": "acme",
                        "model": "sampled", "dry_run": True, "id": "new"},
    "step_create": {"id": "new", "timestamp": TIME, "index": 3, "kind": "llm", "name": "plan", "metadata": {"a": 1}},
    "llm_call_create": {"id": "new", "timestamp": TIME, "provider": "openai", "model": "gpt-4o", "usage": {"input_tokens": 10},
                        "status": "ok", "duration_ms": 12, "metadata": {"a": 1}},
    "tool_invocation_create": {"id": "new", "timestamp": TIME, "tool": "search", "data_source": "crm", "status": "error", "error": "timeout"},
    "budget_create": {"id": "new", "name": "sampled", "scope": "organisation", "provider": "acme", "model": "sampled*", "window": "day",
                      "time_zone": "Europe/Berlin", "limit_usd": 1, "hard_stop": False, "thresholds": [50, 100], "assumed_usd_per_call": 0.01, "enabled": True},
    "budget_update": {"name": "renamed", "limit_usd": 2, "hard_stop": False, "thresholds": [90], "enabled": True},
    "budget_authorize": {"reservation_id": "new", "agent_id": "agent", "run_id": "run", "provider": "openai", "model": "gpt-4o", "max_cost_usd": 0.01,
                         "usage": {"input_tokens": 10}, "expires_in_s": 60},
    "reservation_renew": {"expires_in_s": 60},
    "alert_channel_create": {"id": "new", "name": "sampled", "team": "default", "kind": "webhook", "url": "https://hooks.example.com/cognive", "enabled": False},
    "artifact_upload_begin": {"id": "new", "agent_id": "agent", "run_id": "run", "name": "sampled", "sha256": "a" * 64, "content_type": "text/plain", "direct": False},
    "export_create": {"id": "new", "kind": "calls", "format": "jsonl", "from": "2026-11-23T00:00:00Z", "to": "2026-11-24T00:00:00Z", "team": "default", "agent_id": "agent"},
    "task_send": {"id": "new", "name": "reports.monthly", "queue": "reports", "args": [1], "kwargs": {"a": 1}, "countdown_s": 1, "expires_at": "2036-11-23T06:02:00Z",
                  "time_limit_s": 60, "soft_time_limit_s": 30, "ignore_result": False},
    "alert_channel_update": {"name": "renamed", "url": "https://hooks.example.com/cognive", "enabled": False},
}


class Route:
    """An operation that takes a body."""

    def __init__(self, method, path, operation):
        self.method, self.path, self.operation = method.upper(), path, operation
        self.id = operation["operationId"]
        self.of_people = "x-permission" not in operation  # takes a password or the like in its body
        self.is_open = not operation.get("security")
        schema = operation["requestBody"]["content"]["application/json"]["schema"]
        self.schema = resolve(schema)

    def send(self, api, things, data, **kwargs):
        """Send a body, given as bytes, to the route."""
        path = self.path.replace("{id}", things[next((thing for thing in ("run", "reservation", "budget", "alert-channel", "team", "user", "api-key") if f"/{thing}s/" in self.path), "agent")])
        return api.request(self.method, path, data=data, **kwargs)

    def reads(self, data):
        """Whether it reads so long a body at all."""
        return not self.is_open or len(data) <= 64 << 10

    def sample(self, things):
        """A valid body."""
        words = things | {"new": uuid7()}
        return {name: words.get(value, value) if isinstance(value, str) else value for name, value in SAMPLES[self.id].items()}

    def with_field(self, things, name, token):
        """A valid body in which one field has the value of a JSON text, as bytes."""
        return json.dumps(self.sample(things) | {name: "@@@"}).replace('"@@@"', token).encode("utf-8", "surrogatepass")


def resolve(schema):
    """A schema, or what it refers to."""
    return DOCUMENT["components"]["schemas"][schema["$ref"].split("/")[-1]] if "$ref" in schema else schema


def operations():
    """Every operation: method, path, operation."""
    return [(method, path, operation) for path, item in DOCUMENT["paths"].items() for method, operation in item.items()]


def takes_json(operation):
    """Whether its body is JSON; others take bytes as they are."""
    return "application/json" in operation.get("requestBody", {}).get("content", {})


ROUTES = [Route(*each) for each in operations() if takes_json(each[2])]
OBJECTS = [route for route in ROUTES if route.schema.get("type") == "object"]
BATCH = next(route for route in ROUTES if route.id == "event_batch")


def named(operation):
    """The route of an operation that takes an object."""
    return next(route for route in OBJECTS if route.id == operation)
