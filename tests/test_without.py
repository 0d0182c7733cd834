"""Sets without some plugins: what goes with them, `--without`, `VPM_ENV_WITHOUT`, and who is told of it."""

from __future__ import annotations

import itertools
import json
import os
import re
import subprocess
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import kit
import pytest
import stands
from hypothesis import given
from hypothesis import strategies as st
from test_cli import on_terminal, shown, without_styles

from envbuilder import _activate, _without
from envbuilder.closure import Offer, Requirements, Unmet
from envbuilder.leaving import left_out, note_path
from envbuilder.manifest import Manifest, Member
from envbuilder.paths import Layout

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

GROUP = "vllm.general_plugins"
PLUGINS = ("plug-one", "plug-two", "plug-three")
LISTS = "import importlib.metadata as m; print(sorted({d.name for d in m.distributions()} - {'vllm', 'vpm-env-hook'}))"
LOADS = "import logging; logging.basicConfig(level=20); import _vpm_env.guard as guard; guard.register(); "


def requirements() -> Requirements:
    return Requirements({"python_version": "3.11", "sys_platform": "linux"})


def reached(offers: Mapping[str, Offer], *roots: str, extras: Mapping[str, str] | None = None) -> list[str]:
    wanted = {name: frozenset((extras or {}).get(name, "").split()) for name in roots}
    return sorted(requirements().closure(wanted, offers.get).names)


def test_what_is_required_is_followed_as_the_resolver_does() -> None:
    offers = {
        "a": Offer("1", ("b[fast]>=1", "c; sys_platform == 'win32'", "d; extra == 'more'")),
        "b": Offer("1", ("A", "e; extra == 'fast'", "f; extra == 'slow'", "not a [requirement")),
        "d": Offer("1", ("base-one[tools]",)),
        **{name: Offer("1", ()) for name in ("c", "e", "f", "g", "h")},
        "base-one": Offer("1", ("g", "h; extra == 'tools'"), is_base=True),
    }

    assert reached(offers, "b") == ["a", "b", "e"]
    assert reached(offers, "a") == ["a", "b", "e"]
    assert reached(offers, "a", extras={"a": "more"}) == ["a", "b", "base-one", "d", "e", "h"]
    assert reached(offers, "a", "absent") == ["a", "b", "e"]


def test_what_is_not_met_is_told_unless_it_is_waived_or_the_bases_own() -> None:
    offers = {
        "a": Offer("1", ("b>=2", "c<1", "gone", "url @ https://index.example/url.whl"), waived=frozenset({"c"})),
        "b": Offer("1.9", ()),
        "c": Offer("2", ("odd>=1",)),
        "odd": Offer("no version", ()),
        "url": Offer("3", ()),
        "base": Offer("1", ("gone",), is_base=True),
    }

    found = requirements().closure({"a": frozenset(), "base": frozenset()}, offers.get)

    assert found.unmet == {Unmet("a", "b>=2", "1.9"), Unmet("a", "gone", "")}


def manifest() -> Manifest:
    members = (
        Member(name="plug-one", version="1", key="k1", plugin="Plug.One"),
        Member(name="other", version="1", key="k2", plugin="two"),
        Member(name="helper", version="1", key="k3"),
    )
    given = {"provided": {"third": "given 3.0"}, "left_out": {"lazy": "it did not build"}}
    return Manifest("abi", "linux", "3.11", {}, members, {}, **given)


def test_names_are_plugins_or_packages_however_they_are_spelled() -> None:
    left, unknown = left_out(manifest(), ["plug_one", "PLUG-ONE", "Other", "helper", "third", "given", "lazy", "nix"])

    assert left == (("Plug.One", "two"), ("helper",))
    assert unknown == {
        "third": "it is `given 3.0` of the base, and no part of the set",
        "given": "it is `given 3.0` of the base, and no part of the set",
        "lazy": "it is optional, and the build has left it out already",
        "nix": "the set has no such plugin or package",
    }


@given(st.lists(st.from_regex(r"[A-Za-z0-9]([A-Za-z0-9._-]{0,6}[A-Za-z0-9])?", fullmatch=True), max_size=4))
def test_the_hook_spells_names_as_they_are_noted(names: list[str]) -> None:
    noted = os.path.basename(note_path(Layout("/h"), "b", "d", names))

    for separator in (",", " ", ", ", "\n"):
        assert _without.spelled(separator.join(names)) == noted


def host(home: Path, **more: Any) -> Any:
    """Stand in for `_vpm_env.activate` in a process of an engine."""

    class Inactive(Exception):
        pass

    known = {"HOME": str(home), "BASE_KEY": "b" * 12, "digest": "a" * 64, "generation": 3, "profile": "default"}
    known |= {"COMMAND": ("/nowhere/vpm-env",), "InactiveError": Inactive, "exists": os.path.exists}
    known |= {"is_entry": lambda *_: True, "program_of": lambda _: (False, "vllm"), "require_trusted": lambda _: None}
    known |= {"tell": _activate.tell}
    return SimpleNamespace(**{**known, "is_hex": lambda text, length: len(text) == length, **more})


def test_what_was_noted_is_taken_and_nothing_else_is_trusted(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "cache" / "without" / ("b" * 12) / ("a" * 64)
    folder.mkdir(parents=True)
    (folder / "one,two").symlink_to("c" * 64)
    engine = host(tmp_path)

    def distrust(path: str) -> None:
        raise engine.InactiveError(path)

    failed = "`/nowhere/vpm-env` cannot be started: No such file or directory"
    assert _without.find(engine, "two, One") == ("a" * 64, failed)  # there is no such overlay
    (tmp_path / "overlays" / ("b" * 12) / ("c" * 64)).mkdir(parents=True)
    (tmp_path / "overlays" / ("b" * 12) / ("c" * 64) / "overlay.json").touch()
    assert _without.find(engine, "two, One") == ("c" * 64, "")
    assert _without.find(engine, " , ") == ("a" * 64, "")
    capsys.readouterr()
    assert _without.find(host(tmp_path, require_trusted=distrust, InactiveError=engine.InactiveError), "two, One")[1]
    assert capsys.readouterr().err == (
        f"vpm-env: ERROR: VPM_ENV_WITHOUT=two, One: {failed}; starting with the whole generation 3\n"
    )
    assert _without.find(host(tmp_path, is_entry=lambda *_: False), "nix")[1] == failed
    assert capsys.readouterr().err == ""


@pytest.fixture(scope="module")
def stand(tmp_path_factory: pytest.TempPathFactory) -> kit.VpmEnv:
    """Build a set of three plugins over a hooked base: two share a dependency, one of them has another of its own."""
    vpm_env = stands.small(tmp_path_factory.mktemp("without"))
    links = vpm_env.folder.parent / "links"
    requires = {"plug-one": ["shared"], "plug-two": ["shared", "own[fast]"], "plug-three": ["vllm>=0.30"]}
    for name in ("shared", "deep", "quick"):
        kit.wheel(links, name)
    kit.wheel(links, "own", requires=["deep", "quick; extra == 'fast'"])
    for name in PLUGINS:
        module = name.replace("-", "_")
        files = {f"{module}/__init__.py": "def register(): ...\n"}
        points = {GROUP: {module: f"{module}:register"}}
        kit.wheel(links, name, files=files, requires=requires[name], entry_points=points)
    configure(vpm_env, *PLUGINS)
    vpm_env("build", "--offline", check=True)
    vpm_env("hook", "install", check=True)
    return vpm_env


def configure(stand: kit.VpmEnv, *plugins: str) -> None:
    entries = "".join(f"  - {{name: {name}, source: pypi}}\n" for name in plugins)
    stand.config(f"find_links: ../links\nindex: http://127.0.0.1:9/none\nprobe: none\nplugins:\n{entries}")


def told(stand: kit.VpmEnv, *words: str, code: int = 0, **variables: str) -> tuple[str, str]:
    done = stand(*words, env=variables)
    assert done.exit == code, done.output
    return shown(done.stdout, stand), shown(done.stderr, stand)


def python(stand: kit.VpmEnv, code: str, *, name: str = "python", **variables: str) -> subprocess.CompletedProcess[str]:
    """Run code by the base's own interpreter, as `name`."""
    env = {name: value for name, value in stand.env.items() if not name.startswith("VPM_ENV_")}
    words = [stand.env["VPM_ENV_BASE"], "-c", code]
    if name != "python":
        script = stand.folder / name
        script.write_text(code)
        words[1:] = [str(script)]
    return subprocess.run(words, env={**env, **variables}, capture_output=True, text=True, timeout=60, check=True)


@pytest.mark.long
def test_run_leaves_out_a_plugin_with_what_only_it_needs(stand: kit.VpmEnv) -> None:
    assert told(stand, "run", "--without", "plug_two", "--", "python", "-c", LISTS) == (
        "['plug-one', 'plug-three', 'shared']\n",
        "note: generation 1 (KEY) without `plug-two`\n",
    )
    assert told(stand, "run", "-q", "--without", "plug-one,plug.two", "python", "-c", LISTS)[0] == "['plug-three']\n"
    everything = [word for name in PLUGINS for word in ("--without", name)]
    assert told(stand, "run", "-q", *everything, "python", "-c", LISTS)[0] == "[]\n"


@pytest.mark.long
def test_a_package_goes_alone_and_who_requires_it_is_told(stand: kit.VpmEnv) -> None:
    assert told(stand, "run", "--without", "own", "--", "python", "-c", LISTS) == (
        "['deep', 'plug-one', 'plug-three', 'plug-two', 'quick', 'shared']\n",
        "warning: `plug-two` requires `own`, which is left out\nnote: generation 1 (KEY) without `own`\n",
    )


@pytest.mark.long
def test_on_a_terminal_and_in_shells_it_is_told_too(stand: kit.VpmEnv) -> None:
    written = without_styles(on_terminal(stand, "run", "--without", "plug-two", "echo", "hello"))
    assert written == "note: generation 1 (KEY) without `plug-two`\nhello\n"

    done = subprocess.run(
        [*stand.command, "shell", "--without", "plug-two"],
        cwd=stand.folder,
        env={**stand.env, "SHELL": "/bin/sh"},
        input=f'python -c "{LISTS}"\n',
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    assert done.stdout == "['plug-one', 'plug-three', 'shared']\n"


@pytest.mark.long
@pytest.mark.parametrize(
    ("words", "error"),
    [
        (
            ("plug-tow",),
            "`plug-tow` cannot be left out: the set has no such plugin or package\n\nhint: did you mean `plug-two`?",
        ),
        (
            ("plug-one", "xyz", "vllm"),
            (
                "`xyz` cannot be left out: the set has no such plugin or package\n"
                "`vllm` cannot be left out: the set has no such plugin or package\n\n"
                "hint: generation 1 has `plug-one`, `plug-three`, `plug-two`"
            ),
        ),
    ],
)
def test_a_wrong_name_is_an_error_in_a_call_and_a_warning_in_the_variable(
    stand: kit.VpmEnv, words: tuple[str, ...], error: str
) -> None:
    options = [option for word in words for option in ("--without", word)]
    assert told(stand, "run", *options, "true", code=2) == ("", f"error: {error}\n")

    out, said = told(stand, "run", "python", "-c", LISTS, VPM_ENV_WITHOUT=" ".join(words))
    assert said.startswith("warning: `VPM_ENV_WITHOUT` names ")
    assert ("plug-one" in out) == ("plug-one" not in words)


@pytest.mark.long
def test_the_hook_obeys_the_variable_and_children_agree(stand: kit.VpmEnv) -> None:
    inner = f"import subprocess, sys; {LISTS}; subprocess.run([sys.executable, '-c', {LISTS!r}], check=True)"
    whole = "['deep', 'own', 'plug-one', 'plug-three', 'plug-two', 'quick', 'shared']\n"
    less = "['plug-one', 'plug-three', 'shared']\n"

    assert python(stand, LISTS).stdout == whole
    for _ in range(2):  # the second time, it is noted
        done = python(stand, inner, name="vllm", VPM_ENV_WITHOUT=" Plug_Two,")
        assert (done.stdout, done.stderr) == (less * 2, "")
    (note,) = (stand.home / "cache" / "without").glob("*/*/*")
    assert note.name == "plug-two"
    assert python(stand, LISTS, VPM_ENV_WITHOUT="plug-two").stdout == less

    # What an engine has, its children have, whatever becomes of the variable.
    changed = f"import os; os.environ['VPM_ENV_WITHOUT'] = 'plug-one'; {inner}"
    assert python(stand, changed, name="vllm", VPM_ENV_WITHOUT="plug-two").stdout == less * 2


@pytest.mark.long
def test_the_guard_and_status_say_what_is_left_out(stand: kit.VpmEnv) -> None:
    done = python(stand, LOADS, VPM_ENV_WITHOUT="plug-two")
    assert re.sub(r"\b[0-9a-f]{12}\b", "KEY", done.stderr) == (
        "INFO:vpm_env:vpm-env: generation 1 (KEY) without `plug-two`, 2 plugins\n"
    )

    wait = "import sys; print('up', flush=True); sys.stdin.read()"
    env = {**stand.env, "VPM_ENV_WITHOUT": "plug-two"}
    words = [*stand.command, "run", "-q", "python", "-c", wait]
    with subprocess.Popen(words, cwd=stand.folder, env=env, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as child:
        assert child.stdout is not None
        assert child.stdout.readline() == b"up\n"
        out, _ = told(stand, "status", "--pid", str(child.pid))
        record = stand("status", "--pid", str(child.pid), "--json", check=True).json
        assert stand("gc", check=True).exit == 0
        assert stand("path", "--without", "plug-two", "--json").json["digest"] == record["digest"]
        child.communicate()
    assert out.splitlines()[0] == (
        f"process {child.pid} has what is left of generation 1 (KEY) of profile default, which is current, "
        "without `plug-two`"
    )
    assert (record["without"], [place["number"] for place in record["generations"]]) == (["plug-two"], [1])
    out, hint = told(stand, "status", code=1, VPM_ENV_WITHOUT="plug-two")
    assert out.splitlines()[0].endswith(": `VPM_ENV_WITHOUT` leaves out some of it (KEY)")
    assert hint == "\nhint: unset `VPM_ENV_WITHOUT`\n"


@pytest.mark.long
def test_gc_takes_a_set_that_no_process_has(stand: kit.VpmEnv) -> None:
    path = stand("path", "--without", "plug-three", check=True).stdout.strip()
    assert os.path.isdir(path)

    assert "no generation points to it" in stand("gc", check=True).output
    assert not os.path.exists(path)
    assert python(stand, LISTS, VPM_ENV_WITHOUT="plug-three").stdout.count("plug-") == 2


@pytest.mark.long
def test_what_cannot_be_made_is_told_once_and_the_whole_set_starts(stand: kit.VpmEnv, tmp_path: Path) -> None:
    """A name that means nothing is no failure; a vpm-env that is gone is, and strict engines do not start then."""
    done = python(stand, LISTS, name="vllm", VPM_ENV_WITHOUT="gone,plug-one")
    assert done.stderr == "vpm-env: warning: `VPM_ENV_WITHOUT` names `gone`: the set has no such plugin or package\n"
    assert "plug-one" not in done.stdout

    blocked = stand.home / "flocks"
    blocked.rename(tmp_path / "flocks")
    blocked.write_text("no folder")
    try:
        done = python(stand, LOADS + LISTS, name="vllm", VPM_ENV_WITHOUT="plug-one,plug-three")
        strict = subprocess.run(
            [stand.env["VPM_ENV_BASE"], "-c", LOADS],
            env={**stand.env, "VPM_ENV_WITHOUT": "plug-one,plug-three", "VPM_ENV_STRICT": "1"},
            capture_output=True,
            text=True,
            timeout=60,
        )
    finally:
        blocked.unlink()
        (tmp_path / "flocks").rename(blocked)
    first, second = re.sub(r"\b[0-9a-f]{12}\b", "KEY", done.stderr).splitlines()
    assert first.startswith("vpm-env: ERROR: VPM_ENV_WITHOUT=plug-one,plug-three: `")
    assert first.endswith("; starting with the whole generation 1")
    assert second.startswith(
        "WARNING:vpm_env:vpm-env: generation 1 (KEY) is active as a whole, whatever VPM_ENV_WITHOUT"
    )
    assert "plug-one" in done.stdout
    assert strict.returncode == 1
    assert "(VPM_ENV_STRICT is set)" in strict.stderr


@pytest.mark.long
def test_many_who_start_at_once_get_one_set(stand: kit.VpmEnv) -> None:
    stand("gc", check=True)
    env = {name: value for name, value in stand.env.items() if not name.startswith("VPM_ENV_")}
    code = "import sys; print(sys.modules['_vpm_env_hook'].digest)"
    words = [stand.env["VPM_ENV_BASE"], "-c", code]
    running = [
        subprocess.Popen(words, env={**env, "VPM_ENV_WITHOUT": "plug-one plug-two"}, stdout=subprocess.PIPE)
        for _ in range(6)
    ]
    digests = {child.communicate(timeout=60)[0] for child in running}

    assert len(digests) == 1
    assert stand("verify", check=True).exit == 0
    (current,) = json.loads(stand("history", "--json").stdout)["generations"][:1]
    assert current["digest"].encode() not in digests.pop()


@pytest.mark.long
def test_it_is_the_set_that_a_build_makes(stand: kit.VpmEnv) -> None:
    """The digest names the content, so a set that is built later is there already."""
    for kept in itertools.combinations(PLUGINS, 2):
        (gone,) = set(PLUGINS) - set(kept)
        derived = stand("path", "--without", gone, "--json", check=True).json
        configure(stand, *kept)
        built = stand("build", "--offline", "--no-switch", "--json", check=True).json
        assert derived["digest"] == built["digest"]
        assert derived["without"] == [gone]
