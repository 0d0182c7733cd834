"""`vpm-env shell` in real shells, and completion as they do it."""

from __future__ import annotations

import os
import pty
import re
import select
import shlex
import shutil
import subprocess
import time
from pathlib import Path
from typing import TYPE_CHECKING

import kit
import pytest

from envbuilder import cli
from envbuilder.commands import VERBS
from envbuilder.completion import syntax_of
from envbuilder.parsers import parsers
from envbuilder.samples import SAMPLES

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

GROUP = "vllm.general_plugins"
SHELLS = ("bash", "dash", "zsh", "fish")
MINE = {
    "bash": (".bashrc", 'export PATH="/mine:$PATH" VIRTUAL_ENV=/other\nPS1="mine> "\n'),
    "zsh": (".zshrc", 'export PATH="/mine:$PATH" VIRTUAL_ENV=/other\nPS1="mine> "\n'),
    "fish": (".config/fish/config.fish", "set -gx PATH /mine $PATH\nfunction fish_prompt; echo -n 'mine> '; end\n"),
}


@pytest.fixture(scope="module")
def stand(tmp_path_factory: pytest.TempPathFactory) -> Iterator[kit.VpmEnv]:
    """Build two generations, and put `vpm-env` on PATH."""
    folder = tmp_path_factory.mktemp("shells")
    base = kit.base(folder / "base")
    kit.fake_vllm(base, "0.33.0")
    env = kit.clean_environment(folder)
    env |= {"VPM_ENV_HOME": str(folder / "home"), "UV_CACHE_DIR": str(folder / "uv"), "TERM": "dumb"}
    (folder / "work").mkdir()
    vpm_env = kit.VpmEnv(home=folder / "home", folder=folder / "work", env=env).use(base)
    (folder / "bin").mkdir()
    script = folder / "bin" / "vpm-env"
    script.write_text(f'#!/bin/sh\nexec {shlex.join(vpm_env.command)} "$@"\n')
    script.chmod(0o755)
    env["PATH"] = f"{script.parent}{os.pathsep}{os.environ['PATH']}"
    for name, text in MINE.values():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)
    for names in (("one",), ("one", "two")):
        kit.wheel(folder / "links", names[-1], entry_points={GROUP: {names[-1]: f"{names[-1]}:__version__.title"}})
        entries = "".join(f"  - {{name: {name}, source: pypi}}\n" for name in names)
        vpm_env.config(f"find_links: {folder / 'links'}\nindex: http://127.0.0.1:9/none\nplugins:\n{entries}")
        vpm_env("build", "--offline", check=True)
    return vpm_env


def program(name: str) -> str:
    """Return a shell's path; skip the test where it is not installed."""
    return shutil.which(name) or pytest.skip(f"no {name}")


def fed(stand: kit.VpmEnv, text: str, *words: str, **env: str) -> subprocess.CompletedProcess[str]:
    """Run vpm-env with something on its standard input."""
    return subprocess.run(
        [*stand.command, *words], input=text, env={**stand.env, **env}, cwd=stand.folder,
        capture_output=True, text=True, timeout=60,
    )  # fmt: skip


def typed(stand: kit.VpmEnv, words: Sequence[str], dialogue: Sequence[tuple[str, str]], **env: str) -> tuple[str, int]:
    """Run a command on a terminal: wait for each text, then type its answer; return all it wrote, and its exit."""
    pid, leader = pty.fork()
    if pid == 0:
        os.chdir(stand.folder)
        os.execvpe(words[0], list(words), {**stand.env, **env})
    written, seen, end = "", 0, time.monotonic() + 60
    try:
        for awaited, answer in dialogue:
            while awaited not in written[seen:]:
                ready, _, _ = select.select([leader], [], [], max(0, end - time.monotonic()))
                assert ready, f"waited for {awaited!r} in {written!r}"
                written += os.read(leader, 65536).decode()
            seen = len(written)
            os.write(leader, answer.encode())
        while select.select([leader], [], [], max(0, end - time.monotonic()))[0]:
            written += os.read(leader, 65536).decode()
    except OSError:  # Linux says EIO when the last writer has closed
        pass
    finally:
        os.close(leader)
    return written, os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


@pytest.mark.parametrize("name", SHELLS)
def test_a_shell_has_the_set_and_passes_its_exit_code_on(stand: kit.VpmEnv, name: str) -> None:
    code = "import json, one, os, sys; print(json.dumps([one.__file__, sys.prefix, os.environ['VPM_ENV_PIN']]))"
    done = fed(stand, f'python -c "{code}"\nexit 7\n', "shell", SHELL=program(name))

    overlay = stand("path").stdout.strip()
    assert done.returncode == 7, done.stderr
    assert f'"{overlay}/lib/python' in done.stdout
    assert f'"{Path(overlay).parent.name}:{Path(overlay).name}"' in done.stdout
    assert re.fullmatch(r"note: a shell of generation 2 \([0-9a-f]{12}\); `exit` leaves it\n", done.stderr)


@pytest.mark.parametrize("name", SHELLS)
def test_on_a_terminal_the_prompt_is_marked_and_your_own_files_are_read(stand: kit.VpmEnv, name: str) -> None:
    overlay = stand("path", "1").stdout.strip()
    prompt = "mine> " if name in MINE else "$ "
    command = 'echo "<$PATH>"; exit 9\n'

    words = [*stand.command, "shell", "--generation", "1"]
    written, code = typed(stand, words, [(f"(default:1) {prompt}", command)], SHELL=program(name))

    assert code == 9
    path = re.findall(r"<(/[^>]*)>", written.replace("\r", "").replace("\n", ""))[-1]
    assert path.startswith(f"{overlay}/bin:")
    assert ("/mine" in path.split(":")) == (name in MINE)


def test_a_shell_in_a_shell_is_told_and_has_its_own_set_alone(stand: kit.VpmEnv) -> None:
    first, second = (stand("path", number).stdout.strip() for number in "12")
    inner = "command -v python; echo $PATH; exit 5"

    done = fed(stand, f"vpm-env shell --generation 1 <<'X'\n{inner}\nX\n", "shell", SHELL="/bin/sh")

    assert "note: this shell is inside one of default:2; `exit` goes back to that\n" in done.stderr
    assert done.stdout.splitlines()[0] == f"{first}/bin/python"
    assert f"{second}/bin" not in done.stdout
    assert done.returncode == 5


def test_in_a_shell_the_base_is_still_the_base_and_options_hold(stand: kit.VpmEnv) -> None:
    base, bare = stand.env["VPM_ENV_BASE"], {"VPM_ENV_BASE": "", "SHELL": "/bin/sh"}
    by_option = fed(stand, "vpm-env --profile other status; vpm-env path\n", "--base", base, "shell", **bare)
    activated = fed(stand, "unset VPM_ENV_BASE; vpm-env path\n", "shell", SHELL="/bin/sh")

    assert f"base:      {Path(base).parent.parent} (vllm 0.33.0" in by_option.stdout
    assert by_option.stdout.splitlines()[-1] == stand("path").stdout.strip() == activated.stdout.strip()


def test_a_shell_that_cannot_be_started_is_told(stand: kit.VpmEnv) -> None:
    done = stand("shell", env={"SHELL": "/nowhere/sh"})

    assert done.exit == 2
    assert done.stderr.splitlines()[-1] == "error: there is no command `/nowhere/sh` in the set, in the base or on PATH"
    assert stand("shell", "--generation", "99999").exit == 2


CASES = {
    "vpm-env sw": ["switch"],
    "vpm-env --home /x sw": ["switch"],
    "vpm-env build --up": ["--upgrade"],
    "vpm-env build --upgrade ": ["one", "two"],
    "vpm-env hook un": ["uninstall"],
    "vpm-env completion ": ["bash", "fish", "zsh"],
    "vpm-env switch ": ["1", "2"],
    "vpm-env --profile default rollback --to ": ["1", "2"],
    "vpm-env --profile empty switch ": [],
    "vpm-env list --profile def": ["default"],
    "vpm-env history ": [],
    "vpm-env sync --up": ["--upgrade"],
    "vpm-env switch-generation ": ["1", "2"],
    "vpm-env unkeep ": [],
    "vpm-env doctor le": ["legacy"],
    "vpm-env disable one t": ["two"],
    "vpm-env --config plug": ["plugins.yaml"],
}


def completed_by_bash(stand: kit.VpmEnv, lines: Sequence[str]) -> list[list[str]]:
    """Ask bash what it would offer at the end of each line."""
    ask = 'COMP_WORDS=({words}); COMP_CWORD=$((${{#COMP_WORDS[@]}} - 1)); _vpm_env; echo "${{COMPREPLY[*]}}"\n'
    calls = (ask.format(words=line + ("''" if line.endswith(" ") else "")) for line in lines)
    text = "source <(vpm-env completion bash)\n" + "".join(calls)
    return [sorted(line.split()) for line in ran_in(stand, "bash", "--norc", text=text).splitlines()]


def completed_by_fish(stand: kit.VpmEnv, lines: Sequence[str]) -> list[list[str]]:
    """Ask fish what it would offer at the end of each line."""
    asked = "".join(f"complete -C {shlex.quote(line)}\necho .\n" for line in lines)
    answers = ran_in(stand, "fish", "--no-config", text=f"vpm-env completion fish | source\n{asked}")
    each = [answer.strip(".\n").splitlines() for answer in re.split(r"(?m)^\.\n", answers)[:-1]]
    return [sorted(line.split("\t")[0] for line in answer) for answer in each]


def ran_in(stand: kit.VpmEnv, shell: str, *words: str, text: str) -> str:
    done = subprocess.run(
        [program(shell), *words], input=text, env=stand.env, cwd=stand.folder,
        capture_output=True, text=True, timeout=120,
    )  # fmt: skip
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout


@pytest.mark.parametrize("completed", [completed_by_bash, completed_by_fish])
def test_completion_offers_verbs_options_and_what_there_is(stand: kit.VpmEnv, completed: object) -> None:
    assert callable(completed)
    digest = Path(stand("path").stdout.strip()).name[:12]
    cases = {**CASES, f"vpm-env switch {digest[:5]}": [digest]}

    assert dict(zip(cases, completed(stand, cases), strict=True)) == cases


def test_completion_by_zsh(stand: kit.VpmEnv) -> None:
    start = "autoload -Uz compinit; compinit -u -D; source <(vpm-env completion zsh); PS1='re''ady '\n"
    dialogue = [("", start), ("ready ", "vpm-env swi\t"), ("tch ", "2\t"), ("2", "\x15vpm-env build --offl\t")]
    dialogue += [("ine", "\x15vpm-env hook u\t"), ("ninstall", "\x15vpm-env build --upgrade tw\t"), ("o", "\x15exit\n")]

    _, code = typed(stand, [program("zsh"), "-f", "-i"], dialogue)

    assert code == 0


def test_after_two_dashes_the_words_are_commands(stand: kit.VpmEnv) -> None:
    (found,) = completed_by_bash(stand, ["vpm-env run -- vpm-en"])

    assert set(found) == {"vpm-env"}


def test_every_verb_and_option_is_in_every_script() -> None:
    scripts = {name: kit_script(name) for name in ("bash", "zsh", "fish")}
    for verb, parser in parsers().items():
        for option in syntax_of(verb, parser).options:
            for name, text in scripts.items():
                spelled = option.names[0] if name != "fish" else f"-l {option.names[0][2:]}"
                assert spelled in text, (name, verb)
    for verb in VERBS:
        assert all(verb in text for text in scripts.values())


def kit_script(shell: str) -> str:
    from envbuilder.completion import script

    return script(shell, parsers())


def test_values_are_listed_with_what_they_are(stand: kit.VpmEnv) -> None:
    listed = stand("completion", "--values", "generation").stdout

    assert re.fullmatch(r"2\t[0-9a-f]{12}, untried, current\n1\t[0-9a-f]{12}, untried\n", listed)
    assert stand("completion", "--values", "kept").stdout == ""
    stand("keep", "1", check=True)
    assert re.fullmatch(r"1\t[0-9a-f]{12}, untried\n", stand("completion", "--values", "kept").stdout)
    stand("unkeep", "1", check=True)
    assert stand("completion", "--values", "package").stdout == "one\t1.0\ntwo\t1.0\n"
    assert stand("completion", "--values", "plugin").stdout == "one\tpypi\ntwo\tpypi\n"


def test_no_value_is_offered_that_bash_would_expand(stand: kit.VpmEnv) -> None:
    odd = stand.home / "profiles" / "$(touch PWNED)"
    odd.mkdir()
    try:
        assert stand("completion", "--values", "profile").stdout == "default\tprofile\n"
    finally:
        odd.rmdir()


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ((), "error: name a shell\n\nhint: `vpm-env completion bash`, or `zsh`, or `fish`\n"),
        (("tcsh",), "error: argument shell: invalid choice: 'tcsh'"),
        (("--values", "cats"), "error: there are no values of the kind `cats`\n"),
    ],
)
def test_completion_of_what_is_not_there(stand: kit.VpmEnv, words: tuple[str, ...], said: str) -> None:
    done = stand("completion", *words)

    assert done.exit == 2
    assert done.stdout == ""
    assert done.stderr.startswith(said)


def test_every_verb_has_an_example_that_is_one(stand: kit.VpmEnv) -> None:
    assert SAMPLES.keys() == VERBS.keys()
    for verb, sample in SAMPLES.items():
        inner = re.sub(r"^source (\$|<)\((.*?)\).*", r"\2", sample)
        words = shlex.split(inner)
        assert words[0] == "vpm-env"
        assert cli.parse(words[1:]).verb == verb
    assert stand("gc", "--help").stdout.endswith(f"\nexample:\n  {SAMPLES['gc']}\n")
