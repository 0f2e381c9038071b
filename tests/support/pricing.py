"""Sets prices of one's own and prices calls again, for tests of what follows from it."""

import json
import uuid
from decimal import Decimal

LONG_AGO = "2020-01-01T00:00:00Z"


def exact(answer):
    """The body of a good answer, its numbers exact."""
    assert answer.status_code == 200, answer.text
    return json.loads(answer.text, parse_float=Decimal)


def a_model():
    """A private model that no other test knows."""
    return f"private-{uuid.uuid4()}"


def set_price(api, model, input_rate, output_rate, **attributes):
    """Sets an override of two rates; its body."""
    rates = None if input_rate is None else {"input_mtok": input_rate, "output_mtok": output_rate}
    body = {"provider": "acme", "model": model, "rates": rates, "effective_from": LONG_AGO} | attributes
    answer = api.post("/api/v1/prices/overrides", json={name: value for name, value in body.items() if value is not None or name == "rates"})
    assert answer.status_code == 201, answer.text
    return answer.json()


def reprice(api, **attributes):
    """Reprices to the end, request by request; the sums."""
    body = {"from": "2026-10-01T00:00:00Z", "to": "2026-11-01T00:00:00Z"} | attributes
    sums = {"calls": 0, "changed": 0, "newly_priced": 0, "no_longer_priced": 0, "difference_usd": Decimal(0)}
    while True:
        answer = exact(api.post("/api/v1/prices/reprice", json=body))
        sums = {name: value + answer[name] for name, value in sums.items()}
        if answer["done"]:
            assert answer["cursor"] is None
            return sums
        body |= {"id": answer["id"], "cursor": answer["cursor"]}
