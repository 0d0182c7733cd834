"""One package to have: what it is made from, named by a digest, and who makes it.

Goals of an input: everything that can change the package is in it, and nothing that differs between two homes.
"""

from __future__ import annotations

from os.path import join
from typing import TYPE_CHECKING, Any

from envbuilder.classes import dataclass
from envbuilder.digest import sha256_of

if TYPE_CHECKING:
    from collections.abc import Callable

    from envbuilder.package import Package


@dataclass(frozen=True, kw_only=True, slots=True)
class Order:
    """One package to have; `stage(target, scratch)` makes its tree in `target`, `label` names it to a reader.

    `plugin` is the config's entry that asked for it, "" for a dependency. `name` and `version` are those that it must
    have, "" where that is not known before it is made.
    """

    label: str
    plugin: str
    input: dict[str, Any]
    stage: Callable[[str, str], Package]
    name: str = ""
    version: str = ""

    def means(self, name: str, version: str) -> bool:
        """Tell whether a package of this name and version may be the one."""
        return (self.name, self.version) in ((name, version), ("", ""))

    @property
    def digest(self) -> str:
        """Name the input: 64 hex digits."""
        return sha256_of(self.input)

    def place(self, scratch: str) -> str:
        """Say where its tree is made."""
        return join(scratch, self.digest[:32], "package")
