"""How uv is called: its binary, the variables it gets, what is struck out of what it says.

Indexes and certificates come from the settings of `indexes`; all else comes from us, so that no `uv.toml` and no
`[tool.uv]` changes an answer. What is secret goes through the child's environment, never through its arguments.
"""

from __future__ import annotations

import os
from dataclasses import dataclass, field, replace
from os.path import abspath, dirname, exists, expanduser, isdir, isfile, join
from typing import TYPE_CHECKING

from envbuilder import indexes, pipconf, process
from envbuilder.errors import SourceError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from envbuilder.config import Config
    from envbuilder.indexes import PluginIndex
    from envbuilder.paths import Environment, Layout

_KEPT = frozenset(
    {
        *indexes.VARIABLES,
        indexes.LINKS,
        "UV_CONCURRENT_BUILDS",
        "UV_CONCURRENT_DOWNLOADS",
        "UV_CONCURRENT_INSTALLS",
        "UV_CREDENTIALS_DIR",
        "UV_HTTP_CONNECT_TIMEOUT",
        "UV_HTTP_RETRIES",
        "UV_HTTP_TIMEOUT",
        "UV_INSECURE_HOST",
        "UV_KEYRING_PROVIDER",
        "UV_LOCK_TIMEOUT",
        "UV_NATIVE_TLS",
        "UV_OFFLINE",
        "UV_REQUEST_TIMEOUT",
        "UV_SYSTEM_CERTS",
    }
)
"""The `UV_*` variables that are the user's to set, with `UV_INDEX_…`; the others steer what is ours to decide."""

_DROPPED = frozenset({"CLICOLOR_FORCE", "CONDA_PREFIX", "FORCE_COLOR", "RUST_LOG", "VIRTUAL_ENV"})
_OURS = {
    "NO_COLOR": "1",
    # Backends and interpreters that uv starts must leave no bytecode in the base.
    "PYTHONDONTWRITEBYTECODE": "1",
    "UV_NO_PROGRESS": "1",
    "VPM_ENV_DISABLE": "1",
}
_FLAGS = ("--no-config", "--no-python-downloads", "--color", "never")
_ASKS_INDEXES = (("pip", "compile"), ("pip", "install"), ("pip", "sync"), ("build",))


@dataclass(frozen=True, kw_only=True, slots=True)
class Uv:
    """A way to call uv.

    `variables` are all that the child gets, `secrets` what is struck out of its output, `values` what `${NAME}` in
    the config's URLs stands for, `plugin_indexes` the indexes of single plugins, by plugin.
    """

    binary: str
    variables: Mapping[str, str] = field(repr=False)
    secrets: tuple[str, ...] = field(default=(), repr=False)
    values: Mapping[str, str] = field(default_factory=dict, repr=False)
    plugin_indexes: Mapping[str, PluginIndex] = field(default_factory=dict)
    no_index: bool = False
    offline: bool = False

    def run(self, args: Sequence[str], *, cwd: str, timeout: float | None = None) -> process.Result:
        """Run uv on `args` in `cwd`, which should hold nothing but what is passed to it."""
        words = next((words for words in _ASKS_INDEXES if tuple(args[: len(words)]) == words), ())
        none = ("--no-index",) if self.no_index and words and "--no-index" not in args else ()
        offline = ("--offline",) if self.offline else ()
        command = [self.binary, *_FLAGS, *offline, *words, *none, *args[len(words) :]]  # behind a `--` are no options
        return process.run(command, env=self.variables, cwd=cwd, timeout=timeout, secrets=self.secrets)

    def for_plugin(self, plugin: str) -> Uv:
        """Return a uv that can authenticate at the plugin's own index, to fetch what the lock names from there."""
        own = self.plugin_indexes.get(plugin)
        if own is None:
            return self
        entries = f"{self.variables.get('UV_INDEX', '')} {own.name}={own.url}".strip()
        return replace(self, variables={**self.variables, "UV_INDEX": entries})

    def filled(self, url: str) -> str:
        """Put the values of `${NAME}` into a URL of the config or the lock; unknown names stay."""
        # A lock may outlive the config that it was made from, hence the other variables.
        return indexes.fill(url, {**self.variables, **self.values})

    def masked(self, url: str) -> str:
        """Make a URL fit to be stored: without credentials, values of variables as `${NAME}` again."""
        return indexes.mask(url, self.values)


def configure(config: Config | None, env: Environment, layout: Layout, *, offline: bool) -> Uv:
    """Decide how uv is called here.

    Raise `SourceError` with every variable that a URL of the config names and that is not set, and every folder of
    `find_links` that is not there; also when there is no uv.
    """
    values = indexes.values_of(config, env)
    options = pipconf.read(env)
    plugin_indexes, credentials = indexes.of_plugins(config, values)
    settings = indexes.settings(config, env, options, values)
    named = [settings.get(name, "") for name in (*indexes.VARIABLES, indexes.LINKS)]
    named += [indexes.fill(url, values) for _, url in indexes.urls(config)]
    variables = {**_inherited(env), **settings, **credentials, **_OURS, **_folders(env, layout)}
    return Uv(
        binary=find_uv(env),
        variables={name: value for name, value in variables.items() if value},
        secrets=indexes.secrets_in(named, values, variables),
        values=values,
        plugin_indexes=plugin_indexes,
        no_index=indexes.none_wanted(config, env, options),
        offline=offline,
    )


def find_uv(env: Environment) -> str:
    """Return uv's binary: the one of the package `uv`, else the one on PATH."""
    try:
        from uv import find_uv_bin  # a build pays for it, `status` need not

        return os.fspath(find_uv_bin())
    except (ImportError, FileNotFoundError):
        pass
    for folder in (env.get("PATH") or os.defpath).split(os.pathsep):
        if isfile(join(folder, "uv")) and os.access(join(folder, "uv"), os.X_OK):
            return abspath(join(folder, "uv"))
    raise SourceError((("uv", "is not installed"),), hint="install `uv` beside vpm-env, or put it on PATH")


def _inherited(env: Environment) -> dict[str, str]:
    """Return what is passed on: proxies, certificates, compilers, ssh and the like, but no Python or uv settings."""
    return {
        name: value
        for name, value in env.variables.items()
        if value
        and name not in _DROPPED
        and not name.startswith(("PYTHON", "VPM_ENV_"))
        and (not name.startswith("UV_") or name in _KEPT or name.startswith("UV_INDEX_"))
    }


def _folders(env: Environment, layout: Layout) -> dict[str, str]:
    """Choose uv's cache, the user's where it can be written, and a folder for temporary files."""
    parent = env.get("XDG_CACHE_HOME") or (join(env.user_home, ".cache") if env.user_home else None)
    wanted = env.get("UV_CACHE_DIR") or (join(parent, "uv") if parent else None)
    wanted = abspath(expanduser(wanted)) if wanted else None
    found = {"UV_CACHE_DIR": wanted if wanted and _writable(wanted) else join(layout.cache, "uv")}
    if not _writable(env.get("TMPDIR") or "/tmp"):  # noqa: S108 (where temporary files go unless told otherwise)
        found["TMPDIR"] = layout.tmp
    return found


def _writable(path: str) -> bool:
    while not exists(path):
        path = dirname(path)
    return isdir(path) and os.access(path, os.W_OK | os.X_OK)
