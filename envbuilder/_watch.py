"""See what loading a plugin does to its process: what it costs, and what it leaves behind. Standard library only.

What a module of the base does when it is imported is the base's doing, whoever imported it first: it is measured apart.
Part of the probe, which imports it; patches are told for modules of the engine alone.
"""

from __future__ import annotations

import atexit
import os
import resource
import signal
import sys
import time
from importlib import import_module
from typing import Any, NamedTuple

SIGNALS = {entry.name: entry for entry in signal.Signals if entry in signal.valid_signals()}
MOST_NAMES = 200
"""Names of a kind that are told; a plugin that replaces the whole engine has thousands."""
_GONE = object()
monotonic = time.monotonic
"""Taken before any plugin can replace it."""

Facts = dict[tuple[str, str], object]


class Amounts(NamedTuple):
    """What grows: seconds, bytes of memory, functions that run at exit."""

    seconds: float = 0.0
    memory: int = 0
    exits: int = 0

    def plus(self, other: Amounts) -> Amounts:
        return Amounts(self.seconds + other.seconds, self.memory + other.memory, self.exits + other.exits)

    def since(self, earlier: Amounts) -> Amounts:
        return Amounts(self.seconds - earlier.seconds, self.memory - earlier.memory, self.exits - earlier.exits)

    @classmethod
    def now(cls) -> Amounts:
        return cls(monotonic(), resident_bytes(), atexit._ncallbacks())  # noqa: SLF001 (there is no other way)


class Snapshot(NamedTuple):
    """What a module and its classes held when the module had been imported: holder, its name, its attributes."""

    module: Any
    parts: list[tuple[Any, str, dict[str, Any]]]


class Watch:
    """A finder that finds what the others find, and sees modules of the base being imported.

    `engine` is the engine's import name, "" for none.
    """

    def __init__(self, engine: str) -> None:
        self.engine = engine
        self.seen: dict[str, Snapshot] = {}
        self.depth = 0
        self.begin()
        sys.meta_path.insert(0, self)  # type: ignore[arg-type, unused-ignore]

    def begin(self) -> None:
        """Begin with another plugin."""
        self.base, self.peak = Amounts(), peak_bytes()
        self.facts, self.amounts = facts(), Amounts.now()

    def seconds(self) -> float:
        """Return what the plugin took so far, without the base."""
        return monotonic() - self.amounts.seconds - self.base.seconds

    def told(self) -> dict[str, Any]:
        """Return what the plugin did since `begin`, as plain data."""
        now = Amounts.now()
        own, peak = now.since(self.amounts).since(self.base), peak_bytes()
        risen = peak - self.amounts.memory if peak > self.peak else now.memory - self.amounts.memory
        effects = effects_of(changes(self.facts, facts()))
        found = {**effects, "patched": self.patched(), "exits": own.exits}
        return {
            "base_seconds": self.base.seconds,
            "memory": max(own.memory, 0),
            "peak": max(risen, own.memory, 0),
            "effects": {kind: value for kind, value in found.items() if value},
        }

    def find_spec(self, name: str, path: Any = None, target: Any = None) -> Any:
        for finder in sys.meta_path:
            find = None if finder is self else getattr(finder, "find_spec", None)
            spec = find(name, path, target) if find else None
            if spec is not None:
                self.watch(spec)
                return spec
        return None

    def watch(self, spec: Any) -> None:
        """Let the spec's loader tell when it begins and ends, if the module is one of the base."""
        loader = spec.loader
        if isinstance(loader, type) or not hasattr(loader, "exec_module") or is_plugins(spec.origin):
            return
        execute = loader.exec_module

        def exec_module(module: Any) -> None:
            before = None if self.depth else (facts(), Amounts.now())
            self.depth += 1
            try:
                execute(module)
                if is_below(spec.name, self.engine):
                    self.seen[spec.name] = snapshot(spec.name, sys.modules.get(spec.name, module))
            finally:
                self.depth -= 1
                if before:
                    self.leave_to_base(*before)

        try:
            loader.exec_module = exec_module
        except AttributeError:
            pass  # it has a fixed form

    def leave_to_base(self, before: Facts, amounts: Amounts) -> None:
        """Take what happened since then off the plugin's bill."""
        self.facts.update(changes(before, facts()))
        self.base = self.base.plus(Amounts.now().since(amounts))

    def patched(self) -> list[str]:
        """Name what was replaced in the engine since its modules were imported, or since this was asked last."""
        found = []
        for name, kept in list(self.seen.items()):
            module = sys.modules.get(name)
            if module is None:
                continue
            replaced = [name] if module is not kept.module else []
            replaced += [told for part in kept.parts for told in self.replaced(*part)]
            if replaced:
                found += replaced
                self.seen[name] = snapshot(name, module)
        return sorted(set(found))[:MOST_NAMES]

    def replaced(self, holder: Any, name: str, before: dict[str, Any]) -> list[str]:
        """Name the functions and classes that `holder` had and has no longer, or others in their place."""
        now = vars(holder)
        try:
            if now == before:
                return []
        except Exception:  # noqa: BLE001, S110 (what is there may compare as it likes)
            pass
        gone = [(key, now.get(key, _GONE)) for key, value in before.items() if now.get(key) is not value]
        return [f"{name}.{key}" for key, value in gone if is_code(before[key]) and not self.is_engines(value)]

    def is_engines(self, value: Any) -> bool:
        """Tell whether the engine itself has put `value` there."""
        function = getattr(value, "fget", None) or getattr(value, "__func__", None) or value
        code = getattr(function, "__code__", None)
        if code is None:
            return is_below(str(getattr(function, "__module__", "")), self.engine)
        package = getattr(sys.modules.get(self.engine), "__file__", None) or ""
        return bool(package) and code.co_filename.startswith(os.path.dirname(package) + os.sep)


def is_plugins(origin: object) -> bool:
    """Tell whether a module's file is one of the overlay, in whose python this runs."""
    return isinstance(origin, str) and origin.startswith(sys.prefix + os.sep)


def is_below(name: str, package: str) -> bool:
    return bool(package) and (name == package or name.startswith(package + "."))


def is_code(value: Any) -> bool:
    return callable(value) or isinstance(value, (property, classmethod, staticmethod))


def snapshot(name: str, module: Any) -> Snapshot:
    """Remember what a module and the classes that it defines hold now."""
    held = dict(getattr(module, "__dict__", {}))
    classes = [entry for entry in held.values() if isinstance(entry, type) and entry.__module__ == name]
    parts = [(module, name, held)] if held else []
    return Snapshot(module, parts + [(entry, f"{name}.{entry.__qualname__}", dict(vars(entry))) for entry in classes])


def facts() -> Facts:
    """Return what holds for this process now: kind and name → value."""
    threads = sys.modules.get("threading")
    found: Facts = {("environment", name): value for name, value in os.environ.items()}
    found |= {("signals", name): signal.getsignal(number) for name, number in SIGNALS.items()}
    found |= {("threads", str(entry.ident)): entry.name for entry in (threads.enumerate() if threads else ())}
    found |= {("processes", pid): True for pid in children()}
    found["cwd", ""] = cwd()
    found["cuda", ""] = is_cuda_initialised()
    return found


def changes(before: Facts, after: Facts) -> Facts:
    """Return what is otherwise afterwards; None for what is not there any more."""
    return {key: after.get(key) for key in before.keys() | after.keys() if before.get(key) != after.get(key)}


def effects_of(changed: Facts) -> dict[str, Any]:
    """Tell changes by kind; of the environment names only."""
    found = sorted(changed.items(), key=lambda entry: entry[0])
    new = {
        kind: [(name, value) for (its, name), value in found if its == kind and value]
        for kind in ("threads", "processes")
    }
    names = {kind: [name for (its, name), _ in found if its == kind] for kind in ("environment", "signals")}
    return {
        "threads": sorted(str(value) for _, value in new["threads"])[:MOST_NAMES],
        "processes": [name for pid, _ in new["processes"] if (name := command(pid))][:MOST_NAMES],
        "environment": names["environment"][:MOST_NAMES],
        "signals": names["signals"],
        "cwd": changed.get(("cwd", ""), ""),
        "cuda": bool(changed.get(("cuda", ""))),
    }


def is_cuda_initialised() -> bool:
    """Ask torch, if it is there already."""
    try:
        return bool(sys.modules["torch"].cuda.is_initialized())
    except Exception:  # noqa: BLE001 (there is none, or it is half imported)
        return False


def children() -> set[str]:
    """Return the processes that this one has, where the kernel lists them."""
    found: set[str] = set()
    try:
        for thread in os.listdir("/proc/self/task"):
            with open(f"/proc/self/task/{thread}/children", encoding="ascii") as stream:
                found.update(stream.read().split())
    except OSError:
        pass
    return found


def command(pid: str) -> str:
    """Name what a process runs; "" for one that has ended and was not waited for."""
    try:
        with open(f"/proc/{pid}/stat", encoding="utf-8", errors="replace") as stream:
            name, _, rest = stream.read().partition("(")[2].rpartition(")")
    except OSError:
        return ""
    return "" if rest.split()[0] in "ZX" else name


def cwd() -> str:
    try:
        return os.getcwd()
    except OSError:
        return ""


def resident_bytes() -> int:
    try:
        with open("/proc/self/statm", encoding="ascii") as stream:
            return int(stream.read().split()[1]) * resource.getpagesize()
    except OSError:
        return peak_bytes()


def peak_bytes() -> int:
    """Return the most memory that this process ever had."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)


def resolve(path: str) -> Any:
    """Return what `package.module.Name` names."""
    module, _, name = path.rpartition(".")
    return getattr(import_module(module), name)
