"""Compile the modules below some folders; runs inside the base, imports only stdlib.

Started as a file of its own, never imported by the package: `_compile.py FOLDER…`. Nothing in the bytecode depends on
where a folder is or when it was written, Python takes it without a look at the source (PEP 552), and nobody may change
it. Tells on standard output what it made: the sha256 of the bytes and the path below the folder, each such line ended
by a zero byte, and each folder by one more. A module that does not compile has no bytecode; what could not be written
is told on standard error, and the exit code is 1.
"""

import marshal
import os
import sys

try:
    from _sha2 import sha256  # type: ignore[import-not-found]
except ImportError:
    try:
        from _sha256 import sha256  # type: ignore[import-not-found]
    except ImportError:
        from hashlib import sha256

try:  # all that is needed of `importlib.util`, which takes as long as to compile a small package
    from _frozen_importlib_external import MAGIC_NUMBER, cache_from_source
    from _imp import source_hash as keyed_hash

    KEY = int.from_bytes(MAGIC_NUMBER, "little")

    def source_hash(source):
        """Return what bytecode has instead of its source's size and time."""
        return keyed_hash(KEY, source)

except ImportError:
    from importlib.util import MAGIC_NUMBER, cache_from_source, source_hash

HEAD = MAGIC_NUMBER + (1).to_bytes(4, "little")
"""Begins bytecode that is not checked against its source."""
CACHE = "__pycache__"
ENDING = cache_from_source("/m.py").rpartition("/m")[2]
"""Ends the names of this interpreter's bytecode."""


def compiled(root):
    """Compile every module below `root`; yield digest and path of what was written, and errors."""
    pending = [""]
    while pending:
        below = pending.pop()
        try:
            with os.scandir(root + "/" + below) as found:
                entries = [(entry.name, entry.is_dir(follow_symlinks=False)) for entry in found]
        except OSError as error:
            yield error
            continue
        pending += [below + name + "/" for name, is_folder in entries if is_folder and name != CACHE]
        sources = [name for name, is_folder in entries if name.endswith(".py") and not is_folder]
        if sources:
            yield from together(root, below, sources, has_cache=(CACHE, True) in entries)


def together(root, below, sources, has_cache):
    """Compile the modules of one folder."""
    try:
        if not has_cache:
            os.mkdir(root + "/" + below + CACHE, 0o755)
    except OSError as error:
        yield error
        return
    for name in sources:
        path = below + CACHE + "/" + name[:-3] + ENDING
        try:
            made = bytecode(root, below + name)
            if made is not None:
                write(root + "/" + path, made)
                yield sha256(made).hexdigest(), path
        except OSError as error:
            yield error


def bytecode(root, path):
    """Compile one module; None for one that does not compile, however it fails."""
    with open(root + "/" + path, "rb") as stream:
        source = stream.read()
    try:
        code = compile(source, path, "exec", dont_inherit=True)
        return HEAD + source_hash(source) + marshal.dumps(code)
    except Exception:  # noqa: BLE001 (a module may be anything)
        return None


def write(path, content):
    """Write a file beside its place and put it there: somebody may be importing."""
    beside = path + "." + str(os.getpid())
    descriptor = os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o444)
    try:
        while content:
            content = content[os.write(descriptor, content) :]
        os.replace(beside, path)
    except OSError:
        os.unlink(beside)
        raise
    finally:
        os.close(descriptor)


def main():
    os.umask(0)  # who builds may have any, and all may read the store
    told, failed = [], False
    for root in sys.argv[1:]:
        for made in compiled(root):
            if isinstance(made, OSError):
                failed = True
                sys.stderr.write(str(made) + "\n")
            else:
                told.append(" ".join(made) + "\0")
        told.append("\0")
    sys.stdout.buffer.write(os.fsencode("".join(told)))
    return int(failed)


if __name__ == "__main__":
    sys.exit(main())
