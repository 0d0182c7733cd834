"""`envbuilder.activate()` where vpm-env itself is: by the interpreter's own hook, or by one in memory alone."""

from __future__ import annotations

import sys
from types import ModuleType

from envbuilder import _join, hook_files
from envbuilder._join import Activation
from envbuilder.base import describe
from envbuilder.errors import VpmError
from envbuilder.hook_files import SINGLE_MODULES, Settings
from envbuilder.interpreter import Interpreter
from envbuilder.paths import environment
from envbuilder.profile import DEFAULT
from envbuilder.scope import Options, home


def activate() -> Activation:
    """Make the current set of this interpreter importable in this process; it never raises, and never changes a set."""
    try:
        if _join.start_hook() is None and not _join.is_overlays():
            _start_in_memory()
    except VpmError as error:
        return Activation("error", str(error))
    return _join.activate()


def _start_in_memory() -> None:
    """Run what `vpm-env hook install` would write for this interpreter."""
    env = environment()
    base = describe(Interpreter(sys.executable, "the running interpreter"), None, env)
    sources = hook_files.sources(base, Settings(home(Options(), env).home, DEFAULT, ()))
    folder = sys.modules["_vpm_env"] = ModuleType("_vpm_env")
    folder.__path__ = []
    # the first of them runs the others
    for name in reversed([name for name in SINGLE_MODULES if name in sources]):
        module = ModuleType(name.removesuffix(".py").replace("/", "."))
        sys.modules[module.__name__] = module
        setattr(folder, module.__name__.rpartition(".")[2], module)
        exec(compile(sources[name], name, "exec"), module.__dict__)  # noqa: S102 (our own text)
