"""Logits processors of vLLM's model runner V1 on a base whose runner is V2: it refuses to start with one installed.

vLLM 0.33's V2 loader takes subclasses of its own interface alone, and no allow-list keeps it from looking at all that
are installed. It is in use where Triton is, unless VLLM_USE_V2_MODEL_RUNNER says otherwise, or the model does.
"""

from __future__ import annotations

import ast
import re
from os.path import isfile, join
from typing import TYPE_CHECKING

from envbuilder.points import own
from envbuilder.subject import ERROR, WARNING
from envbuilder.targets import parse

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from envbuilder.base import Base
    from envbuilder.errors import Finding
    from envbuilder.points import Own
    from envbuilder.subject import Subject
    from envbuilder.targets import Modules

_GROUP = "vllm.logits_processors"
_V2 = "vllm.v1.worker.gpu.sample.logits_processor"
_V1 = "vllm.v1.sample.logits_processor"
_V1_METHODS = frozenset({"update_state", "is_argmax_invariant"})
"""Abstract in V1's interface, unknown to V2's."""
_SWITCH = "VLLM_USE_V2_MODEL_RUNNER"
_OFF_BY_DEFAULT = re.compile(rf"^\s*{_SWITCH}\s*:\s*bool\s*=\s*False", re.MULTILINE)


def outdated(
    subjects: Sequence[Subject], modules: Modules, base: Base, variables: Mapping[str, str]
) -> Iterator[Finding]:
    """Find processors of V1 that the base's V2 loader would refuse."""
    points = [point for point in own(subjects) if point.group == _GROUP]
    if not points or not _refuses(base):
        return
    severity = ERROR if _is_default(base, variables) else WARNING
    for point in points:
        if _is_v1(point, modules):
            yield _finding(point, severity)


def _refuses(base: Base) -> bool:
    """Tell whether the base's vLLM has a V2 loader that looks at entry points."""
    return "entry_points" in _source(base, join(*_V2.split("."), "loader.py"))


def _is_default(base: Base, variables: Mapping[str, str]) -> bool:
    """Tell whether a model is served by V2 unless something about the model speaks against it."""
    said = variables.get(_SWITCH, "").strip().lower()
    if said:
        return said not in ("0", "false")
    has_triton = any("triton" in name.split("-") for name in base.distributions)
    return has_triton and not _OFF_BY_DEFAULT.search(_source(base, join("vllm", "envs.py")))


def _source(base: Base, inner: str) -> str:
    path = next(filter(isfile, (join(folder, inner) for folder in base.path)), "")
    if not path:
        return ""
    with open(path, encoding="utf-8", errors="replace") as stream:
        return stream.read()


def _is_v1(point: Own, modules: Modules) -> bool:
    """Tell whether reading proves that a class is V1's: by what it derives from, or by methods that only V1 has."""
    target = parse(point.value)
    tree = modules.tree(target.module) if target and len(target.attributes) == 1 else None
    if target is None or tree is None:
        return False
    classes = {node.name: node for node in ast.walk(tree) if isinstance(node, ast.ClassDef)}
    return _is_v1_class(target.attributes[0], classes, _imported(tree), frozenset())


def _is_v1_class(
    name: str, classes: Mapping[str, ast.ClassDef], imported: Mapping[str, str], seen: frozenset[str]
) -> bool:
    node = classes.get(name)
    if node is None or name in seen:
        return imported.get(name, "").startswith(_V1)
    bases = [_dotted(each, imported) for each in node.bases]
    if any(each.startswith(_V2) for each in bases):
        return False
    methods = {each.name for each in node.body if isinstance(each, ast.FunctionDef)}
    return (
        any(each.startswith(_V1) for each in bases)
        or methods >= _V1_METHODS
        or any(_is_v1_class(each, classes, imported, seen | {name}) for each in bases)
    )


def _imported(tree: ast.AST) -> dict[str, str]:
    """Return name → what it was imported as, `vllm.v1.sample.logits_processor.LogitsProcessor`."""
    found: dict[str, str] = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and not node.level:
            found.update({alias.asname or alias.name: f"{node.module}.{alias.name}" for alias in node.names})
        elif isinstance(node, ast.Import):
            found.update({alias.asname: alias.name for alias in node.names if alias.asname})
    return found


def _dotted(node: ast.expr, imported: Mapping[str, str]) -> str:
    """Spell the base of a class in full: by where its first name was imported from."""
    first, dot, rest = ast.unparse(node).partition(".")
    return imported.get(first, first) + dot + rest


def _finding(point: Own, severity: str) -> Finding:
    is_default = severity == ERROR
    return point.subject.finding(
        "logits-processor",
        severity,
        what=f"the logits processor `{point.name}` of `{point.subject.label}` is for vLLM's model runner V1, and "
        f"the base {'uses V2' if is_default else 'uses V2 for some models'}",
        why="V2 refuses to start with such a processor installed, and VLLM_PLUGINS does not reach its group",
        way_forward=f"leave it out with `entry_points:` on the plugin, use a release of `{point.subject.name}` for V2, "
        f"or start the engine with {_SWITCH}=0 and accept this",
    )
