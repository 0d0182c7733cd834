"""vpm-env: immutable plugin overlays for LLM serving engines.

The package imports nothing on purpose: a verb pays only for the rooms that it enters.
"""

__version__ = "0.1.0"

TYPE_CHECKING = False
if TYPE_CHECKING:
    from envbuilder._join import Activation


def activate() -> "Activation":
    """Make the current set of this interpreter importable in this process; false where there is none, with a reason.

    It does what the start-up hook does, with or without one, and never raises. A set that is active stays so.
    """
    joined: Activation = __import__("envbuilder.joining", fromlist=["activate"]).activate()
    return joined
