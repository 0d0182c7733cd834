"""How packages are made beside the store: some at a time unpacked or built, and compiled, small ones together.

An interpreter takes longer to start than to compile a small package, so those wait until there is enough for a start
or nothing more to come; one that fails leaves each package of its share to a start of its own, so that the right one
is blamed.
"""

from __future__ import annotations

from os.path import dirname, join
from typing import Any

from envbuilder import bytecode, compiling, fs, process, protocol, store, unpack
from envbuilder.digest import spelled
from envbuilder.errors import SystemRefusal, VpmError
from envbuilder.package import Package
from envbuilder.tuples import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Sequence
    from concurrent.futures import Future, ThreadPoolExecutor

    from envbuilder.base import Base
    from envbuilder.order import Order
    from envbuilder.report import Reporter

    Result = Package | VpmError

_AT_WORK = 4
"""Packages that are unpacked or built at the same time."""
_COMPILERS = 4
_SHARE = 100_000
"""Bytes of packages that are enough for one start of an interpreter: to compile so much takes as long as the start."""


class Raw(NamedTuple):
    """A package that is unpacked below `target` and not compiled yet."""

    order: Order
    target: str
    package: Package


def make_all(ordered: Sequence[Order], scratch: str, base: Base, report: Reporter) -> dict[str, Result]:
    """Make what was ordered; return digest → package, or the error in its place.

    Raise `SystemRefusal` for what the disk refuses: the others would meet it too.
    """
    with process.workers(_AT_WORK + _COMPILERS) as pool:
        return _Making(pool, ordered, scratch, base, report).made()


class _Making:
    """What is to be done, what is under way, and what came of it."""

    def __init__(
        self, pool: ThreadPoolExecutor, ordered: Sequence[Order], scratch: str, base: Base, report: Reporter
    ) -> None:
        self._pool, self._scratch, self._base, self._report = pool, scratch, base, report
        self._coming = list(reversed(ordered))
        self._raw: list[Raw] = []
        self._unpacking: set[Future[Any]] = set()
        self._compiling: set[Future[Any]] = set()
        self._results: dict[str, Result] = {}

    def made(self) -> dict[str, Result]:
        """Do all of it, and return the results."""
        from concurrent.futures import FIRST_COMPLETED, wait  # its logging costs more than a look into the store

        while self._is_begun():
            done, _ = wait(self._unpacking | self._compiling, return_when=FIRST_COMPLETED)
            for unpacked in self._unpacking & done:
                self._take(unpacked.result())
            for compiled in self._compiling & done:
                self._note(compiled.result())
            self._unpacking -= done
            self._compiling -= done
        return self._results

    def _is_begun(self) -> bool:
        """Begin what there is room for; tell whether anything is under way."""
        while self._coming and len(self._unpacking) < _AT_WORK:
            self._unpacking.add(self._pool.submit(_unpacked, self._coming.pop(), self._scratch))
        while self._is_worth_a_start() and len(self._compiling) < _COMPILERS:
            self._compiling.add(self._pool.submit(_finished, self._share(), self._base))
        return bool(self._unpacking or self._compiling)

    def _is_worth_a_start(self) -> bool:
        """Tell whether enough waits to be compiled, or all that there is."""
        if not self._unpacking:
            return bool(self._raw)
        return sum(raw.package.size for raw in self._raw) >= _SHARE

    def _share(self) -> list[Raw]:
        """Take out of what waits to be compiled what is enough for one start."""
        share: list[Raw] = []
        while self._raw and sum(raw.package.size for raw in share) < _SHARE:
            share.append(self._raw.pop())
        return share

    def _take(self, found: Raw | tuple[Order, VpmError]) -> None:
        if isinstance(found, Raw):
            self._raw.append(found)
        else:
            self._results[found[0].digest] = found[1]

    def _note(self, results: dict[str, Result]) -> None:
        self._results |= results
        for result in results.values():
            if isinstance(result, Package):
                self._report.step(f"{result.name} {result.version}", size=result.size)


def _unpacked(order: Order, scratch: str) -> Raw | tuple[Order, VpmError]:
    target = order.place(scratch)
    fs.make_dirs(target)
    try:
        package = order.stage(target, join(dirname(target), "scratch"))
    except SystemRefusal:
        raise
    except VpmError as error:
        return order, error
    protocol.reached("package", "unpacked")
    return Raw(order, target, package)


def _finished(share: Sequence[Raw], base: Base) -> dict[str, Result]:
    """Compile and describe packages: order's digest → package, or the error in its place."""
    try:
        made = compiling.compile_trees([join(raw.target, "lib") for raw in share], base=base)
    except SystemRefusal:
        raise
    except VpmError as error:
        if len(share) == 1:
            return {share[0].order.digest: error}
        return {digest: result for raw in share for digest, result in _finished([raw], base).items()}
    return {raw.order.digest: _settled(raw, base, listed) for raw, listed in zip(share, made, strict=True)}


def _settled(raw: Raw, base: Base, compiled: dict[str, str]) -> Package:
    target, package = raw.target, raw.package
    unpack.settle(target)
    protocol.reached("package", "compiled")
    fs.remove_tree(join(dirname(target), "scratch"))
    bytecode.note(target, base.soabi, compiled)
    fs.write_plain(join(target, store.FILES), package.files.to_bytes(), mode=0o444)
    fs.write_plain(join(target, store.MANIFEST), spelled(package.to_dict()), mode=0o444)
    for name in (store.FILES, store.MANIFEST):
        fs.set_mode(join(target, name), 0o444)  # whatever the umask was
    protocol.reached("package", "described")
    return package
