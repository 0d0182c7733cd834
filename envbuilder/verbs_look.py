"""The verbs that look into sets: what is in one, why, how two differ, and what could be newer."""

from __future__ import annotations

from envbuilder.arguments import Call, Run, generation, json_only, number
from envbuilder.tuples import TYPE_CHECKING

if TYPE_CHECKING:
    import argparse

    from envbuilder.base import Base
    from envbuilder.revision import Revision
    from envbuilder.scope import Scope


def _takes_show(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("generation", nargs="?", type=generation, metavar="N", help="the generation (default: current)")
    json_only(parser)


def _show(call: Call) -> int:
    from envbuilder.revision import revision
    from envbuilder.scope import profile_of, scope
    from envbuilder.set_views import show_generation

    scoped = scope(call.options, call.env)
    found = revision(profile_of(scoped), call.arguments.generation)
    show_generation(found, call.arguments.json, call.console, allow_lists=_allow_lists(scoped, found))
    return 0


def _allow_lists(scoped: Scope, found: Revision) -> dict[str, str]:
    """Return the allow-list for a set; without the hook's guard where the base does not start any more."""
    from envbuilder import startup
    from envbuilder.allowed import listed_in
    from envbuilder.base import describe
    from envbuilder.errors import BaseError

    if found.manifest is None:
        return {}
    try:
        base = describe(scoped.interpreter, scoped.layout, scoped.env, engine=scoped.engine)
    except BaseError:
        return found.manifest.allow_lists
    return listed_in(scoped.env, found.manifest, base, guarded=startup.inspect(base).installed).settings


def _takes_diff(parser: argparse.ArgumentParser) -> None:
    before = "the one generation (default: what a rollback would make current)"
    parser.add_argument("before", nargs="?", type=generation, metavar="A", help=before)
    parser.add_argument("after", nargs="?", type=generation, metavar="B", help="the other one (default: current)")
    json_only(parser)


def _diff(call: Call) -> int:
    from envbuilder.comparison import compare
    from envbuilder.revision import revision
    from envbuilder.scope import profile_of, scope
    from envbuilder.set_views import show_difference
    from envbuilder.switching import rollback_order

    profile = profile_of(scope(call.options, call.env))
    after = revision(profile, call.arguments.after)
    before = revision(profile, call.arguments.before or str(rollback_order(profile)[-1]))
    show_difference(compare(before, after, call.env), call.arguments.json, call.console)
    return 0


def _takes_tree(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("package", nargs="?", metavar="PACKAGE", help="only what is below this package or plugin")
    parser.add_argument("--depth", "-d", type=number, metavar="N", help="how deep (default: all)")
    parser.add_argument("--all", "-a", action="store_true", help="also what packages of the base require")
    _of_generation(parser)
    json_only(parser)


def _tree(call: Call) -> int:
    from envbuilder.graph import graph_of, look_up
    from envbuilder.tree_views import show_tree

    _, base, found = _chosen(call)
    graph = graph_of(found, base, found.config(call.env))
    roots = (look_up(graph, call.arguments.package).name,) if call.arguments.package else graph.roots
    show_tree(
        found,
        graph,
        roots,
        depth=call.arguments.depth,
        into_base=call.arguments.all,
        as_json=call.arguments.json,
        console=call.console,
    )
    return 0


def _takes_why(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("package", metavar="PACKAGE", help="a package of the set or of the base, or a plugin")
    _of_generation(parser)
    json_only(parser)


def _why(call: Call) -> int:
    from envbuilder.graph import graph_of, look_up
    from envbuilder.tree_views import show_why

    _, base, found = _chosen(call)
    graph = graph_of(found, base, found.config(call.env))
    show_why(found, graph, look_up(graph, call.arguments.package), call.arguments.json, call.console)
    return 0


def _takes_plugins(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--export", action="store_true", help="only the line that sets the engine's allow-list")
    _of_generation(parser)
    json_only(parser)


def _plugins(call: Call) -> int:
    from envbuilder import startup
    from envbuilder.allowed import listed_in
    from envbuilder.plugin_views import show_listing
    from envbuilder.revision import manifest_of

    _, base, found = _chosen(call)
    listed = listed_in(call.env, manifest_of(found), base, guarded=startup.inspect(base).installed)
    show_listing(found, listed, export=call.arguments.export, as_json=call.arguments.json, console=call.console)
    return 0


def _takes_outdated(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--all", "-a", action="store_true", help="every package, up to date or not")
    parser.add_argument("--check", action="store_true", help="exit 3 if an upgrade would change something")
    parser.add_argument("--offline", action="store_true", help="ask no network: newest in uv's cache and `find_links`")
    json_only(parser)


def _outdated(call: Call) -> int:
    from envbuilder.errors import ChangesNeeded
    from envbuilder.outdated import outdated
    from envbuilder.pipeline import read_config
    from envbuilder.plugin_views import show_outdated
    from envbuilder.scope import scope

    found = scope(call.options, call.env, needs_config=True)
    told = outdated(found, read_config(found), offline=call.arguments.offline, report=call.console.reporter())
    show_outdated(told, every=call.arguments.all, as_json=call.arguments.json, console=call.console)
    return ChangesNeeded.exit_code if call.arguments.check and any(row.can_move for row in told.rows) else 0


def _info(call: Call) -> int:
    from envbuilder.info import info
    from envbuilder.place_views import show_info

    show_info(info(call.options, call.env), call.arguments.json, call.console)
    return 0


def _of_generation(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--generation", type=generation, metavar="N", help="of generation N (default: current)")


def _chosen(call: Call) -> tuple[Scope, Base, Revision]:
    """Describe the base, and return the generation that was asked for."""
    from envbuilder.base import describe
    from envbuilder.revision import revision
    from envbuilder.scope import profile_of, scope

    found = scope(call.options, call.env)
    base = describe(found.interpreter, found.layout, found.env, engine=found.engine)
    return found, base, revision(profile_of(found, base), call.arguments.generation)


RUNS = {
    "show": Run(_takes_show, _show),
    "diff": Run(_takes_diff, _diff),
    "tree": Run(_takes_tree, _tree),
    "why": Run(_takes_why, _why),
    "plugins": Run(_takes_plugins, _plugins),
    "outdated": Run(_takes_outdated, _outdated),
    "info": Run(json_only, _info),
}
