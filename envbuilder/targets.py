"""Where entry points lead, found by reading: which module a name means, and which names a module's source binds.

Reading knows less than running, so whatever cannot be known counts as there; the probe has the last word.
"""

from __future__ import annotations

import ast
import os
import re
import warnings
from os.path import basename, isdir, isfile, join

from envbuilder.names import nearest
from envbuilder.subject import import_name, module_name
from envbuilder.tuples import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence

    from envbuilder.base import Base
    from envbuilder.subject import Subject

_TARGET = re.compile(r"(?P<module>[\w.]+)\s*(?::\s*(?P<attribute>[\w.]+)\s*)?(?:\[.*\]\s*)?")
_IMPORT = re.compile(rb"^(?:import|from)[ \t]+(?P<top>[A-Za-z_]\w*)", re.MULTILINE)
_CLOSE = 0.75
"""How much a name must be like another (0 to 1) for it to be told as what may have been meant."""
_OPENERS = frozenset({"__getattr__", "exec", "globals", "locals", "vars", "setattr", "*"})
"""Names whose use at module level, or import, means that a module may hold anything."""
_OBJECT = frozenset(dir(type))
_SCOPES = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)
_INNER = (ast.Lambda, ast.ListComp, ast.SetComp, ast.DictComp, ast.GeneratorExp)


class Target(NamedTuple):
    """What an entry point names: a module, and the attributes to follow from there (none: the module itself)."""

    module: str
    attributes: tuple[str, ...] = ()


class Module(NamedTuple):
    """A module that is there; `source` is the file to read, "" where it cannot be looked into."""

    source: str = ""


class Missing(NamedTuple):
    """What is not there, in words, and the whole value that may have been meant ("" for no idea)."""

    what: str
    nearest: str


def parse(value: str) -> Target | None:
    """Read `module:attribute [extra]`; None for what is not that."""
    found = _TARGET.fullmatch(value.strip())
    if found is None:
        return None
    attribute = found["attribute"]
    return Target(found["module"], tuple(attribute.split(".")) if attribute else ())


class Modules:
    """Every module that a process with the overlay can import: of the packages, the base and the standard library."""

    def __init__(self, subjects: Sequence[Subject], entries: Mapping[str, Iterable[str]], base: Base) -> None:
        """Take packages, what stands at the top of each (package → entries), and the base below them."""
        self._base = base
        self._listings: dict[str, dict[str, list[str]]] = {}
        self._holders: dict[str, list[Subject]] = {}
        for subject in subjects:
            for name in {import_name(entry) for entry in entries[subject.name]}:
                self._holders.setdefault(name, []).append(subject)

    def find(self, dotted: str) -> Module | None:
        """Return the module called `dotted`; None where no layer has it."""
        top = dotted.partition(".")[0]
        if top in self._base.stdlib_names or self._is_mapped(dotted):
            return Module()
        found = [hit for folder in self._parents(dotted) for hit in self._listing(folder).get(_last(dotted), ())]
        return _module(found) if found else None

    def missing(self, target: Target, taken: Collection[Target] = ()) -> Missing | None:
        """Say what of `target` is not there; None where all of it is, or may be.

        What other entry points name (`taken`) was not meant by this one.
        """
        module = self.find(target.module)
        if module is None:
            near = self._nearest(target, taken)
            return Missing(f"there is no module `{target.module}`", _value(near, target.attributes) if near else "")
        if not target.attributes or not module.source:
            return None
        return self._missing_attribute(target, module, taken)

    def is_dotted_attribute(self, target: Target) -> bool:
        """Tell whether a module's name is rather that of something in a module: `package.Class`, without a colon.

        Programs that read a group of their own by themselves have entry points of that form.
        """
        module, _, attribute = target.module.rpartition(".")
        return bool(module) and not target.attributes and self.missing(Target(module, (attribute,))) is None

    def _missing_attribute(self, target: Target, module: Module, taken: Collection[Target]) -> Missing | None:
        source = _read(module.source)
        tree = None if _is_plainly_there(source, target.attributes) else _parsed(source)
        absent = _absent(tree, target.attributes) if tree else None
        if absent is None or self.find(f"{target.module}.{target.attributes[0]}"):
            return None
        known, names = absent
        owner = ".".join((target.module, *target.attributes[:known]))
        what = f"`{owner}` has no `{target.attributes[known]}`"
        if elsewhere := None if known else self._binding(target, taken):
            return Missing(what, _value(elsewhere, target.attributes))
        inner = target.attributes[:known]
        free = [name for name in sorted(names) if Target(target.module, (*inner, name)) not in taken]
        near = nearest(target.attributes[known], free, cutoff=_CLOSE)
        return Missing(what, _value(target.module, (*inner, near)) if near else "")

    def unresolved(self, dotted: str) -> list[str]:
        """Name the modules that the module called `dotted` imports whenever it is, and that no layer has."""
        module = self.find(dotted)
        source = _read(module.source) if module and module.source else b""
        suspects = {found["top"].decode() for found in _IMPORT.finditer(source)}
        if all(map(self._is_there, suspects)):
            return []  # what is in a docstring need not be told from code
        tree = _parsed(source)
        imported = dict.fromkeys(_imported(tree)) if tree else {}
        return [name for name in imported if not self._is_there(name)]

    def tree(self, dotted: str) -> ast.Module | None:
        """Parse the module called `dotted`; None where it is not there, or cannot be read."""
        module = self.find(dotted)
        return _parsed(_read(module.source)) if module and module.source else None

    def package(self, dotted: str) -> str:
        """Name the package in which the module called `dotted` stands; a package stands in itself."""
        module = self.find(dotted)
        is_package = module is not None and basename(module.source) == "__init__.py"
        return dotted if is_package else dotted.rpartition(".")[0]

    def _is_there(self, name: str) -> bool:
        return name.replace("_", "-").lower() in self._base.distributions or self.find(name) is not None

    def _binding(self, target: Target, taken: Collection[Target]) -> str | None:
        """Find another module of the same package that plainly has what `target` names, and is not `taken` for it."""
        for subject in self._holders.get(target.module.partition(".")[0], ()):
            tops = sorted(name for name, holders in self._holders.items() if subject in holders)
            inner = (
                f"{top}.{name}" for top in tops for folder in subject.folders(top) for name in self._listing(folder)
            )
            for dotted in (*tops, *inner):
                module = None if Target(dotted, target.attributes) in taken else self.find(dotted)
                if module and module.source and _is_plainly_there(_read(module.source), target.attributes):
                    return dotted
        return None

    def _is_mapped(self, dotted: str) -> bool:
        return any(f"{dotted}.".startswith(f"{name}.") for name in self._base.mapped_names)

    def _parents(self, dotted: str) -> Iterator[str]:
        """Name the folders, in any layer, where the last part of `dotted` would be."""
        folder = "/".join(dotted.split(".")[:-1])
        for subject in self._holders.get(dotted.partition(".")[0], ()):
            yield from subject.folders(folder)
        yield from (join(path, folder) for path in self._base.path)

    def _listing(self, folder: str) -> dict[str, list[str]]:
        found = self._listings.get(folder)
        if found is None:
            found = self._listings[folder] = {}
            for entry in sorted(os.listdir(folder)) if isdir(folder) else ():
                found.setdefault(module_name(entry), []).append(join(folder, entry))
            found.pop("", None)
        return found

    def _nearest(self, target: Target, taken: Collection[Target]) -> str:
        """Name the module that may have been meant, with one part of its name spelled almost the same; "" for none."""
        parts = target.module.split(".")
        depth = next((depth for depth in range(1, len(parts)) if not self.find(".".join(parts[:depth]))), len(parts))
        known = set(self._holders) if depth == 1 else set()
        for folder in self._parents(".".join(parts[:depth])):
            known.update(self._listing(folder))
        spelled = {name: ".".join((*parts[: depth - 1], name, *parts[depth:])) for name in sorted(known)}
        free = [name for name, dotted in spelled.items() if Target(dotted, target.attributes) not in taken]
        near = nearest(parts[depth - 1], free, cutoff=_CLOSE)
        return spelled[near] if near else ""


def _imported(tree: ast.Module) -> Iterator[str]:
    """Name the top-level packages that a module imports in any case: not in a branch, not in a function."""
    for node in tree.body:
        if isinstance(node, ast.Import):
            yield from (alias.name.partition(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and not node.level and node.module:
            yield node.module.partition(".")[0]


def _last(dotted: str) -> str:
    return dotted.rpartition(".")[2]


def _value(module: str, attributes: Sequence[str]) -> str:
    return f"{module}:{'.'.join(attributes)}" if attributes else module


def _module(found: Sequence[str]) -> Module:
    """Choose what can be read: source, unless something compiled of the same name may stand before it."""
    if any(path.endswith((".so", ".pyc")) for path in found):
        return Module()
    sources = (path if path.endswith(".py") else join(path, "__init__.py") for path in found)
    return Module(next(filter(isfile, sources), ""))


def _read(path: str) -> bytes:
    try:
        with open(path, "rb") as stream:
            return stream.read()
    except OSError:
        return b""


def _is_plainly_there(source: bytes, attributes: Sequence[str]) -> bool:
    """Tell whether a line of its own binds the one attribute; to parse a long module takes 50 ms."""
    name = re.escape(attributes[0].encode())
    plain = rb"^(?:(?:async\s+)?def\s+%b\s*\(|class\s+%b\b|%b\s*=)" % (name, name, name)
    return len(attributes) == 1 and re.search(plain, source, re.MULTILINE) is not None


def _parsed(source: bytes) -> ast.Module | None:
    """Parse a source; None where this interpreter cannot, though the base's perhaps can."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return ast.parse(source)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return None


def _absent(tree: ast.Module, attributes: Sequence[str]) -> tuple[int, frozenset[str]] | None:
    """Return which of `attributes` is surely not bound, and the names bound where it should be; None for none."""
    names = frozenset(_bound(tree.body))
    if attributes[0] not in names:
        return None if names & _OPENERS or attributes[0] in _assigned_elsewhere(tree) else (0, names)
    body = _plain_class(tree, attributes[0]) if len(attributes) > 1 else None
    if body is None:
        return None
    members = frozenset(_bound(body))
    if attributes[1] in members | _OBJECT or members & _OPENERS or attributes[1] in _assigned_elsewhere(tree):
        return None
    return 1, members


def _bound(body: Iterable[ast.AST]) -> Iterator[str]:
    """Name what the statements of one scope bind, in whatever branch, and every opener that they use."""
    pending = list(body)
    while pending:
        node = pending.pop()
        yield from _names(node)
        if isinstance(node, ast.AnnAssign) and node.value is None:
            continue  # `name: int` binds nothing
        if not isinstance(node, (*_SCOPES, *_INNER)):
            pending.extend(ast.iter_child_nodes(node))


def _names(node: ast.AST) -> list[str]:
    match node:
        case ast.FunctionDef() | ast.AsyncFunctionDef() | ast.ClassDef():
            return [node.name]
        case ast.Import():
            return [alias.asname or alias.name.partition(".")[0] for alias in node.names]
        case ast.ImportFrom():
            return [alias.asname or alias.name for alias in node.names]
        case ast.MatchAs(name=str(name)) | ast.MatchStar(name=str(name)):
            return [name]
        case ast.Name() if isinstance(node.ctx, ast.Store) or node.id in _OPENERS:
            return [node.id]
        case ast.Attribute(attr="modules"):
            return ["globals"]  # `sys.modules[__name__] = ...` swaps the module for another object
    return []


def _assigned_elsewhere(tree: ast.Module) -> frozenset[str]:
    """Name what functions bind when they are called: `global name`, and `Class.name = ...` anywhere."""
    found: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Global):
            found.update(node.names)
        elif isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Store):
            found.add(node.attr)
    return frozenset(found)


def _plain_class(tree: ast.Module, name: str) -> list[ast.stmt] | None:
    """Return the body of the class called `name` if nothing adds to it: base, decorator, another binding."""
    classes = [node for node in tree.body if isinstance(node, ast.ClassDef) and node.name == name]
    plain = [node.body for node in classes if not (node.bases or node.keywords or node.decorator_list)]
    return plain[0] if len(plain) == 1 and list(_bound(tree.body)).count(name) == 1 else None
