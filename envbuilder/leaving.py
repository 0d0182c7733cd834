"""A generation without some of its plugins or packages: which are meant, and what goes with them.

A plugin goes with what nothing else in the set needs; a package that is no plugin goes alone, and who requires it is
told. What was made for `VPM_ENV_WITHOUT` is noted in the home's cache, where the start-up hook finds it.
"""

from __future__ import annotations

from os.path import dirname, join

from envbuilder import fs
from envbuilder.errors import UsageError
from envbuilder.names import listed, nearest, normalized
from envbuilder.revision import revision
from envbuilder.tuples import TYPE_CHECKING, NamedTuple
from envbuilder.variant import Kitchen, make

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable

    from envbuilder.base import Base
    from envbuilder.manifest import Manifest
    from envbuilder.paths import Environment, Layout
    from envbuilder.profile import Generation, Profile
    from envbuilder.report import Reporter
    from envbuilder.variant import Held, Stock, Variant

VARIABLE = "VPM_ENV_WITHOUT"
_LISTED = 12


class Left(NamedTuple):
    """What is left out of a set: plugins by their entries' names, and single packages."""

    plugins: tuple[str, ...]
    packages: tuple[str, ...]

    @property
    def names(self) -> tuple[str, ...]:
        return (*self.plugins, *self.packages)

    def __bool__(self) -> bool:
        return bool(self.names)


def left_out(manifest: Manifest, asked: Iterable[str]) -> tuple[Left, dict[str, str]]:
    """Find what names mean in a set; returned are also those that mean nothing there, each with a sentence on why."""
    plugins = {normalized(member.plugin): member for member in manifest.members if member.plugin}
    members = {member.name: member for member in manifest.members}
    found: list[str] = []
    alone: list[str] = []
    unknown: dict[str, str] = {}
    for name in dict.fromkeys(asked):
        member = plugins.get(normalized(name)) or members.get(normalized(name))
        if member is None:
            unknown[name] = _unknown(name, manifest)
        elif member.plugin:
            found.append(member.plugin)
        else:
            alone.append(member.name)
    return Left(tuple(sorted(set(found))), tuple(sorted(set(alone)))), unknown


def enter_without(
    profile: Profile,
    generation: Generation,
    base: Base,
    names: Collection[str],
    *,
    env: Environment,
    report: Reporter,
) -> tuple[Held | None, Left]:
    """Make a generation's set without `names` and those of `VPM_ENV_WITHOUT`, and hold it; None if nothing is left out.

    A name that means nothing there is an error in a call, and a warning in the variable: that stays set while sets
    change. Raise `UsageError` for the former.
    """
    found = revision(profile, str(generation.number))
    kitchen = Kitchen(base, env)
    stock = kitchen.stock(found)
    asked = listed(env.get(VARIABLE) or "")
    left, unknown = left_out(stock.manifest, [*names, *asked])
    if wrong := [name for name in names if name in unknown]:
        raise UsageError(
            "\n".join(f"`{name}` cannot be left out: {unknown[name]}" for name in wrong),
            hint=_there(stock.manifest, wrong[0], generation.number),
        )
    for name in unknown:
        report.warn(f"`{VARIABLE}` names `{name}`: {unknown[name]}")
    variant = without(kitchen, stock, left)
    for gap in variant.unmet:
        report.warn(f"`{gap.requirer}` requires `{gap.requirement}`, which is left out")
    held = make(variant, base, profile.layout, env, report) if left else None
    if not unknown and not names:
        _note(profile.layout, base.key, generation.digest, asked, variant.manifest.digest)
    return held, left


def without(kitchen: Kitchen, stock: Stock, left: Left) -> Variant:
    """Describe the set that is left."""
    choices = {name: one for name, one in stock.choices.items() if one.member.plugin not in left.plugins}
    roots = {name: extras for name, extras in stock.roots.items() if name in choices}
    derived = {"digest": stock.manifest.digest, "without": list(left.names)}
    return kitchen.compose(choices, roots, stocks=(stock,), derived=derived, without=frozenset(left.packages))


def note_path(layout: Layout, base_key: str, digest: str, asked: Iterable[str]) -> str:
    """Name the link that says which set a generation's becomes without some names."""
    spelled = ",".join(sorted({normalized(name) for name in asked}))
    return join(layout.cache, "without", base_key, digest, spelled)


def _note(layout: Layout, base_key: str, digest: str, asked: Iterable[str], made: str) -> None:
    """Let the start-up hook find the set; a home that takes no files is no reason to stop, nor are many names."""
    path = note_path(layout, base_key, digest, asked)
    try:
        fs.make_dirs(dirname(path))
        if fs.target_of(path) != made:
            fs.replace_symlink(path, made)
    except OSError:
        pass


def _unknown(name: str, manifest: Manifest) -> str:
    """Say why a name means nothing in a set."""
    given = {normalized(plugin): entry for plugin, entry in manifest.provided.items()}
    given |= {entry.split(" ")[0]: entry for entry in manifest.provided.values()}
    if entry := given.get(normalized(name)):
        return f"it is `{entry}` of the base, and no part of the set"
    if normalized(name) in map(normalized, manifest.left_out):
        return "it is optional, and the build has left it out already"
    return "the set has no such plugin or package"


def _there(manifest: Manifest, name: str, number: int) -> str:
    """Name what can be left out, the nearest first."""
    plugins = [member.plugin for member in manifest.members if member.plugin]
    near = nearest(name, [*plugins, *(member.name for member in manifest.members)])
    if near:
        return f"did you mean `{near}`?"
    more = ["…"] if len(plugins) > _LISTED else []
    known = ", ".join([*(f"`{plugin}`" for plugin in plugins[:_LISTED]), *more])
    return f"generation {number} has {known}" if plugins else f"generation {number} has no plugins"
