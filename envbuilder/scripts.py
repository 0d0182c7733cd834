"""Console scripts that work from any path: `/bin/sh` finds the python beside the script's real path.

A `#!` line holds at most 127 bytes on old kernels and one path on all of them; these scripts name none, so a long
path and a moved home are fine. To Python, the shell's part is the module's docstring.
"""

from __future__ import annotations

import re

HEAD = """\
#!/bin/sh
''':'
self=$(realpath "$0") && exec "${self%/*}/python" "$self" "$@"
exit 127
'''
"""
_PYTHON = re.compile(rb"#!\s*(?:\S*/env\s+(?:-S\s+)?)?\S*python[\w.]*[^\n]*\n")
_VALUE = re.compile(r"(?P<module>[\w.]+)\s*:\s*(?P<attribute>[\w.]+)")


def entry_script(value: str) -> bytes | None:
    """Write the script of a `module:attribute` entry point; None for a value that names no callable."""
    found = _VALUE.match(value)
    if not found:
        return None
    module, attribute = found["module"], found["attribute"]
    first = attribute.split(".")[0]
    body = f'import sys\n\nfrom {module} import {first}\n\nif __name__ == "__main__":\n    sys.exit({attribute}())\n'
    return (HEAD + body).encode()


def portable(script: bytes) -> bytes:
    """Give a python script the polyglot head in place of its first line; return any other as it is."""
    found = _PYTHON.match(script)
    return HEAD.encode() + script[found.end() :] if found else script
