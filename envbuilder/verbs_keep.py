"""The verbs that keep house."""

from __future__ import annotations

from envbuilder.arguments import HIDDEN, Call, Run, amount, duration, generation, json_only, number, size
from envbuilder.errors import UsageError
from envbuilder.tuples import TYPE_CHECKING

if TYPE_CHECKING:
    import argparse

    from envbuilder.base import Base
    from envbuilder.paths import Layout


def _takes_gc(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--keep", type=number, default=0, metavar="N", help="keep the N newest generations too")
    parser.add_argument("--older-than", type=duration, metavar="AGE", help="only what was not current for AGE (`30d`)")
    parser.add_argument(
        "--max-size", type=size, metavar="SIZE", help="only until the sets take no more than SIZE (`10G`)"
    )
    parser.add_argument(
        "--min-free",
        type=amount,
        metavar="AMOUNT",
        help="only until so much is free: a size, or `5%%` of the file system",
    )
    parser.add_argument(
        "--grace", type=duration, metavar="AGE", help="delete what goes after AGE; `0s` empties the trash"
    )
    parser.add_argument("--why", metavar="WHAT", help="what keeps a digest, a key, a package or a generation on disk")
    parser.add_argument("--dry-run", "-n", action="store_true", help="say what would go and what that frees")
    json_only(parser)


def _gc(call: Call) -> int:
    if call.arguments.why:
        return _gc_why(call)
    from envbuilder.gc import Policy
    from envbuilder.house_views import show_swept
    from envbuilder.scope import home
    from envbuilder.sweep import collect

    layout = home(call.options, call.env)
    swept = collect(
        layout,
        Policy(
            keep=call.arguments.keep,
            older_than=call.arguments.older_than,
            max_size=call.arguments.max_size,
            min_free=call.arguments.min_free,
            grace=call.arguments.grace,
        ),
        dry_run=call.arguments.dry_run,
        wait=call.env.lock_wait,
        on_wait=call.waiting,
    )
    show_swept(swept, call.arguments.dry_run, call.arguments.json, call.console)
    return 1 if swept.over else 0


def _gc_why(call: Call) -> int:
    from envbuilder.gc import Policy
    from envbuilder.place_views import show_kept
    from envbuilder.roots import why_kept
    from envbuilder.scope import home

    policy = Policy(keep=call.arguments.keep, older_than=call.arguments.older_than)
    kept = why_kept(home(call.options, call.env), call.arguments.why, policy)
    show_kept(kept, call.arguments.json, call.console)
    return 0


def _takes_keep(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("generations", nargs="+", type=generation, metavar="N", help="generations, or their digests")
    json_only(parser)


def _keep(call: Call) -> int:
    return _mark(call, keep=True)


def _unkeep(call: Call) -> int:
    return _mark(call, keep=False)


def _mark(call: Call, *, keep: bool) -> int:
    from envbuilder.house_views import show_marked
    from envbuilder.keeping import mark
    from envbuilder.scope import profile_of, scope

    found = scope(call.options, call.env)
    profile = profile_of(found)
    marked = mark(profile, call.arguments.generations, keep=keep, wait=found.lock_wait, on_wait=call.waiting)
    show_marked(marked, profile, keep, call.arguments.json, call.console)
    return 0


def _takes_verify(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--repair", action="store_true", help="have what is damaged again, from its source or another copy"
    )
    parser.add_argument("--offline", action="store_true", help="use no network for that")
    json_only(parser)


def _verify(call: Call) -> int:
    from envbuilder.scope import home_as_it_is

    layout = home_as_it_is(call.options, call.env)
    if call.arguments.repair:
        return _repair(call, layout)
    if call.arguments.offline:
        raise UsageError("`--offline` says how to repair", hint="with `--repair`, what is damaged is had again")
    from envbuilder.verification import base_in_reach, verify
    from envbuilder.verify_view import show_verified

    def find_base() -> Base | None:
        return base_in_reach(layout, call.options, call.env)

    verified = verify(layout, find_base=find_base, wait=call.env.lock_wait, on_wait=call.waiting)
    show_verified(verified, call.arguments.json, call.console)
    return 1 if verified.wrong else 0


def _repair(call: Call, layout: Layout) -> int:
    from envbuilder.repair import repair
    from envbuilder.verify_view import show_repaired

    asked = call.arguments
    done = repair(layout, call.options, call.env, call.console.reporter(), offline=asked.offline)
    show_repaired(done, asked.json, call.console)
    return 1 if done.after.wrong else 0


def _takes_uninstall(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--dry-run", "-n", action="store_true", help="say what would go")
    parser.add_argument("plugin", nargs="*", help=HIDDEN)
    json_only(parser)


def _uninstall(call: Call) -> int:
    if call.arguments.plugin:
        from shlex import join

        way = f"`vpm-env remove {join(call.arguments.plugin)}` takes out plugins"
        raise UsageError("`uninstall` removes vpm-env's hook and home, and takes no names", hint=way)
    from envbuilder.house_views import show_removed
    from envbuilder.removal import uninstall

    asked = call.arguments
    show_removed(uninstall(call.options, call.env, dry_run=asked.dry_run), asked.dry_run, asked.json, call.console)
    return 0


RUNS = {
    "keep": Run(_takes_keep, _keep),
    "unkeep": Run(_takes_keep, _unkeep),
    "gc": Run(_takes_gc, _gc),
    "verify": Run(_takes_verify, _verify),
    "uninstall": Run(_takes_uninstall, _uninstall),
}
