"""Homes as years of use leave them: many generations, many packages."""

from __future__ import annotations

import compileall
import os
import sysconfig
from pathlib import Path
from py_compile import PycInvalidationMode
from typing import TYPE_CHECKING

from envbuilder import bytecode, commit, fs, overlay, scope, store, unpack
from envbuilder import profile as profiles
from envbuilder.digest import sha256_file, spelled
from envbuilder.order import Order
from envbuilder.paths import Layout

if TYPE_CHECKING:
    from rig import Rig

    from envbuilder.package import Package
    from envbuilder.profile import Profile


def two_sets(rig: Rig) -> Profile:
    """Build two generations, of packages `one` and `two`, which the index has; return their profile."""
    for packages in (["one"], ["one", "two"]):
        rig.config(*packages)
        rig.vpm_env("build").run()
    (profile,) = profiles.all_profiles(Layout(str(rig.home)))
    return profile


def generations(profile: Profile, count: int) -> None:
    """Let a profile with two generations have `count`, an even number, as builds of these two sets in turns do."""
    drafts = [_draft(profile, number) for number in (1, 2)]
    for number in range(3, count + 1):
        made = commit.commit(profile, drafts[1 - number % 2], switch=True, force=False)
        assert made.generation.number == number


def _draft(profile: Profile, number: int) -> commit.Draft:
    """Return what a build records that makes this generation again."""
    known = profiles.read(profile, number)
    manifest = overlay.get(profile.layout, profile.base_key, known.digest)
    assert manifest is not None
    config, lock = (Path(profile.file(number, name)).read_text() for name in ("plugins.yaml", "pylock.toml"))
    return commit.Draft(manifest, known.inputs, known.config, config, lock)


def packages(home: Path, count: int) -> Layout:
    """Make a home with packages of one tiny module that no set needs, compiled for this interpreter."""
    layout = Layout(str(home))
    scope.make_home(layout)
    for folder in (layout.store, layout.sources, layout.tmp):
        fs.make_dirs(folder)
    for number in range(count):
        _publish(layout, f"package-{number:05}")
    return layout


def _publish(layout: Layout, name: str) -> None:
    staged = Path(layout.tmp, name)
    made = _stage(staged, name)
    compiled = {str(path.relative_to(staged / "lib")): sha256_file(path) for path in staged.glob("lib/**/*.pyc")}
    for path in compiled:
        fs.set_mode(staged / "lib" / path, 0o444)
    bytecode.note(str(staged), str(sysconfig.get_config_var("SOABI")), compiled)
    fs.write_plain(str(staged / store.FILES), made.files.to_bytes(), mode=0o444)
    fs.write_plain(str(staged / store.MANIFEST), spelled(made.to_dict()), mode=0o444)
    order = Order(label=name, plugin="", input={"wheel": name}, stage=lambda target, scratch: made)
    store.publish(str(staged), made, order, layout)


def _stage(staged: Path, name: str) -> Package:
    """Make the tree of a package as unpacking leaves it."""
    module, version = name.replace("-", "_"), "1.0"
    dist_info = f"{module}-{version}.dist-info"
    texts = {
        f"lib/{module}.py": f"NAME = {name!r}\n",
        f"lib/{dist_info}/METADATA": f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n",
        f"lib/{dist_info}/INSTALLER": unpack.INSTALLER.decode(),
    }
    for path, text in texts.items():
        (staged / path).parent.mkdir(parents=True, exist_ok=True)
        (staged / path).write_text(text)
    found = unpack.Found(dist_info=dist_info, name=name, version=version, requires=())
    made = unpack.describe(str(staged), found, entry_points={}, source={})
    lib = os.path.join(staged, "lib")
    compileall.compile_dir(lib, quiet=2, stripdir=lib, invalidation_mode=PycInvalidationMode.UNCHECKED_HASH)
    unpack.settle(str(staged))
    return made
