#!/usr/bin/env python3
"""Checks that includes follow the arrows of the architecture, and that each third-party library stays in its folder.

A folder of src/ may include itself and what it is allowed below. Run without arguments; prints every breach.
"""

import re
import sys
from pathlib import Path

SOURCE = Path(__file__).resolve().parents[1] / "src"

BASIS = {"base", "json"}
RUNTIME = BASIS | {"config", "observe", "runtime"}
PORTS = RUNTIME | {"http", "pg"}
WORDS = PORTS | {"schema", "tasks"}  # of the product: each declares its tables

# What each folder may include besides itself.
ALLOWED = {
    "base": set(),
    "json": {"base"},
    "config": BASIS,
    "observe": BASIS,
    "runtime": BASIS | {"observe"},
    "embedded": {"base"},
    "client": BASIS,
    "http": RUNTIME,
    "pg": RUNTIME,
    "schema": RUNTIME | {"pg"},
    "tasks": RUNTIME | {"pg", "schema", "privacy"},
    "redis": RUNTIME | {"http"},
    "amqp": RUNTIME,
    "s3": RUNTIME | {"client"},
    "objects": RUNTIME | {"s3"},
    "keyring": RUNTIME | {"pg", "schema"},
    "idempotency": RUNTIME | {"http", "keyring", "pg", "schema"},
    "cache": RUNTIME | {"keyring", "redis"},
    "audit": WORDS | {"keyring", "objects"},
    "identity": WORDS | {"audit", "keyring"},
    "stream": RUNTIME | {"http", "identity", "pg", "schema"},
    "teams": WORDS | {"audit", "identity"},
    "agents": WORDS | {"audit", "cache", "identity", "teams"},
    "prices": WORDS | {"audit", "identity", "teams"},
    "rollups": WORDS,
    "runs": WORDS | {"audit", "identity", "agents", "privacy"},
    "privacy": BASIS,
    "budgets": WORDS | {"audit", "cache", "identity", "teams", "agents", "prices", "runs"},
    "alerts": WORDS | {"audit", "budgets", "client", "identity", "keyring", "teams"},
    "events": WORDS | {"audit", "identity", "keyring", "agents", "budgets", "feed", "prices", "privacy", "rollups", "runs", "tasks"},
    "charges": PORTS | {"audit", "identity", "prices", "rollups", "runs", "tasks", "teams"},
    "replay": PORTS | {"identity", "prices", "runs", "events"},
    "backups": RUNTIME | {"objects", "pg"},
    "exports": WORDS | {"audit", "identity", "objects", "teams"},
    "artifacts": WORDS | {"audit", "identity", "objects"},
    "retention": RUNTIME | {"pg", "schema", "tasks"},
    "analytics": PORTS | {"identity", "events", "rollups", "runs"},
    "feed": RUNTIME | {"amqp", "pg", "schema"},
    "celery": WORDS | {"amqp", "audit", "identity", "redis"},
    "inbound": RUNTIME | {"amqp", "celery", "http"},
    "health": WORDS | {"amqp", "cache", "keyring", "objects", "redis"},
    "documents": RUNTIME | {"http"},
    "imports": BASIS | {"client"},
    "commands": None,  # wiring: everything
}

# Within a folder of the product: only these files may see SQL and HTTP.
PRODUCT = {"artifacts", "exports", "celery", "teams", "agents", "prices", "runs", "budgets", "alerts", "events", "charges", "replay", "analytics", "stream"}
HTTP_FILES = {"routes.cpp", "routes.hpp", "gate.cpp", "gate.hpp"}

# Third-party headers and the only folders that may include them.
OWNERS = {
    "boost/beast": {"http"},
    "libpq-fe.h": {"pg"},
    "simdjson": {"json"},
    "spdlog": {"observe"},
    "prometheus": {"observe"},
    "curl/": {"client", "s3"},
    "pugixml": {"s3"},
    "re2/": {"prices"},
    "hiredis/": {"redis"},
    "amqp.h": {"amqp"},
    "argon2": {"identity"},
    "jwt.h": {"identity"},
    "openssl/": {"base", "amqp"},
    "CLI/": {"commands", ""},
    "zlib.h": {"base"},
}

# Templates that cost seconds of every file: never in a header.
HEAVY = ("boost/beast", "boost/asio.hpp", "simdjson", "libpq-fe.h", "spdlog", "CLI/")

INCLUDE = re.compile(r'^\s*#\s*include\s+[<"]([^>"]+)[>"]')


def check(path):
    """Yield a sentence for each include of a file that goes against the rules."""
    folder = path.parent.name if path.parent != SOURCE else ""
    for number, line in enumerate(path.read_text().splitlines(), 1):
        found = INCLUDE.match(line)
        if not found:
            continue
        header = found.group(1)
        where = f"{path.relative_to(SOURCE.parent)}:{number}"
        target = header.split("/")[0]
        if target in ALLOWED and (SOURCE / header).exists():
            allowed = ALLOWED.get(folder)
            # A test may start whatever it needs, and so may what tests share.
            if not path.stem.endswith(("_test", "test_support")) and folder and allowed is not None and target != folder and target not in allowed:
                yield f"{where}: {folder}/ may not include {target}/"
            if folder in PRODUCT and target == "http" and path.name not in HTTP_FILES:
                yield f"{where}: only routes.cpp may include http/"
        for library, owners in OWNERS.items():
            if header.startswith(library) and folder not in owners:
                yield f"{where}: {library} belongs to {', '.join(sorted(owners))}"
        if path.suffix == ".hpp" and header.startswith(HEAVY):
            yield f"{where}: {header} must not be in a header"


def main():
    """Check all sources."""
    breaches = [breach for path in sorted(SOURCE.rglob("*.[ch]pp")) for breach in check(path)]
    unknown = sorted({path.parent.name for path in SOURCE.rglob("*.cpp")} - set(ALLOWED) - {"src"})
    breaches += [f"src/{name}: say in ALLOWED what it may include" for name in unknown]
    for breach in breaches:
        print(breach)
    return 1 if breaches else 0


sys.exit(main())
