"""R9: every kind of damage is found, and had again from its source or another copy, or refused with the cause."""

from __future__ import annotations

import json
import shutil
import subprocess
from typing import TYPE_CHECKING, Any

import damages
import pytest
import trees
from damages import ADDED, FOUND, IGNORED, NOTHING, Kind, Site

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    import kit
    from conftest import Figures, Scale

_TOGETHER = 9
"""Kinds of damage that are done at once in a short run."""
_IMPORTS = (
    "import one, one.deep, two, single, shared.a, shared.b, shadow, lost, lost.b, local, fromgit, three.b, four.b"
)


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Site:
    """Build a home with everything in it, and keep a copy of it and its base."""
    made = damages.site(tmp_path_factory.mktemp("verify"))
    made.vpm_env("hook", "install", check=True)
    return made


class Trials:
    """Damages a home that is as it was each time, and asks verify."""

    def __init__(self, site: Site, workshop: kit.Workshop) -> None:
        self.site = site
        self._workshop = workshop
        self._folders = (site.home, site.base.prefix)
        for folder in self._folders:
            _copy(folder, _kept(folder))
        self.kept_packages = [path for path in _kept(site.home).glob("store/*") if len(path.name) > 12]

    def renew(self, *, with_base: bool) -> None:
        for folder in self._folders if with_base else self._folders[:1]:
            shutil.rmtree(folder)
            _copy(_kept(folder), folder)

    def ask(self, *words: str) -> tuple[int, dict[str, Any]]:
        env = {**self.site.vpm_env.env, "PYTHONWARNINGS": "error"}
        ended = self._workshop("verify", "--json", *words, env=env, cwd=self.site.vpm_env.folder)
        assert ended.code in (0, 1), ended
        assert "Traceback" not in ended.stderr, ended
        return ended.code, json.loads(ended.stdout)

    def violations(self, kinds: Sequence[Kind]) -> Iterator[str]:
        """Do harm of these kinds at once, and say what verify or repair got wrong.

        What is no damage is done first: it must be there after the repair as well.
        """
        ordered = sorted(kinds, key=lambda kind: kind.outcome == FOUND)
        harmless = [kind for kind in ordered if kind.outcome != FOUND]
        entries = {kind.name: self._harm(kind) for kind in harmless}
        wanted = self._contents()
        entries |= {kind.name: self._harm(kind) for kind in ordered[len(harmless) :]}
        names = ", ".join(kind.name for kind in kinds)
        code, found = self.ask()
        for kind in kinds:
            yield from _missed(kind, found, entries[kind.name])
        if code != any(kind.outcome == FOUND for kind in kinds):
            yield f"{names}: verify ended with {code}"
        code, done = self.ask("--repair", "--offline")
        refused = json.dumps(done["refused"])
        for kind in kinds:
            if kind.refused and kind.refused not in refused:
                yield f"{kind.name}: not refused with its cause, but {refused}"
        again, left = self.ask()
        if again != code:
            yield f"{names}: repair ended with {code}, and verify then with {again}: {left['damage']}"
        if not any(kind.refused for kind in kinds):
            yield from self._unlike(names, wanted, [pattern for kind in kinds for pattern in kind.changes])
            if code or done["refused"]:
                yield f"{names}: repair ended with {code}: {refused}"
            yield from self._not_importable(names)

    def _harm(self, kind: Kind) -> set[tuple[str, str]]:
        """Do harm of one kind; return what verify may blame, kind and name: what the paths that changed are of."""
        before = [trees.stats(folder) for folder in self._folders]
        kind.harm(self.site)
        home, base = (
            trees.touched(then, trees.stats(folder)) for then, folder in zip(before, self._folders, strict=True)
        )
        assert home or base, f"{kind.name} does nothing"
        own = {entry for inner in home for entry in self._blamed(inner)}
        return own | ({("hook", str(self.site.base.purelib))} if base else set())

    def _blamed(self, inner: str) -> Iterator[tuple[str, str]]:
        """Name what verify may tell of a path in the home."""
        top, *rest = inner.split("/")
        profile = self.site.profile_name
        if top == "store" and rest:
            yield from (("package", path.name) for path in self.kept_packages if path.name.startswith(rest[0]))
            yield from [("home", str(self.site.home))] * (len(rest) == 1 and len(rest[0]) == 12)
        elif top == "overlays" and len(rest) > 1:
            yield from (("overlay", rest[1]), ("profile", profile))
        elif top == "profiles":
            yield ("profile", profile)
            yield from [("home", str(self.site.home))] * (len(rest) < 3)
        else:
            yield ("home", str(self.site.home))

    def _contents(self) -> list[dict[str, tuple[object, ...]]]:
        return [trees.contents(folder) for folder in self._folders]

    def _unlike(self, names: str, wanted: list[dict[str, tuple[object, ...]]], spared: Sequence[str]) -> Iterator[str]:
        """Say what is not as it was before the damage."""
        for before, after in zip(wanted, self._contents(), strict=True):
            for text in trees.different(before, after, spared):
                yield f"{names}: after a repair {text}"

    def _not_importable(self, names: str) -> Iterator[str]:
        """Look whether the base imports all of the set; that nothing is left has been asked by repair itself."""
        env = {"PYTHONDONTWRITEBYTECODE": "1"}
        ran = self.site.base.run("-c", _IMPORTS, env=env, check=False)
        if ran.returncode or ran.stderr:
            yield f"{names}: after a repair {ran.stderr}"


def _missed(kind: Kind, found: dict[str, Any], entries: set[tuple[str, str]]) -> Iterator[str]:
    """Say whether verify did not tell of a kind what it must, of what was harmed, or told something else of it."""
    told = {
        FOUND: [text for entry in found["damage"] if _is_of(entry, entries) for text in entry["problems"]],
        ADDED: [entry["text"] for entry in found["added"] if _is_of(entry, entries)],
        IGNORED: [entry["text"] for entry in found["ignored"] if _is_of(entry, entries)],
    }
    if kind.outcome != NOTHING and not any(kind.says in text for text in told[kind.outcome]):
        yield f"{kind.name}: not told as {kind.outcome} of {entries}, but {found}"
    for outcome in set(told) - {kind.outcome}:
        if kind.outcome in (NOTHING, ADDED, IGNORED) and kind.says and any(kind.says in text for text in told[outcome]):
            yield f"{kind.name}: told as {outcome}"


def _is_of(entry: dict[str, Any], entries: set[tuple[str, str]]) -> bool:
    return (entry["kind"], entry["name"]) in entries


def _kept(folder: Path) -> Path:
    return folder.with_name(f"{folder.name}.kept")


def _copy(source: Path, target: Path) -> None:
    """Copy a tree with its hard links, owners and times."""
    subprocess.run(["cp", "-a", str(source), str(target)], check=True)


def batches(kinds: Sequence[Kind], together: int) -> Iterator[list[Kind]]:
    """Put kinds together that do not hide one another; what cannot be mended, or is about all, is alone."""
    mixed = [kind for kind in kinds if not kind.alone and not kind.refused]
    count = -(-len(mixed) // together)
    yield from (list(mixed[at::count]) for at in range(count))
    yield from ([kind] for kind in kinds if kind.alone or kind.refused)


def test_all_damage_is_found_and_mended_or_refused(
    site: Site, workshop: kit.Workshop, figure: Figures, scale: Scale
) -> None:
    kinds = list(damages.kinds())
    assert len({kind.name for kind in kinds}) == len(kinds)
    trials = Trials(site, workshop)
    assert trials.ask() == (0, trials.ask()[1])
    violations: list[str] = []
    for batch in batches(kinds, scale(_TOGETHER, 1)):
        violations += trials.violations(batch)
        trials.renew(with_base=any("hook" in kind.name for kind in batch))
    figure("R9", "kinds of damage found, and mended or refused", count=len(kinds), wanted=60, violations=violations)
