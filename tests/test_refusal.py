"""Why there is no answer: chains, ways forward, and which plugins are to blame."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import kit
import pytest
from resolving import Resolver, built, pypi

from envbuilder.errors import ResolutionError

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


@pytest.fixture
def resolver(base: kit.Base, index: kit.Index, tmp_path: Path) -> Resolver:
    kit.fake_vllm(base, "0.33.0+cpu")
    return Resolver(base, index, tmp_path)


@pytest.fixture
def publish(index: kit.Index) -> Callable[..., Path]:
    def write(name: str, version: str = "1.0", *requires: str) -> Path:
        return kit.wheel(index.folder, name, version, requires=requires)

    return write


def test_a_refusal_shows_the_chain_to_what_the_base_has(resolver: Resolver, publish: Callable[..., Path]) -> None:
    publish("plug", "1.0", "vllm<0.17,>=0.15")
    publish("fine", "1.0", "vllm")
    with pytest.raises(ResolutionError) as caught:
        resolver(pypi("plug"), pypi("fine"))
    assert "plug 1.0 → vllm>=0.15,<0.17 → base has 0.33.0+cpu" in caught.value.message
    assert [conflict.plugin for conflict in caught.value.conflicts] == ["plug"]
    assert "`ignore: [vllm]` on `plug`" in (caught.value.hint or "")
    assert "override" not in (caught.value.hint or "")


def test_a_chain_leads_through_dependencies(resolver: Resolver, publish: Callable[..., Path]) -> None:
    publish("plug", "1.0", "helper")
    publish("helper", "2.0", "deeper>=1")
    publish("deeper", "3.0", "vllm<0.20")
    (conflict,) = resolver.refused(pypi("plug"))
    assert conflict.chain == ("plug 1.0", "helper 2.0", "deeper 3.0", "vllm<0.20")
    assert "`ignore: [vllm]` on an entry `deeper` of its own" in conflict.ways_forward[-1]


@pytest.mark.long
def test_every_bound_that_the_base_breaks_is_told_at_once(
    resolver: Resolver, base: kit.Base, publish: Callable[..., Path]
) -> None:
    kit.dist_info(base, "numpy", "1.0")
    kit.dist_info(base, "fits", "1.0")
    publish("numpy", "3.0")
    publish("plug", "1.0", "numpy>=2", "vllm<0.32", "fits", 'fits>5; sys_platform == "win32"')
    conflicts = resolver.refused(pypi("plug"))
    assert [conflict.chain[-1] for conflict in conflicts] == ["vllm<0.32", "numpy>=2"]
    assert any("`ignore: [numpy, vllm]`" in way for way in conflicts[0].ways_forward)
    publish("other", "1.0", "numpy>=2")
    both = resolver.refused(pypi("plug", ignore=("vllm", "numpy")), pypi("other"))
    assert [(conflict.plugin, conflict.chain[-1]) for conflict in both] == [("other", "numpy>=2")]


def test_bounds_of_the_extras_asked_for_count(resolver: Resolver, index: kit.Index) -> None:
    kit.wheel(index.folder, "plug", "1.0", extras={"vllm": ["vllm<0.20"], "other": ["vllm<0.1"]})
    (conflict,) = resolver.refused(pypi("plug", extras=("vllm",)))
    assert conflict.chain == ("plug 1.0", "vllm<0.20")
    assert resolver(pypi("plug")).ignored == {}


def test_another_version_that_fits_is_named(resolver: Resolver, publish: Callable[..., Path]) -> None:
    publish("plug", "1.0", "vllm<0.17")
    publish("plug", "2.0", "vllm>=0.30")
    publish("plug", "3.0", "vllm>=0.40")
    (conflict,) = resolver.refused(pypi("plug", "<2"))
    assert conflict.ways_forward[0] == '`plug` 2.0 fits this base: `version: "2.0"`'


def test_an_override_is_suggested_for_pure_packages_only(
    resolver: Resolver, base: kit.Base, publish: Callable[..., Path]
) -> None:
    kit.dist_info(base, "toolkit", "1.0")
    native = kit.dist_info(base, "kernels", "1.0")
    (native / "WHEEL").write_text("Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-manylinux_2_28_x86_64\n")
    publish("pure", "1.0", "toolkit>=2")
    publish("compiled", "1.0", "kernels>=2")
    told = {conflict.plugin: conflict.ways_forward for conflict in resolver.refused(pypi("pure"), pypi("compiled"))}
    assert any("`override: [toolkit]`" in way for way in told["pure"])
    assert not any("override" in way for way in told["compiled"])


def test_every_plugin_that_fails_is_named_each_with_its_reason(
    resolver: Resolver, publish: Callable[..., Path]
) -> None:
    publish("plug", "1.0", "vllm<0.17")
    publish("fine")
    publish("old", "1.0")
    mine, source = built("mine", "1.0", ["vllm>0.40"])
    conflicts = resolver.refused(
        pypi("plug"), pypi("fine"), pypi("nowhere"), pypi("old", ">=9"), mine, built={"mine": source}
    )
    told = {conflict.plugin: conflict for conflict in conflicts}
    assert set(told) == {"plug", "nowhere", "old", "mine"}
    assert told["mine"].chain == ("mine 1.0", "vllm>0.40")
    assert "nowhere was not found" in told["nowhere"].cause
    assert "old>=9" in told["old"].cause
    assert "vpm-env-set" not in "".join(conflict.cause for conflict in conflicts)


def test_two_plugins_that_do_not_go_together_are_named_with_their_bounds(
    resolver: Resolver, publish: Callable[..., Path]
) -> None:
    publish("shared", "1.0")
    publish("shared", "2.0")
    publish("left", "1.0", "shared<2")
    publish("middle", "1.0", "shared")
    publish("bridge", "1.0", "shared>=2")
    publish("right", "1.0", "bridge")
    (conflict,) = resolver.refused(pypi("middle"), pypi("left"), pypi("right"))
    assert conflict.plugin == "right"
    assert conflict.cause == (
        "`left` needs `shared<2` (left 1.0), and `right` needs `shared>=2` (right 1.0 → bridge 1.0)"
    )


def test_the_optional_one_of_two_is_blamed(resolver: Resolver, publish: Callable[..., Path]) -> None:
    publish("shared", "1.0")
    publish("shared", "2.0")
    publish("left", "1.0", "shared<2")
    publish("right", "1.0", "shared>=2")
    (conflict,) = resolver.refused(pypi("left", optional=True), pypi("right"))
    assert conflict.plugin == "left"


def test_three_plugins_that_only_together_do_not_go_are_still_a_conflict(
    resolver: Resolver, publish: Callable[..., Path]
) -> None:
    for version in ("1", "2", "3"):
        publish("shared", version)
        publish(f"not-{version}", "1.0", f"shared!={version}")
    (conflict,) = resolver.refused(pypi("not-1"), pypi("not-2"), pypi("not-3"))
    assert conflict.plugin == "not-3"
    assert "shared" in conflict.cause


def test_an_index_that_refuses_is_told_without_the_credentials(resolver: Resolver, tmp_path: Path) -> None:
    resolver.variables["TOKEN"] = "wr0ng-t0ken"
    with kit.index(tmp_path / "private", credentials="joe:right") as private:
        kit.wheel(private.folder, "plug")
        url = private.url.replace("://", "://joe:${TOKEN}@")
        with pytest.raises(ResolutionError) as caught:
            resolver(pypi("plug"), index=(url,))
    assert "401" in caught.value.message
    assert "wr0ng" not in repr(caught.value) + caught.value.message


@pytest.mark.network
def test_the_real_beam_search_plugin_is_refused_and_goes_through_when_told(base: kit.Base, tmp_path: Path) -> None:
    kit.fake_vllm(base, "0.33.0")
    for name, version in {"torch": "2.13.0", "numpy": "2.3.5", "triton": "3.7.1"}.items():
        kit.dist_info(base, name, version)
    resolver = Resolver(base, None, tmp_path)
    with pytest.raises(ResolutionError) as caught:
        resolver(pypi("vllm-beam-search-plugin", "==0.1.5"))
    assert "vllm-beam-search-plugin 0.1.5 → vllm>=0.24.0,<0.32.0 → base has 0.33.0" in caught.value.message
    assert "`ignore: [vllm]` on `vllm-beam-search-plugin`" in (caught.value.hint or "")
    lock = resolver(pypi("vllm-beam-search-plugin", "==0.1.5", ignore=("vllm",)))
    assert [package.name for package in lock.packages] == ["vllm-beam-search-plugin"]
    assert lock.ignored == {"vllm-beam-search-plugin": ["vllm"]}


@pytest.mark.network
def test_the_real_beam_search_plugin_names_all_that_it_breaks_on(base: kit.Base, tmp_path: Path) -> None:
    kit.fake_vllm(base, "0.33.0")
    for name, version in {"torch": "2.14.0", "numpy": "2.3.5", "triton": "3.8.0"}.items():
        kit.dist_info(base, name, version)
    conflicts = Resolver(base, None, tmp_path).refused(pypi("vllm-beam-search-plugin", "==0.1.5"))
    assert [conflict.chain[-1].split(">")[0] for conflict in conflicts] == ["vllm", "torch", "triton"]


def test_an_index_that_does_not_answer_is_told_once(base: kit.Base, vpm_env: kit.VpmEnv) -> None:
    """Not for every plugin, after its own timeout."""
    kit.fake_vllm(base)
    vpm_env.use(base).config(
        "index: http://127.0.0.1:9/none\nplugins:\n  - {name: one, source: pypi}\n  - {name: two, source: pypi}\n"
    )
    done = vpm_env("build", env={"UV_HTTP_RETRIES": "0"})

    assert done.exit == 1
    assert re.fullmatch(
        r"(resolving: .*\n)?"
        r"error: `index`: `http://127.0.0.1:9/none/(one|two)/` does not answer: Connection refused \(os error 111\)\n\n"
        r"hint: `vpm-env doctor` looks at each index; `--offline` makes do with what is there\n",
        done.stderr,
    )
