"""`bisect`: what makes a command fail, with real sets and real commands; and what it says, whole."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import kit
import pytest
import stands
from test_cli import on_terminal, shown, without_styles

from envbuilder import bracket
from envbuilder.confidential import secrets_of
from envbuilder.errors import BisectError

if TYPE_CHECKING:
    from collections.abc import Sequence

GROUP = "vllm.general_plugins"
LOADS = """
import importlib.metadata, sys
print("loading", flush=True)
for point in importlib.metadata.entry_points(group="vllm.general_plugins"):
    try:
        point.name == "vpm_env" or point.load()()
    except Exception as error:
        sys.exit(f"{point.name}: {error}")
"""
"""What an engine does with general plugins: what one raises ends it."""
BROKEN = "def register():\n    raise RuntimeError('no such layer')\n"


@pytest.fixture(scope="module")
def stand(tmp_path_factory: pytest.TempPathFactory) -> kit.VpmEnv:
    """Build two generations of five plugins; in the second, which is current, most are newer, and `gamma` raises."""
    vpm_env = stands.small(tmp_path_factory.mktemp("bisect"))
    links = vpm_env.folder.parent / "links"
    for version in ("1.0", "2.0"):
        kit.wheel(links, "shared", version)
        plugin(links, "beta", version)
        plugin(links, "gamma", version, code=BROKEN if version == "2.0" else "")
        plugin(links, "alpha", "1.0", requires=["shared"])
        plugin(links, "delta", "1.0", requires=["alpha"])
        plugin(links, "epsilon", "1.0")
        vpm_env.config(config(alpha="1.0", beta=version, gamma=version, delta="1.0", epsilon="1.0"))
        vpm_env("build", "--offline", "--upgrade", check=True)
    return vpm_env


def plugin(links: Path, name: str, version: str, *, code: str = "", requires: Sequence[str] = ()) -> None:
    files = {f"{name}/__init__.py": code or "def register(): ...\n"}
    kit.wheel(links, name, version, files=files, requires=requires, entry_points={GROUP: {name: f"{name}:register"}})


def config(**versions: str) -> str:
    entries = "".join(f"  - {{name: {name}, source: pypi, version: '{of}'}}\n" for name, of in versions.items())
    return f"find_links: ../links\nindex: http://127.0.0.1:9/none\nprobe: none\nplugins:\n{entries}"


def failing(*names: str, code: int = 1) -> list[str]:
    """Return a command that fails in a set that has all these packages: `name` or `name-version`."""
    tests = " ".join(f"&& ls -d {name}*.dist-info >/dev/null 2>&1" for name in names)
    return ["sh", "-c", f'cd "$VIRTUAL_ENV"/lib/python*/site-packages {tests} && echo broken && exit {code}; true']


def said(stand: kit.VpmEnv, *words: str, code: int = 0) -> str:
    """Run `bisect` and return what it writes, the result first."""
    done = stand("bisect", *words)
    assert done.exit == code, done.output
    return re.sub(r"\d+\.\d s", "N s", shown(done.stdout + done.stderr, stand))


def state(stand: kit.VpmEnv) -> list[str]:
    """List what a home has: profiles with their links, overlays, and what is being made or deleted."""
    links = [f"{path}: {os.readlink(path)}" for path in stand.home.glob("profiles/*/*/**/*") if path.is_symlink()]
    return sorted([*links, *map(str, (*stand.home.glob("overlays/*/*"), *stand.home.glob("t*/*")))])


def test_the_plugin_is_named_in_a_few_tries(stand: kit.VpmEnv) -> None:
    before = state(stand)

    assert (
        said(stand, "--", "python", "-c", LOADS)
        == """\
`gamma` makes `python` fail
without `gamma`, the other 4 plugins pass
try 1: with all plugins: fails, N s
try 2: without plugins: passes, N s
try 3: with `alpha` and `beta` alone: passes, N s
try 4: without `gamma` and `delta`: passes, N s
try 5: without `delta`: fails, N s
try 6: with `gamma` alone: fails, N s
try 7: without `gamma`: passes, N s
try 8: once more with `gamma` alone: fails, N s
try 9: once more without `gamma`: passes, N s

the end of what it says with `gamma`:
  loading
  gamma: no such layer

hint: run `vpm-env disable gamma --build`, or until then `vpm-env run --without gamma -- COMMAND`
"""
    )
    assert state(stand) == before


@pytest.mark.long
def test_two_that_fail_only_together_are_named(stand: kit.VpmEnv) -> None:
    assert (
        said(stand, "-q", *failing("beta", "epsilon"))
        == """\
`beta` and `epsilon` make `sh` fail together: neither does alone
without `epsilon`, the other 4 plugins pass
"""
    )


def test_what_changed_between_two_generations_is_named(stand: kit.VpmEnv) -> None:
    before = state(stand)
    written = without_styles(on_terminal(stand, "bisect", "--good", "1", "--", *failing("shared-2", code=7)))

    assert (
        re.sub(r"\d+\.\d s", "N s", written)
        == """\
try 1: generation 2: fails (exit 7), N s
try 2: generation 1: passes, N s
try 3: generation 1 with `beta` 2.0: passes, N s
try 4: generation 2 with `shared` 1.0: passes, N s
try 5: generation 1 with `shared` 2.0: fails (exit 7), N s
try 6: once more generation 1 with `shared` 2.0: fails (exit 7), N s
try 7: once more generation 2 with `shared` 1.0: passes, N s

the end of what it says with `shared` 1.0 → 2.0:
  broken
`shared` 1.0 → 2.0 makes `sh` fail
generation 2 with `shared` 1.0 passes

hint: `vpm-env rollback --to 1` goes back
"""
    )
    assert state(stand) == before


WRONG: tuple[tuple[tuple[str, ...], int, str, str], ...] = (
    (
        ("false",),
        1,
        "`false` fails without any plugin too: it is not the set",
        "if it needs a plugin, keep that in all tries with `--with NAME`",
    ),
    (("--good", "2", "true"), 2, "generation 2 and generation 2 are the same set", ""),
    (("true",), 1, "`true` passes with generation 2: there is nothing to find", ""),
    (("--good", "1", "sh", "-c", "exit 125"), 1, "`sh` ends with 125 in generation 2: it cannot be judged there", ""),
    (
        ("--good", "1", "false"),
        1,
        "`false` fails with generation 1 too: it is not what changed since",
        "name an earlier generation with `--good`, or look through all plugins without it",
    ),
    (("no-such-command",), 1, "`no-such-command`: it cannot be started: no such file or directory", ""),
    (("sh", "-c", "no-such-word 2>/dev/null"), 1, "`sh`: it was not found (exit 127)", ""),
    (
        ("sh", "-c", "ls $VIRTUAL_ENV/lib/python*/site-packages/beta >/dev/null 2>&1 || exit 127; exit 1"),
        1,
        "`sh`: it was not found (exit 127)",
        "if a plugin brings it, keep that in all tries with `--with NAME`",
    ),
    (
        ("--good", "9", "true"),
        2,
        "the profile `default` has no generation 9",
        "there are 1 and 2: see `vpm-env history`",
    ),
    (
        ("--with", "beta,shared,nix", "true"),
        2,
        "the set has no plugin `shared` and no plugin `nix` to keep",
        "it has `alpha`, `beta`, `delta`, `epsilon`, `gamma`",
    ),
    ((), 2, "there is no command to try", "`vpm-env bisect -- python -c 'import vllm'`"),
    (("--timeout", "x", "true"), 2, "`x` is no duration", "write a whole number and `s`, `m`, `h`, `d` or `w`: `30d`"),
)


@pytest.mark.parametrize(
    ("words", "code", "error", "hint"),
    [*WRONG[:2], *(pytest.param(*case, marks=pytest.mark.long) for case in WRONG[2:])],
)
def test_what_cannot_be_found_is_told(
    stand: kit.VpmEnv, words: tuple[str, ...], code: int, error: str, hint: str
) -> None:
    told = f"error: {error}\n" + (f"\nhint: {hint}\n" if hint else "")

    assert said(stand, "-q", *words, code=code) == told


@pytest.mark.long
def test_a_doubt_is_told_where_more_than_two_are_to_blame(stand: kit.VpmEnv) -> None:
    assert (
        said(stand, "-q", *failing("beta", "epsilon", "gamma"))
        == """\
`beta`, `epsilon` and `gamma` make `sh` fail together, and with one of them less it passes
so many together are rare: see whether `sh` always ends the same
without `gamma`, the other 4 plugins pass
"""
    )


@pytest.mark.long
def test_each_of_several_causes_is_named(stand: kit.VpmEnv) -> None:
    either = f"{failing('alpha')[2]}; {failing('epsilon')[2]}"

    assert (
        said(stand, "-q", "sh", "-c", either)
        == """\
`alpha` makes `sh` fail
`epsilon` makes `sh` fail
without `alpha` and `epsilon`, the other 3 plugins pass
"""
    )


@pytest.mark.long
def test_a_plugin_comes_with_the_one_that_it_requires(stand: kit.VpmEnv) -> None:
    found = stand("bisect", "--json", *failing("delta"), check=True).json

    assert [cause["changes"] for cause in found["causes"]] == [["alpha", "delta"]]
    assert [cause["cure"] for cause in found["causes"]] == [["delta"]]
    assert not any("delta" in one["changes"] and "alpha" not in one["changes"] for one in found["tries"])
    assert said(stand, "-q", *failing("delta")).startswith("`delta`, which requires `alpha`, makes `sh` fail\n")


@pytest.mark.long
def test_sets_that_cannot_be_judged_are_passed_over(stand: kit.VpmEnv) -> None:
    """With one of `beta` and `gamma` alone, the command says that it does not know."""
    here = '"$VIRTUAL_ENV"/lib/python*/site-packages/'
    count = f"$(ls -d {here}beta {here}gamma 2>/dev/null | wc -l)"

    told = said(stand, "sh", "-c", f"case {count} in 1) exit 125;; 2) exit 1;; esac")

    assert told.startswith(
        "`beta` and `gamma` make `sh` fail; they could not be tried apart\n"
        "without `beta` and `gamma`, the other 3 plugins pass\n"
    )
    assert "is skipped, N s\n" in told


@pytest.mark.long
def test_a_plugin_that_the_command_needs_is_kept(stand: kit.VpmEnv) -> None:
    needs = 'ls -d "$VIRTUAL_ENV"/lib/python*/site-packages/epsilon >/dev/null || exit 3'
    command = ["sh", "-c", f"{needs}; {failing('beta')[2]}"]

    assert "fails without any plugin too" in said(stand, "-q", *command, code=1)
    assert said(stand, "--with", "epsilon", *command).splitlines()[:5] == [
        "`beta` makes `sh` fail",
        "without `beta`, the other 3 plugins pass",
        "try 1: with all plugins: fails, N s",
        "try 2: with `epsilon` alone: passes, N s",
        "try 3: with `alpha` and `beta` alone: fails, N s",
    ]


@pytest.mark.long
def test_a_command_that_does_not_end_fails_or_passes_as_asked(stand: kit.VpmEnv) -> None:
    command = failing("epsilon")[2]
    hangs = ["sh", "-c", command.replace("echo broken && exit 1", "sleep 60")]
    serves = ["sh", "-c", f"{command}; sleep 60"]

    hung = said(stand, "--timeout", "1s", *hangs)
    served = said(stand, "--stays-up", "1s", *serves)

    assert hung.startswith("`epsilon` makes `sh` fail\n")
    assert "try 1: with all plugins: does not end in time: fails, N s\n" in hung
    assert served.startswith("`epsilon` makes `sh` fail\n")
    assert "try 2: without plugins: still runs: passes, N s\n" in served


@pytest.mark.long
def test_a_command_that_does_not_always_end_the_same_is_told(stand: kit.VpmEnv, tmp_path: Path) -> None:
    count = f"echo x >> {tmp_path}/runs; test $(wc -l < {tmp_path}/runs) -ge 8 && exit 0; "
    told = said(stand, "-q", "sh", "-c", count + failing("gamma")[2], code=1)

    assert told.startswith(
        "error: `sh` does not always end the same: try 6 fails, and try 8 with the same set passes\n"
    )


@pytest.mark.long
@pytest.mark.parametrize("lucky", [3, 4, 7])
def test_a_pass_by_luck_makes_no_plugin_one_of_several_to_blame(stand: kit.VpmEnv, tmp_path: Path, lucky: int) -> None:
    """`alpha` makes it fail, but for one run, in which it is lucky."""
    count = f"echo x >> {tmp_path}/runs; test $(wc -l < {tmp_path}/runs) = {lucky} && exit 0; "
    done = stand("bisect", "-q", "sh", "-c", count + failing("alpha")[2])

    assert done.stdout == "" or done.stdout.startswith("`alpha` makes `sh` fail\n")
    assert done.exit == 0 or done.stderr.startswith("error: `sh` does not always end the same: ")


@pytest.mark.long
def test_after_a_rollback_it_looks_at_the_set_that_was_left(stand: kit.VpmEnv) -> None:
    command = failing("gamma-2")
    stand("rollback", "--bad", check=True)
    try:
        told = said(stand, *command)
        passes = said(stand, "-q", "--bad", "1", *command, code=1)
    finally:
        again = stand("switch", "2", check=True)

    assert told.startswith("`gamma` makes `sh` fail\n")
    assert "note: generation 2 is marked bad, and was left: looking there, not at what is current\n" in told
    assert passes == (
        "error: `sh` passes with generation 1: there is nothing to find\n"
        "\nhint: generation 2 is marked bad: `--bad 2`\n"
    )
    assert "note: generation 2 was marked bad; it is untried again\n" in again.stderr


@pytest.mark.long
def test_a_collected_generation_is_made_again_and_nothing_switched(stand: kit.VpmEnv) -> None:
    (profile,) = stand.home.glob("profiles/default/*")
    overlay = (profile / "generations" / "1").resolve()
    overlay.rename(stand.folder / "elsewhere")
    try:
        told = said(stand, "--good", "1", *failing("shared-2"))
    finally:
        shutil.rmtree(stand.folder / "elsewhere")

    assert told.startswith("`shared` 1.0 → 2.0 makes `sh` fail\n")
    assert overlay.is_dir()
    assert os.readlink(profile / "current") == "generations/2"


@pytest.mark.long
def test_what_it_says_is_shown_without_secrets(stand: kit.VpmEnv) -> None:
    stand.env["PGPASSWORD"] = "kept-to-myself"
    try:
        done = stand(
            "bisect", "sh", "-c", failing("gamma")[2].replace("broken", "$PGPASSWORD $0"), "--api-key=swordfish"
        )
    finally:
        del stand.env["PGPASSWORD"]

    assert "\n  **** --api-key=****\n" in done.output
    assert "kept-to-myself" not in done.output


def test_a_home_that_cannot_be_written_to_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "access", lambda *_: False)
    found: Any = SimpleNamespace(layout=SimpleNamespace(home=str(tmp_path)))

    with pytest.raises(BisectError, match=r"makes sets in `.*`, and this user cannot write to it"):
        bracket.require_writable(found)


def test_names_tell_what_is_secret() -> None:
    variables = {
        "PGPASSWORD": "one-secret",
        "OPENAI_APIKEY": "two-secret",
        "HF_TOKENS": "three-secret",
        "DB_PASSWD": "four-secret",
        "AWS_SECRET_ACCESS_KEY": "five-secret",
        "KEY": "short",
        "MAX_TOKENS": "131072",
        "PATH": "/usr/bin",
    }
    command = [
        "serve",
        "--api-key",
        "six-secret",
        "--ssl-passphrase=seven-secret",
        "--max-num-batched-tokens",
        "262144",
    ]

    found = secrets_of(command, variables)

    assert found == [f"{number}-secret" for number in ("one", "two", "three", "four", "five", "six", "seven")]


@pytest.mark.long
@pytest.mark.skipif(not Path("/proc/self").is_dir(), reason="no /proc here, which says what runs")
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_leaves_nothing_behind(stand: kit.VpmEnv, tmp_path: Path, number: int) -> None:
    before = state(stand)
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    # In the third try, which is of a set of its own, there are a child and one that left the session.
    inner = f"import os, time; os.setsid(); print(os.getpid(), file=open({str(fifo)!r}, 'w')); time.sleep(600)"
    waits = f'sh -c "sleep 600" & {sys.executable} -c "{inner}"'
    command = f"echo x >> {tmp_path}/runs; test $(wc -l < {tmp_path}/runs) = 3 && {{ {waits}; }}; {failing('gamma')[2]}"
    words = [*stand.command, "bisect", "--", "sh", "-c", command]
    child = subprocess.Popen(words, cwd=stand.folder, env=stand.env, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    pid = int(fifo.read_text())

    child.send_signal(number)
    _, error = child.communicate(timeout=60)

    assert child.returncode == 128 + number
    assert b"Traceback" not in error
    assert not Path(f"/proc/{pid}").exists()
    assert state(stand) == before


@pytest.mark.long
@pytest.mark.parametrize("is_hooked", [True, False])
def test_every_process_of_a_try_has_its_set(stand: kit.VpmEnv, is_hooked: bool) -> None:
    python = stand.env["VPM_ENV_BASE"]
    inner = (
        "import os, sys, importlib.metadata as m; has = [d.name for d in m.distributions(name='gamma')]; "
        "print(has, os.environ['VPM_ENV_PIN'][-64:], flush=True)"
    )
    code = (
        f"import subprocess; {inner}; subprocess.run([sys.argv[1], '-c', sys.argv[2]], check=True); sys.exit(bool(has))"
    )
    words = [python if is_hooked else "python", inner]
    if is_hooked:
        stand("hook", "install", check=True)
    try:
        found = stand("bisect", "--json", "--", python, "-c", code, *words, check=True).json
    finally:
        stand("hook", "uninstall", check=True)

    assert [cause["changes"] for cause in found["causes"]] == [["gamma"]]
    for one in found["tries"]:
        has = ["gamma"] if "gamma" in one["changes"] else []
        assert one["output"] == [f"{has} {one['digest']}"] * 2
