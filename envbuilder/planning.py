"""What a build would change, as data and as the lines that everybody reads: `pkg: 1.0 → 1.1, +44 KiB`."""

from __future__ import annotations

from envbuilder.tuples import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from envbuilder.lock import Lock

ABSENT = "∅"


class Change(NamedTuple):
    """One package that differs between two sets.

    `before` and `after` are versions, None where it is absent; `size` is the difference in bytes, None where it is
    not known because the package was not fetched yet. `content` says how two of one version differ: `other content`,
    or a git source's commits.
    """

    name: str
    before: str | None
    after: str | None
    size: int | None = None
    content: str = ""

    def __str__(self) -> str:
        arrow = f"{self.name}: {self.before or ABSENT} → {self.after or ABSENT}"
        content = f", {self.content}" if self.content else ""
        return arrow + content + (f", {signed_size(self.size)}" if self.size else "")


class Difference(NamedTuple):
    """How two sets differ: in packages, and in what of the base they rely on."""

    packages: tuple[Change, ...]
    facts: tuple[Change, ...] = ()

    @property
    def lines(self) -> list[str]:
        """Say it, a line each."""
        return [str(change) for change in self.packages] + [str(fact) for fact in self.facts]


def changes(
    before: dict[str, tuple[str, str, int]], after: dict[str, tuple[str, str, int | None]]
) -> tuple[Change, ...]:
    """Compare two sets, each name → (version, key or "", bytes); sorted by name, only what differs."""
    found = []
    for name in sorted(before.keys() | after.keys()):
        old, new = before.get(name), after.get(name)
        if old and new and old[0] == new[0] and (old[1] == new[1] or not new[1]):
            continue
        grown = None if new and new[2] is None else (new[2] or 0 if new else 0) - (old[2] if old else 0)
        found.append(
            Change(
                name=name,
                before=old[0] if old else None,
                after=new[0] if new else None,
                size=grown,
                content="other content" if old and new and old[0] == new[0] else "",
            )
        )
    return tuple(found)


def lock_changes(before: Lock | None, after: Lock) -> tuple[str, ...]:
    """Say how two locks differ: packages, facts and what was left out."""
    old = {package.name: package.version for package in before.packages} if before else {}
    new = {package.name: package.version for package in after.packages}
    lines = [
        f"{name}: {old.get(name, ABSENT)} → {new.get(name, ABSENT)}"
        for name in sorted(old.keys() | new.keys())
        if old.get(name) != new.get(name)
    ]
    facts = before.facts if before else {}
    lines += [
        f"{name} of the base: {facts.get(name, ABSENT)} → {after.facts.get(name, ABSENT)}"
        for name in sorted(facts.keys() | after.facts.keys())
        if facts.get(name) != after.facts.get(name)
    ]
    if (before.exclude_newer if before else "") != after.exclude_newer:
        lines.append(f"only what was uploaded before {after.exclude_newer or 'now'} counts")
    return tuple(lines) or ("other sources or settings for the same versions",)


def size_text(size: int) -> str:
    """Spell a number of bytes: `44 KiB`."""
    amount = float(size)
    for unit in ("B", "KiB", "MiB", "GiB"):
        if abs(amount) < 1024 or unit == "GiB":
            return f"{amount:.0f} {unit}" if unit == "B" or abs(amount) >= 10 else f"{amount:.1f} {unit}"
        amount /= 1024
    raise AssertionError(size)


def signed_size(size: int) -> str:
    """Spell a difference in bytes: `+44 KiB`."""
    return ("+" if size >= 0 else "-") + size_text(abs(size))


def counted(number: int, noun: str) -> str:
    """Spell a number of things: `1 package`, `2 packages`."""
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"
