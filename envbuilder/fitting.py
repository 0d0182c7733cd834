"""Whether a set that was made on one machine is for the base of another: what it relies on, compared fact by fact."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from envbuilder.base import Base
    from envbuilder.manifest import Manifest


def differences(manifest: Manifest, base: Base) -> list[str]:
    """Say what a set relies on that does not hold for a base, a line each; none where it fits."""
    has = {name: dist.version for name, dist in base.distributions.items()}
    facts = [
        ("the ABI", manifest.soabi, base.soabi),
        ("the platform", manifest.platform, base.platform),
        ("Python", manifest.python_version, base.python_version),
        ("the engine", manifest.base["engine"], base.engine.name),
        *((f"`{name}`", version, has.get(name, "")) for name, version in sorted(manifest.facts.items())),
    ]
    return [
        f"{what} is {here or 'not there'}, and {there} where it was built"
        for what, there, here in facts
        if there != here
    ]
