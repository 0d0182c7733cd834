"""What people write behind `vpm-env add`, as the entry of `plugins.yaml` that it stands for."""

from __future__ import annotations

import re
from os.path import abspath, basename, exists, isabs, isdir, join, relpath

from envbuilder.config_values import is_archive
from envbuilder.document import shown
from envbuilder.errors import UsageError
from envbuilder.names import is_name, normalized
from envbuilder.process import without_credentials
from envbuilder.tuples import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from envbuilder.paths import Environment

    Value = str | bool | Sequence[str]
    Record = dict[str, Value]

ORDER = (
    "name", "source", "package", "version", "url", "ref", "subdirectory", "path", "editable", "index", "extras",
    "ignore", "entry_points", "optional", "build_isolation", "enabled",
)  # fmt: skip
"""How the keys of a new entry follow one another."""

_FORMS = "write `name`, `name[extra]>=1.2`, `git+https://host/repository@ref`, `./folder` or `dist/a.whl`"
_NAMED_URL = re.compile(r"\s*([A-Za-z0-9._-]+)\s*(?:\[([^\]]*)\])?\s*@\s*((?:git\+|[A-Za-z+]+://).*)", re.DOTALL)
_WITH_EXTRAS = re.compile(r"(.+?)\[([A-Za-z0-9._,\s-]*)\]", re.DOTALL)
_SCP_LIKE = re.compile(r"(?:git\+)?([\w.+-]+@[\w.-]+:)(?!//)(.+)", re.ASCII)
_URL = re.compile(r"(?:git\+)?([A-Za-z][A-Za-z0-9+.-]*://[^/]*)(/.*)?", re.DOTALL)


class Wanted(NamedTuple):
    """One plugin to add: `spec` as written, `record` what the entry says, `is_named` if `--name` said its name."""

    spec: str
    record: Record
    is_named: bool


class Choices(NamedTuple):
    """The options of `add`, and where paths count from: the working directory and the config's folder (absolute)."""

    folder: str
    env: Environment
    name: str | None = None
    ref: str | None = None
    subdirectory: str | None = None
    source_index: str | None = None
    editable: bool = False
    optional: bool = False
    disabled: bool = False
    ignore: tuple[str, ...] = ()
    entry_points: tuple[str, ...] = ()


def read_all(specs: Iterable[str], choices: Choices) -> tuple[Wanted, ...]:
    """Read every spec; raise `UsageError` with all that is wrong with them."""
    found: list[Wanted] = []
    errors: list[UsageError] = []
    for spec in specs:
        try:
            found.append(read(spec, choices))
        except UsageError as error:
            errors.append(error)
    if errors:
        hints = dict.fromkeys(error.hint for error in errors if error.hint)
        raise UsageError("\n".join(error.message for error in errors), hint="\n".join(hints) or None)
    return tuple(found)


def read(spec: str, choices: Choices) -> Wanted:
    """Read one spec; raise `UsageError` for what is none, or for options that do not fit it."""
    record = _source(spec.strip(), choices)
    record = {**record, **_said(choices)}
    _check_options(spec, record, choices)
    _check_credentials(spec, record)
    return Wanted(spec, {key: record[key] for key in ORDER if key in record}, choices.name is not None)


def _source(spec: str, choices: Choices) -> Record:
    """Tell what kind of source a spec names, and read it."""
    name, extras, place = choices.name, "", spec
    if found := _NAMED_URL.fullmatch(spec):
        name, extras, place = name or found[1], found[2] or "", found[3]
    if place.startswith("file://"):
        place = place.removeprefix("file://")
    if place.startswith("git+/"):
        place = "git+file://" + place.removeprefix("git+")
    if _is_path(place):
        return _local(place, name, extras, choices)
    if _URL.fullmatch(place) or _SCP_LIKE.fullmatch(place):
        return _git(place, name, extras)
    return _package(spec, name)


def _is_path(text: str) -> bool:
    if text.startswith((".", "/", "~", "\\")):
        return True
    is_url = "://" in text or text.startswith("git+") or _SCP_LIKE.fullmatch(text)
    return not is_url and ("/" in text or is_archive(text))


def _package(spec: str, name: str | None) -> Record:
    from packaging.requirements import InvalidRequirement, Requirement  # only a package's spec pays for it

    try:
        required = Requirement(spec)
    except InvalidRequirement:
        raise UsageError(f"{shown(spec)} is no plugin", hint=_likely(spec)) from None
    if required.marker:
        raise UsageError(f"{shown(spec)} has a marker (`;`), which plugins.yaml has not", hint="leave it out")
    if required.url:
        raise UsageError(f"{shown(spec)} is no plugin", hint=f"write `{required.name}=={required.url}` for a version")
    record: Record = {"name": name or required.name, "source": "pypi"}
    if name and normalized(name) != normalized(required.name):
        record["package"] = required.name
    if required.specifier:
        record["version"] = _bounds(spec)
    return record | ({"extras": sorted(required.extras)} if required.extras else {})


def _bounds(spec: str) -> str:
    """Return the version part of a requirement as it was written, without blanks and parentheses."""
    found = re.fullmatch(r"\s*[A-Za-z0-9._-]+\s*(?:\[[^\]]*\])?\s*\(?([^()]*)\)?\s*", spec)
    return re.sub(r"\s+", "", found[1] if found else "")


def _likely(spec: str) -> str:
    """Say what another tool's spelling is here."""
    if found := re.fullmatch(r"([A-Za-z0-9._-]+)\s*@\s*v?(\d\S*)|([A-Za-z0-9._-]+)=v?(\d\S*)", spec):
        return f"write `{found[1] or found[3]}=={found[2] or found[4]}` for a version"
    return _FORMS


def _git(place: str, name: str | None, extras: str) -> Record:
    body, _, fragment = place.partition("#")
    found = _SCP_LIKE.fullmatch(body) or _URL.fullmatch(body)
    if found is None:
        raise UsageError(f"{shown(place)} is no plugin", hint=_FORMS)
    path, _, ref = (found[2] or "").partition("@")
    if is_archive(path) and not place.startswith("git+"):
        hint = "download it and add the file, or write its folder or page under `find_links:` and add the name"
        raise UsageError("plugins.yaml has no source for the URL of a file", hint=hint)
    said = _fragment(fragment)
    subdirectory = said.get("subdirectory", "")
    last = basename((subdirectory or path).rstrip("/")).removesuffix(".git")
    record: Record = {"name": name or said.get("egg") or last.partition("?")[0], "source": "git"}
    record |= {"url": found[1] + path}
    record |= {"ref": ref} if ref else {}
    record |= {"subdirectory": subdirectory} if subdirectory else {}
    return record | _extras(extras)


def _fragment(text: str) -> dict[str, str]:
    """Read what follows the `#` of a git URL: `subdirectory=plugins/one&egg=name`."""
    pairs = [part.partition("=") for part in text.split("&") if part]
    for key, _, value in pairs:
        if key not in ("subdirectory", "egg") or not value:
            hint = "`#subdirectory=…` is all that may follow; a branch, a tag or a commit follows an `@`"
            raise UsageError(f"the URL of a git repository ends with {shown('#' + text)}", hint=hint)
    return {key: value for key, _, value in pairs}


def _local(place: str, name: str | None, extras: str, choices: Choices) -> Record:
    found = _WITH_EXTRAS.fullmatch(place)
    if found and not exists(choices.env.expand(place)):
        place, extras = found[1], extras or found[2]
    path = abspath(choices.env.expand(place))
    if not exists(path):
        raise UsageError(f"there is no file or folder `{place}`", hint=_FORMS)
    if not isdir(path) and not is_archive(path):
        raise UsageError(f"`{place}` is no folder, wheel or sdist", hint=_FORMS)
    record: Record = {"name": name or _local_name(path), "source": "local", "path": _written(place, path, choices)}
    return record | _extras(extras)


def _written(place: str, path: str, choices: Choices) -> str:
    """Spell a path for the config: from the config's folder if it was written relative, else as it was."""
    if isabs(place) or place.startswith("~"):
        return place
    written = relpath(path, choices.folder)
    return written if written.startswith("..") else join(".", written)


def _local_name(path: str) -> str:
    """Name a local plugin after its project, or after its file or folder where that says nothing."""
    if is_archive(path):
        stem = basename(path).lower().removesuffix(".whl").removesuffix(".tar.gz").removesuffix(".zip")
        is_wheel = path.lower().endswith(".whl")
        return normalized(stem.partition("-")[0] if is_wheel else stem.rpartition("-")[0] or stem)
    return _project_name(join(path, "pyproject.toml")) or normalized(basename(path))


def _project_name(file: str) -> str:
    import sys

    if sys.version_info >= (3, 11):
        import tomllib
    else:
        import tomli as tomllib
    try:
        with open(file, "rb") as stream:
            name = tomllib.load(stream).get("project", {}).get("name", "")
    except (OSError, ValueError, AttributeError):
        return ""
    return name if isinstance(name, str) and is_name(name) else ""


def _extras(text: str) -> Record:
    names = [name.strip() for name in text.split(",") if name.strip()]
    return {"extras": names} if names else {}


def _said(choices: Choices) -> Record:
    """Return the keys that options say."""
    said: dict[str, Value | None] = {
        "ref": choices.ref,
        "subdirectory": choices.subdirectory,
        "index": choices.source_index,
        "editable": choices.editable,
        "optional": choices.optional,
        "ignore": choices.ignore,
        "entry_points": choices.entry_points,
    }
    record: Record = {key: value for key, value in said.items() if value}
    return record | ({"enabled": False} if choices.disabled else {})


def _check_credentials(spec: str, record: Record) -> None:
    """Refuse a password or token in a URL: a config is shared, and each generation keeps a copy of it."""
    for key in ("url", "index"):
        url = record.get(key, "")
        if isinstance(url, str) and without_credentials(url) != url and not _is_user_alone(url):
            what = f"the `{key}` of {shown(spec)} holds a credential, which would stand in the config for all to read"
            way = "write `${NAME}` in its place (in single quotes: the shell must not fill it in) and set that variable"
            raise UsageError(what, hint=way)


def _is_user_alone(url: str) -> bool:
    """Tell whether a URL of ssh names a user only, which is no secret."""
    scheme, _, rest = url.partition("://")
    return scheme == "ssh" and ":" not in rest.partition("@")[0]


def _check_options(spec: str, record: Record, choices: Choices) -> None:
    """Refuse options of another kind of source."""
    own = {"ref": "git", "subdirectory": "git", "index": "pypi", "editable": "local"}
    kinds = {"git": "a git repository", "pypi": "a package", "local": "a folder or file"}
    source = str(record["source"])
    wrong = [key for key, kind in own.items() if kind != source and _said(choices).get(key)]
    if wrong:
        words = " and ".join(f"`--{key}`" for key in wrong)
        raise UsageError(f"{shown(spec)} is {kinds[source]}, and {words} is for {kinds[own[wrong[0]]]}")
