"""The named queries of the product, as its sources have them."""

import ast
import json
import re
import shlex
import subprocess
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from installation import BINARY, ROOT

SOURCES = sorted(path for path in (ROOT / "src").rglob("*.[ch]pp") if not path.stem.endswith(("_test", "test_support")))
# How a query is written; its texts may come from macros, so they are read from what the preprocessor makes of the file.
DEFINITION = re.compile(r"\bconstexpr\s+(?:pg::)?Query\s+(\w+)\s*\{\s*(.*?)\s*\}\s*;", re.S)
LITERAL = re.compile(r'"(?:[^"\\]|\\.)*"|R"\((.*?)\)"', re.S)
# Not statements that PREPARE takes; they are run instead.
COMMANDS = ("BEGIN", "COMMIT", "ROLLBACK", "SET ", "LOCK ")


def files_with_queries():
    """The sources that mention the type at all, and how often they make a value of it."""
    found = {}
    for path in SOURCES:
        text = re.sub(r"//[^\n]*", "", path.read_text())
        # Within pg/ the type has no prefix. References and pointers to a query are not queries.
        name = r"(?<!struct )\bQuery\b" if path.parent.name == "pg" else r"\bpg::Query\b"
        values = re.findall(name + r"(?!\s*[&*;])(?!\s*\{\s*\n\s*const char)", text)
        if values:
            found[path] = len(values)
    return found


def preprocessed(path):
    """The text of a source with its macros expanded, compiled as the build would do it, without precompiled headers."""
    database = json.loads((Path(BINARY).parent / "compile_commands.json").read_text())
    command = next(entry["command"] for entry in database if Path(entry["file"]).samefile(path))
    flags = re.findall(r"(?<= )-(?:I|D|std=|isystem )\S+", command)
    flags = [word for flag in flags for word in shlex.split(flag)]
    done = subprocess.run([shlex.split(command)[0], *flags, "-E", "-P", path], capture_output=True, text=True, timeout=120, check=True)
    return done.stdout


def text_of(literals):
    """Neighbouring string literals as one text."""
    parts = [raw.group(1) if raw.group(1) is not None else ast.literal_eval(raw.group(0)) for raw in LITERAL.finditer(literals)]
    assert LITERAL.sub("", literals).strip() == "", literals
    return "".join(parts)


def queries_of(path):
    """The queries of one file: name and statement."""
    found = []
    for _, body in DEFINITION.findall(preprocessed(path)):
        name, rest = re.match(r'("[^"]*")\s*,\s*(.*)', body, re.S).groups()
        found.append((ast.literal_eval(name), text_of(rest)))
    return found


def named_queries():
    """All queries, by file: (name, statement)."""
    files = files_with_queries()
    with ThreadPoolExecutor(2) as pool:
        found = dict(zip(files, pool.map(queries_of, files)))
    # None is written in a way that this test does not see. Headers that a file includes define none.
    assert {str(path): len(found[path]) for path in files} == {str(path): count for path, count in files.items()}
    assert sum(files.values()) > 50
    return found


def faults_of_preparing(database, queries, spared=()):
    """What a database says against the queries, without those of some names."""
    faults = []
    for path, found in queries.items():
        for name, statement in found:
            if name in spared:
                continue
            run = f'PREPARE "{name}" AS {statement}'
            if statement.startswith("VACUUM"):
                run = f"EXPLAIN SELECT * FROM {statement.split()[-1]}"  # it takes no transaction, and sql() is in one
            elif statement.startswith("DECLARE "):
                run = f'PREPARE "{name}" AS {statement.split(" CURSOR FOR ", 1)[1]}'
            elif statement.startswith("CREATE TABLE "):
                run = f'PREPARE "{name}" AS {statement.split(" AS ", 1)[1]}'
            elif statement.startswith("DROP TABLE "):
                run = f"BEGIN; {statement.replace('DROP TABLE ', 'DROP TABLE IF EXISTS ')}"
            elif statement.startswith(("FETCH ", "CLOSE ")):
                run = f"BEGIN; DECLARE {statement.split()[-1]} CURSOR FOR SELECT; {statement}"
            elif statement.startswith(COMMANDS):
                run = f"BEGIN; {statement}"
            try:
                database.sql(run)
            except Exception as error:
                faults.append(f"{path.relative_to(ROOT)}: {name}: {error}")
    return faults
