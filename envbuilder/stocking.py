"""How packages get into the store: staged beside it, checked, compiled, brought to the disk, published.

A package is staged on the same file system and published by one rename after one `syncfs`: there as a whole or not
at all. Locks are taken per input in one order, so no two builds wait for one another in a circle.
"""

from __future__ import annotations

from contextlib import ExitStack
from os.path import join
from typing import TYPE_CHECKING

from envbuilder import flocks, fs, protocol, store
from envbuilder.errors import SeveralErrors, SourceError, VpmError
from envbuilder.package import Package
from envbuilder.paths import DEFAULT_WAIT
from envbuilder.subject import Subject

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from envbuilder.base import Base
    from envbuilder.config import Plugin
    from envbuilder.lock import LockedPackage
    from envbuilder.order import Order
    from envbuilder.paths import Layout
    from envbuilder.report import Reporter
    from envbuilder.sources import Source
    from envbuilder.uv import Uv

    Result = Package | VpmError
    Judge = Callable[[Sequence[Subject]], Mapping[str, VpmError]]
    """Says of packages that were made which must not enter the store, name → why."""
    Supply = Callable[[Order], Order]
    """Says where else a package may be had before it is made."""


def _none_refused(_: Sequence[Subject]) -> Mapping[str, VpmError]:
    return {}


def _as_ordered(order: Order) -> Order:
    return order


def add_all(
    locked: Iterable[LockedPackage],
    *,
    base: Base,
    layout: Layout,
    uv: Uv,
    report: Reporter,
    not_isolated: frozenset[str] = frozenset(),
    startup_allowed: frozenset[str] = frozenset(),
    judge: Judge = _none_refused,
    supply: Supply = _as_ordered,
    wait: float = DEFAULT_WAIT,
) -> dict[str, Package]:
    """Bring packages of an index into the store: name → package.

    `not_isolated` are names of packages whose sdist is built with what the base has, `startup_allowed` of those that
    may have start-up files; `judge` is asked about those that are made, before they enter; `supply` says where one may
    be had that need not be made; `wait` is how many seconds to wait for somebody else who makes one of them.
    Everything that can be had is added before an error is raised: the only one, or `SeveralErrors`. Files that cannot
    be had are one `SourceError`.
    """
    from envbuilder import orders  # a build that finds all its packages here makes none
    from envbuilder.unpack import require

    wanted = list(locked)
    ordered = [
        orders.of_locked(
            package,
            base=base,
            uv=uv,
            build_isolation=package.name not in not_isolated,
            startup_allowed=startup_allowed,
        )
        for package in wanted
    ]
    made = _unless_failed(_have(map(supply, ordered), base=base, layout=layout, report=report, judge=judge, wait=wait))
    for package, result in zip(wanted, made, strict=True):
        require(result, name=package.name, version=package.version)
    return {package.name: result for package, result in zip(wanted, made, strict=True)}


def add_all_built(
    sources: Iterable[tuple[Source, Plugin]],
    *,
    base: Base,
    layout: Layout,
    uv: Uv,
    report: Reporter,
    startup_allowed: frozenset[str] = frozenset(),
    judge: Judge = _none_refused,
    supply: Supply = _as_ordered,
    wait: float = DEFAULT_WAIT,
) -> dict[str, tuple[Package, LockedPackage]]:
    """Bring git and local sources into the store: plugin name → package and lock entry; errors as `add_all`."""
    from envbuilder import orders  # most configs have no such sources

    wanted = list(sources)
    ordered = [
        orders.of_source(source, plugin, base=base, uv=uv, startup_allowed=startup_allowed) for source, plugin in wanted
    ]
    made = _unless_failed(_have(map(supply, ordered), base=base, layout=layout, report=report, judge=judge, wait=wait))
    return {
        plugin.name: (package, orders.entry(package, source, plugin))
        for (source, plugin), package in zip(wanted, made, strict=True)
    }


def add_ordered(
    ordered: Sequence[Order], *, base: Base, layout: Layout, report: Reporter, wait: float = DEFAULT_WAIT
) -> list[Package]:
    """Bring what was ordered into the store, in this order; errors as `add_all`."""
    return _unless_failed(_have(ordered, base=base, layout=layout, report=report, judge=_none_refused, wait=wait))


def _have(
    orders: Iterable[Order], *, base: Base, layout: Layout, report: Reporter, judge: Judge, wait: float
) -> list[Result]:
    """Have every package: recalled, or staged and published; an error in the place of one that cannot be had."""
    ordered = tuple(orders)
    found: dict[str, Result] = {}
    _recall_into(found, ordered, base, layout)
    wanted = {order.digest: order for order in ordered if order.digest not in found}

    if wanted:
        for folder in (layout.tmp, layout.store, layout.sources):
            fs.make_dirs(folder)
        with ExitStack() as held:
            for digest in sorted(wanted):
                lock = join(layout.flocks, f"store-{digest[:32]}.lock")
                held.enter_context(flocks.locked(lock, wait=wait, on_wait=report.waiting))
            # Whoever held a lock may have made what we want.
            _recall_into(found, wanted.values(), base, layout)
            lacking = [wanted[digest] for digest in sorted(wanted.keys() - found.keys())]
            found |= _make(lacking, base, layout, report, judge)
    return [found[order.digest] for order in ordered]


def _recall_into(found: dict[str, Result], ordered: Iterable[Order], base: Base, layout: Layout) -> None:
    for order in ordered:
        package = store.recall(order.digest, base, layout)
        if package:
            found[order.digest] = package


def _make(ordered: list[Order], base: Base, layout: Layout, report: Reporter, judge: Judge) -> dict[str, Result]:
    """Stage all, bring them to the disk at once, publish one by one those that nothing speaks against."""
    if not ordered:
        return {}
    from envbuilder import making  # see `add_all`

    with fs.staging(layout.tmp) as scratch:
        made = _judged(making.make_all(ordered, scratch, base, report), ordered, scratch, judge)
        fs.sync_tree(scratch)
        protocol.reached("package", "synced")
        for order in ordered:
            result = made[order.digest]
            if isinstance(result, Package):
                store.publish(order.place(scratch), result, order, layout)
        fs.sync_dir(layout.store)
        protocol.reached("package", "durable")
    return made


def _judged(staged: dict[str, Result], ordered: list[Order], scratch: str, judge: Judge) -> dict[str, Result]:
    """Put an error in the place of each package that must not enter; its tree goes with all that was staged."""
    subjects = {
        order.digest: Subject(package=result, lib=join(order.place(scratch), "lib"), plugin=order.plugin)
        for order in ordered
        if isinstance(result := staged[order.digest], Package)
    }
    refused = judge(tuple(subjects.values()))
    return staged | {digest: refused[subject.name] for digest, subject in subjects.items() if subject.name in refused}


def _unless_failed(results: list[Result]) -> list[Package]:
    """Return the packages if there are no errors; those about missing files become one."""
    lacking = [error for error in results if isinstance(error, SourceError)]
    found = (error for error in results if isinstance(error, VpmError) and error not in lacking)
    errors: list[VpmError] = list({error.message: error for error in found}.values())  # what ended several is told once
    if lacking:
        errors.insert(0, SourceError(tuple(pair for error in lacking for pair in error.missing), hint=lacking[0].hint))
    if len(errors) > 1:
        raise SeveralErrors(tuple(errors))
    if errors:
        raise errors[0]
    return [result for result in results if isinstance(result, Package)]
