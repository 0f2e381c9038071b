#!/usr/bin/env python3
"""An independent reference for pricing, in exact arithmetic.

The product prices calls in C++ with 128-bit integers. This file says the same rules a second time, in the plainest way
and with fractions, so that tests can compare the two. It shares nothing with the product but data/prices.json.

    price_oracle.py --provider openai --model gpt-4o --at 2026-11-01T00:00:00Z input_tokens=1000 output_tokens=50
    price_oracle.py --trace FILE.csv --provider openai --model gpt-4o
"""

import argparse
import csv
import datetime
import json
import re
import sys
from collections import Counter
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path

CATALOGUE_PATH = Path(__file__).resolve().parents[2] / "data" / "prices.json"
NANO_PER_USD = 1_000_000_000


@dataclass(frozen=True)
class Unit:
    """A countable thing; its dimensions are a set of (name, value) pairs, so containment is set inclusion."""

    name: str
    price_key: str
    per: int
    family: str
    dimensions: frozenset

    def contains(self, other):
        """Tell whether whatever counts as the other unit also counts as this one (true for the unit itself)."""
        return self.family == other.family and self.dimensions <= other.dimensions


@dataclass
class Charge:
    """The answer: a status, and as much of the rest as that status allows."""

    status: str
    cost_nano: int | None = None
    provider_id: str | None = None
    model_id: str | None = None
    exclusive: dict = field(default_factory=dict)


# --- matching ---------------------------------------------------------------------------------------------------------


def normalised(name):
    """Names compare without case and surrounding blanks."""
    return name.strip().lower()


def matches(clause, name):
    """Apply one match clause to a normalised name."""
    ((operator, operand),) = clause.items()
    if operator == "or":
        return any(matches(part, name) for part in operand)
    if operator == "and":
        return all(matches(part, name) for part in operand)
    if operator == "regex":
        return re.search(operand, name, re.IGNORECASE | re.ASCII) is not None
    wanted = operand.lower()
    if operator == "equals":
        return name == wanted
    if operator == "starts_with":
        return name.startswith(wanted)
    if operator == "ends_with":
        return name.endswith(wanted)
    if operator == "contains":
        return wanted in name
    raise ValueError(f"unknown match operator {operator}")


# --- rate cards -------------------------------------------------------------------------------------------------------


def is_active(card, at):
    """Tell whether a card's condition holds at a UTC time; a card without a condition always holds."""
    if "starts" in card:
        return at.date() >= datetime.date.fromisoformat(card["starts"])
    if "from_time" in card:
        start = datetime.time.fromisoformat(card["from_time"].removesuffix("Z"))
        end = datetime.time.fromisoformat(card["to_time"].removesuffix("Z"))
        now = at.time()
        # A window that ends before it starts goes over midnight.
        return start <= now < end if start <= end else now >= start or now < end
    return True


def card_at(cards, at):
    """Return the last active card, or the first one when none is."""
    for card in reversed(cards):
        if is_active(card, at):
            return card
    return cards[0]


def rate_for(rate, input_tokens):
    """Return the rate for a call of this size: over a threshold every token takes that tier's rate."""
    if not isinstance(rate, dict):
        return Fraction(rate)
    reached = [tier for tier in rate["tiers"] if input_tokens > tier["above"]]
    if not reached:
        return Fraction(rate["base"])
    return Fraction(max(reached, key=lambda tier: tier["above"])["rate"])


# --- the catalogue ----------------------------------------------------------------------------------------------------


class Catalogue:
    """The providers, models and units of a prices file, and the rules to price a call with them."""

    def __init__(self, path=CATALOGUE_PATH):
        """Read a prices file; fractions keep every decimal of it exactly."""
        data = json.loads(Path(path).read_text(encoding="utf-8"), parse_float=Fraction)
        self.providers = data["providers"]
        self.units = {
            unit["usage"]: Unit(
                unit["usage"], unit["price"], unit["per"], unit["family"], frozenset(unit["dimensions"].items())
            )
            for unit in data["units"]
        }
        self.by_price_key = {unit.price_key: unit for unit in self.units.values()}

    # Lookup

    def provider_by_id(self, provider_id):
        """Return the provider with exactly this id, or None."""
        return next((provider for provider in self.providers if provider["id"] == provider_id), None)

    def provider_named(self, name):
        """Return the provider a caller means: an exact id wins over the first alias in file order."""
        return self.provider_by_id(name) or next(
            (p for p in self.providers if "provider_match" in p and matches(p["provider_match"], name)), None
        )

    def provider_of_model(self, model):
        """Return the first provider whose models have names like this one, for calls that name no provider."""
        return next((p for p in self.providers if "model_match" in p and matches(p["model_match"], model)), None)

    def find(self, provider_name, model_name):
        """Return (provider, model), the provider being the one whose catalogue has the model, or a failure status."""
        model_name = normalised(model_name)
        wanted = None if provider_name is None else normalised(provider_name)
        if wanted == "litellm":
            # LiteLLM is a proxy: it names the real provider in front of the model, or not at all.
            prefix, slash, rest = model_name.partition("/")
            wanted, model_name = (prefix, rest) if slash and prefix else (None, model_name)
        if wanted is None:
            provider = self.provider_of_model(model_name)
            if provider is None:
                return "unknown_model"
        else:
            provider = self.provider_named(wanted)
            if provider is None:
                return "unknown_provider"
        fallbacks = [self.provider_by_id(provider_id) for provider_id in provider.get("fallback_providers", ())]
        for candidate in [provider, *fallbacks]:
            for model in candidate["models"]:
                if matches(model["match"], model_name):
                    return candidate, model
        return "unknown_model"

    # Usage

    def complete(self, usage):
        """Add what the caller left out: a unit holds at least its inner units, and a call is one request.

        An absent unit gets exactly what its inner units hold together, each token once, so that nothing is left over
        to be charged at the absent unit's own rate.
        """
        unknown = sorted(set(usage) - set(self.units))
        if unknown:
            raise ValueError(f"unknown units: {', '.join(unknown)}")
        values = {"requests": 1, **usage}
        own = {}
        for unit in sorted(self.units.values(), key=lambda unit: -len(unit.dimensions)):
            inner = sum(own[name] for name in own if unit.contains(self.units[name]))
            values.setdefault(unit.name, inner)
            own[unit.name] = values[unit.name] - inner
        return values

    def decompose(self, priced, values):
        """Split overlapping counts into what belongs to each priced unit alone (Moebius inversion).

        A unit's own part is its count without the own parts of all priced units inside it. The alternating-sign formula
        by depth is the same thing only while every step inwards adds an independent dimension; cache lifetimes exist
        only inside cache writes, so there it is not.
        """
        own = {}
        for unit in sorted(priced, key=lambda unit: -len(unit.dimensions)):
            own[unit.name] = values[unit.name] - sum(own[name] for name in own if unit.contains(self.units[name]))
        return {unit.name: own[unit.name] for unit in priced}

    # Price

    def price(self, provider_name, model_name, at, usage):
        """Price one call at a UTC time."""
        found = self.find(provider_name, model_name)
        if isinstance(found, str):
            return Charge(found)
        provider, model = found
        charge = Charge("no_rates", None, provider["id"], model["id"])
        if not usage:
            # Nobody knows what the call used, so nobody knows what it cost; a price by request would only be a part of it.
            charge.status = "unknown_usage"
            return charge
        if not model["prices"]:
            return charge
        rates = card_at(model["prices"], at)["rates"]
        priced = [self.by_price_key[key] for key in rates]
        values = self.complete(usage)
        charge.exclusive = self.decompose(priced, values)
        if min(charge.exclusive.values()) < 0:
            charge.status = "inconsistent_usage"
            return charge
        usd = sum(
            rate_for(rates[unit.price_key], values["input_tokens"]) * charge.exclusive[unit.name] / unit.per
            for unit in priced
        )
        # round() of a fraction is half-even, and this is the only rounding of the charge.
        charge.cost_nano = round(usd * NANO_PER_USD)
        # Every call is a request; where requests cost nothing extra, counting them leaves nothing unpriced.
        covered = all(
            count == 0 or name == "requests" or any(unit.contains(self.units[name]) for unit in priced)
            for name, count in usage.items()
        )
        charge.status = "priced" if covered else "partial"
        return charge


# --- command line -----------------------------------------------------------------------------------------------------


def parse_time(text):
    """Read an RFC 3339 time as UTC."""
    time = datetime.datetime.fromisoformat(text)
    if time.tzinfo is None:
        raise argparse.ArgumentTypeError(f"no time zone: {text}")
    return time.astimezone(datetime.UTC)


def parse_count(text):
    """Read one `unit=count` argument."""
    name, equals, count = text.partition("=")
    if not equals or not re.fullmatch(r"\d+", count, re.ASCII):
        raise argparse.ArgumentTypeError(f"not unit=count: {text}")
    return name, int(count)


def price_trace(catalogue, path, provider, model, at):
    """Price each row of an Azure LLM trace on its own and print the totals."""
    rows = context_tokens = generated_tokens = cost_nano = 0
    statuses = Counter()
    with open(path, newline="", encoding="utf-8") as file:
        for row in csv.DictReader(file):
            # The trace has seven decimals of a second and no zone; it is UTC, and microseconds are enough.
            row_time = datetime.datetime.fromisoformat(row["TIMESTAMP"][:26]).replace(tzinfo=datetime.UTC)
            usage = {"input_tokens": int(row["ContextTokens"]), "output_tokens": int(row["GeneratedTokens"])}
            charge = catalogue.price(provider, model, at or row_time, usage)
            rows += 1
            context_tokens += usage["input_tokens"]
            generated_tokens += usage["output_tokens"]
            cost_nano += charge.cost_nano or 0
            statuses[charge.status] += 1
    print(f"rows              {rows}")
    print(f"context_tokens    {context_tokens}")
    print(f"generated_tokens  {generated_tokens}")
    print(f"cost_nano         {cost_nano}")
    for status, count in sorted(statuses.items()):
        print(f"{status:<17} {count}")


def print_charge(charge):
    """Print one charge, one fact per line."""
    print(f"status      {charge.status}")
    print(f"cost_nano   {'-' if charge.cost_nano is None else charge.cost_nano}")
    print(f"provider    {charge.provider_id or '-'}")
    print(f"model       {charge.model_id or '-'}")
    for name, quantity in charge.exclusive.items():
        print(f"  {name} {quantity}")


def main():
    """Price one call or one trace."""
    parser = argparse.ArgumentParser(description="Reference prices in exact arithmetic.")
    parser.add_argument("--catalogue", type=Path, default=CATALOGUE_PATH, help="default: data/prices.json")
    parser.add_argument("--provider", help="provider id or alias; without it the model's name decides")
    parser.add_argument("--model", required=True)
    parser.add_argument("--at", type=parse_time, help="time of the call, RFC 3339 (a trace has its own times)")
    parser.add_argument("--trace", type=Path, help="price an Azure LLM trace instead of one call")
    parser.add_argument("usage", nargs="*", type=parse_count, help="unit=count")
    arguments = parser.parse_args()
    catalogue = Catalogue(arguments.catalogue)
    if arguments.trace:
        if arguments.usage:
            parser.error("a trace brings its own usage")
        price_trace(catalogue, arguments.trace, arguments.provider, arguments.model, arguments.at)
        return
    if arguments.at is None:
        parser.error("--at is required")
    try:
        charge = catalogue.price(arguments.provider, arguments.model, arguments.at, dict(arguments.usage))
    except ValueError as error:
        sys.exit(f"price_oracle: {error}")
    print_charge(charge)


if __name__ == "__main__":
    main()
