"""`vpm-env audit`, and findings that the config accepts, from the refusal to the set that has them."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import kit
import pytest
import stands
from jsonschema import Draft202012Validator
from test_cli import on_terminal, piped, without_styles

if TYPE_CHECKING:
    from pathlib import Path

GROUP = "vllm.general_plugins"
STARTING = "`demo 1.0` has the start-up file `demo.pth`, which says `import demo`"
REFUSED = """\
error: file-in-base: `demo 1.0` puts `vllm/extra.py` inside `vllm` of the base (from `vllm 0.33.0`): \
`import vllm` finds the base's package as a whole, so these files can never be imported

hint: use a release of `demo` that has its code in a package of its own
hint: if you know that it does no harm: `accept: [file-in-base]` on `demo`
"""
AUDITED = """\
generation 1 (KEY) on /X/base (vllm 0.33.0, Python 3.X)

accepted by `demo`: file-in-base: `demo 1.0` puts `vllm/extra.py` inside `vllm` of the base (from `vllm 0.33.0`)
  why: `import vllm` finds the base's package as a whole, so these files can never be imported

warning: startup-code: `demo 1.0` has the start-up file `demo.pth`, which says `import demo`
  why: an engine process does not run start-up files of plugins, so what it sets up is missing there
  do:  check that `demo` works without it
"""


def write(stand: kit.VpmEnv, *accept: str) -> None:
    """Write a config that accepts these findings of its plugin."""
    links = stand.folder.parent / "links"
    entry = f"  - {{name: demo, source: pypi, accept: [{', '.join(accept)}]}}\n"
    stand.config(f"find_links: {links}\nindex: http://127.0.0.1:9/none\nstartup_code: [demo]\nplugins:\n{entry}")


def flags(findings: list[dict[str, Any]]) -> list[tuple[str, bool]]:
    return [(finding["code"], finding["accepted"]) for finding in findings]


@pytest.fixture(scope="module")
def stand(tmp_path_factory: pytest.TempPathFactory) -> kit.VpmEnv:
    """Build a set of a plugin with files inside the engine, which is accepted, and a start-up file."""
    folder = tmp_path_factory.mktemp("audit")
    base = kit.base(folder / "base")
    kit.fake_vllm(base, "0.33.0")
    env = kit.clean_environment(folder)
    env |= {"VPM_ENV_HOME": str(folder / "home"), "UV_CACHE_DIR": str(folder / "uv"), "COLUMNS": "80"}
    (folder / "work").mkdir()
    vpm_env = kit.VpmEnv(home=folder / "home", folder=folder / "work", env=env).use(base)
    files = {"demo/__init__.py": "def register(): ...\n", "vllm/extra.py": "", "demo.pth": "import demo\n"}
    kit.wheel(folder / "links", "demo", files=files, entry_points={GROUP: {"demo": "demo:register"}})
    write(vpm_env, "file-in-base")
    vpm_env("build", "--offline", check=True)
    return vpm_env


def test_a_set_is_read_again(stand: kit.VpmEnv) -> None:
    out, err = piped(stand, "audit")
    _, strict = piped(stand, "audit", "1", "--strict", code=1)

    assert out == AUDITED
    assert err == strict == "\n1 package: 1 warning, 1 accepted\n"


def test_on_a_terminal_of_80_columns(stand: kit.VpmEnv) -> None:
    written = on_terminal(stand, "audit")

    assert without_styles(written) == AUDITED + "\n1 package: 1 warning, 1 accepted\n"
    assert "\x1b[33mwarning:\x1b[0m" in written or "\x1b[1;33mwarning:\x1b[0m" in written


def test_wrong_words(stand: kit.VpmEnv) -> None:
    _, unknown = piped(stand, "audit", "7", code=2)

    assert unknown.startswith("error: the profile `default` has no generation 7\n")


def test_what_reading_finds_on_the_base_as_it_is_now(stand: kit.VpmEnv) -> None:
    rooms = [stand.home / room for room in ("overlays", "profiles", "store")]
    before = list(map(kit.tree_hash, rooms))
    (site,) = (stand.folder.parent / "base" / "lib").glob("python*/site-packages")
    (site / "demo.py").write_text("")
    try:
        done = stand("audit", "--json")
    finally:
        (site / "demo.py").unlink()

    Draft202012Validator(json.loads((kit.ROOT / "docs" / "schemas" / "audit.json").read_text())).validate(done.json)
    assert done.exit == 1
    assert flags(done.json["findings"]) == [("name-in-base", False), ("file-in-base", True), ("startup-code", False)]
    assert list(map(kit.tree_hash, rooms)) == before


@pytest.mark.long
def test_from_the_refusal_to_the_set_that_has_it(tmp_path: Path, stand: kit.VpmEnv) -> None:
    home = ("--home", str(tmp_path / "home"))
    write(stand)
    try:
        _, refused = piped(stand, "build", "--offline", *home, code=1)
        write(stand, "file-in-base")
        built = stand("build", "--offline", "--json", *home, check=True).json
        write(stand, "file-in-base", "library-missing", "startup-code")
        checked = stand("check", "--offline", "--json", *home, check=True).json["bases"][0]["warnings"]
        kept = stand("status", "--json", *home).json["findings"]
        again = stand("build", "--offline", "--json", *home, check=True).json
        (manifest,) = (tmp_path / "home").glob(f"overlays/*/{built['digest']}/overlay.json")
        stored = json.loads(manifest.read_text())
        shown = stand("show", *home, check=True).stdout
        status = stand("status", *home)
        audited = stand("audit", "--strict", *home)
        write(stand, "file-in-base", "startup-code")
        _, noted = piped(stand, "build", "--offline", *home)
        (record,) = (tmp_path / "home").glob("store/*-demo-1.0/package.json")
        record.unlink()
        _, missing = piped(stand, "audit", *home, code=1)
    finally:
        write(stand, "file-in-base")

    assert refused == REFUSED, "before it enters the store, so it is not read for warnings"
    assert flags(built["findings"]) == [("file-in-base", True), ("startup-code", False)]
    now = [("file-in-base", True), ("startup-code", True), ("accept-idle", False)]
    assert (flags(checked), flags(kept)) == (now, flags(built["findings"])), "a check changes nothing of a set"
    assert (again["result"], again["generation"], again["digest"]) == ("unchanged", 1, built["digest"])
    assert flags(again["findings"]) == flags(stored["findings"]) == now
    assert stored["accepts"] == {"demo": ["file-in-base", "library-missing", "startup-code"]}
    assert f"accepted:   startup-code of `demo`: {STARTING}\n" in shown
    assert f"accepted:  startup-code of `demo`: {STARTING}\n" in status.stdout
    assert "warning:   accept-idle: `demo` says `accept: [library-missing]`" in status.stdout
    assert (audited.exit, audited.stderr) == (1, "\n1 package: 1 warning, 2 accepted\n")
    assert f"note: accepted: startup-code of `demo`: {STARTING}\n" in noted
    assert "warning" not in noted
    assert missing.startswith("error: `demo 1.0` is missing in the store, or damaged\n")


@pytest.mark.long
def test_of_two_packages_with_one_name_the_first_has_it_where_that_is_accepted(tmp_path: Path, uv_cache: Path) -> None:
    with stands.stand(tmp_path, uv_cache) as made:
        for name in ("first", "second"):
            files = {f"{name}/__init__.py": "", "tests/__init__.py": f"name = {name!r}", f"tests/{name}.py": ""}
            made.publish(name, files=files)
        made.config("first", "second")
        refused = made("build", check=False)
        made.config("first", "second", extra=", accept: [name-in-two-packages]")
        built = made("build", "--json").json

        assert refused.exit == 1
        assert "error: name-in-two-packages: `second 1.0` and `first 1.0` both have `tests`" in refused.stderr
        assert "hint: if you know that it does no harm: `accept: [name-in-two-packages]` on `second`" in refused.stderr
        assert flags(built["findings"]) == [("name-in-two-packages", True), ("accept-idle", False)]
        code = "import json, tests, tests.first, tests.second; print(json.dumps(tests.name))"
        assert made.ask(made.overlay / "bin" / "python", code) == "first"
