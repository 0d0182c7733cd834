"""A wheel made again of what is installed: the files of its RECORD, held to their hashes and packed.

What an installer makes anew (commands of entry points, interpreters in `#!` lines, bytecode, its own notes) is left
out. The same distribution gives the same bytes.
"""

from __future__ import annotations

import base64
import csv
import io
import os
import posixpath
import re
from os.path import abspath, dirname, isfile, join, realpath, relpath
from typing import Any

from envbuilder import __version__, fs, paths
from envbuilder.digest import digest_file
from envbuilder.engines import SCRIPT_GROUPS
from envbuilder.record import UNHASHED, is_bytecode, refuse, walk
from envbuilder.tuples import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator, Sequence
    from importlib.metadata import Distribution
    from zipfile import ZipFile, ZipInfo

    from _typeshed import ReadableBuffer

_BLOCK = 1 << 18
_TIME = (1980, 1, 1, 0, 0, 0)
_HASHES = frozenset({"sha256", "sha384", "sha512"})
_OF_INSTALLER = frozenset({*UNHASHED, "INSTALLER", "REQUESTED", "direct_url.json", "uv_build.json", "uv_cache.json"})
_TAG = re.compile(r"^Tag: *(\w[\w.]*-\w[\w.]*-\w[\w.]*) *$", re.MULTILINE)
_EDITABLE = re.compile(r'"editable"\s*:\s*true')
_SHELL_LINES = re.compile(rb"#!/bin/sh\n'''exec' [^\n]*\n' '''\n")
_PYTHON_PATH = re.compile(rb"#!\"?/[^\s\"]*/pythonw?[\d.]*\"?(?=\s)")


class Part(NamedTuple):
    """One file of a wheel: its path there, where it lies, and its hash in RECORD; None where no RECORD has it."""

    path: str
    source: str
    said: str | None


class Plan(NamedTuple):
    """A wheel to be: its file's name, its dist-info folder, and its files in their order."""

    name: str
    info: str
    parts: list[Part]


def plan(dist: Distribution, *, hint: str) -> Plan:
    """Plan the wheel of what is installed; raise `PackageError`, with `hint`, for what is not what was installed."""
    name, site = str(dist.metadata["Name"]), realpath(str(dist.locate_file("")))
    rows = _rows(dist)
    info = next((path.split("/")[0] for path, *_ in rows if path.endswith(".dist-info/RECORD")), "")
    tags = _TAG.findall(dist.read_text("WHEEL") or "")
    if not info or not tags:
        refuse(name, ["it was not installed from a wheel, so nobody knows which files are its own"], hint=hint)
    parts = list(_listed(rows, site, info, _commands(dist)))
    if name == "vpm-env" and realpath(dirname(paths.__file__)) != join(site, "envbuilder"):
        parts = [part for part in parts if part.path.startswith(f"{info}/")] + _running(dist, hint)
    elif _EDITABLE.search(dist.read_text("direct_url.json") or ""):
        refuse(name, ["it is editable: its files are not here, but in its author's folder"], hint=hint)
    refuse(name, list(_problems(parts)), hint=hint)
    parts.sort(key=lambda part: (part.path.startswith(f"{info}/"), part.path))
    columns = (dict.fromkeys(column) for column in zip(*(tag.split("-") for tag in tags), strict=True))
    return Plan(f"{_stem(info)}-{'-'.join('.'.join(column) for column in columns)}.whl", info, parts)


def write(planned: Plan, folder: str) -> None:
    """Write a wheel into `folder`, whole or not at all."""
    path = join(folder, planned.name)
    part = f"{path}.part"
    try:
        fs.remove(part)
        with fs.growing(part) as descriptor:
            fs.fill(descriptor, _zipped(planned))
        fs.set_mode(part, 0o644)
        fs.rename(part, path)
    except BaseException:
        fs.remove_quietly(part)
        raise


def _stem(info: str) -> str:
    return info.removesuffix(".dist-info")


def _rows(dist: Distribution) -> list[list[str]]:
    """Read RECORD, paths and hashes; nothing of one that cannot be read."""
    try:
        return [row for row in csv.reader((dist.read_text("RECORD") or "").splitlines()) if len(row) > 1]
    except (csv.Error, UnicodeDecodeError):
        return []


def _commands(dist: Distribution) -> set[str]:
    return {f"bin/{point.name}" for point in dist.entry_points if point.group in SCRIPT_GROUPS}


def _listed(rows: Iterable[Sequence[str]], site: str, info: str, commands: Collection[str]) -> Iterator[Part]:
    """Give what a RECORD lists its place in a wheel; what lies beside the site directory is a script or data."""
    prefix = dirname(dirname(dirname(site)))
    for row in rows:
        path, source = posixpath.normpath(row[0]), abspath(join(site, row[0]))
        outer = relpath(source, prefix) if path.startswith(("../", "/")) else ""
        is_note = posixpath.dirname(path) == info and posixpath.basename(path) in _OF_INSTALLER
        if is_note or is_bytecode(path) or outer in commands:
            continue
        if outer.startswith("bin/"):
            path = f"{_stem(info)}.data/scripts/{outer.removeprefix('bin/')}"
        elif outer and not outer.startswith("../"):
            path = f"{_stem(info)}.data/data/{outer}"
        yield Part(path, source, row[1])


def _running(dist: Distribution, hint: str) -> list[Part]:
    """List the vpm-env that runs, by the names that its own wheel has: of an editable one only notes are installed."""
    if dist.version != __version__ or "cache" not in (dist.metadata.get_all("Provides-Extra") or ()):
        refuse("vpm-env", [f"what is installed is not the {__version__} that runs"], hint=hint)
    tops = {"envbuilder": dirname(abspath(paths.__file__)), "envbuilder/_templates": paths.template_path("")}
    found = {f"{top}/{path}": join(folder, path) for top, folder in tops.items() for path in walk(folder)}
    return [Part(path, source, None) for path, source in found.items() if not is_bytecode(path)]


def _problems(parts: Iterable[Part]) -> Iterator[str]:
    for part in parts:
        if part.path.startswith(("../", "/")):
            yield f"`{part.source}` lies outside of the environment that it is installed in"
        elif not isfile(part.source):
            yield f"`{part.source}` is missing"
        elif part.said is not None and not _is_said(part.source, part.said):
            yield f"`{part.source}` is not what its RECORD says"


def _is_said(path: str, said: str) -> bool:
    """Hold a file to its hash in RECORD, which some builders spell in hexadecimal."""
    algorithm, _, value = said.partition("=")
    digest = digest_file(path, algorithm) if algorithm in _HASHES else b""
    return bool(digest) and value.rstrip("=") in (_spelled(digest), digest.hex())


def _spelled(digest: bytes) -> str:
    return base64.urlsafe_b64encode(digest).rstrip(b"=").decode()


class _Outlet(io.RawIOBase):
    """What a zip file is written to: its blocks are there to be taken, and never all in memory."""

    def __init__(self) -> None:
        self._blocks: list[bytes] = []

    def writable(self) -> bool:
        return True

    def write(self, block: ReadableBuffer, /) -> int:
        self._blocks.append(bytes(block))
        return len(self._blocks[-1])

    def taken(self) -> list[bytes]:
        """Return what was written since somebody asked."""
        blocks, self._blocks = self._blocks, []
        return blocks


def _zipped(planned: Plan) -> Iterator[bytes]:
    """Spell a wheel, with a RECORD of its own at its end."""
    from zipfile import ZipFile

    outlet, listing = _Outlet(), io.StringIO()
    record = csv.writer(listing, lineterminator="\n")
    with ZipFile(outlet, "w") as archive:
        for part in planned.parts:
            yield from _packed(part, archive, outlet, record)
        record.writerow((f"{planned.info}/RECORD", "", ""))
        archive.writestr(_member(f"{planned.info}/RECORD", 0o644), listing.getvalue())
    yield from outlet.taken()


def _packed(part: Part, archive: ZipFile, outlet: _Outlet, record: Any) -> Iterator[bytes]:
    """Spell one file of a wheel, and note it in the record."""
    import hashlib

    digest, size, status = hashlib.sha256(), 0, os.stat(part.source)
    with archive.open(_member(part.path, status.st_mode, status.st_size), "w") as stream:
        for block in _blocks(part):
            stream.write(block)
            digest.update(block)
            size += len(block)
            yield from outlet.taken()
    record.writerow((part.path, f"sha256={_spelled(digest.digest())}", size))


def _member(path: str, mode: int, size: int = 0) -> ZipInfo:
    """Describe a file of a wheel: one of two modes, and one date for all."""
    from zipfile import ZIP_DEFLATED, ZipInfo

    member = ZipInfo(path, _TIME)
    member.compress_type, member.file_size = ZIP_DEFLATED, size
    member.external_attr = (0o100755 if mode & 0o111 else 0o100644) << 16
    return member


def _blocks(part: Part) -> Iterator[bytes]:
    """Read a file; a script names no interpreter of this machine, but `python`, for which an installer puts its own."""
    with open(part.source, "rb") as stream:
        block = stream.read(_BLOCK)
        if ".data/scripts/" in part.path:
            block = _portable(block)
        while block:
            yield block
            block = stream.read(_BLOCK)


def _portable(script: bytes) -> bytes:
    found = _SHELL_LINES.match(script)
    return b"#!python\n" + script[found.end() :] if found else _portable_line(script)


def _portable_line(script: bytes) -> bytes:
    found = _PYTHON_PATH.match(script)
    return b"#!python" + script[found.end() :] if found else script
