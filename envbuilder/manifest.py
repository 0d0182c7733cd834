"""The format of `overlay.json`: what one overlay is made of, what it relies on, and what the checks said of it.

It is written last; an overlay is valid if, and only if, it parses and its checksum holds.
"""

from __future__ import annotations

from envbuilder.digest import sealed, sha256_of
from envbuilder.errors import Finding
from envbuilder.tuples import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from typing import Any

FORMAT = 1
SLOW = 1.0
"""Seconds of its own from which it is told what an entry point takes; every process of the engine takes them."""
HEAVY = 100 * 1024**2
"""Bytes from which it is told what an entry point adds; it adds them to every process of the engine."""
NOTHING: dict[str, Any] = {}
NOWHERE: list[str] = []
"""What fields without an entry share; nobody writes into a manifest."""


class Member(NamedTuple):
    """One package of an overlay; `plugin` is the config's entry that asked for it, "" for a dependency."""

    name: str
    version: str
    key: str
    plugin: str = ""
    editable: bool = False
    override: bool = False
    size: int = 0

    @property
    def content(self) -> tuple[str, str, int]:
        """Return what tells two of a name apart: version, key and bytes."""
        return self.version, self.key, self.size


class ProbeResult(NamedTuple):
    """What one entry point did in a fresh process: `ok`, `failed` or `needs-device`; `error` is its last line.

    `called` says that it was called, as the engine would. `seconds` and `call_seconds` are its own, `base_seconds` what
    it had modules of the base imported for, which others may need too. `memory` and `peak` are bytes: what it added to
    the process, the base's modules left out, and how far it rose at most, with them. `effects` is what it left behind,
    kind → names, a number, true or a path: `threads`, `processes`, `environment` (names of variables), `patched`
    (functions and classes of the engine), `signals`, `exits` (functions that run at exit), `cwd`, `cuda`. `nodes` are
    patterns of files that are there when the device's driver is that was missing.
    """

    group: str
    name: str
    value: str
    package: str
    plugin: str
    status: str
    error: str = ""
    seconds: float = 0.0
    called: bool = False
    call_seconds: float = 0.0
    base_seconds: float = 0.0
    memory: int = 0
    peak: int = 0
    effects: dict[str, Any] = NOTHING
    nodes: list[str] = NOWHERE

    @property
    def is_plain(self) -> bool:
        """Tell whether it worked, and there is nothing to say about it."""
        is_light = self.memory < HEAVY and self.seconds + self.call_seconds < SLOW
        return self.status == "ok" and is_light and not self.effects.keys() - {"exits"}

    @property
    def wrong(self) -> str:
        """Say what is wrong with one that failed."""
        return f"{'fails when it is called' if self.called else 'does not load'}: {self.error}"


class Manifest(NamedTuple):
    """What `overlay.json` holds.

    `base` has `key`, `prefix`, `python` (the interpreter's path), `engine`, `engine_version`. `facts` are the base
    distributions relied on, name → version. `entry_points` is group → name → `[value, package]`. `findings` are the
    audit's, `ignored` is plugin → base packages whose bounds it ignores, `accepts` plugin → codes of findings that are
    no obstacle, `provided` plugin → `name version` of the base, `left_out` optional plugin → why. `derived` says, of a
    set that no build asked for, from which one it was made: `digest`, and `without` (what was left out) or `instead`
    (another set, parts of which it has); it is no part of what names the overlay.
    """

    soabi: str
    platform: str
    python_version: str
    base: dict[str, str]
    members: tuple[Member, ...]
    facts: dict[str, str]
    selection: dict[str, list[str]] = NOTHING
    entry_points: dict[str, dict[str, list[str]]] = NOTHING
    allow_lists: dict[str, str] = NOTHING
    findings: tuple[Finding, ...] = ()
    probe: tuple[ProbeResult, ...] = ()
    ignored: dict[str, list[str]] = NOTHING
    accepts: dict[str, list[str]] = NOTHING
    provided: dict[str, str] = NOTHING
    left_out: dict[str, str] = NOTHING
    derived: dict[str, Any] = NOTHING

    @property
    def failed(self) -> tuple[ProbeResult, ...]:
        """Return the entry points that did not work when they were probed, in a set that somebody forced."""
        return tuple(result for result in self.probe if result.status == "failed")

    @property
    def digest(self) -> str:
        """Name the overlay: 64 hex digits, the same for the same lock on another home."""
        return sha256_of(
            {
                "facts": self.facts,
                "format": FORMAT,
                "overrides": sorted(member.name for member in self.members if member.override),
                "packages": sorted(member.key for member in self.members),
                "platform": self.platform,
                "selection": self.selection,
                "soabi": self.soabi,
            }
        )

    def to_dict(self) -> dict[str, Any]:
        """Return what stands in `overlay.json`, checksum included."""
        rows = {name: [row._asdict() for row in getattr(self, name)] for name in ("members", "findings", "probe")}
        return sealed({"format": FORMAT, "digest": self.digest, **self._asdict(), **rows})

    @classmethod
    def from_dict(cls, record: dict[str, Any]) -> Manifest:
        """Make a manifest of what stands in `overlay.json`; raise `KeyError`, `TypeError` or `ValueError` else."""
        if record["format"] != FORMAT:
            raise ValueError(f"overlay.json has format {record['format']}, not {FORMAT}")
        own = {name: value for name, value in record.items() if name not in ("format", "digest", "checksum")}
        own["members"] = tuple(Member(**member) for member in record["members"])
        own["findings"] = tuple(_finding(finding) for finding in record["findings"])
        own["probe"] = tuple(ProbeResult(**result) for result in record["probe"])
        return cls(**own)


def _finding(record: dict[str, Any]) -> Finding:
    return Finding(**{**record, "details": tuple(record.get("details", ()))})
