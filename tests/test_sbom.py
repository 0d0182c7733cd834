"""`vpm-env sbom`: what is in the bill, that it holds no secret, and that the same set is the same bytes."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import kit
import pytest
import stands

from envbuilder import sbom

if TYPE_CHECKING:
    from pathlib import Path

GROUP = "vllm.general_plugins"
METADATA = """\
Metadata-Version: 2.4
Name: one
Version: 1.0
Summary: The first plugin
License-Expression: Apache-2.0 OR MIT
Requires-Dist: torch>=2
Requires-Dist: two[fast]>=1; python_version >= "3.8"
Requires-Dist: never; python_version < "3"
"""
TWO = """\
Metadata-Version: 2.1
Name: two
Version: 1.0+local
License: BSD
 with all its words
Classifier: License :: OSI Approved :: BSD License
Classifier: Programming Language :: Python
Provides-Extra: fast
Requires-Dist: three; extra == "fast"
"""


@pytest.fixture(scope="module")
def stand(tmp_path_factory: pytest.TempPathFactory) -> kit.VpmEnv:
    """Build one set with a package of every source, from an index and a repository that want credentials."""
    folder = tmp_path_factory.mktemp("sbom")
    vpm_env = stands.small(folder, dists=["torch==2.14.0"])
    kit.project(folder / "live", "live", "2.0")
    kit.project(folder / "source", "gitted", "3.0")
    repository = kit.git_repository(folder / "source")
    repository.commit()
    with (
        kit.index(folder / "index", credentials="user:canary-one") as index,
        kit.git_http(repository, password="canary-two") as served,
    ):
        files = {"one/__init__.py": "def register(): ...\n"}
        kit.wheel(index.folder, "one", metadata=METADATA, files=files, entry_points={GROUP: {"one": "one:register"}})
        kit.wheel(index.folder, "two", "1.0+local", metadata=TWO)
        kit.wheel(
            index.folder, "three", metadata="Metadata-Version: 2.1\nName: three\nVersion: 1.0\nLicense: UNKNOWN\n"
        )
        vpm_env.config(
            f"index: {index.with_credentials()}\nplugins:\n  - {{name: one, source: pypi}}\n"
            f"  - {{name: live, source: local, path: {folder / 'live'}, editable: true}}\n"
            f"  - {{name: gitted, source: git, url: '{served.with_credentials}'}}\n"
        )
        vpm_env("build", check=True)
    return vpm_env


@pytest.fixture(scope="module")
def text(stand: kit.VpmEnv) -> str:
    return stand("sbom", check=True).stdout


@pytest.fixture
def bill(text: str) -> Any:
    return json.loads(text)


@pytest.fixture
def components(bill: Any) -> dict[str, Any]:
    return {component["name"]: component for component in bill["components"]}


def properties(record: Any) -> dict[str, str]:
    return {entry["name"].removeprefix("vpm-env:"): entry["value"] for entry in record["properties"]}


def test_it_is_valid_cyclonedx(text: str) -> None:
    validation = pytest.importorskip("cyclonedx.validation.json")
    schema = pytest.importorskip("cyclonedx.schema")
    try:
        error = validation.JsonStrictValidator(schema.SchemaVersion.V1_6).validate_str(text)
    except validation.MissingOptionalDependencyException:
        pytest.skip("the validator lacks a dependency")

    assert error is None


def test_what_it_is_a_bill_of(bill: Any, stand: kit.VpmEnv) -> None:
    generation = stand("history", "--json").json["generations"][0]
    root = bill["metadata"]["component"]

    assert (bill["bomFormat"], bill["specVersion"], bill["version"]) == ("CycloneDX", "1.6", 1)
    assert bill["metadata"]["timestamp"] == generation["created"]
    assert (root["bom-ref"], root["name"]) == (generation["digest"], "vllm-plugins")
    assert properties(root)["engine"] == "vllm 0.33.0"


def test_every_package_is_there_once_and_the_base_is_left_to_others(components: dict[str, Any], bill: Any) -> None:
    scopes = {name: component["scope"] for name, component in components.items()}

    assert len(components) == len(bill["components"])
    assert scopes == {
        "gitted": "required", "live": "required", "one": "required", "three": "required", "two": "required",
        "torch": "excluded",
    } | ({"vllm": "excluded"} if "vllm" in scopes else {})  # fmt: skip
    assert components["torch"]["purl"] == "pkg:pypi/torch@2.14.0"
    assert properties(components["torch"]) == {"provided-by": "base"}


def test_where_each_comes_from(components: dict[str, Any], stand: kit.VpmEnv) -> None:
    one, live, gitted = (components[name] for name in ("one", "live", "gitted"))

    assert one["purl"] == "pkg:pypi/one@1.0"
    assert [entry["alg"] for entry in one["hashes"]] == ["SHA-256"]
    assert one["externalReferences"][0]["url"].endswith("/files/one-1.0-py3-none-any.whl")
    assert components["two"]["purl"] == "pkg:pypi/two@1.0%2Blocal"
    assert live["purl"] == "pkg:generic/live@2.0"
    assert live["externalReferences"][0]["url"] == (stand.folder.parent / "live").as_uri()
    assert properties(live)["editable"] == "true"
    assert gitted["purl"].startswith("pkg:pypi/gitted@3.0?vcs_url=git%2Bhttp://127.0.0.1:")
    assert gitted["externalReferences"][0]["type"] == "vcs"
    assert gitted["externalReferences"][0]["comment"].startswith("commit ")


def test_names_for_packages_are_read_by_others(components: dict[str, Any]) -> None:
    packageurl = pytest.importorskip("packageurl")
    for component in components.values():
        found = packageurl.PackageURL.from_string(component["purl"])
        assert (found.name, found.version) == (component["name"], component["version"])


def test_licenses_are_what_their_authors_declared(components: dict[str, Any]) -> None:
    assert components["one"]["licenses"] == [{"expression": "Apache-2.0 OR MIT", "acknowledgement": "declared"}]
    assert components["two"]["licenses"] == [{"license": {"name": "BSD License", "acknowledgement": "declared"}}]
    assert "licenses" not in components["three"]
    assert components["one"]["description"] == "The first plugin"


def test_who_depends_on_whom(bill: Any, components: dict[str, Any]) -> None:
    names = {component["bom-ref"]: name for name, component in components.items()}
    root = bill["metadata"]["component"]["bom-ref"]
    edges = {entry["ref"]: sorted(names[ref] for ref in entry["dependsOn"]) for entry in bill["dependencies"]}

    assert edges.pop(root) == ["gitted", "live", "one"]
    assert {names[ref]: needed for ref, needed in edges.items()} == {
        "gitted": [], "live": [], "one": ["torch", "two"], "three": [], "two": ["three"],
    }  # fmt: skip


def test_it_holds_no_credential(text: str) -> None:
    assert "canary" not in text
    assert "user:" not in text


@pytest.mark.parametrize(
    ("location", "public"),
    [
        ("https://user:secret@host.example/a.whl?token=secret#sha256=1", "https://host.example/a.whl"),
        ("git@host.example:team/repository.git", "ssh://host.example/team/repository.git"),
        ("ssh://git:secret@host.example/repository", "ssh://host.example/repository"),
        ("/folder of mine/a", "file:///folder%20of%20mine/a"),
        ("file:///a/b.whl", "file:///a/b.whl"),
        ("", ""),
    ],
)
def test_locations_are_made_public(location: str, public: str) -> None:
    assert sbom._public(location) == public


def test_the_same_set_is_the_same_bytes(stand: kit.VpmEnv, text: str, tmp_path: Path) -> None:
    target = tmp_path / "bill.json"
    digest = stand("path").stdout.strip().rpartition("/")[2]
    done = stand("sbom", digest[:8], "--output", target, check=True)

    assert (done.stdout, done.stderr) == ("", f"wrote `{target}`\n")
    assert target.read_text() == text


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (("99999",), 2, "error: the profile `default` has no generation 99999\n\nhint: "),
        (("x",), 2, "error: `x` is no generation\n"),
        (("--output", "/nowhere/bill.json"), 2, "error: `/nowhere/bill.json` cannot be written: "),
    ],
)
def test_mistakes_are_told(stand: kit.VpmEnv, words: tuple[str, ...], code: int, said: str) -> None:
    done = stand("sbom", *words)

    assert (done.exit, done.stdout) == (code, "")
    assert done.stderr.startswith(said)


def test_a_package_that_is_gone_is_no_bill(stand: kit.VpmEnv) -> None:
    record = next(stand.home.glob("store/*-three-1.0/package.json"))
    record.rename(record.with_name("away"))
    done = stand("sbom")
    record.with_name("away").rename(record)

    assert done.exit == 1
    assert "is refused\n  it is missing or damaged in the store\n\nhint: see `vpm-env verify`\n" in done.stderr
