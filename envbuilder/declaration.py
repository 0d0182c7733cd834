"""What a plugin says of itself in `vllm-plugin.yaml`: which engine and Python it is for, and its entry points.

The file is vllm-plugin-manager's, and has two spellings: `vllm: {min_version:, max_version:}`, and `vllm_min:` with
`vllm_max:`; both upper bounds are exclusive. Engines read the package's metadata only, so a plugin may carry a file
that never held. What nobody knows in it is let be.
"""

from __future__ import annotations

from os.path import isfile, islink, join

from envbuilder import core_metadata
from envbuilder.bounds import release_of
from envbuilder.document import Mapping, Scalar, Sequence, parse, shown
from envbuilder.engines import ENGINES, GENERIC
from envbuilder.errors import ConfigError
from envbuilder.names import nearest
from envbuilder.subject import ERROR, WARNING
from envbuilder.tuples import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from collections.abc import Mapping as MappingOf
    from collections.abc import Sequence as SequenceOf

    from packaging.specifiers import SpecifierSet

    from envbuilder.base import Base
    from envbuilder.document import Node
    from envbuilder.errors import Finding
    from envbuilder.subject import Subject

FILES = ("vllm-plugin.yaml", "vllm-plugin.yml", "vllm_plugin.yaml")
_HIDDEN = frozenset({"null", "refused"})


class _Point(NamedTuple):
    """An entry point as it is declared; `value` is "" where only its name is."""

    group: str
    name: str
    value: str


def file_in(tree: str) -> str | None:
    """Return the declaration at the root of a source tree; None where there is no regular file of that name."""
    paths = [join(tree, name) for name in FILES]
    return next((path for path in paths if isfile(path) and not islink(path)), None)


def mistaken(subjects: SequenceOf[Subject], base: Base, ignored: MappingOf[str, SequenceOf[str]]) -> Iterator[Finding]:
    """Find plugins that declare another engine, another Python or other entry points than there are.

    `ignored` is plugin → names whose bounds it ignores; `python` may be among them.
    """
    for subject in subjects:
        path = _declaration(subject) if subject.plugin else None
        if path:
            yield from _of_file(subject, path, base, frozenset(ignored.get(subject.plugin, ())))


def _declaration(subject: Subject) -> str | None:
    """Find the file at the root of what is importable, inside a package, or among the metadata."""
    package = subject.package
    places = ["", *sorted(package.top_level), package.dist_info]
    paths = (subject.locate(join(place, name)) for place in places for name in FILES)
    return next(filter(isfile, paths), None)


def _of_file(subject: Subject, path: str, base: Base, waived: frozenset[str]) -> Iterator[Finding]:
    try:
        with open(path, "rb") as stream:
            document = parse(stream.read(), file=path.rpartition("/")[2])
    except (OSError, ConfigError) as error:
        yield _unreadable(subject, str(error).splitlines()[0])
        return
    root = document.root
    if document.problems:
        yield _unreadable(subject, str(document.problems[0]))
    if isinstance(root, Mapping):
        yield from _engine(subject, root, base, waived)
        yield from _python(subject, root, base, waived)
        yield from _entry_points(subject, root)
    elif not (isinstance(root, Scalar) and root.kind in _HIDDEN):
        yield _unreadable(subject, f"{path.rpartition('/')[2]}: must hold keys such as `vllm:`")


def _engine(subject: Subject, root: Mapping, base: Base, waived: frozenset[str]) -> Iterator[Finding]:
    declared = {engine.name: said for engine in ENGINES if (said := _bounds(root, engine.name))}
    if not declared or base.engine.name == GENERIC.name:
        return
    bounds = declared.get(base.engine.name, [])
    if not bounds:
        listed = " and ".join(f"`{name}`" for name in declared)
        what = f"`{subject.label}` declares itself for {listed}, and the base's engine is `{base.engine.name}`"
        yield _finding(subject, "declared-engine", WARNING, what, "its entry points may be of no use here", "")
        return
    name = base.engine.distribution
    yield from _range(subject, "declared-engine", name, bounds, base.engine_version, is_waived=name in waived)


def _python(subject: Subject, root: Mapping, base: Base, waived: frozenset[str]) -> Iterator[Finding]:
    bounds = _bounds(root, "python")
    is_waived = "python" in waived or _names_series(bounds, base.python_version)
    yield from _range(subject, "declared-python", "python", bounds, base.version, is_waived=is_waived)


def _names_series(bounds: SequenceOf[str], series: str) -> bool:
    """Tell whether an upper bound is this very series, as `3.13` is to Python 3.13.1: many an author includes it."""
    return f"<{series}" in bounds


def _bounds(root: Mapping, name: str) -> list[str]:
    """Return what is declared of the versions of `name`, in whatever spelling, as specifiers."""
    node = root.values.get(name)
    if isinstance(node, Scalar):
        return _texts([node])
    inner = node.values if isinstance(node, Mapping) else {}
    least = _texts([inner.get("min_version"), root.values.get(f"{name}_min")])
    limit = _texts([inner.get("max_version"), root.values.get(f"{name}_max")])
    return [f">={text}" for text in least[:1]] + [f"<{text}" for text in limit[:1]]


def _texts(nodes: Iterable[Node | None]) -> list[str]:
    return [node.text for node in nodes if isinstance(node, Scalar) and node.kind not in _HIDDEN and node.text]


def _range(
    subject: Subject, code: str, name: str, bounds: list[str], version: str, *, is_waived: bool
) -> Iterator[Finding]:
    from packaging.specifiers import InvalidSpecifier, SpecifierSet  # few plugins have such a file

    try:
        wanted = SpecifierSet(",".join(bounds))
    except InvalidSpecifier:
        yield _unreadable(subject, f"{shown(', '.join(bounds))} is no range of versions of {name}")
        return
    if _fits(wanted, version):
        return
    is_waived = is_waived or _fits(wanted, release_of(version) or version)
    has = f"the base has {version}" if version else "the base does not say its version"
    what = f"`{subject.label}` declares `{name}{','.join(bounds)}`, and {has}"
    way = f"use a release of `{subject.name}` for it, or `ignore: [{name}]` on `{subject.plugin}` at your own risk"
    why = "its author says that it does not work there"
    why = f"nothing stops it, though {why}" if is_waived else why
    yield _finding(subject, code, WARNING if is_waived else ERROR, what, why, way)


def _fits(wanted: SpecifierSet, version: str) -> bool:
    from packaging.version import InvalidVersion, Version

    try:
        return wanted.contains(Version(version), prereleases=True)
    except InvalidVersion:
        return True  # a version that cannot be compared proves nothing


def _entry_points(subject: Subject, root: Mapping) -> Iterator[Finding]:
    declared = list(_declared(root.values.get("entry_points")))
    if not declared:
        return
    real = _real(subject)
    for point in declared:
        named = f"the entry point `{point.name}` of `{point.group}`"
        value = real.get(point.group, {}).get(point.name)
        if value is None:
            what = f"`{subject.label}` declares {named}, and has none of that name{_nearest(point, real)}"
        elif point.value and _plain(point.value) != _plain(value):
            what = f"`{subject.label}` declares {named} as `{point.value}`, and it is `{value}`"
        else:
            continue
        why = "an engine goes by the package's metadata, so what is declared here alone never loads"
        yield _finding(subject, "declared-entry-point", WARNING, what, why, "")


def _declared(node: Node | None) -> Iterator[_Point]:
    """List the entry points of every group: a list of names or of `name:` and `value:`, a mapping, or one name."""
    for group, inner in node.values.items() if isinstance(node, Mapping) else ():
        if isinstance(inner, Mapping):
            yield from (_Point(group, name, _text(value)) for name, value in inner.values.items())
            continue
        for item in inner.items if isinstance(inner, Sequence) else (inner,):
            fields = item.values if isinstance(item, Mapping) else {"name": item}
            name = _text(fields.get("name"))
            if name:
                yield _Point(group, name, _text(fields.get("value")))


def _text(node: Node | None) -> str:
    return "".join(_texts([node]))


def _real(subject: Subject) -> dict[str, dict[str, str]]:
    """Return the package's own entry points, those too that the config leaves out: group → name → value."""
    found: dict[str, dict[str, str]] = {}
    for group, name, value in core_metadata.entry_points(join(subject.lib, subject.package.dist_info)):
        found.setdefault(group, {})[name] = value
    return found


def _nearest(point: _Point, real: dict[str, dict[str, str]]) -> str:
    elsewhere = [group for group, names in real.items() if point.name in names]
    if elsewhere:
        return f"; it is in `{elsewhere[0]}`"
    of_group = real.get(point.group, {})
    same = [name for name, value in of_group.items() if _plain(value) == _plain(point.value)]
    near = same[0] if same else nearest(point.name, sorted(of_group))
    return f"; did you mean `{near}`?" if near else ""


def _plain(value: str) -> str:
    return "".join(value.split())


def _unreadable(subject: Subject, reason: str) -> Finding:
    what = f"`{subject.label}` has a declaration that cannot be read whole: {reason}"
    return _finding(subject, "declaration-unreadable", WARNING, what, "what it says of versions may go unheard", "")


def _finding(subject: Subject, code: str, severity: str, what: str, why: str, way_forward: str) -> Finding:
    way_forward = way_forward or f"correct `{FILES[0]}` of `{subject.name}`, or tell its author"
    return subject.finding(code, severity, what=what, why=why, way_forward=way_forward)
