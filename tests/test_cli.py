"""What vpm-env prints, whole: each verb in a pipe, the main ones on a terminal of 80 columns, and mistakes."""

from __future__ import annotations

import fcntl
import json
import os
import pty
import re
import struct
import subprocess
import termios
from typing import TYPE_CHECKING

import kit
import pytest
import stands

from envbuilder.parsers import parsers

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

GROUP = "vllm.general_plugins"
BAR = re.compile("[⠀-⣿] ")
"""How a bar of rich begins: a dot that turns."""
THERE = "/X/work/plugins.yaml: the file is there already, and stays as it is"


@pytest.fixture(scope="module")
def stand(tmp_path_factory: pytest.TempPathFactory) -> kit.VpmEnv:
    """Build two generations once: `one`, then `one` and `two`."""
    folder = tmp_path_factory.mktemp("cli")
    vpm_env = stands.small(folder)
    links = folder / "links"
    for name in ("one", "two"):
        files = {f"{name}/__init__.py": "def register(): ...\n"}
        kit.wheel(links, name, "1.0", files=files, entry_points={GROUP: {name: f"{name}:register"}})
    for names in (("one",), ("one", "two")):
        entries = "".join(f"  - {{name: {name}, source: pypi, version: '1.0'}}\n" for name in names)
        vpm_env.config(f"find_links: {links}\nindex: http://127.0.0.1:9/none\nplugins:\n{entries}")
        vpm_env("build", "--offline", check=True)
    return vpm_env


def shown(text: str, stand: kit.VpmEnv) -> str:
    """Take out what differs from run to run: paths, digests, times, sizes in seconds."""
    text = text.replace(str(stand.folder.parent), "/X").replace(os.environ.get("HOME", "/nowhere"), "~")
    text = re.sub(r"\b[0-9a-f]{64}\b", "DIGEST", text)
    text = re.sub(r"\b[0-9a-f]{12}\b", "KEY", text)
    text = re.sub(r"\d{4}-\d\d-\d\d[T ]\d\d:\d\d(:\d\d\+00:00)?", "TIME", text)
    text = re.sub(r"Python 3\.\d+\.\d+", "Python 3.X", text)
    text = re.sub(r"python3\.\d+", "python3.X", text)
    return re.sub(r"\d+\.\d s", "N s", text)


def piped(stand: kit.VpmEnv, *words: str, code: int = 0) -> tuple[str, str]:
    done = stand(*words)
    assert done.exit == code, done.output
    return shown(done.stdout, stand), shown(done.stderr, stand)


def on_terminal(stand: kit.VpmEnv, *words: str) -> str:
    """Run on a pseudo-terminal of 80 columns and return what it wrote."""
    leader, follower = pty.openpty()
    fcntl.ioctl(follower, termios.TIOCSWINSZ, struct.pack("HHHH", 40, 80, 0, 0))
    env = {**stand.env, "TERM": "xterm-256color"}
    child = subprocess.Popen(
        [*stand.command, *words], cwd=stand.folder, env=env, stdin=follower, stdout=follower, stderr=follower
    )
    os.close(follower)
    written = b""
    while True:
        try:
            chunk = os.read(leader, 65536)
        except OSError:
            break
        written += chunk
    child.wait()
    os.close(leader)
    return shown(written.decode().replace("\r\n", "\n"), stand)


def without_styles(written: str) -> str:
    return re.sub(r"\x1b\[[\d;?]*[A-Za-z]", "", written)


def test_history(stand: kit.VpmEnv) -> None:
    out, err = piped(stand, "history")

    assert err == ""
    assert out == (
        "   generation  digest        state    made              changes\n"
        "            1  KEY  untried  TIME  one: ∅ → 1.0\n"
        "→           2  KEY  untried  TIME  two: ∅ → 1.0\n"
    )


def test_list(stand: kit.VpmEnv) -> None:
    out, err = piped(stand, "list")

    assert err == ""
    assert re.sub(r"\d+ B", "NNN B", out) == (
        "package  version  plugin   size  note\none      1.0      one     NNN B\ntwo      1.0      two     NNN B\n"
    )


def test_status_says_first_whether_a_new_process_gets_the_set(stand: kit.VpmEnv) -> None:
    out, err = piped(stand, "status", code=1)

    assert out.splitlines()[0] == "a new engine process does not get a set: the base has no start-up hook"
    assert out.splitlines()[2:] == [
        "base:      /X/base (vllm 0.33.0, Python 3.X), chosen by `$VPM_ENV_BASE`",
        "config:    /X/work/plugins.yaml",
        "home:      /X/home",
        "profile:   default for base KEY",
        "hook:      not installed in `/X/base/lib/python3.X/site-packages`",
        "current:   generation 2, untried, 2 plugins",
        "rollback:  would go to generation 1",
        "allow-list: VLLM_PLUGINS=lora_filesystem_resolver,lora_hf_hub_resolver,one,two",
    ]
    assert err == "\nhint: run `vpm-env hook install`, or start the engine with `vpm-env run -- COMMAND`\n"


@pytest.fixture
def hooked(stand: kit.VpmEnv) -> Iterator[kit.VpmEnv]:
    """Let the base's hook build at an engine's start, for the stand's home."""
    stand("hook", "install", "--auto", check=True)
    yield stand
    stand("hook", "uninstall", check=True)


HOOK = "hook:      0.1.0 in `/X/base/lib/python3.X/site-packages`, for profile `default` of `{home}`; builds before an "
HOOK += "engine's start, and if that fails: last-good"


def test_status_of_another_home_than_the_hooks(hooked: kit.VpmEnv) -> None:
    """As with `docker run -e VLLM_PLUGIN_REGISTRY_DIR=…`, which vpm-env follows and the hook does not."""
    elsewhere = {"VPM_ENV_HOME": None, "VLLM_PLUGIN_REGISTRY_DIR": str(hooked.folder.parent / "other")}
    done = hooked("status", env=elsewhere)

    answer = (
        "a new engine process gets another set: the hook in the base is for the profile `default` of `/X/home`, from "
        "which generation 2 (KEY) comes; this is about `default` of `/X/other`, which `VLLM_PLUGIN_REGISTRY_DIR` "
        "names; the hook does not read that"
    )
    assert done.exit == 1
    assert shown(done.stdout, hooked).splitlines() == [
        answer,
        "",
        "base:      /X/base (vllm 0.33.0, Python 3.X), chosen by `$VPM_ENV_BASE`",
        "config:    /X/work/plugins.yaml",
        "home:      /X/other",
        "profile:   default for base KEY",
        HOOK.format(home="/X/home"),
    ]
    assert shown(done.stderr, hooked) == (
        "\nhint: `vpm-env status --home /X/home` is about what engines get; to change that, run `vpm-env hook install` "
        "for this one, or start the engine with `vpm-env run -- COMMAND`\n"
    )


@pytest.mark.long
def test_status_before_the_first_start_which_builds(hooked: kit.VpmEnv) -> None:
    first = hooked.folder.parent / "first"
    hooked("hook", "install", "--auto", "--home", first, check=True)
    named = {"VLLM_PLUGIN_CONFIG": str(hooked.folder / "plugins.yaml")}
    done, unnamed = hooked("status", "--home", first, env=named), hooked("status", "--home", first, "--json").json
    why = "nothing was built for this base yet"

    assert done.exit == 1
    assert shown(done.stdout, hooked).splitlines() == [
        "the next start of an engine builds a set first: the profile `default` has no current generation for this base",
        "",
        "base:      /X/base (vllm 0.33.0, Python 3.X), chosen by `$VPM_ENV_BASE`",
        "config:    /X/work/plugins.yaml",
        "home:      /X/first",
        "profile:   default for base KEY",
        HOOK.format(home="/X/first"),
        f"next start: builds first from `/X/work/plugins.yaml`: {why}; if that fails: last-good",
    ]
    assert shown(done.stderr, hooked) == "\nhint: `vpm-env build` does so now\n"
    # A start looks into no working directory.
    assert (unnamed["builds_first"], unnamed["way_forward"]) == (None, "run `vpm-env build`")


@pytest.mark.long
def test_status_tells_what_comes_at_the_next_start_and_what_this_environment_changes(hooked: kit.VpmEnv) -> None:
    config = hooked.folder / "plugins.yaml"
    text = config.read_text()
    settled = hooked("status", "--json").json
    try:
        config.write_text(f"{text}# changed\n")
        changed, off = (hooked("status", "--json", env={"VPM_ENV_AUTO": value}).json for value in ("bare", "0"))
        config.write_text(f"{text}auto: false\n")
        switched_off = hooked("status", "--json").json
    finally:
        config.write_text(text)
    key = settled["base"]["key"]
    first = hooked("show", "1", "--json").json["digest"]
    pinned = hooked("status", "--json", env={"VPM_ENV_PIN": f"{key}:{first}"}).json
    told = hooked("status", env={"VLLM_PLUGINS": "one"}).stdout
    whole = hooked("status", "--json", env={"VLLM_PLUGINS": settled["allow_lists"]["VLLM_PLUGINS"]}).json

    assert (settled["active"], settled["builds_first"]) == (True, None)
    assert settled["gets"]["generation"] == settled["current"]["number"] == 2
    why = "it changed since generation 2"
    assert changed["builds_first"] == {"config": str(config), "why": why, "policy": "bare"}
    assert (changed["active"], off["builds_first"], switched_off["builds_first"]) == (True, None, None)
    assert (pinned["active"], pinned["gets"]["digest"]) == (False, first)
    value = "lora_filesystem_resolver,lora_hf_hub_resolver,one,two,vpm_env_guard"
    assert f"\nallow-list: VLLM_PLUGINS={value}\n" in told
    assert (
        "\nwarning:   VLLM_PLUGINS is set and leaves out `two`, `vpm_env_guard`: an engine that is started here does "
        f"not load them; set it to `{value}`\n" in told
    )
    assert whole["warnings"] == settled["warnings"] == []
    assert hooked("show", "--json").json["allow_lists"] == settled["allow_lists"] == {"VLLM_PLUGINS": value}


def test_the_other_verbs_that_only_look(stand: kit.VpmEnv) -> None:
    assert piped(stand, "path") == ("/X/home/overlays/KEY/DIGEST\n", "")
    assert piped(stand, "verify") == ("", "looked at 2 packages and 2 overlays: all as they were made\n")
    assert piped(stand, "gc", "--dry-run") == ("", "would free 0 B: 0 overlays, 0 packages\n")
    assert piped(stand, "build") == ("", "nothing to do: generation 2 (KEY) is current\n")
    assert piped(stand, "build", "-q") == ("", "")
    assert piped(stand, "hook", "status", code=1) == (
        "not installed in `/X/base/lib/python3.X/site-packages`\n",
        "\nhint: run `vpm-env hook install`\n",
    )


@pytest.mark.parametrize(
    ("words", "out", "err"),
    [
        (("switch", "1"), "", "switched to generation 1 (KEY), was 2\n"),
        (("switch", "2"), "", "switched to generation 2 (KEY), was 1\n"),
        (("rollback",), "", "rolled back to generation 1 (KEY), was 2\n"),
        (("rollback", "--to", "2"), "", "rolled back to generation 2 (KEY), was 1\n"),
        (("run", "--generation", "1", "--", "echo", "hello"), "hello\n", ""),
        (("run", "--generation", "1", "echo", "-q", "--json", "--", "x"), "-q --json -- x\n", ""),
        (("exec", "echo", "hello"), "hello\n", ""),
        (("keep", "1"), "", "generation 1 (KEY) is kept: gc spares it\n"),
        (("unkeep", "1"), "", "generation 1 (KEY) is kept no longer\n"),
        (
            ("init",),
            "",
            f"error: {THERE}\n\nhint: edit it, or name another with `--config`\n",
        ),
        (
            ("hook", "status"),
            "not installed in `/X/base/lib/python3.X/site-packages`\n",
            "\nhint: run `vpm-env hook install`\n",
        ),
    ],
)
def test_what_is_said_in_a_pipe_is_said_on_a_terminal(
    stand: kit.VpmEnv, words: tuple[str, ...], out: str, err: str
) -> None:
    before = stand("history", "--json").json["current"]
    done = stand(*words)
    assert (shown(done.stdout, stand), shown(done.stderr, stand)) == (out, err)

    back = {"switch": ("switch", before), "rollback": ("switch", before), "keep": ("unkeep", 1), "unkeep": ("keep", 1)}
    if words[0] in back:
        stand(*map(str, back[words[0]]), check=True)
    assert without_styles(on_terminal(stand, *words)) == out + err


@pytest.mark.parametrize(
    "words", [("sbom",), ("completion", "fish"), ("upgrade", "--dry-run", "--offline")], ids=" ".join
)
def test_data_are_the_same_on_a_terminal(stand: kit.VpmEnv, words: tuple[str, ...]) -> None:
    out, err = piped(stand, *words)
    written = without_styles(on_terminal(stand, *words)).replace("\r", "\n")

    lines = [line for line in written.splitlines() if line and not BAR.match(line)]
    assert lines == [line for line in (err + out if words[0] == "upgrade" else out + err).splitlines() if line]


def test_an_upgrade_that_finds_nothing_newer(stand: kit.VpmEnv) -> None:
    assert piped(stand, "upgrade", "--dry-run", "--offline") == ("", "resolving: N s\nnothing would change\n")
    assert lines_of(on_terminal(stand, "upgrade", "--dry-run", "--offline")) == [
        "resolving: N s",
        "nothing would change",
    ]


def lines_of(written: str) -> list[str]:
    """Return the lines of what was written on a terminal, without styles, bars and empty ones."""
    lines = re.sub(r"\b\d+ B\b", "NNN B", without_styles(written)).replace("\r", "\n").splitlines()
    return [line for line in lines if line and not BAR.match(line) and "━" not in line]


def test_a_first_build_on_a_terminal(stand: kit.VpmEnv, tmp_path: Path) -> None:
    assert lines_of(on_terminal(stand, "build", "--offline", "--home", str(tmp_path / "fresh"))) == [
        "fetching: 2 packages, NNN B, N s",
        "probing: N s",
        "  one: ∅ → 1.0, +NNN B",
        "  two: ∅ → 1.0, +NNN B",
        "switched to generation 1 (KEY), was none",
        "hint: `vpm-env status` tells whether engine processes get it",
    ]


def test_completion_scripts(stand: kit.VpmEnv) -> None:
    own = "--config --base --home --profile --quiet -q --verbose -v"
    files = "--config=file --base=file --home=file --profile=profile"
    bash, err = piped(stand, "completion", "bash")
    assert err == ""
    assert bash.startswith("# Completion of vpm-env for bash, made by `vpm-env completion bash`:\n")
    assert (
        "    switch|switch-generation)\n"
        f"        options='--help -h --json {own}'\n"
        f"        values='{files}'\n"
        "        words='generation'\n"
        "        ;;\n"
    ) in bash
    assert bash.endswith("\ncomplete -F _vpm_env vpm-env\n")

    fish, _ = piped(stand, "completion", "fish")
    is_switch = "complete -c vpm-env -n '__vpm_env_verb_is switch switch-generation'"
    assert f"{is_switch} -l json -d 'as JSON'\n" in fish
    assert f"{is_switch} -f -a '(__vpm_env_values generation)'\n" in fish
    zsh, _ = piped(stand, "completion", "zsh")
    assert "        '1:N: _vpm_env_values generation'\n        )\n" in re.sub(r"(?m)^ {12}", " " * 8, zsh)


def test_a_bill_of_materials(stand: kit.VpmEnv) -> None:
    out, err = piped(stand, "sbom")
    record = json.loads(re.sub(r"\b[0-9a-f]{32}-", "KEY-", re.sub(r"urn:uuid:[^\"]+", "UUID", out)))
    about = {prop["name"]: prop["value"] for prop in record["metadata"]["component"].pop("properties")}

    assert err == ""
    assert (about["vpm-env:base-key"], about["vpm-env:engine"]) == ("KEY", "vllm 0.33.0")
    del record["metadata"]["tools"]
    assert record == {
        "$schema": "http://cyclonedx.org/schema/bom-1.6.schema.json",
        "bomFormat": "CycloneDX",
        "specVersion": "1.6",
        "serialNumber": "UUID",
        "version": 1,
        "metadata": {
            "timestamp": "TIME",
            "component": {"type": "application", "bom-ref": "DIGEST", "name": "vllm-plugins", "version": "KEY"},
        },
        "components": [
            *map(component, ("one", "two")),
            {
                "type": "library",
                "bom-ref": "base:vllm",
                "name": "vllm",
                "version": "0.33.0",
                "scope": "excluded",
                "purl": "pkg:pypi/vllm@0.33.0",
                "properties": [{"name": "vpm-env:provided-by", "value": "base"}],
            },
        ],
        "dependencies": [
            {"ref": "DIGEST", "dependsOn": ["KEY-one-1.0", "KEY-two-1.0"]},
            {"ref": "KEY-one-1.0", "dependsOn": []},
            {"ref": "KEY-two-1.0", "dependsOn": []},
        ],
    }


def component(name: str) -> dict[str, object]:
    """Return what a bill of materials says of a package of the stand."""
    own = {"files-sha256": "DIGEST", "key": f"KEY-{name}-1.0", "plugin": name}
    return {
        "type": "library",
        "bom-ref": f"KEY-{name}-1.0",
        "name": name,
        "version": "1.0",
        "scope": "required",
        "hashes": [{"alg": "SHA-256", "content": "DIGEST"}],
        "purl": f"pkg:pypi/{name}@1.0",
        "externalReferences": [{"type": "distribution", "url": f"file:///X/links/{name}-1.0-py3-none-any.whl"}],
        "properties": [{"name": f"vpm-env:{key}", "value": value} for key, value in own.items()],
    }


def test_the_first_config_is_told(stand: kit.VpmEnv, tmp_path: Path) -> None:
    said = "for vllm\n\nhint: add plugins to it, then run `vpm-env build`\n"

    assert piped(stand, "init", "--config", str(tmp_path / "a.yaml")) == ("", f"wrote `{tmp_path}/a.yaml` {said}")
    written = without_styles(on_terminal(stand, "init", "--config", str(tmp_path / "b.yaml")))
    assert written == f"wrote `{tmp_path}/b.yaml` {said}"


def test_what_an_uninstall_would_take(stand: kit.VpmEnv) -> None:
    names = (
        *("cache", "flocks", "overlays", "profiles", "registry.json", "reserve", "sources", "store", "tmp", "trash"),
        "format",
    )
    goes = "".join(f"would remove /X/home/{name}\n" for name in names) + "would free N MiB\n"
    left = "left: /X/work/plugins.yaml\nleft: /X/work/pylock.plugins.toml\n"
    done = stand("uninstall", "--dry-run")
    written = without_styles(on_terminal(stand, "uninstall", "--dry-run"))

    out, err = (re.sub(r"free [\d.]+ MiB", "free N MiB", shown(text, stand)) for text in (done.stdout, done.stderr))
    assert (out, err) == (left, goes)
    assert re.sub(r"free [\d.]+ MiB", "free N MiB", written) == goes + left


def test_a_build_that_would_change_nothing_on_a_terminal(stand: kit.VpmEnv) -> None:
    written = without_styles(on_terminal(stand, "build", "--dry-run", "--offline", "--force"))

    lines = [line for line in written.replace("\r", "\n").splitlines() if line and not BAR.match(line)]
    assert lines == ["resolving: N s", "nothing would change"]


def test_tables_and_the_rest_on_a_terminal_of_80_columns(stand: kit.VpmEnv) -> None:
    assert without_styles(on_terminal(stand, "history")).splitlines() == [
        "    generation   digest         state     made               changes     ",
        "─────────────────────────────────────────────────────────────────────────",
        "             1   KEY   untried   TIME   one: ∅ → 1.0",
        "→            2   KEY   untried   TIME   two: ∅ → 1.0",
    ]
    assert re.sub(r"\d+ B", "NNN B", without_styles(on_terminal(stand, "list"))).splitlines() == [
        "package   version   plugin    size   note",
        "─────────────────────────────────────────",
        "one       1.0       one      NNN B       ",
        "two       1.0       two      NNN B       ",
    ]
    status = stand("status")
    assert without_styles(on_terminal(stand, "status")) == shown(status.stdout + status.stderr, stand)
    assert without_styles(on_terminal(stand, "path")) == "/X/home/overlays/KEY/DIGEST\n"
    assert without_styles(on_terminal(stand, "verify")).startswith("looked at 2 packages and 2 overlays: all as")


def test_a_terminal_has_colours(stand: kit.VpmEnv) -> None:
    assert re.search(r"\x1b\[[\d;]*[3-9]\dm", on_terminal(stand, "history"))


def test_no_color_takes_the_colours_away(stand: kit.VpmEnv) -> None:
    stand.env["NO_COLOR"] = "1"
    try:
        assert not re.search(r"\x1b\[[\d;]*[3-9]\dm", on_terminal(stand, "history"))
    finally:
        del stand.env["NO_COLOR"]


@pytest.mark.parametrize("verb", ["history", "list", "status", "verify", "build"])
def test_json_has_a_version_at_its_root(stand: kit.VpmEnv, verb: str) -> None:
    record = json.loads(stand(verb, "--json").stdout)

    assert record["version"] == 1


def test_options_of_every_verb_may_stand_before_or_after(stand: kit.VpmEnv) -> None:
    base = stand.env["VPM_ENV_BASE"]
    before = piped(stand, "--base", base, "--profile", "default", "path")

    assert before == piped(stand, "path", "--base", base, "--profile=default")
    assert before[0].startswith("/X/home/overlays/")


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (("biuld",), 2, "error: there is no verb `biuld`\n\nhint: did you mean `vpm-env build`?\n"),
        (("build", "--nothing"), 2, "error: unrecognized arguments: --nothing\n\nhint: see `vpm-env build --help`\n"),
        (("switch",), 2, "error: the following arguments are required: N\n\nhint: see `vpm-env switch --help`\n"),
        (("switch", "x"), 2, "error: `x` is no generation\n\nhint: name it by its number, or by the first digits"),
        (("switch", "99999"), 2, "error: the profile `default` has no generation 99999\n\nhint: there are 1 and 2:"),
        (("help", "biuld"), 2, "error: there is no verb `biuld`\n\nhint: did you mean `vpm-env build`?\n"),
        (("hlep",), 2, "error: there is no verb `hlep`\n\nhint: did you mean `vpm-env help`?\n"),
        (("shell-hook",), 2, "error: there is no verb `shell-hook`\n\nhint: `source $(vpm-env path)/bin/activate`"),
        (("wipe-history",), 2, "error: there is no verb `wipe-history`\n\nhint: `vpm-env gc --older-than 30d` frees"),
        (("run", "--nothing", "echo"), 2, "error: unrecognized arguments: --nothing\n"),
        (("gc", "--older-than", "soon"), 2, "error: `soon` is no duration\n\n"),
        (("run",), 2, "error: there is no command to run\n\n"),
        (("--config", "/nowhere.yaml", "build"), 1, "error: /nowhere.yaml: there is no such file\n\n"),
        (("--profile", "A B", "list"), 2, "error: `A B` is no profile name"),
        (("--base", "/nowhere", "status"), 1, "error: `--base` names `/nowhere`, which is no interpreter"),
        (("hook", "dance"), 2, "error: argument action: invalid choice: 'dance'"),
    ],
)
def test_mistakes_are_told_in_one_breath(stand: kit.VpmEnv, words: tuple[str, ...], code: int, said: str) -> None:
    out, err = piped(stand, *words, code=code)

    assert out == ""
    assert err.startswith(said)


def test_an_error_in_json_is_a_record_too(stand: kit.VpmEnv) -> None:
    done = stand("switch", "99999", "--json")

    assert done.exit == 2
    assert done.json["error"]["kind"] == "NoSuchGeneration"
    assert done.json["error"]["hint"] == "there are 1 and 2: see `vpm-env history`"


def test_help_is_grouped_and_each_verb_has_its_own(stand: kit.VpmEnv) -> None:
    overview, _ = piped(stand, "--help")
    assert overview.startswith("Build, switch and roll back the plugins of an LLM serving engine.\n")
    for verb, parser in parsers().items():
        assert f"\n  {verb} " in overview
        assert parser.format_help().startswith(f"usage: vpm-env {verb}")
    assert piped(stand, "build", "--help")[0].startswith("usage: vpm-env build")
    assert piped(stand, "--version")[0].startswith("vpm-env ")
    helps = [overview, *(parser.format_help() for parser in parsers().values())]
    assert [line for text in helps for line in text.splitlines() if len(line) > 80] == []


def test_help_and_version_are_words_too(stand: kit.VpmEnv) -> None:
    assert piped(stand, "help") == piped(stand, "--help")
    assert piped(stand, "help", "rm") == piped(stand, "remove", "--help")
    assert piped(stand, "version") == piped(stand, "--version")


def test_a_base_that_this_user_may_not_execute_is_told(stand: kit.VpmEnv, tmp_path: Path) -> None:
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin" / "python").write_text("#!/bin/sh\n")

    for path in (tmp_path, tmp_path / "bin" / "python"):
        _, err = piped(stand, "--base", str(path), "status", code=1)
        assert err == f"error: `--base` names `{path}`, which this user may not execute: permission denied\n"


def test_a_build_from_another_config_is_told(stand: kit.VpmEnv) -> None:
    config = stand.folder / "plugins.yaml"
    (stand.folder / "other.yaml").write_text(config.read_text())
    _, err = piped(stand, "build", "--offline", "--force", "--config", "other.yaml")
    _, back = piped(stand, "build", "--offline", "--force")

    assert "\nnote: generation 2 was built from `/X/work/plugins.yaml`\n" in err
    assert "\nnote: generation 2 was built from `/X/work/other.yaml`\n" in back
    assert "note:" not in piped(stand, "build", "--offline", "--force")[1]


def test_no_home_at_all_is_told(stand: kit.VpmEnv, tmp_path: Path) -> None:
    nowhere = stand("list", env={"VPM_ENV_HOME": None, "HOME": "/", "XDG_DATA_HOME": None}, cwd=tmp_path)

    assert nowhere.exit == 1
    assert "hint: set `VPM_ENV_HOME`" in nowhere.stderr


def test_a_newer_home_is_left_alone(stand: kit.VpmEnv, tmp_path: Path) -> None:
    (tmp_path / "format").write_text("99\n")

    done = stand("list", "--home", tmp_path)

    assert done.exit == 1
    assert f"the home `{tmp_path}` has format 99" in done.stderr


def test_a_closed_pipe_is_no_traceback(stand: kit.VpmEnv) -> None:
    command = " ".join(f"'{word}'" for word in stand.command)
    done = subprocess.run(
        ["bash", "-c", f"{command} history | head -0; echo ${{PIPESTATUS[0]}}"],
        env=stand.env, cwd=stand.folder, capture_output=True, text=True, check=False,
    )  # fmt: skip

    assert "Traceback" not in done.stderr
