"""The wheels that must not come in, by what is wrong with them."""

from __future__ import annotations

import stat
import struct
import zlib
from dataclasses import replace
from functools import partial

from wheels import DATA, ENTRY_POINTS, INFO, METADATA, UTF8, Hostile, Member, crowded, member

LINK = stat.S_IFLNK | 0o777
OUTSIDE = "leads outside"
HIDDEN = "control characters|unacceptable filename"
TAKEN = "would take the place|reserved name"
OWN = "environment's own files"


def one(name: str, told: str, content: str | bytes = "x = 1\n", **fields: object) -> Hostile:
    """Make a wheel with one member more."""
    return Hostile(members=(member(name, content, **fields),), told=told)


def raw(name: bytes, told: str, **fields: object) -> Hostile:
    """Make a wheel with one member more, whose name is no text."""
    return Hostile(members=(replace(Member(name, b"x"), is_listed=False, **fields),), told=told)  # type: ignore[arg-type]


def bomb(size: int, *, says: int | None = None) -> Member:
    """Make a member that unpacks to `size` zeros, or `says` that it has fewer."""
    packer = zlib.compressobj(9, zlib.DEFLATED, -15)
    block = packer.compress(bytes(1 << 20)) + packer.flush(zlib.Z_FULL_FLUSH)
    packed = block * (size >> 20) + b"\3\0"
    return member("demo/zeros.bin", b"", packed=packed, size=size if says is None else says, hash="A" * 43)


def commanding(name: str, told: str) -> Hostile:
    """Make a wheel with a command of that name."""
    return Hostile(entry_points=f"{ENTRY_POINTS}\n[console_scripts]\n{name} = demo:register\n", told=told)


def cut(content: bytes) -> bytes:
    """Cut the end off."""
    return content[:-30]


def before(content: bytes) -> bytes:
    """Put a script before the archive, as self-extracting ones have."""
    return b"#!/bin/sh\nexit 1\n" + content


def behind(content: bytes) -> bytes:
    """Put something behind the archive's end."""
    return content + b"PK\5\6"


def twofold(content: bytes) -> bytes:
    """Put another end, with a directory of none, behind the first."""
    return content + struct.pack("<4s4H2LH", b"PK\5\6", 0, 0, 0, 0, 0, len(content), 0)


def overlapping() -> Hostile:
    """Let the directory name one place in the archive twice."""

    def end(content: bytes) -> bytes:
        at = content.index(b"PK\1\2")
        length, start = struct.unpack_from("<2L", content, len(content) - 10)
        name_length = struct.unpack_from("<H", content, at + 28)[0]
        entry = bytearray(content[at : at + 46 + name_length])
        entry[-1:] = b"Y"
        count = struct.unpack_from("<H", content, len(content) - 14)[0] + 1
        directory = content[start : start + length] + bytes(entry)
        last = struct.pack("<4s4H2LH", b"PK\5\6", 0, 0, count, count, len(directory), start, 0)
        return content[:start] + directory + last

    return Hostile(end=end, told="overlaps another|no local file header for: demo/|are one")


HOSTILE: dict[str, Hostile] = {
    # where members lead
    "a parent folder": one("../outside.py", OUTSIDE),
    "a parent folder, deep": one("demo/../../../outside.py", OUTSIDE),
    "a parent folder, by backslashes": one("..\\outside.py", OUTSIDE),
    "an absolute name": one("/tmp/outside-by-hostile-wheel.py", OUTSIDE),
    "a drive": one("C:/outside.py", OUTSIDE),
    "a network share": one("\\\\host\\share\\x.py", OUTSIDE),
    "a parent folder, not in RECORD": one("../outside.py", OUTSIDE, is_listed=False),
    "data in a parent folder": one(f"{DATA}/data/../../outside.txt", OUTSIDE),
    "scripts in a parent folder": one(f"{DATA}/scripts/../outside", OUTSIDE),
    "a name with an empty part": one("demo//x.py", "two places"),
    "a name with a dot": one("demo/./x.py", "two places"),
    "an unknown scheme": one(f"{DATA}/root/etc/passwd", "no place|place that there is none of|scheme"),
    # what they are
    "a symbolic link to a file": one("demo/link", "symbolic link", "/etc/passwd", mode=LINK),
    "a symbolic link to a folder": one("demo/folder", "symbolic link", "../../../..", mode=LINK),
    "a setuid file": one("demo/suid", "owner's rights", mode=stat.S_IFREG | 0o4755),
    "a device": one("demo/null", "no regular file", mode=stat.S_IFCHR | 0o666),
    "a FIFO": one("demo/fifo", "no regular file", mode=stat.S_IFIFO | 0o644),
    "an encrypted member": one("demo/secret.py", "encrypted|encryption", flags=1),
    "an unknown method": one("demo/packed.py", "method|unsupported", method=99, packed=b"x"),
    # names
    "a newline": one("demo/new\nline.py", HIDDEN),
    "a carriage return": one("demo/car\rriage.py", HIDDEN),
    "an escape sequence": one("demo/\x1b[2J\x1b]0;owned\x07.py", HIDDEN),
    "a NUL": one("demo/nul\0.py", HIDDEN, is_listed=False),
    "an override of direction": one("demo/\u202eyp.elif", HIDDEN),
    "no UTF-8": raw(b"demo/\xff\xfe.py", "UTF-8", flags=UTF8),
    "an unmarked encoding": raw("demo/ä.py".encode("cp437"), "UTF-8"),
    "a name of 300 bytes": one(f"demo/{'n' * 300}.py", "no file can have|File name too long"),
    "a path of 5,000 bytes": one("demo/" + "deep/" * 1000 + "x.py", "no file can have|File name too long"),
    "a member twice": Hostile(
        members=(member("demo/a.py", "1"), member("demo/a.py", "2")), told="twice|multiple entries"
    ),
    "members that differ by capitals": Hostile(members=(member("demo/a.py"), member("demo/A.py")), told="are one"),
    "members that differ by accents": Hostile(
        members=(member("demo/\u00e9.py"), member("demo/e\u0301.py")), told="are one"
    ),
    "a file and a folder of one name": Hostile(
        members=(member("demo/a"), member("demo/a/b.py")), told="is a file|File exists"
    ),
    # names that are the environment's
    "a script called python": one(f"{DATA}/scripts/python", TAKEN, "#!/bin/sh\n"),
    "a script called python3.11": one(f"{DATA}/scripts/python3.11", TAKEN, "#!/bin/sh\n"),
    "a script called activate": one(f"{DATA}/scripts/activate", TAKEN, "exit\n"),
    "a data file called bin/python3": one(f"{DATA}/data/bin/python3", TAKEN, "#!/bin/sh\n"),
    "a command called python": Hostile(entry_points="[console_scripts]\npython = demo:register\n", told=TAKEN),
    "a command in a parent folder": Hostile(
        entry_points="[console_scripts]\n../../outside = demo:register\n", told="no file may have|script"
    ),
    "a pyvenv.cfg": one(f"{DATA}/data/pyvenv.cfg", OWN, "home = /tmp\n"),
    "a manifest": one(f"{DATA}/data/overlay.json", OWN, "{}"),
    "a lease": one(f"{DATA}/data/.lease", OWN),
    "an override folder": one(f"{DATA}/data/override/x.py", OWN),
    "modules as data": one(f"{DATA}/data/lib/python3.11/site-packages/x.pth", OWN, "import os\n"),
    "our own line": one("_vpm_env.pth", "environment's own", "import os\n"),
    "our own layer": one("_vpm_env_layer.py", "environment's own"),
    "our own folder": one("_vpm_env/activate.py", "environment's own"),
    "virtualenv's own module": one("_virtualenv.py", "environment's own"),
    # RECORD
    "a wrong hash": one("demo/x.py", "not what its RECORD says", hash="A" * 43),
    "a weak hash": Hostile(
        members=(member("demo/x.py", "", is_listed=False),),
        lines=("demo/x.py,md5=1B2M2Y8AsgTpgAmY7PhCfg,0",),
        told="not what its RECORD says|Record|md5",
    ),
    "a missing file": Hostile(lines=("demo/gone.py,sha256=AAAA,1",), told="missing"),
    "an unlisted file": one("demo/unlisted.py", "not in its RECORD", is_listed=False),
    "a line outside": Hostile(lines=("../../../../etc/passwd,sha256=AAAA,1",), told="outside|missing"),
    "an absolute line": Hostile(lines=("/etc/passwd,sha256=AAAA,1",), told="outside|missing"),
    "no RECORD to speak of": Hostile(record="", told="not in its RECORD"),
    "a RECORD of bytes": Hostile(record="\0" * 100, told="RECORD|control"),
    # dist-infos
    "two dist-infos": one(
        "other-1.0.dist-info/METADATA", "dist-info", "Metadata-Version: 2.1\nName: other\nVersion: 1.0\n"
    ),
    "another's dist-info": Hostile(info="other-1.0.dist-info", told="dist-info|other"),
    "another's name": Hostile(metadata=METADATA.replace("demo", "other"), told="other"),
    "a name with slashes": Hostile(
        metadata=METADATA.replace("demo", "../../demo"), told=r"\.\./\.\./demo|METADATA` is invalid"
    ),
    "a name with an escape": Hostile(
        metadata=METADATA.replace("demo", "de\x1b[2Jmo"), told="no name|METADATA` is invalid|Not a valid package"
    ),
    "another's egg-info": one("vllm-99.0.egg-info/PKG-INFO", "pass for another", "Name: vllm\nVersion: 99.0\n"),
    "another's egg-info, as a file": one("torch.egg-info", "pass for another", "Name: torch\nVersion: 99.0\n"),
    "another's DIST-INFO": one(
        "pip-99.0.DIST-INFO/METADATA", "pass for another|dist-info", "Name: pip\nVersion: 99.0\n"
    ),
    "another's egg": one("torch-99.0-py3.11.egg/EGG-INFO/PKG-INFO", "pass for another", "Name: torch\nVersion: 9\n"),
    "another's egg-link": one("torch.egg-link", "pass for another", "/tmp\n"),
    "another's metadata among purelib": one(
        f"{DATA}/purelib/torch-99.0.egg-info/PKG-INFO", "pass for another", "Name: torch\nVersion: 99.0\n"
    ),
    # archives
    "a cut end": Hostile(end=cut, told="zip|EOCD|central directory|end"),
    "a script before it": Hostile(end=before, told="before its first member|zip"),
    "something behind it": Hostile(end=behind, told="behind|zip|trailing"),
    "two directories": Hostile(end=twofold, told="zip|behind|METADATA|dist-info|no members|trailing"),
    "members that overlap": overlapping(),
    "a member with two names": one("demo/a.py", "says of itself|conflicting paths", local_name=b"demo/b.py"),
    "a member with two sizes": one("demo/a.py", "another size|size", "content", local_size=3),
    "a member that is not listed": Hostile(
        members=(member("sitecustomize.py", "raise SystemExit", is_hidden=True, is_listed=False),),
        told="belong to none|not in the|local",
    ),
    "another name in an extra field": one(
        "demo/a.py", "two names|name", extra=struct.pack("<HHBL", 0x7075, 14, 1, 0) + b"demo/b.py"
    ),
    # sizes
    "a bomb that tells": Hostile(members=(bomb(10 << 30, says=0xFFFFFFF0),), told="more than"),
    "a bomb that lies": Hostile(members=(bomb(10 << 30, says=100),), told="more than it says"),
    "a huge METADATA": Hostile(
        metadata=METADATA + "X: " + "x" * (300 << 20), told="bomb|METADATA|large|does not answer"
    ),
}
"""What is said of each is a regular expression."""

MILLION = 1_000_000

CROWDS: dict[str, Hostile] = {
    "a million members": Hostile(end=partial(crowded, count=MILLION), told="1000005 members .* 200000 and"),
    "a million members, of which it tells five": Hostile(
        end=partial(crowded, count=MILLION, says=5), told="members than it says|zip"
    ),
}
"""More members than anybody should hold in memory."""

STARTING: dict[str, Hostile] = {
    "a .pth": one("evil.pth", "startup_code", "import os; os.system('touch /tmp/ran-by-hostile-wheel')\n"),
    "a .PTH": one("evil.PTH", "startup_code", "import os\n"),
    "a .start": one("evil.start", "startup_code", "os:getcwd\n"),
    "a .pth among purelib": one(f"{DATA}/purelib/evil.pth", "startup_code", "import os\n"),
    "a .pth of an editable install": one("__editable__.demo.pth", "startup_code", "/tmp\n"),
    "a .pth of setuptools' name": one("distutils-precedence.pth", "startup_code", "import os\n"),
    "a sitecustomize": one("sitecustomize.py", "no config can allow it(?!.*startup_code)"),
    "a sitecustomize, compiled": one("sitecustomize.pyc", "no config can allow it"),
    "a usercustomize": one("usercustomize/__init__.py", "no config can allow it"),
}
"""Code that Python would run by itself."""

SHADOWING: dict[str, Hostile] = {
    "json": one("json.py", "name-in-stdlib"),
    "asyncio": one("asyncio/__init__.py", "name-in-stdlib"),
    "the engine": one("vllm/__init__.py", "name-in-base"),
    "inside the engine": one("vllm/extra.py", "file-in-base"),
    "the engine, compiled": one("vllm.cpython-311-x86_64-linux-gnu.so", "name-in-base"),
    "what the base has": one("numpy/__init__.py", "name-in-base"),
    "the engine's command": commanding("vllm", "command-in-base: .* the command `vllm`, .* base's `vllm"),
    "the engine's command, as a file": one(f"{DATA}/scripts/vllm", "command-in-base", "#!/bin/sh\n"),
    "a shell": commanding("sh", "command-of-machine: .* the command `sh`"),
    "env": commanding("env", "command-of-machine: .* the command `env`"),
    "git, as a file": one(f"{DATA}/scripts/git", "command-of-machine: .* the command `git`", "#!/bin/sh\n"),
    "uv": commanding("uv", "command-of-machine: .* the command `uv`"),
    "the hook": one("_vpm_env_hook.py", "environment's own"),
}
"""Names that the base, the standard library or the machine has."""

ORDINARY: dict[str, Hostile] = {
    "activate-tool": commanding("activate-tool", ""),
    "python-tool": one(f"{DATA}/scripts/python-tool", "", "#!python\n"),
    "pipx": commanding("pipx", ""),
    "folders": Hostile(members=(member("demo/inner/", mode=stat.S_IFDIR | 0o2755), member("demo/inner/a.py"))),
}
"""Shapes of packages that mean no harm, and look like others that do; most are named after their command."""

__all__ = ["CROWDS", "ENTRY_POINTS", "HOSTILE", "INFO", "ORDINARY", "SHADOWING", "STARTING"]
