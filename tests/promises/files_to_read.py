"""Files that somebody else wrote, each the worst of its kind: configs, locks and what a build reads beside them."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    Content = str | bytes | Callable[[Path], None]

MIB = 1 << 20


def plugin(text: str) -> str:
    """Write a config with one plugin."""
    return f"plugins:\n  - {{name: demo, source: pypi, {text}}}\n"


def sparse(path: Path) -> None:
    """Make a file of a terabyte that has no blocks."""
    with path.open("wb") as stream:
        stream.truncate(1 << 40)


def aliases(width: int, depth: int) -> str:
    """Write lists of aliases of lists of aliases."""
    lines = ["a0: &a0 [x, x]"]
    lines += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * width)}]" for n in range(1, depth)]
    return "\n".join(lines) + f"\nplugins: *a{depth - 1}\n"


def merges(depth: int) -> str:
    """Write mappings that merge mappings that merge mappings."""
    lines = ["m0: &m0 {k: v}"]
    lines += [f"m{n}: &m{n} {{<<: [*m{n - 1}, *m{n - 1}], k{n}: v}}" for n in range(1, depth)]
    return "\n".join(lines) + "\nplugins: []\n"


CONFIGS: dict[str, Content] = {
    "an alias bomb": aliases(9, 9),
    "an alias bomb, wide": "a: &a [" + "x," * 100_000 + "]\nplugins: [" + "*a," * 100_000 + "]\n",
    "a merge bomb": merges(30),
    "a merge": "base: &b {name: demo}\nplugins: [{<<: *b, source: pypi}]\n",
    "an anchor alone": "plugins: &p []\n",
    "a reference to itself": "plugins: &p [*p]\n",
    "deep brackets": "[" * 100_000,
    "deep braces": "{a: " * 100_000,
    "deep lists": "- " * 400_000,
    "deep keys": "? " * 400_000,
    "deep indentation": "\n".join(" " * n + "a:" for n in range(1200)),
    "a scalar of 20 MB": "plugins: " + "x" * (20 * MIB),
    "a scalar of 1 MB": plugin("version: '" + "1" * (MIB - 200) + "'"),
    "a folded scalar": "plugins: " + "x\n " * 340_000,
    "escapes": 'plugins: "' + "\\x41" * 250_000 + '"',
    "20,000 plugins": "plugins:\n" + "".join(f"  - {{name: a{n}, source: pypi}}\n" for n in range(20_000)),
    "20,000 problems": "plugins:\n" + "".join(f"  - {{a{n}: 1}}\n" for n in range(9_000)),
    "20,000 keys": "".join(f"key{n}: 1\n" for n in range(20_000)),
    "one key 100,000 times": "a: 1\n" * 100_000,
    "a key twice": "plugins: []\nengine: vllm\nplugins: []\n",
    "a key twice, in a plugin": plugin("version: '1', version: '2'"),
    "a plugin twice": "plugins:\n" + "  - {name: demo, source: pypi}\n" * 2,
    "an endless key": "k" * (MIB - 10) + ": 1",
    "endless keys": "{" + ",".join("k" * 900 + f"{n}: 1" for n in range(1_100)) + "}",
    "a key of a mapping": "{a: 1}: 1\nplugins: []\n",
    "a NUL": b"plugins: []\n\0",
    "NULs": b"\0" * MIB,
    "no UTF-8": b"plugins: []\n# \xff\xfe\n",
    "half a character": b"plugins: []\n# \xe2\x82",
    "a surrogate": b"plugins: []\n# \xed\xa0\x80",
    "UTF-16": "plugins: []\n".encode("utf-16"),
    "UTF-16, no mark": "plugins: []\n".encode("utf-16-be"),
    "UTF-32": "plugins: []\n".encode("utf-32"),
    "a mark twice": b"\xef\xbb\xbf\xef\xbb\xbfplugins: []\n",
    "an escape sequence": "plugins: []\n\x1b[2J",
    "an override of direction": plugin('name: "a\u202eb"'),
    "a tag of Python": "!!python/object/apply:os.system [touch /tmp/ran-by-yaml]\n",
    "a tag of a binary": "plugins: !!binary aGk=\n",
    "a tag of our own": "plugins: !mine []\n",
    "a directive": "%TAG ! tag:example,2000:\n---\nplugins: !x []\n",
    "a directive of YAML 9": "%YAML 9.9\n---\nplugins: [\n",
    "two documents": "plugins: []\n---\nplugins: []\n",
    "a version of 1.10": plugin("version: 1.10"),
    "a version of 010": plugin("version: 010"),
    "a version of 1e400": plugin("version: 1.0e+400"),
    "a version of many digits": plugin("version: " + "9" * 100_000),
    "a name of no": "plugins: [{name: no, source: pypi}]\n",
    "a name of null": "plugins: [{name: null, source: pypi}]\n",
    "a list for a name": "plugins: [{name: [demo], source: pypi}]\n",
    "a version of a date": "plugins: [{name: demo, source: pypi, version: 2001-01-01}]\n",
    "a version of 12:30:45": plugin("version: 12:30:45"),
    "a text for plugins": "plugins: demo\n",
    "a number": "42\n",
    "a list": "- a\n",
    "nothing": "",
    "a tab": "plugins:\n\t- a\n",
    "an open quote": 'plugins: "' + "x" * (MIB - 20),
    "an open bracket": "plugins: [" + "a," * 9_000,
    "a name of a path": "plugins: [{name: ../../demo, source: pypi}]\n",
    "a name of an option": "plugins: [{name: demo, source: pypi, package: --index-url=x}]\n",
    "a specifier without an end": plugin("version: '" + ",".join([">1"] * 1_400) + ",x'"),
    "a profile of a path": "profile: ../../etc\nplugins: []\n",
    "a folder": lambda path: path.mkdir(),
    "a FIFO": os.mkfifo,
    "zeros without an end": lambda path: path.symlink_to("/dev/zero"),
    "noise without an end": lambda path: path.symlink_to("/dev/urandom"),
    "a terminal": lambda path: path.symlink_to("/dev/tty"),
    "a link to itself": lambda path: path.symlink_to(path.name),
    "a sparse file of a terabyte": sparse,
    "what may not be read": lambda path: path.symlink_to("/proc/self/mem"),
}
"""Configs; a function makes what is no text at the path that it is given."""

SEALED = """\
lock-version = "1.0"
created-by = "vpm-env"
%s
[tool.vpm-env]
base = { }
base-digest = "0"
config-digest = "0"
facts = { }
ignored = { }
left-out = { }
provided = { }
"""
SHA256 = "0" * 64


def package(text: str = "", name: str = "demo", version: str = "1.0") -> str:
    """Write a lock with one package."""
    return SEALED % f'[[packages]]\nname = "{name}"\nversion = "{version}"\n{text}\n'


def wheel(text: str) -> str:
    """Write a lock with one wheel."""
    return package(f"wheels = [{{ {text} }}]")


LOCKS: dict[str, Content] = {
    "half a lock": package()[:40],
    "a lock without a table": "lock-version = '1.0'\n",
    "deep arrays": "a = " + "[" * 100_000,
    "deep tables": "a." * 50_000 + "b = 1",
    "deep inline tables": "a = " + "{a = " * 20_000,
    "a lock of 20 MB": SEALED % ("# " + "x" * (20 * MIB)),
    "20,000 packages": SEALED % "".join(f'[[packages]]\nname = "a{n}"\nversion = "../{n}"\n' for n in range(20_000)),
    "a number of 100,000 digits": "a = " + "9" * 100_000,
    "NULs": b"\0" * 1000,
    "no UTF-8": b"# \xff\n",
    "a name of a path": package(name="../../../etc"),
    "a name with a newline": package(name="de\\nmo"),
    "a name with an escape": package(name="de\\u001b[2Jmo"),
    "a name that is an option": package(name="--upgrade"),
    "a name that is a number": package().replace('"demo"', "1"),
    "a name of 100,000 letters": package(name="a" * 100_000),
    "a name twice": package().replace("[tool", '[[packages]]\nname = "demo"\nversion = "2"\n[tool'),
    "a version of a path": package(version="../1"),
    "a version with a newline": package(version="1\\n2"),
    "packages that are none": SEALED % "packages = 3\n",
    "wheels that are none": package("wheels = 'x'"),
    "a wheel without a hash": wheel('url = "https://index.example/demo-1.0-py3-none-any.whl"'),
    "a wheel with another hash": wheel('url = "https://index.example/x.whl", hashes = { md5 = "0" }'),
    "a hash that is none": wheel('url = "https://index.example/x.whl", hashes = { sha256 = "../x" }'),
    "a URL of git": wheel(f'url = "git+ext::sh -c id", hashes = {{ sha256 = "{SHA256}" }}'),
    "a URL with a newline": wheel(f'url = "https://index.example/\\nx.whl", hashes = {{ sha256 = "{SHA256}" }}'),
    "a file name of a path": wheel(f'url = "file:///x", name = "../x.whl", hashes = {{ sha256 = "{SHA256}" }}'),
    "a size below zero": wheel(f'url = "file:///x.whl", size = -1, hashes = {{ sha256 = "{SHA256}" }}'),
    "a size that is text": wheel(f'url = "file:///x.whl", size = "1", hashes = {{ sha256 = "{SHA256}" }}'),
    "a table for a text": package().replace('base-digest = "0"', "base-digest = { }"),
    "a text for a table": package().replace("facts = { }", 'facts = "x"'),
    "a folder": lambda path: path.mkdir(),
    "a FIFO": os.mkfifo,
    "zeros without an end": lambda path: path.symlink_to("/dev/zero"),
    "a link to itself": lambda path: path.symlink_to(path.name),
    "a sparse file of a terabyte": sparse,
}
"""Locks beside a config that is fine."""
