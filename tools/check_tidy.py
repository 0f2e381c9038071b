#!/usr/bin/env python3
"""Runs clang-tidy-19 on the sources that differ from a revision, HEAD~1 when none is given: tools/check_tidy.py [REVISION]

Uses the commands, and the precompiled headers, of the preset that was built last: release or dev.
"""

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]


def main():
    """Run clang-tidy on changed sources; its exit status is ours."""
    base = sys.argv[1] if len(sys.argv) > 1 else "HEAD~1"
    builds = [path.parent for path in ROOT.glob("build/*/compile_commands.json") if path.parent.name in ("release", "dev")]
    if not builds:
        print("check_tidy.py: build first: cmake --preset dev && cmake --build build/dev", file=sys.stderr)
        return 2
    newest = max(builds, key=lambda path: (path / "compile_commands.json").stat().st_mtime)
    changed = subprocess.run(["git", "-C", ROOT, "diff", "--name-only", "--diff-filter=d", base, "--", "src/*.cpp"],
                             check=True, capture_output=True, text=True).stdout.split()
    if not changed:
        return 0
    return subprocess.run(["clang-tidy-19", "-p", newest, "--quiet", *changed], cwd=ROOT).returncode


sys.exit(main())
