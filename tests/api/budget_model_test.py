"""Reservations against a simple model: whatever is asked in whichever order, grants, refusals and counters are those of the model."""

import random
from decimal import Decimal

import pytest

from installation import llm_call, uuid7
from reports import post_batch

STEPS = 150
NANO = Decimal("0.000000001")


class Model:
    """One budget of money as one would write it down."""

    def __init__(self, limit):
        self.limit = limit
        self.is_hard = self.is_enabled = True
        self.spent = self.unreserved = self.exceeded = Decimal(0)
        self.held = {}  # reservation: amount

    @property
    def reserved(self):
        return sum(self.held.values(), Decimal(0))

    def grants(self, amount):
        if not self.is_enabled or not self.is_hard:
            return True
        return self.spent + self.reserved + max(amount, NANO) <= self.limit

    def charge(self, cost, reservation=None):
        held = self.held.pop(reservation, None)
        if held is None and not self.is_enabled:
            return
        self.spent += cost
        if held is None:
            self.unreserved += cost
        else:
            self.exceeded += max(cost - held, Decimal(0))


class Machine:
    """The same steps for the API and for the models of its budgets."""

    def __init__(self, installation, seed):
        self.chance = random.Random(seed)
        self.installation = installation
        self.api = installation.api()
        self.agent = self.api.agent()["id"]
        self.run = self.api.run(self.agent)["run_id"]
        self.models = {}
        for limit in (Decimal("0.05"), Decimal("0.2")):
            body = {"scope": "agent", "agent_id": self.agent, "window": "total", "limit_usd": float(limit), "hard_stop": True}
            self.models[self.api.post("/api/v1/budgets", json=body).json()["id"]] = Model(limit)
        self.ended = []  # reservations that hold nothing any more, and how they ended

    def amount(self, most):
        return self.chance.choice((Decimal(0), NANO, self.chance.randrange(1, most) * NANO))

    def ask(self, reservation, amount):
        return self.api.post("/api/v1/budgets/authorize", json={"reservation_id": reservation, "agent_id": self.agent, "run_id": self.run, "provider": "openai",
                                                                "model": "gpt-4o", "max_cost_usd": float(amount)})

    def reserve(self):
        reservation, amount = uuid7(), self.amount(60_000_000)
        answer = self.ask(reservation, amount)
        expected = all(model.grants(amount) for model in self.models.values())
        assert answer.status_code == (200 if expected else 429), (amount, answer.text)
        if expected:
            for model in self.models.values():
                if model.is_enabled:
                    model.held[reservation] = amount
        else:
            assert not self.models[answer.json()["budget"]["id"]].grants(amount)

    def any_held(self):
        held = sorted({one for model in self.models.values() for one in model.held})
        return self.chance.choice(held) if held else None

    def drop(self, reservation, how):
        for model in self.models.values():
            model.held.pop(reservation, None)
        self.ended.append((reservation, how))

    def call(self):
        """Of a reservation that is held, of one that was, of one that never was, or of none."""
        tokens = self.chance.randrange(1, 20_000)
        cost = tokens * Decimal("0.0000025")  # gpt-4o
        reservation = self.chance.choice((self.any_held(), self.any_held(), self.chance.choice(self.ended)[0] if self.ended else None, uuid7(), None))
        named = {} if reservation is None else {"reservation_id": reservation}
        event = llm_call(self.run, usage={"input_tokens": tokens}, **named)
        is_held = any(reservation in model.held for model in self.models.values())
        assert post_batch(self.api, [event])["accepted"] == 1
        for model in self.models.values():
            model.charge(cost, reservation)
        if is_held:
            self.ended.append((reservation, "settled"))
        if self.chance.random() < 0.3:
            assert post_batch(self.api, [event])["duplicates"] == 1

    def release(self):
        reservation = self.any_held()
        if reservation:
            assert self.api.post(f"/api/v1/budgets/reservations/{reservation}/release").json()["state"] == "released"
            self.drop(reservation, "released")

    def expire(self):
        """Time passes for one of them; a refusal gives it back."""
        reservation = self.any_held()
        if reservation:
            self.installation.sql("UPDATE budget_reservations SET expires_at = now() WHERE id = %s", reservation)
            self.ask(uuid7(), Decimal(1_000_000))
            assert self.api.get(f"/api/v1/budgets/reservations/{reservation}").json()["state"] == "expired"
            self.drop(reservation, "expired")

    def again(self):
        """What ended is not to be had again."""
        if self.ended:
            reservation, how = self.chance.choice(self.ended)
            path = f"/api/v1/budgets/reservations/{reservation}"
            assert self.api.post(path + "/renew", json={}).status_code == 409
            assert self.api.post(path + "/release").status_code == (409 if how == "settled" else 200)
            assert self.api.get(f"/api/v1/budgets/reservations/{reservation}").json()["state"] == how

    def change(self):
        budget = self.chance.choice(sorted(self.models))
        model = self.models[budget]
        change = {}
        if self.chance.random() < 0.6:
            change["limit_usd"] = float(self.chance.randrange(1, 400) / Decimal(1000))
        elif budget == min(self.models):  # the other one stays hard
            change[self.chance.choice(("hard_stop", "enabled"))] = self.chance.random() < 0.6
        assert self.api.patch(f"/api/v1/budgets/{budget}", json=change).status_code == 200
        model.limit = Decimal(str(change.get("limit_usd", model.limit)))
        model.is_hard = change.get("hard_stop", model.is_hard)
        model.is_enabled = change.get("enabled", model.is_enabled)

    def check(self):
        for budget, model in self.models.items():
            shown = self.api.get(f"/api/v1/budgets/{budget}/status").json(parse_float=Decimal)["window"]
            found = tuple(Decimal(shown[name]) for name in ("limit", "spent", "reserved", "unreserved", "exceeded"))
            assert found == (model.limit, model.spent, model.reserved, model.unreserved, model.exceeded), budget

    def step(self):
        steps = {self.reserve: 8, self.call: 6, self.release: 2, self.expire: 2, self.again: 2, self.change: 3}
        self.chance.choices(list(steps), list(steps.values()))[0]()


@pytest.mark.parametrize("seed", range(6))
def test_reservations_are_those_of_a_simple_model(installation, seed):
    machine = Machine(installation, seed)
    for _ in range(STEPS):
        machine.step()
        machine.check()
