"""What a set is deployed with: the facts of a call that the templates of `forms` are filled in with."""

from __future__ import annotations

import json
import os
import pwd
import sys
from importlib import metadata
from os.path import abspath, basename, dirname, expanduser, isdir, isfile, join, relpath
from typing import TYPE_CHECKING
from urllib.parse import urlsplit
from urllib.request import url2pathname

from envbuilder import __version__, config, indexes, lock, lockfile, process, profile
from envbuilder.base import describe
from envbuilder.classes import dataclass
from envbuilder.config_entry import Local
from envbuilder.errors import UsageError
from envbuilder.heartbeat import Target
from envbuilder.paths import lock_name
from envbuilder.scope import profile_of

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from typing import Any

    from envbuilder.base import Base
    from envbuilder.config import Config
    from envbuilder.profile import Generation
    from envbuilder.scope import Scope

_IMAGES = {"vllm": "vllm/vllm-openai:v{}", "sglang": "lmsysorg/sglang:v{}"}
"""Where an engine's own project publishes images of its releases; they are for NVIDIA's devices."""
_UID = 1000
"""Who runs in a container: nobody that a base image knows, and not root."""
_PORTS = {"vllm": 8000, "fastdeploy": 8000, "sglang": 30000}
_ARGUMENTS = {"sglang": ("--model-path", "MODEL")}
"""Behind the words that serve; of the others it is the model alone."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Source:
    """A folder or file of this machine that the config takes plugins from: `path`, and where the image has it.

    `target` is relative to the config, or absolute; "" where the config cannot mean it in an image.
    """

    path: str
    target: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Pins:
    """The lock beside the config.

    `fits_base` says that it was made for such a base as this one, `fits_config` that it is the answer to the config as
    it is now. `is_exact` says that a build elsewhere can come to the very same lock: it names no path of this machine.
    """

    file: str
    text: str
    engine: str
    fits_base: bool
    fits_config: bool
    is_exact: bool


@dataclass(frozen=True, kw_only=True, slots=True)
class Deployment:
    """A set and all around it.

    `engine` names it in files and labels, `title` in sentences. `image` is the one that the call names, `engine_image`
    that or the engine's own; "" where there is none. `owner` is who runs it on this machine, `uid` in a container.
    `entry` are the words that serve, `arguments` stand behind them. `package` is what `pip wheel` makes vpm-env of,
    `command` starts the one at hand. `config_text` has no credentials in it; `has_credentials` says that the config
    does. `variables` are those that its URLs name. `has_gpu` says that the engine is a build for NVIDIA's.
    """

    engine: str
    title: str
    is_known: bool
    has_gpu: bool
    image: str
    engine_image: str
    entry: tuple[str, ...]
    arguments: tuple[str, ...]
    port: int
    health: str
    uid: int
    owner: str
    package: str
    command: tuple[str, ...]
    base: Base
    home: str
    profile: str
    config_file: str
    config_text: str
    has_credentials: bool
    variables: tuple[str, ...]
    sources: tuple[Source, ...]
    lock: Pins | None
    generation: Generation | None
    overlay: str


def deployment(
    found: Scope, *, served: Sequence[str], image: str | None = None, health: str | None = None, uid: int | None = None
) -> Deployment:
    """Gather what there is to know; `served` is the command that serves, empty for the engine's own.

    Raise `UsageError` where that cannot be known, and for names that no file could hold.
    """
    base = describe(found.interpreter, found.layout, found.env, engine=found.engine)
    history = profile_of(found, base)
    now = profile.current(history)
    generation = None if now is None else profile.read(history, now)
    entry = tuple(served) or _entry(base)
    port = _port(served) or _PORTS.get(base.engine.name, 8000)
    gathered = Deployment(
        engine=base.engine.name if base.engine.script else _plain(basename(entry[0])),
        title=" ".join(filter(None, (base.engine_name, base.engine_version))) or basename(entry[0]),
        is_known=bool(base.engine.script),
        has_gpu=_has_gpu(base),
        image=image or "",
        engine_image=image or _image(base),
        entry=entry,
        arguments=() if served else _ARGUMENTS.get(base.engine.name, ("MODEL",)),
        port=port,
        health=Target.of(health or f"http://127.0.0.1:{port}/health").url,
        uid=_UID if uid is None else uid,
        owner=_owner(found.layout.home) if uid is None else _user(uid),
        package=_package(),
        command=_command(),
        base=base,
        home=found.layout.home,
        profile=found.profile_name,
        **_of_config(found, base),
        generation=generation,
        overlay=found.layout.overlay(base.key, generation.digest) if generation else "",
    )
    _require_printable(gathered)
    return gathered


def _of_config(found: Scope, base: Base) -> dict[str, Any]:
    """Return the fields of a deployment that the config and the lock beside it decide."""
    wanted = config.read(found.config_file, env=found.env) if found.config_file else None
    text = "" if wanted is None else config.content_of(wanted.file).decode("utf-8-sig")
    shown = process.without_credentials(text)
    sources = tuple(_sources(wanted, text)) if wanted else ()
    return {
        "config_file": found.config_file or "",
        "config_text": shown,
        "has_credentials": shown != text,
        "variables": indexes.variables(wanted),
        "sources": sources,
        "lock": _pins(wanted, base, is_portable=not sources) if wanted else None,
    }


def _pins(wanted: Config, base: Base, *, is_portable: bool) -> Pins | None:
    file = join(dirname(wanted.file), lock_name(wanted.file))
    locked = lock.read(file)
    if locked is None:
        return None
    fits_base, fits_config = lockfile.is_for(locked, base), locked.config_digest == wanted.digest
    return Pins(
        file=file,
        text=lock.dump(locked),
        engine=" ".join(filter(None, map(locked.base.get, ("engine", "engine_version", "soabi")))),
        fits_base=fits_base,
        fits_config=fits_config,
        is_exact=is_portable and fits_base and fits_config,
    )


def _has_gpu(base: Base) -> bool:
    """Tell whether the engine is a build for NVIDIA's devices, by its name and its version's local part."""
    kind = base.engine_name.removeprefix(base.engine.name).lstrip("-") or "gpu"
    local = base.engine_version.partition("+")[2] or "cu"
    return bool(base.engine.script) and kind == "gpu" and local.startswith("cu")


def _entry(base: Base) -> tuple[str, ...]:
    if not base.engine.serving:
        hint = "write the command that serves behind `--`: `vpm-env template NAME -- my-server --port 8000`"
        raise UsageError(f"the base `{base.label}` has no engine that vpm-env knows how to start", hint=hint)
    return (base.engine.script, base.engine.serving[0])


def _image(base: Base) -> str:
    pattern = _IMAGES.get(base.engine.name, "")
    return pattern.format(base.engine_version.partition("+")[0]) if pattern and _has_gpu(base) else ""


def _owner(home: str) -> str:
    """Name the owner of the home, or whoever asks where there is none yet."""
    return _user(os.stat(home).st_uid if isdir(home) else os.getuid())


def _user(uid: int) -> str:
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return str(uid)


def _plain(name: str) -> str:
    """Make a name that labels, images and units may have."""
    kept = "".join(letter if letter.isascii() and letter.isalnum() else "-" for letter in name.lower())
    return kept.strip("-")[:40].strip("-") or "engine"


def _port(words: Sequence[str]) -> int | None:
    """Find the port among the words of a command."""
    for at, word in enumerate(words):
        name, _, value = word.partition("=")
        value = value or next(iter(words[at + 1 :]), "")
        if name == "--port" and value.isdecimal() and 0 < int(value) < 65536:
            return int(value)
    return None


def _package() -> str:
    """Say what this vpm-env was installed from (PEP 610): a folder, a repository at a commit, or its version."""
    checkout = dirname(dirname(abspath(__file__)))
    found = next(iter(metadata.distributions(name="vpm-env")), None)
    if found is None:
        return checkout
    record = json.loads(found.read_text("direct_url.json") or "{}")
    url = process.without_credentials(record.get("url", ""))
    if url.startswith("file:"):
        return url2pathname(urlsplit(url).path)
    if commit := record.get("vcs_info", {}).get("commit_id"):
        return f"git+{url}@{commit}"
    return url or f"vpm-env=={__version__}"


def _command() -> tuple[str, ...]:
    script = join(dirname(sys.executable), "vpm-env")
    return (script,) if isfile(script) else (sys.executable, "-m", "envbuilder")


def _sources(wanted: Config, text: str) -> Iterator[Source]:
    folder = dirname(wanted.file)
    paths = [entry.source.path for entry in wanted.plugins if entry.enabled and isinstance(entry.source, Local)]
    for path in dict.fromkeys((*paths, *filter(isdir, wanted.find_links))):
        inner = relpath(path, folder)
        is_outside = inner == os.pardir or inner.startswith(os.pardir + os.sep) or _by_home(path) in text
        yield Source(path=path, target="" if is_outside else path if path in text else inner)


def _by_home(path: str) -> str:
    """Spell a path by `~`, which is another folder in an image."""
    own = expanduser("~")
    return f"~{path.removeprefix(own)}" if path.startswith(own + os.sep) else path + "\0"


def _require_printable(gathered: Deployment) -> None:
    for name in gathered.__slots__:
        value = getattr(gathered, name)
        for text in value if isinstance(value, tuple) else (value,):
            if isinstance(text, str) and name != "config_text" and not text.isprintable():
                raise UsageError(f"{text!r} cannot stand in a template: it has signs that are no letters")
