"""S6: what a user trusts vpm-env with is nowhere afterwards: on no disk, on no screen, in no command line."""

from __future__ import annotations

import re
import shutil
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import canaries
import kit
import pytest
import stands
from canaries import CANARY, USER, Private, Watch
from places import Place, demo, of_git, places

from envbuilder.process import redact

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

GROUP = "vllm.general_plugins"
LOOKS = (
    *("build --dry-run", "list --json", "show --json", "status --json", "info --json", "history --json", "path"),
    *(
        "diff 1 1 --json",
        "tree",
        "why demo",
        "plugins --json",
        "outdated --json",
        "audit --json",
        "sbom",
        "verify --json",
    ),
    *("doctor --json", "template dockerfile", "template unit", "completion bash", "hook status", "-v build --force"),
    *("-v check", "run -- true", "--json build", "build --upgrade", "check --json", "gc --dry-run", "keep 1", "status"),
)
"""All that a user may ask afterwards."""
FEW = ("doctor --json", "status --json", "-v build --force")


@dataclass
class Ground:
    """A base, a private server, and vpm-env with a new home for each place."""

    folder: Path
    vpm_env: kit.VpmEnv
    server: Private
    watch: Watch
    workshop: kit.Workshop

    def renew(self, place: Place) -> dict[str, str]:
        """Begin anew; return the variables for the place."""
        kept = self.folder / "skeletons"
        cached = self.vpm_env.home / "cache" / "skeletons"
        if cached.exists() and not kept.exists():
            shutil.copytree(cached, kept, symlinks=True)
        for folder in (self.vpm_env.home, self.folder / "uv", self.vpm_env.folder, self.folder / "user"):
            shutil.rmtree(folder, ignore_errors=True)
            folder.mkdir()
        if kept.exists():
            shutil.copytree(kept, cached, symlinks=True)
        home = self.folder / "user"
        for name, text in place.files.items():
            (home / name).parent.mkdir(parents=True, exist_ok=True)
            (home / name).write_text(text.replace("{home}", str(home)))
        self.vpm_env.config(place.config)
        self.watch.argv.clear()
        self.server.server.accepted = {f"{USER}:{CANARY}", CANARY, f"{CANARY}:"}
        values = {name: value.replace("{home}", str(home)) for name, value in place.env.items()}
        return {**self.vpm_env.env, "HOME": str(home), "TMPDIR": str(self.folder / "tmp"), **values}

    def call(self, words: str, env: Mapping[str, str], **options: Any) -> kit.Ended:
        """Call a verb."""
        return self.workshop(*words.split(), env=env, cwd=self.vpm_env.folder, **options)

    def left(self, secret: str = CANARY) -> list[str]:
        """Name the files that hold a secret, but for the user's own config."""
        own = self.vpm_env.folder / "plugins.yaml"
        parts = (self.vpm_env.home, self.vpm_env.folder, self.folder / "uv", self.folder / "tmp")
        return [path for part in parts for path in canaries.found_in(part, secret, besides={own: 1})]


@pytest.fixture(scope="module")
def ground(tmp_path_factory: pytest.TempPathFactory, workshop: kit.Workshop) -> Iterator[Ground]:
    folder = tmp_path_factory.mktemp("credentials")
    vpm_env = stands.small(folder)
    for name in ("wheels", "tmp"):
        (folder / name).mkdir()
    code = {"demo/__init__.py": "def run(): pass\n"}
    kit.wheel(folder / "wheels", "demo", entry_points={GROUP: {"demo": "demo:run"}}, files=code)
    repository = kit.git_repository(kit.project(folder / "repo", "gitplug", entry_points={GROUP: {"g": "gitplug:run"}}))
    repository.commit({"gitplug/__init__.py": "def run(): pass\n"})
    watch = Watch(str(folder))
    with canaries.private(folder / "wheels", repository, watch) as server:
        yield Ground(folder, vpm_env, server, watch, workshop)


def seen(said: str, secret: str = CANARY) -> str:
    """Return the line that holds a secret; "" where none does."""
    wanted = canaries.spellings(secret)
    return next((line for line in said.splitlines() if any(word in line.encode() for word in wanted)), "")


def test_no_credential_is_found_anywhere(ground: Ground, figure: Any, scale: Any) -> None:
    violations, looked = [], 0
    found = places(ground.server.host)
    for number, place in enumerate(found):
        env = ground.renew(place)
        first = ground.call("build", env)
        should = place.refused or place.fails
        if (first.code == 0) == should or "Traceback" in first.stderr:
            violations.append(f"{place.name}: ended with {first.code}: {first.stderr[-300:]}")
        verbs = scale(0, 1) or number == 3
        for words in LOOKS if verbs else () if place.refused else FEW:
            ended = ground.call(words, env)
            looked += 1
            if line := seen(ended.stdout + ended.stderr):
                violations.append(f"{place.name}: `{words}` says {line[:200]}")
        if line := seen(first.stdout + first.stderr):
            violations.append(f"{place.name}: `build` says {line[:200]}")
        violations += [f"{place.name}: in {path}" for path in ground.left()]
        told = () if place.gits_own else ground.watch.argv
        violations += [f"{place.name}: an argument list: {words[:200]}" for words in told if seen(words)]
    note = f"{looked + len(found)} calls"
    figure(
        "S6",
        "places of a credential: files, output, arguments",
        count=len(found),
        wanted=50,
        violations=violations,
        note=note,
    )


def test_no_error_of_a_server_tells_it(ground: Ground, figure: Any) -> None:
    host, violations = ground.server.host, []
    wanted = {
        "index": demo(f"http://{canaries.USER}:{CANARY}@{host}/echo/simple"),
        "git": of_git(f"http://{canaries.USER}:{CANARY}@{host}/echo/repo.git"),
    }
    statuses = (401, 403, 404, 407, 500, 502, 503)
    for status in statuses:
        for name, config in wanted.items():
            env = ground.renew(Place(name, config))
            ground.server.server.status = status
            for words in ("-v build", "build --json"):
                ended = ground.call(words, env)
                line = seen(ended.stdout + ended.stderr)
                if ended.code == 0 or line or "Traceback" in ended.stderr:
                    violations.append(f"{name} {status}: {ended.code} {line or ended.stderr[-200:]}")
            violations += [f"{name} {status}: in {path}" for path in ground.left()]
    ground.server.server.status = 401
    figure("S6", "errors of servers that tell what they got", count=len(statuses) * 2, wanted=14, violations=violations)


def test_no_failure_in_the_middle_tells_it(ground: Ground, figure: Any, scale: Any) -> None:
    place = places(ground.server.host)[1]
    env = ground.renew(place)
    changes = len(ground.call("build", env).changes)
    violations, points, ended_so = [], range(1, changes, scale(29, 4)), 0
    for at in points:
        env = ground.renew(place)
        ended = ground.call("build", env, fault=kit.Fault("EIO" if at % 2 else "kill", at=at))
        ended_so += ended.code != 0
        if line := seen(ended.stdout + ended.stderr):
            violations.append(f"{at}: {line[:200]}")
        violations += [f"{at}: in {path}" for path in _lasting(ground)]
    figure("S6", "builds that fail or die in the middle", count=ended_so, wanted=5, violations=violations)


def _lasting(ground: Ground) -> list[str]:
    """Leave out what uv was handed when it was killed: it lies in a folder that only its owner can enter."""
    found = [path for path in ground.left() if "/tmp/" not in path.removeprefix(str(ground.folder))]
    staged = [path for path in ground.left() if path not in found]
    return found + [path for path in staged if not _is_closed(ground, path)]


def _is_closed(ground: Ground, path: str) -> bool:
    top = ground.vpm_env.home / "tmp"
    return all(entry.stat().st_mode & 0o077 == 0 for entry in top.iterdir())


ODD = (
    "p@ss:w/ord",
    'it\'s "q" `b` <x>',
    "пароль-ключ",
    "a%2540b%",
    "$(id)${HOME}",
    "\\back\\slash",
    "a",
    "ab1",
    "demo",
    "index",
)


def test_odd_credentials_are_as_safe(ground: Ground, figure: Any, scale: Any) -> None:
    from urllib.parse import quote

    violations, tried = [], 0
    for number, secret in enumerate(ODD):
        ways = ((quote(secret, safe=""), {}), ("${MYTOK}", {"MYTOK": quote(secret, safe="")}))
        for spelled, values in (scale(0, 1) and ways) or (ways[number % 2],):
            tried += 1
            env = ground.renew(Place("odd", demo(f"http://{USER}:{spelled}@{ground.server.host}/simple"), values))
            ground.server.server.accepted = {f"{USER}:{secret}"}
            ended = ground.call("build --json", env)
            if ended.code or '"switched"' not in ended.stdout:
                violations.append(f"{secret!r}: {ended.stderr[-300:]}")
            failed = ground.call("-v build --force", env | {"VPM_ENV_CONFIG": str(_broken(ground, spelled))})
            said = ended.stdout + ended.stderr + failed.stdout + failed.stderr
            words = secret if len(secret) >= 6 else f"{USER}:{secret}@"
            if line := seen(said, words):
                violations.append(f"{secret!r} is told: {line}")
            if "cannot be resolved" not in failed.stderr or said.count("****") > 6:
                violations.append(f"{secret!r} makes nonsense of {failed.stderr[-300:]}")
            if len(secret) >= 6:
                violations += [f"{secret!r}: in {path}" for path in ground.left(secret) if "broken" not in path]
    figure(
        "S6",
        "odd credentials: quotes, escapes, other scripts, words",
        count=tried,
        wanted=len(ODD),
        violations=violations,
    )


def _broken(ground: Ground, spelled: str) -> Path:
    path = ground.vpm_env.folder / "broken.yaml"
    path.write_text(
        demo(f"http://{USER}:{spelled}@{ground.server.host}/simple").replace("name: demo", "name: demodemo")
    )
    return path


def test_what_is_struck_out_of_a_text() -> None:
    for secret in ("a", "abc"):
        assert redact("a cat on a mat: abc", secrets=[secret]) == "a cat on a mat: abc"
    assert redact("demo of demos, user:demo@h", secrets=["demo"]) == "**** of demos, user:****@h"
    assert redact(f"x{CANARY}y", secrets=[CANARY]) == "x****y"
    assert redact("https://u:p@ss@h/?token=abc&n=1") == "https://****@h/?token=****&n=1"
    assert redact("`http://u:se/kret@h/x`, http://h:80/a@1") == "`http://****@h/x`, http://h:80/a@1"
    assert redact("git+https://h:${PORT}/a@1 http://[::1]:80/a@1") == "git+https://h:${PORT}/a@1 http://[::1]:80/a@1"
    assert redact("https://h/?X-Amz-Signature=1a2b&sig=9#x") == "https://h/?X-Amz-Signature=****&sig=****#x"
    assert redact("keys=1 tokens?") == "keys=1 tokens?"


def test_a_build_gets_no_secrets(ground: Ground, figure: Any) -> None:
    folder = ground.folder / "building"
    dump = ground.folder / "tmp" / "seen-by-the-backend"
    code = f"import os, subprocess\nwith open({str(dump)!r}, 'a') as f:\n    f.write(repr(dict(os.environ)))\n"
    code += "    f.write(subprocess.run(['env'], capture_output=True, text=True).stdout)\n"
    kit.sdist(ground.folder / "wheels", "sourced", build_code=code)
    kit.project(folder, "local", build_code=code)
    text = demo(f"http://{USER}:${{MYTOK}}@{ground.server.host}/simple").replace("name: demo", "name: sourced")
    names = ("HF_TOKEN", "AWS_SECRET_ACCESS_KEY", "VLLM_API_KEY", "PGPASSWORD", "GITHUB_TOKEN", "MYTOK")
    others = dict.fromkeys(names, CANARY) | {"DATABASE_URL": f"pg://u:{CANARY}@h/x"}
    env = ground.renew(Place("build", text + f"  - {{name: local, source: local, path: {folder}}}\n", others))

    ended = ground.call("build", env)

    told = dump.read_text()
    dump.unlink()
    (ground.folder / "wheels" / "sourced-1.0.tar.gz").unlink()
    assert ended.code == 0, ended.stderr
    assert "PATH" in told
    line = seen(re.sub(", |\n", "\n", told))
    figure("S13", "secrets in a build's variables", count=len(others) + 1, wanted=8, violations=[line] if line else [])
