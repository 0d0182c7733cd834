"""Metadata-only wheels: what they say of the base."""

from __future__ import annotations

import base64
import hashlib
import json
import shutil
import zipfile
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from packaging.requirements import Requirement
from packaging.version import InvalidVersion
from resolving import Notes, Resolver

from envbuilder import answer, stubs
from envbuilder.base import Distribution
from envbuilder.base_stubs import LIST, base_stubs, renounce
from envbuilder.classes import replace
from envbuilder.digest import sealed
from envbuilder.paths import Layout

try:
    import tomllib
except ImportError:
    import tomli as tomllib

if TYPE_CHECKING:
    from collections.abc import Callable

    import kit

    from envbuilder.base import Base


@pytest.fixture
def described(base: kit.Base, tmp_path: Path) -> Base:
    return Resolver(base, None, tmp_path).base


def with_dists(described: Base, *dists: Distribution) -> Base:
    return replace(described, distributions={dist.name: dist for dist in dists})


def metadata(stub: stubs.Stub) -> list[str]:
    with zipfile.ZipFile(stub.path) as archive:
        (name,) = (name for name in archive.namelist() if name.endswith(".dist-info/METADATA"))
        return archive.read(name).decode().splitlines()


@pytest.mark.parametrize(
    ("version", "spelled"),
    [
        ("2.13.0+cpu", "2.13.0+cpu"),
        ("0.33.0+CU-129", "0.33.0+cu.129"),
        ("0.34.0.dev12+g1a2b3c4", "0.34.0.dev12+g1a2b3c4"),
        ("1!2.0-rc.1", "1!2.0rc1"),
        ("v1.0", "1.0"),
    ],
)
def test_versions_of_every_kind_make_a_wheel_whose_name_and_metadata_agree(
    tmp_path: Path, version: str, spelled: str
) -> None:
    stub = stubs.write_stub(str(tmp_path), name="some-pkg", version=version, requires=())
    assert Path(stub.path).name == f"some_pkg-{spelled}-py3-none-any.whl"
    assert f"Version: {spelled}" in metadata(stub)
    assert "Name: some-pkg" in metadata(stub)


def test_a_stub_is_a_wheel_whose_record_holds(tmp_path: Path) -> None:
    stub = stubs.write_stub(str(tmp_path), name="pkg", version="1.0", requires=["dep>=1"])
    with zipfile.ZipFile(stub.path) as archive:
        lines = archive.read("pkg-1.0.dist-info/RECORD").decode().splitlines()
        recorded = {line.split(",")[0]: line.split(",")[1] for line in lines}
        assert set(recorded) == set(archive.namelist())
        for name, digest in recorded.items():
            if digest:
                found = base64.urlsafe_b64encode(hashlib.sha256(archive.read(name)).digest()).rstrip(b"=").decode()
                assert digest == f"sha256={found}"


def test_a_stub_of_a_plugin_has_all_its_requirements_and_extras(tmp_path: Path) -> None:
    requires = ["dep>=1", 'sound; extra == "audio"', "not a requirement at all !!", "win; sys_platform == 'win32'"]
    stub = stubs.write_stub(str(tmp_path), name="pkg", version="1.0", requires=requires)
    told = metadata(stub)
    assert "Provides-Extra: audio" in told
    assert "Requires-Dist: dep>=1" in told
    assert 'Requires-Dist: sound; extra == "audio"' in told
    assert not any("at all" in line for line in told)


def test_a_version_that_is_none_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InvalidVersion):
        stubs.write_stub(str(tmp_path), name="pkg", version="unknown", requires=())


def test_stubs_of_a_base_keep_only_what_extras_bring(described: Base, tmp_path: Path) -> None:
    requires = (
        "absent>=9",
        'sound>=2 ; extra == "audio"',
        "other; 'video' == extra and python_version > '3'",
        "extra-tools",
    )
    base = with_dists(described, Distribution(name="toolkit", version="1.0", requires=requires))
    told = metadata(base_stubs(base, frozenset(), Layout(str(tmp_path)), str(tmp_path), Notes())["toolkit"])
    assert [line for line in told if line.startswith("Requires-Dist")] == [
        'Requires-Dist: sound>=2 ; extra == "audio"',
        "Requires-Dist: other; 'video' == extra and python_version > '3'",
    ]
    assert [line for line in told if line.startswith("Provides-Extra")] == [
        "Provides-Extra: audio",
        "Provides-Extra: video",
    ]


def test_what_may_shadow_the_base_is_no_fact_but_the_base_still_requires_it(described: Base, tmp_path: Path) -> None:
    base = with_dists(
        described,
        Distribution(name="numpy", version="1.0"),
        Distribution(name="scipy", version="1.0", requires=("NumPy<3", "absent")),
        Distribution(name="elsewhere", version="1.0", requires=('numpy<1; sys_platform == "win32"',)),
        Distribution(name="extra", version="1.0", requires=('numpy<1; extra == "x"',)),
    )
    overrides = frozenset({"numpy"})
    made = base_stubs(base, overrides, Layout(str(tmp_path)), str(tmp_path), Notes())
    assert set(made) == {"scipy", "elsewhere", "extra"}
    assert made["scipy"].requires == ("NumPy<3",)
    assert stubs.requirers(base, overrides) == ("scipy",)
    assert stubs.requirers(base, frozenset()) == ()


def test_distributions_without_a_version_are_told_and_left_out(described: Base, tmp_path: Path) -> None:
    base = with_dists(
        described, Distribution(name="odd", version="", broken=True), Distribution(name="fine", version="1.0")
    )
    notes = Notes()
    assert set(base_stubs(base, frozenset(), Layout(str(tmp_path)), str(tmp_path), notes)) == {"fine"}
    assert len(notes.notes) == 1
    assert "`odd`" in notes.notes[0]

    again = Notes()
    assert set(base_stubs(base, frozenset(), Layout(str(tmp_path)), str(tmp_path), again)) == {"fine"}
    assert again.notes == notes.notes


def test_stubs_of_a_base_are_made_once(described: Base, tmp_path: Path) -> None:
    layout = Layout(str(tmp_path))
    base = with_dists(described, Distribution(name="numpy", version="1.0"), Distribution(name="scipy", version="1.0"))
    first = base_stubs(base, frozenset(), layout, str(tmp_path), Notes())
    times = {stub.path: Path(stub.path).stat().st_ctime_ns for stub in first.values()}

    assert base_stubs(base, frozenset(), layout, str(tmp_path), Notes()) == first
    assert {stub.path: Path(stub.path).stat().st_ctime_ns for stub in first.values()} == times


def test_another_base_and_other_overrides_have_other_stubs(described: Base, tmp_path: Path) -> None:
    layout = Layout(str(tmp_path))
    one, two = (with_dists(described, Distribution(name="numpy", version=version)) for version in ("1.0", "2.0"))
    folders = {
        Path(stub.path).parent
        for base, overrides in ((one, ()), (two, ()), (one, ("other",)), (one, ("numpy",)))
        for stub in base_stubs(base, frozenset(overrides), layout, str(tmp_path), Notes()).values()
    }
    assert len(folders) == 2  # nothing is said of `other`, and nothing is left where `numpy` may be replaced
    assert base_stubs(one, frozenset(), layout, str(tmp_path), Notes())["numpy"].version == "1.0"
    assert base_stubs(two, frozenset(), layout, str(tmp_path), Notes())["numpy"].version == "2.0"


DAMAGES: dict[str, Callable[[Path], object]] = {
    "a stub is gone": lambda folder: next(folder.glob("*.whl")).unlink(),
    "a stub is another": lambda folder: next(folder.glob("*.whl")).write_bytes(b"another"),
    "the list is torn": lambda folder: (folder / LIST).write_bytes((folder / LIST).read_bytes()[:-9]),
    "the list is gone": lambda folder: (folder / LIST).unlink(),
    "the list is a folder": lambda folder: ((folder / LIST).unlink(), (folder / LIST).mkdir()),
    "the folder is a file": lambda folder: (shutil.rmtree(folder), folder.write_text("")),
    "the folder leads nowhere": lambda folder: (shutil.rmtree(folder), folder.symlink_to("nowhere")),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_stubs_that_are_not_what_was_made_are_passed_over_for_good(
    described: Base, tmp_path: Path, damage: str
) -> None:
    """Nothing is put in their place: another resolver may be reading them."""
    layout = Layout(str(tmp_path))
    base = with_dists(described, Distribution(name="numpy", version="1.0"))
    made = base_stubs(base, frozenset(), layout, str(tmp_path), Notes())
    DAMAGES[damage](Path(made["numpy"].path).parent)

    again = base_stubs(base, frozenset(), layout, str(tmp_path), Notes())
    assert metadata(again["numpy"])[:3] == ["Metadata-Version: 2.1", "Name: numpy", "Version: 1.0"]
    assert Path(again["numpy"].path).parent.name == Path(made["numpy"].path).parent.name.replace(".0", ".1")
    assert base_stubs(base, frozenset(), layout, str(tmp_path), Notes()) == again


@pytest.mark.parametrize(
    "record",
    [
        {},
        {"stubs": None},
        {"stubs": [None]},
        {"stubs": [["numpy", "1.0"]]},
        {"stubs": [["numpy", "1.0", None, "x"]], "unusable": {}},
        {"stubs": [[["numpy"], "1.0", [], "x"]], "unusable": {}},
        {"stubs": [["numpy", "../../1.0", [], "x"]], "unusable": {}},
        {"stubs": [["numpy", 1, [], "x"]], "unusable": {}},
        {"stubs": [], "unusable": {}},
        {"stubs": [], "unusable": [3]},
    ],
)
def test_a_sealed_list_of_another_kind_is_passed_over(
    described: Base, tmp_path: Path, record: dict[str, object]
) -> None:
    layout = Layout(str(tmp_path))
    base = with_dists(described, Distribution(name="numpy", version="1.0"))
    made = base_stubs(base, frozenset(), layout, str(tmp_path), Notes())
    Path(made["numpy"].path).with_name(LIST).write_text(json.dumps(sealed({"format": 1, **record})))

    again = base_stubs(base, frozenset(), layout, str(tmp_path), Notes())
    assert again["numpy"].version == "1.0"
    assert again != made


@pytest.mark.parametrize("hurdle", ["a file", "nowhere", "all damaged"])
def test_where_the_cache_takes_no_stubs_they_are_made_for_one_resolve(
    described: Base, tmp_path: Path, hurdle: str
) -> None:
    layout, scratch = Layout(str(tmp_path / "home")), tmp_path / "scratch"
    base = with_dists(described, Distribution(name="numpy", version="1.0"), Distribution(name="odd", version=""))
    scratch.mkdir()
    kept = Path(layout.cache, "stubs")
    kept.parent.mkdir(parents=True)
    if hurdle == "a file":
        kept.write_text("")
    elif hurdle == "nowhere":
        kept.symlink_to("nowhere")
    else:
        for _ in range(20):
            renounce(base_stubs(base, frozenset(), layout, str(scratch), Notes()).values())

    notes = Notes()
    made = base_stubs(base, frozenset(), layout, str(scratch), notes)
    assert Path(made["numpy"].path).parent == scratch
    assert len(notes.notes) == 1
    assert "Name: numpy" in metadata(made["numpy"])


def test_bounds_are_taken_off_and_nothing_else() -> None:
    requires = ['vLLM[audio]>=0.2,<0.3; python_version > "3"', "vllm-omni<1", "torch @ https://files.example/torch.whl"]
    assert stubs.without_bounds(requires, ["vllm", "torch"]) == (
        'vLLM[audio]; python_version > "3"',
        "vllm-omni<1",
        "torch",
    )


def test_requirements_apply_where_their_markers_hold(described: Base) -> None:
    markers = described.markers
    version = described.python_version
    assert stubs.applies(Requirement(f"a; python_version == '{version}' and os_name == 'posix'"), markers)
    assert not stubs.applies(Requirement("a; python_version < '3'"), markers)
    assert not stubs.applies(Requirement("a; extra == 'x'"), markers)
    assert stubs.applies(Requirement("a; extra == 'x'"), markers, ["x"])


def test_markers_are_those_of_the_interpreter(base: kit.Base, described: Base) -> None:
    code = "import os, platform, sys; print(os.name, platform.machine(), platform.system(), sys.platform)"
    names = ("os_name", "platform_machine", "platform_system", "sys_platform")
    assert " ".join(described.markers[name] for name in names) == base.code(code)


_ENTRY = """\
[[packages]]
name = "{name}"
version = "1.0"
archive = {{ path = "/a/b.whl", hashes = {{ sha256 = "{sha}" }} }}
"""


def test_what_an_answer_says_of_stubs_is_taken_out_and_nothing_else() -> None:
    sha = "0" * 64
    of_stub, of_other, marked, last = (_ENTRY.format(name=name, sha=sha) for name in ("has", "other", "marked", "last"))
    marked = marked.replace('"1.0"\n', '"1.0"\nmarker = "python_version < \'4\'"\n')
    short = _ENTRY.format(name="short", sha="0")
    text = f'lock-version = "1.0"\n\n{of_stub}\n{of_other}\n{marked}\n{short}\n{last}'
    rest, versions = answer._without_stubs(text, {"has", "marked", "short", "last"})

    assert versions == {"has": "1.0", "last": "1.0"}
    assert [each["name"] for each in tomllib.loads(rest)["packages"]] == ["other", "marked", "short"]
    assert {each["name"]: each for each in tomllib.loads(text)["packages"]} == {
        each["name"]: each for each in tomllib.loads(rest + "\n" + of_stub + "\n" + last)["packages"]
    }


def test_no_text_of_a_package_is_taken_for_an_entry() -> None:
    """A string that holds such an entry is written in one line, with its line breaks escaped."""
    entry = _ENTRY.format(name="has", sha="0" * 64).replace('"', '\\"').replace("\n", "\\n")
    text = f'[[packages]]\nname = "other"\nversion = "1.0"\ntold = "{entry}"\n'

    assert answer._without_stubs(text, {"has"}) == (text, {})
