"""R8: whatever uses a set keeps it from gc, and gc says what does; without file locks nothing is taken on trust."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from typing import TYPE_CHECKING

import kit
import pytest
import stands
import users
from users import EXECUTED, FORKED, IMPORT, RENAMED, SAY

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from users import Scene

LEASE, STARTED = "holds its lease", "started when it was current"
DISABLED = {"VPM_ENV_DISABLE": "1"}


@pytest.fixture(scope="module")
def scene(tmp_path_factory: pytest.TempPathFactory) -> Scene:
    """Make the sets once; each use begins and ends with all three there."""
    return users.scene(tmp_path_factory.mktemp("leases"))


def _entry(scene: Scene, code: str) -> tuple[str | Path, ...]:
    return scene.base, scene.script(code)


USES: dict[str, tuple[Callable[[Scene], tuple[str | Path, ...]], dict[str, str], str]] = {
    "an engine that imported pure Python": (lambda scene: _entry(scene, IMPORT + SAY), {}, LEASE),
    "a forked child whose parent ended": (lambda scene: _entry(scene, FORKED), {}, LEASE),
    "a child by exec": (lambda scene: _entry(scene, EXECUTED), {}, LEASE),
    "an engine with another title": (lambda scene: _entry(scene, RENAMED), {}, LEASE),
    "the set's own python": (lambda scene: (scene.used / "bin" / "python", "-c", IMPORT + SAY), {}, LEASE),
    "a plain python that imported pure Python": (lambda scene: (scene.base, "-c", IMPORT + SAY), {}, STARTED),
    "a plain python with another title": (lambda scene: (scene.base, "-c", RENAMED), {}, STARTED),
    "a mapped library": (
        lambda scene: (scene.base, "-c", f"import ctypes\nctypes.CDLL({str(scene.library)!r})\n{SAY}"),
        DISABLED,
        "has mapped or opened files of its packages",
    ),
    "an open file": (
        lambda scene: (scene.base, "-c", f"stream = open({str(scene.used / 'overlay.json')!r})\n{SAY}"),
        DISABLED,
        "has a file of it open",
    ),
    "a working directory": (
        lambda scene: ("sh", "-c", f"cd {scene.used}/lib && echo here && read line"),
        {},
        "works in it",
    ),
    "vpm-env run": (
        lambda scene: (*scene.vpm_env.command, "run", "--generation", "1", "--", "sh", "-c", "echo here; read line"),
        {},
        LEASE,
    ),
}


def test_what_a_process_uses_stays_and_gc_says_by_what(scene: Scene, figure: Callable[..., None]) -> None:
    wrong = []
    for name, (words, env, how) in USES.items():
        scene.go_to_first()
        own = {key: scene.vpm_env.env[key] for key in ("VPM_ENV_HOME", "VPM_ENV_BASE")} if "vpm-env" in name else {}
        with scene.living(*words(scene), env={**env, **own}):
            scene.move_on()
            told = scene.collect()
            why = scene.call("gc", "--why", "1").stdout
            wrong += [] if scene.used.is_dir() and scene.library.is_file() else [f"{name}: it was collected"]
            by = [text for used in told["used"] if used["name"] == scene.used.name for text in used["by"]]
            wrong += [] if any(text.endswith(how) for text in by) else [f"{name}: gc says {by}"]
            wrong += [] if how in why else [f"{name}: `why` says {why}"]
        wrong += [f"{name}: it stays afterwards too: {why}" for why in _staying(scene)]
    figure("R8", "kinds of processes that keep their set from gc", count=len(USES), wanted=11, violations=wrong)


def _staying(scene: Scene) -> list[str]:
    told = scene.collect("--dry-run")
    return [] if scene.used.name in told["overlays"] else [str(told["used"])]


def test_a_package_that_no_set_has_stays_while_its_library_is_mapped(scene: Scene, tmp_path: Path) -> None:
    copy = tmp_path / "copy"
    scene.go_to_first()
    shutil.copytree(scene.used, copy, symlinks=True)
    used = scene.used
    with scene.living(scene.base, "-c", f"import ctypes\nctypes.CDLL({str(scene.library)!r})\n{SAY}", env=DISABLED):
        scene.move_on()
        shutil.rmtree(used)
        told = scene.collect()
        (package,) = (one for one in told["used"] if one["kind"] == "package")
        assert package["by"][0].endswith("has mapped files of it")
        assert package["name"] not in told["packages"]
    shutil.copytree(copy, used, symlinks=True)


@pytest.mark.skipif(os.geteuid() != 0 or not shutil.which("unshare"), reason="needs root and unshare")
def test_a_process_that_cannot_be_seen_is_known_by_its_lease(scene: Scene, figure: Callable[..., None]) -> None:
    elsewhere = ("unshare", "--pid", "--fork", "--mount", "--mount-proc")
    if subprocess.run([*elsewhere, "true"], capture_output=True, check=False).returncode:
        pytest.skip("no PID namespaces here")
    scene.go_to_first()
    with scene.living(*_entry(scene, IMPORT + SAY)):
        scene.move_on()
        scene.before = elsewhere
        told = scene.collect()
        scene.before = ()
        by = [used["by"] for used in told["used"]]
    wrong = [] if by == [["a process holds its lease"]] and scene.used.is_dir() else [str(by)]
    figure("R8", "processes of another PID namespace", count=1, violations=wrong)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root mounts")
def test_a_lease_above_a_lower_layer_is_seen_by_the_process(
    scene: Scene, tmp_path: Path, figure: Callable[..., None]
) -> None:
    for name in ("upper", "work", "merged"):
        (tmp_path / name).mkdir()
    options = f"lowerdir={scene.vpm_env.home},upperdir={tmp_path}/upper,workdir={tmp_path}/work"
    mounted = ["mount", "-t", "overlay", "overlay", "-o", options, str(tmp_path / "merged")]
    if subprocess.run(mounted, capture_output=True, check=False).returncode:
        pytest.skip("no overlayfs on this file system")
    try:
        scene.go_to_first()
        inner = tmp_path / "merged" / scene.used.relative_to(scene.vpm_env.home)
        with scene.living(inner / "bin" / "python", "-c", IMPORT + SAY):
            scene.move_on()
            told = scene.collect()
            wrong = [] if scene.used.is_dir() and told["leased"] == [scene.used.name] else [str(told["used"])]
        # Within the mount, gc cannot move what comes from below: it is deleted there, and stays below.
        scene.env = {"VPM_ENV_HOME": str(tmp_path / "merged")}
        told = scene.collect()
        wrong += [] if told["overlays"] == [scene.used.name] and not inner.exists() else [f"within: {told}"]
        wrong += [] if (scene.used / "overlay.json").is_file() else ["it went below too"]
    finally:
        scene.env = {}
        subprocess.run(["umount", str(tmp_path / "merged")], check=True)
    figure("R8", "collections below and within a mount of overlayfs", count=2, violations=wrong)


def test_no_overlay_is_made_anew_under_a_process(scene: Scene, figure: Callable[..., None]) -> None:
    scene.go_to_first()
    users.write_config(scene.vpm_env, "one")
    manifest = scene.used / "overlay.json"
    before, mark = manifest.read_text(), scene.used / "mark"
    mark.touch()
    wrong = []
    with scene.living(*_entry(scene, IMPORT + SAY + "import one.late\nprint('late')\n")):
        manifest.write_text("{")
        for words in (("build", "--offline", "--force"), ("switch", "1"), ("build", "--offline")):
            ended = scene.vpm_env(*words)
            wrong += [] if ended.exit and "a process uses it" in ended.stderr else [f"{words}: {ended.output}"]
        wrong += [] if mark.exists() else ["it was made anew"]
    ended = scene.vpm_env("switch", "1")
    wrong += [] if ended.exit == 0 and not mark.exists() else [ended.output]
    wrong += [] if json.loads(manifest.read_text())["digest"] == json.loads(before)["digest"] else ["another digest"]
    scene.vpm_env("verify", check=True)
    figure("R8", "calls that would make an overlay in use anew", count=3, violations=wrong)


NO_FLOCK = """
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
int flock(int file, int operation) {
    char link[64], path[4096] = "";
    const char *below = getenv("NO_FLOCK_BELOW");
    snprintf(link, sizeof link, "/proc/self/fd/%d", file);
    if (below && readlink(link, path, sizeof path - 1) > 0 && !strncmp(path, below, strlen(below))) {
        errno = atoi(getenv("NO_FLOCK_ERRNO"));
        return -1;
    }
    return ((int (*)(int, int))dlsym(RTLD_NEXT, "flock"))(file, operation);
}
"""
"""A file system without locks, below one folder."""


@pytest.fixture(params=["ENOLCK", "EOPNOTSUPP", "ENOSYS"])
def lockless(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[kit.VpmEnv]:
    """Give a home where no file can be locked."""
    import errno

    vpm_env = stands.small(tmp_path)
    stands.library(tmp_path / "c", "noflock.so", NO_FLOCK, "-ldl")
    for name in ("one", "two"):
        kit.wheel(tmp_path / "links", name)
    vpm_env.env |= {
        "LD_PRELOAD": str(tmp_path / "c" / "noflock.so"),
        "NO_FLOCK_BELOW": str(vpm_env.home),
        "NO_FLOCK_ERRNO": str(getattr(errno, request.param)),
        "VPM_ENV_LOCK_TIMEOUT": "20",
    }
    return vpm_env


VERBS = (
    ("hook", "install"),
    ("rollback",),
    ("switch", "2"),
    ("verify",),
    ("run", "--", "python", "-c", "import one, two"),
    ("run", "--without", "two", "--", "python", "-c", "import one"),
    ("path", "--without", "two"),
    ("status",),
    ("history",),
    ("show", "1"),
    ("why", "one"),
    ("gc", "--why", "1"),
    ("check", "--offline"),
    ("build", "--offline", "--dry-run"),
    ("build", "--offline", "--force"),
    ("keep", "1"),
    ("doctor", "home"),
    ("uninstall", "--dry-run"),
)


def test_every_verb_works_without_file_locks_but_gc(lockless: kit.VpmEnv, figure: Callable[..., None]) -> None:
    wrong = []
    users.write_config(lockless, "one")
    lockless("build", "--offline", check=True)
    users.write_config(lockless, "one", "two")
    all_words = (("build", "--offline"), *VERBS)
    for words in all_words:
        ended = lockless(*words)
        wrong += [] if ended.exit == 0 else [f"{words}: {ended.output}"]
    refused = (("gc",), ("gc", "--dry-run"))
    for words in refused:
        ended = lockless(*words)
        wrong += [] if ended.exit == 1 and "nobody can tell what is in use" in ended.stderr else [ended.output]
    doctor = lockless("doctor", "locks")
    wrong += [] if doctor.exit == 1 and "gc takes nothing" in doctor.stdout else [doctor.output]
    wrong += [] if not list(lockless.home.glob("flocks/*.tickets/*")) else ["tickets were left"]
    base = kit.Finished(*_entry_of(lockless))
    wrong += [] if base.exit == 0 else [base.output]
    gone = lockless("uninstall")
    wrong += [] if gone.exit == 0 and not lockless.home.exists() else [gone.output]
    count = len(all_words) + len(refused) + 2  # and doctor, and uninstall
    figure("R8", "calls on a home without file locks", count=count, wanted=20, violations=wrong)


def test_builds_keep_out_of_each_others_way_without_file_locks(
    lockless: kit.VpmEnv, figure: Callable[..., None]
) -> None:
    """Four builds of one set make it once; one that is killed leaves nothing that holds up the next."""
    users.write_config(lockless, "one")
    children = [_started(lockless, "build", "--offline") for _ in range(4)]
    said = [child.communicate(timeout=100)[1] for child in children]
    wrong = [text for child, text in zip(children, said, strict=True) if child.returncode]
    made = sum("switched to generation 1 " in text for text in said)
    wrong += [] if made == 1 and sum("fetching" in text for text in said) == 1 else said
    users.write_config(lockless, "one", "two")
    killed = _started(lockless, "build", "--offline")
    while not list(lockless.home.glob("flocks/build-*.tickets/x-*")):
        assert killed.poll() is None, killed.communicate()
    killed.kill()
    killed.communicate()
    wrong += [] if list(lockless.home.glob("flocks/build-*.tickets/x-*")) else ["it left no ticket"]
    ended = lockless("build", "--offline")
    wrong += [] if ended.exit == 0 else [ended.output]
    wrong += [] if not list(lockless.home.glob("flocks/*.tickets/*")) else ["tickets were left"]
    figure(
        "R8",
        "builds on a home without file locks: four at once, and one after one that was killed",
        count=5,
        wanted=5,
        violations=wrong,
    )


def _started(vpm_env: kit.VpmEnv, *words: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [*vpm_env.command, *words], env=vpm_env.env, cwd=vpm_env.folder, stderr=subprocess.PIPE, text=True
    )


@pytest.mark.skipif(not shutil.which("strace"), reason="no strace")
def test_a_kernel_that_refuses_locks_is_no_traceback(scene: Scene, figure: Callable[..., None]) -> None:
    wrong = []
    scene.vpm_env("switch", "3", check=True)
    for name in ("ENOLCK", "EOPNOTSUPP", "ENOSYS"):
        traced = ("strace", "-f", "-qq", "-o", "/dev/null", "-e", "trace=flock", "-e", f"inject=flock:error={name}")
        if subprocess.run([*traced, "true"], capture_output=True, check=False).returncode:
            pytest.skip("strace cannot trace here")
        for words, code in ((("switch", "1"), 0), (("rollback",), 0), (("verify",), 0), (("gc",), 1)):
            command = [*traced, *scene.vpm_env.command, *words]
            done = subprocess.run(
                command, env=scene.vpm_env.env, cwd=scene.vpm_env.folder, capture_output=True, text=True, check=False
            )
            if done.returncode != code or "Traceback" in done.stderr:
                wrong.append(f"{name} {words}: {done.returncode} {done.stderr}")
    figure("R8", "calls where the kernel refuses flock", count=12, violations=wrong)


def _entry_of(vpm_env: kit.VpmEnv) -> tuple[int, str, str]:
    script = vpm_env.folder / "vllm"
    script.write_text("import _vpm_env_hook, one\nassert _vpm_env_hook.state == 'active'\n")
    own = ("VPM_ENV_HOME", "VPM_ENV_BASE")
    env = {name: value for name, value in vpm_env.env.items() if name not in own}
    done = subprocess.run(
        [vpm_env.env["VPM_ENV_BASE"], str(script)], env=env, capture_output=True, text=True, check=False
    )
    return done.returncode, done.stdout, done.stderr
