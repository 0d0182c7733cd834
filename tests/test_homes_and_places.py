"""Users without a home, containers where nothing may be written, homes of a later version, and others' settings."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import kit
import pytest
import stands

from envbuilder.paths import Layout
from envbuilder.scope import hand_over, make_home

if TYPE_CHECKING:
    from collections.abc import Iterator

    from stands import Stand

STRANGER = 54321
"""A user that no file of the machine knows, as platforms give to containers."""

NEEDED = "import envbuilder.cli, yaml, virtualenv, packaging, rich, uv; uv.find_uv_bin()"


def install_for_strangers(folder: Path) -> Path:
    """Make an environment that has vpm-env and that other users can run; skip where no interpreter lets them."""
    libraries = [str(kit.ROOT), *(path for path in sys.path if path.endswith("site-packages"))]
    for python in (sys.executable, "/usr/bin/python3"):
        venv = folder / f"tool-{len(list(folder.iterdir()))}"
        try:
            made = kit.base(venv, python=Path(python).resolve())
            (made.purelib / "vpm_env.pth").write_text("\n".join(libraries) + "\n")
            user = {"user": STRANGER, "group": STRANGER, "extra_groups": []}
            done = subprocess.run([made.python, "-c", NEEDED], cwd="/", check=False, capture_output=True, **user)
        except (OSError, AssertionError):
            continue
        if done.returncode == 0:
            return made.python
    return pytest.skip("no interpreter that other users can run vpm-env with")


@pytest.fixture(scope="module")
def public(uv_cache: Path) -> Iterator[Stand]:
    """Give a base, a config and an index that belong to root, and a vpm-env that runs as a stranger."""
    if os.geteuid() != 0:
        pytest.skip("needs root, to become others")
    folder = Path(tempfile.mkdtemp(prefix="vpm-env-places-"))
    folder.chmod(0o755)
    old = os.umask(0o022)
    try:
        python = install_for_strangers(folder)
        with stands.stand(folder, uv_cache, python=python.resolve()) as stand:
            for name in ("one", "two"):
                files = {f"{name}/__init__.py": f"def register(): print({name!r})\n"}
                stand.publish(name, files=files, entry_points={stands.GROUP: {name: f"{name}:register"}})
            yield replace(stand, vpm_env=replace(stand.vpm_env, python=str(python), uid=STRANGER))
    finally:
        os.umask(old)
        shutil.rmtree(folder)


@pytest.fixture
def registry(public: Stand) -> Iterator[Path]:
    """Give the stranger a home of vpm-env, the only folder that it may write to."""
    path = public.vpm_env.home
    path.mkdir()
    os.chown(path, STRANGER, STRANGER)
    yield path
    shutil.rmtree(path)


@pytest.mark.parametrize("home", kit.mostly_long([None, "/", "read-only"], "read-only"))
def test_a_user_without_a_home(public: Stand, registry: Path, home: str | None) -> None:
    named = str(public.folder / "home") if home == "read-only" else home
    env = {"HOME": named, "UV_CACHE_DIR": None}
    before = kit.tree_hash(public.folder / "home")
    public.config("one")
    public("build", env=env)
    public.config("two")
    public("build", env=env)

    status = public("status", "--json", env=env, check=False)
    back = public("rollback", env=env)
    run = public("run", "--", "vllm", env=env)

    assert status.json["current"]["number"] == 2
    assert "rolled back to generation 1" in back.stderr
    assert run.stdout.startswith("one\n")
    assert kit.tree_hash(public.folder / "home") == before
    assert not Path("/.cache").exists()
    assert not Path("/.local").exists()


def test_without_any_home_it_is_said_which_variable_helps(public: Stand) -> None:
    done = public("status", env={"HOME": None, "VPM_ENV_HOME": None}, check=False)

    assert done.exit == 1
    assert done.stderr.startswith("error: no home")
    assert "`VPM_ENV_HOME`" in done.stderr


@pytest.mark.long
@pytest.mark.parametrize("mode", kit.mostly_long([0o755, 0o1777], 0o755))
def test_where_nothing_but_the_home_may_be_written(public: Stand, registry: Path, mode: int) -> None:
    """A container whose file system is read-only, with a volume: the stranger's own, or one open to all."""
    if mode != 0o755:
        os.chown(registry, 0, 0)
    registry.chmod(mode)
    public.config("one")
    before = [kit.tree_hash(public.folder / name) for name in ("base", "work", "home")]
    env = {"HOME": "/", "TMPDIR": str(public.folder / "home"), "UV_CACHE_DIR": str(public.folder / "home" / "uv")}

    public("build", env=env)
    again = public("build", "--json", env=env)
    locked = public("build", "--locked", "--force", "--json", env=env)
    hook = public("hook", "install", env=env, check=False)
    status = public("status", env=env, check=False)
    run = public("run", "--", "vllm", env=env)

    (lock,) = registry.glob("profiles/default/*/pylock.plugins.toml")
    assert 'name = "one"' in lock.read_text()
    assert again.json["result"] == locked.json["result"] == "unchanged"
    assert hook.exit == 1
    assert "`vpm-env run -- COMMAND`" in hook.stderr
    assert (status.exit, "vpm-env run -- COMMAND" in status.stdout + status.stderr) == (1, True)
    assert run.stdout.startswith("one\n")
    assert [kit.tree_hash(public.folder / name) for name in ("base", "work", "home")] == before


def test_a_home_that_may_not_be_written_is_told(public: Stand) -> None:
    public.config("one")

    done = public("build", env={"VPM_ENV_HOME": str(public.folder / "nowhere")}, check=False)

    assert done.exit == 1
    assert "cannot be written" in done.stderr
    assert "`VPM_ENV_HOME`" in done.stderr


@pytest.mark.long
def test_in_somebody_elses_home_one_may_look_and_is_told_why_no_more(public: Stand, registry: Path) -> None:
    owner = replace(public, vpm_env=replace(public.vpm_env, uid=None))
    os.chown(registry, 0, 0)
    for name in ("one", "two"):
        public.config(name)
        owner("build")
    public.config("one", "two")

    for verb in ("build", "rollback", "gc"):
        done = public(verb, check=False)
        assert (done.exit, done.stdout) == (1, "")
        assert "permission denied\n\nhint: run it as the owner" in done.stderr
    assert public("history", "--json").json["current"] == 2
    assert public("run", "--", "vllm").stdout.startswith("two\n")
    before = kit.tree_hash(registry)
    planned = public("build", "--dry-run", "--json").json
    assert {change["name"]: change["before"] for change in planned["changes"]} == {"one": None}
    assert planned["digest"], "it is known, for what the home has is borrowed"
    (checked,) = public("check", "--json").json["bases"]
    assert checked["packages"] == {"one": "1.0", "two": "1.0"}
    assert [row["name"] for row in public("outdated", "--json").json["packages"]] == ["two"]
    assert public("gc", "--dry-run", "--json").json["generations"] == []
    assert public("gc", "--why", "1").stdout.startswith("overlay")
    assert public("verify", "--json").json["damage"] == []
    assert str(registry / "store") in public("uninstall", "--dry-run").stderr
    assert kit.tree_hash(registry) == before
    assert not list(Path("/tmp").glob("*-????????????/home")), "homes for a moment are gone"


@pytest.mark.long
def test_a_hook_for_somebody_elses_home_leaves_that_theirs(public: Stand, registry: Path) -> None:
    """Root prepares the image, and the home is the volume of the user who will serve."""
    root = replace(public, vpm_env=replace(public.vpm_env, uid=None))
    public.config("one")
    try:
        root("hook", "install", "--trust-owner", str(STRANGER))
        made = {path.name: path.stat().st_uid for path in registry.iterdir() if path.is_dir()}
        public("build")
        status = public("status", check=False)
    finally:
        root("hook", "uninstall")

    assert made.keys() >= {"store", "overlays", "profiles", "cache"}
    assert set(made.values()) == {STRANGER}
    assert status.stdout.startswith("a new engine process gets generation 1 ("), status.output


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a folder away")
def test_the_folders_of_a_home_are_given_only_to_an_owner_who_is_named(tmp_path: Path) -> None:
    """Whoever trusts a volume as such, and not its owner, trusts only what is their own in it."""
    layout = Layout(str(tmp_path / "home"))
    make_home(layout)
    (tmp_path / "home" / "cache" / "bases").mkdir(parents=True)
    (tmp_path / "home" / "trash").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "elsewhere").mkdir()
    os.chown(layout.home, STRANGER, STRANGER + 1)
    folders = [layout.store, layout.profiles, layout.cache, f"{layout.cache}/bases"]

    hand_over(layout, (STRANGER + 1,))
    before = {os.stat(path).st_uid for path in folders}
    hand_over(layout, (1, STRANGER))

    assert before == {0}
    assert {(os.stat(path).st_uid, os.stat(path).st_gid) for path in folders} == {(STRANGER, STRANGER + 1)}
    assert (tmp_path / "elsewhere").stat().st_uid == 0


@pytest.fixture(scope="module")
def stand(tmp_path_factory: pytest.TempPathFactory, uv_cache: Path) -> Iterator[Stand]:
    """Give a base, and one plugin in two versions."""
    with stands.stand(tmp_path_factory.mktemp("places"), uv_cache) as made:
        made.publish("one", "1.0")
        made.publish("one", "2.0")
        yield made


VERBS = (
    ("build",),
    ("rollback",),
    ("switch", "1"),
    ("status",),
    ("history",),
    ("list",),
    ("path",),
    ("hook", "install"),
    ("run", "--", "true"),
    ("gc",),
    ("verify",),
    ("uninstall",),
)


def test_a_home_of_a_later_version_is_left_alone(stand: Stand, tmp_path: Path) -> None:
    stand.config("one")
    home = tmp_path / "later"
    home.mkdir()
    (home / "format").write_text("99\n")
    (home / "store").mkdir()
    before = kit.tree_hash(home)

    for verb in VERBS:
        at = verb.index("--") if "--" in verb else len(verb)
        done = stand(*verb[:at], "--home", home, *verb[at:], check=False)
        lines = [line for line in done.stderr.splitlines() if line]
        assert done.exit == 1, verb
        assert lines[0] == f"error: the home `{home}` has format 99; this vpm-env knows up to 1", done.output
        assert len(lines) == 2, done.output
        assert lines[1].startswith("hint: upgrade vpm-env")
    assert kit.tree_hash(home) == before
    assert not list(stand.base.purelib.glob("*vpm_env*"))


@pytest.mark.long
def test_an_override_cannot_break_the_vpm_env_of_its_own_base(tmp_path: Path, uv_cache: Path) -> None:
    """vpm-env lives in the base, a set overrides a library of vpm-env with a broken one, and the way back works."""
    with stands.stand(tmp_path, uv_cache) as stand:
        libraries = [str(kit.ROOT), *(path for path in sys.path if path.endswith("site-packages"))]
        (stand.base.purelib / "libraries.pth").write_text("\n".join(libraries) + "\n")
        script = {"console_scripts": {"vpm-env": "envbuilder.__main__:main"}}
        kit.install(stand.base, kit.wheel(tmp_path, "vpm-env-here", files={}, entry_points=script))
        stand.publish("one")
        stand.publish("rich", "99.0", files={"rich/__init__.py": "raise RuntimeError('broken')\n"})
        stand("hook", "install")
        stand.build("one")
        entries = "".join(f"  - {{name: {name}, source: pypi, package: {name}}}\n" for name in ("one", "rich"))
        stand.vpm_env.config(f"index: {stand.index.url}\nplugins:\n{entries}override: [rich]\n")
        own = {"VPM_ENV_HOME": str(stand.vpm_env.home), "VPM_ENV_BASE": str(stand.base.python)}
        stand("build")
        broken = [stand.run(stand.base.python, "-c", "import rich", check=False)]
        inner = stand.overlay / "bin" / "vpm-env"

        ways = [(stand.base.scripts / "vpm-env",), (stand.base.python, "-m", "envbuilder"), (inner,)]
        for way in ways:
            stand("switch", "2")
            done = stand.run(*way, "rollback", env=own)
            assert "rolled back to generation 1" in done.stderr, way
            assert stand.run(stand.base.python, "-c", "import rich").stderr == ""
        stand("switch", "2")
        broken += [stand.run("sh", "-c", "exec vpm-env run -- vpm-env status", env=own | path_of(stand), check=False)]

    assert "broken" in broken[0].stderr
    assert "a new engine process gets generation 2" in broken[1].stdout


def path_of(stand: Stand) -> dict[str, str]:
    return {"PATH": f"{stand.base.scripts}{os.pathsep}{stand.env['PATH']}"}


@pytest.mark.long
def test_the_users_settings_of_virtualenv_change_nothing(stand: Stand) -> None:
    file = stand.folder / "home" / ".config" / "virtualenv" / "virtualenv.ini"
    file.parent.mkdir(parents=True)
    file.write_text("[virtualenv]\ncopies = true\nprompt = mine\n")
    stand.config("one")

    stand("build")

    assert (stand.overlay / "bin" / "python").is_symlink()


UV_SETTINGS = """\
no-index = true
offline = true
resolution = "lowest"
exclude-newer = "2001-01-01T00:00:00Z"
cache-dir = "{folder}/cache"
"""
PYPROJECT = """\
[project]
name = "bystander"
version = "1.0"
requires-python = ">=4"
dependencies = ["one==1.0"]

[tool.uv]
override-dependencies = ["one==1.0"]
constraint-dependencies = ["one==1.0"]

[tool.uv.sources]
one = {{ path = "nowhere" }}

[tool.uv.pip]
no-index = true
"""


@pytest.mark.parametrize(("name", "text"), [("uv.toml", UV_SETTINGS), ("pyproject.toml", PYPROJECT)])
def test_settings_of_uv_in_the_working_directory_change_nothing(stand: Stand, name: str, text: str) -> None:
    file = stand.vpm_env.folder / name
    file.write_text(text.format(folder=stand.folder))
    stand.config("one")
    try:
        home = stand.folder / f"home-of-{name}"
        built = stand("build", "--json", "--home", home)
    finally:
        file.unlink()
        (stand.vpm_env.folder / "pylock.plugins.toml").unlink(missing_ok=True)

    assert [(change["name"], change["after"]) for change in built.json["changes"]] == [("one", "2.0")]
    assert not (stand.folder / "cache").exists()
