"""Reads the Prometheus exposition of /metrics, and fails on anything in it that a scraper would not take."""

import re


def samples(text):
    """The samples of a Prometheus exposition by name and labels; fails on anything that is not one."""
    label = r'[a-zA-Z_][a-zA-Z0-9_]*="(?:[^"\\\n]|\\["\\n])*"'
    sample = re.compile(rf"([a-zA-Z_:][a-zA-Z0-9_:]*)(?:\{{((?:{label}(?:,{label})*)?)\}})? (\S+)")
    types, found = {}, {}
    for line in text.removesuffix("\n").split("\n"):  # and not at U+2028, which a label may hold
        if line.startswith("# TYPE "):
            _, _, name, kind = line.split(" ")
            assert name not in types, f"two TYPE lines of {name}"
            assert kind in ("counter", "gauge", "histogram", "summary", "untyped"), line
            types[name] = kind
        elif not line.startswith("# HELP "):
            parsed = sample.fullmatch(line)
            assert parsed, f"no sample: {line}"
            name, labels, value = parsed.groups()
            labels = tuple(sorted(re.findall(r'(\w+)="((?:[^"\\]|\\.)*)"', labels or "")))
            family = re.sub(r"_(bucket|sum|count)$", "", name)
            assert name in types or types.get(family) == "histogram", f"a sample without TYPE: {line}"
            assert (name, labels) not in found, f"a series twice: {line}"
            found[name, labels] = float(value)
    assert text.endswith("\n")
    return types, found


def gauge(api, name):
    """The value of a series without labels."""
    return samples(api.get("/metrics").text)[1][name, ()]
