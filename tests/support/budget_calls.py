"""What tests of budgets ask of the API."""

from decimal import Decimal

from problems import check_problem


def make(api, **body):
    """A new budget; its body."""
    answer = api.post("/api/v1/budgets", json={"window": "day", "hard_stop": True} | body)
    assert answer.status_code == 201, answer.text
    return answer.json()


def make_of(api, subject, **body):
    """A new budget of the subject's agent."""
    return make(api, **{"scope": "agent", "agent_id": subject["agent_id"]} | body)


def ask(api, subject, **body):
    """The answer to a reservation."""
    wanted = {} if "usage" in body else {"max_cost_usd": 0.01}
    return api.post("/api/v1/budgets/authorize", json={"provider": "openai", "model": "gpt-4o"} | subject | wanted | body)


def granted(api, subject, **body):
    """The id of a reservation that is granted."""
    answer = ask(api, subject, **body)
    assert answer.status_code == 200, answer.text
    return answer.json()["reservation_id"]


def refused(api, subject, **body):
    """The budget that a reservation is refused by."""
    answer = ask(api, subject, **body)
    check_problem(answer, 429)
    assert int(answer.headers["Retry-After"]) > 0
    return answer.json()["budget"]


def window(api, budget, **query):
    """The counters of the window of now."""
    answer = api.get(f"/api/v1/budgets/{budget['id']}/status", params=query)
    assert answer.status_code == 200, answer.text
    shown = answer.json(parse_float=Decimal)["window"]
    return {name: Decimal(shown[name]) for name in ("limit", "spent", "reserved", "remaining", "unreserved", "exceeded")}


def spent(api, budget, **query):
    """What the window of now has spent."""
    return window(api, budget, **query)["spent"]


def state(api, reservation):
    """What became of a reservation."""
    return api.get(f"/api/v1/budgets/reservations/{reservation}").json()["state"]


def alerts(api, budget):
    """The thresholds that have alerted, oldest first."""
    items = api.get("/api/v1/alerts", params={"budget_id": budget["id"]}).json()["items"]
    return sorted(item["threshold"] for item in items)
