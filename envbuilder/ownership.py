"""Who owns a name: files and import names that the base, the standard library or another package has already.

Files are compared only where two sides meet, so a set without collisions costs one listing of the base.
"""

from __future__ import annotations

from os.path import basename

from envbuilder.base_files import NAMESPACE, REGULAR
from envbuilder.digest import sha256_file
from envbuilder.subject import ERROR, WARNING, import_name, is_init, top_name
from envbuilder.tuples import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from envbuilder.base import Base
    from envbuilder.base_files import BaseFiles
    from envbuilder.errors import Finding
    from envbuilder.subject import Subject

# fmt: off
GENERIC_NAMES = frozenset({
    "app", "apps", "benchmark", "benchmarks", "bin", "build", "cli", "client", "common", "config", "configs", "core",
    "csrc", "data", "demo", "dist", "doc", "docs", "example", "examples", "helpers", "kernels", "layers", "lib",
    "main", "model", "models", "module", "modules", "ops", "plugin", "plugins", "resources", "sample", "samples",
    "script", "scripts", "server", "setup", "src", "test", "testing", "tests", "tool", "tools", "types", "util",
    "utils", "version",
})
# fmt: on
"""Names that any package may take, and that none should."""


def in_base(subject: Subject, entries: Iterable[str], files: BaseFiles, names: frozenset[str]) -> Iterator[Finding]:
    """Find what `subject` has and the base too; `entries` stand at the top of it, `names` at the top of the base."""
    for name in sorted({import_name(entry) for entry in entries} & names):
        yield from _compare(subject, files, name, list(subject.files(name)))


def in_stdlib(subject: Subject, entries: Iterable[str], base: Base) -> Iterator[Finding]:
    """Find top-level names of the standard library."""
    for name in sorted({import_name(entry) for entry in entries} & base.stdlib_names):
        # `argparse` on the index is the module of that name for interpreters that lack it.
        is_backport = name == subject.name
        yield subject.finding(
            "name-in-stdlib",
            WARNING if is_backport else ERROR,
            what=f"`{subject.label}` has the top-level name `{name}`, which is a module of the standard library",
            why=f"`import {name}` always finds Python's own, so this code can never be imported",
            way_forward=f"use a release of `{subject.name}` that does without `{name}`",
        )


def in_two_packages(subjects: Sequence[Subject], entries: Mapping[str, Iterable[str]]) -> Iterator[Finding]:
    """Find what two packages have and only one can give; `entries` is package → what stands at the top of it.

    Files with the same content are no collision, nor are files of several packages in one directory.
    """
    holders: dict[str, list[Subject]] = {}
    for subject in subjects:
        for name in {top_name(entry) for entry in entries[subject.name]} - {"__pycache__"}:
            holders.setdefault(name, []).append(subject)
    for name in sorted(name for name, held in holders.items() if len(held) > 1):
        yield from _collisions(name, holders[name])


class _File(NamedTuple):
    subject: Subject
    path: str
    sha256: str


def _compare(subject: Subject, files: BaseFiles, place: str, paths: list[str]) -> Iterator[Finding]:
    ours, theirs = _kind(place, paths), files.kind(place)
    if not ours or not theirs:
        return
    if ours == theirs == NAMESPACE:
        yield from _inside(subject, files, place, paths)
    elif ours == NAMESPACE:
        yield _file_in_base(subject, files, place, paths)
    elif not (subject.override and files.may_be_shadowed(subject.name, place)):
        yield _name_in_base(subject, files, place, hides_namespace=theirs == NAMESPACE)


def _inside(subject: Subject, files: BaseFiles, place: str, paths: list[str]) -> Iterator[Finding]:
    """Compare the portions of a namespace that is on both sides."""
    children: dict[str, list[str]] = {}
    for path in paths:
        children.setdefault(import_name(path[len(place) + 1 :].partition("/")[0]), []).append(path)
    for path in children.pop("", ()):
        if files.has_file(path) and not subject.override:
            yield _data_in_base(subject, files, path)
    for name in sorted(children):
        yield from _compare(subject, files, f"{place}/{name}", children[name])


def _kind(place: str, paths: Iterable[str]) -> str:
    """Tell what a package's own `paths`, all of them at or below `place`, make of it."""
    found = ""
    for path in paths:
        rest = path[len(place) :]
        if rest.startswith("."):
            return REGULAR
        if rest.startswith("/"):
            if is_init(rest[1:]):
                return REGULAR
            found = NAMESPACE
    return found


def _name_in_base(subject: Subject, files: BaseFiles, place: str, *, hides_namespace: bool) -> Finding:
    name, owner = place.replace("/", "."), files.owner(place)
    why = "one of the two hides the other"
    if hides_namespace:
        why = f"`{name}` is a namespace in the base, and a package with an `__init__.py` hides all of the base's share"
    return subject.finding(
        "name-in-base",
        ERROR,
        what=f"`{subject.label}` has the import name `{name}`, which the base has too{_from(owner)}",
        why=why + _generic(name),
        way_forward=f"use a release of `{subject.name}` that does without `{name}`, or a base without "
        + (f"`{owner}`" if owner else "it"),
    )


def _file_in_base(subject: Subject, files: BaseFiles, place: str, paths: list[str]) -> Finding:
    name, owner = place.replace("/", "."), files.owner(place)
    return subject.finding(
        "file-in-base",
        ERROR,
        what=f"`{subject.label}` puts {_some(paths)} inside `{name}` of the base{_from(owner)}",
        why=f"`import {name}` finds the base's package as a whole, so these files can never be imported",
        way_forward=f"use a release of `{subject.name}` that has its code in a package of its own",
    )


def _data_in_base(subject: Subject, files: BaseFiles, path: str) -> Finding:
    return subject.finding(
        "file-in-base",
        WARNING,
        what=f"`{subject.label}` has the file `{path}`, which the base has too{_from(files.owner(path))}",
        why="code that looks for it by its place finds one of the two",
        way_forward=f"compare the two files before you rely on `{subject.name}`",
    )


def _collisions(name: str, held: Sequence[Subject]) -> Iterator[Finding]:
    """Compare the packages that share one top-level name, each with those before it."""
    known: dict[str, _File] = {}
    modules: dict[str, _File] = {}
    places: dict[str, Subject] = {}
    for subject in held:
        own = [_File(subject, path, sha256) for path, sha256 in subject.files(name).items()]
        clashing = [(file, other) for file in own if (other := _clash(file, known, modules, places))]
        yield from _in_two(name, subject, clashing)
        for file in own:
            known.setdefault(file.path, file)
            modules.setdefault(_place(file.path), file)
            places.update((folder, subject) for folder in _folders(file.path) if folder not in places)


def _clash(
    file: _File, known: Mapping[str, _File], modules: Mapping[str, _File], places: Mapping[str, Subject]
) -> Subject | None:
    """Return who, of those before, has something that cannot stand beside `file`.

    That is the same file with another content, or another file (or a folder) that is imported under the same name.
    """
    if other := known.get(file.path):
        return None if _digest(other) == _digest(file) else other.subject
    place = _place(file.path)
    if place and (other := modules.get(place)):
        return other.subject
    if place in places and not _may_share(file, places[place].override):
        return places[place]
    hiding = (modules[folder] for folder in _folders(file.path) if folder in modules)
    return next((other.subject for other in hiding if not _may_share(other, file.subject.override)), None)


def _may_share(module: _File, override: bool) -> bool:
    """Tell whether others may put files below `module`: it is a package, and stands in the same directory as they."""
    return is_init(basename(module.path)) and module.subject.override == override


def _place(path: str) -> str:
    """Return what importing `path` would take: `a/b` for `a/b.py` and `a/b/__init__.py`, "" for what is no module."""
    folder, _, entry = path.rpartition("/")
    if is_init(entry):
        return folder
    name = import_name(entry) if "." in entry else ""
    return f"{folder}/{name}".lstrip("/") if name else ""


def _folders(path: str) -> Iterator[str]:
    parts = path.split("/")
    return ("/".join(parts[:count]) for count in range(1, len(parts)))


def _digest(file: _File) -> str:
    return file.sha256 or sha256_file(file.subject.locate(file.path))


def _in_two(name: str, subject: Subject, clashing: list[tuple[_File, Subject]]) -> Iterator[Finding]:
    paths: dict[str, list[str]] = {}
    labels = {other.name: other.label for _, other in clashing}
    for file, other in clashing:
        paths.setdefault(other.name, []).append(file.path)
    for other_name, own in paths.items():
        is_code = any(_place(path) for path in own) or "/" in own[0]
        yield subject.finding(
            "name-in-two-packages",
            ERROR if is_code else WARNING,
            what=f"`{subject.label}` and `{labels[other_name]}` both have `{name}`, and differ in {_some(own)}",
            why="only one of the two can be there" + _generic(name),
            way_forward=f"take `{subject.name}` or `{other_name}` out of the set, or use a release without `{name}`",
        )


def _some(paths: Sequence[str]) -> str:
    more = f" and {len(paths) - 1} more" if len(paths) > 1 else ""
    return f"`{min(paths)}`{more}"


def _from(owner: str) -> str:
    return f" (from `{owner}`)" if owner else ""


def _generic(name: str) -> str:
    return f"; `{name}` is a generic name, which any package may take" if name in GENERIC_NAMES else ""
