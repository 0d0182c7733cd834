"""A package as one file, and back: a compressed archive whose every byte follows from the list of its files.

An archive has `files.json` first, and then the files that it lists, in this order; their names in it are numbers. So
what a header must be is known before it is read, and any other is refused: nothing in it is obeyed.
"""

from __future__ import annotations

import os
import stat
from os.path import dirname, join
from typing import Any

from envbuilder import fs, label, packing_list
from envbuilder.digest import RECORD_LIMIT, hasher
from envbuilder.errors import PackageError
from envbuilder.notation import dumps
from envbuilder.tuples import TYPE_CHECKING, NamedTuple
from envbuilder.wrapping import BLOCK, Unsound, Unwrapped, wrapped

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from envbuilder.package import Package, PackageFile

_LIST, _RECORD = "files.json", "package.json"
_HEADER = 512
_END = bytes(2 * _HEADER)
_BODY = b"%s\0%07o\0" + b"0" * 7 + b"\0" + b"0" * 7 + b"\0%s" + b"0" * 11 + b"\0"
_MAGIC = b"\0" * 100 + b"ustar\x0000" + bytes(247)
_DAMAGED = "it was damaged, or somebody made it who should not have: `vpm-env push` makes sound ones"
_SEE_VERIFY = "see `vpm-env verify`"


class Packed(NamedTuple):
    """A parcel by its content: 64 hex digits of its sha256, and its size in bytes."""

    sha256: str
    size: int


def pack(root: str, target: str) -> Packed:
    """Write the package that lies in `root` to the new file `target`; the same package gives the same bytes.

    Raise `PackageError` where it is not what its list says.
    """
    import hashlib

    digest, sizes = hashlib.sha256(), [0]

    def noted(blocks: Iterable[bytes]) -> Iterator[bytes]:
        for block in blocks:
            digest.update(block)
            sizes[0] += len(block)
            yield block

    fs.write_new(target, noted(wrapped(_archive(root))), mode=0o644)
    return Packed(digest.hexdigest(), sizes[0])


def unpack(parcel: str, target: str, package: dict[str, Any]) -> Package:
    """Make the tree of a package in `target`, which is empty or not there, out of a parcel; return the package.

    `package` is what its `package.json` says, and believed in nothing that the files can say. Its two records are left
    writable: who puts it into a store adds to them. Raise `PackageError` for a parcel that holds anything else, and
    leave nothing of it.
    """
    fs.make_dirs(target)
    if os.listdir(target):
        raise FileExistsError(f"`{target}` is not empty")
    try:
        return _unpacked(parcel, target, package)
    except Unsound as error:
        _empty(target)
        raise PackageError(package=label.title(package), problems=(str(error),), hint=_DAMAGED) from None
    except BaseException:
        _empty(target)
        raise


def _unpacked(parcel: str, target: str, record: dict[str, Any]) -> Package:
    with open(parcel, "rb") as stream:
        archive = Unwrapped(stream)
        listed = _list_in(archive)
        files = packing_list.files(listed, label.list_of(record))
        made = label.checked(record, files)
        _files_in(archive, files, target)
        if archive.take(len(_END)) != _END:
            raise Unsound("there is something behind its last file")
        archive.require_end()
        label.require_metadata(made, join(target, "lib"))
    fs.write_new(join(target, _LIST), (listed,), mode=0o644)
    fs.write_new(join(target, _RECORD), (dumps(record).encode(),), mode=0o644)
    return made


# -- the archive -------------------------------------------------------------------------------------------------------


def _header(name: str, size: int, mode: int) -> bytes:
    """Return the one header that a member has: nobody's, of no date; a size beyond 8 GiB is written as GNU does."""
    length = b"%011o\0" % size if size < 8 << 30 else b"\x80" + size.to_bytes(11, "big")
    front = _BODY % (name.encode().ljust(99, b"\0"), mode, length)
    total = sum(front) + _SUM_BEHIND
    return b"%s%06o\0 0%s" % (front, total, _MAGIC)


_SUM_BEHIND = 8 * ord(" ") + ord("0") + sum(_MAGIC)
"""What a header's checksum counts behind its front: itself as blanks, the kind of the member, and the rest."""


def _padding(size: int) -> int:
    return -size % _HEADER


def _archive(root: str) -> Iterator[bytes]:
    """Yield the archive of the package in `root`."""
    listed, files = _own_list(root)
    yield _header(_LIST, len(listed), 0o444) + listed + bytes(_padding(len(listed)))
    for at, file in enumerate(files):
        yield _header(str(at), file.size, file.mode)
        yield from _content(root, file)
        yield bytes(_padding(file.size))
    yield _END


def _own_list(root: str) -> tuple[bytes, tuple[PackageFile, ...]]:
    from envbuilder.digest import read_bytes, sha256_bytes

    try:
        content = read_bytes(join(root, _LIST))
        return content, packing_list.files(content, sha256_bytes(content))
    except (OSError, ValueError) as error:
        text = str(error) if isinstance(error, Unsound) else f"`{_LIST}` is missing or damaged"
        raise PackageError(package=os.path.basename(root), problems=(text,), hint=_SEE_VERIFY) from None


def _content(root: str, file: PackageFile) -> Iterator[bytes]:
    """Yield a file of the store, which must be what is listed: a damaged package does not travel."""
    import hashlib

    digest, size = hashlib.sha256(), 0
    try:
        descriptor = os.open(join(root, file.path), os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK)
    except OSError as error:
        text = f"`{file.path}` cannot be read: {(error.strerror or '').lower()}"
        raise PackageError(package=os.path.basename(root), problems=(text,), hint=_SEE_VERIFY) from None
    try:
        is_file = stat.S_ISREG(os.fstat(descriptor).st_mode)
        while is_file and (block := os.read(descriptor, BLOCK)):
            size += len(block)
            if size > file.size:
                break
            digest.update(block)
            yield block
    finally:
        os.close(descriptor)
    if size != file.size or digest.hexdigest() != file.sha256:
        text = f"`{file.path}` is not what its package says"
        raise PackageError(package=os.path.basename(root), problems=(text,), hint=_SEE_VERIFY)


def _list_in(archive: Unwrapped) -> bytes:
    """Read the first member, whose size nobody knows before."""
    header = archive.take(_HEADER)
    try:
        size = int(header[124:135], 8)
    except ValueError:
        size = -1
    if not 0 <= size <= RECORD_LIMIT or header != _header(_LIST, size, 0o444):
        raise Unsound("it does not begin with a list of files")
    content = archive.take(size + _padding(size))
    if content.count(0, size) != _padding(size):
        raise Unsound("there is something between its files")
    return content[:size]


def _files_in(archive: Unwrapped, files: tuple[PackageFile, ...], target: str) -> None:
    """Write the files that follow the list; each folder is made once, and none is there before."""
    total, made = sum(file.size for file in files), {target}
    for at, file in enumerate(files):
        path = f"{target}/{file.path}"
        if archive.take(_HEADER) != _header(str(at), file.size, file.mode):
            raise Unsound(f"`{file.path}` does not follow where its list says so")
        digest = hasher(total)
        try:
            _make_folder(dirname(path), made)
            fs.write_new(path, _hashed(archive, file.size, digest.update), mode=file.mode)
        except (FileExistsError, NotADirectoryError):
            raise Unsound(f"`{file.path}` lies where another file is") from None
        if digest.hexdigest() != file.sha256:
            raise Unsound(f"`{file.path}` is not what its list says")


def _hashed(archive: Unwrapped, size: int, update: Callable[[bytes], None]) -> Iterator[bytes | memoryview]:
    """Yield the content of a member, and see that nothing hides behind it."""
    padding, left = _padding(size), size
    while left > BLOCK:
        block = archive.take(BLOCK)
        update(block)
        yield block
        left -= BLOCK
    last = archive.take(left + padding)
    if last.count(0, left) != padding:
        raise Unsound("there is something between its files")
    last = last[:left]
    update(last)
    yield last


def _make_folder(path: str, made: set[str]) -> None:
    if path in made:
        return
    _make_folder(dirname(path), made)
    fs.make_new_dir(path)
    made.add(path)


def _empty(target: str) -> None:
    for name in fs.names_in(target):
        fs.remove_tree(join(target, name))
