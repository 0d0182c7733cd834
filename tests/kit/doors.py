"""Find the calls that need a door: those that change files, start processes, read the environment, or print.

It works on the syntax tree alone: names are followed through imports (`from os import rename as r`), and methods of
unknown objects are judged by their names (`x.write_text(…)` is a path's).
"""

from __future__ import annotations

import ast
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterator

FILES, PROCESSES, ENVIRONMENT, TERMINAL = "changes files", "starts processes", "reads the environment", "prints"

_OS_FILES = """
    chmod chown copy_file_range fchmod fchown ftruncate lchmod lchown link makedirs mkdir mkfifo mknod pwrite remove
    removedirs removexattr rename renames replace rmdir sendfile setxattr symlink truncate unlink utime write writev
"""
_OS_PROCESSES = """
    execl execle execlp execlpe execv execve execvp execvpe fork forkpty kill killpg popen posix_spawn posix_spawnp
    spawnl spawnle spawnlp spawnlpe spawnv spawnve spawnvp spawnvpe startfile system
"""
_NAMES: dict[str, str] = {
    **{f"os.{name}": FILES for name in _OS_FILES.split()},
    **{f"os.{name}": PROCESSES for name in _OS_PROCESSES.split()},
    **{f"os.{name}": ENVIRONMENT for name in ("environ", "environb", "getenv", "getenvb", "putenv", "unsetenv")},
    **{f"sys.{name}": TERMINAL for name in ("stdin", "stdout", "stderr", "__stdin__", "__stdout__", "__stderr__")},
    "print": TERMINAL,
}
_MODULES = {
    "shutil": FILES,
    "tempfile": FILES,
    "compileall": FILES,
    "py_compile": FILES,
    "venv": FILES,
    "virtualenv": FILES,
    "_ctypes": FILES,
    "ctypes": FILES,
    "subprocess": PROCESSES,
    "multiprocessing": PROCESSES,
    "concurrent.futures.ProcessPoolExecutor": PROCESSES,
    "asyncio.create_subprocess_exec": PROCESSES,
    "asyncio.create_subprocess_shell": PROCESSES,
    "pty": PROCESSES,
    "getpass": TERMINAL,
    "rich": TERMINAL,
}
"""Any use of these modules counts, except of `_HARMLESS`."""

_HARMLESS = frozenset({"shutil.which", "shutil.disk_usage", "shutil.get_terminal_size", "tempfile.gettempdir"})
_METHODS = frozenset(
    {"chmod", "extract", "extractall", "hardlink_to", "lchmod", "mkdir", "rename", "rmdir", "symlink_to", "touch"}
    | {"unlink", "write_bytes", "write_text"}
)
_OPENERS = frozenset({"open", "io.open", "gzip.open", "bz2.open", "lzma.open", "tarfile.open", "zipfile.ZipFile"})
_READ_FLAGS = frozenset(["O_RDONLY", "O_CLOEXEC", "O_DIRECTORY", "O_NOFOLLOW", "O_NONBLOCK", "O_PATH"])


class Use(NamedTuple):
    """One call that needs a door: what it does, under which name, and in which line."""

    effect: str
    name: str
    line: int


def uses(source: str) -> list[Use]:
    """List everything in `source` that needs a door, in the order of its lines."""
    tree = ast.parse(source)
    finder = _Finder(dict(_imported(tree)))
    finder.visit(tree)
    return sorted(set(finder.found), key=lambda use: (use.line, use.name))


def imports(source: str, *, at_start_only: bool = False) -> set[str]:
    """Name the modules that `source` imports, wherever or at its start; `from a import b` gives `a.b`."""
    tree = ast.parse(source)
    if at_start_only:
        tree.body = [node for node in tree.body if isinstance(node, (ast.Import, ast.ImportFrom))]
    return {target for _, target in _imported(tree)} | {
        alias.name for node in ast.walk(tree) if isinstance(node, ast.Import) for alias in node.names
    }


def _imported(tree: ast.AST) -> Iterator[tuple[str, str]]:
    """Yield local name → full name for every import of the tree."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                first = alias.name.split(".")[0]
                yield (alias.asname, alias.name) if alias.asname else (first, first)
        elif isinstance(node, ast.ImportFrom) and node.module:
            for alias in node.names:
                yield alias.asname or alias.name, f"{node.module}.{alias.name}"


class _Finder(ast.NodeVisitor):
    def __init__(self, imported: dict[str, str]) -> None:
        self.imported = imported
        self.found: list[Use] = []

    def visit_Name(self, node: ast.Name) -> None:
        if node.id in self.imported or (node.id == "print" and isinstance(node.ctx, ast.Load)):
            self._judge(self._full_name(node), node)

    def visit_Attribute(self, node: ast.Attribute) -> None:
        full = self._full_name(node)
        if full is None:
            self.generic_visit(node)
        elif self._root(node) in self.imported:
            self._judge(full, node)

    def visit_Call(self, node: ast.Call) -> None:
        full = self._full_name(node.func)
        if full in _OPENERS:
            mode = _argument(node, 1, "mode")
            self._note_unless(_is_reading(mode), FILES, f"{full} for writing", node)
        elif full == "os.open":
            self._note_unless(_only_reads(_argument(node, 1, "flags")), FILES, "os.open for writing", node)
        elif isinstance(node.func, ast.Attribute) and self._is_method(node, full):
            self.found.append(Use(FILES, f".{node.func.attr}", node.lineno))
        elif full == "input":
            self.found.append(Use(TERMINAL, "input", node.lineno))
        self.generic_visit(node)

    def _is_method(self, node: ast.Call, full: str | None) -> bool:
        """Tell whether a call of an object's method is one that changes files, by its name and arguments."""
        assert isinstance(node.func, ast.Attribute)
        name = node.func.attr
        if self._is_function(full):
            return False
        if name == "replace":  # str.replace has two arguments, those of dates and named tuples are keywords
            return len(node.args) == 1 and not node.keywords
        if name == "open":
            return not _is_reading(_argument(node, 0, "mode"))
        return name in _METHODS

    def _is_function(self, full: str | None) -> bool:
        """Tell whether a name leads through an import, and so is judged as a whole; pathlib's classes are not."""
        modules = {target.split(".")[0] for target in self.imported.values()} - {"pathlib"}
        return full is not None and "." in full and full.split(".")[0] in modules

    def _full_name(self, node: ast.AST) -> str | None:
        """Spell a dotted name with its imports resolved; None for what is no plain name."""
        if isinstance(node, ast.Name):
            return self.imported.get(node.id, node.id)
        if isinstance(node, ast.Attribute):
            owner = self._full_name(node.value)
            return f"{owner}.{node.attr}" if owner else None
        return None

    def _root(self, node: ast.expr) -> str | None:
        """Return the name that a dotted name begins with, as it is written."""
        while isinstance(node, ast.Attribute):
            node = node.value
        return node.id if isinstance(node, ast.Name) else None

    def _judge(self, full: str | None, node: ast.expr) -> None:
        if full is None or full in _HARMLESS:
            return
        parts = full.split(".")
        for length in range(len(parts), 0, -1):
            name = ".".join(parts[:length])
            if name in _NAMES:
                self.found.append(Use(_NAMES[name], name, node.lineno))
                return
            if name in _MODULES:
                self.found.append(Use(_MODULES[name], full, node.lineno))
                return

    def _note_unless(self, harmless: bool, effect: str, name: str, node: ast.expr) -> None:
        if not harmless:
            self.found.append(Use(effect, name, node.lineno))


def _argument(call: ast.Call, position: int, keyword: str) -> ast.expr | None:
    named = (item.value for item in call.keywords if item.arg == keyword)
    return call.args[position] if len(call.args) > position else next(named, None)


def _is_reading(mode: ast.expr | None) -> bool:
    """Tell whether a mode is absent or a literal that only reads; one that is computed may be anything."""
    if mode is None:
        return True
    return isinstance(mode, ast.Constant) and not set(str(mode.value)) & set("wax+")


def _only_reads(flags: ast.expr | None) -> bool:
    """Tell whether flags are an `|` of names that only read."""
    if isinstance(flags, ast.BinOp) and isinstance(flags.op, ast.BitOr):
        return _only_reads(flags.left) and _only_reads(flags.right)
    return isinstance(flags, ast.Attribute) and flags.attr in _READ_FLAGS
