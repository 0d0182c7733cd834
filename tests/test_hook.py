"""What the start-up hook does in a base's interpreter: real venvs and prefixes, real children, homes made by hand."""

from __future__ import annotations

import fcntl
import json
import os
import subprocess
import sys
import tempfile
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import homes
import kit
import pytest
from homes import Rig

from envbuilder import _activate, flocks

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

VERSION = "{}.{}".format(*sys.version_info)
KINDS = ("venv", "system")
as_root = pytest.mark.skipif(os.geteuid() != 0, reason="needs root, to give files to others")


@pytest.fixture(scope="session")
def shelf(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str, str], kit.Base]:
    """Make each kind of base once a run."""

    @cache
    def made(version: str, kind: str) -> kit.Base:
        if version not in kit.pythons():
            pytest.skip(f"no Python {version} here")
        return homes.vllm_base(tmp_path_factory.mktemp(f"py{version}"), kind=kind, python=kit.pythons()[version])

    return made


@pytest.fixture
def rig(shelf: Callable[[str, str], kit.Base], tmp_path: Path) -> Rig:
    """Give a venv base on this Python, without a hook."""
    return Rig.of(shelf(VERSION, "venv"), tmp_path / "h")


@pytest.fixture
def active(rig: Rig) -> Rig:
    """Give a hooked base with generation 1, `one`, current."""
    rig.generation(1, rig.overlay("one", "plug", "late"))
    rig.install()
    return rig


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("version", kit.mostly_long(kit.VERSIONS, VERSION))
def test_current_is_active_on_every_python(shelf: Any, tmp_path: Path, version: str, kind: str) -> None:
    rig = Rig.of(shelf(version, kind), tmp_path / "h")
    (rig.base.purelib / "comment.pth").write_text("# what a first .pth costs is not ours\n")
    bare = rig.ask()
    digest = rig.overlay("one")
    rig.generation(7, digest)
    rig.install()

    told = rig.ask()

    assert (told["state"], told["generation"], told["digest"]) == ("active", 7, digest)
    assert told["path"] == [*bare["path"], rig.site(digest)]
    assert set(told["modules"]) - set(bare["modules"]) == {"_vpm_env_hook"}
    assert (told["pin"], told["lease"]) == (None, None)
    assert rig.start("-c", "import plug; print(plug.VALUE)").stdout == "one\n"
    for flag in ("-I", "-E", "-s", "-O", "-OO"):
        assert rig.ask(flag)["state"] == "active", flag
    assert "state" not in rig.ask("-S")
    assert rig.ask(env={"VPM_ENV_DISABLE": "1"})["path"] == bare["path"]


@pytest.mark.parametrize("customized", [False, True])
@pytest.mark.parametrize("version", kit.mostly_long(kit.VERSIONS, VERSION))
def test_the_overlays_finder_is_pythons_own(shelf: Any, tmp_path: Path, version: str, customized: bool) -> None:
    """Whatever Python looks for first: `site` finds a `sitecustomize` elsewhere, or none."""
    rig = Rig.of(shelf(version, "venv"), tmp_path / "h")
    digest = rig.overlay("one", "plug", "late")
    rig.generation(1, digest)
    rig.install()
    if customized:
        (tmp_path / "sitecustomize.py").write_text("")
    code = """
import pkgutil, sys
folder, base = sys.argv[1:]
finder = sys.path_importer_cache[folder]
print(type(finder) is type(sys.path_importer_cache[base]), "find_spec" in vars(finder))
print(sorted(found.name for found in pkgutil.iter_modules([folder])))
try:
    import nothing
except ImportError:
    import plug, late
print(plug.VALUE, finder is sys.path_importer_cache[folder], "find_spec" in vars(finder), plug.__file__)
"""
    done = rig.start(
        "-c", code, rig.site(digest), str(rig.base.purelib), env={"PYTHONPATH": str(tmp_path) if customized else ""}
    )

    assert done.stdout.splitlines() == [
        f"True {customized}",
        "['late', 'plug']",
        f"one True False {rig.site(digest)}/plug.py",
    ]


@pytest.mark.parametrize(("value", "state"), [("1", "disabled"), ("yes", "disabled"), ("0", "active"), ("", "active")])
def test_the_off_switch(active: Rig, value: str, state: str) -> None:
    assert active.ask(env={"VPM_ENV_DISABLE": value})["state"] == state
    assert active.ask("-I", env={"VPM_ENV_DISABLE": value})["state"] == state


def test_a_venv_over_the_base_is_not_the_base(shelf: Any, tmp_path: Path) -> None:
    rig = Rig.of(shelf(VERSION, "system"), tmp_path / "h")
    rig.generation(1, rig.overlay("one"))
    rig.install()
    subprocess.run(
        [rig.base.python, "-I", "-m", "venv", "--without-pip", "--system-site-packages", tmp_path / "v"],
        check=True,
        env={**os.environ, **rig.base.env},
    )
    rig.base = kit.describe(tmp_path / "v" / "bin" / "python", env=rig.base.env)

    assert rig.ask()["state"] == "other-prefix"


def test_the_base_by_another_path_is_the_base(active: Rig, tmp_path: Path) -> None:
    (tmp_path / "alias").symlink_to(active.base.prefix)
    done = subprocess.run([tmp_path / "alias/bin/python", "-c", homes.ASK], capture_output=True, text=True, check=True)

    told = json.loads(done.stdout)
    assert told["state"] == "active"


@pytest.mark.parametrize(
    "name",
    kit.mostly_long(
        ["pip", "pip3.11", "pip.pyz", "__pip-runner__.py", "virtualenv", "uv", "vpm-env"], "pip3.11", "vpm-env"
    ),
)
def test_installers_see_the_bare_base(active: Rig, name: str) -> None:
    assert active.run_script(name)["state"] == "installer"


@pytest.mark.parametrize("name", kit.mostly_long(["pip", "ensurepip", "venv", "uv", "envbuilder"], "pip"))
def test_installers_run_as_modules_see_the_bare_base(active: Rig, tmp_path: Path, name: str) -> None:
    (tmp_path / name).mkdir()
    (tmp_path / name / "__init__.py").write_text("")
    (tmp_path / name / "__main__.py").write_text(homes.ASK)

    told = json.loads(active.start("-W", "ignore", "-m", name, cwd=tmp_path).stdout)

    assert told["state"] == "installer"


@pytest.mark.parametrize("name", kit.mostly_long(["pipeline.py", "uvicorn", "venvs.py", "3", "pip-audit"], "pip-audit"))
def test_other_programs_are_no_installers(active: Rig, name: str) -> None:
    assert active.run_script(name)["state"] == "active"


def remove_home(rig: Rig) -> None:
    homes.remove(rig.home)


def home_is_a_file(rig: Rig) -> None:
    homes.remove(rig.home)
    rig.home.write_text("")


def home_is_a_loop(rig: Rig) -> None:
    homes.remove(rig.home)
    rig.home.symlink_to(rig.home)


def no_current(rig: Rig) -> None:
    (rig.profile / "current").unlink()


def dangling_current(rig: Rig) -> None:
    rig.generation(2, "f" * 64)


def collected_generation(rig: Rig) -> None:
    (rig.profile / "generations" / "1").unlink()


def current_is_a_file(rig: Rig) -> None:
    no_current(rig)
    (rig.profile / "current").write_text("generations/1")


def current_leads_out(rig: Rig) -> None:
    no_current(rig)
    (rig.profile / "current").symlink_to("/etc")


def current_is_no_number(rig: Rig) -> None:
    no_current(rig)
    (rig.profile / "current").symlink_to("generations/../../..")


def generation_leads_out(rig: Rig) -> None:
    (rig.profile / "generations" / "1").unlink()
    (rig.profile / "generations" / "1").symlink_to("/tmp/" + "f" * 64)


def unfinished_overlay(rig: Rig) -> None:
    next(rig.home.glob("overlays/*/*/overlay.json")).unlink()


def newer_format(rig: Rig) -> None:
    (rig.home / "format").write_text("2\n")


def corrupt_format(rig: Rig) -> None:
    (rig.home / "format").write_bytes(b"\xff\0")


def format_is_a_pipe(rig: Rig) -> None:
    (rig.home / "format").unlink()
    os.mkfifo(rig.home / "format")


def format_is_a_folder(rig: Rig) -> None:
    (rig.home / "format").unlink()
    (rig.home / "format").mkdir()


def engine_is_gone(rig: Rig) -> None:
    dist_info = next(rig.base.purelib.glob("vllm-*.dist-info"))
    dist_info.rename(rig.base.purelib / "vllm-9.dist-info")


def open_to_all(rig: Rig) -> None:
    (rig.home / "overlays").chmod(0o777)


@pytest.mark.parametrize(
    ("damage", "state"),
    [
        (remove_home, "no-generation"),
        (home_is_a_file, "error"),
        (home_is_a_loop, "error"),
        (no_current, "no-generation"),
        (dangling_current, "invalid"),
        (collected_generation, "invalid"),
        (current_is_a_file, "invalid"),
        (current_leads_out, "invalid"),
        (current_is_no_number, "invalid"),
        (generation_leads_out, "invalid"),
        (unfinished_overlay, "invalid"),
        (newer_format, "newer-format"),
        (corrupt_format, "invalid"),
        (format_is_a_pipe, "invalid"),
        (format_is_a_folder, "error"),
        (engine_is_gone, "base-changed"),
        (open_to_all, "untrusted"),
    ],
)
def test_python_starts_whatever_the_home_is_like(active: Rig, damage: Callable[[Rig], None], state: str) -> None:
    bare = active.ask(env={"VPM_ENV_DISABLE": "1"})
    damage(active)
    try:
        told = active.ask()
    finally:
        for dist_info in active.base.purelib.glob("vllm-9.dist-info"):
            dist_info.rename(active.base.purelib / "vllm-0.33.0.dist-info")

    assert told["state"] == state
    assert told["reason"]
    assert told["path"] == bare["path"]
    assert set(told["modules"]) - set(bare["modules"]) <= {"_vpm_env", "_vpm_env.activate"}


def test_debug_says_one_line(active: Rig) -> None:
    done = subprocess.run(
        [active.base.python, "-c", ""],
        env={**os.environ, "VPM_ENV_DEBUG": "1"},
        capture_output=True,
        text=True,
        check=True,
    )

    assert done.stderr.startswith("vpm-env: hook: active: ")
    assert done.stderr.count("\n") == 1


def test_debug_with_nobody_to_tell(active: Rig) -> None:
    done = subprocess.run(
        ["/bin/sh", "-c", f"exec {active.base.python} -c 'print(1)' 2>&-"],
        env={**os.environ, "VPM_ENV_DEBUG": "1"},
        capture_output=True,
        text=True,
        check=True,
    )

    assert done.stdout == "1\n"


@pytest.mark.parametrize("name", kit.mostly_long(["ä ö", "quote'\"\\", "new\nline"], "new\nline"))
def test_homes_of_any_name(rig: Rig, tmp_path: Path, name: str) -> None:
    rig.home = tmp_path / name
    rig.generation(1, rig.overlay("one"))
    rig.install()

    assert rig.ask(env={"LC_ALL": "C"})["state"] == "active"
    assert (rig.base.purelib / "_vpm_env_hook.py").read_bytes().isascii()


def test_override_goes_before_the_base(active: Rig) -> None:
    (active.base.purelib / "shared.py").write_text("VALUE = 'base'")
    active.generation(2, active.overlay("two", "shared", override=True))

    told = active.ask()
    value = active.start("-c", "import shared; print(shared.VALUE)").stdout
    in_path = active.start("-c", "import shared; print(shared.VALUE)", env={"PYTHONPATH": str(active.base.purelib)})
    (active.base.purelib / "shared.py").unlink()

    override = next(path for path in told["path"] if path.endswith("/override"))
    assert told["path"].index(override) + 1 == told["path"].index(str(active.base.purelib))
    assert (value, in_path.stdout) == ("two\n", "base\n")


def test_a_pin_names_the_overlay(active: Rig) -> None:
    digest = active.overlay("two")
    told = active.ask(env={"VPM_ENV_PIN": active.pin(digest)})

    assert (told["state"], told["digest"], told["generation"]) == ("active", digest, None)
    assert told["pinned"]
    assert told["lease"] is not None


@pytest.mark.parametrize("flag", ["-I", "-E"])
def test_an_isolated_child_has_the_set_of_its_process_tree(active: Rig, flag: str) -> None:
    digest = active.overlay("another")
    told = active.ask(flag, env={"VPM_ENV_PIN": active.pin(digest), "VPM_ENV_PROFILE": "other"})

    assert (told["state"], told["digest"]) == ("active", digest)


def test_a_pin_of_another_base_is_ignored(active: Rig) -> None:
    told = active.ask(env={"VPM_ENV_PIN": "0" * 12 + ":" + "f" * 64})

    assert (told["state"], told["generation"], told["lease"]) == ("active", 1, None)


def test_a_missing_pin_is_an_error_and_not_another_set(active: Rig) -> None:
    told = active.ask(env={"VPM_ENV_PIN": active.pin("f" * 64)})

    assert told["state"] == "pin-missing"
    assert not [path for path in told["path"] if str(active.home) in path]


@pytest.mark.parametrize("digest", kit.mostly_long(["..", "f" * 63, "F" * 64, "/" + "f" * 63, ""], "..", ""))
def test_a_pin_is_a_digest_and_never_a_path(active: Rig, digest: str) -> None:
    assert active.ask(env={"VPM_ENV_PIN": active.pin(digest)})["state"] == "invalid"


def test_another_profile_of_the_home(active: Rig) -> None:
    active.generation(3, active.overlay("three"), profile="night")

    assert active.ask(env={"VPM_ENV_PROFILE": "night"})["generation"] == 3
    assert active.ask(env={"VPM_ENV_PROFILE": "day"})["state"] == "no-generation"


@pytest.mark.parametrize("name", kit.mostly_long(["..", "../default", "a/b", "-x", ".x", "ü"], "../default"))
def test_a_profile_is_a_name_and_never_a_path(active: Rig, name: str) -> None:
    assert active.ask(env={"VPM_ENV_PROFILE": name})["state"] == "invalid"


@pytest.mark.parametrize(
    ("argv", "expected"),
    [
        ([], (False, "")),
        (["python"], (False, "")),
        (["python", "-c", "code", "vllm"], (False, "")),
        (["python", "/x/bin/vllm", "serve"], (False, "/x/bin/vllm")),
        (["python", "-u", "-X", "dev", "-Wignore", "vllm"], (False, "vllm")),
        (["python", "-uX", "dev", "--check-hash-based-pycs", "always", "vllm"], (False, "vllm")),
        (["python", "-m", "vllm.entrypoints"], (True, "vllm.entrypoints")),
        (["python", "-um", "pip"], (True, "pip")),
        (["python", "-mpip", "list"], (True, "pip")),
        (["python", "-IcX"], (False, "")),
        (["python", "--", "-m"], (False, "-m")),
        (["python", "-"], (False, "-")),
        (["python", "-m"], (True, "")),
    ],
)
def test_what_an_interpreter_runs(argv: list[str], expected: tuple[bool, str]) -> None:
    assert _activate.program_of(argv) == expected


@pytest.mark.parametrize("flags", [(), ("-u",), ("-X", "dev"), ("-I",)])
def test_the_engines_script_pins_its_tree(active: Rig, flags: tuple[str, ...]) -> None:
    told = active.run_script("vllm", homes.ASK, *flags)

    assert told["pin"] == active.pin(told["digest"])
    assert (told["state"], told["generation"], told["pinned"]) == ("active", 1, False)
    assert told["lease"] is not None


def test_the_engines_module_pins_its_tree(active: Rig, tmp_path: Path) -> None:
    (tmp_path / "vllm" / "entrypoints").mkdir(parents=True)
    (tmp_path / "vllm" / "__init__.py").write_text("")
    (tmp_path / "vllm" / "entrypoints" / "server.py").write_text(homes.ASK)

    told = json.loads(active.start("-m", "vllm.entrypoints.server", cwd=tmp_path).stdout)

    assert told["pin"] == active.pin(told["digest"])


@pytest.mark.parametrize("name", ["supervisor.py", "vllm-supervisor", "vllm.py"])
def test_a_supervisor_is_not_pinned(active: Rig, name: str) -> None:
    told = active.run_script(name)

    assert (told["state"], told["pin"], told["lease"]) == ("active", None, None)


TREE = """
import json, multiprocessing, os, subprocess, sys

def values():
    import plug, late
    return [plug.VALUE, late.VALUE]

def child(queue):
    queue.put(values())

def started(method):
    context = multiprocessing.get_context(method)
    queue = context.SimpleQueue()
    process = context.Process(target=child, args=(queue,))
    process.start()
    told = queue.get()
    process.join()
    return told

if __name__ == "__main__":
    import plug
    profile = sys.argv[1]
    os.symlink("generations/2", profile + "/new")
    os.replace(profile + "/new", profile + "/current")
    code = "import json, plug, late; print(json.dumps([plug.VALUE, late.VALUE]))"
    told = {method: started(method) for method in ("spawn", "forkserver", "fork")}
    told["subprocess"] = json.loads(subprocess.check_output([sys.executable, "-c", code]))
    told["parent"] = values()
    print(json.dumps(told))
"""


def run_tree(rig: Rig, name: str) -> dict[str, list[str]]:
    rig.generation(2, rig.overlay("two", "plug", "late"), switch=False)
    folder = rig.home.parent / "scripts"
    folder.mkdir(exist_ok=True)
    (folder / name).write_text(TREE)
    return dict(json.loads(rig.start(folder / name, rig.profile).stdout))


@pytest.mark.parametrize("version", kit.mostly_long(kit.VERSIONS, VERSION))
def test_a_switch_never_mixes_two_sets_in_an_engines_tree(shelf: Any, tmp_path: Path, version: str) -> None:
    rig = Rig.of(shelf(version, "venv"), tmp_path / "h")
    rig.generation(1, rig.overlay("one", "plug", "late"))
    rig.install()

    told = run_tree(rig, "vllm")

    assert told == dict.fromkeys(("spawn", "forkserver", "fork", "subprocess", "parent"), ["one", "one"])
    assert rig.start("-c", "import plug; print(plug.VALUE)").stdout == "two\n"


def test_what_a_supervisor_starts_after_a_switch_has_the_new_set(active: Rig) -> None:
    told = run_tree(active, "supervisor.py")

    assert told["subprocess"] == ["two", "two"]
    assert told["parent"] == ["one", "one"]
    assert told["fork"] == ["one", "one"]


def test_the_lease_lasts_as_long_as_the_process(active: Rig) -> None:
    lease = next(active.home.glob("overlays/*/*/.lease"))
    script = active.home.parent / "vllm"
    script.write_text("print(flush=True)\ninput()")
    with subprocess.Popen([active.base.python, script], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as engine:
        assert engine.stdout is not None
        engine.stdout.readline()
        while_alive = flocks.try_exclusive(lease)
        engine.communicate(b"\n")
    after = flocks.try_exclusive(lease)

    assert while_alive is None
    assert after is not None
    after.close()


def test_a_lease_that_somebody_keeps_to_himself_holds_nobody_up(active: Rig) -> None:
    with next(active.home.glob("overlays/*/*/.lease")).open() as lease:
        fcntl.flock(lease, fcntl.LOCK_EX)
        told = active.run_script("vllm")

    assert (told["state"], told["lease"]) == ("active", None)


def test_an_overlays_own_python_is_taken_note_of(active: Rig) -> None:
    digest = active.overlay("two")
    overlay = Path(active.layout.overlay(active.facts.key, digest))
    subprocess.run([active.base.python, "-I", "-m", "venv", "--without-pip", overlay], check=True)
    Path(active.site(digest), "_base.pth").write_text(f"import site; site.addsitedir({str(active.base.purelib)!r})\n")
    active.base = kit.describe(overlay / "bin" / "python")

    told = active.ask()

    assert (told["state"], told["digest"], told["overlay"]) == ("active", digest, str(overlay))
    assert told["path"].count(active.site(digest)) == 1
    assert len([path for path in told["path"] if "/overlays/" in path]) == 1


TOP = ("overlays", "store", "profiles")
INSIDE = ("overlays/*", "overlays/*/*", "profiles/*", "profiles/*/*", "profiles/*/*/generations")
CLOSELY = {"VPM_ENV_PROFILE": "default"}
"""Anything out of the ordinary makes the hook look at every folder; in the plain case those at the top tell."""


@as_root
@pytest.mark.parametrize("name", kit.mostly_long([".", *TOP, *INSIDE], ".", INSIDE[0]))
def test_a_strangers_folder_is_refused(active: Rig, name: str) -> None:
    path = active.home if name == "." else next(active.home.glob(name))
    os.chown(path, 4242, 4242)

    assert active.ask(env=CLOSELY)["state"] == "untrusted"
    assert active.ask()["state"] == ("active" if name in INSIDE else "untrusted")
    active.install(trust_owner=(4242,))
    assert active.ask(env=CLOSELY)["state"] == "active"
    assert active.ask()["state"] == "active"


@as_root
def test_a_home_that_anybody_may_own(active: Rig) -> None:
    os.chown(active.home, 4242, 4242)
    active.home.chmod(0o777)
    active.install(trust_home=True)

    assert active.ask()["state"] == "active"
    (active.home / "store").chmod(0o777)
    assert active.ask()["state"] == "untrusted"


@pytest.mark.parametrize("name", kit.mostly_long([*TOP, *INSIDE], TOP[0], INSIDE[0]))
@pytest.mark.parametrize("mode", kit.mostly_long([0o757, 0o777, 0o1777], 0o777))
def test_a_folder_that_strangers_may_write_to_is_refused(active: Rig, name: str, mode: int) -> None:
    next(active.home.glob(name)).chmod(mode)

    assert active.ask(env=CLOSELY)["state"] == "untrusted"
    assert active.ask()["state"] == ("active" if name in INSIDE else "untrusted")


@pytest.mark.parametrize("variables", [{}, CLOSELY])
def test_the_plain_way_and_the_long_way_agree(active: Rig, variables: dict[str, str]) -> None:
    """Whatever differs is what the long way says more."""
    told = active.ask(env=variables)
    names = ("state", "reason", "digest", "generation", "overlay", "path", "pin", "lease")

    assert {name: told[name] for name in names} == {name: active.ask(env=CLOSELY)[name] for name in names}
    assert ("_vpm_env.activate" in told["modules"]) == bool(variables)


@pytest.mark.parametrize(("mode", "state"), [(0o777, "untrusted"), (0o1777, "active"), (0o755, "active")])
def test_a_home_that_strangers_may_write_to(active: Rig, mode: int, state: str) -> None:
    active.home.chmod(mode)

    assert active.ask()["state"] == state


def reachable_python() -> Path | None:
    """Find an interpreter that other users can start too."""
    for python in (*kit.pythons().values(), Path("/usr/bin/python3")):
        try:
            done = subprocess.run([python, "-I", "-c", "import venv"], user=1000, group=0, cwd="/", check=False)
        except OSError:
            continue
        if done.returncode == 0:
            return python
    return None


@pytest.fixture
def public(request: pytest.FixtureRequest) -> Iterator[Rig]:
    """Give a base and a home that other users can reach."""
    if os.geteuid() != 0:
        pytest.skip("needs root, to become others")
    python = reachable_python()
    if python is None:
        pytest.skip("no interpreter that other users can start")
    folder = Path(tempfile.mkdtemp(prefix="vpm-env-hook-"))
    folder.chmod(0o755)
    old = os.umask(0o022)
    try:
        rig = Rig.of(homes.vllm_base(folder, python=python), folder / "h")
        rig.generation(1, rig.overlay("one"))
        yield rig
    finally:
        os.umask(old)
        homes.remove(folder)


def state_as(rig: Rig, uid: int, gid: int, *groups: int) -> str:
    return str(rig.ask(user=uid, group=gid, extra_groups=list(groups))["state"])


def test_a_home_that_root_built_is_everybodys(public: Rig) -> None:
    public.install()

    assert state_as(public, 1000, 1000) == "active"
    assert state_as(public, 1000, 0) == "active"


def test_ones_own_home_is_not_roots(public: Rig) -> None:
    public.install()
    homes.give(public.home, uid=1000, gid=1000)

    assert state_as(public, 1000, 1000) == "active"
    assert state_as(public, 1001, 1001) == "untrusted"
    assert public.ask()["state"] == "untrusted"


def test_openshift(public: Rig) -> None:
    """A random uid of group root made it, and may write to it by its group."""
    public.install()
    homes.give(public.home, uid=1000620000, gid=0, mode=0o775)

    assert state_as(public, 1000620000, 0) == "active"
    assert state_as(public, 1000, 1000) == "untrusted"


def test_fs_group(public: Rig) -> None:
    """The kubelet gave the volume's folders to a group that every process of the pod has."""
    public.install()
    homes.give(public.home, gid=2000, mode=0o2775)

    assert state_as(public, 1000, 3000, 2000) == "active"
    assert state_as(public, 1000, 3000) == "untrusted"


def test_a_shared_group_that_no_volume_has_is_refused(public: Rig) -> None:
    public.install()
    homes.give(public.home / "store", gid=2000, mode=0o775)

    assert state_as(public, 1000, 3000, 2000) == "untrusted"


def test_a_private_group_is_its_owner(public: Rig) -> None:
    public.install()
    homes.give(public.home, uid=1000, gid=1000, mode=0o775)

    assert state_as(public, 1000, 1000) == "active"


def test_empty_dir_needs_no_word_where_it_is_a_mount_point(public: Rig) -> None:
    """An emptyDir belongs to root and is open to all; what the init container made in it is not."""
    public.install()
    mounted = (
        f"mkdir {public.home}.seen && cp -a {public.home} {public.home}.copy && mount -t tmpfs -o mode=0777 none "
        f"{public.home} && cp -a {public.home}.copy/. {public.home} && chmod 0777 {public.home} && exec "
        f"setpriv --reuid 1000 --regid 1000 --clear-groups {public.base.python} -c "
        "'import sys; print(sys.modules[\"_vpm_env_hook\"].state)'"
    )
    done = subprocess.run(
        ["unshare", "--mount", "/bin/sh", "-c", mounted], capture_output=True, text=True, cwd="/", check=False
    )
    if done.returncode:
        pytest.skip("this machine lets root mount nothing")

    assert (done.stdout, done.stderr) == ("active\n", "")


def test_a_folder_open_to_all_needs_a_word(public: Rig) -> None:
    public.home.chmod(0o777)
    public.install()
    assert state_as(public, 1000, 1000) == "untrusted"
    public.install(trust_home=True)
    assert state_as(public, 1000, 1000) == "active"


def test_a_home_that_cannot_be_read(public: Rig) -> None:
    public.install()
    public.home.chmod(0o700)

    assert state_as(public, 1000, 1000) == "error"
