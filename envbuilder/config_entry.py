"""One entry of `plugins:`: where a plugin comes from, and what the config says of it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from envbuilder import config_values as values
from envbuilder.classes import dataclass

if TYPE_CHECKING:
    from envbuilder.config_fields import Fields
    from envbuilder.errors import Place

PLUGIN_KEYS = ("name", "source", "enabled", "extras", "ignore", "entry_points", "optional", "build_isolation", "accept")
SOURCE_KEYS = {
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
    `group:name`, sorted; None for all. `accept` are codes of the audit's findings that are no obstacle, sorted.
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
    accept: tuple[str, ...] = ()

    @property
    def settings(self) -> dict[str, Any]:
        """Return what it says, as plain data: `source` is its kind, and the fields of the source stand beside it."""
        own = {name: getattr(self, name) for name in self.__slots__ if name not in ("name", "place", "source")}
        source = {name: getattr(self.source, name) for name in self.source.__slots__}
        return {"source": type(self.source).__name__.lower(), **source, **own}


def plugin_of(entry: Fields, folder: values.Folder) -> Plugin | None:
    """Return a plugin, or None where its problems leave nothing to return."""
    kind = entry.choice("source", tuple(SOURCE_KEYS), required=True)
    name = entry.text("name", values.plugin_name, required=True)
    _check_plugin_keys(entry, kind)
    source = _source(entry, kind, name, folder)
    enabled, optional = entry.boolean("enabled", default=True), entry.boolean("optional", default=False)
    build_isolation = entry.boolean("build_isolation", default=True)
    extras, ignore, entry_points = entry.names("extras"), entry.names("ignore"), _entry_points(entry)
    accept = tuple(sorted(entry.texts("accept", values.finding)))
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
        accept=accept,
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
    own = {key: source for source, keys in SOURCE_KEYS.items() for key in keys}
    entry.check_keys((*PLUGIN_KEYS, *own))
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
