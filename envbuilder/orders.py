"""What has to be done for a package of a lock or of a source: the steps that stage it; nothing is done here yet."""

from __future__ import annotations

from os.path import join
from typing import TYPE_CHECKING, Any

from envbuilder import build, declaration, editable, entrance, fs, gate, inputs, unpack
from envbuilder.classes import replace
from envbuilder.errors import PackageError
from envbuilder.lock import LockedPackage, package_record
from envbuilder.order import Order

if TYPE_CHECKING:
    from envbuilder.base import Base
    from envbuilder.config import Plugin
    from envbuilder.package import Package
    from envbuilder.sources import Source
    from envbuilder.uv import Uv


def of_locked(
    package: LockedPackage,
    *,
    base: Base,
    uv: Uv,
    build_isolation: bool,
    startup_allowed: frozenset[str] = frozenset(),
) -> Order:
    """Order a package of an index, as it is locked; `startup_allowed` are those that may have start-up files."""

    def once(target: str, scratch: str, most_written: int | None) -> Package:
        prefix = join(scratch, "prefix")
        build.install_locked(
            package,
            prefix,
            base=base,
            uv=uv,
            scratch=scratch,
            build_isolation=build_isolation,
            most_written=most_written,
        )
        made = unpack.take(prefix, target, package=package.name, source=_plain(package_record(package)))
        unpack.require(made, name=package.name, version=package.version)
        return made

    def stage(target: str, scratch: str) -> Package:
        fs.make_dirs(scratch)
        made = twice(target, scratch, _examined(package, uv, scratch))
        entrance.require_fit(made, target, startup_allowed=startup_allowed)
        return made

    def twice(target: str, scratch: str, most_written: int | None) -> Package:
        try:
            return once(target, join(scratch, "first"), most_written)
        except PackageError:
            if uv.offline and not _is_here(package):
                raise
        # Perhaps only uv's cache is damaged; if not, it must not hide next time what is wrong now.
        build.forget(package, uv=uv, scratch=scratch)
        fs.remove_tree(target)
        try:
            return once(target, join(scratch, "second"), most_written)
        except PackageError:
            build.forget(package, uv=uv, scratch=scratch)
            raise

    made_from = inputs.of_locked(package, base, build_isolation=build_isolation)
    order = Order(label=f"{package.name} {package.version}", plugin=package.plugin, input=made_from, stage=stage)
    return replace(order, name=package.name, version=package.version)


def _examined(package: LockedPackage, uv: Uv, scratch: str) -> int | None:
    try:
        return gate.examine(package, uv=uv, scratch=scratch)
    except PackageError:
        # A resolver may have unpacked it, to read its metadata: an offline build would take it from there.
        build.forget(package, uv=uv, scratch=scratch)
        raise


def _is_here(package: LockedPackage) -> bool:
    """Tell whether a locked package can be had without a network."""
    located = [str(file.get("url") or file.get("path")) for file in (*package.wheels, package.sdist) if file]
    return all(url.startswith("file:") or "://" not in url for url in located)


def of_source(
    source: Source, plugin: Plugin, *, base: Base, uv: Uv, startup_allowed: frozenset[str] = frozenset()
) -> Order:
    """Order what a git or local source makes; `startup_allowed` are packages that may have start-up files."""

    def stage(target: str, scratch: str) -> Package:
        wheel = _wheel(source, plugin, base, uv, scratch)
        prefix = join(scratch, "prefix")
        build.install_wheel(wheel, prefix, base=base, uv=uv, scratch=scratch, plugin=plugin.name)
        declared = declaration.file_in(source.path) if source.kind == "tree" else None
        made = unpack.take(prefix, target, package=plugin.name, source=_origin(source), declared=declared)
        if source.editable_root is not None:
            members, root = source.members, source.editable_root
            made = editable.detach(target, made, copy=source.path, members=members, root=root)
        entrance.require_fit(made, target, startup_allowed=startup_allowed)
        return made

    return Order(label=plugin.name, plugin=plugin.name, input=inputs.of_source(source, plugin, base), stage=stage)


def entry(package: Package, source: Source, plugin: Plugin) -> LockedPackage:
    """Write the lock's entry of a built source."""
    return LockedPackage(
        name=package.name,
        version=package.version,
        plugin=plugin.name,
        vcs=source.vcs,
        directory=source.directory,
        archive=source.archive,
        tree=source.tree or None,
    )


def _wheel(source: Source, plugin: Plugin, base: Base, uv: Uv, scratch: str) -> str:
    if source.kind == "wheel":
        return source.path
    return build.build_wheel(
        source.path,
        plugin=plugin.name,
        package=plugin.name,
        base=base,
        uv=uv,
        scratch=scratch,
        build_isolation=plugin.build_isolation,
    )


def _plain(value: Any) -> Any:
    """Return a record of the lock as JSON can hold it: TOML has times, which say nothing of the content."""
    if isinstance(value, dict):
        return {name: _plain(item) for name, item in value.items() if name != "upload-time"}
    return [_plain(item) for item in value] if isinstance(value, list) else value


def _origin(source: Source) -> dict[str, Any]:
    tables = {"vcs": source.vcs, "directory": source.directory, "archive": source.archive}
    return {name: table for name, table in tables.items() if table}
