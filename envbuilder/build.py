"""Have uv do the work on one package: install what is locked, and build."""

from __future__ import annotations

import os
import re
from os.path import join
from typing import TYPE_CHECKING, Any

from envbuilder import fs, gate
from envbuilder.classes import replace
from envbuilder.errors import BuildError, CommandFailed, PackageError, SourceError, VpmError
from envbuilder.lock import LockedPackage, single

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from envbuilder.base import Base
    from envbuilder.process import Result
    from envbuilder.uv import Uv

TIMEOUT = 7200.0
"""Seconds that one download or build may take."""

_EPOCH = "315532800"
"""The first second that a zip file can hold: builds on two days are the same."""

_PREAMBLE = re.compile(r"^(warning: The `--pylock` option|Using CPython |DEBUG |WARN )")
_TELLING = "uv_extract=warn,uv_install_wheel=debug"
"""Some versions of uv leave members out and mend RECORD to fit; this makes them say so."""

_MENDED = (
    (re.compile(r"Skipping unsafe file name: (?P<names>.*)"), "its member {} leads outside"),
    (re.compile(r"Files (?P<names>.*) are listed in `RECORD` but missing"), "{} of its RECORD is missing"),
    (re.compile(r"Files (?P<names>.*) are in the wheel archive .*missing from `RECORD`"), "{} is not in its RECORD"),
)
_TORN = re.compile(r"cache entry|reading marker|failed to fill whole buffer")
"""What uv says of a cache that a power cut tore: it brings nothing to the disk."""
_HINT_NOT_ISOLATED = "with `build_isolation: false` the base must have everything that its build requires"


def install_locked(
    package: LockedPackage,
    prefix: str,
    *,
    base: Base,
    uv: Uv,
    scratch: str,
    build_isolation: bool,
    most_written: int | None = None,
) -> None:
    """Install the one locked package into `prefix`, from uv's cache or the network; hashes are required.

    `most_written` is how many bytes that may take. Raise `SourceError` for a file that cannot be had, `BuildError` for
    an sdist that does not build and `PackageError` for a file that is not the one that was locked, that holds more
    than it says, or that uv had to mend.
    """
    fs.make_dirs(scratch)
    lock = join(scratch, f"pylock.{package.name}.toml")
    fs.write_plain(lock, single(_filled(package, uv)).encode(), mode=0o600)
    python, isolation = _python_to_build_with(base, uv, scratch, isolated=build_isolation or bool(package.wheels))
    # A prefix, not a target: in a target, data files and headers fall among the modules, and scripts are lost.
    result = _run(
        uv.for_plugin(package.plugin),
        ["pip", "install", "--no-deps", "--prefix", prefix, "--link-mode", "copy"],
        ["--python", python, *isolation, "--requirements", lock],
        cwd=scratch,
        most_written=most_written,
    )
    gate.require_bounded(result, package.name)
    if result.code:
        raise _failure(package, result, isolated=not isolation)
    mended = tuple(_mended(result.stderr))
    if mended:
        raise PackageError(package=package.name, problems=mended)


def forget(package: LockedPackage, *, uv: Uv, scratch: str) -> None:
    """Have uv forget what it has of a package: what its cache holds may be damaged, by a power cut for instance."""
    _run(uv, ["cache", "clean", package.name], cwd=scratch)


def install_wheel(wheel: str, prefix: str, *, base: Base, uv: Uv, scratch: str, plugin: str) -> None:
    """Install a wheel file into `prefix`; its unpacked content does not stay in uv's cache.

    Raise `PackageError` for one that must not be unpacked.
    """
    fs.make_dirs(scratch)
    most_written = gate.examine_file(wheel, package=plugin)
    result = _run(
        uv,
        ["pip", "install", "--no-deps", "--no-index", "--offline", "--no-cache"],
        ["--prefix", prefix, "--link-mode", "copy", "--python", base.python, "--", wheel],
        cwd=scratch,
        most_written=most_written,
    )
    gate.require_bounded(result, plugin)
    if result.code:
        raise PackageError(package=plugin, problems=tuple(_said(result).splitlines()))


def build_wheel(
    source: str, *, plugin: str, package: str, base: Base, uv: Uv, scratch: str, build_isolation: bool
) -> str:
    """Build a wheel of a source tree or an sdist and return its path; raise `BuildError` with the whole log."""
    out = join(scratch, "wheel")
    fs.make_dirs(out)
    python, isolation = _python_to_build_with(base, uv, scratch, isolated=build_isolation)
    # `tool.uv.sources` of a plugin speak of its author's machine.
    result = _run(
        uv.for_plugin(plugin),
        ["build", "--wheel", "--no-sources", "--out-dir", out],
        ["--python", python, *isolation, "--", source],
        cwd=scratch,
    )
    wheels = [name for name in os.listdir(out) if name.endswith(".whl")]
    if result.code or len(wheels) != 1:
        hint = None if build_isolation else _HINT_NOT_ISOLATED
        raise BuildError(plugin=plugin, package=package, log=_said(result), hint=hint)
    return join(out, wheels[0])


def _run(uv: Uv, *arguments: Sequence[str], cwd: str, most_written: int | None = None) -> Result:
    variables = {**uv.variables, "SOURCE_DATE_EPOCH": _EPOCH, "PYTHONHASHSEED": "0", "RUST_LOG": _TELLING}
    command = [argument for part in arguments for argument in part]
    return replace(uv, variables=variables).run(command, cwd=cwd, timeout=TIMEOUT, most_written=most_written)


def _python_to_build_with(base: Base, uv: Uv, scratch: str, *, isolated: bool) -> tuple[str, list[str]]:
    """Return the interpreter for a build and uv's flags: without isolation, one that sees what the base has."""
    if isolated:
        return base.python, []
    venv = join(scratch, "build-env")
    result = _run(uv, ["venv", "--no-project", "--python", base.python, venv], cwd=scratch)
    if result.code:
        raise CommandFailed(command=("uv", "venv"), code=result.code, output=_said(result))
    site = join(venv, "lib", f"python{base.python_version}", "site-packages")
    lines = [f"import site; site.addsitedir({path!r})" for path in base.site_dirs]
    fs.write_plain(join(site, "_vpm_env.pth"), ("\n".join(lines) + "\n").encode())
    return join(venv, "bin", "python"), ["--no-build-isolation"]


def _filled(package: LockedPackage, uv: Uv) -> LockedPackage:
    """Put the values of `${NAME}` into the URLs of a locked package; where it has a wheel, no sdist takes its place."""
    wheels = tuple(_with_url(wheel, uv) for wheel in package.wheels)
    sdist = _with_url(package.sdist, uv) if package.sdist and not wheels else None
    return replace(package, wheels=wheels, sdist=sdist)


def _with_url(file: dict[str, Any], uv: Uv) -> dict[str, Any]:
    return {**file, "url": uv.filled(file["url"])} if "url" in file else file


def _failure(package: LockedPackage, result: Result, *, isolated: bool) -> VpmError:
    said = _said(result)
    named = package.plugin or package.name
    if "Network connectivity is disabled" in said:
        return SourceError(((named, f"`{file_name(package)}` is missing, and the network is off"),))
    if "Hash mismatch" in said or "Size mismatch" in said or _TORN.search(said):
        return PackageError(package=package.name, problems=tuple(said.splitlines()))
    if "Failed to build" in said or "build backend" in said:
        hint = None if isolated else _HINT_NOT_ISOLATED
        return BuildError(plugin=package.plugin, package=f"{package.name} {package.version}", log=said, hint=hint)
    if "Failed to fetch" in said or "Failed to download" in said or result.code == 124:
        return SourceError(((named, " ".join(said.split())),))
    return PackageError(package=package.name, problems=tuple(said.splitlines()))


def file_name(package: LockedPackage) -> str:
    """Return the name of the file that a locked package is installed from."""
    files = [*package.wheels, *([package.sdist] if package.sdist else [])]
    if not files:
        return package.name
    located = files[0].get("name") or files[0].get("url") or files[0].get("path") or package.name
    return str(located).rsplit("/", 1)[-1]


def _mended(log: str) -> Iterator[str]:
    for line in log.splitlines():
        for pattern, problem in _MENDED:
            if found := pattern.search(line):
                names = found["names"]
                yield problem.format(names if names.startswith("`") else f"`{names}`")


def _said(result: Result) -> str:
    """Return what uv said, without the lines that say nothing about what went wrong."""
    return "\n".join(line for line in result.output.splitlines() if line.strip() and not _PREAMBLE.match(line))
