"""What can go wrong, as data; the words are made when somebody reads them.

    VpmError                      exit 1
    ├─ UsageError                 exit 2: the call's words do not fit together
    ├─ ChangesNeeded              exit 3: `--locked` and the lock would change
    ├─ ConfigError                every problem of a config file, each with its place
    ├─ PolicyError                what a policy forbids, each with the rule's place and its own
    ├─ HomeError                  no home, a newer home, somebody else's home
    ├─ BaseError                  no base, or one that does not answer
    ├─ LockError                  a lock file that cannot be used
    ├─ ResolutionError            plugins that do not fit the base, or one another
    ├─ SourceError                sources that were not found or not reached, for all plugins at once
    ├─ BuildError                 a package that did not build, with the end of its log
    ├─ PackageError               an artifact whose content is not what it says
    ├─ CacheError                 a cache that is not reached, refuses, or gives what it must not
    ├─ AuditError / ProbeError    findings that forbid a switch
    ├─ ProfileError               a generation that is not for this base, or not to be had
    │   └─ NoSuchGeneration       exit 2: a name that names no generation, or several
    ├─ BisectError                a command whose failure the plugins do not explain
    ├─ FailedMeanwhile            what ended the build of somebody else that this one waited for
    ├─ Busy                       somebody else holds the lock
    ├─ CommandFailed              a child process that ended badly
    ├─ SystemRefusal              what the operating system refused
    │   └─ NoRoom                 no space, no inode, or no more of a quota
    └─ SeveralErrors              some of the above at once

`message` follows uv's style: lower case, no final period, paths and commands in backticks. `hint` is the way forward.
"""

from __future__ import annotations

from envbuilder.tuples import NamedTuple


class Place(NamedTuple):
    """Where in a file: line and column count from 1; 0 where the file as a whole is meant."""

    file: str
    line: int = 0
    column: int = 0

    def __str__(self) -> str:
        return f"{self.file}:{self.line}:{self.column}" if self.line else self.file


class Problem(NamedTuple):
    """One thing wrong with an input: its place, the key (`plugins[2].source`) and what is wrong with it."""

    place: Place
    key: str
    text: str

    def __str__(self) -> str:
        return f"{self.place}: `{self.key}`: {self.text}" if self.key else f"{self.place}: {self.text}"


class Breach(NamedTuple):
    """One thing that a policy forbids: where it stands, what it is, and the rule (`sdists: false`) with its place."""

    place: Place
    text: str
    rule: str
    rule_place: Place

    def __str__(self) -> str:
        return f"{self.place}: {self.text}; `{self.rule}` forbids it ({self.rule_place})"


class Finding(NamedTuple):
    """One result of the audit.

    `code` names the check (`name-in-base`), `severity` is `error` or `warning`, `plugin` the entry of the config
    that brings `package` in, `what` and `why` are one sentence each, `way_forward` an imperative one; `accepted` says
    that the plugin's entry accepts it. `details` has a sentence for each of several things that `what` sums up.
    """

    code: str
    severity: str
    package: str
    plugin: str
    what: str
    why: str
    way_forward: str
    accepted: bool = False
    details: tuple[str, ...] = ()


class Conflict(NamedTuple):
    """Why one plugin cannot be had: the chain from the plugin to the fact it breaks on, and what the base has.

    `chain` reads left to right: `("vllm-canon 0.1.0", "vllm>=0.15,<0.17")`; `base_has` is `0.32.0+cpu`, or "" where
    no base fact is to blame and `cause` (the resolver's own last words) is all that is known.
    """

    plugin: str
    chain: tuple[str, ...]
    base_has: str
    cause: str
    ways_forward: tuple[str, ...]


def _indented(text: str) -> str:
    return "  " + text.replace("\n", "\n  ")


class VpmError(Exception):
    """Something that a user can cause and mend."""

    exit_code = 1
    hint: str | None = None

    @property
    def message(self) -> str:
        """Say what is wrong in one line, or in several where there are several things."""
        return " ".join(str(part) for part in self.args)

    def __str__(self) -> str:
        return self.message


class UsageError(VpmError):
    """The call's words do not fit together."""

    exit_code = 2

    def __init__(self, text: str, *, hint: str | None = None) -> None:
        super().__init__(text)
        self.hint = hint


class ChangesNeeded(VpmError):
    """`--locked` was asked for, and the lock would change."""

    exit_code = 3

    def __init__(self, *, lock: str, changes: tuple[str, ...]) -> None:
        super().__init__(lock, changes)
        self.lock = lock
        self.changes = changes
        self.hint = "run `vpm-env build` without `--locked` to update the lock"

    @property
    def message(self) -> str:
        return "\n".join((f"the lock `{self.lock}` would change, and `--locked` forbids it", *self.changes))


class ConfigError(VpmError):
    """A config that cannot be used, with all its problems."""

    def __init__(self, problems: tuple[Problem, ...], *, hint: str | None = None) -> None:
        super().__init__(problems)
        self.problems = problems
        self.hint = hint

    @property
    def message(self) -> str:
        return "\n".join(str(problem) for problem in self.problems)


class PolicyError(VpmError):
    """Everything that the policies forbid of what was asked for."""

    def __init__(self, breaches: tuple[Breach, ...]) -> None:
        super().__init__(breaches)
        self.breaches = breaches
        self.hint = "no option, variable or config loosens a policy; each named rule has to be changed where it stands"

    @property
    def message(self) -> str:
        return "\n".join(str(breach) for breach in self.breaches)


class HomeError(VpmError):
    """A home that cannot be used."""

    def __init__(self, *, home: str | None, reason: str, hint: str | None = None) -> None:
        super().__init__(home, reason)
        self.home = home
        self.reason = reason
        self.hint = hint

    @property
    def message(self) -> str:
        return f"the home `{self.home}` {self.reason}" if self.home else self.reason


class BaseError(VpmError):
    """No base was found, or the one named does not answer; `looked_at` lists the rules that were tried."""

    def __init__(self, reason: str, *, looked_at: tuple[str, ...] = (), hint: str | None = None) -> None:
        super().__init__(reason, looked_at)
        self.reason = reason
        self.looked_at = looked_at
        self.hint = hint

    @property
    def message(self) -> str:
        return "\n".join((self.reason, *(f"  looked at: {rule}" for rule in self.looked_at)))


class LockError(VpmError):
    """A lock file that cannot be read or does not hold what it must."""

    def __init__(self, *, path: str, reason: str) -> None:
        super().__init__(path, reason)
        self.path = path
        self.reason = reason
        self.hint = "delete the file, and `vpm-env build` makes a new one"

    @property
    def message(self) -> str:
        return f"the lock `{self.path}` {self.reason}"


class ResolutionError(VpmError):
    """Plugins that cannot be had together with this base."""

    def __init__(self, conflicts: tuple[Conflict, ...], *, base: str) -> None:
        super().__init__(conflicts)
        self.conflicts = conflicts
        self.base = base
        ways = dict.fromkeys(way for conflict in conflicts for way in conflict.ways_forward)
        self.hint = "\n".join(ways) or None

    @property
    def message(self) -> str:
        plugins = dict.fromkeys(conflict.plugin for conflict in self.conflicts)
        return "\n".join(line for plugin in plugins for line in self._lines(plugin))

    def _lines(self, plugin: str) -> list[str]:
        conflicts = [conflict for conflict in self.conflicts if conflict.plugin == plugin]
        if not any(conflict.base_has for conflict in conflicts):
            return [f"`{plugin}` cannot be resolved", *(_indented(conflict.cause) for conflict in conflicts)]
        chains = [(*conflict.chain, f"base has {conflict.base_has}") for conflict in conflicts if conflict.base_has]
        return [f"`{plugin}` does not fit the base `{self.base}`", *(_indented(" → ".join(chain)) for chain in chains)]


class SourceError(VpmError):
    """Sources that were not found or not reached: `(plugin, what is wrong)` for each."""

    def __init__(self, missing: tuple[tuple[str, str], ...], *, hint: str | None = None) -> None:
        super().__init__(missing)
        self.missing = missing
        self.hint = hint

    @property
    def message(self) -> str:
        return "\n".join(f"`{plugin}`: {text}" for plugin, text in self.missing)


class BuildError(VpmError):
    """A package that did not build; `log` is its whole output, of which the end is shown."""

    SHOWN_LINES = 30

    def __init__(self, *, plugin: str, package: str, log: str, hint: str | None = None) -> None:
        super().__init__(plugin, package)
        self.plugin = plugin
        self.package = package
        self.log = log
        self.hint = hint

    @property
    def message(self) -> str:
        of_plugin = f" (for `{self.plugin}`)" if self.plugin not in ("", self.package) else ""
        end = "\n".join(f"  {line}" for line in self.log.rstrip().splitlines()[-self.SHOWN_LINES :])
        return f"`{self.package}`{of_plugin} did not build; the end of its log:\n{end}"


class PackageError(VpmError):
    """An artifact whose content is not what it says it is, or must not enter the store.

    `plugin` is the config's entry that leads to it, "" where only the package is known.
    """

    def __init__(self, *, package: str, problems: tuple[str, ...], hint: str | None = None, plugin: str = "") -> None:
        super().__init__(package, problems)
        self.plugin = plugin
        self.package = package
        self.problems = problems
        self.hint = hint

    @property
    def message(self) -> str:
        of_plugin = f" (for `{self.plugin}`)" if self.plugin not in ("", self.package) else ""
        return "\n".join((f"`{self.package}`{of_plugin} is refused", *(f"  {problem}" for problem in self.problems)))


class CacheError(VpmError):
    """A cache that is not reached, refuses, or gives what it must not; `url` is shown, and has no credentials.

    `is_passing` says that the same may go well a while later; `url` is "" where it is a key that is no good.
    """

    def __init__(self, *, url: str, reason: str, hint: str | None = None, is_passing: bool = False) -> None:
        super().__init__(url, reason)
        self.url = url
        self.reason = reason
        self.hint = hint
        self.is_passing = is_passing

    @property
    def message(self) -> str:
        return f"the cache `{self.url}`: {self.reason}" if self.url else self.reason


class AuditError(VpmError):
    """Findings of severity `error`; nothing was switched."""

    def __init__(self, findings: tuple[Finding, ...], *, ways: tuple[str, ...] = ()) -> None:
        super().__init__(findings)
        self.findings = findings
        self.hint = "\n".join(dict.fromkeys((*(finding.way_forward for finding in findings), *ways)))

    @property
    def message(self) -> str:
        return "\n".join(f"{finding.code}: {finding.what}: {finding.why}" for finding in self.findings)


class ProbeError(VpmError):
    """Entry points that do not work: `(plugin, entry point, what is wrong with it)` for each; nothing was switched.

    `working` is plugin → names of its entry points that work, of plugins that have such too.
    """

    def __init__(
        self, failed: tuple[tuple[str, str, str], ...], *, working: dict[str, tuple[str, ...]] | None = None
    ) -> None:
        super().__init__(failed)
        self.failed = failed
        selections = [
            f"`entry_points: [{', '.join(names)}]` on `{plugin}` takes only what works"
            for plugin, names in (working or {}).items()
        ]
        rest = (
            "use another version of it, or mark it `optional: true` to go on without it; "
            "`vpm-env build --force` switches in spite of it"
        )
        self.hint = "\n".join((*selections, rest))

    @property
    def message(self) -> str:
        return "\n".join(f"`{plugin}`: {entry} {wrong}" for plugin, entry, wrong in self.failed)


class ProfileError(VpmError):
    """A generation that is not there, is not for this base, or cannot be had."""

    def __init__(self, text: str, *, hint: str | None = None) -> None:
        super().__init__(text)
        self.hint = hint


class NoSuchGeneration(ProfileError):
    """A name that names no generation, or several: like other names that name nothing, a mistake of the call."""

    exit_code = 2


_WAYS = {
    5: "the disk, or what it hangs on, fails: the kernel's log (`dmesg`) says more",
    24: "let this user have more files open: `ulimit -n` shows and sets how many",
}
"""By the number of the system's error: EIO, EMFILE."""
_OTHER_USER = "run it as the owner of that file, or name another home with `--home` or `VPM_ENV_HOME`"


class SystemRefusal(VpmError):
    """What the operating system refused: no permission, no space, a failing disk; `path` is "" where it names none."""

    def __init__(self, *, path: str, reason: str, hint: str | None = None) -> None:
        super().__init__(path, reason)
        self.path = path
        self.reason = reason
        self.hint = hint

    @classmethod
    def of(cls, error: OSError) -> SystemRefusal:
        """Say what an `OSError` means to a user; of two paths it is the one that was to be made that counts."""
        reason = (error.strerror or str(error) or type(error).__name__).lower()
        forbidden = isinstance(error, PermissionError) or error.errno == 30  # EROFS
        hint = _OTHER_USER if forbidden else _WAYS.get(error.errno or 0)
        return cls(path=str(error.filename2 or error.filename or ""), reason=reason, hint=hint)

    @property
    def message(self) -> str:
        return f"`{self.path}`: {self.reason}" if self.path else self.reason


class NoRoom(SystemRefusal):
    """A file system on which there is too little room, or none left.

    `folder` is where it is mounted; `needed`, `free` and `missing` count `unit`, `bytes` or `inodes`: `needed` and
    `missing` are None where nobody can tell how much it would be; `of_quota` says that it is only this user who may not
    have more. `path` is what could not be written, `cause` what
    the system said to that, both "" where nothing was tried.
    """

    def __init__(
        self,
        reason: str,
        *,
        folder: str,
        unit: str,
        needed: int | None,
        free: int,
        of_quota: bool = False,
        path: str = "",
        cause: str = "",
        hint: str | None = None,
    ) -> None:
        super().__init__(path=path, reason=reason, hint=hint)
        self.folder = folder
        self.of_quota = of_quota
        self.unit = unit
        self.needed = needed
        self.free = free
        self.missing = None if needed is None else max(needed - free, 0)
        self.cause = cause

    @property
    def message(self) -> str:
        told = f"`{self.path}`: {self.cause}" if self.path else self.cause
        return f"{self.reason}\n  {told}" if told else self.reason


class BisectError(VpmError):
    """A command whose failure the plugins do not explain, or that cannot be judged; `output` are its last lines."""

    def __init__(self, text: str, *, output: tuple[str, ...] = (), hint: str | None = None) -> None:
        super().__init__(text)
        self.text = text
        self.output = output
        self.hint = hint

    @property
    def message(self) -> str:
        return "\n".join((self.text, *(f"  {line}" for line in self.output)))


class FailedMeanwhile(VpmError):
    """What ended a build of the same config, while this one waited for it; `message` and `hint` are that one's."""

    def __init__(self, text: str, *, hint: str | None) -> None:
        super().__init__(text)
        self.hint = hint


class Busy(VpmError):
    """Somebody else holds the lock: `holder` says who, `waited` is in seconds."""

    def __init__(self, *, path: str, holder: str, waited: float) -> None:
        super().__init__(path, holder, waited)
        self.path = path
        self.holder = holder
        self.waited = waited
        self.hint = "set `VPM_ENV_LOCK_TIMEOUT` (seconds) to wait longer"

    @property
    def message(self) -> str:
        return f"gave up after {self.waited:.0f} s: `{self.path}` is held by {self.holder}"


class NoLocks(VpmError):
    """A file system that has no locks, which `path` lies on; `why` is what it says."""

    def __init__(self, *, path: str, why: str) -> None:
        super().__init__(path, why)
        self.path = path
        self.why = why
        self.hint = "a home may be moved as it is: put it on a file system with working flock"

    @property
    def message(self) -> str:
        return f"nobody can tell what is in use: `{self.path}` cannot be locked ({self.why})"


class CommandFailed(VpmError):
    """A child process that ended badly; `output` holds its two streams, credentials already struck out."""

    def __init__(self, *, command: tuple[str, ...], code: int, output: str) -> None:
        super().__init__(command, code)
        self.command = command
        self.code = code
        self.output = output

    @property
    def message(self) -> str:
        end = "\n".join(f"  {line}" for line in self.output.rstrip().splitlines()[-20:])
        return f"`{' '.join(self.command)}` ended with {self.code}\n{end}".rstrip()


class SeveralErrors(VpmError):
    """Errors that do not depend on one another, each with its own words and hint."""

    def __init__(self, errors: tuple[VpmError, ...]) -> None:
        super().__init__(errors)
        self.errors = errors
        codes = {error.exit_code for error in errors}
        self.exit_code = codes.pop() if len(codes) == 1 else VpmError.exit_code
        self.hint = "\n".join(dict.fromkeys(error.hint for error in errors if error.hint)) or None

    @property
    def message(self) -> str:
        return "\n".join(error.message for error in self.errors)
