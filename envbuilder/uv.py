"""How uv is called: its binary, the variables it gets, what is struck out of what it says.

Indexes and certificates come from the settings of `indexes`; all else comes from us, so that no `uv.toml` and no
`[tool.uv]` changes an answer. What is secret goes through the child's environment, never through its arguments.
"""

from __future__ import annotations

import os
import re
from os.path import abspath, dirname, exists, expanduser, isdir, isfile, join
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote

from envbuilder import fs, indexes, pipconf, process, space
from envbuilder.classes import dataclass, field, replace
from envbuilder.confidential import is_secret
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
"""The `UV_*` variables that are the user's to set, with the credentials of indexes; the others are ours to decide."""

_DROPPED = frozenset({"CLICOLOR_FORCE", "CONDA_PREFIX", "FORCE_COLOR", "RUST_LOG", "VIRTUAL_ENV"})
_OURS = {
    "NO_COLOR": "1",
    # Backends and interpreters that uv starts must leave no bytecode in the base.
    "PYTHONDONTWRITEBYTECODE": "1",
    "UV_NO_PROGRESS": "1",
    "VPM_ENV_DISABLE": "1",
}
_OF_AN_INDEX = re.compile(r"UV_INDEX_.+_(USERNAME|PASSWORD)")
_AUTHORIZES = re.compile(rf"{'|'.join((*indexes.VARIABLES, indexes.LINKS))}|{_OF_AN_INDEX.pattern}")
_FLAGS = ("--no-config", "--no-python-downloads", "--color", "never")
_ASKS_INDEXES = (("pip", "compile"), ("pip", "install"), ("pip", "sync"), ("build",))


@dataclass(frozen=True, kw_only=True, slots=True)
class Uv:
    """A way to call uv.

    `variables` are all that the child gets, `secrets` what is struck out of its output, `values` what `${NAME}` in
    the config's URLs stands for, `plugin_indexes` the indexes of single plugins, by plugin. With `wheels_only` nothing
    is built from an sdist. `around` are the variables of this process, of which a child does not get all.
    """

    binary: str
    variables: Mapping[str, str] = field(repr=False)
    secrets: tuple[str, ...] = field(default=(), repr=False)
    values: Mapping[str, str] = field(default_factory=dict, repr=False)
    plugin_indexes: Mapping[str, PluginIndex] = field(default_factory=dict)
    no_index: bool = False
    offline: bool = False
    wheels_only: bool = False
    around: Mapping[str, str] = field(default_factory=dict, repr=False)

    @property
    def cache(self) -> str:
        """Name the folder of its cache."""
        return self.variables["UV_CACHE_DIR"]

    @property
    def link_folders(self) -> tuple[str, ...]:
        """Name the folders of this machine that wheels are found in."""
        links = self.variables.get(indexes.LINKS, "").split(",")
        paths = (unquote(link).removeprefix("file://") for link in links if link)
        return tuple(path for path in paths if "://" not in path)

    def run(
        self, args: Sequence[str], *, cwd: str, timeout: float | None = None, most_written: int | None = None
    ) -> process.Result:
        """Run uv on `args` in `cwd`, which should hold nothing but what is passed to it; limits as `process.run`.

        Raise `SystemRefusal` where it ended of a full or failing disk.
        """
        words = next((words for words in _ASKS_INDEXES if tuple(args[: len(words)]) == words), ())
        only = ["--no-index"] if self.no_index and words and "--no-index" not in args else []
        only += ["--no-build"] if self.wheels_only and words[:1] == ("pip",) else []
        offline = ("--offline",) if self.offline else ()
        command = [self.binary, *_FLAGS, *offline, *words, *only, *args[len(words) :]]  # behind a `--` are no options
        limits: dict[str, Any] = {"timeout": timeout, "most_written": most_written}
        result = process.run(command, env=self._quieted(cwd), cwd=cwd, secrets=self.secrets, **limits)
        if result.code:
            space.require_nothing_refused(result.output, cwd)
        return result

    def _quieted(self, cwd: str) -> Mapping[str, str]:
        """Return the variables, and keep uv's own credentials from the build backends that it starts.

        They are other people's code, and get what uv gets; so the first thing that their Python does is to forget it.
        """
        names = [name for name in self.variables if _AUTHORIZES.fullmatch(name)]
        if not any(secret in self.variables[name] for name in names for secret in self.secrets):
            return self.variables
        folder = join(cwd, ".vpm-env-start")
        if not exists(folder):
            fs.make_dirs(folder)
            code = f"import os\nfor name in {names!r}:\n    os.environ.pop(name, None)\ndel os.environ['PYTHONPATH']\n"
            fs.write_plain(join(folder, "sitecustomize.py"), code.encode())
        return {**self.variables, "PYTHONPATH": folder}

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
        return indexes.fill(url, {**self.around, **self.values})

    def masked(self, url: str) -> str:
        """Make a URL fit to be stored: without credentials, values of variables as `${NAME}` again."""
        return indexes.mask(url, self.values)


def configure(
    config: Config | None, env: Environment, layout: Layout, *, offline: bool, wheels_only: bool = False
) -> Uv:
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
    inherited = {name: value for name, value in _inherited(env).items() if name not in values}
    # uv's cache holds the URLs of files, so what a variable puts into them must not stay there.
    private = {"UV_NO_CACHE": "1"} if indexes.has_variable_path(config) else {}
    variables = {**inherited, **private, **settings, **credentials, **_OURS, **_folders(env, layout)}
    return Uv(
        binary=find_uv(env),
        variables={name: value for name, value in variables.items() if value},
        secrets=indexes.secrets_in(named, values, variables),
        values=values,
        plugin_indexes=plugin_indexes,
        no_index=indexes.none_wanted(config, env, options),
        offline=offline,
        wheels_only=wheels_only,
        around=env.variables,
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
    """Return what is passed on: proxies, certificates, compilers, ssh and the like, but no Python or uv settings.

    Secrets are not: uv runs build backends, and those are other people's code. A keyring may need them to answer.
    """
    has_keyring = (env.get("UV_KEYRING_PROVIDER") or "disabled") != "disabled"
    return {
        name: value
        for name, value in env.variables.items()
        if value
        and name not in _DROPPED
        and not name.startswith(("PYTHON", "VPM_ENV_"))
        and (has_keyring or not _is_private(name, value))
        and (not name.startswith("UV_") or name in _KEPT or _OF_AN_INDEX.fullmatch(name))
    }


def _is_private(name: str, value: str) -> bool:
    """Tell whether a variable holds a credential that is not for uv or a proxy."""
    if name.startswith("UV_") or name.lower().endswith("_proxy"):
        return False
    return is_secret(name, value) or process.redact(value) != value


def _folders(env: Environment, layout: Layout) -> dict[str, str]:
    """Choose uv's cache, the user's where it can be written and trusted, and a folder for temporary files."""
    wanted = _cache(env)
    is_fit = bool(wanted) and _writable(wanted) and not distrusted(env)
    found = {"UV_CACHE_DIR": wanted if is_fit else join(layout.cache, "uv")}
    if not _writable(env.get("TMPDIR") or "/tmp"):  # noqa: S108 (where temporary files go unless told otherwise)
        found["TMPDIR"] = layout.tmp
    return found


def _cache(env: Environment) -> str:
    """Name the cache that the user's uv has; "" where nothing says where."""
    parent = env.get("XDG_CACHE_HOME") or (join(env.user_home, ".cache") if env.user_home else None)
    wanted = env.get("UV_CACHE_DIR") or (join(parent, "uv") if parent else None)
    return abspath(expanduser(wanted)) if wanted else ""


def distrusted(env: Environment) -> str:
    """Say why the user's cache is not used; "" where it is.

    uv takes from there what it unpacked once, and compares no hash again: who may write there, says what is installed.
    """
    cache = _cache(env)
    if not cache or not isdir(cache) or not _writable(cache):
        return ""
    others = [path for path in (cache, *(join(cache, name) for name in fs.names_in(cache))) if _is_of_others(path)]
    if not others:
        return ""
    why = "belongs to another user, or others may write to it"
    return f"uv's cache `{cache}` is not used, but one in the home: `{others[0]}` {why}"


def _is_of_others(path: str) -> bool:
    """Tell whether a folder is neither root's nor this user's, or written to by others than a group made for that."""
    status = os.stat(path) if isdir(path) else None
    if status is None:
        return False
    is_for_group = status.st_gid in (0, status.st_uid) or bool(status.st_mode & 0o2000)
    writable = 0o002 if is_for_group else 0o022
    return status.st_uid not in (0, os.geteuid()) or bool(status.st_mode & writable)


def _writable(path: str) -> bool:
    while not exists(path):
        path = dirname(path)
    return isdir(path) and os.access(path, os.W_OK | os.X_OK)
