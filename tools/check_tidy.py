#!/usr/bin/env python3
"""Runs clang-tidy-19 on the sources that differ from a revision (HEAD~1 when none is given), with the dev preset's commands."""

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]


def main():
    """Run clang-tidy on changed sources; its exit status is ours."""
    base = sys.argv[1] if len(sys.argv) > 1 else "HEAD~1"
    if not (ROOT / "build/dev/compile_commands.json").exists():
        print("check_tidy.py: configure first: cmake --preset dev", file=sys.stderr)
        return 2
    changed = subprocess.run(["git", "-C", ROOT, "diff", "--name-only", "--diff-filter=d", base, "--", "src/*.cpp"],
                             check=True, capture_output=True, text=True).stdout.split()
    if not changed:
        return 0
    return subprocess.run(["clang-tidy-19", "-p", "build/dev", "--quiet", *changed], cwd=ROOT).returncode


sys.exit(main())
