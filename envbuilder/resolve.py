"""From plugins and a base to a lock: one joint resolve, in which what the base holds are facts.

A second round follows where the first one cannot be exact: a package that may shadow the base and comes in must also
suit the base's own distributions, and a bound that one plugin ignores still binds the others.
"""

from __future__ import annotations

from os.path import join
from typing import TYPE_CHECKING, Any

from envbuilder import fs, stubs, unknown
from envbuilder.answer import Answer, Question, Root, Unsolvable, ask, requirements_of, requirers
from envbuilder.base_stubs import base_stubs
from envbuilder.classes import dataclass, field, replace
from envbuilder.config import PyPI
from envbuilder.engines import ENGINE_DISTRIBUTIONS
from envbuilder.errors import Conflict, ResolutionError
from envbuilder.inquiry import Inquiry, World, chain_to
from envbuilder.lock import Lock, base_record
from envbuilder.provided import package_of, provided_by

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from envbuilder.base import Base
    from envbuilder.config import Config, Plugin
    from envbuilder.lock import LockedPackage
    from envbuilder.package import Package
    from envbuilder.paths import Layout
    from envbuilder.provided import Built
    from envbuilder.report import Reporter
    from envbuilder.stubs import Stub
    from envbuilder.uv import Uv


@dataclass(frozen=True, kw_only=True, slots=True)
class Case:
    """One resolve: what it is about. `plugins` are those that the base does not provide, by name."""

    plugins: Mapping[str, Plugin]
    built: Built
    base: Base
    override: frozenset[str]
    uv: Uv
    folder: str
    scratch: str

    def package_of(self, plugin: Plugin) -> str:
        """Return the normalized name of a plugin's package."""
        return package_of(plugin, self.built)

    def stub(self, name: str, version: str, requires: Iterable[str], ignore: Iterable[str]) -> Stub:
        """Write the stub of a plugin's package, the bounds that the plugin ignores taken off."""
        lines = stubs.without_bounds(requires, ignore)
        return stubs.write_stub(self.folder, name=name, version=version, requires=lines, stands_for=self.followed)

    @property
    def direct(self) -> dict[str, Package]:
        """Return the packages that others require by their URL, by requirement."""
        return {key: package for key, (package, _) in self.built.items() if " @ " in key}

    @property
    def followed(self) -> dict[str, str]:
        """Return the stubs that stand for them, requirement → path."""
        return {key: stubs.path_of(self.folder, each.name, each.version) for key, each in self.direct.items()}


@dataclass(frozen=True, kw_only=True, slots=True)
class Solved:
    """One round: what it asks, and what it got.

    `own` are the stubs that stand for packages of plugins, `taken` the real ones for those that come from an index.
    """

    question: Question
    own: dict[str, Stub]
    taken: dict[str, LockedPackage] = field(default_factory=dict)
    answer: Answer = field(default_factory=lambda: Answer(versions={}, packages=(), requires_python=""))


def resolve(
    *,
    config: Config,
    plugins: tuple[Plugin, ...],
    base: Base,
    built: Built,
    uv: Uv,
    layout: Layout,
    previous: Lock | None,
    upgrade: frozenset[str] | None,
    scratch: str,
    report: Reporter,
    exclude_newer: str = "",
) -> Lock:
    """Find versions of the plugins and of what they require that fit one another and the base.

    `plugins` are the entries to resolve, `built` the packages of those that come from git or a folder. What
    `previous` has is kept where it fits; `upgrade` is None for that, empty to keep nothing, else the names to look
    for anew. What was uploaded after the moment `exclude_newer` does not count. `scratch` is an
    empty directory to work in. Raise `ResolutionError`, which names every plugin to blame.
    """
    override = frozenset(config.override)
    folder, work = join(scratch, "stubs"), join(scratch, "work")
    fs.make_dirs(folder)
    fs.make_dirs(work)
    provided, conflicts = provided_by(base, plugins, built, override)
    settled = {*provided, *(conflict.plugin for conflict in conflicts)}
    remaining = {plugin.name: plugin for plugin in plugins if plugin.name not in settled}
    case = Case(plugins=remaining, built=built, base=base, override=override, uv=uv, folder=folder, scratch=work)
    _note_idle(plugins, base, report)
    extras = [plugin for plugin in plugins if plugin.name in provided and plugin.extras]
    facts = base_stubs(base, override, layout, folder, report)
    question, own = _first_question(case, extras, facts, previous, upgrade)
    if exclude_newer:
        report.note(f"only what was uploaded before {exclude_newer} counts")
    solved = _solve(case, replace(question, exclude_newer=exclude_newer), own, conflicts)
    return _lock(config, case, solved, provided)


def _note_idle(plugins: tuple[Plugin, ...], base: Base, report: Reporter) -> None:
    for plugin in plugins:
        for name in plugin.ignore:
            if name not in base.distributions:
                report.warn(f"`{plugin.name}` has `ignore: [{name}]`, and the base has no `{name}`")


def _first_question(
    case: Case,
    extras: list[Plugin],
    facts: dict[str, Stub],
    previous: Lock | None,
    upgrade: frozenset[str] | None,
) -> tuple[Question, dict[str, Stub]]:
    """Ask for everything at once; `extras` are plugins that the base provides, of which extras are wanted."""
    own = {}
    for plugin in case.plugins.values():
        if plugin.name in case.built:
            package = case.built[plugin.name][0]
            own[package.name] = case.stub(package.name, package.version, package.requires, plugin.ignore)
    required = {each.name: each for each in case.direct.values() if each.name not in own}
    own |= {name: case.stub(name, each.version, each.requires, ()) for name, each in required.items()}
    # uv knows no bound of one package to ignore, only of all; the second round puts the others' back.
    ignored = {name for plugin in case.plugins.values() if plugin.name not in case.built for name in plugin.ignore}
    question = Question(
        python=case.base.python,
        roots=tuple(_root(case, plugin, own) for plugin in (*case.plugins.values(), *extras)),
        facts=facts,
        forced={name: facts[name] for name in sorted(ignored & facts.keys())},
        preferred=_preferred(previous),
        upgrade=_upgraded(case, upgrade),
        build_in_base=tuple(
            plugin.source.package
            for plugin in case.plugins.values()
            if isinstance(plugin.source, PyPI) and not plugin.build_isolation
        ),
        direct=frozenset(required),
    )
    return question, own


def _root(case: Case, plugin: Plugin, own: Mapping[str, Stub]) -> Root:
    name = case.package_of(plugin)
    extras = f"[{','.join(sorted(plugin.extras))}]" if plugin.extras else ""
    if name in own:
        return Root(name=name, line=f"{name}{extras} @ {own[name].url}", plugin=plugin.name)
    specifier = plugin.source.specifier if isinstance(plugin.source, PyPI) else ""
    index = case.uv.plugin_indexes.get(plugin.name)
    return Root(name=name, line=f"{name}{extras}{specifier}", plugin=plugin.name, index=index)


def _preferred(previous: Lock | None) -> dict[str, str]:
    packages = previous.packages if previous else ()
    return {package.name: package.version for package in packages if package.wheels or package.sdist}


def _upgraded(case: Case, upgrade: frozenset[str] | None) -> frozenset[str] | None:
    """Accept names of plugins where names of packages are meant."""
    if not upgrade:
        return upgrade
    named = {plugin.name: case.package_of(plugin) for plugin in case.plugins.values()}
    return frozenset(named.get(name, name) for name in upgrade)


def _solve(case: Case, question: Question, own: dict[str, Stub], conflicts: tuple[Conflict, ...]) -> Solved:
    """Ask, and ask again where that was not exact; `conflicts` are known already and are told with what is found."""
    solved = _ask(case, Solved(question=question, own=own), conflicts)
    if conflicts:
        raise ResolutionError(conflicts, base=case.base.prefix)
    if shadowing := case.override & solved.answer.versions.keys():
        solved = _ask(case, _with_base_roots(case, solved, shadowing))
    if solved.question.forced:
        solved = _ask(case, _with_bounds(case, solved))
    _refuse_engines(case, solved)
    return solved


def _ask(case: Case, solved: Solved, conflicts: tuple[Conflict, ...] = ()) -> Solved:
    """Answer the question of `solved`; raise `ResolutionError`, with `conflicts`, where there is no answer."""
    if not solved.question.roots:
        return solved
    answer = ask(case.uv, solved.question, case.scratch)
    if not isinstance(answer, Unsolvable):
        return replace(solved, answer=answer)
    if unreached := unknown.unreached(answer.words, solved.question):
        raise unreached
    inquiry = Inquiry(
        uv=case.uv,
        question=solved.question,
        base=case.base,
        plugins=case.plugins,
        requires={name: stub.requires for name, stub in solved.own.items()},
        scratch=case.scratch,
    )
    from envbuilder.refusal import explain  # as a rule there is an answer

    raise ResolutionError((*conflicts, *explain(inquiry, answer.words)), base=case.base.prefix)


def _with_base_roots(case: Case, solved: Solved, shadowing: frozenset[str]) -> Solved:
    """Hold what shadows the base to the requirements of the base's own distributions."""
    facts = solved.question.facts
    names = [name for name in stubs.requirers(case.base, shadowing) if name in facts]
    roots = tuple(Root(name=name, line=f"{name} @ {facts[name].url}") for name in names)
    return _again(solved, roots=(*solved.question.roots, *roots))


def _with_bounds(case: Case, solved: Solved) -> Solved:
    """Ask with nothing forced: the packages that ignore bounds, as found, become stubs without these bounds."""
    own, taken = dict(solved.own), dict(solved.taken)
    for plugin in case.plugins.values():
        package = solved.answer.package(case.package_of(plugin)) if plugin.ignore else None
        if package:
            requires = _requirements(case, plugin, package)
            own[package.name] = case.stub(package.name, package.version, requires, plugin.ignore)
            taken[package.name] = package
    kept = tuple(root for root in solved.question.roots if root.plugin not in case.plugins)
    roots = tuple(_root(case, plugin, own) for plugin in case.plugins.values())
    return replace(_again(solved, roots=(*roots, *kept), forced={}), own=own, taken=taken)


def _requirements(case: Case, plugin: Plugin, package: LockedPackage) -> tuple[str, ...]:
    try:
        return requirements_of(case.uv, package, python=case.base.python, scratch=case.scratch)
    except LookupError as error:
        conflict = Conflict(plugin=plugin.name, chain=(), base_has="", cause=str(error), ways_forward=())
        raise ResolutionError((conflict,), base=case.base.prefix) from None


def _again(solved: Solved, **changes: Any) -> Solved:
    """Ask for something else, and keep the versions found."""
    found = {package.name: package.version for package in solved.answer.packages}
    return replace(solved, question=replace(solved.question, preferred=found, upgrade=None, **changes))


def _refuse_engines(case: Case, solved: Solved) -> None:
    """Refuse an engine that is not the base's own: a second one beside it, or one in its place."""
    foreign = sorted(ENGINE_DISTRIBUTIONS & solved.answer.versions.keys() - solved.question.facts.keys())
    if not foreign:
        return
    answer = solved.answer
    world = World(solved.question, answer, requirers(case.uv, solved.question, answer, case.scratch))
    plugins = {root.name: root.plugin for root in solved.question.roots}
    has = f"{case.base.engine_name} {case.base.engine_version}".strip() or "no engine"
    conflicts = []
    for name in foreign:
        chain = chain_to(name, world)
        spelled = tuple(f"{link} {answer.versions[link]}" for link in chain)
        way = "an engine comes with the base and never with a plugin: use another plugin, or another base"
        plugin = plugins.get(chain[0]) or name
        conflicts.append(Conflict(plugin=plugin, chain=spelled, base_has=has, cause="", ways_forward=(way,)))
    raise ResolutionError(tuple(conflicts), base=case.base.prefix)


def _lock(config: Config, case: Case, solved: Solved, provided: dict[str, str]) -> Lock:
    base, answer = case.base, solved.answer
    given = {package.name: locked for package, locked in case.built.values()}
    plugins = {case.package_of(plugin): plugin.name for plugin in case.plugins.values()}
    packages = (*answer.packages, *({**given, **solved.taken}[name] for name in solved.own if name in answer.versions))
    facts = {name: base.distributions[name].version for name in answer.versions if name in solved.question.facts}
    if base.engine.distribution and base.engine.distribution not in case.override:
        facts[base.engine.distribution] = base.engine_version
    return Lock(
        packages=tuple(
            replace(package, plugin=plugins.get(package.name, ""), override=package.name in case.override)
            for package in sorted(packages, key=lambda package: package.name)
        ),
        base=base_record(base),
        facts=facts,
        config_digest=config.digest,
        base_digest=base.digest,
        provided=provided,
        ignored={plugin.name: sorted(plugin.ignore) for plugin in case.plugins.values() if plugin.ignore},
        requires_python=answer.requires_python or f">={base.version}",
        exclude_newer=solved.question.exclude_newer,
    )
