"""The commit protocol: what becomes true in which order, so that whatever dies in between, the old or the new stands.

Every change of a home goes through these steps, and the step that publishes is one rename. Each is announced as an
audit event (`sys.addaudithook`, event `vpm_env.step`) when it is done, so that whoever watches may halt or end the
process there; so is what Python announces no event of its own for, writing and syncing (`vpm_env.write`,
`vpm_env.sync`). Without a watcher that costs 0.1 µs.
"""

from __future__ import annotations

import sys

PACKAGE = ("unpacked", "compiled", "described", "synced", "published", "named", "remembered", "durable")
"""A package is staged where nobody looks, brought to the disk, and there with one rename."""

OVERLAY = ("linked", "probed", "synced", "sealed")
"""An overlay is made under its own name, and is none before its manifest is there."""

GENERATION = ("kept", "pointed", "recorded")
"""A generation's config and lock, its link to the overlay, and last the record that makes it count."""

SWITCH = ("ordered", "switched", "told")
"""The order before and after, then `current`, then what others read of it."""

COLLECTION = ("leftovers thrown", "unpointed", "overlays thrown", "packages thrown", "emptied")
"""What points to a thing goes before the thing; things go to the trash by a rename each, and are deleted there."""

HOOK = ("compiled", "begun", "written", "described", "hooked", "unhooked", "removed")
"""What is going to lie in the base is recorded there first; the line that imports it comes last and goes first."""

REPAIR = ("dropped", "fetched", "swapped", "described", "relinked", "restored")
"""What is made again goes; packages are had beside the store and change places with the damaged ones; then what
overlays say and link to, and last what points to them. Each step leaves less damage than there was."""

REMOVAL = ("unpointed", "thrown", "removed")
"""Nothing points to a set any more, what it was made of is in the trash, and then the rest goes."""

STEPS = {
    "package": PACKAGE,
    "overlay": OVERLAY,
    "generation": GENERATION,
    "switch": SWITCH,
    "gc": COLLECTION,
    "hook": HOOK,
    "uninstall": REMOVAL,
    "repair": REPAIR,
}


def reached(commit: str, step: str) -> None:
    """Announce that `step` of one of `STEPS` is done."""
    sys.audit("vpm_env.step", f"{commit}: {step}")


def writing(path: str) -> None:
    """Announce that content is about to be written to `path`."""
    sys.audit("vpm_env.write", path)


def syncing(path: str) -> None:
    """Announce that `path` is about to be brought to the disk."""
    sys.audit("vpm_env.sync", path)
