"""`entry_points:` of a plugin: the others are not there, for whoever looks, and the store knows nothing of it."""

from __future__ import annotations

from pathlib import Path

import kit
import pytest
import stands
from test_cli import piped

from envbuilder import config
from envbuilder.engines import GUARD_ENTRY
from envbuilder.errors import ConfigError
from envbuilder.paths import Environment

GENERAL, PLATFORMS = "vllm.general_plugins", "vllm.platform_plugins"
SEEN = "from importlib.metadata import entry_points as e; print(*sorted(p.name for p in e(group='{group}')))"


@pytest.fixture(scope="module")
def stand(tmp_path_factory: pytest.TempPathFactory) -> kit.VpmEnv:
    """Make a base, and a wheel with three entry points of two groups, of which one does not load, and a command."""
    folder = tmp_path_factory.mktemp("points")
    points = {
        GENERAL: {"good": "many:register", "bad": "many_bad:register", "gone": "many:gone"},
        PLATFORMS: {"good": "many:register"},
        "console_scripts": {"many": "many:main"},
    }
    files = {
        "many.py": "def register(): ...\ndef main(): print('ran')\n",
        "many_bad.py": "raise OSError('no')\ndef register(): ...\n",
    }
    kit.wheel(folder / "links", "many", "1.0", files=files, entry_points=points)
    return stands.small(folder)


def build(stand: kit.VpmEnv, entry_points: str, *words: str, code: int = 0) -> str:
    stand.config(
        "find_links: ../links\nindex: http://127.0.0.1:9/none\nplugins:\n  - name: many\n    source: pypi\n"
        f"    entry_points: {entry_points}\n"
    )
    done = stand("build", "--offline", *words)
    assert done.exit == code, done.output
    return done.stderr


def seen(stand: kit.VpmEnv, group: str) -> str:
    """Return what the overlay's own python finds of a group, besides the guard."""
    words = stand("run", "--", "python", "-c", SEEN.format(group=group), check=True).stdout.split()
    return " ".join(word for word in words if word != GUARD_ENTRY)


def overlay(stand: kit.VpmEnv) -> Path:
    return Path(stand("path", check=True).stdout.strip())


def test_only_what_is_selected_is_there(stand: kit.VpmEnv) -> None:
    assert f"`many`: {GENERAL}: bad does not load: OSError: no" in build(stand, "[good, bad]", code=1)
    assert f"the entry point `gone` of `{GENERAL}` in `many 1.0`" in build(stand, "[gone]", code=1)

    build(stand, "[good]")
    assert (seen(stand, GENERAL), seen(stand, PLATFORMS)) == ("good", "good")
    assert stand("run", "--", "many", check=True).stdout == "ran\n"
    build(stand, f"['{GENERAL}:good']")
    assert (seen(stand, GENERAL), seen(stand, PLATFORMS)) == ("good", "")
    build(stand, f"{{{PLATFORMS}: good}}")
    assert (seen(stand, GENERAL), seen(stand, PLATFORMS)) == ("", "good")


def test_a_list_says_what_is_selected_and_the_allow_list_too(stand: kit.VpmEnv) -> None:
    build(stand, f"['{PLATFORMS}:good']")
    record = stand("list", "--json", check=True).json

    assert record["selection"] == {"many": [f"{PLATFORMS}:good"]}
    assert set(record["entry_points"]) == {PLATFORMS, "console_scripts"}
    assert {result["group"] for result in record["probe"]} == {PLATFORMS}
    assert piped(stand, "list")[0].splitlines()[1].endswith("only good")
    build(stand, "[]")
    assert piped(stand, "list")[0].splitlines()[1].endswith("no entry points")
    assert stand("list", "--json").json["allow_lists"] == {}


@pytest.mark.long
def test_the_plan_and_the_build_say_that_others_are_selected(stand: kit.VpmEnv) -> None:
    build(stand, "[good]")
    build(stand, f"['{PLATFORMS}:good']", "--no-switch")
    line = "many: 1.0 → 1.0, other entry points"

    planned = stand("build", "--offline", "--dry-run")
    as_data = stand("build", "--offline", "--dry-run", "--json").json

    assert planned.stdout == f"{line}\n"
    assert "nothing was changed: this was a dry run" in planned.stderr
    assert as_data["digest"] == stand("history", "--json").json["generations"][-1]["digest"]
    assert [change["content"] for change in as_data["changes"]] == ["other entry points"]
    assert f"  {line}\n" in build(stand, f"{{{PLATFORMS}: good}}", "--force")
    again = stand("build", "--offline", "--dry-run")
    assert (again.stdout, "nothing would change" in again.stderr) == ("", True)


@pytest.mark.long
def test_the_store_and_other_sets_know_nothing_of_it(stand: kit.VpmEnv) -> None:
    build(stand, "[]")
    first = overlay(stand)
    build(stand, "[good]")
    second = overlay(stand)
    texts = [next(path.rglob("many-1.0.dist-info/entry_points.txt")) for path in (first, second)]
    stored = next(stand.home.glob("store/*-many-1.0/lib/many-1.0.dist-info/entry_points.txt"))

    assert first != second
    assert [text.read_text().count("good") for text in texts] == [0, 2]
    assert stored.read_text().count("=") == 5
    assert piped(stand, "verify")[1].endswith("all as they were made\n")
    listed = texts[0].with_name("SOURCES.txt").read_text()
    assert "many-1.0.dist-info/entry_points.txt" in listed
    texts[1].chmod(0o644)
    texts[1].write_text("[x]\n")
    assert "entry_points.txt` is not as it was written" in stand("verify").output
    build(stand, "[good]", "--force")
    assert seen(stand, GENERAL) == "good"


def test_the_same_selection_in_other_words_is_the_same_set(stand: kit.VpmEnv) -> None:
    build(stand, f"{{{PLATFORMS}: [good], {GENERAL}: good}}")
    chosen = overlay(stand)
    build(stand, "[good]")

    assert overlay(stand) == chosen


@pytest.mark.long
def test_a_collected_generation_comes_back_with_its_selection(stand: kit.VpmEnv) -> None:
    build(stand, f"['{GENERAL}:good']")
    kept = stand("history", "--json").json["current"]
    path = overlay(stand)
    build(stand, "[good]")
    for file in sorted(path.rglob("*"), reverse=True):
        if file.is_dir() and not file.is_symlink():
            file.rmdir()
        else:
            file.unlink()
    path.rmdir()
    done = stand("switch", str(kept))

    assert done.exit == 0, done.output
    assert overlay(stand) == path
    assert (seen(stand, GENERAL), seen(stand, PLATFORMS)) == ("good", "")


def test_names_that_are_none_are_told_at_once(stand: kit.VpmEnv) -> None:
    told = build(stand, f"[god, many, '{GENERAL}:good']", code=1)
    has = f"it has `{GENERAL}:bad`, `{GENERAL}:gone`, `{GENERAL}:good`, `{PLATFORMS}:good`"
    place = "plugins.yaml:4:5: `many.entry_points`"

    assert f"{place}: `many 1.0` has no entry point `god`; did you mean `good`?; {has}" in told
    assert f"`many 1.0` has no entry point `many`; {has}" in told
    assert "hint: `entry_points:` names those to load" in told


@pytest.mark.parametrize(
    ("written", "said"),
    [
        ("[a=b]", "`plugins[0].entry_points[0]`: must be the name of an entry point, alone or as `group:name`"),
        ("['a b:c']", "`plugins[0].entry_points[0]`: must be the name of an entry point"),
        ("{vllm.general_plugins: [1]}", "`plugins[0].entry_points.vllm.general_plugins[0]`: must be text"),
        ("{'a b': c}", "`plugins[0].entry_points.a b`: unknown key"),
    ],
)
def test_what_is_no_name_is_told(written: str, said: str) -> None:
    text = f"plugins:\n  - name: many\n    source: pypi\n    entry_points: {written}\n"

    with pytest.raises(ConfigError) as caught:
        config.of_content(text.encode(), file="/srv/plugins.yaml", env=Environment(variables={}))
    assert said in caught.value.message


def test_add_writes_the_key(stand: kit.VpmEnv) -> None:
    file = stand.config("plugins: []\n")
    piped(stand, "add", "many", "--entry-point", "good")

    assert file.read_text() == "plugins:\n  - name: many\n    source: pypi\n    entry_points: [good]\n"
    piped(stand, "add", "many", "--entry-point", f"{GENERAL}:good")
    assert file.read_text().endswith(f'    entry_points: ["{GENERAL}:good"]\n')
