"""Run the command line: `vpm-env`, or `python -m envbuilder`.

An interrupt while there is nothing to undo yet, or any more, ends the process as it ends any other.
"""

try:  # the enumerations of `signal` take half as long as an interpreter's start
    import _signal as signal  # type: ignore[import-not-found]
except ImportError:
    import signal

_handler = signal.getsignal(signal.SIGINT)
if _handler is signal.default_int_handler:
    signal.signal(signal.SIGINT, signal.SIG_DFL)

from envbuilder.cli import INTERRUPTED  # noqa: E402 (the import takes longest of all)
from envbuilder.cli import main as run  # noqa: E402


def main() -> int:
    """Run one verb and return its exit code."""
    try:
        signal.signal(signal.SIGINT, _handler)
        return run()
    except KeyboardInterrupt:
        return INTERRUPTED
    finally:
        if _handler is signal.default_int_handler:
            signal.signal(signal.SIGINT, signal.SIG_DFL)


if __name__ == "__main__":
    raise SystemExit(main())
