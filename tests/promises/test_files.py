"""Who may write where (S10, S11): symlinks that others put in our way, masks, owners, and volumes of Kubernetes."""

from __future__ import annotations

import os
import shutil
import stat
import subprocess
import tempfile
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import disks
import full
import kit
import pytest
import stands
from test_homes_and_places import STRANGER, install_for_strangers

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from conftest import Figures, Scale
    from stands import Stand

ATTACKER = STRANGER + 1
GROUP = STRANGER + 2
SECRET = "what is not ours\n"


@dataclass(frozen=True)
class Who:
    """A user: uid, gid, further groups, and the mask of what it makes."""

    uid: int = STRANGER
    gid: int = STRANGER
    groups: tuple[int, ...] = ()
    umask: int = 0o022


@pytest.fixture(scope="module")
def public(uv_cache: Path) -> Iterator[Stand]:
    """Give a base, a config and wheels that belong to root, and a vpm-env that others can run."""
    if os.geteuid() != 0:
        pytest.skip("needs root, to become others")
    folder = Path(tempfile.mkdtemp(prefix="vpm-env-files-"))
    folder.chmod(0o755)
    old = os.umask(0o022)
    try:
        python = install_for_strangers(folder)
        with stands.stand(folder, uv_cache, python=python.resolve()) as stand:
            for name in ("one", "two", "three"):
                kit.wheel(folder / "links", name)
            (folder / "work").chmod(0o777)
            yield replace(stand, vpm_env=replace(stand.vpm_env, python=str(python)))
    finally:
        os.umask(old)
        shutil.rmtree(folder)


@contextmanager
def place(public: Stand, owner: int, group: int, mode: int) -> Iterator[Path]:
    """Lend a home that is there already, as a volume is."""
    home = public.vpm_env.home
    home.mkdir()
    os.chown(home, owner, group)
    home.chmod(mode)
    try:
        yield home
    finally:
        for left in (home, home.with_name("kept"), home.with_name("outside")):
            shutil.rmtree(left, ignore_errors=True)
        home.unlink(missing_ok=True)
        for path in (public.folder / "work").iterdir():
            path.unlink()


def ask_for(public: Stand, *names: str) -> None:
    """Write a config that wants these plugins of a folder."""
    entries = "".join(f"  - {{name: {name}, source: pypi}}\n" for name in names)
    public.vpm_env.config(f"find_links: {public.folder / 'links'}\nplugins:\n{entries}")


def call(public: Stand, who: Who, *arguments: str, **env: str) -> subprocess.CompletedProcess[str]:
    """Call vpm-env as somebody."""
    return subprocess.run(
        [*public.vpm_env.command, *arguments],
        env={**public.vpm_env.env, "UV_CACHE_DIR": f"{public.vpm_env.home}/cache/uv", "HOME": "/", **env},
        cwd=public.vpm_env.folder,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
        user=who.uid,
        group=who.gid,
        extra_groups=list(who.groups),
        umask=who.umask,
    )


def wrong(case: str, done: subprocess.CompletedProcess[str], *codes: int) -> list[str]:
    """Say what is wrong with how a call ended."""
    said = f"{case}: exit {done.returncode}\n{done.stdout}{done.stderr}"
    is_clear = done.returncode == 0 or "error: " in done.stderr or "warning: " in done.stderr
    return [] if done.returncode in codes and is_clear and "Traceback" not in done.stderr else [said]


def profile(home: Path) -> Path:
    (found,) = home.glob("profiles/default/*")
    return found


def lead_out(path: Path, outside: Path, *, to_folder: bool = False) -> None:
    """Put an attacker's symlink in the place of what is there, or will be."""
    target = outside / ("folder" if to_folder or (path.is_dir() and not path.is_symlink()) else "file")
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    path.unlink(missing_ok=True)
    path.symlink_to(target)
    os.chown(path, ATTACKER, ATTACKER, follow_symlinks=False)


ATTACKS: dict[str, Callable[[Path], list[Path]]] = {
    **{name: lambda home, name=name: [home / name] for name in ("store", "overlays", "profiles", "sources")},  # type: ignore[misc]
    **{name: lambda home, name=name: [home / name] for name in ("tmp", "trash", "flocks", "cache")},  # type: ignore[misc]
    "format": lambda home: [home / "format"],
    "registry.json": lambda home: [home / "registry.json"],
    "the lock files": lambda home: sorted((home / "flocks").iterdir()),
    "the records of sources": lambda home: sorted((home / "sources").iterdir()),
    "a profile": lambda home: [profile(home)],
    "current": lambda home: [profile(home) / "current"],
    "the generations": lambda home: [profile(home) / "generations"],
    "a generation to come": lambda home: [profile(home) / "generations" / name for name in ("3", "3.json")],
    "the order": lambda home: [profile(home) / "order.json"],
    "the overlays of a base": lambda home: sorted((home / "overlays").iterdir()),
    "an overlay": lambda home: sorted(home.glob("overlays/*/*")),
    "the packages": lambda home: sorted((home / "store").iterdir()),
    "the caches": lambda home: sorted((home / "cache").iterdir()),
    "what caches hold": lambda home: sorted(path for path in home.glob("cache/[bcr]*/*") if path.is_file()),
    "the lock beside the config": lambda home: [home.parent / "work" / "pylock.plugins.toml"],
}
"""What an attacker puts symlinks in the place of."""

FEW = (
    "store",
    "flocks",
    "the lock files",
    "a profile",
    "a generation to come",
    "the caches",
    "the lock beside the config",
)
"""Those of the short run."""


@pytest.mark.parametrize("uid", [STRANGER, 0], ids=["user", "root"])
def test_no_symlink_leads_a_write_out_of_the_home(public: Stand, figure: Figures, scale: Scale, uid: int) -> None:
    violations, who = [], Who(uid=uid, gid=uid)
    cases = {name: attack for name, attack in ATTACKS.items() if scale(name in FEW, True)}
    outside = public.folder / "outside"
    with place(public, uid, uid, 0o755) as home:
        for names in (("one",), ("one", "two")):
            ask_for(public, *names)
            violations += wrong("at first", call(public, who, "build", "--offline"), 0)
        kept = home.with_name("kept")
        shutil.copytree(home, kept, symlinks=True)
        own(kept, uid)
        for case, places in cases.items():
            shutil.rmtree(home)
            shutil.copytree(kept, home, symlinks=True)
            own(home, uid)
            (outside / "folder").mkdir(parents=True)
            for path in (outside / "file", outside / "folder" / "file"):
                path.write_text(SECRET)
            own(outside, uid)
            before = kit.tree_hash(outside)
            for path in places(home):
                lead_out(path, outside)
            ask_for(public, "one", "three")
            for verb in (("build", "--offline"), ("rollback",), ("gc",), ("verify",)):
                violations += wrong(f"{case}, {verb[0]}", call(public, who, *verb), 0, 1, 2)
                if kit.tree_hash(outside) != before:
                    violations.append(f"{case}, {verb[0]}: what is outside has changed")
                    break
            shutil.rmtree(outside)
        shutil.rmtree(kept)
    who_is = "user" if uid else "root"
    figure(
        "S10",
        f"places of a symlink that leads out, {who_is} writing",
        count=len(cases),
        wanted=7,
        violations=violations,
    )


def own(folder: Path, uid: int) -> None:
    """Give a tree to a user."""
    for path in [folder, *folder.rglob("*")]:
        os.chown(path, uid, uid, follow_symlinks=False)


def made_anew(home: Path, told: kit.Ended) -> set[tuple[str, str]]:
    """Name the files and folders below `home` that a call has made, each with the event that made it."""
    found = {tuple(change.split(" ", 1)) for change in told.changes if change.startswith(("open /", "os.mkdir /"))}
    return {(event, path) for event, path in found if path.startswith(f"{home}/")}


@pytest.mark.parametrize("uid", [STRANGER, 0], ids=["user", "root"])
def test_no_name_that_can_be_foreseen_leads_out(
    public: Stand, workshop: kit.Workshop, figure: Figures, scale: Scale, uid: int
) -> None:
    """What two builds of one state make under one name, an attacker may make before the third does."""
    if uid == 0 and not scale.is_long:
        pytest.skip("the long run has it")
    violations, who, outside = [], Who(uid=uid, gid=uid), public.folder / "outside"
    with place(public, uid, uid, 0o755) as home:
        ask_for(public, "one")
        violations += wrong("at first", call(public, who, "build", "--offline"), 0)
        kept = home.with_name("kept")
        shutil.copytree(home, kept, symlinks=True)
        ask_for(public, "one", "three")
        made = []
        for _ in range(2):
            shutil.rmtree(home)
            shutil.copytree(kept, home, symlinks=True)
            env = {**public.vpm_env.env, "UV_CACHE_DIR": f"{home}/cache/uv"}
            made.append(made_anew(home, workshop("build", "--offline", env=env, cwd=public.vpm_env.folder)))
        foreseen = {(event, Path(path)) for event, path in made[0] & made[1]}
        planted = [one for one in sorted(foreseen) if not (kept / one[1].relative_to(home)).exists()]
        planted = [one for one in planted if (kept / one[1].parent.relative_to(home)).is_dir()]
        for event, path in planted:
            shutil.rmtree(home)
            shutil.copytree(kept, home, symlinks=True)
            own(home, uid)
            (outside / "folder").mkdir(parents=True)
            (outside / "file").write_text(SECRET)
            own(outside, uid)
            before = kit.tree_hash(outside)
            lead_out(path, outside, to_folder=event == "os.mkdir")
            violations += wrong(f"{event} {path}", call(public, who, "build", "--offline"), 0, 1)
            if kit.tree_hash(outside) != before:
                violations.append(f"{event} {path}: what is outside has changed")
            shutil.rmtree(outside)
        shutil.rmtree(kept)
    who_is = "user" if uid else "root"
    figure("S10", f"names that can be foreseen, {who_is} writing", count=len(planted), violations=violations)


def test_a_home_that_another_put_in_the_way_is_not_taken(public: Stand, figure: Figures) -> None:
    """In a folder like /tmp, where everybody may make names."""
    shared, violations = public.folder / "shared", []
    shared.mkdir()
    shared.chmod(0o1777)
    theirs = public.folder / "theirs"
    theirs.mkdir(mode=0o777)
    own(theirs, ATTACKER)
    ask_for(public, "one")
    (shared / "link").symlink_to(theirs)
    (shared / "folder").mkdir(mode=0o755)
    (shared / "file").write_text(SECRET)
    for name in ("link", "folder", "file"):
        os.chown(shared / name, ATTACKER, ATTACKER, follow_symlinks=False)
    before = kit.tree_hash(public.folder / "theirs"), kit.tree_hash(shared)
    for name in ("link", "folder", "file"):
        done = call(
            public, Who(), "build", "--offline", VPM_ENV_HOME=str(shared / name), UV_CACHE_DIR=str(shared / "uv")
        )
        violations += wrong(name, done, 1)
    shutil.rmtree(shared / "uv", ignore_errors=True)
    if (kit.tree_hash(public.folder / "theirs"), kit.tree_hash(shared)) != before:
        violations.append("what is an attacker's was written to")
    shutil.rmtree(shared)
    shutil.rmtree(theirs)
    figure("S10", "homes that another put in the way", count=3, wanted=3, violations=violations)


LAYOUTS = {
    "mask 000": ((STRANGER, STRANGER, 0o755), Who(umask=0)),
    "mask 077": ((STRANGER, STRANGER, 0o700), Who(umask=0o077)),
    "emptyDir 0777": ((0, 0, 0o777), Who(gid=0)),
    "emptyDir 0777, another group": ((0, 0, 0o777), Who()),
    "fsGroup with setgid": ((0, GROUP, 0o2775), Who(gid=0, groups=(GROUP,))),
    "fsGroup with setgid, own group": ((0, GROUP, 0o2775), Who(groups=(GROUP,))),
    "any uid with gid 0": ((0, 0, 0o775), Who(uid=1000660000, gid=0)),
    "sticky": ((0, 0, 0o1777), Who()),
}


def test_every_layout_of_a_volume_works_without_an_override(public: Stand, figure: Figures, scale: Scale) -> None:
    """Build, switch, roll back, collect and verify, and let a base without our hook run the set."""
    violations = []
    cases = dict(list(LAYOUTS.items())[:: scale(2, 1)])
    for case, ((owner, group, mode), who) in cases.items():
        with place(public, owner, group, mode) as home:
            for names in (("one",), ("one", "two")):
                ask_for(public, *names)
                violations += wrong(f"{case}, build", call(public, who, "build", "--offline"), 0)
            for verb in (
                ("rollback",),
                ("switch", "2"),
                ("gc",),
                ("verify",),
                ("run", "--", "python", "-c", "import two"),
            ):
                violations += wrong(f"{case}, {verb[0]}", call(public, who, *verb), 0)
            violations += [f"{case}: {path} may be written by all" for path in home.rglob("*") if is_open(path)]
    figure("S11", "layouts of volumes", count=len(cases), wanted=4, violations=violations)


STARTING = {name: (volume, who, who) for name, (volume, who) in LAYOUTS.items() if "mask" not in name}
STARTING["an init container of root's"] = ((0, 0, 0o755), Who(uid=0, gid=0), Who())
STARTING["an init container of root's, fsGroup"] = (
    (0, GROUP, 0o2775),
    Who(uid=0, gid=0, groups=(GROUP,)),
    Who(gid=0, groups=(GROUP,)),
)
"""Volumes, who builds on them, and who starts an engine: first as it is, then with nothing that may be written to."""


def test_the_hook_takes_the_set_of_every_volume(public: Stand, figure: Figures, scale: Scale) -> None:
    """The hook is in the image from the start; the home that it names is mounted when a pod starts."""
    violations, starts, home = [], 0, public.vpm_env.home
    cases = dict(list(STARTING.items())[:: scale(3, 1)])
    violations += wrong("hook install", call(public, Who(uid=0, gid=0), "hook", "install"), 0)
    shutil.rmtree(home, ignore_errors=True)
    for case, ((owner, group, mode), builds, serves) in cases.items():
        with full.tmpfs(home, 256 << 20):
            os.chown(home, owner, group)
            home.chmod(mode)
            ask_for(public, "one", "two")
            violations += wrong(f"{case}, build", call(public, builds, "build", "--offline"), 0)
            violations += [f"{case}: {said}" for said in filter(None, [start(public, serves)])]
            with disks.read_only(home, public.base.prefix):
                violations += [f"{case}, read-only: {said}" for said in filter(None, [start(public, serves)])]
            starts += 4
        for path in (public.folder / "work").iterdir():
            path.unlink()
    violations += wrong("hook uninstall", call(public, Who(uid=0, gid=0), "hook", "uninstall"), 0)
    shutil.rmtree(home, ignore_errors=True)
    figure("S11", "starts of a base's python above volumes", count=starts, wanted=6, violations=violations)


def start(public: Stand, who: Who) -> str:
    """Start the base's python as somebody; "" if it has its set and says nothing, and runs as an engine, too."""
    (public.folder / "bin").mkdir(exist_ok=True)
    script = public.folder / "bin" / "vllm"
    script.write_text("import _vpm_env_hook as hook, two\nassert hook.lease is not None, hook.reason\n")
    said = []
    for words in (("-c", "import _vpm_env_hook as hook, two\nassert hook.state == 'active', hook.reason"), (script,)):
        done = subprocess.run(
            [public.base.python, *words],
            env={"PATH": os.defpath, "HOME": "/"},
            cwd="/",
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
            user=who.uid,
            group=who.gid,
            extra_groups=list(who.groups),
        )
        said.append(done.stdout + done.stderr)
    return "".join(said)


def is_open(path: Path) -> bool:
    """Tell whether anybody may write to something that we made; uv's cache is uv's."""
    status = path.lstat()
    return not stat.S_ISLNK(status.st_mode) and bool(status.st_mode & 0o002) and "/cache/uv" not in str(path)


def test_a_home_that_root_built_is_read_by_others(public: Stand, figure: Figures) -> None:
    violations, who = [], Who(uid=1000, gid=1000)
    with place(public, 0, 0, 0o755) as home:
        for names in (("one",), ("one", "two")):
            ask_for(public, *names)
            violations += wrong("root builds", call(public, Who(uid=0, gid=0, umask=0o022), "build", "--offline"), 0)
        before = kit.tree_hash(home)
        for verb in (("list",), ("history",), ("path",), ("verify",), ("run", "--", "python", "-c", "import two")):
            violations += wrong(verb[0], call(public, who, *verb), 0)
        for verb in (("build", "--offline", "--force"), ("rollback",), ("gc",)):
            violations += wrong(f"{verb[0]}, which is not theirs", call(public, who, *verb), 1)
        if kit.tree_hash(home) != before:
            violations.append("the home has changed")
    figure("S11", "calls of others on a home of root's", count=8, wanted=8, violations=violations)


def test_root_and_user_build_in_turn_in_the_users_home(public: Stand, figure: Figures) -> None:
    violations, user, root = [], Who(), Who(uid=0, gid=0)
    turns = [(user, ("one",)), (root, ("one", "two")), (user, ("three",)), (root, ("one",)), (user, ("one", "three"))]
    with place(public, STRANGER, STRANGER, 0o755):
        for number, (who, names) in enumerate(turns):
            ask_for(public, *names)
            case = f"turn {number + 1}, {'root' if who is root else 'user'}"
            violations += wrong(f"{case}, build", call(public, who, "build", "--offline"), 0)
            violations += wrong(f"{case}, verify", call(public, who, "verify"), 0)
        os.chown(public.folder / "work" / "plugins.yaml", STRANGER, STRANGER)
        for verb in OF_USER:
            violations += wrong(f"user, {' '.join(verb)}", call(public, user, *verb), 0)
        violations += wrong("user, uninstall", call(public, user, "uninstall"), 1)  # what is root's only root deletes
        violations += wrong("root, uninstall", call(public, root, "uninstall"), 0)
    count = 2 * len(turns) + len(OF_USER) + 2
    figure("S11", "calls of root and user in turn in the user's home", count=count, wanted=20, violations=violations)


OF_USER = (
    *(("rollback",), ("switch", "5"), ("keep", "2"), ("unkeep", "2"), ("rollback", "--to", "4"), ("switch", "5")),
    *(("disable", "three", "--offline"), ("enable", "three", "--offline"), ("build", "--offline", "--force")),
    *(("check", "--offline"), ("history",), ("list",), ("doctor", "home"), ("verify", "--repair")),
    *(("run", "--", "python", "-c", "import three"), ("gc", "--grace", "0s"), ("verify",)),
)
"""What a user does in the own home after root has built in it, with what root made there."""
