"""Sets that no config asks for: some packages of a generation, or of two, linked from the store in milliseconds.

There is no resolve: what is put together was resolved together, or its requirements say that it does not fit. Nothing
points to such a set, so it lies there as long as a process holds its lease, and until the next gc after that.
"""

from __future__ import annotations

import os

from envbuilder import flocks, overlay, store, stubs
from envbuilder.assembly import link
from envbuilder.classes import dataclass
from envbuilder.closure import Closure, Offer, Requirements, Unmet
from envbuilder.composition import composed
from envbuilder.errors import ProfileError
from envbuilder.revision import manifest_of
from envbuilder.tuples import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from typing import Any

    from envbuilder.base import Base
    from envbuilder.manifest import Manifest, Member
    from envbuilder.overlay import Part
    from envbuilder.paths import Environment, Layout
    from envbuilder.report import Reporter
    from envbuilder.revision import Revision

    Roots = Mapping[str, frozenset[str]]


class Choice(NamedTuple):
    """One package that a set may have, as a generation has it; `waived` are names whose bounds it ignores."""

    member: Member
    part: Part
    waived: frozenset[str] = frozenset()

    @property
    def content(self) -> tuple[object, ...]:
        """Return what makes it another package for a set than one of the same name."""
        return self.member.key, self.member.override, self.part.selection


@dataclass(frozen=True, kw_only=True, slots=True)
class Stock:
    """What a generation has to make sets of, by name.

    `roots` are its plugins' packages with the extras that are wanted of them, `given` the same of plugins that the base
    provides. `strays` are packages that these do not lead to, and `gaps` requirements that are not met.
    """

    manifest: Manifest
    choices: Mapping[str, Choice]
    roots: Roots
    given: Roots
    strays: frozenset[str]
    gaps: frozenset[Unmet]


class Variant(NamedTuple):
    """A set, described but not made; `unmet` are requirements that it does not meet and that were met before."""

    manifest: Manifest
    parts: tuple[Part, ...]
    unmet: tuple[Unmet, ...]


class Held(NamedTuple):
    """A set that is on the disk, and its lease, a descriptor."""

    path: str
    lease: int


class Kitchen:
    """Makes sets over one base out of what generations have."""

    def __init__(self, base: Base, env: Environment) -> None:
        self.base = base
        self._env = env
        self._requirements = Requirements(base.markers)

    def stock(self, found: Revision) -> Stock:
        """Return what a generation has; raise `ProfileError` where its overlay or one of its packages is gone."""
        manifest = manifest_of(found)
        choices = {member.name: _choice(member, manifest, found) for member in manifest.members}
        config = found.config(self._env)
        extras = {plugin.name: frozenset(plugin.extras) for plugin in config.enabled} if config else {}
        named = {member.name: extras.get(member.plugin, frozenset()) for member in manifest.members if member.plugin}
        given = {entry.split(" ")[0]: extras.get(plugin, frozenset()) for plugin, entry in manifest.provided.items()}
        reached, gaps = self._closure(choices, {**named, **given})
        strays = frozenset(choices) - reached
        return Stock(manifest=manifest, choices=choices, roots=named, given=given, strays=strays, gaps=gaps)

    def compose(
        self,
        choices: Mapping[str, Choice],
        roots: Roots,
        *,
        stocks: tuple[Stock, ...],
        derived: Mapping[str, Any],
        without: frozenset[str] = frozenset(),
    ) -> Variant:
        """Describe the set of `choices` that `roots` lead to, strays with them; `without` are single packages less.

        `stocks` are where the choices come from; what the last one says counts.
        """
        wanted = {**_beside(stocks, choices), **roots} if roots else {}
        closure = self._closure(choices, wanted)
        chosen = {name: choices[name] for name in sorted(closure.names & choices.keys() - without)}
        unmet = self._closure(chosen, wanted).unmet
        known = frozenset[Unmet]().union(*(stock.gaps for stock in stocks))
        parts = tuple(choice.part for choice in chosen.values())
        manifest = composed(parts, {name: choice.member.plugin for name, choice in chosen.items()}, self.base)
        facts = self._facts(_merged(stocks, "facts"), closure.names, chosen)
        manifest = manifest._replace(facts=facts, derived=dict(derived), **_told(stocks, chosen))
        return Variant(manifest, parts, tuple(sorted(unmet - known)))

    def leads_to(self, name: str, stock: Stock) -> frozenset[str]:
        """Return what a package of a stock leads to, itself included."""
        return self._closure(stock.choices, {name: stock.roots.get(name, frozenset())}).names

    def _closure(self, choices: Mapping[str, Choice], roots: Roots) -> Closure:
        distributions = self.base.distributions

        def offer(name: str) -> Offer | None:
            if choice := choices.get(name):
                return Offer(choice.member.version, choice.part.package.requires, waived=choice.waived)
            dist = distributions.get(name)
            return Offer(dist.version, dist.requires, is_base=True) if dist else None

        return self._requirements.closure(roots, offer)

    def _facts(self, facts: dict[str, str], reached: frozenset[str], chosen: Mapping[str, Choice]) -> dict[str, str]:
        """Return what the set relies on of the base, as a build would say it."""
        overrides = frozenset(name for name, choice in chosen.items() if choice.member.override)
        kept = reached.union(stubs.requirers(self.base, overrides), {self.base.engine.distribution}) - overrides
        return {name: version for name, version in facts.items() if name in kept}


def make(variant: Variant, base: Base, layout: Layout, env: Environment, report: Reporter) -> Held:
    """See to it that a set is on the disk, and hold it; of those who want the same at once one makes it.

    A home that cannot be written to is no obstacle where it is there. Raise `ProfileError` where it is damaged.
    """
    digest = variant.manifest.digest
    path = layout.overlay(base.key, digest)
    if held := hold(path):
        return held
    with (
        flocks.locked(layout.gc_lock, wait=env.lock_wait, on_wait=report.waiting, shared=True),
        flocks.locked(layout.overlay_lock(base.key, digest), wait=env.lock_wait, on_wait=report.waiting),
    ):
        if overlay.read(path) is None:
            for part in variant.parts:
                store.name_again(layout, part.package.key)
            link(layout, base, env, variant.parts, path)
            overlay.seal(path, variant.manifest)
        held = hold(path)
    if held is None:
        raise ProfileError(f"the overlay {digest[:12]} went while it was made", hint="try it again")
    return held


def hold(path: str) -> Held | None:
    """Take the lease of a valid overlay; None where there is none."""
    try:
        lease = flocks.hold_lease(os.path.join(path, overlay.LEASE))
    except FileNotFoundError:
        return None
    if overlay.read(path) is None:
        os.close(lease)
        return None
    return Held(path, lease)


def _choice(member: Member, manifest: Manifest, found: Revision) -> Choice:
    package = store.get(found.profile.layout, member.key)
    if package is None:
        hint = f"`vpm-env switch {found.generation.number}` rebuilds it from its lock, and makes it current"
        raise ProfileError(f"the package `{member.name} {member.version}` of the set is gone or damaged", hint=hint)
    part = overlay.part(package, override=member.override, selection=manifest.selection.get(member.name))
    return Choice(member, part, frozenset(manifest.ignored.get(member.plugin, ())))


def _beside(stocks: Iterable[Stock], choices: Mapping[str, Choice]) -> dict[str, frozenset[str]]:
    """Return what is wanted besides the plugins of a set: those of the base, and strays."""
    found: dict[str, frozenset[str]] = {}
    for stock in stocks:
        found |= {**dict.fromkeys(stock.strays & choices.keys(), frozenset[str]()), **stock.given}
    return found


def _merged(stocks: Iterable[Stock], field: str) -> dict[str, Any]:
    return {name: value for stock in stocks for name, value in getattr(stock.manifest, field).items()}


def _told(stocks: tuple[Stock, ...], chosen: Mapping[str, Choice]) -> dict[str, Any]:
    """Return what the stocks say of the chosen packages and their plugins."""
    plugins = {choice.member.plugin for choice in chosen.values()}
    rows = {
        field: tuple(
            row
            for stock in stocks
            for row in getattr(stock.manifest, field)
            if row.package in chosen and stock.choices.get(row.package) is chosen[row.package]
        )
        for field in ("findings", "probe")
    }
    own = {
        field: {name: value for name, value in _merged(stocks, field).items() if name in plugins}
        for field in ("ignored", "accepts")
    }
    return {**rows, **own, **{field: _merged(stocks, field) for field in ("provided", "left_out")}}
