"""`plugins.yaml`, parsed once at the border: every problem at once, each with its place."""

from __future__ import annotations

from dataclasses import dataclass, field
from os.path import abspath
from typing import TYPE_CHECKING, Any

from envbuilder import config_values as values
from envbuilder.config_fields import Fields, items
from envbuilder.digest import sha256_bytes, sha256_of
from envbuilder.document import MAX_BYTES, parse, shown
from envbuilder.engines import ENGINES, GENERIC
from envbuilder.errors import ConfigError, Place, Problem
from envbuilder.names import normalized
from envbuilder.paths import find_config

if TYPE_CHECKING:
    from envbuilder.amounts import Amount
    from envbuilder.paths import Environment

FORMAT = 1
ENGINE_NAMES = (*(engine.name for engine in ENGINES), GENERIC.name)

_COMMAND_KEYS = ("on_build", "on_switch")
_TOP_KEYS = (
    "plugins",
    "engine",
    "base",
    "profile",
    "index",
    "find_links",
    "stores",
    "override",
    "exclude_newer",
    "min_free",
    *_COMMAND_KEYS,
)
_PLUGIN_KEYS = ("name", "source", "enabled", "extras", "ignore", "entry_points", "optional", "build_isolation")
_SOURCE_KEYS = {
    "pypi": ("package", "version", "index"),
    "git": ("url", "ref", "subdirectory"),
    "local": ("path", "editable"),
}


@dataclass(frozen=True, kw_only=True, slots=True)
class PyPI:
    """A distribution on an index; `package` is normalized (PEP 503), `specifier` is PEP 440 or ""."""

    package: str
    specifier: str = ""


@dataclass(frozen=True, kw_only=True, slots=True)
class Git:
    """A git repository; `url` as written, `${NAME}` not filled in."""

    url: str
    ref: str | None = None
    subdirectory: str | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class Local:
    """A folder, a wheel or an sdist; `path` is absolute."""

    path: str
    editable: bool = False


@dataclass(frozen=True, kw_only=True, slots=True)
class Plugin:
    """One entry of `plugins:`.

    `index` is a URL that this plugin's package is taken from, `ignore` are normalized names of base packages whose
    bounds it ignores, `place` is where the entry begins. `entry_points` are the only ones to take, `name` or
    `group:name`, sorted; None for all.
    """

    name: str
    source: PyPI | Git | Local
    place: Place
    enabled: bool = True
    extras: tuple[str, ...] = ()
    index: str | None = None
    ignore: tuple[str, ...] = ()
    optional: bool = False
    build_isolation: bool = True
    entry_points: tuple[str, ...] | None = None

    @property
    def settings(self) -> dict[str, Any]:
        """Return what it says, as plain data: `source` is its kind, and the fields of the source stand beside it."""
        own = {name: getattr(self, name) for name in self.__slots__ if name not in ("name", "place", "source")}
        source = {name: getattr(self.source, name) for name in self.source.__slots__}
        return {"source": type(self.source).__name__.lower(), **source, **own}


@dataclass(frozen=True, kw_only=True, slots=True)
class Config:
    """A parsed `plugins.yaml`.

    `file` is its absolute path, `sha256` the digest of its bytes. `index` are the indexes to ask in this order
    (empty: uv's and pip's settings), `find_links` folders (absolute) and URLs, `stores` other homes (absolute) whose
    packages are linked to, `override` normalized names of packages that may shadow the base, `exclude_newer` a moment
    or an age of what to look at, `min_free` how much of the home's file system a build leaves free, `on_build` and
    `on_switch` commands to run afterwards. `plugins` has the disabled ones too. `notes` are what the reader of the file
    should hear once.
    """

    file: str
    sha256: str
    plugins: tuple[Plugin, ...]
    engine: str | None = None
    base: str | None = None
    profile: str | None = None
    index: tuple[str, ...] = ()
    find_links: tuple[str, ...] = ()
    stores: tuple[str, ...] = ()
    override: tuple[str, ...] = ()
    exclude_newer: str | None = None
    min_free: Amount | None = None
    on_build: str | None = None
    on_switch: str | None = None
    notes: tuple[str, ...] = ()
    digest: str = field(init=False)
    """Names what is asked for: 64 hex digits over all that can change the answer, and nothing else.

    Comments, the order of keys and of plugins, disabled plugins and the file's own path do not count.
    """

    @property
    def enabled(self) -> tuple[Plugin, ...]:
        """The plugins that are not switched off."""
        return tuple(plugin for plugin in self.plugins if plugin.enabled)

    def __post_init__(self) -> None:
        object.__setattr__(self, "digest", self._digest())

    def _digest(self) -> str:
        return sha256_of(
            {
                "base": self.base,
                "engine": self.engine,
                "find_links": self.find_links,
                "format": FORMAT,
                "index": self.index,
                "override": self.override,
                "plugins": [_record(plugin) for plugin in sorted(self.enabled, key=lambda plugin: plugin.name)],
                "profile": self.profile,
                # Left out where it says nothing, so that older locks stay good.
                **({"exclude_newer": self.exclude_newer} if self.exclude_newer else {}),
            }
        )


def find(env: Environment, option: str | None) -> str | None:
    """Name the config that a call means; `option` is `--config`. None where there is none."""
    return find_config(env, option, tuple(engine.name for engine in ENGINES))


def read(path: str, *, env: Environment) -> Config:
    """Read and check a config; raise `ConfigError` with every problem, in the file's order."""
    file = abspath(path)
    return of_content(content_of(file), file=file, env=env)


def of_content(content: bytes, *, file: str, env: Environment) -> Config:
    """Check a config's bytes as if they stood in `file` (absolute), as a kept copy of a config did once."""
    document = parse(content, file=file)
    problems = list(document.problems)
    top = Fields.of(document.root, key="", what="keys such as `plugins:`", problems=problems)
    config = _config(top, file=file, sha256=sha256_bytes(content), env=env) if top else None
    if problems or config is None:
        raise ConfigError(tuple(sorted(set(problems))))
    return config


def content_of(file: str) -> bytes:
    """Return a config's bytes, but not many more than it may have; raise `ConfigError` where it cannot be read."""
    try:
        with open(file, "rb") as stream:
            return stream.read(MAX_BYTES + 1)
    except FileNotFoundError:
        hint = "`vpm-env init` writes one; `--config` or `$VPM_ENV_CONFIG` names another"
        raise ConfigError((Problem(Place(file), "", "there is no such file"),), hint=hint) from None
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise ConfigError((Problem(Place(file), "", f"the file cannot be read: {reason}"),)) from None


def _config(top: Fields, *, file: str, sha256: str, env: Environment) -> Config:
    folder = values.Folder.of(file, env)
    top.check_keys(_TOP_KEYS)
    entries = _entries(top)
    plugins = tuple(plugin for plugin in (_plugin(entry, folder) for entry in entries) if plugin)
    _check_unique(entries)
    return Config(
        file=file,
        sha256=sha256,
        plugins=plugins,
        engine=top.choice("engine", ENGINE_NAMES),
        base=top.text("base", folder.absolute),
        profile=top.text("profile", values.profile_name),
        index=top.texts("index", values.index_url),
        find_links=top.texts("find_links", folder.find_links),
        stores=top.texts("stores", folder.absolute),
        override=top.names("override"),
        exclude_newer=top.text("exclude_newer", values.exclude_newer),
        min_free=top.text("min_free", values.min_free),
        on_build=top.text("on_build", values.command),
        on_switch=top.text("on_switch", values.command),
        notes=_notes(entries),
    )


def _entries(top: Fields) -> tuple[Fields, ...]:
    """Return the plugins' fields; what is no mapping is a problem."""
    if not top.has_key("plugins"):
        top.complain("plugins", "is required; it may be an empty list: `plugins: []`")
    nodes = items(top, "plugins")
    what = "keys such as `name:` and `source:`"
    found = (Fields.of(node, key=key, what=what, problems=top.problems) for key, node in nodes)
    return tuple(fields for fields in found if fields)


def _plugin(entry: Fields, folder: values.Folder) -> Plugin | None:
    """Return a plugin, or None where its problems leave nothing to return."""
    kind = entry.choice("source", tuple(_SOURCE_KEYS), required=True)
    name = entry.text("name", values.plugin_name, required=True)
    _check_plugin_keys(entry, kind)
    source = _source(entry, kind, name, folder)
    enabled, optional = entry.boolean("enabled", default=True), entry.boolean("optional", default=False)
    build_isolation = entry.boolean("build_isolation", default=True)
    extras, ignore, entry_points = entry.names("extras"), entry.names("ignore"), _entry_points(entry)
    index = entry.text("index", values.index_url) if kind == "pypi" else None
    if name is None or source is None:
        return None
    return Plugin(
        name=name,
        source=source,
        place=entry.place,
        enabled=enabled,
        extras=extras,
        index=index,
        ignore=ignore,
        optional=optional,
        build_isolation=build_isolation,
        entry_points=entry_points,
    )


def _entry_points(entry: Fields) -> tuple[str, ...] | None:
    """Return which entry points are wanted, written as a list, or as a mapping of groups; None for all."""
    if not entry.has("entry_points"):
        return None
    groups = entry.below("entry_points")
    if groups is None:
        return tuple(sorted(entry.texts("entry_points", values.entry_point)))
    groups.check_keys(tuple(filter(values.is_group, groups.mapping.values)))
    listed = (values.grouped(group, groups.texts(group, values.entry_point_name)) for group in groups.mapping.values)
    return tuple(sorted({point for points in listed for point in points}))


def _check_plugin_keys(entry: Fields, kind: str | None) -> None:
    """Complain of keys that nobody knows, and of those that belong to another source."""
    own = {key: source for source, keys in _SOURCE_KEYS.items() for key in keys}
    entry.check_keys((*_PLUGIN_KEYS, *own))
    if kind is None:
        return
    for key, source in own.items():
        if source != kind and entry.has_key(key):
            entry.complain(key, f"belongs to `source: {source}`, and this plugin has `source: {kind}`")


def _source(entry: Fields, kind: str | None, name: str | None, folder: values.Folder) -> PyPI | Git | Local | None:
    if kind == "pypi":
        package = entry.text("package", values.package_name) if entry.has("package") else name
        specifier = entry.text("version", values.specifier) or ""
        return PyPI(package=values.package_name(package), specifier=specifier) if package else None
    if kind == "git":
        url = entry.text("url", values.git_url, required=True)
        ref, subdirectory = entry.text("ref", values.git_ref), entry.text("subdirectory", values.subdirectory)
        return Git(url=url, ref=ref, subdirectory=subdirectory) if url else None
    return _local(entry, folder) if kind == "local" else None


def _local(entry: Fields, folder: values.Folder) -> Local | None:
    path = entry.text("path", folder.absolute, required=True)
    editable = entry.boolean("editable", default=False)
    if path and editable and values.is_archive(path):
        entry.complain("editable", "is for a folder, and `path` names a file")
    return Local(path=path, editable=editable) if path else None


def _check_unique(entries: tuple[Fields, ...]) -> None:
    """Complain of a second plugin of one name, and of a second enabled one of one package."""
    names: dict[str, Place] = {}
    packages: dict[str, Place] = {}
    for entry in entries:
        if _is_repeated(entry, "name", names) or entry.peek("source") != "pypi" or not _is_enabled(entry):
            continue
        _is_repeated(entry, "package" if entry.has("package") else "name", packages)


def _is_repeated(entry: Fields, key: str, first: dict[str, Place]) -> bool:
    name = normalized(entry.peek(key))
    earlier = first.setdefault(name, entry.place)
    if not name or earlier is entry.place:
        return False
    where = f"line {earlier.line}, column {earlier.column}"
    entry.complain(key, f"{shown(name)} is here twice; the first is at {where}")
    return True


def _notes(entries: tuple[Fields, ...]) -> tuple[str, ...]:
    """Tell once that `editable` has another default than in files written for other managers."""
    copied = [entry.peek("name") for entry in entries if _is_enabled(entry) and _is_silently_copied(entry)]
    names = ", ".join(f"`{name}`" for name in copied)
    return (f"{names}: without `editable: true`, a local folder is installed as a copy",) if names else ()


def _is_silently_copied(entry: Fields) -> bool:
    is_folder = entry.peek("source") == "local" and not values.is_archive(entry.peek("path"))
    return is_folder and not entry.has_key("editable")


def _is_enabled(entry: Fields) -> bool:
    return entry.peek("enabled").lower() != "false"


def _record(plugin: Plugin) -> dict[str, Any]:
    """Return what counts of a plugin, as plain data."""
    record = {name: getattr(plugin, name) for name in plugin.__slots__ if name not in ("place", "enabled")}
    source = {name: getattr(plugin.source, name) for name in plugin.source.__slots__}
    return {**record, "source": {"kind": type(plugin.source).__name__.lower(), **source}}
