"""The verbs that keep house."""

from __future__ import annotations

from envbuilder.arguments import Call, Run, duration, json_only, number
from envbuilder.tuples import TYPE_CHECKING

if TYPE_CHECKING:
    import argparse


def _takes_gc(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--keep", type=number, default=0, metavar="N", help="keep the N newest generations too")
    parser.add_argument("--older-than", type=duration, metavar="AGE", help="only what was not current for AGE (`30d`)")
    parser.add_argument("--dry-run", "-n", action="store_true", help="say what would go and what that frees")
    json_only(parser)


def _gc(call: Call) -> int:
    from envbuilder.gc import Policy
    from envbuilder.house_views import show_swept
    from envbuilder.scope import home, lock_wait
    from envbuilder.sweep import collect

    layout = home(call.options, call.env)
    swept = collect(
        layout,
        Policy(keep=call.arguments.keep, older_than=call.arguments.older_than),
        dry_run=call.arguments.dry_run,
        wait=lock_wait(call.env),
    )
    show_swept(swept, call.arguments.dry_run, call.arguments.json, call.console)
    return 0


def _verify(call: Call) -> int:
    from envbuilder.house_views import show_verified
    from envbuilder.scope import home
    from envbuilder.sweep import verify

    verified = verify(home(call.options, call.env))
    show_verified(verified, call.arguments.json, call.console)
    return 1 if verified.damage else 0


def _takes_uninstall(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--dry-run", "-n", action="store_true", help="say what would go")


def _uninstall(call: Call) -> int:
    from envbuilder.house_views import show_removed
    from envbuilder.removal import uninstall

    show_removed(
        uninstall(call.options, call.env, dry_run=call.arguments.dry_run), call.arguments.dry_run, call.console
    )
    return 0


RUNS = {
    "gc": Run(_takes_gc, _gc),
    "verify": Run(json_only, _verify),
    "uninstall": Run(_takes_uninstall, _uninstall),
}
