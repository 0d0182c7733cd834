"""Run the command line: `vpm-env`, or `python -m envbuilder`.

An interrupt while there is nothing to undo yet, or any more, ends the process as it ends any other.
"""

import gc

try:  # the enumerations of `signal` take half as long as an interpreter's start
    import _signal as signal  # type: ignore[import-not-found]
except ImportError:
    import signal

_OBJECTS = 50_000
"""New objects between two searches for circles; with Python's own 700, imports alone cause a dozen in vain."""

_handler = signal.getsignal(signal.SIGINT)
if _handler is signal.default_int_handler:
    signal.signal(signal.SIGINT, signal.SIG_DFL)
gc.set_threshold(_OBJECTS)

from envbuilder.cli import INTERRUPTED, end  # noqa: E402 (the import takes longest of all)
from envbuilder.cli import main as run  # noqa: E402


def main() -> int:
    """Run one verb, and end the process with its exit code."""
    try:
        signal.signal(signal.SIGINT, _handler)
        code = run()
    except KeyboardInterrupt:
        code = INTERRUPTED
    except SystemExit as said:
        if not isinstance(said.code, int):
            raise
        code = said.code
    finally:
        if _handler is signal.default_int_handler:
            signal.signal(signal.SIGINT, signal.SIG_DFL)
    end(code)
    return code


if __name__ == "__main__":
    raise SystemExit(main())
