"""`plugins.yaml`: what loads, what is refused and in which words, and what the digest counts."""

from __future__ import annotations

import hashlib
import os
from typing import TYPE_CHECKING, Any

import pytest

from envbuilder.config import Config, Git, Local, PyPI, find, read
from envbuilder.errors import ConfigError
from envbuilder.paths import Environment

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    Load = Callable[..., Config]

SEED_PYPI = """\
plugins:
  - name: my-plugin
    source: pypi
    package: vllm-my-plugin      # PyPI package name
    version: ">=1.0.0"           # Optional: version specifier
    enabled: true
"""

SEED_GIT = """\
plugins:
  - name: my-plugin
    source: git
    url: https://github.com/user/vllm-plugin.git
    ref: main                    # Optional: branch, tag, or commit
    subdirectory: plugins/foo    # Optional: for monorepos
    enabled: true
"""

SEED_LOCAL = """\
plugins:
  - name: my-plugin
    source: local
    path: /path/to/my-plugin
    editable: true               # Optional: install in editable mode
    enabled: true
"""

SEED_FULL = """\
plugins:
  # Production plugin from PyPI
  - name: vllm-entropy-decoder
    source: pypi
    package: vllm-entropy-decoder
    version: ">=0.1.0"
    enabled: true

  # Custom plugin from private Git repo
  - name: custom-decoder
    source: git
    url: https://github.com/myorg/custom-decoder.git
    ref: v2.0.0
    enabled: true

  # Development plugin (local)
  - name: dev-plugin
    source: local
    path: ~/projects/my-vllm-plugin
    editable: true
    enabled: true

  # Disabled plugin (won't be installed)
  - name: experimental-plugin
    source: pypi
    package: vllm-experimental
    enabled: false
"""

ONE = "plugins: [{name: a, source: pypi%s}]\n"


@pytest.fixture
def env(home: Path) -> Environment:
    return Environment(variables={"HOME": str(home)})


@pytest.fixture
def load(tmp_path: Path, env: Environment) -> Load:
    def load(text: str | bytes, *, name: str = "plugins.yaml") -> Config:
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(text.encode() if isinstance(text, str) else text)
        return read(str(path), env=env)

    return load


@pytest.fixture
def problems(load: Load) -> Callable[[str], list[str]]:
    """Load a config that must fail: `line:column: key: text` for each problem."""

    def problems(text: str) -> list[str]:
        with pytest.raises(ConfigError) as caught:
            load(text)
        return [str(problem).split("plugins.yaml:", 1)[1] for problem in caught.value.problems]

    return problems


def sources(config: Config) -> list[PyPI | Git | Local]:
    return [plugin.source for plugin in config.plugins]


def test_the_pypi_example_loads(load: Load) -> None:
    config = load(SEED_PYPI)

    assert sources(config) == [PyPI(package="vllm-my-plugin", specifier=">=1.0.0")]
    assert [plugin.name for plugin in config.enabled] == ["my-plugin"]
    assert config.plugins[0].place[1:] == (2, 5)
    assert config.notes == ()


def test_the_git_example_loads(load: Load) -> None:
    url = "https://github.com/user/vllm-plugin.git"

    assert sources(load(SEED_GIT)) == [Git(url=url, ref="main", subdirectory="plugins/foo")]


def test_the_local_example_loads(load: Load) -> None:
    assert sources(load(SEED_LOCAL)) == [Local(path="/path/to/my-plugin", editable=True)]


def test_the_full_example_loads(load: Load, home: Path) -> None:
    config = load(SEED_FULL)

    assert sources(config) == [
        PyPI(package="vllm-entropy-decoder", specifier=">=0.1.0"),
        Git(url="https://github.com/myorg/custom-decoder.git", ref="v2.0.0"),
        Local(path=f"{home}/projects/my-vllm-plugin", editable=True),
        PyPI(package="vllm-experimental"),
    ]
    assert [plugin.name for plugin in config.enabled] == ["vllm-entropy-decoder", "custom-decoder", "dev-plugin"]


def test_every_other_key_loads(load: Load, tmp_path: Path, home: Path) -> None:
    config = load(
        """\
        x-note: {anything: [yes, 1.0]}
        engine: vllm
        base: ~/engine
        profile: edge.1
        index: https://index.example/simple
        find_links: [wheels, "https://${TOKEN}@index.example/wheels/"]
        override: [NumPy]
        plugins:
          - name: a
            source: pypi
            package: Some_Package
            version: "1.2.3"
            extras: [Fast, cli]
            index: file:///srv/simple
            ignore: [vllm, Torch]
            optional: true
            build_isolation: false
            x-owner: team
        """
    )

    assert (config.engine, config.base, config.profile) == ("vllm", f"{home}/engine", "edge.1")
    assert config.index == ("https://index.example/simple",)
    assert config.find_links == (f"{tmp_path}/wheels", "https://${TOKEN}@index.example/wheels/")
    assert config.override == ("numpy",)
    plugin = config.plugins[0]
    assert plugin.source == PyPI(package="some-package", specifier="==1.2.3")
    assert (plugin.extras, plugin.ignore) == (("cli", "fast"), ("torch", "vllm"))
    assert (plugin.index, plugin.optional, plugin.build_isolation) == ("file:///srv/simple", True, False)


def test_a_single_text_stands_for_a_list_of_one(load: Load) -> None:
    config = load("override: numpy\nfind_links: /srv/wheels\nplugins: []\n")

    assert (config.override, config.find_links) == (("numpy",), ("/srv/wheels",))


def test_indexes_keep_their_order(load: Load) -> None:
    config = load("index: ['https://b.example/simple', 'https://a.example/simple']\nplugins: []\n")

    assert config.index == ("https://b.example/simple", "https://a.example/simple")


@pytest.mark.parametrize("text", ["plugins: []\n", "plugins:\n", "\ufeffplugins: []\r\n", "---\nplugins: []\n...\n"])
def test_a_config_may_have_no_plugins(load: Load, text: str) -> None:
    assert load(text).plugins == ()


def test_the_package_is_the_name_where_it_is_left_out(load: Load) -> None:
    assert sources(load("plugins: [{name: My_Plugin, source: pypi}]")) == [PyPI(package="my-plugin")]


@pytest.mark.parametrize(
    ("written", "specifier"),
    [
        ("1.2.3", "==1.2.3"),
        ("v1.2", "==1.2"),
        ("1.2.*", "==1.2.*"),
        ("0.33.0+cu129", "==0.33.0+cu129"),
        ("2.0rc1", "==2.0rc1"),
        (">= 1, <2", "<2,>=1"),
        ("~=1.4", "~=1.4"),
        ("", ""),
    ],
)
def test_a_bare_version_means_that_version(load: Load, written: str, specifier: str) -> None:
    assert sources(load(ONE % f', version: "{written}"')) == [PyPI(package="a", specifier=specifier)]


@pytest.mark.parametrize(
    ("written", "path"),
    [
        ("wheels/x.whl", "{here}/wheels/x.whl"),
        ("../up", "{up}/up"),
        (".", "{here}"),
        ("~", "{home}"),
        ("~/x", "{home}/x"),
        ("/abs//x/", "/abs/x"),
    ],
)
def test_paths_count_from_the_file(load: Load, tmp_path: Path, home: Path, written: str, path: str) -> None:
    config = load(f"plugins: [{{name: a, source: local, path: '{written}'}}]", name="deep/plugins.yaml")

    here = tmp_path / "deep"
    assert sources(config) == [Local(path=path.format(here=here, up=tmp_path, home=home))]


def test_a_path_beside_a_linked_config_counts_from_the_link(tmp_path: Path, env: Environment) -> None:
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "real.yaml").write_text("plugins: [{name: a, source: local, path: p}]")
    (tmp_path / "plugins.yaml").symlink_to("data/real.yaml")

    assert sources(read(str(tmp_path / "plugins.yaml"), env=env)) == [Local(path=f"{tmp_path}/p")]


def test_a_tilde_without_a_home_is_a_problem(tmp_path: Path) -> None:
    (tmp_path / "plugins.yaml").write_text("plugins: [{name: a, source: local, path: ~/x}]")

    with pytest.raises(ConfigError, match="names no home"):
        read(str(tmp_path / "plugins.yaml"), env=Environment(variables={"HOME": "/"}))


@pytest.mark.parametrize(
    "url",
    [
        "https://git.example/a.git",
        "http://git.example:8080/a",
        "ssh://git@git.example/a.git",
        "git://git.example/a",
        "file:///srv/a.git",
        "git@git.example:team/a.git",
        "/srv/git/a",
        "https://${USER}:${TOKEN}@git.example/a.git",
        "https://git.example:${PORT}/a",
        "${MIRROR}/a.git",
        "https://me:p%40ss@git.example/a.git",
        "https://[::1]/a.git",
    ],
)
def test_git_urls_are_kept_as_written(load: Load, url: str) -> None:
    assert sources(load(f"plugins: [{{name: a, source: git, url: '{url}'}}]")) == [Git(url=url)]


@pytest.mark.parametrize(
    ("url", "text"),
    [
        ("git+https://git.example/a", "begins with `git+`"),
        ("ftp://git.example/a", "must begin with one of `https://`"),
        ("ext::sh -c id", "holds a space"),
        ("ext::id", "must be a URL that begins with"),
        ("git.example/a", "must be a URL that begins with"),
        ("./a", "must be an absolute path"),
        ("git@-oProxyCommand=id:a", "must be a URL that begins with"),
        ("ssh://-oProxyCommand=id/a", "names a host that begins with `-`"),
        ("--upload-pack=id", "begins with `-`"),
        ("https:///a", "without a host"),
        ("https://h:port/a", "cannot be read"),
        ("https://[::1/a", "cannot be read"),
        ("file://a", "must hold an absolute path"),
        ("https://h/a.git@main", "write `ref` and `subdirectory` as keys"),
        ("https://h/a#subdirectory=b", "write `ref` and `subdirectory` as keys"),
        ("https://${TOKEN@h/a", "holds a `${` that no `NAME}` follows"),
    ],
)
def test_what_git_must_not_be_given_is_refused(problems: Callable[[str], list[str]], url: str, text: str) -> None:
    found = problems(f"plugins: [{{name: a, source: git, url: '{url}'}}]")

    assert len(found) == 1
    assert found[0].startswith("1:39: `plugins[0].url`: ")
    assert text in found[0]


def test_all_problems_come_at_once_in_the_files_order(problems: Callable[[str], list[str]]) -> None:
    found = problems(
        """\
engin: vllm
engine: vlm
profile: ../x
plugins:
  - name: a
    source: pypi
    version: 1.10
    enabled: yes
  - name: A
    source: pypi
    ref: main
    version: ^1.2
  - source: gti
    nmae: b
  - vllm-foo
  - name: c
    source: local
    enabled: "true"
    editable: true
    path: x.whl
    extras: {a: b}
"""
    )

    assert found == [
        "1:1: `engin`: unknown key; did you mean `engine`?",
        "2:9: `engine`: must be one of `vllm`, `fastdeploy`, `sglang`, `generic`, not `vlm`; did you mean `vllm`?",
        "3:10: `profile`: must be up to 64 of a-z, 0-9, `.`, `_`, `-`, a letter or digit first; not `../x`",
        "7:14: `plugins[0].version`: must be text, and YAML reads `1.10` as a number; write it in quotes",
        "8:14: `plugins[0].enabled`: must be `true` or `false`, and some readers take `yes` for text; write `true`",
        "9:11: `plugins[1].name`: `a` is here twice; the first is at line 5, column 5",
        "11:10: `plugins[1].ref`: belongs to `source: git`, and this plugin has `source: pypi`",
        "12:14: `plugins[1].version`: must be a version or bounds like `>=1.2,<2`, not `^1.2`; do you mean `~=1.2`?",
        "13:5: `plugins[2].name`: is required",
        "13:13: `plugins[2].source`: must be one of `pypi`, `git`, `local`, not `gti`; did you mean `git`?",
        "14:5: `plugins[2].nmae`: unknown key; did you mean `name`?",
        "15:5: `plugins[3]`: must hold keys such as `name:` and `source:`, and this is text",
        "18:14: `plugins[4].enabled`: must be `true` or `false`, and this is text; write `true` without quotes",
        "19:15: `plugins[4].editable`: is for a folder, and `path` names a file",
        "21:13: `plugins[4].extras`: must be a list, and this is a mapping",
    ]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", " the file must hold keys such as `plugins:`, and this is empty"),
        ("- a\n", "1:1: the file must hold keys such as `plugins:`, and this is a list"),
        ("engine: vllm\n", "1:1: `plugins`: is required; it may be an empty list: `plugins: []`"),
        ("plugins: a\n", "1:10: `plugins`: must be a list, and this is text"),
        ("plugins: {a: b}\n", "1:10: `plugins`: must be a list, and this is a mapping"),
        (ONE % ", version: 3", "YAML reads `3` as a number"),
        (ONE % ", version: latest", "leave the key out for the newest that fits"),
        (ONE % ", version: '=1.2'", "write `==1.2`"),
        (ONE % f", version: '{','.join(['>1'] * 17)}'", "holds more than 16 bounds"),
        (ONE % ", version: ['>1', '<2']", "must be text, and this is a list"),
        (ONE % ", package: 'b>=1'", "bounds go under `version`"),
        (ONE % ", package: 'b[x]'", "extras under `extras`"),
        (ONE % ", package: -r", "begins with `-`, as an option would"),
        (ONE % ", package: 'a b'", "must be a name of letters"),
        (ONE % ", package: a/b", "must be a name of letters"),
        (ONE % ', package: "a\\nb"', "holds a control character"),
        (ONE % ", extras: [-x]", "1:44: `plugins[0].extras[0]`: begins with `-`"),
        (ONE % ", extras: [1]", "`plugins[0].extras[0]`: must be text"),
        (ONE % ", index: pypi", "`plugins[0].index`: must be a URL"),
        (ONE % ", index: 'ssh://h/x'", "must begin with one of `https://`, `http://`, `file://`"),
        (ONE % ", optional: 1", "must be `true` or `false`, and YAML reads `1` as a number"),
        (ONE % ", enabled: ", "must be `true` or `false`, and this is empty"),
        (ONE % ", name: b", "the key is here twice; the first is at line 1, column 12"),
        (
            "plugins: [{name: on, source: pypi}]",
            "must be text, and some readers take `on` for a boolean; write it in quotes",
        ),
        ("plugins: [{name: true, source: pypi}]", "must be text, and this is the boolean `true`"),
        ("plugins: [{name: a}]", "1:11: `plugins[0].source`: is required"),
        ("plugins: [{name: a, source: git}]", "1:11: `plugins[0].url`: is required"),
        ("plugins: [{name: a, source: local}]", "1:11: `plugins[0].path`: is required"),
        ("plugins: [{name: a, source: local, path: 'https://h/x'}]", "must be a path, and this is a URL"),
        ("plugins: [{name: a, source: local, path: -x}]", "begins with `-`"),
        ("plugins: [{name: a, source: git, url: /g, ref: --x}]", "begins with `-`"),
        ("plugins: [{name: a, source: git, url: /g, ref: 'a b'}]", "must be a branch, a tag or a commit"),
        ("plugins: [{name: a, source: git, url: /g, ref: a..b}]", "must be a branch, a tag or a commit"),
        ("plugins: [{name: a, source: git, url: /g, ref: 1234567}]", "YAML reads `1234567` as a number"),
        ("plugins: [{name: a, source: git, url: /g, subdirectory: a/../../b}]", "without `..`"),
        ("plugins: [{name: a, source: git, url: /g, subdirectory: /a}]", "must be a path inside the repository"),
        ("plugins: [{name: a, source: git, url: /g, editable: true}]", "belongs to `source: local`"),
        ("plugins: []\nbase: https://h/x", "`base`: must be a path, and this is a URL"),
        ("plugins: []\noverride: [-x]", "`override[0]`: begins with `-`"),
        ("plugins: []\nprofile: Prod", "`profile`: must be up to 64"),
        ("plugins: []\nfind_links: [ftp://h/x]", "`find_links[0]`: must begin with one of"),
    ],
)
def test_one_thing_wrong_is_one_problem(problems: Callable[[str], list[str]], text: str, expected: str) -> None:
    found = problems(text)

    assert len(found) == 1
    assert expected in found[0]


def test_a_package_may_be_enabled_once(load: Load, problems: Callable[[str], list[str]]) -> None:
    text = "plugins:\n- {name: a, source: pypi, package: p-p}\n- {name: b, source: pypi, package: P_p, enabled: %s}\n"

    assert problems(text % "true") == [
        "3:36: `plugins[1].package`: `p-p` is here twice; the first is at line 2, column 3"
    ]
    assert [plugin.name for plugin in load(text % "false").enabled] == ["a"]


@pytest.mark.parametrize(
    "text",
    [
        "plugins: [{name: a, source: git, url: 'ftp://me:hunter2@h/x'}]",
        "plugins: [{name: a, source: git, url: 'https://me:hunter2@h:x/y'}]",
        "plugins: [{name: a, source: git, url: 'https://me:p@hunter2@h/y z'}]",
        "plugins: [{name: a, source: git, url: 'me:hunter2@h'}]",
        "plugins: [{name: a, source: pypi, version: 'https://me:hunter2@h/x'}]",
        "plugins: [{name: 'https://me:hunter2@h', source: pypi}, {name: 'https://me:hunter2@h', source: pypi}]",
        "plugins: [{name: a, source: 'https://me:hunter2@h'}]",
        "plugins: [{name: a, source: local, path: 'https://me:hunter2@h'}]",
        "plugins: [{name: a, source: pypi, index: 'ftp://me:hunter2@h'}]",
        "plugins: [{name: a, source: pypi, enabled: 'https://me:hunter2@h'}]",
        "plugins: []\n'https://me:hunter2@h': 1",
        "plugins: []\n? 'https://me:hunter2@h'\n: &a 1",
        "plugins: []\nx: {'https://me:hunter2@h': 1, 'https://me:hunter2@h': 2}",
        "plugins: []\nindex: https://me:hunter2@h: x",
    ],
)
def test_credentials_are_never_told(problems: Callable[[str], list[str]], text: str) -> None:
    found = problems(text)

    assert found
    assert "hunter2" not in "\n".join(found)


def test_a_local_folder_that_does_not_say_editable_is_told_once(load: Load) -> None:
    config = load(
        """\
        plugins:
          - {name: a, source: local, path: a}
          - {name: b, source: local, path: b, editable: false}
          - {name: c, source: local, path: c.whl}
          - {name: d, source: local, path: d}
          - {name: e, source: local, path: e, enabled: false}
        """
    )

    assert config.notes == ("`a`, `d`: without `editable: true`, a local folder is installed as a copy",)


def test_a_named_config_that_is_missing_is_an_error_with_a_way_forward(tmp_path: Path, env: Environment) -> None:
    with pytest.raises(ConfigError) as caught:
        read(str(tmp_path / "none.yaml"), env=env)

    assert caught.value.message == f"{tmp_path}/none.yaml: there is no such file"
    assert caught.value.hint is not None
    assert "vpm-env init" in caught.value.hint


@pytest.mark.parametrize("name", [".", "plugins.yaml/x", "\0"])
def test_what_cannot_be_read_is_an_error(tmp_path: Path, env: Environment, name: str) -> None:
    (tmp_path / "plugins.yaml").write_text("")

    with pytest.raises(ConfigError, match="cannot be read: "):
        read(f"{tmp_path}/{name}", env=env)


def test_a_config_may_come_from_a_pipe(env: Environment) -> None:
    reading, writing = os.pipe()
    os.write(writing, SEED_PYPI.encode())
    os.close(writing)
    try:
        assert [plugin.name for plugin in read(f"/dev/fd/{reading}", env=env).plugins] == ["my-plugin"]
    finally:
        os.close(reading)


def test_sha256_is_of_the_bytes(load: Load) -> None:
    assert load(SEED_GIT).sha256 == hashlib.sha256(SEED_GIT.encode()).hexdigest()


def test_the_digest_does_not_count_what_changes_nothing(load: Load, tmp_path: Path) -> None:
    plain = load(
        "engine: vllm\nplugins:\n- {name: b, source: local, path: /p}\n- {name: a, source: pypi, extras: [x, y]}\n"
    )
    other = load(
        f"""\
        # a comment
        x-free: 1
        plugins:
          - {{extras: [Y, x, y], version: "", name: a, source: pypi, package: A, optional: false}}
          - {{source: local, name: b, path: {os.path.relpath("/p", tmp_path / "deep")}, editable: false}}
          - {{name: c, source: git, url: /g, enabled: false}}
        engine: vllm
        """,
        name="deep/other.yaml",
    )

    assert plain.digest == other.digest
    assert len(plain.digest) == 64


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("engine", "vllm"),
        ("base", "/b"),
        ("profile", "p"),
        ("index", "https://h/simple"),
        ("find_links", "/w"),
        ("override", "numpy"),
        ("plugins[0].name", "b"),
        ("plugins[0].package", "b"),
        ("plugins[0].version", "'1'"),
        ("plugins[0].index", "https://h/simple"),
        ("plugins[0].extras", "[x]"),
        ("plugins[0].ignore", "[x]"),
        ("plugins[0].optional", "true"),
        ("plugins[0].build_isolation", "false"),
        ("plugins[0].enabled", "false"),
    ],
)
def test_the_digest_counts_every_key(load: Load, key: str, value: str) -> None:
    top, plugin = {"plugins": "[{%s}]"}, {"name": "a", "source": "pypi", "package": "a"}
    (plugin if "." in key else top)[key.removeprefix("plugins[0].")] = value

    def text(keys: dict[str, Any]) -> str:
        return ", ".join(f"{name}: {value}" for name, value in keys.items())

    changed = f"{{{text(top)}}}" % text(plugin)

    assert load(ONE % ", package: a").digest != load(changed).digest


def test_sources_of_one_path_differ_in_digest(load: Load) -> None:
    texts = ["source: git, url: /p", "source: local, path: /p", "source: local, path: /p, editable: true"]

    assert len({load(f"plugins: [{{name: a, {text}}}]").digest for text in texts}) == 3


def test_the_config_is_found_in_its_order(tmp_path: Path, home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    variables = {"HOME": str(home), "VPM_ENV_CONFIG": "first.yaml", "VLLM_PLUGIN_CONFIG": "~/second.yaml"}
    for path in ("plugins.yaml", "home/.config/vllm/plugins.yaml", "home/.config/sglang/plugins.yaml"):
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path).write_text("plugins: []")
    env = Environment(variables=variables)

    assert find(env, "~/option.yaml") == f"{home}/option.yaml"
    assert find(env, None) == f"{tmp_path}/first.yaml"
    del variables["VPM_ENV_CONFIG"]
    assert find(env, None) == f"{home}/second.yaml"
    del variables["VLLM_PLUGIN_CONFIG"]
    for place in (tmp_path / "plugins.yaml", home / ".config/vllm/plugins.yaml", home / ".config/sglang/plugins.yaml"):
        assert find(env, None) == str(place)
        place.unlink()
    assert find(env, None) is None


def test_the_users_config_folder_may_be_elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    place = tmp_path / "xdg" / "fastdeploy" / "plugins.yaml"
    place.parent.mkdir(parents=True)
    place.write_text("plugins: []")

    assert find(Environment(variables={"HOME": "/", "XDG_CONFIG_HOME": f"{tmp_path}/xdg"}), None) == str(place)
    assert find(Environment(variables={"HOME": "/"}), None) is None


def test_a_folder_called_plugins_yaml_is_no_config(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "plugins.yaml").mkdir()

    assert find(Environment(variables={"HOME": "/"}), None) is None
