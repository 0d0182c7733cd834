"""Laws of the config, for any file."""

from __future__ import annotations

import copy
import tempfile
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from envbuilder.classes import replace
from envbuilder.config import Config, read
from envbuilder.errors import ConfigError, Place, Problem
from envbuilder.paths import Environment

LAW = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
ENV = Environment(variables={"HOME": "/home/someone"})

NAMES = st.sampled_from(["yes", "on", "null", "true"]) | st.from_regex(
    r"[a-z][a-z0-9]{0,4}(-[a-z0-9]{1,3})?", fullmatch=True
)
LISTS = st.lists(NAMES, max_size=3, unique=True)
COMMON = {
    "enabled": st.booleans(),
    "optional": st.booleans(),
    "build_isolation": st.booleans(),
    "extras": LISTS,
    "ignore": LISTS,
}
PYPI = st.fixed_dictionaries(
    {"source": st.just("pypi")},
    optional={
        "version": st.sampled_from(["1.2", ">=1", ">=1,<2", "~=1.4", "1.*"]),
        "index": st.just("https://h/s"),
        **COMMON,
    },
)
GIT = st.fixed_dictionaries(
    {"source": st.just("git"), "url": st.sampled_from(["https://h/a.git", "git@h:a", "/srv/a", "${M}/a"])},
    optional={
        "ref": st.sampled_from(["main", "v1", "0" * 40]),
        "subdirectory": st.sampled_from(["a", "a/b"]),
        **COMMON,
    },
)
LOCAL = st.fixed_dictionaries(
    {"source": st.just("local"), "path": st.sampled_from(["/p", "~/p", "/p/a.tar.gz"])}, optional=COMMON
)
TOP = {
    "engine": st.sampled_from(["vllm", "sglang", "fastdeploy", "generic"]),
    "base": st.sampled_from(["/b", "~/b"]),
    "profile": NAMES,
    "index": st.lists(st.sampled_from(["https://a/s", "https://b/s"]), unique=True),
    "find_links": st.lists(st.sampled_from(["/w", "https://h/w"]), unique=True),
    "override": LISTS,
}


@st.composite
def configs(draw: st.DrawFn) -> dict[str, Any]:
    names = draw(st.lists(NAMES, max_size=4, unique=True))
    plugins = [{"name": name, **draw(st.one_of(PYPI, GIT, LOCAL))} for name in names]
    return {"plugins": plugins, **draw(st.fixed_dictionaries({}, optional=TOP))}


def load(text: str | bytes) -> Config:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "plugins.yaml")
        path.write_bytes(text.encode() if isinstance(text, str) else text)
        return read(str(path), env=ENV)


def dump(config: dict[str, Any]) -> str:
    return yaml.safe_dump(config, sort_keys=False)


def shuffled(draw: st.DataObject, config: Any) -> Any:
    """Change the order of all keys, and of the plugins."""
    if not isinstance(config, dict):
        return config
    keys = draw.draw(st.permutations(list(config)))
    changed = {key: shuffled(draw, config[key]) for key in keys}
    if "plugins" in changed:
        changed["plugins"] = [shuffled(draw, plugin) for plugin in draw.draw(st.permutations(changed["plugins"]))]
    return changed


@LAW
@given(configs())
def test_what_a_dumper_writes_loads_as_it_was_meant(meant: dict[str, Any]) -> None:
    config = load(dump(meant))

    assert [plugin.name for plugin in config.plugins] == [plugin["name"] for plugin in meant["plugins"]]
    for plugin, wanted in zip(config.plugins, meant["plugins"], strict=True):
        assert type(plugin.source).__name__.lower() == wanted["source"]
        assert plugin.enabled is wanted.get("enabled", True)
        assert plugin.optional is wanted.get("optional", False)
        assert plugin.extras == tuple(sorted(wanted.get("extras", ())))
        assert plugin.ignore == tuple(sorted(wanted.get("ignore", ())))
    assert config.index == tuple(meant.get("index", ()))
    assert config.engine == meant.get("engine")


@LAW
@given(configs(), st.data())
def test_the_digest_is_blind_to_order_comments_and_disabled_plugins(meant: dict[str, Any], data: st.DataObject) -> None:
    changed = shuffled(data, meant)
    changed["plugins"] = [plugin for plugin in changed["plugins"] if plugin.get("enabled", True)]
    text = "# a comment\n" + dump(changed).replace("\n", "  # more\n")

    assert load(dump(meant)).digest == load(text).digest


@LAW
@given(configs(), st.data())
def test_the_digest_is_the_same_if_and_only_if_the_same_is_asked_for(
    meant: dict[str, Any], data: st.DataObject
) -> None:
    other = copy.deepcopy(meant)
    for record in data.draw(st.lists(st.sampled_from([other, *other["plugins"]]), max_size=2)):
        record.update(data.draw(st.fixed_dictionaries({}, optional=COMMON if "source" in record else TOP)))
    first, second = load(dump(meant)), load(dump(other))

    assert (first.digest == second.digest) == (asked(first) == asked(second))


def asked(config: Config) -> object:
    plugins = {replace(plugin, place=Place("")) for plugin in config.enabled}
    return replace(config, file="", sha256="", notes=(), plugins=()), plugins


@LAW
@given(
    st.one_of(
        st.binary(max_size=200),
        st.text(max_size=200),
        st.text(alphabet="plugins:-[]{}&*!|>'\"%@#?, \n\tax1.~<", max_size=60),
        st.recursive(
            st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=8), st.dates()),
            lambda inner: st.one_of(
                st.lists(inner, max_size=4),
                st.dictionaries(st.sampled_from(["plugins", "name", "source", "path", "url", "version"]), inner),
            ),
            max_leaves=12,
        ).map(lambda value: yaml.safe_dump(value, allow_unicode=True)),
    )
)
def test_any_bytes_load_or_are_told_with_places_inside_the_file(content: bytes | str) -> None:
    content = content.encode("utf-8", "surrogatepass") if isinstance(content, str) else content
    lines = len(content.decode("utf-8", "replace").splitlines())

    for problem in told(content):
        assert 0 <= problem.place.line <= lines + 1
        assert str(problem).isprintable()


def told(content: bytes) -> tuple[Problem, ...]:
    """Return a config's problems: none if it loads."""
    try:
        load(content)
    except ConfigError as error:
        return error.problems
    return ()


@LAW
@given(configs(), st.data())
def test_one_broken_value_is_told_at_its_key(meant: dict[str, Any], data: st.DataObject) -> None:
    assume(meant["plugins"])
    number = data.draw(st.integers(0, len(meant["plugins"]) - 1))
    key = data.draw(st.sampled_from(sorted(meant["plugins"][number])))
    meant["plugins"][number][key] = data.draw(st.sampled_from([1.5, 7, {"a": 1}, [{"a": 1}]]))

    with pytest.raises(ConfigError) as caught:
        load(dump(meant))
    assert any(problem.key.startswith(f"plugins[{number}].{key}") for problem in caught.value.problems)


@LAW
@given(configs(), st.data())
def test_credentials_are_in_no_problem(meant: dict[str, Any], data: st.DataObject) -> None:
    secret = "https://me:hunter2@h/x y"
    keys = data.draw(
        st.lists(st.sampled_from(["profile", "engine", "index", "base", "override", "unknown", secret]), min_size=1)
    )
    meant |= dict.fromkeys(keys, secret)
    meant["plugins"] += [{"name": secret, "source": "pypi"}, {"name": "zz", "source": secret}, secret]

    with pytest.raises(ConfigError) as caught:
        load(dump(meant))
    assert "hunter2" not in caught.value.message
