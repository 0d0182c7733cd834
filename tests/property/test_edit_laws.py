"""Laws of changing a config, for any way to write one."""

from __future__ import annotations

import re
from typing import NamedTuple

from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from envbuilder import edit
from envbuilder.classes import replace
from envbuilder.config import Config, Plugin, of_content
from envbuilder.errors import Place
from envbuilder.paths import Environment
from envbuilder.wanted import Wanted

LAW = settings(deadline=None, max_examples=25, suppress_health_check=[HealthCheck.too_slow])
ENV = Environment(variables={"HOME": "/home/someone"})
FILE = "/srv/plugins.yaml"
NAMES = ("alpha", "beta-2", "Gamma", "de.lta")
NEW = Wanted("new[x]>=1", {"name": "new", "source": "pypi", "version": ">=1", "extras": ["x"]}, False)

VALUES = {
    "version": ('">=1,<2"', "'1.2'", '"==1.*"', ">-\n{indent}  >=1,\n{indent}  <2"),
    "extras": ("[a, b]", "[]", "", "\n{indent}- a  # why\n{indent}- b", "\n{indent}  - a\n{indent}  # or b"),
    "enabled": ("true", "false", "False"),
    "optional": ("true", "false"),
    "x-note": ("{a: [1, {b: c}]}", '"# no comment"', "über 😀", "|\n{indent}  text # too\n{indent}  - name: no"),
}
COMMENTS = st.sampled_from(["", "", "", "  # said", " #, {name: no}]", "\t# tab"])


class Written(NamedTuple):
    """A config, its plugins' names, and its text around each plugin that no change of another may touch."""

    content: bytes
    names: tuple[str, ...]
    parts: tuple[str, ...]


@st.composite
def block_entry(draw: st.DrawFn, name: str, column: int, gap: int) -> str:
    indent = " " * (column + 1 + gap)
    keys = {"name": name, "source": "pypi"}
    for key in draw(st.lists(st.sampled_from(sorted(VALUES)), max_size=3, unique=True)):
        keys[key] = draw(st.sampled_from(VALUES[key])).replace("{indent}", indent)
    order = draw(st.permutations(sorted(keys)))
    lines = []
    for key in order:
        is_long = "\n" in keys[key]
        lines.append(f"{key}: {keys[key]}" + ("" if is_long else draw(COMMENTS)))
        if draw(st.integers(0, 5)) == 0 and not is_long:
            lines.append("# within")
    if draw(st.booleans()):
        lines.append("# at its end")
    first = draw(st.sampled_from(["", "", "# first\n" + indent])) if gap == 1 else ""
    return " " * column + "-" + " " * gap + first + ("\n" + indent).join(lines)


@st.composite
def flow_entry(draw: st.DrawFn, name: str) -> str:
    keys = {"name": name, "source": "pypi"}
    for key in draw(st.lists(st.sampled_from(["version", "extras", "enabled", "optional"]), max_size=3, unique=True)):
        keys[key] = draw(st.sampled_from([value for value in VALUES[key] if "\n" not in value]))
    pairs = [f"{key}: {keys[key]}" for key in draw(st.permutations(sorted(keys)))]
    opening, comma, end = draw(
        st.sampled_from([("{", ", ", "}"), ("{ ", ", ", " }"), ("{", ",\n    ", ",}"), ("{", ", # c\n    ", "\n  }")])
    )
    return opening + comma.join(pairs) + end


@st.composite
def block_list(draw: st.DrawFn, names: list[str]) -> tuple[str, tuple[str, ...]]:
    column, gap = draw(st.sampled_from([0, 2, 4])), draw(st.sampled_from([1, 1, 3]))
    dash = " " * column + "-" + " " * gap
    parts = [
        draw(st.one_of(block_entry(name, column, gap), flow_entry(name).map(lambda text: dash + text)))
        for name in names
    ]
    between = st.sampled_from(["\n", "\n", "\n\n", "\n\n\n", f"\n{' ' * column}# between\n", "\n\n# between\n\n"])
    text = "plugins:" + draw(COMMENTS) + draw(st.sampled_from(["\n", "\n\n", "\n  # before\n"]))
    for at, part in enumerate(parts):
        text += (draw(between) if at else "") + part
    return text, tuple(parts)


@st.composite
def flow_list(draw: st.DrawFn, names: list[str]) -> tuple[str, tuple[str, ...]]:
    parts = [draw(flow_entry(name)) for name in names]
    opening, comma, end = draw(
        st.sampled_from(
            [
                ("[", ", ", "]"),
                ("[ ", " , ", " ]"),
                ("[", ",\n  ", "]"),
                ("[\n  ", ",\n  ", "\n]"),
                ("[\n  ", ", # why\n  ", ",\n  ]"),
                ("[ # why\n  ", ",\n\n  # on\n  ", "  # end\n]"),
                ("[", "  # c\n  , ", " # last\n  ]"),
            ]
        )
    )
    return "plugins: " + opening + comma.join(parts) + end, tuple(parts)


EMPTY = st.sampled_from(["plugins: []", "plugins: [ ]", "plugins: [\n  # none\n]", "plugins:\n  []", '"plugins": []'])


@st.composite
def configs(draw: st.DrawFn, *, least: int = 0) -> Written:
    names = draw(st.lists(st.sampled_from(NAMES), min_size=least, max_size=3, unique=True))
    body, parts = draw(st.one_of(block_list(names), flow_list(names))) if names else (draw(EMPTY), ())
    above = draw(st.sampled_from(["", "# head\n\n", "engine: vllm # the engine\n", "---\n", "x-a:\n- 1\n- 2\n"]))
    below = draw(st.sampled_from(["", "\n", "\n\n\n", "\n# tail", "\n\n# tail\nindex: [https://h/s]\n", "\n  # in\n"]))
    newline = draw(st.sampled_from(["\n", "\r\n"]))
    text = (above + body + below).replace("\n", newline)
    content = draw(st.sampled_from([b"", b"\xef\xbb\xbf"])) + text.encode()
    return Written(content, tuple(names), tuple(part.replace("\n", newline) for part in parts))


def meaning(config: Config) -> Config:
    plugins = tuple(replace(plugin, place=Place("")) for plugin in config.plugins)
    return replace(config, plugins=plugins, sha256="")


def read(content: bytes) -> Config:
    return meaning(of_content(content, file=FILE, env=ENV))


def new_plugin() -> Plugin:
    return read(b'{"plugins": [{"name": "new", "source": "pypi", "version": ">=1", "extras": ["x"]}]}').plugins[0]


@LAW
@given(configs())
def test_what_is_added_and_removed_again_leaves_no_trace(written: Written) -> None:
    added = edit.add(written.content, (NEW,), file=FILE, env=ENV)
    removed = edit.remove(added.after, ("new",), file=FILE, env=ENV)

    before = read(written.content)
    assert read(added.after) == replace(before, plugins=(*before.plugins, new_plugin()))
    assert removed.after == written.content


@LAW
@given(configs())
def test_an_addition_takes_nothing_away(written: Written) -> None:
    after = iter(edit.add(written.content, (NEW,), file=FILE, env=ENV).after)

    assert all(byte in after for byte in written.content.replace(b"plugins: []", b"plugins:").replace(b'": []', b'":'))


@LAW
@given(configs(least=1), st.data())
def test_a_removal_takes_one_plugin_and_touches_no_other(written: Written, data: st.DataObject) -> None:
    name = data.draw(st.sampled_from(written.names))
    at = written.names.index(name)
    after = edit.remove(written.content, (name,), file=FILE, env=ENV).after

    before = read(written.content)
    assert read(after) == replace(before, plugins=(*before.plugins[:at], *before.plugins[at + 1 :]))
    for other in (*written.parts[:at], *written.parts[at + 1 :]):
        assert other.encode() in after
    for comment in (b"# head", b"# before", b"# between", b"# tail", b"# the engine"):
        assert after.count(comment) == written.content.count(comment)
    assert after.startswith(b"\xef\xbb\xbf") == written.content.startswith(b"\xef\xbb\xbf")


@LAW
@given(configs(least=1), st.data())
def test_a_switch_changes_one_key(written: Written, data: st.DataObject) -> None:
    name, enabled = data.draw(st.sampled_from(written.names)), data.draw(st.booleans())
    at = written.names.index(name)
    before = read(written.content)
    assume(before.plugins[at].enabled is not enabled)
    after = edit.enable(written.content, (name,), enabled=enabled, file=FILE, env=ENV).after

    plugin = replace(before.plugins[at], enabled=enabled)
    assert read(after) == replace(before, plugins=(*before.plugins[:at], plugin, *before.plugins[at + 1 :]))
    assert stripped(after) == stripped(written.content)


def stripped(content: bytes) -> bytes:
    """Take every `enabled` away, with its line break or comma; comments stay."""
    text = re.sub(rb"enabled:(?: (?:true|false|False))? ?", b"", content)
    return re.sub(rb"[\s,]+", b"", text)


@LAW
@given(configs(least=1), st.data())
def test_an_addition_of_what_is_there_changes_what_is_said(written: Written, data: st.DataObject) -> None:
    name = data.draw(st.sampled_from(written.names))
    at = written.names.index(name)
    wanted = Wanted(name, {"name": name, "source": "git", "url": "https://h/x", "ref": "v1"}, False)
    after = edit.add(written.content, (wanted,), file=FILE, env=ENV).after

    before, now = read(written.content), read(after)
    source = read(b'{"plugins": [{"name": "a", "source": "git", "url": "https://h/x", "ref": "v1"}]}').plugins[0].source
    plugin = replace(before.plugins[at], source=source, enabled=True)
    assert now == replace(before, plugins=(*before.plugins[:at], plugin, *before.plugins[at + 1 :]))
    for other in (*written.parts[:at], *written.parts[at + 1 :]):
        assert other.encode() in after
