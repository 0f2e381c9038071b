#!/usr/bin/env python3
"""Turn the public genai-prices data set into data/prices.json.

Usage: prices_catalogue.py SOURCE.json UNITS.yml --retrieved YYYY-MM-DD > data/prices.json

The product ships prices as facts: what matches which model and what a unit costs. Everything else in the source (page
addresses, usage extractors) is left out. The tool refuses whatever it does not know, because a key that is skipped in
silence may be the one that changes a price.
"""

import argparse
import datetime
import json
import re
import sys
from pathlib import Path

HEADER = {
    "source": "pydantic/genai-prices v2",
    "licence": "MIT",
    "copyright": "Copyright (c) Pydantic Services Inc. 2025 to present",
    "url": "https://github.com/pydantic/genai-prices",
}
PROVIDER_DROPPED = {"pricing_urls", "api_pattern", "extractors"}
PROVIDER_KEYS = {"id", "name", "provider_match", "model_match", "fallback_model_providers", "models"}
MODEL_KEYS = {"id", "name", "match", "context_window", "deprecated", "prices"}
TEXT_OPERATORS = {"equals", "starts_with", "ends_with", "contains", "regex"}
LIST_OPERATORS = {"or", "and"}


class SourceError(Exception):
    """The source holds something this tool does not understand."""


class Number(str):
    """A JSON number kept as its text, so that 0.08333333333333334 survives to the last digit."""


def require(condition, message):
    """Raise SourceError unless the condition holds; assert would vanish under -O."""
    if not condition:
        raise SourceError(message)


def check_keys(mapping, allowed, where, needed=()):
    """Refuse unknown and missing keys of one object."""
    require(isinstance(mapping, dict), f"{where}: not an object: {mapping!r}")
    unknown = sorted(set(mapping) - set(allowed))
    require(not unknown, f"{where}: unknown keys {unknown}")
    missing = sorted(set(needed) - set(mapping))
    require(not missing, f"{where}: missing keys {missing}")


def text(value, where):
    """Return a non-empty string, which a Number is not."""
    require(isinstance(value, str) and not isinstance(value, Number) and value != "", f"{where}: not a text: {value!r}")
    return value


def number(value, where):
    """Return a non-negative plain decimal."""
    plain = isinstance(value, Number) and re.fullmatch(r"\d+(\.\d+)?", value)
    require(plain, f"{where}: not a plain number: {value!r}")
    return value


def whole(value, where):
    """Return a positive whole number."""
    require(isinstance(value, Number) and re.fullmatch(r"[1-9]\d*", value), f"{where}: not a whole number: {value!r}")
    return value


# --- units ------------------------------------------------------------------------------------------------------------

UNIT_LINE = re.compile(r"([a-z0-9_]+):")
FIELD_LINE = re.compile(r"  ([a-z_]+): (.+)")
PAIR = re.compile(r"([a-z_]+): ([a-z0-9_]+)")
REQUIREMENTS = re.compile(r"\{ [a-z_]+: \{ [a-z_]+: [a-z0-9_]+ \} \}")


def parse_flow_mapping(value, where):
    """Parse `{ a: b, c: d }`, the only flow style the units file uses."""
    require(value.startswith("{ ") and value.endswith(" }"), f"{where}: not a mapping: {value!r}")
    result = {}
    for part in value[2:-2].split(", "):
        pair = PAIR.fullmatch(part)
        require(pair, f"{where}: not a pair: {part!r}")
        require(pair[1] not in result, f"{where}: {pair[1]} given twice")
        result[pair[1]] = pair[2]
    return result


def parse_units(source):
    """Parse the units file: a two-level subset of YAML, so that no YAML library is needed."""
    units = {}
    fields = None
    for line_number, line in enumerate(source.splitlines(), 1):
        where = f"units line {line_number}"
        if not line.strip() or line.startswith("#"):
            continue
        if unit := UNIT_LINE.fullmatch(line):
            require(unit[1] not in units, f"{where}: {unit[1]} given twice")
            fields = units[unit[1]] = {}
            continue
        field = FIELD_LINE.fullmatch(line)
        require(field and fields is not None, f"{where}: unexpected: {line!r}")
        key, value = field[1], field[2]
        require(key not in fields, f"{where}: {key} given twice")
        if key == "per":
            require(re.fullmatch(r"[1-9][0-9_]*", value), f"{where}: not a count: {value!r}")
            fields[key] = Number(value.replace("_", ""))
        elif key == "price_key":
            require(re.fullmatch(r"[a-z0-9_]+", value), f"{where}: not a name: {value!r}")
            fields[key] = value
        elif key == "dimensions":
            fields[key] = parse_flow_mapping(value, where)
        else:
            # Requirements only restrict which units may be defined; the units listed already satisfy them.
            require(key == "dimension_requirements" and REQUIREMENTS.fullmatch(value), f"{where}: unexpected: {line!r}")
    return [convert_unit(name, fields) for name, fields in units.items()]


def convert_unit(name, fields):
    """Split the family from the other dimensions: units of two families never overlap."""
    check_keys(fields, {"per", "price_key", "dimensions"}, name, {"per", "price_key", "dimensions"})
    dimensions = dict(fields["dimensions"])
    family = dimensions.pop("family", None)
    require(family, f"{name}: no family")
    return {
        "usage": name,
        "price": fields["price_key"],
        "per": fields["per"],
        "family": family,
        "dimensions": dimensions,
    }


# --- providers --------------------------------------------------------------------------------------------------------


def convert_match(match, where):
    """Check one match clause, which has exactly one operator, and return it unchanged."""
    check_keys(match, TEXT_OPERATORS | LIST_OPERATORS, where)
    require(len(match) == 1, f"{where}: {len(match)} operators in one clause")
    operator, operand = next(iter(match.items()))
    if operator in TEXT_OPERATORS:
        text(operand, where)
        if operator == "regex":
            re.compile(operand)
    else:
        require(isinstance(operand, list) and operand, f"{where}: {operator} without clauses")
        for clause in operand:
            convert_match(clause, f"{where}.{operator}")
    return match


def convert_rate(rate, where):
    """Return a flat rate, or a base with its context tiers under this project's own names."""
    if isinstance(rate, Number):
        return number(rate, where)
    check_keys(rate, {"base", "tiers"}, where, {"base", "tiers"})
    require(isinstance(rate["tiers"], list) and rate["tiers"], f"{where}: no tiers")
    tiers = []
    for tier in rate["tiers"]:
        check_keys(tier, {"start", "price"}, where, {"start", "price"})
        tiers.append({"above": whole(tier["start"], where), "rate": number(tier["price"], where)})
    starts = [int(tier["above"]) for tier in tiers]
    require(starts == sorted(set(starts)), f"{where}: tiers out of order")
    return {"base": number(rate["base"], where), "tiers": tiers}


def check_coverage(priced, units, where):
    """Refuse a card that prices a unit but not what contains it, or two units but not their overlap.

    Pricing takes each unit's inner parts out of it. Without the overlap (cached audio, say, when cached and audio
    tokens have rates) the same tokens would be taken out twice.
    """
    names = {unit["usage"] for unit in priced}
    for unit in priced:
        for other in units:
            if contains(other, unit):
                require(other["usage"] in names, f"{where}: {unit['usage']} has a rate, {other['usage']} has not")
    for first in priced:
        for second in priced:
            overlap = {**first["dimensions"], **second["dimensions"]}
            clash = overlap != {**second["dimensions"], **first["dimensions"]}
            if first["family"] == second["family"] and not clash:
                covered = any(unit["family"] == first["family"] and unit["dimensions"] == overlap for unit in priced)
                require(covered, f"{where}: no rate for what {first['usage']} and {second['usage']} share")


def contains(outer, inner):
    """Tell whether every count of the inner unit is also counted by the outer one."""
    return outer["family"] == inner["family"] and outer["dimensions"].items() <= inner["dimensions"].items()


def convert_rates(rates, units, where):
    """Return one rate card."""
    by_price = {unit["price"]: unit for unit in units}
    check_keys(rates, by_price, where)
    require(rates, f"{where}: empty rate card")
    check_coverage([by_price[key] for key in rates], units, where)
    return {key: convert_rate(rate, f"{where}.{key}") for key, rate in rates.items()}


def convert_constraint(constraint, where):
    """Return when a card is in force: from a date on, or within a daily window."""
    check_keys(constraint, {"start_date", "start_time", "end_time"}, where)
    if set(constraint) == {"start_date"}:
        date = text(constraint["start_date"], where)
        require(re.fullmatch(r"\d{4}-\d{2}-\d{2}", date), f"{where}: not a date: {date!r}")
        datetime.date.fromisoformat(date)
        return {"starts": date}
    require(set(constraint) == {"start_time", "end_time"}, f"{where}: unknown combination {sorted(constraint)}")
    for key in ("start_time", "end_time"):
        time = text(constraint[key], where)
        require(re.fullmatch(r"\d{2}:\d{2}:\d{2}Z", time), f"{where}: not a UTC time: {time!r}")
        datetime.time.fromisoformat(time[:-1])
    require(constraint["start_time"] != constraint["end_time"], f"{where}: empty window")
    return {"from_time": constraint["start_time"], "to_time": constraint["end_time"]}


def convert_prices(prices, units, where):
    """Return the cards of a model in source order; a model without any has an empty list."""
    if prices in ({}, []):
        return []
    if isinstance(prices, dict):
        return [{"rates": convert_rates(prices, units, where)}]
    require(isinstance(prices, list), f"{where}: neither a card nor a list of cards")
    cards = []
    for index, entry in enumerate(prices):
        here = f"{where}[{index}]"
        check_keys(entry, {"constraint", "prices"}, here, {"prices"})
        card = convert_constraint(entry["constraint"], here) if "constraint" in entry else {}
        cards.append({**card, "rates": convert_rates(entry["prices"], units, here)})
    return cards


def convert_model(model, units, where):
    """Return one model with its keys in a fixed order."""
    check_keys(model, MODEL_KEYS, where, {"id", "match", "prices"})
    result = {"id": text(model["id"], where)}
    if "name" in model:
        result["name"] = text(model["name"], where)
    result["match"] = convert_match(model["match"], where)
    if "context_window" in model:
        result["context_window"] = whole(model["context_window"], where)
    if "deprecated" in model:
        require(isinstance(model["deprecated"], bool), f"{where}: deprecated is not a boolean")
        if model["deprecated"]:
            result["deprecated"] = True
    result["prices"] = convert_prices(model["prices"], units, where)
    return result


def convert_provider(provider, units):
    """Return one provider; the order of its models is kept because the first match wins."""
    where = text(provider.get("id"), "provider")
    check_keys(provider, PROVIDER_KEYS | PROVIDER_DROPPED, where, {"id", "name", "models"})
    result = {"id": where, "name": text(provider["name"], where)}
    for key in ("provider_match", "model_match"):
        if key in provider:
            result[key] = convert_match(provider[key], f"{where}.{key}")
    if "fallback_model_providers" in provider:
        fallbacks = provider["fallback_model_providers"]
        require(isinstance(fallbacks, list) and fallbacks, f"{where}: no fallback providers")
        result["fallback_providers"] = [text(fallback, where) for fallback in fallbacks]
    require(isinstance(provider["models"], list), f"{where}: models is not a list")
    result["models"] = [
        convert_model(model, units, f"{where}[{index}]") for index, model in enumerate(provider["models"])
    ]
    model_ids = [model["id"] for model in result["models"]]
    require(len(model_ids) == len(set(model_ids)), f"{where}: a model id is given twice")
    return result


def convert_providers(source, units):
    """Return all providers in source order, which decides between two that match."""
    require(isinstance(source, list), "the source is not a list of providers")
    providers = [convert_provider(provider, units) for provider in source]
    ids = [provider["id"] for provider in providers]
    require(len(ids) == len(set(ids)), "a provider id is given twice")
    for provider in providers:
        unknown = set(provider.get("fallback_providers", ())) - set(ids)
        require(not unknown, f"{provider['id']}: unknown fallback providers {sorted(unknown)}")
    return providers


# --- reading and writing ----------------------------------------------------------------------------------------------


def unique_object(pairs):
    """Build an object, refusing duplicate keys, of which json would silently keep the last."""
    result = dict(pairs)
    require(len(result) == len(pairs), f"an object has a key twice: {[key for key, _ in pairs]}")
    return result


def refuse_constant(name):
    """Refuse NaN and Infinity, which are not JSON."""
    raise SourceError(f"not a JSON number: {name}")


def read_source(path):
    """Read the source with every number kept as text."""
    return json.loads(
        path.read_text(encoding="utf-8"),
        parse_float=Number,
        parse_int=Number,
        parse_constant=refuse_constant,
        object_pairs_hook=unique_object,
    )


def encode(value):
    """Write compact JSON with numbers as they were read, which json.dumps cannot."""
    if isinstance(value, Number):
        return str(value)
    if isinstance(value, dict):
        return "{" + ",".join(f"{encode(key)}:{encode(item)}" for key, item in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ",".join(encode(item) for item in value) + "]"
    return json.dumps(value, ensure_ascii=False)


def render(header, units, providers):
    """Lay the file out with one unit and one model per line, so that a price change is a one-line diff."""
    lines = [encode(header)[:-1] + ","]
    lines.append('"units":[')
    lines.append(",\n".join(encode(unit) for unit in units) + "],")
    lines.append('"providers":[')
    blocks = []
    for provider in providers:
        heading = encode({key: value for key, value in provider.items() if key != "models"})
        models = ",\n".join(encode(model) for model in provider["models"])
        blocks.append(f'{heading[:-1]},"models":[\n{models}]}}')
    lines.append(",\n".join(blocks) + "]}")
    return "\n".join(lines) + "\n"


def main():
    """Read the two sources, write the catalogue to standard output."""
    parser = argparse.ArgumentParser(description="Turn the genai-prices data set into data/prices.json.")
    parser.add_argument("source", type=Path, help="the data set, JSON")
    parser.add_argument("units", type=Path, help="its units, YAML")
    parser.add_argument("--retrieved", required=True, type=datetime.date.fromisoformat, help="day of the source")
    arguments = parser.parse_args()
    try:
        units = parse_units(arguments.units.read_text(encoding="utf-8"))
        providers = convert_providers(read_source(arguments.source), units)
    except (SourceError, ValueError, re.error) as error:
        sys.exit(f"prices_catalogue: {error}")
    header = {**HEADER, "retrieved": arguments.retrieved.isoformat()}
    sys.stdout.buffer.write(render(header, units, providers).encode("utf-8"))


if __name__ == "__main__":
    main()
