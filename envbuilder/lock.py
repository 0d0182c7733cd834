"""The lock: the full pinned answer for one base, as a PEP 751 `pylock.plugins.toml`.

Goals: complete (a set can be rebuilt from it alone), small diffs (sorted, one entry a package), byte for byte the
same for the same answer, and readable by other tools. What PEP 751 has no field for stands in `[tool.vpm-env]`.
"""

from __future__ import annotations

import json
import os
import re
import sys
from itertools import islice
from typing import TYPE_CHECKING, Any

from envbuilder import contents, lock_shape
from envbuilder.classes import dataclass, field
from envbuilder.errors import LockError

if TYPE_CHECKING:
    from envbuilder.base import Base
    from envbuilder.fs import StrPath

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

MAX_BYTES = 4 << 20
"""A lock of 500 packages has 300 KB."""

MAX_DOTS = 30
"""In one line, outside of quotes: a key has one or two."""

SHOWN_PROBLEMS = 10
VERSION = "1.0"
CREATED_BY = "vpm-env"
_QUOTED = re.compile(r"""\"[^"\n]*"|'[^'\n]*'|\#[^\n]*""")
_BARE_KEY = re.compile(r"[A-Za-z0-9_-]+")


@dataclass(frozen=True, kw_only=True, slots=True)
class LockedPackage:
    """One package of the answer, with PEP 751's field names.

    `wheels`, `sdist`, `vcs`, `directory`, `archive` and `index` are the spec's tables; exactly the ones that
    apply are set. `tree` is the sha256 of a local source's content (for `directory` and local archives). `plugin`
    names the config's entry that asked for it, "" for a dependency. `override` says that it may shadow the base.
    """

    name: str
    version: str
    plugin: str = ""
    index: str | None = None
    wheels: tuple[dict[str, Any], ...] = ()
    sdist: dict[str, Any] | None = None
    vcs: dict[str, Any] | None = None
    directory: dict[str, Any] | None = None
    archive: dict[str, Any] | None = None
    tree: str | None = None
    override: bool = False

    @property
    def is_built(self) -> bool:
        """Tell whether it comes from a git or local source of the config, not from an index."""
        return bool(self.plugin and (self.vcs or self.directory or self.archive))

    @property
    def is_editable(self) -> bool:
        return bool(self.directory and self.directory.get("editable"))


@dataclass(frozen=True, kw_only=True, slots=True)
class Lock:
    """The full pinned answer.

    `base` holds what `base_record` returns. `facts` are the base distributions that
    the answer relies on, name → version. `provided` are plugins that the base itself provides, plugin → `name version`.
    `left_out` are optional plugins that could not be had, plugin → why. `ignored` is plugin → names of base packages
    whose bounds it ignores. `exclude_newer` is the moment after which no upload counted, "" where all
    did. `config_digest` and `base_digest` are what it was resolved from.
    """

    packages: tuple[LockedPackage, ...]
    base: dict[str, str]
    facts: dict[str, str]
    config_digest: str
    base_digest: str
    provided: dict[str, str] = field(default_factory=dict)
    left_out: dict[str, str] = field(default_factory=dict)
    ignored: dict[str, list[str]] = field(default_factory=dict)
    requires_python: str = ""
    exclude_newer: str = ""

    def package(self, name: str) -> LockedPackage | None:
        """Return the package called `name` (normalized), if the answer holds it."""
        return next((package for package in self.packages if package.name == name), None)


def base_record(base: Base) -> dict[str, str]:
    """Return what a lock says of the base that it is for."""
    return {
        "key": base.key,
        "prefix": base.prefix,
        "python": base.version,
        "soabi": base.soabi,
        "platform": base.platform,
        "engine": base.engine.name,
        "engine_version": base.engine_version,
    }


def dump(lock: Lock) -> str:
    """Write `lock` as TOML, with one spelling."""
    record: dict[str, Any] = {"lock-version": VERSION, "created-by": CREATED_BY}
    if lock.requires_python:
        record["requires-python"] = lock.requires_python
    lines = [f"{name} = {_value(value)}" for name, value in record.items()]
    for package in sorted(lock.packages, key=lambda package: package.name):
        lines += ["", "[[packages]]", *_package_lines(package)]
    lines += ["", "[tool.vpm-env]"]
    lines += [f"{name} = {_value(value)}" for name, value in _tool(lock).items()]
    return "\n".join(lines) + "\n"


def parse(text: str, *, path: str) -> Lock:
    """Read what `dump` wrote; raise `LockError`, which names `path`, for anything else."""
    try:
        _require_short_keys(text)
        record = tomllib.loads(text)
        if problems := list(islice(lock_shape.problems(record), SHOWN_PROBLEMS)):
            raise LockError(path=path, reason=f"is not a lock of vpm-env: {'; '.join(problems)}")
        return _lock(record)
    except tomllib.TOMLDecodeError as error:
        raise LockError(path=path, reason=f"is not TOML: {_shortened(str(error))}") from None
    except RecursionError:
        raise LockError(path=path, reason="is not a lock of vpm-env: it is nested too deep") from None
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise LockError(path=path, reason=f"is not a lock of vpm-env ({error!r})") from None


def _require_short_keys(text: str) -> None:
    """Raise `RecursionError` for keys of many parts: for each the parser walks all of the way."""
    if any(line.count(".") > MAX_DOTS for line in _QUOTED.sub("", text).split("\n")):
        raise RecursionError


def read(path: StrPath) -> Lock | None:
    """Read a lock file; None where there is none. Raise `LockError` for one that cannot be used."""
    try:
        content = contents.start_of(path, MAX_BYTES + 1, regular=True)
        if len(content) > MAX_BYTES:
            raise LockError(path=os.fspath(path), reason=f"is larger than {MAX_BYTES >> 20} MiB")
        return parse(content.decode(), path=os.fspath(path))
    except FileNotFoundError:
        return None
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise LockError(path=os.fspath(path), reason=f"cannot be read: {reason}") from None


def _shortened(text: str) -> str:
    return text if len(text) <= 200 else text[:200] + "…"


def single(package: LockedPackage) -> str:
    """Write a lock of one package alone, for an installer that is handed one package at a time."""
    head = f'lock-version = "{VERSION}"\ncreated-by = "{CREATED_BY}"\n\n[[packages]]\n'
    return head + "\n".join(_package_lines(package, with_tool=False)) + "\n"


def package_record(package: LockedPackage) -> dict[str, Any]:
    """Return the fields of PEP 751 that are set, in the spec's order."""
    return {
        name: value
        for name, value in (
            ("name", package.name),
            ("version", package.version),
            ("vcs", package.vcs),
            ("directory", package.directory),
            ("archive", package.archive),
            ("index", package.index),
            ("sdist", package.sdist),
            ("wheels", list(package.wheels)),
        )
        if value
    }


def _package_lines(package: LockedPackage, *, with_tool: bool = True) -> list[str]:
    record = package_record(package)
    own = {"plugin": package.plugin, "tree": package.tree, "override": package.override}
    if with_tool and any(own.values()):
        record["tool"] = {"vpm-env": {name: value for name, value in own.items() if value}}
    return [f"{name} = {_value(value)}" for name, value in record.items()]


def _tool(lock: Lock) -> dict[str, Any]:
    return {
        "base": lock.base,
        "base-digest": lock.base_digest,
        "config-digest": lock.config_digest,
        **({"exclude-newer": lock.exclude_newer} if lock.exclude_newer else {}),
        "facts": dict(sorted(lock.facts.items())),
        "ignored": dict(sorted(lock.ignored.items())),
        "left-out": dict(sorted(lock.left_out.items())),
        "provided": dict(sorted(lock.provided.items())),
    }


def _lock(record: dict[str, Any]) -> Lock:
    tool = record["tool"]["vpm-env"]
    return Lock(
        packages=tuple(map(_package, record.get("packages", []))),
        base=tool["base"],
        facts=tool["facts"],
        config_digest=tool["config-digest"],
        base_digest=tool["base-digest"],
        provided=tool["provided"],
        left_out=tool["left-out"],
        ignored=tool["ignored"],
        requires_python=record.get("requires-python", ""),
        exclude_newer=tool.get("exclude-newer", ""),
    )


def _package(record: dict[str, Any]) -> LockedPackage:
    own = record.get("tool", {}).get("vpm-env", {})
    return LockedPackage(
        name=record["name"],
        version=record["version"],
        plugin=own.get("plugin", ""),
        index=record.get("index"),
        wheels=tuple(record.get("wheels", ())),
        sdist=record.get("sdist"),
        vcs=record.get("vcs"),
        directory=record.get("directory"),
        archive=record.get("archive"),
        tree=own.get("tree"),
        override=own.get("override", False),
    )


def _value(value: Any) -> str:
    """Spell a value as TOML; a JSON string of ASCII is a TOML basic string."""
    if isinstance(value, dict):
        inner = ", ".join(f"{_key(name)} = {_value(item)}" for name, item in value.items())
        return f"{{ {inner} }}" if inner else "{}"
    if isinstance(value, list):
        if value and isinstance(value[0], dict):
            return "[\n" + "".join(f"    {_value(item)},\n" for item in value) + "]"
        return f"[{', '.join(map(_value, value))}]"
    if isinstance(value, (str, bool, int)):
        return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")
    return str(value.isoformat()).replace("+00:00", "Z")


def _key(name: str) -> str:
    return name if _BARE_KEY.fullmatch(name) else json.dumps(name)
