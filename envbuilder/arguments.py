"""What each verb takes: options, their help, and the values they may have."""

from __future__ import annotations

import re

from envbuilder.errors import UsageError
from envbuilder.tuples import TYPE_CHECKING

if TYPE_CHECKING:
    import argparse

_UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86400, "w": 7 * 86400}


def json_only(parser: argparse.ArgumentParser) -> None:
    """Take `--json` and nothing else."""
    parser.add_argument("--json", action="store_true", help="as JSON")


def init(parser: argparse.ArgumentParser) -> None:
    """Take what `init` takes."""
    parser.add_argument("--user", action="store_true", help="write the one in ~/.config instead of ./plugins.yaml")


def build(parser: argparse.ArgumentParser) -> None:
    """Take what `build` takes."""
    parser.add_argument("--dry-run", "-n", action="store_true", help="show what would change, and change nothing")
    parser.add_argument("--no-switch", action="store_true", help="make the generation, but leave `current` as it is")
    parser.add_argument("--locked", action="store_true", help="fail (exit 3) if the lock would change")
    parser.add_argument("--offline", action="store_true", help="use no network")
    parser.add_argument(
        "--upgrade",
        "-U",
        nargs="?",
        const="",
        action="append",
        metavar="NAME",
        help="take newer versions: of NAME, or of everything",
    )
    parser.add_argument("--force", action="store_true", help="make the overlay again, and end a hold")
    json_only(parser)


def rollback(parser: argparse.ArgumentParser) -> None:
    """Take what `rollback` takes."""
    parser.add_argument("--to", type=_number, metavar="N", help="back to generation N")
    parser.add_argument("--bad", action="store_true", help="mark the generation that is left as bad")
    json_only(parser)


def switch(parser: argparse.ArgumentParser) -> None:
    """Take what `switch` takes."""
    parser.add_argument("generation", type=_number, metavar="N", help="the generation to make current")
    json_only(parser)


def path(parser: argparse.ArgumentParser) -> None:
    """Take what `path` takes."""
    parser.add_argument("generation", nargs="?", type=_number, metavar="N", help="of generation N (default: current)")


def hook(parser: argparse.ArgumentParser) -> None:
    """Take what `hook` takes."""
    parser.add_argument("action", choices=("install", "uninstall", "status", "show"), help="what to do with the hook")
    parser.add_argument(
        "--trust-owner", type=_number, action="append", default=[], metavar="UID", help="accept a home of this user"
    )
    parser.add_argument("--trust-home", action="store_true", help="accept a home that others may write to")
    json_only(parser)


def run(parser: argparse.ArgumentParser) -> None:
    """Take what `run` takes."""
    parser.usage = "vpm-env run [--generation N] [OPTIONS] -- COMMAND"
    parser.add_argument("--generation", type=_number, metavar="N", help="with generation N (default: current)")


def gc(parser: argparse.ArgumentParser) -> None:
    """Take what `gc` takes."""
    parser.add_argument("--keep", type=_number, default=0, metavar="N", help="keep the N newest generations too")
    parser.add_argument("--older-than", type=_duration, metavar="AGE", help="only what was not current for AGE (`30d`)")
    parser.add_argument("--dry-run", "-n", action="store_true", help="say what would go and what that frees")
    json_only(parser)


def uninstall(parser: argparse.ArgumentParser) -> None:
    """Take what `uninstall` takes."""
    parser.add_argument("--dry-run", "-n", action="store_true", help="say what would go")


def _number(text: str) -> int:
    if not text.isdigit():
        raise UsageError(f"`{text}` is no number")
    return int(text)


def _duration(text: str) -> float:
    found = re.fullmatch(r"(\d+)([smhdw])", text)
    if not found:
        raise UsageError(f"`{text}` is no duration", hint="write a number and `s`, `m`, `h`, `d` or `w`: `30d`")
    return float(found[1]) * _UNITS[found[2]]
