#!/usr/bin/env python3
"""Checks what a formatter does not: files say what they are for, stay short, and hold no path of somebody's machine.

Formatting itself is checked with clang-format-19 on all sources, clang-tidy with tools/check_tidy.py on changed files.
"""

import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
LINES_MAX = 600
CORPUS = ROOT / "tests/fuzz/corpus"  # bytes for parsers, not text for people
HOME = re.compile(r"(?<![\w.])/(home|Users|work|root)/[A-Za-z.]")


def tracked():
    """Return the files that git knows or would add."""
    names = subprocess.run(["git", "-C", ROOT, "ls-files", "-co", "--exclude-standard"], check=True, capture_output=True, text=True)
    return [ROOT / name for name in names.stdout.splitlines() if (ROOT / name).is_file()]


def check(path):
    """Yield a sentence for each fault of a file."""
    name = path.relative_to(ROOT)
    if path.suffix not in {".cpp", ".hpp", ".py", ".sh", ".cmake", ".sql", ".md", ""} or CORPUS in path.parents:
        return
    text = path.read_text()
    lines = text.splitlines()
    if path.suffix in {".hpp", ".py", ".sh", ".cmake"} and path.name != "__init__.py":
        opening = "\n".join(lines[:3])
        if not re.search(r'^(//|#(?!!)|""")', opening, re.M):
            yield f"{name}: does not open with what it is for"
    if path.suffix in {".cpp", ".hpp", ".py"} and len(lines) > LINES_MAX:
        yield f"{name}: {len(lines)} lines; does it still hold one idea?"
    for number, line in enumerate(lines, 1):
        if HOME.search(line) and path.name != Path(__file__).name:
            yield f"{name}:{number}: a path of somebody's machine"
    if text and not text.endswith("\n"):
        yield f"{name}: no newline at the end"


def unformatted(paths):
    """Return the sources that clang-format-19 would change."""
    sources = [str(path) for path in paths if path.suffix in {".cpp", ".hpp"}]
    result = subprocess.run(["clang-format-19", "--dry-run", "--Werror", *sources], capture_output=True, text=True)
    return sorted({line.split(":")[0] for line in result.stderr.splitlines() if "error:" in line})


def main():
    """Check all tracked files."""
    paths = tracked()
    faults = [fault for path in paths for fault in check(path)]
    faults += [f"{Path(name).relative_to(ROOT)}: not formatted (clang-format-19 -i)" for name in unformatted(paths)]
    for fault in faults:
        print(fault)
    return 1 if faults else 0


sys.exit(main())
