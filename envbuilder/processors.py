"""Logits processors of vLLM's model runner V1 on a base whose runner is V2: it refuses to start with one installed.

vLLM 0.33's V2 loader takes subclasses of its own interface alone, and no allow-list keeps it from looking at all that
are installed. It is in use where Triton is, unless VLLM_USE_V2_MODEL_RUNNER says otherwise, or the model does. Reading
finds what derives from V1, and what plainly derives from neither; the probe is told the interface, and sees the rest.
"""

from __future__ import annotations

import ast
import re
import sys
from os.path import isfile, join
from typing import TYPE_CHECKING

from envbuilder.points import own
from envbuilder.subject import ERROR, WARNING
from envbuilder.targets import parse

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from envbuilder.base import Base
    from envbuilder.errors import Finding
    from envbuilder.points import Own
    from envbuilder.subject import Subject
    from envbuilder.targets import Modules

GROUP = "vllm.logits_processors"
CODE = "logits-processor"
"""The finding about what V2 refuses."""
_V2 = "vllm.v1.worker.gpu.sample.logits_processor"
_V1 = "vllm.v1.sample.logits_processor"
_V1_METHODS = frozenset({"update_state", "is_argmax_invariant"})
"""Abstract in V1's interface, unknown to V2's."""
_UNKNOWN = "unknown"
_SWITCH = "VLLM_USE_V2_MODEL_RUNNER"
_OFF_BY_DEFAULT = re.compile(rf"^\s*{_SWITCH}\s*:\s*bool\s*=\s*False", re.MULTILINE)


def outdated(
    subjects: Sequence[Subject], modules: Modules, base: Base, variables: Mapping[str, str]
) -> Iterator[Finding]:
    """Find processors that the base's V2 loader would refuse."""
    points = [point for point in own(subjects) if point.group == GROUP]
    if not points or not _refuses(base):
        return
    severity = ERROR if _is_default(base, [subject.name for subject in subjects], variables) else WARNING
    for point in points:
        if _is_outdated(point, modules):
            yield _finding(point, severity)


def interface(base: Base, names: Iterable[str], variables: Mapping[str, str]) -> str:
    """Return the path of the class from which the base's runner wants processors to derive, "" for any class.

    `names` are the packages of the set, which may bring Triton.
    """
    return f"{_V2}.LogitsProcessor" if _refuses(base) and _is_default(base, names, variables) else ""


def _refuses(base: Base) -> bool:
    """Tell whether the base's vLLM has a V2 loader that looks at entry points."""
    return "entry_points" in _source(base, join(*_V2.split("."), "loader.py"))


def _is_default(base: Base, names: Iterable[str], variables: Mapping[str, str]) -> bool:
    """Tell whether a model is served by V2 unless something about the model speaks against it."""
    said = variables.get(_SWITCH, "").strip().lower()
    if said:
        return said not in ("0", "false")
    has_triton = any("triton" in name.split("-") for name in (*base.distributions, *names))
    return has_triton and not _OFF_BY_DEFAULT.search(_source(base, join("vllm", "envs.py")))


def _source(base: Base, inner: str) -> str:
    path = next(filter(isfile, (join(folder, inner) for folder in base.path)), "")
    if not path:
        return ""
    with open(path, encoding="utf-8", errors="replace") as stream:
        return stream.read()


def _is_outdated(point: Own, modules: Modules) -> bool:
    """Tell whether reading proves that a class is none for V2: it is V1's, or all that it derives from is known."""
    target = parse(point.value)
    if target is None or len(target.attributes) != 1:
        return False
    kinds = set(_kinds(target.module, target.attributes[0], modules, frozenset()))
    return _V2 not in kinds and (_V1 in kinds or _UNKNOWN not in kinds)


def _kinds(module: str, name: str, modules: Modules, seen: frozenset[str]) -> Iterator[str]:
    """Tell from which interfaces a class derives, following imports: V1's, V2's, _UNKNOWN for what cannot be read."""
    dotted = f"{module}.{name}"
    known = next((kind for kind in (_V1, _V2) if f"{dotted}.".startswith(f"{kind}.")), "")
    tree = None if known or dotted in seen else modules.tree(module)
    if tree is None:
        if module.partition(".")[0] not in sys.stdlib_module_names:
            yield known or _UNKNOWN
        return
    imported = _imported(tree, modules.package(module))
    node = next((each for each in ast.walk(tree) if isinstance(each, ast.ClassDef) and each.name == name), None)
    if node:
        yield from _kinds_of_class(node, module, imported, modules, seen | {dotted})
        return
    origins = [imported[name]] if name in imported else [f"{star}.{name}" for star in _stars(imported)]
    if not origins:
        yield _UNKNOWN
    for origin in origins:
        yield from _kinds(*_split(origin), modules, seen | {dotted})


def _kinds_of_class(
    node: ast.ClassDef, module: str, imported: Mapping[str, str], modules: Modules, seen: frozenset[str]
) -> Iterator[str]:
    if {each.name for each in node.body if isinstance(each, ast.FunctionDef)} >= _V1_METHODS:
        yield _V1
    if node.keywords or node.decorator_list:
        yield _UNKNOWN
    for each in node.bases:
        if ast.unparse(each) != "object":
            yield from _kinds(*_split(_dotted(each, module, imported)), modules, seen)


def _imported(tree: ast.AST, package: str) -> dict[str, str]:
    """Return name → what it was imported as, `vllm.v1.sample.logits_processor.LogitsProcessor`.

    `from x import *` is `x.*`; `package` is what relative imports start from.
    """
    found: dict[str, str] = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom):
            origin = _origin(node, package)
            found.update({_bound(alias, origin): f"{origin}.{alias.name}" for alias in node.names})
        elif isinstance(node, ast.Import):
            found.update({alias.asname: alias.name for alias in node.names if alias.asname})
    return found


def _origin(node: ast.ImportFrom, package: str) -> str:
    """Name in full the module from which something is imported."""
    if not node.level:
        return node.module or ""
    parts = package.split(".")
    return ".".join((*parts[: len(parts) - node.level + 1], *filter(None, [node.module])))


def _bound(alias: ast.alias, origin: str) -> str:
    return f"{origin}.*" if alias.name == "*" else alias.asname or alias.name


def _stars(imported: Mapping[str, str]) -> list[str]:
    return [name.removesuffix(".*") for name in imported if name.endswith(".*")]


def _dotted(node: ast.expr, module: str, imported: Mapping[str, str]) -> str:
    """Spell the base of a class in full: by where its first name was imported from, or else as of this module."""
    first, dot, rest = ast.unparse(node).partition(".")
    known = imported.get(first) or (first if dot else f"{module}.{first}")
    return known + dot + rest


def _split(dotted: str) -> tuple[str, str]:
    module, _, name = dotted.rpartition(".")
    return module, name


def _finding(point: Own, severity: str) -> Finding:
    is_default = severity == ERROR
    return point.subject.finding(
        "logits-processor",
        severity,
        what=f"the logits processor `{point.name}` of `{point.subject.label}` is none for vLLM's model runner V2, "
        f"which the base uses{'' if is_default else ' for some models'}",
        why="V2 refuses to start with such a processor installed, and VLLM_PLUGINS does not reach its group",
        way_forward=f"leave it out with `entry_points:` on the plugin, use a release of `{point.subject.name}` for V2, "
        f"or start the engine with {_SWITCH}=0 and accept this",
    )
