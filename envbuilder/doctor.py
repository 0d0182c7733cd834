"""`vpm-env doctor`: the list of named checks, and how they are run. A check never stops the others."""

from __future__ import annotations

from typing import TYPE_CHECKING

from envbuilder import doctor_around as around
from envbuilder import doctor_base as of_base
from envbuilder import doctor_disk as disk
from envbuilder import doctor_home as of_home
from envbuilder import doctor_hook as hook
from envbuilder import doctor_indexes as of_indexes
from envbuilder import doctor_legacy as legacy
from envbuilder import vulnerabilities
from envbuilder.classes import dataclass
from envbuilder.errors import UsageError, VpmError
from envbuilder.health import ERROR, OK, SKIPPED, STATUSES, WARNING, Answer, NotApplicable, Trouble
from envbuilder.names import nearest

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from envbuilder.health import Situation

AUDIT = "vulnerabilities"


@dataclass(frozen=True, kw_only=True, slots=True)
class Check:
    """One check; `looks_at` ends the sentence "it looks at …". Those on demand run only when somebody names them."""

    name: str
    looks_at: str
    run: Callable[[Situation], Answer]
    on_demand: bool = False


@dataclass(frozen=True, kw_only=True, slots=True)
class Result:
    """What one check came to; `mended` are sentences about what was done."""

    name: str
    status: str
    said: str
    troubles: tuple[Trouble, ...]
    facts: tuple[str, ...]
    mended: tuple[str, ...] = ()


CHECKS = tuple(
    Check(name=name, looks_at=looks_at, run=run, on_demand=on_demand)
    for name, looks_at, run, on_demand in (
        ("base", "the interpreter with the engine: found, supported, its metadata whole", of_base.check_base, False),
        ("config", "plugins.yaml and its lock", around.check_config, False),
        ("home", "the home's format, what was left behind, short names", of_home.check_home, False),
        ("permissions", "who may write to the home, as the hook looks at it", of_home.check_permissions, False),
        ("hook", "the start-up hook: for this base and home, whole, up to date", hook.check_hook, False),
        ("active", "whether a new engine process gets the current set", of_base.check_active, False),
        ("scripts", "the current set's interpreter and console scripts", of_home.check_scripts, False),
        ("editable", "the folders of editable plugins", of_home.check_editable, False),
        ("environment", "variables that change what an engine gets", around.check_environment, False),
        ("legacy", "vllm-plugin-manager, and what it put into the base", legacy.check_legacy, False),
        ("uv", "the resolver's version", around.check_uv, False),
        ("indexes", "which indexes count, which setting names them, do they answer", of_indexes.check_indexes, False),
        ("locks", "whether locks hold between processes on the home", disk.check_locks, False),
        ("filesystem", "links, names and mounts of the home", disk.check_filesystem, False),
        ("disk", "free space, and what takes it", disk.check_disk, False),
        ("clock", "whether times in the home lie in the future", around.check_clock, False),
        ("verify", "every file and link of the home; takes a while", of_home.check_verify, True),
        (AUDIT, "known vulnerabilities of the current set, through pip-audit", vulnerabilities.check, True),
    )
)


def chosen(names: Iterable[str], *, audit: bool) -> tuple[Check, ...]:
    """Return the checks of these names, or all that run by default; raise `UsageError` for names that are none."""
    wanted = tuple(names)
    known = {check.name: check for check in CHECKS}
    unknown = [name for name in wanted if name not in known]
    if unknown:
        raise UsageError(_unknown(unknown), hint=_nearest(unknown, known))
    if audit:
        return tuple(known[name] for name in dict.fromkeys((*wanted, AUDIT)))
    return tuple(known[name] for name in dict.fromkeys(wanted)) or tuple(c for c in CHECKS if not c.on_demand)


def examine(situation: Situation, checks: Iterable[Check], *, fix: bool) -> Iterator[Result]:
    """Run checks in their order; with `fix`, mend what is safe to mend and look again."""
    for check in checks:
        answer = _asked(check, situation)
        mended, unmended = _mend(answer) if fix else ((), ())
        if mended:
            answer = _asked(check, situation)
        troubles = (*answer.troubles, *unmended)
        yield Result(
            name=check.name,
            status=max((answer.status, *(trouble.severity for trouble in unmended)), key=STATUSES.index),
            said=answer.said,
            troubles=troubles,
            facts=answer.facts,
            mended=mended,
        )


def worst(results: Iterable[Result]) -> str:
    """Return the worst status among results, where skipped ones count as well."""
    found = {result.status for result in results}
    return next((status for status in (ERROR, WARNING) if status in found), OK)


def _asked(check: Check, situation: Situation) -> Answer:
    """Run one check; what it cannot look at is an answer too."""
    try:
        return check.run(situation)
    except NotApplicable as why:
        return Answer(said=str(why), skipped=True)
    except VpmError as error:
        return _failed(error.message, error.hint or "see `vpm-env status`")
    except OSError as error:
        where = f"`{error.filename}`: " if error.filename else ""
        return _failed(f"{where}{error.strerror or error}", "see to it that this user can read it, and check again")


def _failed(reason: str, way_forward: str) -> Answer:
    trouble = Trouble(what=reason, why="the check could not go on", way_forward=way_forward, severity=ERROR)
    return Answer(said=reason.partition("\n")[0], troubles=(trouble,))


def _mend(answer: Answer) -> tuple[tuple[str, ...], tuple[Trouble, ...]]:
    """Mend what can be; return what was done, and a trouble for each attempt that failed."""
    done, failed = [], []
    for mend in dict.fromkeys(trouble.mend for trouble in answer.troubles if trouble.mend):
        try:
            done.append(mend())
        except (VpmError, OSError) as error:
            reason = error.message if isinstance(error, VpmError) else f"`{error.filename}`: {error.strerror}"
            way = (error.hint if isinstance(error, VpmError) else None) or "run it as the owner of those files"
            what = f"it could not be mended: {reason}"
            failed.append(Trouble(what=what, why="what is wrong stays as it is", way_forward=way))
    return tuple(done), tuple(failed)


def _unknown(names: list[str]) -> str:
    listed = ", ".join(f"`{name}`" for name in names)
    return f"there is no check {listed}" if len(names) == 1 else f"there are no checks {listed}"


def _nearest(names: list[str], known: Iterable[str]) -> str:
    near = [match for name in names if (match := nearest(name, known))]
    if near:
        return "did you mean " + ", ".join(f"`vpm-env doctor {name}`" for name in dict.fromkeys(near)) + "?"
    return f"the checks are: {', '.join(known)}"


__all__ = ["CHECKS", "SKIPPED", "Check", "Result", "chosen", "examine", "worst"]
