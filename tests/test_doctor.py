"""`vpm-env doctor`: each check against the trouble that it is for, made for real, and what the verb prints."""

from __future__ import annotations

import fcntl
import http.server
import json
import os
import pty
import re
import struct
import subprocess
import sys
import termios
from typing import TYPE_CHECKING, Any

import jsonschema
import kit
import pytest
import stands

from envbuilder import __version__, _activate, vulnerabilities
from envbuilder.doctor import CHECKS, Check, chosen, examine
from envbuilder.doctor_around import OLDEST_UV
from envbuilder.doctor_disk import of_mounts, of_room
from envbuilder.doctor_home import may_be_written_by_strangers
from envbuilder.errors import HomeError, UsageError
from envbuilder.health import Answer, NotApplicable, look_around
from envbuilder.mounts import mount_of
from envbuilder.paths import Environment, Layout
from envbuilder.scope import Options

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    from envbuilder.doctor import Result

GROUP = "vllm.general_plugins"
SCHEMA = json.loads((kit.ROOT / "docs" / "schemas" / "doctor.json").read_text())
NO_LOCKS = """
#include <errno.h>
#include <stdlib.h>
int flock(int fd, int operation) { if (getenv("REFUSE_FLOCK")) { errno = ENOLCK; return -1; } return 0; }
int link(const char *a, const char *b) { errno = EPERM; return -1; }
"""


@pytest.fixture(scope="module")
def stand(tmp_path_factory: pytest.TempPathFactory) -> kit.VpmEnv:
    """Build one set, of a package of an index and an editable one, and install the hook."""
    folder = tmp_path_factory.mktemp("doctor")
    vpm_env = stands.small(folder, dists=["torch==2.14.0"])
    files = {"one/__init__.py": "def register(): ...\n"}
    points = {GROUP: {"one": "one:register"}, "console_scripts": {"one-tool": "one:register"}}
    kit.wheel(folder / "links", "one", "1.0", files=files, entry_points=points, requires=["torch"])
    kit.project(folder / "live", "live", "2.0")
    vpm_env.config(
        f"find_links: {folder / 'links'}\nindex: http://127.0.0.1:9/none\nplugins:\n"
        f"  - {{name: one, source: pypi}}\n  - {{name: live, source: local, path: {folder / 'live'}, editable: true}}\n"
    )
    vpm_env("build", "--offline", check=True)
    vpm_env("hook", "install", check=True)
    return vpm_env


@pytest.fixture
def other(stand: kit.VpmEnv, tmp_path: Path) -> tuple[kit.Base, dict[str, str]]:
    """Make a base that a test may spoil, and the variables that name it; the home is the stand's."""
    base = kit.base(tmp_path / "other")
    kit.fake_vllm(base)
    return base, {"VPM_ENV_BASE": str(base.python)}


def looked(
    stand: kit.VpmEnv, *names: str, env: Mapping[str, str | None] | None = None, fix: bool = False, **options: Any
) -> dict[str, Result]:
    """Run checks in this process and return what they came to, by name."""
    variables = {name: value for name, value in {**stand.env, **(env or {})}.items() if value is not None}
    variables.setdefault("VPM_ENV_CONFIG", str(stand.folder / "plugins.yaml"))
    offline = options.pop("offline", True)
    situation = look_around(Options(**options), Environment(variables=variables), offline=offline)
    return {result.name: result for result in examine(situation, chosen(names, audit=False), fix=fix)}


def one(stand: kit.VpmEnv, name: str, **options: Any) -> Result:
    return looked(stand, name, **options)[name]


def overlay(stand: kit.VpmEnv) -> Path:
    return type(stand.home)(stand("path", check=True).stdout.strip())


def whats(result: Result) -> str:
    return "\n".join(trouble.what for trouble in result.troubles)


def shown(text: str, stand: kit.VpmEnv) -> str:
    """Take out what differs from run to run and from machine to machine."""
    text = text.replace(str(stand.folder.parent), "/X")
    text = re.sub(r"\b[0-9a-f]{12}\b", "KEY", text)
    text = re.sub(r"Python 3\.\d+\.\d+", "Python 3.X", text)
    text = re.sub(r"python3\.\d+", "python3.X", text)
    text = re.sub(r"uv( +)ok( +)\S+ at `[^`]+`", r"uv\1ok\2V at `UV`", text)
    text = re.sub(r"(locks.*)\([\w.]+\)", r"\1(KIND)", text)
    text = re.sub(r"(filesystem +ok +)\S+ at `[^`]+`", r"\1KIND at `POINT`", text)
    text = re.sub(r"(disk +\w+ +).*", r"\1SPACE", text)
    return text.replace(__version__, "V")


def test_all_is_well_in_a_pipe(stand: kit.VpmEnv) -> None:
    done = stand("doctor", "--offline")

    assert shown(done.stdout, stand) == (
        "check        status   found\n"
        "base         ok       /X/base (vllm 0.33.0, Python 3.X), chosen by `$VPM_ENV_BASE`\n"
        "config       ok       `/X/work/plugins.yaml`: 2 plugins\n"
        "home         ok       `/X/home`, format 1, 2 packages, 1 overlay\n"
        "permissions  ok       9 folders looked at\n"
        "hook         ok       V in `/X/base/lib/python3.X/site-packages`, for profile `default` of `/X/home`\n"
        "active       ok       a new engine process gets generation 1 (KEY)\n"
        "scripts      ok       2 scripts beside the interpreter of generation 1\n"
        "editable     ok       1 editable plugin\n"
        "environment  ok       set: VPM_ENV_BASE, VPM_ENV_HOME\n"
        "legacy       skipped  `vllm-plugin-manager` is not in the base, and installed nothing there\n"
        "uv           ok       V at `UV`\n"
        "indexes      ok       1 index, not asked\n"
        "locks        ok       they hold between two processes (KIND)\n"
        "filesystem   ok       KIND at `POINT`\n"
        "disk         ok       SPACE\n"
        "clock        ok       no time lies in the future\n"
    )
    assert done.stderr == "\n15 checks: all is well\n"
    assert done.exit == 0


def test_what_is_wrong_is_told_with_its_reason_and_a_way_forward(stand: kit.VpmEnv) -> None:
    done = stand("doctor", "environment", "indexes", "--offline", env={"VPM_ENV_DISABLE": "1"})

    assert shown(done.stdout, stand) == (
        "check        status   found\n"
        "environment  warning  set: VPM_ENV_BASE, VPM_ENV_DISABLE, VPM_ENV_HOME\n"
        "indexes      ok       1 index, not asked\n"
        "\n"
        "indexes:\n"
        "  index http://127.0.0.1:9/none: `index` of the config\n"
        "  links /X/links: `find_links` of the config\n"
        "\n"
        "warning: environment: `VPM_ENV_DISABLE` is set\n"
        "  why: engines that are started here get no plugins\n"
        "  do:  unset `VPM_ENV_DISABLE`\n"
    )
    assert done.stderr == "\n2 checks: 1 warning\n"
    assert done.exit == 0


def test_on_a_terminal_of_80_columns(stand: kit.VpmEnv) -> None:
    leader, follower = pty.openpty()
    fcntl.ioctl(follower, termios.TIOCSWINSZ, struct.pack("HHHH", 40, 80, 0, 0))
    command = [*stand.command, "doctor", "environment", "editable", "legacy", "--offline"]
    env = {**stand.env, "TERM": "xterm-256color", "VPM_ENV_DISABLE": "1", "VPM_ENV_AUTO": "0", "VPM_ENV_STRICT": "1"}
    child = subprocess.Popen(command, cwd=stand.folder, env=env, stdin=follower, stdout=follower, stderr=follower)
    os.close(follower)
    written = b""
    while True:
        try:
            chunk = os.read(leader, 65536)
        except OSError:
            break
        written += chunk
    os.close(leader)
    assert child.wait() == 0
    text = shown(written.decode().replace("\r", ""), stand)
    lines = [line.rstrip() for line in re.sub(r"\x1b\[[\d;?]*[a-zA-Z]", "", text).splitlines()]
    begin = next(at for at, line in enumerate(lines) if line.startswith("check"))  # a bar goes before, and is gone
    assert lines[begin:] == [
        "check         status    found",
        "─" * 80,
        "environment   warning   set: VPM_ENV_AUTO, VPM_ENV_BASE, VPM_ENV_DISABLE,",
        "                        VPM_ENV_HOME, VPM_ENV_STRICT",
        "editable      ok        1 editable plugin",
        "legacy        skipped   `vllm-plugin-manager` is not in the base, and installed",
        "                        nothing there",
        "",
        "editable:",
        "  live: /X/live/live",
        "",
        "warning: environment: `VPM_ENV_DISABLE` is set",
        "  why: engines that are started here get no plugins",
        "  do:  unset `VPM_ENV_DISABLE`",
        "",
        "2 checks: 1 warning",
    ]
    assert "\x1b[1;33mwarning:\x1b[0m environment" in text


def test_a_check_that_is_none_is_told(stand: kit.VpmEnv) -> None:
    done = stand("doctor", "lock", "bse")

    assert (done.exit, done.stdout) == (2, "")
    assert done.stderr == (
        "error: there are no checks `lock`, `bse`\n\n"
        "hint: did you mean `vpm-env doctor locks`, `vpm-env doctor base`?\n"
    )
    with pytest.raises(UsageError) as caught:
        chosen(("xyzzy",), audit=False)
    assert caught.value.message == "there is no check `xyzzy`"
    assert (caught.value.hint or "").startswith("the checks are: base, config, home, ")


def test_the_list_of_checks(stand: kit.VpmEnv) -> None:
    lines = stand("doctor", "--list").stdout.splitlines()

    assert lines[0] == "check            looks at"
    assert [line.split()[0] for line in lines[1:]] == [check.name for check in CHECKS]
    assert [line.split()[0] for line in lines if line.endswith("(when named)")] == ["verify", "vulnerabilities"]


@pytest.mark.parametrize("words", [("--list",), ("base", "legacy", "environment")])
def test_json_is_as_its_schema_says(stand: kit.VpmEnv, words: tuple[str, ...]) -> None:
    record = stand("doctor", *words, "--json", env={"VPM_ENV_DISABLE": "1"}, check=True).json

    jsonschema.Draft202012Validator(SCHEMA).validate(record)
    if "--list" not in words:
        assert record["status"] == "warning"
        assert record["counts"] == {"ok": 1, "skipped": 1, "warning": 1, "error": 0}
        assert record["checks"][2]["troubles"][0]["mendable"] is False


def test_an_error_ends_with_1_and_the_other_checks_go_on(stand: kit.VpmEnv) -> None:
    done = stand("doctor", "--offline", "--base", "/nowhere")
    rows = {line.split()[0]: line.split()[1] for line in done.stdout.split("\n\n")[0].splitlines()}

    assert done.exit == 1
    assert "error: base: `--base` names `/nowhere`, which is no interpreter and no folder of one\n" in done.stdout
    assert rows["base"] == "error"
    assert {rows[name] for name in ("hook", "active", "scripts", "editable", "legacy")} == {"skipped"}
    assert {rows[name] for name in ("config", "home", "permissions", "uv", "locks", "disk")} == {"ok"}


def test_whatever_a_check_meets_is_an_answer(stand: kit.VpmEnv) -> None:
    def refused(_situation: object) -> Answer:
        raise HomeError(home="/h", reason="is too new", hint="upgrade")

    def broken(_situation: object) -> Answer:
        raise PermissionError(13, "Permission denied", "/secret")

    def nothing(_situation: object) -> Answer:
        raise NotApplicable("there is none")

    runs = {"refused": refused, "broken": broken, "nothing": nothing, "fine": lambda _: Answer(said="fine")}
    situation = look_around(Options(), Environment(variables=stand.env), offline=True)
    checks = [Check(name=name, looks_at="", run=run) for name, run in runs.items()]
    results = list(examine(situation, checks, fix=True))

    assert [(result.status, result.said) for result in results] == [
        ("error", "the home `/h` is too new"),
        ("error", "`/secret`: Permission denied"),
        ("skipped", "there is none"),
        ("ok", "fine"),
    ]
    assert results[0].troubles[0].way_forward == "upgrade"


def test_a_base_with_doubtful_metadata(stand: kit.VpmEnv, other: tuple[kit.Base, dict[str, str]]) -> None:
    base, env = other
    for version in ("1.0", "2.0"):
        kit.dist_info(base, "twice", version)
    kit.dist_info(base, "broken", "1.0", metadata="")
    result = one(stand, "base", env=env)

    assert result.status == "warning"
    assert re.search(r"`twice` is there twice in `.*`: [12]\.0 and [12]\.0", whats(result))
    assert "the metadata of `broken` cannot be read" in whats(result)


def test_a_base_without_an_engine_is_told_unless_the_config_says_so(stand: kit.VpmEnv, tmp_path: Path) -> None:
    bare = {"VPM_ENV_BASE": str(kit.base(tmp_path / "bare").python)}
    config = tmp_path / "generic.yaml"
    config.write_text("engine: generic\nplugins: []\n")

    assert "holds no engine that vpm-env knows" in whats(one(stand, "base", env=bare))
    assert one(stand, "base", env=bare, config=str(config)).status == "ok"


def test_half_a_hook_and_one_of_another_python(stand: kit.VpmEnv, other: tuple[kit.Base, dict[str, str]]) -> None:
    base, env = other
    (base.purelib / "_vpm_env_hook.pth").write_text("import _vpm_env_hook\n")
    old = base.prefix / "lib" / "python3.9" / "site-packages"
    old.mkdir(parents=True)
    (old / "_vpm_env_hook.pth").write_text("import _vpm_env_hook\n")
    result = one(stand, "hook", env=env, fix=True)

    assert [trouble.severity for trouble in result.troubles] == ["error", "warning"]
    assert f"there is half a hook in `{base.purelib}`: _vpm_env_hook.pth" in whats(result)
    assert f"a hook of another Python lies in `{old}`" in whats(result)
    assert result.mended == ()


def test_no_hook_is_nothing_to_mend(stand: kit.VpmEnv, other: tuple[kit.Base, dict[str, str]]) -> None:
    result = one(stand, "hook", env=other[1])

    assert (result.status, result.troubles) == ("skipped", ())


def test_a_hook_is_written_again_where_it_is_stale_and_nobody_elses(
    stand: kit.VpmEnv, other: tuple[kit.Base, dict[str, str]]
) -> None:
    base, env = other
    stand("hook", "install", "--trust-owner", "4242", env=env, check=True)
    file = base.purelib / "_vpm_env/activate.py"
    text = file.read_text()
    file.write_text(re.sub(r"COMMAND = .*", "COMMAND = ('/gone/python',)", text).replace(__version__, "0.0.1"))
    for compiled in base.purelib.glob("__pycache__/_vpm_env_hook.*"):
        compiled.unlink()

    before = one(stand, "hook", env=env)
    assert before.status == "error"
    for said in ("it is of vpm-env 0.0.1", "`_vpm_env/activate.py` is not as it was", "not compiled", "`/gone/python`"):
        assert said in whats(before)

    mended = one(stand, "hook", env=env, fix=True)
    assert (mended.status, mended.troubles) == ("ok", ())
    assert mended.mended == (f"wrote the hook in `{base.purelib}` again",)
    assert "OWNERS = (0, 4242)" in file.read_text()

    text, pth = file.read_text(), base.purelib / "_vpm_env_hook.pth"
    file.write_text(text.replace(repr(__version__), "'99.0'"))
    newer = one(stand, "hook", env=env, fix=True)
    assert newer.mended == ()
    assert {trouble.way_forward for trouble in newer.troubles} == {"upgrade vpm-env"}

    file.write_text(text)
    pth.write_text("import _vpm_env_hook\nimport theirs\n")
    shared = one(stand, "hook", env=env, fix=True)
    assert (shared.status, shared.mended) == ("error", ())
    assert "theirs" in pth.read_text()


def test_a_hook_for_another_home(stand: kit.VpmEnv, tmp_path: Path) -> None:
    result = one(stand, "hook", home=str(tmp_path / "other"))

    assert f"the hook is for the profile `default` of `{stand.home}`" in whats(result)
    assert not result.troubles[0].mend


def test_whether_a_new_process_gets_the_set(stand: kit.VpmEnv, other: tuple[kit.Base, dict[str, str]]) -> None:
    assert one(stand, "active").status == "ok"
    assert one(stand, "active", env=other[1]).status == "error"
    assert one(stand, "active", env=other[1], profile="new").status == "skipped"
    disabled = one(stand, "active", env={"VPM_ENV_DISABLE": "1"})
    assert disabled.status == "error"
    assert "VPM_ENV_DISABLE is set" in whats(disabled)


def test_without_a_hook_a_set_is_there_for_run_only(stand: kit.VpmEnv) -> None:
    stand("hook", "uninstall", check=True)
    try:
        result = one(stand, "active")
    finally:
        stand("hook", "install", check=True)

    assert (result.status, result.said) == ("warning", "a new engine process gets no set")
    assert "the base has no start-up hook" in whats(result)


def test_a_base_that_changed_under_the_set(stand: kit.VpmEnv) -> None:
    (old,) = stand.folder.parent.glob("base/lib/python*/site-packages/torch-2.14.0.dist-info")
    new, metadata = old.with_name("torch-2.13.0.dist-info"), (old / "METADATA").read_text()
    old.rename(new)
    (new / "METADATA").write_text(metadata.replace("2.14.0", "2.13.0"))
    result = one(stand, "active")
    (new / "METADATA").write_text(metadata)
    new.rename(old)

    assert result.status == "warning"
    assert whats(result) == "the base has changed: torch 2.14.0 → 2.13.0 under generation 1"


def test_folders_that_others_may_write_to_are_tightened(stand: kit.VpmEnv) -> None:
    folder = stand.home / "profiles" / "default"
    folder.chmod(0o777)
    before = one(stand, "permissions")
    assert before.status == "error"
    assert whats(before) == f"`{folder}` may be written by others (mode 777)"
    assert one(stand, "active").status == "ok"  # the hook has looked at `profiles`, in which nobody else can put one

    mended = one(stand, "permissions", fix=True)
    assert mended.mended == (f"changed the mode of `{folder}` from 777 to 755",)
    assert mended.status == "ok"
    assert folder.stat().st_mode & 0o777 == 0o755


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a folder away")
def test_a_strangers_folder_is_told(stand: kit.VpmEnv) -> None:
    os.chown(stand.home / "store", 4242, 0)
    try:
        result = one(stand, "permissions", fix=True)
    finally:
        os.chown(stand.home / "store", 0, 0)

    assert result.mended == ()
    assert f"`{stand.home / 'store'}` belongs to uid 4242, and this is uid 0" in whats(result)
    assert "--trust-owner 4242" in result.troubles[0].way_forward


@pytest.mark.parametrize("mode", [0o755, 0o775, 0o757, 0o777, 0o1777, 0o2775, 0o2777, 0o3777, 0o700])
@pytest.mark.parametrize("is_ours", [True, False])
@pytest.mark.parametrize("group", [0, 4242])
def test_permissions_are_judged_as_the_hook_judges(mode: int, is_ours: bool, group: int, tmp_path: Path) -> None:
    folder = tmp_path / "folder"
    folder.mkdir()
    if os.geteuid() == 0:
        os.chown(folder, 0, group)
    folder.chmod(mode)
    try:
        _activate.require_trusted(str(folder), is_ours)
        refused = False
    except _activate.InactiveError:
        refused = True

    assert may_be_written_by_strangers(str(folder), folder.stat(), is_ours=is_ours) is refused


def test_what_interrupted_calls_left_is_removed(stand: kit.VpmEnv) -> None:
    gone = subprocess.run([sys.executable, "-c", "import os; print(os.getpid())"], capture_output=True, check=True)
    left = stand.home / "tmp" / f"{int(gone.stdout)}-0123456789ab"
    living = stand.home / "tmp" / f"{os.getpid()}-0123456789ab"
    (left / "inner").mkdir(parents=True)
    living.mkdir()
    result = one(stand, "home", fix=True)
    living.rmdir()

    assert result.mended == (f"removed 1 left-over folder from `{stand.home / 'tmp'}`",)
    assert result.status == "ok"
    assert not left.exists()


def test_a_lost_short_name_is_given_back(stand: kit.VpmEnv) -> None:
    alias = next(path for path in (stand.home / "store").iterdir() if path.is_symlink())
    target = os.readlink(alias)
    alias.unlink()
    before = one(stand, "home")
    mended = one(stand, "home", fix=True)

    assert "has lost its short name" in whats(before)
    assert (before.status, mended.status) == ("error", "ok")
    assert os.readlink(alias) == target


def test_a_lent_package_that_is_gone(stand: kit.VpmEnv) -> None:
    lent = stand.home / "store" / f"{'0' * 32}-lent-1.0"
    lent.symlink_to("/gone/store/lent")
    result = one(stand, "home")
    lent.unlink()

    assert result.status == "error"
    assert f"the package `{lent.name}` is lent by `/gone/store/lent`, which is gone" in whats(result)


def test_a_mend_that_somebody_keeps_from_happening_is_told(stand: kit.VpmEnv) -> None:
    left = stand.home / "tmp" / "4194304999-0123456789ab"
    left.mkdir()
    with (stand.home / "flocks" / "gc").open("a") as stream:
        fcntl.flock(stream, fcntl.LOCK_SH)
        result = one(stand, "home", fix=True)

    assert result.mended == ()
    assert "it could not be mended: gave up after 0 s" in whats(result)
    assert left.is_dir()
    left.rmdir()


def test_a_home_of_a_newer_format_and_none_at_all(stand: kit.VpmEnv, tmp_path: Path) -> None:
    (tmp_path / "format").write_text("99\n")

    newer = looked(stand, "home", "locks", home=str(tmp_path))
    assert (newer["home"].status, newer["locks"].status) == ("error", "skipped")
    assert "has format 99" in whats(newer["home"])
    assert one(stand, "home", home=str(tmp_path / "none")).status == "skipped"
    assert not (tmp_path / "none").exists()


def test_scripts_whose_python_is_gone(stand: kit.VpmEnv) -> None:
    folder = overlay(stand) / "bin"
    python, target = folder / "python", os.readlink(folder / "python")
    script = folder / "moved"
    script.write_text("#!/gone/bin/python\n")
    python.unlink()
    python.symlink_to("/gone/python")
    try:
        result = one(stand, "scripts")
    finally:
        python.unlink()
        python.symlink_to(target)
        script.unlink()

    assert result.status == "error"
    assert f"`{python}` does not start: `/gone/python` is gone" in whats(result)
    assert f"`{script}` is for `/gone/bin/python`, which is gone" in whats(result)


def test_a_base_that_was_moved_has_scripts_that_do_not_start(stand: kit.VpmEnv) -> None:
    script = next(stand.folder.parent.glob("base/bin/vllm"))
    text = script.read_text()
    script.write_text(text.replace("#!", "#!/old"))
    result = one(stand, "scripts")
    script.write_text(text)

    assert f"`{script}` is for `/old" in whats(result)


def test_an_editable_plugin_whose_folder_is_gone(stand: kit.VpmEnv) -> None:
    folder = stand.folder.parent / "live"
    folder.rename(folder.with_name("away"))
    result = one(stand, "editable")
    folder.with_name("away").rename(folder)

    assert result.status == "error"
    assert f"`live` is editable, and `{folder / 'live'}` is gone" in whats(result)


@pytest.fixture(scope="module")
def poor(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Compile what makes flock and link behave as on a file system without them."""
    folder = tmp_path_factory.mktemp("poor")
    (folder / "poor.so").write_bytes(stands.library(folder, "poor.so", NO_LOCKS))
    return str(folder / "poor.so")


@pytest.mark.skipif(not stands.can_compile() or sys.platform != "linux", reason="needs a C compiler on Linux")
def test_a_file_system_without_locks_and_hard_links(stand: kit.VpmEnv, poor: str) -> None:
    done = stand("doctor", "locks", "filesystem", env={"LD_PRELOAD": poor})
    assert done.exit == 1
    assert "a second process gets a lock that the first holds alone" in done.stdout
    assert "hard links cannot be made in the home" in done.stdout

    refused = stand("doctor", "locks", env={"LD_PRELOAD": poor, "REFUSE_FLOCK": "1"})
    assert refused.exit == 1
    assert "cannot be locked: No locks available" in refused.stdout


def test_parts_of_the_home_on_another_file_system(tmp_path: Path) -> None:
    if not os.path.isdir("/dev/shm") or os.stat("/dev/shm").st_dev == tmp_path.stat().st_dev:
        pytest.skip("no second file system")
    (tmp_path / "store").symlink_to("/dev/shm")
    (trouble,) = of_mounts(Layout(str(tmp_path)))

    assert trouble.severity == "error"
    assert trouble.what == f"`{tmp_path / 'store'}` is on another file system than `{tmp_path}`"


def test_kinds_of_file_systems_are_read_from_the_kernels_table() -> None:
    table = (
        "1 0 8:1 / / rw,relatime shared:1 - ext4 /dev/sda1 rw\n"
        "2 1 0:5 / /mnt/a\\040b rw - nfs4 host:/x rw,local_lock=all\n"
        "3 1 0:6 / /mnt/s3 rw - fuse.s3fs s3fs rw\n"
        "4 2 0:7 / /mnt/a\\040b/over rw,noexec - tmpfs tmpfs rw\n"
        "broken line\n"
    )
    nfs, s3, over, root = (mount_of(path, table=table) for path in ("/mnt/a b/c", "/mnt/s3/x", "/mnt/a b/over", "/mnt"))

    assert nfs
    assert (nfs.kind, nfs.is_remote, nfs.locks_stay_here) == ("nfs4", True, True)
    assert s3
    assert (s3.is_remote, s3.locks_stay_here) == (True, False)
    assert over
    assert (over.kind, over.is_remote, "noexec" in over.options) == ("tmpfs", False, True)
    assert root
    assert root.point == "/"


@pytest.mark.parametrize(
    ("free", "inodes", "severities"),
    [
        (50 << 30, 10**6, []),
        (500 << 20, 10**6, ["warning"]),
        (50 << 20, 10**6, ["error"]),
        (50 << 30, 5000, ["warning"]),
        (0, 0, ["error", "error"]),
    ],
)
def test_what_is_free_is_judged(free: int, inodes: int, severities: list[str]) -> None:
    troubles = of_room("/h", free=free, total=100 << 30, inodes=inodes, all_inodes=10**7)

    assert [trouble.severity for trouble in troubles] == severities
    assert list(of_room("/h", free=1 << 40, total=1 << 40, inodes=0, all_inodes=0)) == []  # btrfs counts none


def test_the_manager_of_old_and_what_it_put_into_the_base(
    stand: kit.VpmEnv, other: tuple[kit.Base, dict[str, str]], tmp_path: Path
) -> None:
    base, env = other
    kit.dist_info(
        base, "vllm-plugin-manager", "0.1.0", entry_points={GROUP: {"plugin_manager": "vllm_plugin_manager:register"}}
    )
    kit.install(base, kit.wheel(tmp_path, "vllm_entropy", "0.1.0"))
    kit.dist_info(base, "from-git", "3.0", entry_points={GROUP: {"decoder": "x:y"}})
    kit.dist_info(base, "unrelated", "1.0")
    plugins = {
        "vllm-entropy": {"name": "vllm-entropy", "package": "vllm-entropy", "status": "installed"},
        "my-decoder": {"name": "my-decoder", "status": "installed", "entry_points": [f"{GROUP}:decoder"]},
        "unrelated": {"name": "unrelated", "status": "failed"},
    }
    (tmp_path / "registry.json").write_text(json.dumps({"version": "1.0", "plugins": plugins}))
    result = one(stand, "legacy", env={**env, "VLLM_PLUGIN_REGISTRY_DIR": str(tmp_path)})

    assert (result.status, result.said) == ("warning", "3 distributions of it in the base")
    assert f"it installed into the base: from-git 3.0, vllm-entropy 0.1.0, says `{tmp_path}/registry.json`" in whats(
        result
    )
    assert f"`uv pip uninstall --python {base.python} from-git vllm-entropy`" in result.troubles[1].way_forward
    assert "in the base: vllm-entropy 0.1.0, 5 files" in result.facts
    assert f"config: {stand.folder / 'plugins.yaml'}" in result.facts


@pytest.mark.parametrize("content", ["{", "[]", '{"plugins": []}', '{"plugins": {"a": 1}}'])
def test_a_registry_that_cannot_be_read_is_none(stand: kit.VpmEnv, content: str, tmp_path: Path) -> None:
    (tmp_path / "registry.json").write_text(content)

    assert one(stand, "legacy", env={"VLLM_PLUGIN_REGISTRY_DIR": str(tmp_path)}).status == "skipped"


def test_indexes_are_asked_and_no_credential_is_shown(stand: kit.VpmEnv, tmp_path: Path) -> None:
    config = tmp_path / "plugins.yaml"
    env = {"TOKEN": "canary-token"}
    with kit.index(tmp_path / "index", credentials="user:canary-token") as served:
        right, wrong = served.with_credentials("user:${TOKEN}"), served.with_credentials("user:canary-wrong")
        config.write_text(f"index: ['{right}', '{wrong}', 'http://127.0.0.1:9/none']\nplugins: []\n")
        result = one(stand, "indexes", env=env, config=str(config), offline=False)
        bare = served.url

    assert result.said == "3 indexes, 1 answering"
    assert whats(result).splitlines() == [
        f"`{bare}` (`index` of the config) refuses: 401 Unauthorized",
        "`http://127.0.0.1:9/none` (`index` of the config) does not answer: Connection refused (os error 111)",
    ]
    assert result.facts[0] == f"index {bare}: `index` of the config, with credentials"
    assert "canary" not in repr(result)


@pytest.mark.network
def test_the_real_index_answers(stand: kit.VpmEnv, tmp_path: Path) -> None:
    config = tmp_path / "plugins.yaml"
    config.write_text("plugins: []\n")
    without = dict.fromkeys(("HTTPS_PROXY", "UV_HTTP_RETRIES"))
    result = one(stand, "indexes", env={**without, **kit.network_settings()}, config=str(config), offline=False)

    assert (result.status, result.troubles) == ("ok", ())


def test_each_index_is_told_with_the_setting_that_names_it(stand: kit.VpmEnv, tmp_path: Path) -> None:
    conf, config = tmp_path / "pip.conf", tmp_path / "plugins.yaml"
    conf.write_text("[global]\nindex-url = https://u:canary@index.example/simple\nfind-links = /no/such\n")
    config.write_text(
        "plugins:\n  - {name: a, source: pypi}\n  - {name: b, source: pypi, index: 'https://own.example/simple'}\n"
    )
    env = {"PIP_CONFIG_FILE": str(conf), "PIP_EXTRA_INDEX_URL": "https://extra.example/simple"}
    of_pip = one(stand, "indexes", env=env, config=str(config))
    of_uv = one(stand, "indexes", env={**env, "UV_INDEX": "in=https://uv.example/simple"}, config=str(config))
    default = one(stand, "indexes", config=str(config))

    own = "index https://own.example/simple: `index` of the plugin `b`"
    assert of_pip.facts == (
        own,
        f"index https://index.example/simple: pip's `index-url` (`{conf}`), with credentials",
        "index https://extra.example/simple: pip's `extra-index-url` (`$PIP_EXTRA_INDEX_URL`)",
    )
    assert of_uv.facts == (own, "index https://uv.example/simple: `$UV_INDEX`")
    assert default.facts == (own, "index of uv itself: uv's own default")


def test_what_the_config_names_in_vain(stand: kit.VpmEnv, tmp_path: Path) -> None:
    config = tmp_path / "plugins.yaml"
    config.write_text("index: 'https://${NOT_SET}@index.example/simple'\nfind_links: nowhere\nplugins: []\n")
    result = one(stand, "indexes", config=str(config))

    assert result.status == "error"
    assert "the variable `NOT_SET`" in whats(result)
    assert f"there is no folder `{tmp_path / 'nowhere'}`" in whats(result)


def test_a_broken_config_keeps_no_other_check_from_running(stand: kit.VpmEnv, tmp_path: Path) -> None:
    config = tmp_path / "plugins.yaml"
    config.write_text("base: 7\nplugin: []\n")
    results = looked(stand, "config", "base", "active", "indexes", config=str(config))

    assert {name: result.status for name, result in results.items()} == {
        "config": "error", "base": "ok", "active": "ok", "indexes": "skipped",
    }  # fmt: skip
    assert len(results["config"].troubles) == 3


def test_a_config_and_a_lock_that_are_not_there_or_torn(stand: kit.VpmEnv, tmp_path: Path) -> None:
    config = tmp_path / "plugins.yaml"
    assert one(stand, "config", env={"VPM_ENV_CONFIG": str(config)}).status == "error"
    config.write_text("plugins: []\n")
    (tmp_path / "pylock.plugins.toml").write_text("lock-")
    assert "is not TOML" in whats(one(stand, "config", config=str(config)))


def test_what_everybody_may_change(stand: kit.VpmEnv, tmp_path: Path) -> None:
    config, plugin, sticky = tmp_path / "plugins.yaml", tmp_path / "plugin", tmp_path / "sticky"
    entries = "".join(f"  - {{name: {path.name}, source: local, path: {path}}}\n" for path in (plugin, sticky))
    config.write_text(f"plugins:\n{entries}")
    for path, mode in ((config, 0o646), (plugin, 0o777), (sticky, 0o1777)):
        path.touch() if path == config else path.mkdir()
        path.chmod(mode)

    result = one(stand, "config", config=str(config))

    assert [trouble.way_forward for trouble in result.troubles] == [
        f"run `chmod o-w {config}`",
        f"run `chmod o-w {plugin}`",
    ]


def pin(stand: kit.VpmEnv, digest: str = "") -> str:
    path = overlay(stand)
    return f"{path.parent.name}:{digest or path.name}"


def test_variables_that_change_what_an_engine_gets(stand: kit.VpmEnv, tmp_path: Path) -> None:
    (tmp_path / "one.py").write_text("")
    cases = {
        "VPM_ENV_DISABLE": ("1", "warning", "`VPM_ENV_DISABLE` is set"),
        "PYTHONHOME": ("/x", "error", "`PYTHONHOME` is set"),
        "VPM_ENV_LOCK_TIMEOUT": ("soon", "error", "`VPM_ENV_LOCK_TIMEOUT` is `soon`"),
        "PYTHONPATH": (str(tmp_path), "warning", f"`{tmp_path}` on `PYTHONPATH` hides `one`"),
        "VLLM_PLUGINS": ("other", "warning", "`one` of `one` does not load: VLLM_PLUGINS does not name it"),
    }
    for name, (value, status, what) in cases.items():
        result = one(stand, "environment", env={name: value})
        assert result.status == status, name
        assert what in whats(result)
    assert one(stand, "environment", env={"VLLM_PLUGINS": "one", "VPM_ENV_DISABLE": "0"}).status == "ok"
    assert one(stand, "environment", env={"PYTHONPATH": str(stand.folder)}).status == "ok"


def test_a_pin_that_leaked_into_the_environment(stand: kit.VpmEnv) -> None:
    present = one(stand, "environment", env={"VPM_ENV_PIN": pin(stand)})
    missing = one(stand, "environment", env={"VPM_ENV_PIN": pin(stand, "f" * 64)})

    assert (present.status, whats(present)) == ("warning", "`VPM_ENV_PIN` is set in this environment")
    assert (missing.status, whats(missing)) == (
        "error", "`VPM_ENV_PIN` is set in this environment, which is not there",
    )  # fmt: skip


def test_an_old_uv_is_told(stand: kit.VpmEnv, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    old = tmp_path / "uv"
    old.write_text("#!/bin/sh\necho 'uv 0.4.1 (abc 2024-01-01)'\n")
    old.chmod(0o755)
    monkeypatch.setitem(sys.modules, "uv", None)
    result = one(stand, "uv", env={"PATH": f"{tmp_path}:/usr/bin:/bin"})

    assert whats(result) == f"`{old}` is 0.4.1, and vpm-env wants 0.9 or newer"
    assert f'"uv>={".".join(map(str, OLDEST_UV))}"' in (kit.ROOT / "pyproject.toml").read_text()
    assert "`uv`: is not installed" in whats(one(stand, "uv", env={"PATH": "/nowhere"}))


def test_a_clock_that_is_behind(stand: kit.VpmEnv) -> None:
    record = next(stand.home.glob("profiles/default/*/generations/1.json"))
    text = record.read_text()
    record.write_text(re.sub(r'"created": "\d{4}', '"created": "2999', text))
    result = one(stand, "clock")
    record.write_text(text)

    assert "this clock is behind the newest entry of the profile `default`" in whats(result)


def test_verify_runs_when_it_is_named(stand: kit.VpmEnv) -> None:
    assert one(stand, "verify").said == "2 packages, 1 overlay looked at"
    file = next(stand.home.glob("store/*-one-1.0/lib/one/__init__.py"))
    content = file.read_bytes()
    file.chmod(0o644)
    file.write_bytes(content + b"#")
    result = one(stand, "verify")
    file.write_bytes(content)
    file.chmod(0o444)

    assert result.status == "error"
    assert "`lib/one/__init__.py` has another content" in whats(result)


class Osv(http.server.BaseHTTPRequestHandler):
    """Answer as a vulnerability service of the OSV protocol does."""

    asked: list[dict[str, Any]]

    def do_POST(self) -> None:
        query = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        type(self).asked.append(query)
        events = [{"introduced": "0"}, {"fixed": "1.2"}]
        package = {"name": "one", "ecosystem": "PyPI"}
        found = {
            "id": "GHSA-xxxx", "aliases": ["CVE-2026-1"], "summary": "it runs what it is sent",
            "affected": [{"package": package, "ranges": [{"type": "ECOSYSTEM", "events": events}]}],
        }  # fmt: skip
        content = json.dumps({"vulns": [found]} if query["package"]["name"] == "one" else {}).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 (the server's word)
        """Stay silent."""


@pytest.fixture
def osv() -> Iterator[dict[str, str]]:
    """Serve the protocol on loopback, and return the variables by which pip-audit goes there."""
    from kit.indexes import serving

    Osv.asked = []
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Osv)
    with serving(server):
        url = f"http://127.0.0.1:{server.server_port}/v1/query"
        yield {"PIP_AUDIT_VULNERABILITY_SERVICE": "osv", "PIP_AUDIT_OSV_URL": url}


def test_known_vulnerabilities_are_asked_for(stand: kit.VpmEnv, osv: dict[str, str]) -> None:
    pytest.importorskip("pip_audit")
    result = one(stand, "vulnerabilities", env=osv, offline=False)

    assert (result.status, result.said) == ("error", "1 known vulnerability against 1 package")
    (trouble,) = result.troubles
    assert trouble.what == "one 1.0: CVE-2026-1, GHSA-xxxx"
    assert trouble.why == "it runs what it is sent"
    assert trouble.way_forward == "fixed in 1.2: `vpm-env upgrade one`"
    assert [query["package"]["name"] for query in Osv.asked] == ["one"]
    assert result.facts == ("not asked about: live (git or local)",)


def test_without_pip_audit_it_is_said_how_to_get_it(stand: kit.VpmEnv, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pip_audit", None)
    lacking = one(stand, "vulnerabilities", env={"PATH": "/nowhere"}, offline=False)

    assert lacking.status == "skipped"
    assert "`pip install 'vpm-env[audit]'`" in lacking.said
    assert one(stand, "vulnerabilities").said == "it needs the network, and `--offline` was given"


UNREACHABLE = """\
WARNING:pip_audit._cli:--no-deps is supported, but users are encouraged to fully hash their pinned dependencies
ERROR:pip_audit._cli:Could not connect to PyPI's vulnerability feed
ERROR:pip_audit._cli:Tip: your network may be blocking this service. Try another service with `-s SERVICE`
"""
BROKEN = "Traceback (most recent call last):\n  File a\nrequests.exceptions.ConnectionError: Connection refused\n"


@pytest.mark.parametrize(
    ("out", "err", "said"),
    [
        ("", UNREACHABLE, "pip-audit came to no result: Could not connect to PyPI's vulnerability feed"),
        ("", BROKEN, "pip-audit came to no result: requests.exceptions.ConnectionError: Connection refused"),
        ("", "", "pip-audit came to no result: it said nothing"),
        (
            json.dumps({"dependencies": [{"name": "one", "skip_reason": "nobody knows it"}]}), "",
            "the service knows no package of the set: nobody knows it",
        ),
    ],
)  # fmt: skip
def test_what_pip_audit_cannot_say_is_no_finding(
    stand: kit.VpmEnv, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, out: str, err: str, said: str
) -> None:
    monkeypatch.setitem(sys.modules, "pip_audit", None)
    tool = tmp_path / "pip-audit"
    tool.write_text(
        f"#!/bin/sh\n[ -z $PIP_AUDIT_FORMAT ] || exit 3\ncat <<'END'\n{out}\nEND\ncat >&2 <<'END'\n{err}END\n"
    )
    tool.chmod(0o755)
    env = {"PATH": f"{tmp_path}:/usr/bin:/bin", "PIP_AUDIT_FORMAT": "markdown"}
    result = one(stand, "vulnerabilities", env=env, offline=False)

    assert (result.status, result.said) == ("skipped", said)


def test_checks_are_chosen_by_name() -> None:
    default = [check.name for check in chosen((), audit=False)]

    assert "verify" not in default
    assert vulnerabilities.check not in [check.run for check in chosen((), audit=False)]
    assert [check.name for check in chosen((), audit=True)] == ["vulnerabilities"]
    assert [check.name for check in chosen(("uv", "base", "uv"), audit=True)] == ["uv", "base", "vulnerabilities"]
