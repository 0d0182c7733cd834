"""Count what the start-up hook adds to `python -c pass`, in instructions: valgrind's callgrind, exact to 0.02 M.

Usage: python benchmarks/hook_cost.py [--python PYTHON]...
Prints one JSON line a measurement; `added` is the difference to a start of the same base without the hook.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "tests")]

import homes  # noqa: E402

from envbuilder import startup  # noqa: E402

BUDGET, BUDGET_PYTHON = 1_200_000, "3.11"
"""Others differ: on 3.13 the first `.pth` of a start alone costs 1.5 M, whatever is in it."""
PACKAGES = (1, 60)


def instructions(python: Path) -> int:
    """Count the instructions of `python -c pass`; the fixed hash seed takes the noise out."""
    command = ["valgrind", "--tool=callgrind", "--callgrind-out-file=/dev/null", str(python), "-c", "pass"]
    env = {"PATH": os.defpath, "PYTHONHASHSEED": "0", "HOME": "/nonexistent", "LC_ALL": "C.UTF-8"}
    done = subprocess.run(command, env=env, capture_output=True, text=True, check=True)
    found = re.search(r"Collected : (\d+)", done.stderr)
    assert found, done.stderr
    return int(found[1])


def measure(python: Path, folder: Path) -> list[dict[str, object]]:
    """Measure a venv of `python`: without a hook, then with it and homes of different size."""
    base = homes.vllm_base(folder, python=python)
    bare = instructions(base.python)
    told: list[dict[str, object]] = [{"case": "bare", "instructions": bare}]
    for count in PACKAGES:
        rig = homes.Rig.of(base, folder / f"home{count}")
        rig.generation(1, rig.overlay("one", *(f"package{number}" for number in range(count))))
        rig.install()
        assert rig.ask()["state"] == "active"
        with_hook = instructions(base.python)
        told.append({"case": "hook", "packages": count, "instructions": with_hook, "added": with_hook - bare})
        startup.uninstall(rig.facts)
    budget = {"budget": BUDGET} if rig.facts.python_version == BUDGET_PYTHON else {}
    return [{"benchmark": "hook_cost", "python": rig.facts.version, **line, **budget} for line in told]


def main() -> int:
    """Print a line a measurement; end with 1 when the budget is not kept, with 0 where there is no valgrind."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--python", action="append", type=Path, help="an interpreter to measure (default: this one)")
    pythons = parser.parse_args().python or [Path(sys.executable)]
    if shutil.which("valgrind") is None:
        print(json.dumps({"benchmark": "hook_cost", "skipped": "valgrind is not installed"}))
        return 0
    kept = True
    for python in pythons:
        with tempfile.TemporaryDirectory(prefix="vpm-env-hook-cost-") as folder:
            for line in measure(python, Path(folder)):
                print(json.dumps(line), flush=True)
                kept = kept and ("budget" not in line or int(str(line.get("added", 0))) < BUDGET)
    return 0 if kept else 1


if __name__ == "__main__":
    sys.exit(main())
