"""What tells two generations apart, as changes that can be made one by one, and the sets with only some of them.

Where one set is compared with the bare engine, the changes are its plugins. A dependency that only one of the two has
is no change by itself: it comes and goes with who requires it.
"""

from __future__ import annotations

from envbuilder.errors import UsageError
from envbuilder.names import normalized
from envbuilder.tuples import TYPE_CHECKING, NamedTuple
from envbuilder.variant import Stock

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from envbuilder.variant import Choice, Kitchen, Variant


class Step(NamedTuple):
    """One change: of package `name`, from one version to another; None where it is absent, or no plugin.

    `plugin` is the config's entry, "" for a dependency.
    """

    name: str
    plugin: str
    before: str | None
    after: str | None

    @property
    def label(self) -> str:
        """Name what changes: the plugin, or the package."""
        return self.plugin or self.name

    @property
    def text(self) -> str:
        """Say it: `` `one` 1.0 → 1.1 ``."""
        if self.before is None:
            return f"`{self.label}` (added)"
        if self.after is None:
            return f"`{self.label}` (removed)"
        versions = f"{self.before} → {self.after}" if self.before != self.after else f"{self.after}, other content"
        return f"`{self.label}` {versions}"

    def version(self, *, undone: bool) -> str | None:
        """Return the version with the change or without; None for none."""
        return self.before if undone else self.after


class Menu:
    """The changes that lead from one set to another, in an order in which each comes behind what it requires.

    `good` is None for the bare engine. Plugins that `kept` names are in all sets.
    """

    def __init__(self, kitchen: Kitchen, good: Stock | None, bad: Stock, kept: Iterable[str] = ()) -> None:
        self._kitchen = kitchen
        self._bad = bad
        self._from_nothing = good is None
        self._good = good or _nothing(bad)
        self._kept = self._named(kept)
        names = self._good.choices.keys() | bad.choices.keys()
        changed = {name for name in names if name not in self._kept and self._differs(name)}
        leads = {name: kitchen.leads_to(name, bad if name in bad.choices else self._good) for name in changed}
        order = sorted(changed, key=lambda name: (len(leads[name] & changed), name))
        self.steps: tuple[Step, ...] = tuple(map(self._step, order))
        self._needs = {name: leads[name] & set(bad.roots) - {name} for name in order}

    def required(self, things: Iterable[int]) -> tuple[Step, ...]:
        """Return those of some changes that are there because others of them require them."""
        steps = [self.steps[thing] for thing in things]
        needed = {name for step in steps for name in self._needs[step.name]}
        return tuple(step for step in steps if self._from_nothing and step.name in needed)

    def made(self, things: Iterable[int]) -> frozenset[int]:
        """Return those of some changes that can be made: no plugin comes without the ones that it requires.

        Of two generations any may be tried, and may turn out not to fit.
        """
        chosen = frozenset(things)
        if not self._from_nothing:
            return chosen
        names = self._kept.union(self.steps[thing].name for thing in chosen)
        return frozenset(thing for thing in chosen if self._needs[self.steps[thing].name] <= names)

    def variant(self, things: Iterable[int]) -> Variant:
        """Describe the set with some of the changes."""
        chosen = {self.steps[thing].name for thing in things}
        left_out = {step.name for step in self.steps} - chosen
        choices: dict[str, Choice] = {}
        roots: dict[str, frozenset[str]] = {}
        for name in self._good.choices.keys() | self._bad.choices.keys():
            is_older = name in left_out or name not in self._bad.choices.keys() | chosen
            side = self._good if is_older else self._bad
            if name in side.choices:
                choices[name] = side.choices[name]
            if name in side.roots:
                roots[name] = side.roots[name]
        derived: dict[str, object] = {"digest": self._bad.manifest.digest}
        if self._from_nothing:
            derived["without"] = [step.label for step in self.steps if step.name in left_out]
        else:
            derived["instead"] = self._good.manifest.digest
        return self._kitchen.compose(choices, roots, stocks=(self._good, self._bad), derived=derived)

    def _differs(self, name: str) -> bool:
        good, bad = self._good, self._bad
        if name in good.roots or name in bad.roots:
            return _as_root(name, good) != _as_root(name, bad)
        both = name in good.choices and name in bad.choices
        return both and good.choices[name].content != bad.choices[name].content

    def _step(self, name: str) -> Step:
        good, bad = self._good, self._bad
        sides = [side for side in (bad, good) if name in side.choices]
        is_plugin = name in good.roots or name in bad.roots
        plugin = next((one for side in sides if (one := side.choices[name].member.plugin)), "")
        versions = [
            side.choices[name].member.version if name in (side.roots if is_plugin else side.choices) else None
            for side in (good, bad)
        ]
        return Step(name, plugin, *versions)

    def _named(self, kept: Iterable[str]) -> frozenset[str]:
        """Return the packages of the plugins that are in all sets; raise `UsageError` for one that is none."""
        known = {normalized(self._bad.choices[name].member.plugin): name for name in self._bad.roots}
        names = list(kept)
        if unknown := [f"`{name}`" for name in names if normalized(name) not in known]:
            has = ", ".join(f"`{name}`" for name in sorted(known))
            raise UsageError(f"the set has no plugin {' and no plugin '.join(unknown)} to keep", hint=f"it has {has}")
        return frozenset(known[normalized(name)] for name in names)


def _as_root(name: str, stock: Stock) -> Sequence[object] | None:
    return (stock.choices[name].content, stock.roots[name]) if name in stock.roots else None


def _nothing(like: Stock) -> Stock:
    return Stock(
        manifest=like.manifest._replace(members=(), facts={}, findings=(), probe=(), provided={}, left_out={}),
        choices={},
        roots={},
        given={},
        strays=frozenset(),
        gaps=frozenset(),
    )
