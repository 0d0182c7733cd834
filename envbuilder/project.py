"""The first project of a plugin: an installable one whose test passes, copied from one of the templates.

The templates are whole projects named `my-plugin`; that name is replaced, in each of its spellings, in paths and texts.
"""

from __future__ import annotations

import keyword
import os
import shlex
import sys
from os.path import abspath, basename, dirname, expanduser, isdir, islink, join, lexists, relpath

from envbuilder import fs
from envbuilder.engines import ENGINE_DISTRIBUTIONS, ENGINES
from envbuilder.errors import UsageError
from envbuilder.names import is_name, normalized
from envbuilder.paths import template_path
from envbuilder.tuples import NamedTuple

LONGEST_NAME = 64


_OTHERS = frozenset({
    "accelerate", "aiohttp", "attr", "attrs", "cloudpickle", "compressed_tensors", "conftest", "cupy", "datasets",
    "docs", "einops", "envbuilder", "examples", "fastapi", "flash_attn", "flashinfer", "gguf", "google", "grpc",
    "hatchling", "httpx", "huggingface_hub", "hypothesis", "jax", "jinja2", "lark", "lib", "llguidance", "lmcache",
    "mistral_common", "msgspec", "numba", "numpy", "nvidia", "openai", "opentelemetry", "outlines_core",
    "packaging", "paddle", "paddleformers", "pandas", "peft", "pil", "pillow", "pip", "pkg_resources",
    "prometheus_client", "protobuf", "psutil", "py", "pybind11", "pydantic", "pytest", "ray", "regex", "requests",
    "safetensors", "scipy", "scripts", "sentencepiece", "setup", "setuptools", "sglang_kernel", "six", "src",
    "starlette", "sympy", "test", "tests", "tiktoken", "tokenizers", "torch", "torchaudio", "torchvision", "tqdm",
    "transformers", "triton", "typing_extensions", "uv", "uvicorn", "uvloop", "virtualenv", "vpm_env", "wheel",
    "xformers", "xgrammar", "yaml", "zmq",
})  # fmt: skip
"""Modules that engines and the tools of plugins import, and folders that projects have at their top."""


class Kind(NamedTuple):
    """One kind of plugin, and the engine that has it."""

    name: str
    engine: str
    summary: str


KINDS = (
    Kind("model", "vllm", "a model architecture"),
    Kind("logits-processor", "vllm", "a logits processor"),
    Kind("stat-logger", "vllm", "a logger of statistics"),
    Kind("model-register", "fastdeploy", "a model architecture"),
    Kind("model-runner", "fastdeploy", "a model runner"),
)


class Begun(NamedTuple):
    """A project that was made: its folder (absolute), that folder as a word of a command, and its files."""

    kind: Kind
    folder: str
    shown: str
    files: tuple[str, ...]


def begin(name: str, *, kind: str, engine: str | None, folder: str | None) -> Begun:
    """Make the project of a plugin `name` in `folder`, or else in `./NAME`; it is there as a whole or not at all.

    Raise `UsageError` for a name that no such plugin can have, for a kind that the engine has not, and where the
    folder has something in it already.
    """
    chosen = _kind(kind, engine)
    words = _spellings(name)
    target = abspath(expanduser(folder or words["my-plugin"]))
    _require_free(target)
    source = template_path(f"new/{chosen.engine}-{chosen.name}")
    files = {_named(path, words): _named(text, words) for path, text in _texts(source)}
    try:
        fs.make_dirs(dirname(target))
        with fs.staging(dirname(target)) as staged:
            _write(join(staged, basename(target)), files)
            if islink(target) or not fs.publish_dir(join(staged, basename(target)), target):
                _require_free(target)
    except OSError as error:
        if error.errno in fs.FULL:
            raise
        raise UsageError(f"`{target}` cannot be made: {error.strerror}") from None
    shown = relpath(target)
    is_below = not shown.startswith(os.pardir)
    return Begun(chosen, target, shlex.quote(join(os.curdir, shown) if is_below else target), tuple(sorted(files)))


def _kind(name: str, engine: str | None) -> Kind:
    found = next(kind for kind in KINDS if kind.name == name)
    if engine in (None, found.engine):
        return found
    fitting = ", ".join(f"`{kind.name}`" for kind in KINDS if kind.engine == engine)
    hint = f"of {engine} there are {fitting}" if fitting else f"it is one of {found.engine}"
    raise UsageError(f"{engine} has no plugins of the kind `{name}`", hint=hint)


def _spellings(name: str) -> dict[str, str]:
    """Return what takes the place of each spelling of the templates' name."""
    if not is_name(name) or len(name) > LONGEST_NAME:
        hint = "letters, digits, `-`, `_` and `.`, with a letter or digit at both ends, and at most 64 of them"
        raise UsageError(f"`{name}` is no name of a distribution", hint=hint)
    plain = normalized(name)
    module = plain.replace("-", "_")
    if reason := _taken(plain, module):
        raise UsageError(f"`{name}` cannot be its name: {reason}", hint=f"such as `my-{plain}`")
    return {"my-plugin": plain, "my_plugin": module, "MyPlugin": "".join(map(str.capitalize, plain.split("-")))}


def _taken(plain: str, module: str) -> str:
    if not module.isidentifier() or keyword.iskeyword(module):
        return f"`{module}` is no name of a module"
    if module in sys.stdlib_module_names:
        return f"`{module}` is a module of Python itself"
    if module in _OTHERS:
        return f"`{module}` is a module of others, which it would hide"
    if plain in ENGINE_DISTRIBUTIONS or module in {engine.import_name for engine in ENGINES}:
        return "it is an engine's"
    return ""


def _require_free(target: str) -> None:
    if lexists(target) and (islink(target) or not isdir(target) or fs.names_in(target)):
        raise UsageError(f"`{target}` is there already, and stays as it is", hint="name another folder with `--output`")


def _texts(source: str) -> list[tuple[str, str]]:
    """Read a template: the path and the text of each file."""
    found = []
    for folder, folders, names in os.walk(source):
        folders[:] = sorted(set(folders) - {"__pycache__", ".pytest_cache"})
        for name in sorted(names):
            path = join(folder, name)
            with open(path, encoding="utf-8") as stream:
                found.append((relpath(path, source), stream.read()))
    return found


def _named(text: str, words: dict[str, str]) -> str:
    for old, new in words.items():
        text = text.replace(old, new)
    return text


def _write(folder: str, files: dict[str, str]) -> None:
    for path, text in files.items():
        fs.make_dirs(dirname(join(folder, path)))
        fs.write_plain(join(folder, path), text.encode())
