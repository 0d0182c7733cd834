"""The verbs that change plugins.yaml, and the one that takes newer versions of what it asks for."""

from __future__ import annotations

from envbuilder.arguments import Call, Run, json_only, moment
from envbuilder.tuples import TYPE_CHECKING

if TYPE_CHECKING:
    import argparse
    from collections.abc import Callable

    from envbuilder.commit import Outcome
    from envbuilder.edit import Edited
    from envbuilder.written import Draft

    Change = Callable[[bytes, str], Edited]


def _takes_edit(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--dry-run", "-n", action="store_true", help="show what would change, and change nothing")
    parser.add_argument("--build", action="store_true", help="then build; if that fails, the file is as it was")
    parser.add_argument("--offline", action="store_true", help="with `--build`: use no network")
    json_only(parser)


def _takes_add(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "specs",
        nargs="+",
        metavar="SPEC",
        help="`name`, `name[extra]>=1.2`, `git+https://host/repository@ref`, `./folder`, `dist/a.whl`",
    )
    parser.add_argument("--name", help="the plugin's name (default: that of the package, repository or folder)")
    parser.add_argument("--index", metavar="URL", help="the index to take the package from")
    parser.add_argument("--ref", help="a branch, a tag or a commit of the git repository")
    parser.add_argument("--subdirectory", metavar="PATH", help="where the project is in the git repository")
    parser.add_argument("--editable", "-e", action="store_true", help="use the folder itself, not a copy")
    parser.add_argument("--optional", action="store_true", help="go on without the plugin if it cannot be had")
    parser.add_argument(
        "--ignore", action="append", default=[], metavar="PACKAGE", help="drop its bound on a package of the base"
    )
    parser.add_argument(
        "--entry-point", action="append", default=[], metavar="NAME", help="load only this one: `name` or `group:name`"
    )
    parser.add_argument("--disabled", action="store_true", help="keep the entry, leave the plugin out")
    _takes_edit(parser)


def _takes_names(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("names", nargs="+", metavar="NAME", help="a plugin, by its name or that of its package")
    _takes_edit(parser)


def _add(call: Call) -> int:
    from envbuilder import edit, wanted
    from envbuilder.errors import UsageError

    asked = call.arguments
    if asked.name and len(asked.specs) > 1:
        raise UsageError("`--name` is for one plugin, and there are several")
    draft = _target(call)

    def change(content: bytes, file: str) -> Edited:
        choices = wanted.Choices(
            folder=draft.folder,
            env=call.env,
            name=asked.name,
            ref=asked.ref,
            subdirectory=asked.subdirectory,
            source_index=asked.index,
            editable=asked.editable,
            optional=asked.optional,
            disabled=asked.disabled,
            ignore=tuple(asked.ignore),
            entry_points=tuple(asked.entry_point),
        )
        return edit.add(content, wanted.read_all(asked.specs, choices), file=file, env=call.env)

    return _change(call, draft, change)


def _target(call: Call) -> Draft:
    """Return the config to add to; where there is none, the one that `vpm-env init` would write."""
    from os.path import isfile

    from envbuilder.base import engine_in_reach
    from envbuilder.config import find
    from envbuilder.init import choose_target, render
    from envbuilder.written import Draft

    file = find(call.env, call.options.config)
    if file and isfile(file):
        return Draft(file)
    engine = engine_in_reach(call.options.base, call.env)
    target = file or choose_target(option=None, user=False, engine=engine, env=call.env)
    return Draft(target, start=render(engine).encode(), engine=engine.name)


def _remove(call: Call) -> int:
    from envbuilder import edit, written

    def change(content: bytes, file: str) -> Edited:
        return edit.remove(content, tuple(call.arguments.names), file=file, env=call.env)

    return _change(call, written.existing(call.options.config, call.env), change)


def _enable(call: Call) -> int:
    return _switch(call, enabled=True)


def _disable(call: Call) -> int:
    return _switch(call, enabled=False)


def _switch(call: Call, *, enabled: bool) -> int:
    from envbuilder import edit, written

    def change(content: bytes, file: str) -> Edited:
        return edit.enable(content, tuple(call.arguments.names), enabled=enabled, file=file, env=call.env)

    return _change(call, written.existing(call.options.config, call.env), change)


def _change(call: Call, draft: Draft, change: Change) -> int:
    """Change the config, and with `--build` make what it asks for now."""
    from envbuilder import written
    from envbuilder.build_view import build_record, show_build
    from envbuilder.edit_view import edit_record, show_edit

    asked = call.arguments
    draft, edited = (draft, written.preview(draft, change)) if asked.dry_run else written.write(draft, change)
    if not asked.json:
        show_edit(draft, edited, dry_run=asked.dry_run, builds=asked.build, console=call.console)
    outcome = _built(call, draft, edited) if asked.build else None
    if asked.json:
        build = build_record(outcome) if outcome else None
        call.console.json({**edit_record(draft, edited, dry_run=asked.dry_run), "build": build})
    elif outcome:
        show_build(outcome, as_json=False, console=call.console)
    return 0


def _built(call: Call, draft: Draft, edited: Edited) -> Outcome:
    """Build the changed config; where that fails, make the file what it was."""
    from envbuilder import written
    from envbuilder.job import Request
    from envbuilder.pipeline import build
    from envbuilder.scope import scope

    dry_run = call.arguments.dry_run
    request = Request(dry_run=dry_run, offline=call.arguments.offline)
    try:
        found = scope(call.options._replace(config=None if draft.is_new and dry_run else draft.file), call.env)
        return build(found, request, call.console.reporter(), config=edited.config if dry_run else None)
    except BaseException:
        if not dry_run and (draft.is_new or edited.after != edited.before):
            is_back = written.take_back(draft, edited)
            call.console.warn(
                f"`{draft.file}` is as it was"
                if is_back
                else f"`{draft.file}` was changed meanwhile, and stays as it is"
            )
        raise


def _takes_upgrade(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("names", nargs="*", metavar="NAME", help="a plugin or a package (default: everything)")
    parser.add_argument("--dry-run", "-n", action="store_true", help="show what would change, and change nothing")
    parser.add_argument("--no-switch", action="store_true", help="make the generation, but leave `current` as it is")
    parser.add_argument("--offline", action="store_true", help="use no network")
    parser.add_argument(
        "--exclude-newer",
        type=moment,
        metavar="WHEN",
        help="resolve as at a day (`2026-01-31`) or moment in UTC, or some time ago (`30d`)",
    )
    json_only(parser)


def _upgrade(call: Call) -> int:
    from envbuilder.build_view import show_build
    from envbuilder.job import Request
    from envbuilder.pipeline import build
    from envbuilder.scope import scope

    asked = call.arguments
    request = Request(
        dry_run=asked.dry_run,
        switch=not asked.no_switch,
        offline=asked.offline,
        upgrade=frozenset(asked.names),
        exclude_newer=asked.exclude_newer,
    )
    found = scope(call.options, call.env, needs_config=True)
    show_build(build(found, request, call.console.reporter()), asked.json, call.console)
    return 0


RUNS = {
    "upgrade": Run(_takes_upgrade, _upgrade),
    "add": Run(_takes_add, _add),
    "remove": Run(_takes_names, _remove),
    "enable": Run(_takes_names, _enable),
    "disable": Run(_takes_names, _disable),
}
