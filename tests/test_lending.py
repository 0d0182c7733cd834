"""`stores:`: packages of another home, which is only read, are linked instead of fetched."""

from __future__ import annotations

import re
import shutil
import subprocess
from contextlib import contextmanager
from typing import TYPE_CHECKING, NamedTuple

import kit
import pytest
from test_keep import write_config

from envbuilder.lending import lenders
from envbuilder.paths import Layout
from envbuilder.report import Reporter

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

pytestmark = pytest.mark.long

GROUP = "vllm.general_plugins"


class Lent(NamedTuple):
    """A site-wide home, a user's home with a set of which the site lends one package of two, and how that was built."""

    site: Path
    mine: kit.VpmEnv
    built: kit.Finished


@pytest.fixture(scope="module")
def lent(tmp_path_factory: pytest.TempPathFactory) -> Lent:
    folder = tmp_path_factory.mktemp("lending")
    base = kit.base(folder / "base")
    kit.fake_vllm(base, "0.33.0")
    env = kit.clean_environment(folder) | {"UV_CACHE_DIR": str(folder / "uv")}
    (folder / "work").mkdir()
    site, mine = (
        kit.VpmEnv(home=folder / name, folder=folder / "work", env={**env, "VPM_ENV_HOME": str(folder / name)}).use(
            base
        )
        for name in ("site", "mine")
    )
    for name in ("one", "two"):
        files = {f"{name}/__init__.py": f"def register(): print({name!r})\n", f"shared/{name}.py": ""}
        points = {GROUP: {name: f"{name}:register"}, "console_scripts": {name: f"{name}:register"}}
        kit.wheel(folder / "links", name, "1.0", files=files, entry_points=points)
    write_config(site, "one")
    site("build", "--offline", check=True)
    before = kit.tree_hash(site.home, ignore=())
    write_config(mine, "one", "two", extra=f"stores: [{site.home}]\n")
    built = mine("build", "--offline", check=True)
    assert kit.tree_hash(site.home, ignore=()) == before
    return Lent(site.home, mine, built)


@pytest.fixture
def copy(lent: Lent, tmp_path: Path) -> kit.VpmEnv:
    """Give a copy of the user's home that a test may do anything to."""
    subprocess.run(["cp", "-a", str(lent.mine.home), str(tmp_path / "copy")], check=True)
    env = {**lent.mine.env, "VPM_ENV_HOME": str(tmp_path / "copy")}
    return kit.VpmEnv(home=tmp_path / "copy", folder=lent.mine.folder, env=env)


@contextmanager
def gone(site: Path) -> Iterator[None]:
    site.rename(site.with_name("elsewhere"))
    try:
        yield
    finally:
        site.with_name("elsewhere").rename(site)


def imports(vpm_env: kit.VpmEnv) -> str:
    code = "import one, two, shared.one, shared.two; one.register(); two.register()"
    return vpm_env("run", "--", "python", "-c", code, check=True).stdout


def stored(vpm_env: kit.VpmEnv) -> dict[str, bool]:
    """Say which packages are in the home's store, and whether they are only links."""
    return {path.name[33:-4]: path.is_symlink() for path in vpm_env.home.glob("store/*-1.0")}


def test_what_another_store_has_is_linked_and_what_it_lacks_is_fetched(lent: Lent, copy: kit.VpmEnv) -> None:
    before = kit.tree_hash(lent.site, ignore=())

    assert re.search(r"fetching: 1 package, ", lent.built.stderr)
    assert stored(copy) == {"one": True, "two": False}
    assert imports(copy) == "one\ntwo\n"
    assert copy("run", "--", "one", check=True).stdout == "one\n"
    assert "all as they were made" in copy("verify", check=True).stderr
    assert "nothing to do" in copy("build", check=True).stderr
    assert copy("gc", "--json", check=True).json["items"] == []
    shutil.rmtree(copy.home / "profiles")
    assert len(copy("gc", "--json", check=True).json["packages"]) == 2
    assert stored(copy) == {}
    assert kit.tree_hash(lent.site, ignore=()) == before


def test_no_file_of_it_has_another_name_here(lent: Lent, copy: kit.VpmEnv) -> None:
    """A hard link would keep its bytes from being freed there, and outlive the package here."""
    assert {path.stat().st_nlink for path in lent.site.glob("store/*/lib/one/*.py")} == {1}
    assert all(path.is_symlink() for path in copy.home.glob("overlays/*/*/lib/*/site-packages/one-1.0.dist-info/*"))


@pytest.mark.parametrize("way", [("build", "--offline"), ("switch", "1")])
def test_a_store_that_is_gone_is_told_and_mended(lent: Lent, copy: kit.VpmEnv, way: tuple[str, ...]) -> None:
    with gone(lent.site):
        told = copy("verify")
        status = copy("status")
        shown = copy("show")
        refused = copy("run", "--", "python", "-c", "")
        mended = copy(*way, check=True)

        assert (told.exit, "`package.json` is missing or damaged" in told.stderr) == (1, True)
        assert "does not get a set: a store that lent 1 package of it is gone" in status.stdout
        assert "run `vpm-env build`" in status.stderr
        assert (refused.exit, refused.stderr.splitlines()[0]) == (
            1,
            "error: a store that lent 1 package of generation 1 is gone",
        )
        assert "overlay:    a store that lent packages of it is gone; `vpm-env switch 1`" in shown.stdout
        assert f"warning: the store `{lent.site}` is not used: it is not there" in mended.stderr
        assert "generation 1 " in mended.stderr, "the same set, wherever its packages lie"
        assert stored(copy) == {"one": False, "two": False}
        assert imports(copy) == "one\ntwo\n"
        assert "all as they were made" in copy("verify", check=True).stderr


def writable(site: Path) -> None:
    site.chmod(0o777)


def writable_store(site: Path) -> None:
    (site / "store").chmod(0o775)


def newer(site: Path) -> None:
    (site / "format").write_text("99\n")


def no_home(site: Path) -> None:
    (site / "format").unlink()


@pytest.mark.parametrize(
    ("change", "why"),
    [
        (writable, "is not root's or this user's, or others may write to it"),
        (writable_store, "is not root's or this user's, or others may write to it"),
        (newer, "is newer than this vpm-env"),
        (no_home, "has no readable `format` file"),
        (shutil.rmtree, "is not there, or is no home of vpm-env"),
    ],
)
def test_a_store_that_cannot_be_trusted_lends_nothing(
    lent: Lent, tmp_path: Path, change: Callable[[Path], None], why: str
) -> None:
    other, own = tmp_path / "site", Layout(str(tmp_path / "own"))
    shutil.copytree(lent.site, other, symlinks=True)
    told: list[str] = []
    report = Reporter()
    report.warn = told.append  # type: ignore[method-assign]

    assert lenders([str(other), own.home], own, report)[:1] == (str(other),)
    told.clear()
    change(other)
    assert lenders([str(other)], own, report) == ()
    assert told == [f"the store `{other}` is not used: it {why}"]


@pytest.mark.long
def test_a_package_that_is_not_compiled_for_the_base_is_fetched(lent: Lent, tmp_path: Path) -> None:
    other = tmp_path / "site"
    shutil.copytree(lent.site, other, symlinks=True)
    (compiled,) = other.glob("store/*-one-1.0/.compiled-*")
    compiled.unlink()
    folder = tmp_path / "mine"
    mine = kit.VpmEnv(home=folder, folder=lent.mine.folder, env={**lent.mine.env, "VPM_ENV_HOME": str(folder)})
    config = (lent.mine.folder / "plugins.yaml").read_text().replace(str(lent.site), str(other))
    (tmp_path / "plugins.yaml").write_text(config)

    mine("build", "--offline", "--config", tmp_path / "plugins.yaml", check=True)

    assert stored(mine) == {"one": False, "two": False}
