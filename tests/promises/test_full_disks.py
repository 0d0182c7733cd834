"""R5: real file systems without room: what is missing is told, nothing is left, and going back works on them."""

from __future__ import annotations

import os
import re
import shutil
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import full
import kit
import pytest
import stands
from full import MIB
from test_homes_and_places import STRANGER, install_for_strangers

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from contextlib import AbstractContextManager

    from full import Small

LARGE = 10 * MIB
UNITS = {"B": 1, "KiB": 1 << 10, "MiB": 1 << 20, "GiB": 1 << 30}
TOLD = re.compile(
    r"error: the file system `(?P<folder>[^`]+)` (is full|has too little room): the set needs about (?P<needed>[^,]+), "
    r"(?P<free>.+) are free: (?P<missing>.+) are missing"
)

RESOLVING = re.compile(r"error: the file system `[^`]+` (is full|has too little room): [^:]* are free\n +`.*/uv/")
"""What is told when uv's cache found no room for what the resolver reads: nobody knows then what the set will be."""
NO_INODES = re.compile(r"has (no inodes left|too few inodes): .*\d+ inodes are free")


class Ground:
    """A base and large wheels, on a file system with room; the home is wherever a test has its small one."""

    def __init__(self, folder: Path, python: Path) -> None:
        self.folder = folder
        self.vpm_env = stands.small(folder, python=python.resolve())
        self.vpm_env.python = str(python)
        self.links = folder / "links"
        for number in range(3):
            name = f"large{number}"
            files = {f"{name}/__init__.py": "", f"{name}/data.bin": os.urandom(LARGE)}
            kit.wheel(self.links, name, files=files)
        for version in ("1.0", "2.0", "3.0"):
            kit.wheel(self.links, "little", version)
        self.known = folder / "known"
        self.use(folder / "first")
        self.ask("little", "1.0")
        self("build", "--offline", check=True)
        shutil.copytree(folder / "first" / "cache", self.known, symlinks=True)

    def use(self, home: Path, uv_cache: Path | None = None) -> None:
        """Have the home there."""
        self.vpm_env.home = home
        self.vpm_env.env["VPM_ENV_HOME"] = str(home)
        self.vpm_env.env["UV_CACHE_DIR"] = str(uv_cache or self.links.parent / "uv")

    def ask(self, name: str, version: str = "1.0", *more: str) -> None:
        """Let the config ask for a plugin in one version, and for others."""
        entries = f"  - {{name: {name}, source: pypi, version: '{version}'}}\n"
        entries += "".join(f"  - {{name: {other}, source: pypi}}\n" for other in more)
        self.vpm_env.config(f"find_links: [{self.links}]\nplugins:\n{entries}")
        for lock in self.vpm_env.folder.glob("pylock.*"):
            lock.unlink()

    def ask_for_large(self) -> None:
        """Let it ask for 30 MiB."""
        self.ask("large0", "1.0", "large1", "large2")

    def __call__(self, *words: str, check: bool = False, user: int = 0) -> kit.Finished:
        """Call a verb, as some user."""
        self.vpm_env.uid = user or None
        return self.vpm_env(*words, check=check)

    @property
    def current(self) -> str:
        """Say which generation is current; "" for none."""
        for link in self.vpm_env.home.glob("profiles/default/*/current"):
            return os.readlink(link)
        return ""

    def warm(self) -> None:
        """Give the home what every build has from the second on: facts of the base and a skeleton."""
        home = self.vpm_env.home
        home.mkdir(parents=True)
        (home / "format").write_text("1\n")
        shutil.copytree(self.known, home / "cache", symlinks=True)


@pytest.fixture(scope="module")
def ground() -> Iterator[Ground]:
    """Make the ground, where others than root may look too."""
    if os.geteuid() != 0:
        pytest.skip("only root may mount")
    folder = Path(tempfile.mkdtemp(prefix="vpm-env-full-"))
    folder.chmod(0o755)
    before = os.umask(0o022)
    try:
        yield Ground(folder, install_for_strangers(folder))
    finally:
        os.umask(before)
        shutil.rmtree(folder)


@pytest.fixture
def place(ground: Ground) -> Iterator[Path]:
    """Lend a folder to mount in."""
    path = Path(tempfile.mkdtemp(dir=ground.folder))
    path.chmod(0o755)
    yield path
    shutil.rmtree(path)


def bytes_of(text: str) -> float:
    """Read a size as it is told."""
    number, unit = text.split(" ")
    return float(number) * UNITS[unit]


def strays(home: Path) -> list[str]:
    """Name what a refused build must not leave."""
    found = [str(path) for path in home.rglob("*") if path.name.endswith(".new")]
    found += [str(path) for path in (home / "tmp").glob("*")]
    return found + [str(path) for path in home.glob("overlays/*/*") if not (path / "overlay.json").exists()]


def refused(ground: Ground, small: Small, done: kit.Finished, before: tuple[str, int]) -> list[str]:
    """Say what is wrong with how a build for want of room ended; `before` is what was current, and the bytes used."""
    wrong = [] if done.exit == 1 else [f"exit {done.exit}"]
    found = TOLD.search(done.stderr)
    if RESOLVING.search(done.stderr):
        needed = free = missing = 0.0
    elif not found:
        return [*wrong, f"not told: {done.stderr}"]
    else:
        needed, free, missing = (bytes_of(found[name]) for name in ("needed", "free", "missing"))
    if f"the file system `{small.mount}`" not in done.stderr:
        wrong.append(f"another file system is told: {done.stderr}")
    if abs(needed - free - missing) > 0.1 * needed + 1024:
        wrong.append(f"that is no difference: {found[0]}")
    if ground.current != before[0]:
        wrong.append(f"{ground.current} is current")
    if small.used - before[1] > 256 << 10:
        wrong.append(f"{small.used - before[1]} bytes are left")
    return [*wrong, *strays(ground.vpm_env.home)]


def a_size(ground: Ground, small: Small, size: int, *, with_cache: bool, thorough: bool) -> tuple[list[str], bool]:
    """Build 30 MiB on a file system of some size, and say what is wrong and whether it was refused."""
    ground.use(small.mount / "home", small.mount / "uv" if with_cache else None)
    ground.ask_for_large()
    ground.warm()
    before = (ground.current, small.used)
    done = ground("build", "--offline")
    if done.exit == 0:
        return ([] if ground.current else ["nothing is current"]), False
    cached = sum(path.stat().st_blocks * 512 for path in (small.mount / "uv").rglob("*") if path.is_file())
    wrong = refused(ground, small, done, (before[0], before[1] + cached))
    if not thorough:
        return wrong, True
    found = TOLD.search(done.stderr)
    missing = bytes_of(found["missing"]) if found else 80 * MIB
    for step in ("gc", "verify"):
        ended = ground(step)
        wrong += [f"{step}: {ended.output}"] if ended.exit else []
    small.resize(int(size + missing + MIB + (3 * LARGE if with_cache and not cached else 0)))
    again = ground("build", "--offline")
    wrong += [f"with what was missing: {again.output}"] if again.exit else []
    return wrong, True


@pytest.mark.parametrize("with_cache", [False, True], ids=["home", "home and uv's cache"])
def test_every_size_either_does_or_says_what_is_missing(
    with_cache: bool, ground: Ground, place: Path, figure: Callable[..., None], scale: Callable[[int, int], int]
) -> None:
    count = scale(8 if with_cache else 32, 32)
    sizes = [1 + round(63 * number / (count - 1)) for number in range(count)]
    violations, refusals = [], 0
    for number, size in enumerate(sizes):
        with full.tmpfs(place / f"of-{size}", size * MIB) as small:
            thorough = number % scale(4, 1) == 0
            wrong, was_refused = a_size(ground, small, size * MIB, with_cache=with_cache, thorough=thorough)
            violations += [f"{size} MiB: {what}" for what in wrong]
            refusals += was_refused
    where = "home and uv's cache" if with_cache else "home"
    title = f"sizes of a real full disk with the {where}"
    note = f"{refusals} refused, {count - refusals} built"
    figure("R5", title, count=count, wanted=count, violations=violations, note=note)
    assert 0 < refusals < count


def test_the_whole_refusal(ground: Ground, place: Path) -> None:
    with full.tmpfs(place / "small", 12 * MIB) as small:
        ground.use(small.mount / "home")
        ground.ask_for_large()

        done = ground("build", "--offline")

        said = re.sub(r"\d+\.\d s", "0.1 s", done.stderr).replace(str(small.mount), "/small")
    assert done.stdout == ""
    assert said == (
        "resolving: 0.1 s\n"
        "error: the file system `/small` has too little room: "
        "the set needs about 30 MiB, 12 MiB are free: 18 MiB are missing\n"
        "\n"
        "hint: `vpm-env gc` frees what no generation needs, `vpm-env gc --dry-run` says what that is\n"
        "hint: `--home` or `VPM_ENV_HOME` names a home on another file system\n"
    )


def test_inodes_that_run_out_are_told_as_such(ground: Ground, place: Path, figure: Callable[..., None]) -> None:
    violations, counted = [], (8, 16, 32, 64, 96, 112, 128, 144, 160)
    for count in counted:
        with full.tmpfs(place / f"of-{count}", 64 * MIB, inodes=count) as small:
            ground.use(small.mount / "home")
            ground.ask_for_large()
            before = ground.current
            done = ground("build", "--offline")
            if done.exit != 1 or not NO_INODES.search(done.stderr):
                violations.append(f"{count}: {done.output}")
            violations += [f"{count}: {path}" for path in strays(ground.vpm_env.home)]
            violations += [f"{count}: {ground.current} is current"] * (ground.current != before)
    figure("R5", "numbers of inodes that do not suffice", count=len(counted), wanted=9, violations=violations)


class Sets:
    """A home on a small file system with three sets, of which the last is current."""

    def __init__(self, ground: Ground, small: Small, user: int) -> None:
        self.small, self._ground, self._user = small, ground, user
        self.calls = 0
        ground.use(small.mount / "home")
        ground.warm()
        for version in ("1.0", "2.0", "3.0"):
            ground.ask("little", version)
            ground("build", "--offline", check=True)
        for top in (small.mount, ground.folder / "uv", ground.vpm_env.folder):
            for path in [top, *top.rglob("*")]:
                os.chown(path, user, user, follow_symlinks=False)

    def wrong(self, *words: str, current: str) -> list[str]:
        """Say what is wrong with a call on the full file system, which must succeed."""
        done = self._ground(*words, user=self._user)
        self.calls += 1
        wrong = [f"{words}: {done.output}"] if done.exit or "warning" in done.stderr else []
        if self._ground.current != current:
            wrong.append(f"{words}: {self._ground.current} is current")
        return wrong + strays(self._ground.vpm_env.home)

    def story(self) -> list[str]:
        """Go back twice, forward, and collect, without any room."""
        wrong = self.wrong("rollback", current="generations/2")
        wrong += self.wrong("rollback", "--bad", current="generations/1")
        wrong += self.wrong("switch", "3", current="generations/3")
        wrong += self.wrong("gc", "--keep", "2", current="generations/3")
        return wrong + self.wrong("verify", current="generations/3")


def a_full(ground: Ground, small: Small, user: int, *, of_inodes: bool) -> tuple[list[str], int]:
    """Fill a file system, go back on it, and build when there is room again: what is wrong, and how many calls."""
    sets = Sets(ground, small, user)
    reserve = ground.vpm_env.home / "reserve"
    wrong = [] if len(list(reserve.iterdir())) == 16 else ["nothing is set aside"]
    if of_inodes:
        small.fill_inodes()
    else:
        small.fill()
    wrong += sets.story()
    left = len(list(reserve.iterdir()))
    wrong += ["nothing of the reserve was used"] if left == 16 and of_inodes else []
    small.clear()
    ground.ask("little", "2.0", "large0")
    done = ground("build", "--offline", user=user)
    wrong += [f"build: {done.output}"] if done.exit else []
    wrong += ["the reserve is not made again"] if len(list(reserve.iterdir())) != 16 else []
    return wrong, sets.calls


FULL = (
    ("tmpfs", 0, True),
    ("ext4, data=ordered", STRANGER, False),
    ("ext4, data=ordered", STRANGER, True),
    ("xfs", 0, False),
)
MORE = (
    ("tmpfs", 0, False),
    ("tmpfs", STRANGER, False),
    ("ext4, data=ordered", 0, False),
)
"""Those of the long run."""


@pytest.mark.parametrize(("kind", "user", "of_inodes"), [*FULL, *MORE])
def test_going_back_needs_no_room(
    kind: str,
    user: int,
    of_inodes: bool,
    ground: Ground,
    place: Path,
    figure: Callable[..., None],
    scale: Callable[[int, int], int],
) -> None:
    if (kind, user, of_inodes) in MORE and scale(1, 0):
        pytest.skip("the long run has it")
    with lent(kind, place / "small", of_inodes=of_inodes) as small:
        violations, calls = a_full(ground, small, user, of_inodes=of_inodes)
    what = f"{'inodes' if of_inodes else 'blocks'} of {kind}, {'a user' if user else 'root'}"
    title = "calls of gc, rollback, switch and verify with nothing left"
    figure("R5", title, count=calls, wanted=5, violations=violations, note=what)


def lent(kind: str, folder: Path, *, of_inodes: bool) -> AbstractContextManager[Small]:
    """Lend a file system of some kind, with few inodes where those are to run out."""
    if kind == "tmpfs":
        return full.tmpfs(folder, 48 * MIB, inodes=900 if of_inodes else 0)
    return full.on_disk(folder, kind, (320 if kind == "xfs" else 48) * MIB)


def test_a_config_on_a_full_disk_stays_as_it_is(ground: Ground, place: Path) -> None:
    ground.use(place / "home")
    work = ground.vpm_env.folder
    with full.tmpfs(place / "work", MIB) as small:
        ground.vpm_env.folder = small.mount
        try:
            ground.ask("little", "1.0")
            text = f"find_links:\n  - {ground.links}\nplugins:\n  - name: little\n    source: pypi\n"
            ground.vpm_env.config(text)
            before = (small.mount / "plugins.yaml").read_bytes()
            small.fill()
            built = ground("build", "--offline")
            added = ground("add", "large0", "--offline")
            left = sorted(path.name for path in small.mount.iterdir())
            after = (small.mount / "plugins.yaml").read_bytes()
        finally:
            ground.vpm_env.folder = work

    assert built.exit == 0
    assert re.search(
        r"warning: the lock cannot be written to `.*/work/pylock\.plugins\.toml`: no space left", built.stderr
    )
    assert list(ground.vpm_env.home.glob("profiles/default/*/pylock.plugins.toml"))
    assert (added.exit, after) == (1, before)
    assert re.match(r"error: the file system `.*/work` is full: 0 B are free\n  `.*plugins\.yaml", added.stderr)
    assert left == ["filling", "plugins.yaml"]


def test_a_base_on_a_full_disk_gets_no_half_of_a_hook(ground: Ground, place: Path) -> None:
    with full.tmpfs(place / "base", 64 * MIB) as small:
        base = kit.base(small.mount / "base")
        kit.fake_vllm(base, "0.33.0")
        ground.use(place / "home")
        ground.ask("little", "1.0")
        small.fill()

        done = ground("hook", "install", "--base", base.python)
        left = [path for path in base.purelib.rglob("*") if "vpm_env" in path.name and path.suffix in (".pth", ".new")]
        started = base.run("-c", "print('it starts')")

    assert done.exit == 1
    assert "no space left on device" in done.stderr.lower()
    assert str(small.mount) in done.stderr
    assert left == []
    assert (started.stdout, started.stderr) == ("it starts\n", "")


def test_temporary_files_on_a_full_disk(ground: Ground, place: Path) -> None:
    with full.tmpfs(place / "tmp", MIB) as small:
        small.fill()
        ground.use(place / "home")
        ground.ask("little", "2.0")
        ground.vpm_env.env["TMPDIR"] = str(small.mount)
        try:
            done = ground("build", "--offline")
        finally:
            del ground.vpm_env.env["TMPDIR"]

    full_one = f"error: the file system `{small.mount}` is full"
    assert done.exit == 0 or (done.exit == 1 and done.stderr.splitlines()[-1].startswith(full_one)), done.output
