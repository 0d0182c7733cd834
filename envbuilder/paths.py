"""Where everything lives: the home's layout, and the one reader of the environment.

Paths are `str` here, and data are named tuples: `rollback` and `status` import this module, and `pathlib` and
`dataclasses` together would cost them more than a bare interpreter start.
"""

from __future__ import annotations

import os
from os.path import abspath, dirname, expanduser, isdir, isfile, join

from envbuilder.errors import UsageError
from envbuilder.tuples import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

_SITES = ("/site-packages", "/dist-packages")

FORMAT = 1
"""Number in the home's `format` file; a newer home makes this version stay off."""

HOOK = "_vpm_env_hook.py"
"""The module in a base's site-packages that its interpreters start with."""

DEFAULT_WAIT = 300.0
"""Seconds to wait for a lock, unless `VPM_ENV_LOCK_TIMEOUT` says otherwise."""


def policy_files(prefixes: Iterable[str]) -> tuple[str, ...]:
    """Name the policies that hold for builds: the machine's, and those of a base, which has these prefixes."""
    return ("/etc/vpm-env/policy.yaml", *(join(prefix, "etc", "vpm-env", "policy.yaml") for prefix in prefixes))


def prefixes(own: str, below: str, path: Iterable[str]) -> tuple[str, ...]:
    """Name the prefixes that a base consists of: its own, that of the python below it, and those of `path`.

    A virtual environment that sees the packages of another environment is held to the policies of both.
    """
    of_sites = (site.rpartition("/python")[0].rpartition("/lib")[0] for site in path if site.endswith(_SITES))
    return tuple(dict.fromkeys(filter(None, (own, below, *of_sites))))


def lock_name(config_file: str) -> str:
    """Name the lock that stands beside a config: `pylock.plugins.toml` for `plugins.yaml` (PEP 751 allows no dots)."""
    stem = os.path.basename(config_file).removesuffix(".yaml").removesuffix(".yml")
    return "pylock." + "".join(letter if letter.isalnum() or letter in "-_" else "-" for letter in stem) + ".toml"


CONFIG_NAME = "plugins.yaml"


class Layout(NamedTuple):
    """Every path below one home (absolute, not necessarily existing).

    `stores` are other homes, whose packages may be linked to, and which are only read.
    """

    home: str
    stores: tuple[str, ...] = ()

    @property
    def format(self) -> str:
        return f"{self.home}/format"

    @property
    def store(self) -> str:
        return f"{self.home}/store"

    @property
    def overlays(self) -> str:
        return f"{self.home}/overlays"

    @property
    def profiles(self) -> str:
        return f"{self.home}/profiles"

    @property
    def sources(self) -> str:
        return f"{self.home}/sources"

    @property
    def registry(self) -> str:
        """What is current, for readers of the format that `registry` writes."""
        return f"{self.home}/registry.json"

    @property
    def flocks(self) -> str:
        return f"{self.home}/flocks"

    @property
    def tmp(self) -> str:
        return f"{self.home}/tmp"  # noqa: S108 (not the one of all)

    @property
    def trash(self) -> str:
        return f"{self.home}/trash"

    @property
    def reserve(self) -> str:
        """Files that rollback, switch and gc may give up on a full file system, to have room for what they write."""
        return f"{self.home}/reserve"

    @property
    def gc_lock(self) -> str:
        """The flock that gc takes alone, and whoever relies on what is in the home shares."""
        return f"{self.flocks}/gc"

    @property
    def cache(self) -> str:
        """What may be deleted at any time: base facts, skeletons, stubs, uv's cache when the user's is not writable."""
        return f"{self.home}/cache"

    def start(self, profile: str, base_key: str) -> str:
        """Where it is noted what an engine's start must find as it was, to build nothing."""
        return f"{self.cache}/starts/{base_key}-{profile}"

    def failure(self, profile: str, base_key: str) -> str:
        """Where it is noted how the last build that an engine waited for failed."""
        return f"{self.cache}/failures/{base_key}-{profile}.json"

    def package(self, key: str) -> str:
        return f"{self.store}/{key}"

    def overlay(self, base_key: str, digest: str) -> str:
        return f"{self.overlays}/{base_key}/{digest}"

    def overlay_lock(self, base_key: str, digest: str) -> str:
        """The flock of whoever makes an overlay; two profiles may want the same."""
        return f"{self.flocks}/overlay-{base_key}-{digest}"

    def profile(self, name: str, base_key: str) -> str:
        return f"{self.profiles}/{name}/{base_key}"


class Environment(NamedTuple):
    """The variables that vpm-env reads, read once; empty values count as unset."""

    variables: Mapping[str, str]

    def get(self, name: str) -> str | None:
        return self.variables.get(name) or None

    @property
    def lock_wait(self) -> float:
        """Seconds to wait for a lock; raise `UsageError` where the variable holds no number."""
        given = self.get("VPM_ENV_LOCK_TIMEOUT")
        try:
            return float(given) if given else DEFAULT_WAIT
        except ValueError:
            raise UsageError(f"`VPM_ENV_LOCK_TIMEOUT` is `{given}`, which is no number of seconds") from None

    @property
    def user_home(self) -> str | None:
        """The user's home, or None where there is none to speak of (HOME unset, `/`)."""
        home = expanduser("~") if self.get("HOME") is None else self.variables["HOME"]
        return home if os.path.isabs(home) and home != "/" else None

    @property
    def data_home(self) -> str | None:
        if found := self.get("XDG_DATA_HOME"):
            return found
        return join(self.user_home, ".local", "share") if self.user_home else None

    @property
    def config_home(self) -> str | None:
        if found := self.get("XDG_CONFIG_HOME"):
            return found
        return join(self.user_home, ".config") if self.user_home else None

    def expand(self, path: str) -> str:
        """Fill in a leading `~`; unchanged where it names no home."""
        if path == "~" or path.startswith("~/"):
            return self.user_home + path[1:] if self.user_home else path
        return expanduser(path)


def environment() -> Environment:
    """Read the process environment; the one place that does."""
    return Environment(variables=dict(os.environ))


def home_of(env: Environment, option: str | None = None) -> str | None:
    """Name the home: `option`, $VPM_ENV_HOME, $VLLM_PLUGIN_REGISTRY_DIR, else `vllm-plugins` in the user's data folder.

    None where nothing names one: no variable is set and the user has no home.
    """
    named = option or env.get("VPM_ENV_HOME") or env.get("VLLM_PLUGIN_REGISTRY_DIR")
    if named:
        return abspath(expanduser(named))
    return join(env.data_home, "vllm-plugins") if env.data_home else None


def find_config(env: Environment, option: str | None, engines: tuple[str, ...]) -> str | None:
    """Name the config: `option`, $VPM_ENV_CONFIG, $VLLM_PLUGIN_CONFIG, `./plugins.yaml`, then each engine's own.

    Absolute. What the option or a variable names is returned whether it is there or not; the others only if they are
    files. An engine's own is `<engine>/plugins.yaml` in the user's config folder.
    """
    if named := option or env.get("VPM_ENV_CONFIG") or env.get("VLLM_PLUGIN_CONFIG"):
        return abspath(env.expand(named))
    places = [CONFIG_NAME]
    if folder := env.config_home:
        places += [join(folder, engine, CONFIG_NAME) for engine in engines]
    return next((abspath(place) for place in places if isfile(place)), None)


def site_packages(root: str, python_version: str) -> str:
    """Return the site-packages below an overlay or skeleton."""
    return join(root, "lib", f"python{python_version}", "site-packages")


def template(name: str) -> str:
    """Return the text of a file of `templates/`."""
    with open(template_path(name), encoding="utf-8") as stream:
        return stream.read()


def template_path(name: str) -> str:
    """Name a file or folder of `templates/`: of the installed package, else of the checkout around it."""
    package = dirname(abspath(__file__))
    shipped = join(package, "_templates")
    return join(shipped if isdir(shipped) else join(dirname(package), "templates"), name)
