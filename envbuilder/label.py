"""What is said of a parcel, its `package.json`: believed in nothing that the files in it can say."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from packaging.version import InvalidVersion, Version

from envbuilder import compiled, core_metadata
from envbuilder.digest import is_sealed
from envbuilder.names import is_name, normalized
from envbuilder.package import Files, Package
from envbuilder.wrapping import Unsound

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from envbuilder.package import PackageFile

_DERIVED = ("key", "files", "top_level", "size", "name", "version", "dist_info")
_METADATA = (".dist-info", ".egg-info", ".egg-link", ".egg")
_SAYS_OTHERWISE = "its record does not agree with its files"


def title(record: Any) -> str:
    """Name a package in messages, whatever its record says."""
    said = [record.get(name) for name in ("name", "version")] if isinstance(record, dict) else []
    words = [word for word in said if isinstance(word, str) and word.isprintable() and 0 < len(word) < 100]
    return " ".join(words) or "a package"


def list_of(record: Any) -> str:
    """Return the sha256 of the list of files that a record is about; raise `Unsound` for one that is damaged."""
    try:
        holds = is_sealed(record)
    except (TypeError, ValueError, RecursionError):
        holds = False
    found = record.get("files_sha256") if holds else None
    if not isinstance(found, str):
        raise Unsound("the record of this package is damaged")
    return found


def checked(record: dict[str, Any], files: tuple[PackageFile, ...]) -> Package:
    """Make the package of a record that agrees with its files, and leads out of itself nowhere."""
    try:
        said = Package.from_dict(record, files="")
        said = said._replace(files=Files(files, sha256=said.files.sha256))
        is_one = all(_kinds(said)) and said.to_dict() == record
    except (AttributeError, IndexError, InvalidVersion, KeyError, TypeError, ValueError, RecursionError):
        is_one = False
    if not is_one:
        raise Unsound("the record of this package has not what one has")
    if said.editable:
        raise Unsound("it is editable: its modules lie in a folder of the machine that it is from")
    fields = {name: value for name, value in said._asdict().items() if name not in _DERIVED}
    found = Package.of(files, name=said.name, version=said.version, dist_info=said.dist_info, **fields)
    if found != said or not set(said.physical) <= _folders(files):
        raise Unsound(_SAYS_OTHERWISE)
    if posing := sorted(name for name in said.top_level if name.lower().endswith(_METADATA)):
        raise Unsound(f"its `{posing[0]}` would pass for another distribution")
    return said


def require_metadata(made: Package, lib: str) -> None:
    """Refuse a package whose record has another name, other entry points or requirements than its metadata in `lib`."""
    dist_info = f"{lib}/{made.dist_info}"
    try:
        points, told = core_metadata.entry_points(dist_info), core_metadata.headers(dist_info)
        name, version = normalized(told.name or ""), str(Version(told.version or ""))
    except (AttributeError, OSError, TypeError, ValueError) as error:
        raise Unsound(f"its metadata cannot be read: {type(error).__name__}") from None
    said = {(group, name): value for group, named in made.entry_points.items() for name, value in named.items()}
    is_same = {(group, name): value for group, name, value in points} == said and told.requires == made.requires
    if not is_same or (name, version) != (made.name, made.version):
        raise Unsound(_SAYS_OTHERWISE)


def _kinds(said: Package) -> Iterator[bool]:
    """Say of what is in a record whether it is of its kind; a name is part of paths."""
    yield is_name(said.name) and normalized(said.name) == said.name
    yield str(Version(said.version)) == said.version
    yield said.dist_info.endswith(".dist-info") and "/" not in said.dist_info
    yield all(_are_texts([group, *named, *named.values()]) for group, named in said.entry_points.items())
    yield _are_texts(said.requires) and _are_texts(said.physical)
    yield type(said.size) is int and isinstance(said.source, dict)
    yield said.compiled is None or compiled.to_rows(compiled.from_rows(said.compiled)) == said.compiled
    yield all(_are_texts((row[0], row[2], *row[3], *row[4], *row[5])) and type(row[1]) is int for row in _rows(said))


def _rows(said: Package) -> list[list[Any]]:
    return said.compiled or []


def _are_texts(values: Sequence[Any]) -> bool:
    return all(isinstance(value, str) for value in values)


def _folders(files: Sequence[PackageFile]) -> set[str]:
    """Name the folders of `lib`."""
    found: set[str] = set()
    for folder in {file.path.rpartition("/")[0] for file in files if file.path.startswith("lib/")}:
        parts = folder.split("/")[1:]
        found |= {"/".join(parts[:count]) for count in range(1, len(parts) + 1)}
    return found
