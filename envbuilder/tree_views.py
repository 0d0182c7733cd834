"""How a set hangs together: its tree, and why a package is in it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from envbuilder.graph import BASE
from envbuilder.planning import counted

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from envbuilder.console import Console
    from envbuilder.graph import Edge, Graph, Node
    from envbuilder.revision import Revision

_LISTED = 10


def show_tree(
    found: Revision,
    graph: Graph,
    roots: Sequence[str],
    *,
    depth: int | None,
    into_base: bool,
    as_json: bool,
    console: Console,
) -> None:
    """Show packages below `roots`, to a depth; `into_base` goes on below what the base provides."""
    if as_json:
        console.json(_tree_record(found, graph, roots, depth, into_base))
        return
    drawn: set[str] = set()
    for root in roots:
        console.data(_label(graph.nodes[root], None, console))
        drawn.add(root)
        for line in _below(graph, root, "", depth, into_base, drawn, console):
            console.data(line)
    for plugin in found.generation.left_out:
        console.data(f"{plugin} {console.mark('dim', '(left out: `vpm-env show` says why)')}")
    if not roots:
        console.say(f"generation {found.generation.number} has no plugins")


def _below(
    graph: Graph, name: str, indent: str, depth: int | None, into_base: bool, drawn: set[str], console: Console
) -> Iterator[str]:
    edges = _followed(graph, name, into_base)
    if depth is not None and len(indent) // 4 >= depth:
        return
    for edge in edges:
        node, last = graph.nodes[edge.name], edge is edges[-1]
        again = edge.name in drawn and bool(_followed(graph, edge.name, into_base))
        mark = console.mark("dim", " (*)") if again else ""
        yield f"{indent}{'└── ' if last else '├── '}{_label(node, edge, console)}{mark}"
        if not again:
            drawn.add(edge.name)
            yield from _below(graph, edge.name, indent + ("    " if last else "│   "), depth, into_base, drawn, console)


def _followed(graph: Graph, name: str, into_base: bool) -> tuple[Edge, ...]:
    return graph.edges[name] if into_base or graph.nodes[name].kind != BASE else ()


def _label(node: Node, edge: Edge | None, console: Console) -> str:
    notes = [edge.bound] if edge and edge.bound else []
    notes += ["bound ignored"] if edge and edge.ignored else []
    notes += ["base"] if node.kind == BASE else []
    notes += [word for word, said in (("editable", node.editable), ("override", node.override)) if said]
    notes += [f"plugin {node.plugin}"] if node.plugin and node.plugin != node.name else []
    return f"{node.name} {node.version}" + (console.mark("dim", f" ({', '.join(notes)})") if notes else "")


def _tree_record(
    found: Revision, graph: Graph, roots: Sequence[str], depth: int | None, into_base: bool
) -> dict[str, Any]:
    shown, level = dict.fromkeys(roots), list(roots)
    rest = depth
    while level and rest != 0:
        level = [edge.name for name in level for edge in _followed(graph, name, into_base) if edge.name not in shown]
        shown |= dict.fromkeys(level)
        rest = None if rest is None else rest - 1
    return {
        "generation": found.generation.number,
        "digest": found.generation.digest,
        "roots": list(roots),
        "packages": [
            {
                **_node(graph.nodes[name]),
                "requires": [
                    {"name": edge.name, "bound": edge.bound, "ignored": edge.ignored}
                    for edge in _followed(graph, name, into_base)
                ],
            }
            for name in shown
        ],
        "left_out": found.generation.left_out,
    }


def _node(node: Node) -> dict[str, Any]:
    return {
        "name": node.name,
        "version": node.version,
        "kind": node.kind,
        "plugin": node.plugin,
        "editable": node.editable,
        "override": node.override,
        "bytes": None if node.kind == BASE else node.size,
    }


def show_why(found: Revision, graph: Graph, node: Node, as_json: bool, console: Console) -> None:
    """Show who needs a package: the ways to it from the plugins, and what of the base relies on it."""
    chains = graph.chains(node.name)
    in_base = [edge for edge in graph.requirers(node.name) if graph.nodes[edge.requirer].kind == BASE]
    if as_json:
        console.json(
            {
                "generation": found.generation.number,
                "package": _node(node),
                "chains": [[edge._asdict() for edge in chain] for chain in chains],
                "base_requirers": [{"name": edge.requirer, "bound": edge.bound} for edge in in_base],
                "fact": node.name in found.facts,
            }
        )
        return
    console.data(f"{node.name} {node.version}: {_role(node)}")
    for chain in chains:
        console.data(f"  {_chain(chain, graph)}")
    if node.kind == BASE and in_base:
        named = [f"{edge.requirer} ({edge.bound})" if edge.bound else edge.requirer for edge in in_base[:_LISTED]]
        more = [f"{len(in_base) - _LISTED} more"] if len(in_base) > _LISTED else []
        console.data(f"  of the base: {', '.join(named + more)}")
    console.say(_told(found, node, chains))


def _role(node: Node) -> str:
    if node.plugin:
        provided = ", provided by the base" if node.kind == BASE else ""
        return f"the plugin `{node.plugin}` of the config{provided}"
    return "provided by the base" if node.kind == BASE else "a dependency"


def _chain(chain: Sequence[Edge], graph: Graph) -> str:
    """Spell a way: `one 1.0 → dep 1.2 → numpy >=2`."""
    words = [f"{edge.requirer} {graph.nodes[edge.requirer].version}" for edge in chain]
    last = chain[-1]
    ignored = " (bound ignored)" if last.ignored else ""
    return " → ".join([*words, f"{last.name}{' ' + last.bound if last.bound else ''}{ignored}"])


def _told(found: Revision, node: Node, chains: Sequence[Sequence[Edge]]) -> str:
    number = found.generation.number
    if node.name in found.facts:
        version = found.facts[node.name]
        return f"generation {number} relies on {node.name} {version}: another version in the base needs a new build"
    if not chains and node.kind == BASE and not node.plugin:
        return f"nothing in generation {number} needs it"
    if node.plugin and not chains:
        return f"the config asks for it; nothing else in generation {number} needs it"
    return f"needed by {counted(len(chains), 'package')} of generation {number}"
