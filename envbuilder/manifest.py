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
NOTHING: dict[str, Any] = {}
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
    """What one entry point did in a fresh process: `ok`, `failed` or `needs-device`; `error` is its last line."""

    group: str
    name: str
    value: str
    package: str
    plugin: str
    status: str
    error: str = ""
    seconds: float = 0.0


class Manifest(NamedTuple):
    """What `overlay.json` holds.

    `base` has `key`, `prefix`, `python` (the interpreter's path), `engine`, `engine_version`. `facts` are the base
    distributions relied on, name → version. `entry_points` is group → name → `[value, package]`. `findings` are the
    audit's warnings, `ignored` is plugin → base packages whose bounds it ignores, `provided` plugin → `name version`
    of the base, `left_out` optional plugin → why.
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
    provided: dict[str, str] = NOTHING
    left_out: dict[str, str] = NOTHING

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
        own["findings"] = tuple(Finding(**finding) for finding in record["findings"])
        own["probe"] = tuple(ProbeResult(**result) for result in record["probe"])
        return cls(**own)
