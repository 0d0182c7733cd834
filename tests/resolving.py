"""Call the resolver the way the pipeline does."""

from __future__ import annotations

from typing import TYPE_CHECKING

from envbuilder import base as bases
from envbuilder.config import Config, Git, Plugin, PyPI
from envbuilder.errors import Place, ResolutionError
from envbuilder.interpreter import Interpreter
from envbuilder.lock import LockedPackage
from envbuilder.package import Package
from envbuilder.paths import Environment, Layout, environment
from envbuilder.report import Reporter
from envbuilder.resolve import resolve
from envbuilder.uv import configure

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path
    from typing import Any

    import kit

    from envbuilder.errors import Conflict
    from envbuilder.lock import Lock


class Notes(Reporter):
    """Remember what was said."""

    def __init__(self) -> None:
        self.notes: list[str] = []
        self.warnings: list[str] = []

    def note(self, text: str) -> None:
        self.notes.append(text)

    def warn(self, text: str) -> None:
        self.warnings.append(text)


def pypi(package: str, specifier: str = "", **fields: Any) -> Plugin:
    """Make an entry of `plugins:` for a package of an index; its name is the package's unless `name` says otherwise."""
    name = fields.pop("name", package)
    return Plugin(name=name, source=PyPI(package=package, specifier=specifier), place=Place("plugins.yaml"), **fields)


def built(
    name: str, version: str = "1.0", requires: Sequence[str] = (), **fields: Any
) -> tuple[Plugin, tuple[Package, LockedPackage]]:
    """Make an entry for a git repository, and what building it gives."""
    source = Git(url=f"https://git.example/{name}")
    vcs = {"type": "git", "url": source.url, "commit-id": "0" * 40}
    package = Package.of(
        (), name=name, version=version, dist_info=f"{name}-{version}.dist-info", requires=tuple(requires)
    )
    locked = LockedPackage(name=name, version=version, plugin=name, vcs=vcs)
    return Plugin(name=name, source=source, place=Place("plugins.yaml"), **fields), (package, locked)


def make_config(*plugins: Plugin, **fields: Any) -> Config:
    return Config(file="/plugins.yaml", sha256="", plugins=plugins, **fields)


class Resolver:
    """A base, an index and the environment, and one way to resolve with them."""

    def __init__(self, base: kit.Base, index: kit.Index | None, folder: Path) -> None:
        self.python = base.python
        self.folder = folder
        self.layout = Layout(str(folder / "vpm-home"))
        self.variables = dict(environment().variables)
        if index:
            self.variables["UV_DEFAULT_INDEX"] = index.url
        self.report = Notes()
        self.calls = 0

    @property
    def env(self) -> Environment:
        return Environment(self.variables)

    @property
    def base(self) -> bases.Base:
        return bases.describe(Interpreter(python=str(self.python), rule="test"), None, self.env)

    def __call__(
        self,
        *plugins: Plugin,
        built: dict[str, tuple[Package, LockedPackage]] | None = None,
        previous: Lock | None = None,
        upgrade: frozenset[str] | None = None,
        offline: bool = False,
        **fields: Any,
    ) -> Lock:
        config = make_config(*plugins, **fields)
        self.calls += 1
        scratch = self.folder / f"scratch-{self.calls}"
        scratch.mkdir()
        return resolve(
            config=config,
            plugins=config.enabled,
            base=self.base,
            built=built or {},
            uv=configure(config, self.env, self.layout, offline=offline),
            layout=self.layout,
            previous=previous,
            upgrade=upgrade,
            scratch=str(scratch),
            report=self.report,
        )

    def refused(self, *plugins: Plugin, **arguments: Any) -> tuple[Conflict, ...]:
        """Resolve what cannot be resolved; return the conflicts."""
        try:
            lock = self(*plugins, **arguments)
        except ResolutionError as error:
            return error.conflicts
        raise AssertionError(f"was not refused: {versions(lock)}")


def versions(lock: Lock) -> dict[str, str]:
    """Return the packages of a lock, name → version."""
    return {package.name: package.version for package in lock.packages}
