"""Who requires what in a set: its plugins and packages, and what of the base they lead to."""

from __future__ import annotations

from collections import deque

from envbuilder import store
from envbuilder.bounds import Bound, applies, parsed
from envbuilder.classes import dataclass
from envbuilder.errors import UsageError
from envbuilder.names import nearest, normalized
from envbuilder.revision import manifest_of
from envbuilder.tuples import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from envbuilder.base import Base
    from envbuilder.config import Config
    from envbuilder.manifest import Manifest
    from envbuilder.revision import Revision

PLUGIN = "plugin"
DEPENDENCY = "dependency"
BASE = "base"


@dataclass(frozen=True, kw_only=True, slots=True)
class Node:
    """One package; `kind` is `plugin`, `dependency` or `base`, `plugin` the config's entry that asks for it itself.

    `size` is in bytes, 0 for the base's.
    """

    name: str
    version: str
    kind: str
    plugin: str = ""
    editable: bool = False
    override: bool = False
    size: int = 0


class Edge(NamedTuple):
    """One requirement: who has it, on what, the bound (`>=1.0,<2`, "" for none), and whether the plugin ignores it."""

    requirer: str
    name: str
    bound: str
    ignored: bool


@dataclass(frozen=True, kw_only=True, slots=True)
class Graph:
    """The packages of a set and of its base by name, what each requires, and the plugins' packages: the roots."""

    nodes: dict[str, Node]
    edges: dict[str, tuple[Edge, ...]]
    roots: tuple[str, ...]

    def requirers(self, name: str) -> tuple[Edge, ...]:
        """Return the requirements on a package, those of the set first."""
        found = [edge for edges in self.edges.values() for edge in edges if edge.name == name]
        return tuple(sorted(found, key=lambda edge: (self.nodes[edge.requirer].kind == BASE, edge.requirer)))

    def chains(self, name: str) -> tuple[tuple[Edge, ...], ...]:
        """Return for each package of the set that requires `name` how the shortest way leads to it from a plugin."""
        direct = [edge for edge in self.requirers(name) if self.nodes[edge.requirer].kind != BASE]
        return tuple((*self._to(edge.requirer), edge) for edge in direct)

    def _to(self, name: str) -> tuple[Edge, ...]:
        """Find the shortest way from a root to `name`; none where it is one."""
        ways: deque[tuple[Edge, ...]] = deque([()])
        seen = {name}
        while ways:
            way = ways.popleft()
            at = way[0].requirer if way else name
            if at in self.roots:
                return way
            for edge in self.requirers(at):
                if edge.requirer not in seen and self.nodes[edge.requirer].kind != BASE:
                    seen.add(edge.requirer)
                    ways.append((edge, *way))
        return ()


def graph_of(found: Revision, base: Base, config: Config | None) -> Graph:
    """Find out who requires what in a generation; `config` is what it was built from, for the extras it names.

    Raise `ProfileError` where its overlay is not on disk.
    """
    manifest = manifest_of(found)
    nodes = _nodes(manifest, base)
    extras: dict[str, set[str]] = {name: set() for name in nodes}
    for plugin in config.enabled if config else ():
        for node in nodes.values():
            if node.plugin == plugin.name:
                extras[node.name] |= set(plugin.extras)
    layout = found.profile.layout
    requires: dict[str, Iterable[str]] = {name: dist.requires for name, dist in base.distributions.items()}
    for member in manifest.members:
        package = store.get(layout, member.key)
        requires[member.name] = package.requires if package else ()
    ignored = {member.name: manifest.ignored.get(member.plugin, ()) for member in manifest.members}
    edges = _edges(nodes, requires, extras, base, ignored)
    return Graph(nodes=nodes, edges=edges, roots=tuple(name for name, node in nodes.items() if node.plugin))


def look_up(graph: Graph, text: str) -> Node:
    """Return the package that `text` names, by its own name or its plugin's; raise `UsageError` with near ones."""
    plugins = {node.plugin: node for node in graph.nodes.values() if node.plugin}
    found = graph.nodes.get(normalized(text)) or plugins.get(text)
    if found:
        return found
    near = nearest(text, [*plugins, *graph.nodes])
    hint = f"did you mean `{near}`?" if near else "see `vpm-env list`"
    raise UsageError(f"neither the set nor the base has a package `{text}`", hint=hint)


def _nodes(manifest: Manifest, base: Base) -> dict[str, Node]:
    """Name the set's packages, plugins first, then the base's."""
    provided = {entry.split(" ")[0]: plugin for plugin, entry in manifest.provided.items()}
    nodes = {
        member.name: Node(
            name=member.name,
            version=member.version,
            kind=PLUGIN if member.plugin else DEPENDENCY,
            plugin=member.plugin,
            editable=member.editable,
            override=member.override,
            size=member.size,
        )
        for member in sorted(manifest.members, key=lambda member: (not member.plugin, member.name))
    }
    for name, dist in sorted(base.distributions.items()):
        if name not in nodes:
            nodes[name] = Node(name=name, version=dist.version, kind=BASE, plugin=provided.get(name, ""))
    return nodes


def _edges(
    nodes: Mapping[str, Node],
    requires: Mapping[str, Iterable[str]],
    extras: dict[str, set[str]],
    base: Base,
    ignored: Mapping[str, Iterable[str]],
) -> dict[str, tuple[Edge, ...]]:
    """Follow requirements; an extra that somebody asks for makes its package's count anew."""
    lines = {name: [line for line in map(parsed, requires.get(name, ())) if line] for name in nodes}
    markers = base.markers
    edges: dict[str, tuple[Edge, ...]] = {}
    waiting: list[str] = list(nodes)[::-1]
    while waiting:
        name = waiting.pop()
        bounds: dict[str, list[str]] = {}
        for line in lines[name]:
            target = normalized(line.name)
            if target not in nodes or target == name or not applies(line, markers, extras[name]):
                continue
            bounds.setdefault(target, []).append(Bound(name, line).text.removeprefix(target))
            if line.extras - extras[target]:
                extras[target] |= line.extras
                waiting.append(target)
        edges[name] = tuple(
            Edge(name, target, ",".join(filter(None, texts)), target in ignored.get(name, ()))
            for target, texts in sorted(bounds.items())
        )
    return edges
