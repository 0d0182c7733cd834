"""What a lock may hold: it is committed, mailed and merged, so no word of it becomes a path or an option unseen."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from envbuilder.members import has_hidden
from envbuilder.names import is_name, normalized

if TYPE_CHECKING:
    from collections.abc import Iterator

_VERSION = re.compile(r"[A-Za-z0-9][A-Za-z0-9.!+_-]{0,199}")
_SHA256 = re.compile(r"[0-9a-f]{64}")
_SCHEME = re.compile(r"(https?|file)://|\$\{")
_TABLES = ("sdist", "vcs", "directory", "archive")


def problems(record: dict[str, Any]) -> Iterator[str]:
    """Yield what a lock, as TOML says it, must not hold."""
    yield from _hidden({**record, "tool": None})
    yield from _hidden(record.get("tool"), but="\n")  # why a plugin was left out may take several lines
    packages = record.get("packages", [])
    if not isinstance(packages, list) or not all(isinstance(entry, dict) for entry in packages):
        yield "`packages` is no list of tables"
        return
    names = [entry.get("name") for entry in packages]
    for entry in packages:
        yield from _of_package(entry)
    yield from (f"`{name}` is there twice" for name in sorted({str(name) for name in names if names.count(name) > 1}))
    yield from _of_tool(record.get("tool"))


def _hidden(value: Any, but: str = "") -> Iterator[str]:
    """Find text that a terminal obeys; what is nested too deep was refused by its parser."""
    if isinstance(value, str):
        if has_hidden(value.replace(but, "") if but else value):
            yield f"{value[:60]!r} holds control characters"
    elif isinstance(value, (dict, list)):
        for inner in (*value, *value.values()) if isinstance(value, dict) else value:
            yield from _hidden(inner, but)


def _of_package(entry: dict[str, Any]) -> Iterator[str]:
    name, version = entry.get("name"), entry.get("version")
    if not (isinstance(name, str) and len(name) < 200 and is_name(name) and normalized(name) == name):
        yield f"{_shown(name)} is no package's name"
        return
    if not (isinstance(version, str) and _VERSION.fullmatch(version)):
        yield f"{_shown(version)} is no version of `{name}`"
    wheels = entry.get("wheels", [])
    if not isinstance(wheels, list):
        yield f"the `wheels` of `{name}` are no list"
        return
    tables = {key: entry[key] for key in _TABLES if key in entry}
    for key, table in (*(("wheels", wheel) for wheel in wheels), *tables.items()):
        if not isinstance(table, dict):
            yield f"`{key}` of `{name}` is no table"
        else:
            told = _of_file(table) if key in ("wheels", "sdist") else _of_places(table)
            yield from (f"{text} of `{name}`" for text in told)
    if not isinstance(entry.get("index", ""), str):
        yield f"the `index` of `{name}` is no text"
    yield from _of_own(entry.get("tool", {}), name)


def _of_own(tool: Any, name: str) -> Iterator[str]:
    own = tool.get("vpm-env", {}) if isinstance(tool, dict) else None
    kinds = {"plugin": str, "tree": str, "override": bool}
    if not isinstance(own, dict) or not all(isinstance(own.get(key, kind()), kind) for key, kind in kinds.items()):
        yield f"`tool` of `{name}` is none of ours"


def _of_file(file: dict[str, Any]) -> Iterator[str]:
    hashes, size, place, name = (file.get(key) for key in ("hashes", "size", "url", "name"))
    sha256 = hashes.get("sha256") if isinstance(hashes, dict) else None
    if not (isinstance(sha256, str) and _SHA256.fullmatch(sha256)):
        yield "a file without a sha256"
    if size is not None and (isinstance(size, bool) or not isinstance(size, int) or not 0 <= size < 1 << 50):
        yield f"the size {_shown(size)}"
    if place is not None and not (isinstance(place, str) and _SCHEME.match(place)):
        yield f"the URL {_shown(place)}"
    if name is not None and not (isinstance(name, str) and "/" not in name and "\\" not in name):
        yield f"the file name {_shown(name)}"
    if not isinstance(file.get("path", ""), str) or not (place or file.get("path")):
        yield "a file without a place"
    yield from _of_places(file)


def _of_places(table: dict[str, Any]) -> Iterator[str]:
    """Refuse two places: who checks a file and who opens it must not choose differently."""
    if table.get("url") and table.get("path"):
        yield "two places, `url` and `path`,"


def _of_tool(tool: Any) -> Iterator[str]:
    own = tool.get("vpm-env") if isinstance(tool, dict) else None
    if not isinstance(own, dict):
        yield "there is no `[tool.vpm-env]`"
        return
    for key in ("base", "facts", "provided", "left-out"):
        table = own.get(key)
        if not (isinstance(table, dict) and all(isinstance(value, str) for value in table.values())):
            yield f"`{key}` is no table of texts"
        elif key == "provided" and not all(len(value.split(" ")) == 2 for value in table.values()):
            yield "`provided` does not tell names and versions"
    ignored = own.get("ignored")
    if not isinstance(ignored, dict) or not all(_are_texts(names) for names in ignored.values()):
        yield "`ignored` is no table of lists"
    if not all(isinstance(own.get(key, ""), str) for key in ("config-digest", "base-digest", "exclude-newer")):
        yield "its digests are no texts"


def _are_texts(value: Any) -> bool:
    return isinstance(value, list) and all(isinstance(item, str) for item in value)


def _shown(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else text[:60] + "…"
