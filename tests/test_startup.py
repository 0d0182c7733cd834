"""Installing the start-up hook into real bases, and taking it out again."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import replace as replace_rig
from pathlib import Path
from typing import TYPE_CHECKING, Any

import homes
import kit
import pytest
from homes import Rig

from envbuilder import hook_files, startup
from envbuilder.classes import replace
from envbuilder.errors import BaseError
from envbuilder.paths import HOOK
from envbuilder.report import Reporter

if TYPE_CHECKING:
    from collections.abc import Callable

as_root = pytest.mark.skipif(os.geteuid() != 0, reason="needs root, to give files to others")


@pytest.fixture
def rig(tmp_path: Path) -> Rig:
    """Give a venv base with pip, and a home with generation 1."""
    made = Rig.of(homes.vllm_base(tmp_path, python=sys.executable, pip=True), tmp_path / "h")
    made.generation(1, made.overlay("one"))
    return made


def listing(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*"))


class Listener(Reporter):
    """Keep the warnings."""

    def __init__(self) -> None:
        self.warnings: list[str] = []

    def warn(self, text: str) -> None:
        self.warnings.append(text)


def test_what_goes_in_comes_out_again(rig: Rig) -> None:
    before = listing(rig.base.prefix)

    installed = rig.install()
    written = sorted(set(listing(rig.base.prefix)) - set(before))
    removed = startup.uninstall(rig.facts)

    folders = {path for path in written if not (rig.base.prefix / path).suffix and "dist-info/" not in path}
    assert sorted(installed.files) == sorted(removed)
    assert {str(rig.base.prefix / path) for path in written} >= set(installed.files)
    assert len(written) - len(installed.files) <= len(folders) + 1
    assert listing(rig.base.prefix) == before
    assert startup.uninstall(rig.facts) == ()


@pytest.mark.parametrize("kind", kit.mostly_long(kit.KINDS, "venv", "system"))
def test_every_kind_of_base(tmp_path: Path, kind: str) -> None:
    base = homes.vllm_base(tmp_path, kind=kind, python=sys.executable)
    rig = Rig.of(base, tmp_path / "h")
    rig.generation(1, rig.overlay("one"))
    rig.install()

    assert rig.ask()["state"] == "active"
    startup.uninstall(rig.facts)
    assert "state" not in rig.ask()


def test_debians_python(tmp_path: Path) -> None:
    python = kit.debian_python()
    if python is None:
        pytest.skip("no Debian python here")
    rig = Rig.of(homes.vllm_base(tmp_path, kind="system", python=python), tmp_path / "h")
    rig.generation(1, rig.overlay("one"))
    rig.install()

    assert rig.ask()["state"] == "active"


def test_the_pth_is_one_line_and_everything_is_ascii_and_readable_for_all(rig: Rig) -> None:
    old = os.umask(0o077)
    try:
        installed = rig.install()
    finally:
        os.umask(old)

    assert (rig.base.purelib / "_vpm_env_hook.pth").read_bytes() == b"import _vpm_env_hook\n"
    for path in map(Path, installed.files):
        assert path.suffix == ".pyc" or path.read_bytes().isascii(), path
        assert path.stat().st_mode & 0o777 == 0o644, path
        assert path.parent.stat().st_mode & 0o055 == 0o055, path


def test_the_compiled_form_needs_no_times(rig: Rig) -> None:
    rig.install()
    compiled = hook_files.compiled(str(rig.base.purelib), HOOK)

    assert [Path(path).read_bytes()[4:8] for path in compiled] == [b"\1\0\0\0"] * 3
    source = rig.base.purelib / "_vpm_env_hook.py"
    source.write_text(source.read_text() + "raise SystemExit('compiled anew')\n")
    for flag in ("-B", "-O", "-OO"):
        assert rig.ask(flag)["state"] == "active"


def test_what_is_shown_is_what_is_written(rig: Rig) -> None:
    installed = rig.install(trust_owner=(7,))
    shown = startup.show(rig.facts, layout=rig.layout, profile="default", command=("/opt/vpm-env",), trust_owner=(7,))

    for path in map(Path, installed.files):
        if path.suffix != ".pyc" and path.name != "RECORD":
            assert shown[str(path)] == path.read_text()


def test_a_host_has_the_loader_without_vpm_env(rig: Rig) -> None:
    rig.install()

    assert (
        rig.start("-I", "-c", "from envbuilder.plugins import load_plugins_by_group as f; print(f('x'))").stdout
        == "{}\n"
    )


def test_a_package_of_that_name_in_the_base_is_left_alone(rig: Rig) -> None:
    package = rig.base.purelib / "envbuilder"
    package.mkdir()
    (package / "__init__.py").write_text("mine = True\n")
    rig.install()
    startup.uninstall(rig.facts)

    assert [path.name for path in package.iterdir() if path.name != "__pycache__"] == ["__init__.py"]


def test_a_generic_base_has_no_guard(tmp_path: Path) -> None:
    rig = Rig.of(kit.base(tmp_path / "base"), tmp_path / "h")
    rig.generation(1, rig.overlay("one", facts={"pip": "1"}))
    installed = rig.install()

    assert rig.ask()["state"] == "active"
    assert not [path for path in installed.files if "guard" in path or "entry_points" in path]


def test_installing_again_replaces_what_an_older_version_left(rig: Rig) -> None:
    rig.install()
    old = next(rig.base.purelib.glob("vpm_env_hook-*.dist-info"))
    record = (old / "RECORD").read_text().replace(old.name, "vpm_env_hook-0.0.1.dist-info")
    stale = rig.base.purelib / "__pycache__" / "_vpm_env_hook.cpython-39.pyc"
    stale.write_bytes(b"old")
    (old / "RECORD").write_text(record)
    old.rename(old.with_name("vpm_env_hook-0.0.1.dist-info"))

    rig.install()

    assert [path.name for path in rig.base.purelib.glob("vpm_env_hook-*")] == [old.name]
    assert not stale.exists()
    assert startup.inspect(rig.facts).intact
    assert rig.ask()["state"] == "active"


@pytest.mark.long
def test_pip_knows_it_and_can_remove_it(rig: Rig) -> None:
    before = kit.tree_hash(rig.base.prefix)
    rig.install()

    assert "No broken requirements" in rig.start("-m", "pip", "check").stdout
    assert "vpm-env-hook" in rig.start("-m", "pip", "list", "--disable-pip-version-check").stdout
    rig.base.run("-m", "pip", "uninstall", "--yes", "vpm-env-hook")
    assert "state" not in rig.ask()
    assert kit.tree_hash(rig.base.prefix) == before
    assert not list(rig.base.purelib.glob("*vpm_env*"))


def test_uv_can_remove_it(rig: Rig) -> None:
    from uv import find_uv_bin

    rig.install()
    command = [find_uv_bin(), "pip", "uninstall", "--no-config", "--python", rig.base.python, "vpm-env-hook"]
    subprocess.run(command, check=True, capture_output=True)

    assert "state" not in rig.ask()
    assert not list(rig.base.purelib.glob("*vpm_env*"))


def test_a_base_that_gets_ray_later_wants_its_hook_again(rig: Rig) -> None:
    rig.install()
    kit.dist_info(rig.base, "ray", "2.58.0")
    later = replace_rig(rig, facts=homes.described(rig.base))

    assert startup.inspect(later.facts).problems == ("the base has got Ray since, and it has no plugin for it",)
    later.install()
    assert startup.inspect(later.facts).intact


def test_a_changed_file_stays_and_is_told(rig: Rig) -> None:
    rig.install()
    guard = rig.base.purelib / "_vpm_env/guard.py"
    guard.write_text("mine = True\n")
    listener = Listener()

    assert startup.inspect(rig.facts).problems == ("`_vpm_env/guard.py` is not as it was written",)
    startup.uninstall(rig.facts, reporter=listener)

    assert guard.read_text() == "mine = True\n"
    assert [text for text in listener.warnings if str(guard) in text]
    assert "state" not in rig.ask()


def test_a_pth_with_other_lines_is_not_pulled_away(rig: Rig) -> None:
    rig.install()
    pth = rig.base.purelib / "_vpm_env_hook.pth"
    pth.write_text("import _vpm_env_hook\nimport mine\n")

    with pytest.raises(BaseError, match="was changed"):
        startup.uninstall(rig.facts)
    assert (rig.base.purelib / "_vpm_env_hook.py").exists()


def test_a_lost_record_takes_the_hook_out_of_action_all_the_same(rig: Rig) -> None:
    rig.install()
    homes.remove(next(rig.base.purelib.glob("vpm_env_hook-*")))
    listener = Listener()
    startup.uninstall(rig.facts, reporter=listener)

    assert "state" not in rig.ask()
    assert listener.warnings


def test_a_record_that_lists_strangers_harms_nobody(rig: Rig, tmp_path: Path) -> None:
    rig.install()
    record = next(rig.base.purelib.glob("vpm_env_hook-*/RECORD"))
    victims = [tmp_path / "victim", rig.base.purelib / "vllm" / "__init__.py"]
    victims[0].write_bytes(b"")
    lines = [
        f"{os.path.relpath(path, rig.base.purelib)},sha256={hook_files._hash(path.read_bytes())},0\n"
        for path in victims
    ]
    record.write_text(record.read_text() + "".join(lines))

    startup.uninstall(rig.facts)

    assert all(path.exists() for path in victims)


def changed_version(base: Any) -> Any:
    return replace(base, engine_version="9.9")


def changed_prefix(base: Any) -> Any:
    return replace(base, prefix="/elsewhere")


def changed_python(base: Any) -> Any:
    return replace(base, version="3.14.0")


@pytest.mark.parametrize(
    ("change", "words"),
    [(changed_version, "made for the base"), (changed_prefix, "/elsewhere"), (changed_python, "Python 3.14")],
)
def test_a_hook_for_another_base_is_told(rig: Rig, change: Callable[[Any], Any], words: str) -> None:
    rig.install()
    status = startup.inspect(change(rig.facts))

    assert status.installed
    assert not status.intact
    assert words in status.text


def test_inspect(rig: Rig) -> None:
    assert not startup.inspect(rig.facts).installed
    assert "not installed" in startup.inspect(rig.facts).text
    rig.install(trust_owner=(5,), trust_home=True)

    status = startup.inspect(rig.facts)

    assert (status.home, status.profile, status.base_key) == (str(rig.home), "default", rig.facts.key)
    assert (status.trust_owner, status.trust_home, status.intact) == ((5,), True, True)
    (rig.base.purelib / "_vpm_env/activate.py").write_text("not python (\n")
    assert not startup.inspect(rig.facts).intact


def test_a_folder_whose_pth_files_nobody_runs_is_refused_and_left_clean(rig: Rig, tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    base = replace(rig.facts, purelib=str(tmp_path / "elsewhere"))

    with pytest.raises(BaseError, match="does not run"):
        startup.install(base, layout=rig.layout, profile="default", command=())
    assert not [path for path in (tmp_path / "elsewhere").rglob("*") if path.is_file()]


@as_root
def test_a_folder_that_cannot_be_written_to_is_refused(rig: Rig) -> None:
    def attempt() -> str:
        try:
            startup.install(rig.facts, layout=rig.layout, profile="default", command=())
        except BaseError as error:
            return f"{error.message}; {error.hint}"
        return "went through"

    told = as_user(1000, attempt)

    assert "not writable" in told
    assert "vpm-env run" in told


@as_root
@pytest.mark.parametrize("exists", [True, False])
def test_a_home_of_somebody_else_under_roots_python_is_refused(rig: Rig, tmp_path: Path, exists: bool) -> None:
    (tmp_path / "foreign").mkdir()
    os.chown(tmp_path / "foreign", 4242, 4242)
    home = tmp_path / "foreign" if exists else tmp_path / "foreign" / "not" / "yet"

    with pytest.raises(BaseError, match="uid 4242") as caught:
        rig.install(home=home)
    assert "--trust-owner 4242" in str(caught.value.hint)
    assert not list(rig.base.purelib.glob("_vpm_env*"))
    rig.install(home=home, trust_owner=(4242,))


def as_user(uid: int, attempt: Callable[[], str]) -> str:
    """Call `attempt` in a fork that has become `uid`, and return what it returned."""
    reader, writer = os.pipe()
    child = os.fork()
    if not child:
        os.setgroups([])
        os.setgid(uid)
        os.setuid(uid)
        try:
            os.write(writer, attempt().encode())
        finally:
            os._exit(0)
    os.close(writer)
    with open(reader) as stream:
        told = stream.read()
    os.waitpid(child, 0)
    return told
