"""`plugins.yaml`, parsed once at the border: every problem at once, each with its place."""

from __future__ import annotations

from os.path import abspath
from typing import TYPE_CHECKING, Any

from envbuilder import config_values as values
from envbuilder import contents
from envbuilder.classes import dataclass, field
from envbuilder.config_entry import Git, Local, Plugin, PyPI, plugin_of
from envbuilder.config_fields import Fields, items
from envbuilder.digest import sha256_bytes, sha256_of
from envbuilder.document import MAX_BYTES, parse, shown
from envbuilder.engines import ENGINES, GENERIC
from envbuilder.errors import ConfigError, Place, Problem
from envbuilder.names import normalized
from envbuilder.paths import find_config
from envbuilder.policy import policy_of, trusted_key
from envbuilder.process import without_credentials

if TYPE_CHECKING:
    from collections.abc import Mapping

    from envbuilder.amounts import Amount
    from envbuilder.paths import Environment
    from envbuilder.policy import Policy

__all__ = ["Config", "Git", "Local", "Plugin", "PyPI", "content_of", "find", "of_content", "read"]

FORMAT = 1
PROBES = ("call", "import", "none")
"""What may be done with entry points before a switch, the most first."""
ENGINE_NAMES = (*(engine.name for engine in ENGINES), GENERIC.name)

_NOT_ASKED_FOR = ("place", "enabled", "accept")
"""What an entry says that changes no answer: another set is not made, and a lock stays good."""
_COMMAND_KEYS = ("on_build", "on_switch")
TOP_KEYS = (
    "plugins",
    "engine",
    "base",
    "profile",
    "index",
    "find_links",
    "stores",
    "caches",
    "trusted_keys",
    "override",
    "startup_code",
    "exclude_newer",
    "min_free",
    "auto",
    "probe",
    "policy",
    *_COMMAND_KEYS,
)


@dataclass(frozen=True, kw_only=True, slots=True)
class Config:
    """A parsed `plugins.yaml`.

    `file` is its absolute path, `sha256` the digest of its bytes. `index` are the indexes to ask in this order (empty:
    uv's and pip's settings), `find_links` folders (absolute) and URLs, `stores` other homes (absolute) whose packages
    are linked to, `caches` URLs of caches that packages are taken from if one of `trusted_keys` signed them,
    `override` normalized names of packages that may shadow the base,
    `startup_code` of those that may have start-up files, `exclude_newer` a moment or an age
    of what to look at, `min_free` how much of the home's file system a build leaves free, `auto` whether an engine's
    start may build, `probe` what is done with entry points before a switch (one of `PROBES`), `on_build` and
    `on_switch` commands to run afterwards, `policy` what may be built. `plugins` has the disabled ones too. `notes`
    are what the reader of the file should hear once, `places` says where a word of a list stands, by key and word.
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
    caches: tuple[str, ...] = ()
    trusted_keys: tuple[str, ...] = ()
    override: tuple[str, ...] = ()
    startup_code: tuple[str, ...] = ()
    exclude_newer: str | None = None
    min_free: Amount | None = None
    auto: bool = True
    probe: str = PROBES[0]
    on_build: str | None = None
    on_switch: str | None = None
    policy: Policy | None = None
    notes: tuple[str, ...] = ()
    places: Mapping[tuple[str, str], Place] = field(default_factory=dict, compare=False, repr=False)
    digest: str = field(init=False)
    """Names what is asked for: 64 hex digits over all that can change the answer, and nothing else.

    A credential does not count: who knows the rest could try one after the other.
    Comments, the order of keys and of plugins, disabled plugins and the file's own path do not count.
    """

    @property
    def enabled(self) -> tuple[Plugin, ...]:
        """The plugins that are not switched off."""
        return tuple(plugin for plugin in self.plugins if plugin.enabled)

    def place_of(self, key: str, word: str) -> Place:
        """Tell where a word of a list at the top stands."""
        return self.places.get((key, word), Place(self.file))

    def __post_init__(self) -> None:
        object.__setattr__(self, "digest", self._digest())

    def _digest(self) -> str:
        return sha256_of(
            {
                "base": self.base,
                "engine": self.engine,
                "find_links": [without_credentials(link) for link in self.find_links],
                "format": FORMAT,
                "index": [without_credentials(url) for url in self.index],
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


def read_kept(path: str, *, file: str, env: Environment) -> Config:
    """Check the copy of a config that is kept at `path` as if it stood in `file`, where it lay once."""
    return of_content(contents.start_of(path, MAX_BYTES + 1, regular=True), file=file, env=env)


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
        return contents.start_of(file, MAX_BYTES + 1)
    except FileNotFoundError:
        hint = "`vpm-env init` writes one; `--config` or `$VPM_ENV_CONFIG` names another"
        raise ConfigError((Problem(Place(file), "", "there is no such file"),), hint=hint) from None
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise ConfigError((Problem(Place(file), "", f"the file cannot be read: {reason}"),)) from None


def _config(top: Fields, *, file: str, sha256: str, env: Environment) -> Config:
    folder = values.Folder.of(file, env)
    top.check_keys(TOP_KEYS)
    entries = _entries(top)
    plugins = tuple(plugin for plugin in (plugin_of(entry, folder) for entry in entries) if plugin)
    _check_unique(entries)
    lists = {
        "index": top.placed("index", values.index_url),
        "find_links": top.placed("find_links", folder.find_links),
        "caches": top.placed("caches", folder.cache),
        "trusted_keys": top.placed("trusted_keys", trusted_key),
        "override": top.placed("override", values.package_name),
        "startup_code": top.placed("startup_code", values.package_name),
    }
    return Config(
        file=file,
        sha256=sha256,
        plugins=plugins,
        engine=top.choice("engine", ENGINE_NAMES),
        base=top.text("base", folder.absolute),
        profile=top.text("profile", values.profile_name),
        index=tuple(lists["index"]),
        find_links=tuple(lists["find_links"]),
        stores=top.texts("stores", folder.absolute),
        caches=tuple(lists["caches"]),
        trusted_keys=tuple(lists["trusted_keys"]),
        override=tuple(sorted(lists["override"])),
        startup_code=tuple(sorted(lists["startup_code"])),
        exclude_newer=top.text("exclude_newer", values.exclude_newer),
        min_free=top.text("min_free", values.min_free),
        auto=top.boolean("auto", default=True),
        probe=top.choice("probe", PROBES) or PROBES[0],
        on_build=top.text("on_build", values.command),
        on_switch=top.text("on_switch", values.command),
        policy=_policy(top, file),
        notes=_notes(entries),
        places={(key, word): place for key, listed in lists.items() for word, place in listed.items()},
    )


def _policy(top: Fields, file: str) -> Policy | None:
    fields = top.below("policy")
    if fields is None and top.has_key("policy"):
        top.complain("policy", "must hold keys such as `sources:`")
    return policy_of(fields, file) if fields else None


def _entries(top: Fields) -> tuple[Fields, ...]:
    """Return the plugins' fields; what is no mapping is a problem."""
    if not top.has_key("plugins"):
        top.complain("plugins", "is required; it may be an empty list: `plugins: []`")
    nodes = items(top, "plugins")
    what = "keys such as `name:` and `source:`"
    found = (Fields.of(node, key=key, what=what, problems=top.problems) for key, node in nodes)
    return tuple(fields for fields in found if fields)


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
    record = {name: getattr(plugin, name) for name in plugin.__slots__ if name not in _NOT_ASKED_FOR}
    record["index"] = without_credentials(plugin.index) if plugin.index else None
    source = {name: getattr(plugin.source, name) for name in plugin.source.__slots__}
    if isinstance(plugin.source, Git):
        source["url"] = without_credentials(plugin.source.url)
    return {**record, "source": {"kind": type(plugin.source).__name__.lower(), **source}}
