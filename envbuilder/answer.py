"""One question to the resolver and what it answered, as data: `uv pip compile`, once, jointly."""

from __future__ import annotations

import json
import re
import sys
from os.path import join
from typing import TYPE_CHECKING, Any

from envbuilder import fs, gate
from envbuilder.base_stubs import renounce
from envbuilder.classes import dataclass, field, replace
from envbuilder.lock import CREATED_BY, VERSION, LockedPackage, single
from envbuilder.members import MAX_UNPACKED
from envbuilder.names import normalized

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping, Sequence

    from envbuilder.indexes import PluginIndex
    from envbuilder.process import Result
    from envbuilder.stubs import Stub
    from envbuilder.uv import Uv

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

_PROJECT = "vpm-env-set"
_OF_STUB = re.compile(
    r"""^\[\[packages\]\]
name = "(?P<name>[a-z0-9-]+)"
version = "(?P<version>[^"\\\n]+)"
archive = \{ path = "[^"\n]*", hashes = \{ sha256 = "[0-9a-f]{64}" \} \}
(?=\n|\Z)""",
    re.MULTILINE,
)
_INPUT = "pyproject.toml"
_OUTPUT = "pylock.toml"
_ANNOTATED = re.compile(r"^(?P<name>[A-Za-z0-9._-]+)(?:==| @ ).*?\s# via (?P<via>.+)$")
_HEADLINE = "No solution found when resolving dependencies"
_DAMAGED = re.compile(r"invalid|corrupt|truncated|unexpected end|[Ff]ailed to (read|parse|decode|deserialize)")
"""What uv says, among other things, where a power cut tore its cache: it brings nothing to the disk."""
_SHOWN_LINES = 8
_SHOWN_COLUMNS = 400


@dataclass(frozen=True, kw_only=True, slots=True)
class Root:
    """One requirement of the set: its package's normalized name, a PEP 508 line, the plugin ("" for the base's own).

    `index` is set where this package comes from an index of its own.
    """

    name: str
    line: str
    plugin: str = ""
    index: PluginIndex | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class Question:
    """What to resolve, for the interpreter `python`.

    `facts` are the stubs that hold wherever their name is required, if the requirement allows them; `forced` hold
    even if it does not. `preferred` are versions to keep if they fit. `upgrade` is None to keep them, empty to
    keep none, else the names to look for anew. `build_in_base` are packages that are built without isolation.
    Nothing counts that was uploaded after the moment `exclude_newer`. `alone` asks for the roots without what they
    require. `direct` are names of packages for which a stub stands wherever they are required.
    """

    python: str
    roots: tuple[Root, ...]
    facts: Mapping[str, Stub] = field(default_factory=dict)
    forced: Mapping[str, Stub] = field(default_factory=dict)
    preferred: Mapping[str, str] = field(default_factory=dict)
    upgrade: frozenset[str] | None = None
    build_in_base: tuple[str, ...] = ()
    exclude_newer: str = ""
    alone: bool = False
    direct: frozenset[str] = frozenset()

    def of(self, plugins: Iterable[str]) -> Question:
        """Return the question for some plugins alone, and the base's own roots."""
        kept = {"", *plugins}
        return replace(self, roots=tuple(root for root in self.roots if root.plugin in kept))


@dataclass(frozen=True, kw_only=True, slots=True)
class Answer:
    """What fits: `versions` of everything, stubs included; `packages` are those that are no stubs."""

    versions: dict[str, str]
    packages: tuple[LockedPackage, ...]
    requires_python: str

    def package(self, name: str) -> LockedPackage | None:
        """Return the package called `name`, if it is in the answer and no stub."""
        return next((package for package in self.packages if package.name == name), None)


@dataclass(frozen=True, kw_only=True, slots=True)
class Unsolvable:
    """There is no answer; `words` are the resolver's own last ones, shortened."""

    words: str


def ask(uv: Uv, question: Question, scratch: str, *, most_written: int | None = None) -> Answer | Unsolvable:
    """Resolve; `scratch` is a directory to work in.

    What a URL names is unpacked for that: of what may come so, `most_written` is how many bytes it may take. Raise
    `PackageError` for more.
    """
    with fs.staging(scratch) as folder:
        _write_input(question, folder)
        output = join(folder, _OUTPUT)
        if question.preferred:
            fs.write_plain(output, _preferences(question).encode())
        args = [*_args(question), *_upgrades(question), "--quiet", "--format", "pylock.toml", "-o", _OUTPUT]
        bound = (question.roots[0].name, most_written) if most_written else None
        result = _watched(uv, args, folder, bound)
        if result.code and _DAMAGED.search(result.stderr):
            result = _asked_again(uv, args, folder, bound, question) or result
        if result.code:
            return Unsolvable(words=shortened(result.stderr, folder))
        with open(output, encoding="utf-8") as stream:
            return _read(stream.read(), question, uv)


def requirers(uv: Uv, question: Question, answer: Answer, scratch: str) -> dict[str, tuple[str, ...]]:
    """Say for each package of an answer which others require it; a root is not among its own requirers."""
    pinned = replace(question, preferred=answer.versions, upgrade=None)
    with fs.staging(scratch) as folder:
        _write_input(pinned, folder)
        lines = [f"{name}=={version}\n" for name, version in pinned.preferred.items()]
        fs.write_plain(join(folder, "requirements.txt"), "".join(lines).encode())
        args = ("--quiet", "--no-header", "--annotation-style", "line", "-o", "requirements.txt")
        result = uv.run([*_args(pinned), *args], cwd=folder)
        with open(join(folder, "requirements.txt"), encoding="utf-8") as stream:
            text = "" if result.code else stream.read()
    matches = filter(None, map(_ANNOTATED.match, text.splitlines()))
    return {normalized(match["name"]): tuple(_packages(match["via"])) for match in matches}


def requirements_of(uv: Uv, package: LockedPackage, *, python: str, scratch: str) -> tuple[str, ...]:
    """Fetch a package of an answer and return its `Requires-Dist` lines; raise `LookupError` if it cannot be had."""
    from email.parser import HeaderParser  # only what cannot be resolved is looked at like this
    from glob import escape, glob

    with fs.staging(scratch) as folder:
        fs.write_plain(join(folder, "pylock.one.toml"), uv.filled(single(package)).encode())
        target = join(folder, "target")
        args = ("pip", "install", "--quiet", "--no-deps", "--python", python, "--target", target)
        result = uv.for_plugin(package.plugin).run([*args, "-r", "pylock.one.toml"], cwd=folder)
        found = glob(join(escape(target), "*.dist-info", "METADATA"))
        if result.code or not found:
            raise LookupError(shortened(result.stderr, folder))
        with open(found[0], encoding="utf-8", errors="replace") as stream:
            message = HeaderParser().parse(stream)
        return tuple(map(str, message.get_all("Requires-Dist", ())))


def _asked_again(
    uv: Uv, args: Sequence[str], folder: str, bound: tuple[str, int] | None, question: Question
) -> Result | None:
    """Ask without what uv remembers of indexes, then without all that it remembers; None where neither helps."""
    if not uv.offline and not (result := _watched(uv, [*args, "--refresh"], folder, bound)).code:
        return result
    if not (result := _watched(uv, [*args, "--no-cache"], folder, bound)).code:
        renounce(question.facts.values())
        return result
    return None


def _watched(uv: Uv, args: Sequence[str], folder: str, bound: tuple[str, int] | None) -> Result:
    """Resolve, and end it where it writes too much: uv unpacks a wheel of a folder, or of a URL, to read its metadata.

    `bound` is the package of a URL, and how many bytes it may take.
    """
    links = uv.link_folders
    anything = 0 if uv.offline or uv.no_index else 2 * MAX_UNPACKED
    package, most = bound or ("find_links" if links else "index", anything)
    result = uv.run(args, cwd=folder, most_written=gate.allowance_of_folders(links) + most)
    gate.require_bounded(result, package, links)
    return result


def shortened(words: str, folder: str = "") -> str:
    """Cut what uv said down to what a reader needs: no labels, no names of ours, few lines."""
    words = words.replace(f"{folder}/", "") if folder else words
    words = re.sub(rf"\b{_PROJECT} depends on ", "you require ", words).replace(_PROJECT, "plugins.yaml")
    lines = (re.sub(r"^(error|cause): ", "", line.strip()) for line in words.splitlines())
    told = [line for line in lines if line and line != _HEADLINE] or [_HEADLINE]
    kept = [line if len(line) <= _SHOWN_COLUMNS else line[:_SHOWN_COLUMNS] + "…" for line in told]
    return "\n".join(kept[:_SHOWN_LINES])


def _args(question: Question) -> list[str]:
    args = ["pip", "compile", _INPUT, "--python", question.python, "-c", "facts.txt", "--overrides", "forced.txt"]
    for name in question.build_in_base:
        args += ["--no-build-isolation-package", name]
    args += ["--no-deps"] if question.alone else []
    return [*args, "--exclude-newer", question.exclude_newer] if question.exclude_newer else args


def _upgrades(question: Question) -> list[str]:
    if question.upgrade is None:
        return []
    if not question.upgrade:
        return ["--upgrade"]
    return [word for name in sorted(question.upgrade) for word in ("--upgrade-package", name)]


def _write_input(question: Question, folder: str) -> None:
    """Write the roots as a project, because only a project can say that one package has an index of its own."""
    lines = ["[project]", f'name = "{_PROJECT}"', 'version = "0"', "dependencies = ["]
    lines += [f"    {json.dumps(root.line)}," for root in question.roots]
    lines += ["]", "", "[tool.uv.sources]"]
    own = {root.name: root.index for root in question.roots if root.index}
    lines += [f'{json.dumps(name)} = {{ index = "{index.name}" }}' for name, index in own.items()]
    for index in {index.name: index for index in own.values()}.values():
        lines += [
            "",
            "[[tool.uv.index]]",
            f'name = "{index.name}"',
            f"url = {json.dumps(index.url)}",
            "explicit = true",
        ]
    fs.write_plain(join(folder, _INPUT), ("\n".join(lines) + "\n").encode())
    fs.write_plain(join(folder, "facts.txt"), _pinned(question.facts))
    fs.write_plain(join(folder, "forced.txt"), _pinned(question.forced))


def _pinned(stubs: Mapping[str, Stub]) -> bytes:
    return "".join(f"{name} @ {stub.url}\n" for name, stub in stubs.items()).encode()


def _preferences(question: Question) -> str:
    """Write a lock of names and versions alone: uv keeps from an output file what still fits."""
    head = f'lock-version = "{VERSION}"\ncreated-by = "{CREATED_BY}"\n'
    entries = question.preferred.items()
    return head + "".join(f'\n[[packages]]\nname = "{name}"\nversion = "{version}"\n' for name, version in entries)


def _read(text: str, question: Question, uv: Uv) -> Answer:
    plugins = {root.name: root for root in reversed(question.roots) if root.plugin}
    stubs = {*question.facts, *question.forced, *question.direct}
    stubs |= {root.name for root in question.roots if " @ " in root.line and not question.alone}
    rest, versions = _without_stubs(text, stubs)
    record = tomllib.loads(rest)
    entries = {normalized(entry["name"]): entry for entry in record.get("packages", ())}
    packages = (_package(entry, plugins.get(name), uv) for name, entry in entries.items() if name not in stubs)
    return Answer(
        versions=versions | {name: str(entry.get("version", "")) for name, entry in entries.items()},
        packages=tuple(packages),
        requires_python=str(record.get("requires-python", "")),
    )


def _without_stubs(text: str, stubs: Collection[str]) -> tuple[str, dict[str, str]]:
    """Take out what an answer says of stubs, their versions apart: a base has hundreds, and to parse TOML is slow.

    Only what looks exactly as uv writes it goes; the parser sees the rest.
    """
    versions: dict[str, str] = {}

    def taken(found: re.Match[str]) -> str:
        if found["name"] not in stubs:
            return found[0]
        versions[found["name"]] = found["version"]
        return ""

    return _OF_STUB.sub(taken, text), versions


def _package(entry: dict[str, Any], root: Root | None, uv: Uv) -> LockedPackage:
    return LockedPackage(
        name=normalized(entry["name"]),
        version=str(entry.get("version", "")),
        plugin=root.plugin if root else "",
        index=uv.masked(root.index.url) if root and root.index else _masked_url(entry.get("index"), uv),
        wheels=tuple(_artifact(wheel, uv) for wheel in entry.get("wheels", ())),
        sdist=_artifact(entry["sdist"], uv) if "sdist" in entry else None,
        vcs=_artifact(entry["vcs"], uv) if "vcs" in entry else None,
        archive=_artifact(entry["archive"], uv) if "archive" in entry else None,
    )


def _artifact(table: dict[str, Any], uv: Uv) -> dict[str, Any]:
    """Take a table of the answer as it is, but for times (nothing reads them) and credentials."""
    kept = {name: value for name, value in table.items() if name != "upload-time"}
    return {**kept, **({"url": uv.masked(kept["url"])} if "url" in kept else {})}


def _masked_url(url: str | None, uv: Uv) -> str | None:
    return uv.masked(url) if url else None


def _packages(via: str) -> Iterable[str]:
    """Read `a, b, -c facts.txt, vpm-env-set (pyproject.toml)`: the packages among them."""
    words = (word.strip() for word in via.split(","))
    return (normalized(word) for word in words if word and not word.startswith("-") and " " not in word)
