"""Plugins from git, folders and files, through `vpm-env build`: locked, editable, failing, with credentials."""

from __future__ import annotations

import os
import shutil
from typing import TYPE_CHECKING

import kit
import pytest

if TYPE_CHECKING:
    from pathlib import Path

GROUP = "vllm.general_plugins"


@pytest.fixture
def vllm(base: kit.Base, vpm_env: kit.VpmEnv) -> kit.VpmEnv:
    kit.fake_vllm(base, "0.33.0")
    return vpm_env.use(base)


def plugin(folder: Path, name: str = "mine", says: str = "first", **more: object) -> Path:
    """Write a plugin's source tree."""
    files = {f"{name}/__init__.py": f"def register(): print({says!r})\n"}
    points = {GROUP: {name: f"{name}:register"}}
    return kit.project(folder, name, files=files, entry_points=points, **more)  # type: ignore[arg-type]


def served(vllm: kit.VpmEnv) -> list[str]:
    """Start the engine with the current set and return what its plugins print."""
    return vllm("run", "--", "vllm", check=True).stdout.split("\n")


def test_a_git_ref_is_locked_to_its_commit_until_an_upgrade(vllm: kit.VpmEnv, tmp_path: Path) -> None:
    repository = kit.git_repository(tmp_path / "repository", {"README": ""})
    plugin(repository.folder / "plugins" / "mine")
    first = repository.commit(message="first")
    vllm.config(
        f"plugins:\n  - {{name: mine, source: git, url: '{repository.url}', subdirectory: plugins/mine, ref: main}}\n"
        if repository.git("branch", "--show-current") == "main"
        else f"plugins:\n  - {{name: mine, source: git, url: '{repository.url}', subdirectory: plugins/mine}}\n"
    )
    vllm("build", check=True)
    plugin(repository.folder / "plugins" / "mine", says="second")
    second = repository.commit(message="second")
    lock = vllm.folder / "pylock.plugins.toml"

    assert first in lock.read_text()
    assert served(vllm)[0] == "first"
    assert "nothing to do" in vllm("build").stderr
    vllm("build", "--force", check=True)
    assert served(vllm)[0] == "first"
    upgraded = vllm("build", "--upgrade", "mine", check=True)
    assert f", {first[:8]} → {second[:8]}" in upgraded.stderr
    assert second in lock.read_text()
    assert served(vllm)[0] == "second"
    vllm("rollback", check=True)
    assert served(vllm)[0] == "first"


@pytest.mark.long
def test_credentials_work_and_appear_nowhere(vllm: kit.VpmEnv, tmp_path: Path) -> None:
    """In a git URL by `${NAME}`, in an index URL as written."""
    repository = kit.git_repository(tmp_path / "repository", {"README": ""})
    plugin(repository.folder)
    repository.commit()
    with (
        kit.git_http(repository, "robot", "git-s3cret") as git,
        kit.index(tmp_path / "private", credentials="user:index-s3cret") as index,
    ):
        kit.wheel(index.folder, "one")
        url = git.url.replace("://", "://robot:${GIT_TOKEN}@")
        vllm.config(
            f"index: {index.with_credentials()}\nplugins:\n"
            f"  - {{name: mine, source: git, url: '{url}'}}\n  - {{name: one, source: pypi}}\n"
        )

        done = vllm("build", "-v", "--json", env={"GIT_TOKEN": "git-s3cret"}, check=True)
        wrong = vllm("build", "--upgrade", env={"GIT_TOKEN": "wr0ng"})
        for folder in ("overlays", "store", "sources"):
            shutil.move(vllm.home / folder, tmp_path / folder)
        again = vllm("switch", "1", env={"GIT_TOKEN": "git-s3cret", "UV_CACHE_DIR": str(tmp_path / "no-cache")})

    kept = [path for path in vllm.home.rglob("*") if path.is_file()]
    texts = [path.read_bytes().decode("utf-8", "replace") for path in [*kept, vllm.folder / "pylock.plugins.toml"]]
    texts += [done.stdout, done.stderr, wrong.stdout, wrong.stderr]
    assert not [text[:200] for text in texts if "s3cret" in text or "wr0ng" in text]
    assert "rebuilding it from its lock" in again.stderr
    assert again.exit == 0, again.output
    assert wrong.exit == 1
    assert "`mine`" in wrong.stderr


@pytest.mark.long
def test_a_folder_is_only_read_and_changes_are_seen(vllm: kit.VpmEnv, tmp_path: Path) -> None:
    folder = plugin(tmp_path / "mine")
    for path in [folder, *folder.rglob("*")]:
        path.chmod(0o555 if path.is_dir() else 0o444)
    before = kit.tree_hash(folder)
    vllm.config(f"plugins:\n  - {{name: mine, source: local, path: {folder}, editable: false}}\n")

    first = vllm("build", "--json", check=True).json["digest"]
    other = vllm("build", "--json", "--home", tmp_path / "other", check=True).json["digest"]

    assert first == other
    assert kit.tree_hash(folder) == before
    assert "nothing to do" in vllm("build").stderr
    for path in [folder, *folder.rglob("*")]:
        path.chmod(0o755 if path.is_dir() else 0o644)
    plugin(folder, says="second")
    vllm("build", check=True)
    assert served(vllm)[0] == "second"


@pytest.mark.parametrize("layout", kit.mostly_long(["flat", "src"], "src"))
def test_an_editable_shows_edited_code_at_once_and_entry_points_at_the_next_build(
    vllm: kit.VpmEnv, tmp_path: Path, layout: str
) -> None:
    folder = plugin(tmp_path / "mine", layout=layout)
    vllm.config(f"plugins:\n  - {{name: mine, source: local, path: {folder}, editable: true}}\n")
    done = vllm("build", check=True)
    root = folder / "src" if layout == "src" else folder
    code = root / "mine" / "__init__.py"

    code.write_text("def register(): print('edited')\ndef more(): print('more')\n")

    assert served(vllm)[0] == "edited"
    assert "editable" in vllm("list").stdout
    assert "without `editable: true`" not in done.stderr
    points = {GROUP: {"mine": "mine:register", "more": "mine:more"}}
    kit.project(folder, "mine", files={"mine/__init__.py": code.read_text()}, entry_points=points, layout=layout)
    vllm("build", check=True)
    assert {"edited", "more"} <= set(served(vllm))
    back = vllm("rollback", check=True)
    assert "`mine` is editable" in back.stderr


def test_wheels_and_sdists_are_plugins_too(vllm: kit.VpmEnv, tmp_path: Path) -> None:
    kit.wheel(tmp_path / "files", "one", files={"one.py": ""})
    kit.sdist(tmp_path / "files", "two", files={"two.py": ""})
    relative = os.path.relpath(tmp_path / "files", vllm.folder)
    vllm.config(
        "plugins:\n"
        f"  - {{name: one, source: local, path: {relative}/one-1.0-py3-none-any.whl}}\n"
        f"  - {{name: two, source: local, path: {relative}/two-1.0.tar.gz}}\n"
    )

    vllm("build", check=True)

    vllm("run", "--", "python", "-c", "import one, two", check=True)


def test_a_failed_build_names_the_plugin_and_shows_the_end_of_its_log(vllm: kit.VpmEnv, tmp_path: Path) -> None:
    folder = plugin(tmp_path / "mine", build_code="print('compiling')\nraise SystemExit('no compiler found')")
    vllm.config(f"plugins:\n  - {{name: mine, source: local, path: {folder}}}\n")

    done = vllm("build")

    assert done.exit == 1
    assert done.stderr.index("`mine` did not build") < done.stderr.index("no compiler found")
    assert not (vllm.folder / "pylock.plugins.toml").exists()


def test_what_cannot_be_had_is_told_for_all_plugins_at_once(vllm: kit.VpmEnv, index: kit.Index, tmp_path: Path) -> None:
    vllm.config(
        f"index: {index.url}\nplugins:\n"
        "  - {name: folder, source: local, path: ./nowhere}\n"
        f"  - {{name: repository, source: git, url: '{(tmp_path / 'nothing').as_uri()}'}}\n"
        "  - {name: variable, source: git, url: 'https://${NO_SUCH_VARIABLE}@127.0.0.1:9/x.git'}\n"
        "  - {name: unknown, source: pypi}\n"
    )

    done = vllm("build")

    assert done.exit == 1
    for name in ("folder", "repository", "variable", "unknown"):
        assert f"`{name}`" in done.stderr
    assert "NO_SUCH_VARIABLE" in done.stderr


@pytest.mark.network
def test_setuptools_plugins_build_on_a_base_that_has_setuptools_itself(
    vllm: kit.VpmEnv, base: kit.Base, tmp_path: Path
) -> None:
    """The base's distributions are facts to the resolver and must not reach build environments as empty stubs."""
    kit.install(base, kit.bundled(base, "setuptools"))
    kit.dist_info(base, "numpy", "2.1.0")
    kit.dist_info(base, "torch", "2.14.0+cu129")
    folder = plugin(tmp_path / "mine", backend="setuptools", requires=("numpy", "torch>=2"))
    repository = kit.git_repository(tmp_path / "repository", {"README": ""})
    plugin(repository.folder, "other", backend="setuptools", layout="src")
    repository.commit()
    third = kit.sdist(tmp_path / "files", "third", backend="setuptools")
    vllm.config(
        f"plugins:\n  - {{name: mine, source: local, path: {folder}}}\n"
        f"  - {{name: other, source: git, url: '{repository.url}'}}\n"
        f"  - {{name: third, source: local, path: {third}}}\n"
    )

    vllm("build", check=True)

    assert sorted(member["name"] for member in vllm("list", "--json").json["members"]) == ["mine", "other", "third"]
    assert served(vllm).count("first") == 2


@pytest.mark.long
def test_a_collected_set_with_a_git_plugin_is_rebuilt_from_its_lock(vllm: kit.VpmEnv, tmp_path: Path) -> None:
    repository = kit.git_repository(tmp_path / "repository", {"README": ""})
    plugin(repository.folder)
    repository.commit()
    vllm.config(f"plugins:\n  - {{name: mine, source: git, url: '{repository.url}'}}\n")
    vllm("build", check=True)
    plugin(repository.folder, says="second")
    repository.commit()
    vllm("build", "--upgrade", check=True)
    for folder in ("overlays", "store", "sources"):
        for path in (vllm.home / folder).iterdir():
            path.rename(tmp_path / f"{folder}-{path.name}"[:200])

    done = vllm("switch", "1", check=True)

    assert "rebuilding it from its lock" in done.stderr
    assert served(vllm)[0] == "first"


@pytest.mark.long
def test_a_set_that_was_built_with_the_base_in_view_is_rebuilt_so(
    vllm: kit.VpmEnv, base: kit.Base, index: kit.Index, tmp_path: Path
) -> None:
    kit.install(base, kit.wheel(tmp_path / "lower", "lower", files={"lower.py": ""}))
    kit.sdist(index.folder, "native", build_code="import lower")
    vllm.config(f"index: {index.url}\nplugins:\n  - {{name: native, source: pypi, build_isolation: false}}\n")
    vllm("build", check=True)
    for folder in ("overlays", "store", "sources"):
        shutil.move(vllm.home / folder, tmp_path / folder)

    done = vllm("switch", "1", check=True)

    assert "rebuilding it from its lock" in done.stderr
