"""R10: nothing may be written: what only looks works, what would change says so in a sentence, and nothing changes."""

from __future__ import annotations

import fcntl
import os
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING

import disks
import kit
import pytest
import stands
from worlds import files_of

if TYPE_CHECKING:
    from collections.abc import Iterator

    from conftest import Figures, Scale

GROUP = "vllm.general_plugins"
PARTS = ("home", "base", "user", "work")
"""What may be read-only: vpm-env's home, the base, $HOME, and the config's folder."""

LOOKS = (
    "list",
    "list --json",
    "status",
    "status --json",
    "history",
    "show 1",
    "diff 1 2",
    "tree",
    "why ash",
    "plugins",
    "audit",
    "path",
    "info",
    "verify",
    "verify --json",
    "hook status",
    "gc --dry-run",
    "gc --why 1",
    "build --dry-run --offline",
    "sbom",
    "template dockerfile",
    "completion bash",
)
FEW = ("list", "status", "path", "verify", "build --dry-run --offline")
"""What is looked at in CI where only one part is read-only that vpm-env never writes to by itself."""

REFUSED = {
    "home": ("rollback", "switch 1", "gc", "keep 1", "build --offline --force"),
    "base": ("hook uninstall", "hook install"),
    "user": (),
    "work": ("add ash==9", "disable ash"),
}
"""Calls that cannot be, where a part is read-only."""


class Site:
    """A home with two generations, a base with a hook, $HOME and a config, each in a folder of its own."""

    def __init__(self, folder: Path, workshop: kit.Workshop) -> None:
        self.folder = folder
        self._workshop = workshop
        self.vpm_env = stands.small(folder)
        (folder / "user").mkdir()
        self.vpm_env.env |= {"HOME": str(folder / "user")}
        links = folder / "links"
        for version in ("1.0", "2.0"):
            files = {"ash/__init__.py": f"VALUE = {version!r}\n\n\ndef register():\n    pass\n"}
            kit.wheel(links, "ash", version, files=files, entry_points={GROUP: {"ash": "ash:register"}})
            self.vpm_env.config(
                f"find_links: {links}\nindex: http://127.0.0.1:9/none\nplugins:\n"
                f"  - name: ash\n    source: pypi\n    version: '{version}'\n"
            )
            self.must("build", "--offline")
        self.must("hook", "install")
        self.python = Path(self.vpm_env.env["VPM_ENV_BASE"])

    def __call__(self, words: str, **variables: str) -> kit.Ended:
        env = {**self.vpm_env.env, **variables}
        return self._workshop(*words.split(), env=env, cwd=self.vpm_env.folder)

    def must(self, *words: str) -> None:
        ended = self(" ".join(words))
        assert ended.code == 0, f"{words}: {ended.stdout}{ended.stderr}"

    def start(self, *command: str) -> subprocess.Popen[str]:
        """Start a command with no variable that names the home or the base."""
        variables = {name: value for name, value in self.vpm_env.env.items() if not name.startswith("VPM_ENV_")}
        return subprocess.Popen(
            command, env=variables, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )

    @property
    def overlay(self) -> Path:
        (current,) = self.vpm_env.home.glob("profiles/default/*/current")
        return Path(os.path.realpath(current))


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory, workshop: kit.Workshop) -> Site:
    return Site(tmp_path_factory.mktemp("site"), workshop)


@pytest.fixture(params=[*PARTS, "all"])
def part(request: pytest.FixtureRequest, site: Site) -> Iterator[str]:
    """Make a part read-only, or all of them; nothing in any of them may change by what only looks."""
    names = PARTS if request.param == "all" else (request.param,)
    before = {name: _content(site.folder / name) for name in names}
    with disks.read_only(*[site.folder / name for name in names]):
        yield request.param
    assert {name: _content(site.folder / name) for name in names} == before


def test_what_looks_works(site: Site, part: str, scale: Scale, figure: Figures) -> None:
    wrong = []
    looks = LOOKS if scale.is_long or part in ("home", "all") else FEW
    for words in looks:
        ended = site(words)
        if ended.code or "Traceback" in ended.stderr:
            wrong.append(f"{words} ended with {ended.code}: {ended.stdout[-200:]}{ended.stderr[-600:]}")
    for words in ("doctor", "doctor --json"):
        ended = site(words)
        if ended.code not in (0, 1) or "Traceback" in ended.stderr:
            wrong.append(f"{words} ended with {ended.code}: {ended.stderr[-600:]}")

    figure("R10", "calls that look", count=len(looks) + 2, wanted=7, violations=wrong, note=part)


def test_what_would_change_says_so(site: Site, part: str, figure: Figures) -> None:
    refused = {words for name, all_words in REFUSED.items() if part in (name, "all") for words in all_words}
    wrong = []
    for words in sorted(refused):
        ended = site(words)
        if ended.code != 1 or "Traceback" in ended.stderr:
            wrong.append(f"{words} ended with {ended.code}: {ended.stdout}{ended.stderr[-600:]}")
        elif "read-only" not in ended.stderr.lower() or ended.stderr.count("error:") != 1:
            wrong.append(f"{words} says {ended.stderr!r}")

    figure(
        "R10",
        "calls that would change something, and say that they cannot",
        count=len(refused),
        wanted=0,
        violations=wrong,
        note=part,
    )


def test_sets_are_active(site: Site, part: str, figure: Figures) -> None:
    """By the hook, by the overlay's own python, and by `run`."""
    code = "import ash; print(ash.VALUE)"
    ways = {
        "hook": [str(site.python), "-c", code],
        "overlay": [str(site.overlay / "bin" / "python"), "-c", code],
        "run": [
            *site.vpm_env.command,
            "--home",
            str(site.vpm_env.home),
            "--base",
            str(site.python),
            "run",
            "--",
            "python",
            "-c",
            code,
        ],
    }
    wrong = []
    for name, command in ways.items():
        out, err = site.start(*command).communicate(timeout=60)
        if (out, err) != ("2.0\n", ""):
            wrong.append(f"{name}: {out}{err}")

    figure("R10", "Pythons that get their set", count=len(ways), wanted=3, violations=wrong, note=part)


def test_a_run_holds_its_lease(site: Site, figure: Figures) -> None:
    """So a writer elsewhere, to whom the same files are not read-only, does not collect what is in use."""
    lease = os.open(site.overlay / ".lease", os.O_RDONLY)
    wrong = []
    with disks.read_only(site.folder / "home"):
        words = ["--home", str(site.vpm_env.home), "--base", str(site.python), "run", "--"]
        child = site.start(*site.vpm_env.command, *words, "python", "-c", "print('here', flush=True); input()")
        assert child.stdout is not None
        if child.stdout.readline() != "here\n":
            wrong.append(child.communicate()[1])
        try:
            fcntl.flock(lease, fcntl.LOCK_EX | fcntl.LOCK_NB)
            wrong.append("nobody holds the lease")
        except BlockingIOError:
            pass
        child.communicate("\n", timeout=30)
    os.close(lease)

    figure("R10", "leases of `run` from a read-only home", count=1, violations=wrong)


def _content(folder: Path) -> dict[str, str]:
    return {path: what for path, what in files_of(folder).items() if "flocks/" not in path}
