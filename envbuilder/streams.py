"""Standard streams that were closed before the process began, as by `>&-` or a careless supervisor."""

from __future__ import annotations

import os
import sys


def lead_nowhere() -> None:
    """Let the standard streams that are closed lead nowhere.

    What is opened next would get their numbers, and with them whatever children write to theirs.
    """
    while (number := os.open(os.devnull, os.O_RDWR)) <= 2:
        os.set_inheritable(number, True)
    os.close(number)
    sys.stdin = sys.stdin or os.fdopen(0)
    sys.stdout = sys.stdout or os.fdopen(1, "w")
    sys.stderr = sys.stderr or os.fdopen(2, "w")
