"""`on_build` and `on_switch`: when the commands run, what they are told, and that nothing they do undoes a switch."""

from __future__ import annotations

import json
import os
import re
import signal
from pathlib import Path
from typing import TYPE_CHECKING

import kit
import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator

GROUP = "vllm.general_plugins"
TELL = "(env | grep ^VPM_ENV_; echo current=$(readlink {profile}/current); echo pwd=$PWD) | tr '\\n' ' ' >> {log}"
TELL += "; echo >> {log}"


class Stand:
    """Two generations; the log is what the commands of the second one wrote."""

    def __init__(self, folder: Path) -> None:
        self.base = kit.base(folder / "base")
        kit.fake_vllm(self.base, "0.33.0")
        env = kit.clean_environment(folder)
        env |= {"VPM_ENV_HOME": str(folder / "home"), "UV_CACHE_DIR": str(folder / "uv")}
        (folder / "work").mkdir()
        self.vpm_env = kit.VpmEnv(home=folder / "home", folder=folder / "work", env=env).use(self.base)
        self.links, self.log = folder / "links", folder / "log"
        self.first_told: list[dict[str, str]] = []
        for name in ("one", "two"):
            kit.wheel(self.links, name, entry_points={GROUP: {name: f"{name}:__version__.title"}})

    def build(self, *names: str, keys: str = "", words: tuple[str, ...] = ()) -> kit.Finished:
        entries = "".join(f"  - {{name: {name}, source: pypi}}\n" for name in names)
        start = f"find_links: {self.links}\nindex: http://127.0.0.1:9/none\n"
        self.vpm_env.config(f"{start}plugins:\n{entries}{keys}")
        return self.vpm_env("build", "--offline", *words, check=True)

    def commands(self, **commands: str) -> kit.Finished:
        """Let the newest generation, which has both plugins, have these commands."""
        keys = "".join(f"{key}: {json.dumps(command)}\n" for key, command in commands.items())
        return self.build("one", "two", keys=keys)

    @property
    def profile(self) -> Path:
        (found,) = self.vpm_env.home.glob("profiles/default/*")
        return found

    def told(self) -> list[dict[str, str]]:
        """Return what the commands were told since the last call, a record for each."""
        lines = self.log.read_text().splitlines() if self.log.exists() else []
        self.log.unlink(missing_ok=True)
        return [dict(word.split("=", 1) for word in line.split()) for line in lines]


@pytest.fixture(scope="module")
def stand(tmp_path_factory: pytest.TempPathFactory) -> Stand:
    made = Stand(tmp_path_factory.mktemp("followup"))
    made.build("one")
    tell = TELL.format(log=made.log, profile=made.profile)
    done = made.commands(on_build=f"echo built; {tell}", on_switch=tell)
    assert re.search(r"running on_build: .* s\nrunning on_switch: .* s\n", done.stderr)
    made.first_told = made.told()
    return made


@pytest.fixture(autouse=True)
def second_is_current(stand: Stand) -> Iterator[None]:
    """Begin each test with generation 2 and with commands that tell."""
    yield
    tell = TELL.format(log=stand.log, profile=stand.profile)
    stand.commands(on_build=tell, on_switch=tell)
    stand.vpm_env("switch", "2", check=True)
    stand.told()


def test_after_a_build_both_run_in_the_folder_of_the_config(stand: Stand) -> None:
    built, switched = stand.first_told
    (overlay,) = stand.vpm_env("path").stdout.splitlines()

    assert built == switched
    assert built == {
        "VPM_ENV_BASE": str(stand.base.python),
        "VPM_ENV_CONFIG": str(stand.vpm_env.folder / "plugins.yaml"),
        "VPM_ENV_DIGEST": Path(overlay).name,
        "VPM_ENV_EVENT": "build",
        "VPM_ENV_GENERATION": "2",
        "VPM_ENV_HOME": str(stand.vpm_env.home),
        "VPM_ENV_OVERLAY": overlay,
        "VPM_ENV_PREVIOUS": "1",
        "VPM_ENV_PROFILE": "default",
        "current": "generations/2",
        "pwd": str(stand.vpm_env.folder),
    }


def test_a_rollback_to_a_set_without_commands_runs_those_of_the_newest(stand: Stand) -> None:
    done = stand.vpm_env("rollback", env={"VPM_ENV_PIN": "of:another"}, check=True)

    (told,) = stand.told()
    assert (told["VPM_ENV_EVENT"], told["VPM_ENV_GENERATION"], told["VPM_ENV_PREVIOUS"]) == ("rollback", "1", "2")
    assert told["current"] == "generations/1"
    assert "VPM_ENV_PIN" not in told
    assert done.stderr.startswith("running on_switch: ")
    assert "rolled back to generation 1 " in done.stderr


def test_what_switches_nothing_runs_nothing(stand: Stand) -> None:
    stand.vpm_env("switch", "2", check=True)
    stand.vpm_env("build", check=True)
    assert "nothing changed" in stand.commands(on_switch="echo other").stderr

    assert stand.told() == []


def test_a_build_without_a_switch_runs_on_build_alone(stand: Stand) -> None:
    tell = TELL.format(log=stand.log, profile=stand.profile)
    keys = f"on_build: {json.dumps(tell)}\non_switch: {json.dumps(tell)}\n"
    stand.build("two", keys=keys, words=("--no-switch", "--profile", "side"))

    (told,) = stand.told()
    assert (told["VPM_ENV_GENERATION"], told["VPM_ENV_PROFILE"], told["VPM_ENV_PREVIOUS"]) == ("1", "side", "")


def test_a_command_that_fails_is_told_with_the_end_of_its_output_and_undoes_nothing(stand: Stand) -> None:
    stand.commands(on_switch="seq 100; word=secret; echo to=https://me:$word@host.example >&2; exit 3")
    done = stand.vpm_env("rollback", "--json")

    assert done.exit == 0
    assert done.json["generation"] == 1
    (ran,) = done.json["ran"]
    assert (ran["key"], ran["code"]) == ("on_switch", 3)
    assert ran["output"].splitlines()[-2:] == ["100", "to=https://****@host.example"]
    warning = "warning: `on_switch` failed (exit 3); what was switched stays so\n  92\n  93\n"
    assert warning in done.stderr
    assert "me:secret" not in done.output
    assert os.readlink(stand.profile / "current") == "generations/1"


def test_a_server_that_a_command_leaves_behind_holds_nobody_up(stand: Stand) -> None:
    stand.commands(on_switch=f"sleep 60 & echo $! > {stand.log}.pid")
    done = stand.vpm_env("rollback", "--json", timeout=30)

    left = int(Path(f"{stand.log}.pid").read_text())
    try:
        assert Path(f"/proc/{left}").exists() or not Path("/proc").exists()
    finally:
        os.kill(left, signal.SIGKILL)
    assert done.json["ran"][0]["seconds"] < 30


def test_a_command_may_switch_and_that_runs_no_further_command(stand: Stand) -> None:
    command = " ".join(f"'{word}'" for word in stand.vpm_env.command)
    tell = TELL.format(log=stand.log, profile=stand.profile)
    stand.commands(on_switch=f"{tell}; {command} switch 2 2>> {stand.log}.said")
    stand.vpm_env("switch", "1", check=True)

    assert len(stand.told()) == 1
    assert os.readlink(stand.profile / "current") == "generations/2"
    said = Path(f"{stand.log}.said").read_text()
    assert said.startswith("note: not run, because a command after a switch switched: `on_switch`\n")


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can act for another user")
def test_a_command_that_another_user_recorded_is_not_run(stand: Stand) -> None:
    record = max(stand.profile.glob("generations/*.json"), key=lambda path: int(path.stem))
    os.chown(record, 12345, 12345)
    try:
        done = stand.vpm_env("switch", "1", check=True)
    finally:
        os.chown(record, 0, 0)

    assert stand.told() == []
    assert "warning: not run, because another user recorded it: `on_switch`\n" in done.stderr


def test_a_newest_record_that_cannot_be_read_does_not_stop_a_rollback(stand: Stand) -> None:
    newest = max(int(path.stem) for path in (stand.profile / "generations").glob("*.json"))
    broken = stand.profile / "generations" / f"{newest + 1}.json"
    broken.write_text("{")
    try:
        done = stand.vpm_env("rollback", check=True)
    finally:
        broken.unlink()

    warning = f"warning: whether a command is to run now is not known: the record of generation {newest + 1}"
    assert warning in done.stderr
    assert os.readlink(stand.profile / "current") == "generations/1"


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("on_switch: curl https://me:word@host.example/", "`on_switch`: holds a credential; let the command take it"),
        ("on_switch: [a, b]", "`on_switch`: must be text, and this is a list"),
        ("on_swich: a", "`on_swich`: unknown key; did you mean `on_switch`?"),
    ],
)
def test_a_command_that_cannot_be_one(stand: Stand, tmp_path: Path, line: str, said: str) -> None:
    (tmp_path / "plugins.yaml").write_text(f"plugins: []\n{line}\n")
    done = stand.vpm_env("build", "--config", tmp_path / "plugins.yaml")

    assert done.exit == 1
    assert said in done.stderr
    assert "word" not in done.stderr
