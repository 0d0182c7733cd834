"""S7, S13: what a policy forbids is not built, whoever asks, and in whatever way."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import kit
import pytest
import stands

from envbuilder.addresses import covers

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

NAMESPACE = ["unshare", "--mount", "--propagation", "private"]


@pytest.fixture(scope="module")
def index(tmp_path_factory: pytest.TempPathFactory) -> Iterator[kit.Index]:
    with kit.index(tmp_path_factory.mktemp("policy") / "index") as served:
        kit.wheel(served.folder, "demo", requires=["dep"])
        kit.wheel(served.folder, "dep")
        kit.wheel(served.folder, "demo", "2.0", requires=["dep"])
        kit.sdist(served.folder, "sourced")
        yield served


@pytest.fixture(scope="module")
def ours(tmp_path_factory: pytest.TempPathFactory) -> kit.VpmEnv:
    return stands.small(tmp_path_factory.mktemp("policies"))


@pytest.fixture
def vpm_env(ours: kit.VpmEnv) -> Iterator[kit.VpmEnv]:
    """Give vpm-env an empty home and folder, and a base without a policy."""
    yield ours
    for path in (ours.home, ours.folder):
        for part in path.iterdir() if path.exists() else ():
            if part.name != "cache":
                shutil.rmtree(part) if part.is_dir() and not part.is_symlink() else part.unlink()
    shutil.rmtree(ours.home / "cache" / "recipes", ignore_errors=True)
    shutil.rmtree(ours.home.parent / "base" / "etc", ignore_errors=True)


def call(
    workshop: kit.Workshop, vpm_env: kit.VpmEnv, words: str, env: Mapping[str, str] | None = None
) -> tuple[int, str]:
    """Call a verb; return its exit code and what it said in one line."""
    ended = workshop(*words.split(), env={**vpm_env.env, **(env or {})}, cwd=vpm_env.folder)
    assert "Traceback" not in ended.stderr, ended.stderr
    return ended.code, " ".join((ended.stdout + ended.stderr).split())


def entry(name: str, more: str = "source: pypi") -> str:
    return f"  - {{name: {name}, {more}}}\n"


def test_every_rule_names_both_places(
    vpm_env: kit.VpmEnv, index: kit.Index, workshop: kit.Workshop, tmp_path: Path, figure: Any
) -> None:
    project = kit.project(tmp_path / "loc", "loc")
    repository = kit.git_repository(kit.project(tmp_path / "repo", "gp"))
    built = kit.sdist(tmp_path / "sdists", "packed")
    prefix = index.url.rpartition("/")[0]
    local, of_git = f"source: local, path: {project}", f"source: git, url: '{repository.url}'"
    cases = [
        ("sources: [pypi]", entry("gp", of_git), "5:5", "`gp` is of `source: git`"),
        ("sources: [git]", entry("demo"), "5:5", "`demo` is of `source: pypi`"),
        ("sources: []", entry("demo"), "5:5", "`demo` is of `source: pypi`"),
        ("indexes: [https://else.example/simple]", entry("demo"), "1:8", "`index` of the config is"),
        ("indexes: []", entry("demo"), "1:8", "`index` of the config is"),
        (f"indexes: ['{index.url}']", entry("demo"), "5:5", "`demo 2.0` comes from"),
        (f"indexes: ['{index.url}']", entry("demo"), "pylock.plugins.toml", "`dep 1.0` comes from"),
        (f"indexes: ['{prefix}']", entry("demo", "source: pypi, index: 'https://b.example/s'"), "5:5", "`demo` is"),
        ("git: ['https://git.example/team']", entry("gp", of_git), "5:5", "`gp` is at"),
        (f"git: ['file://{tmp_path}/rep']", entry("gp", of_git), "5:5", "`gp` is at"),
        ("editables: false", entry("loc", local + ", editable: true"), "5:5", "`loc` is editable"),
        ("sdists: false", entry("packed", f"source: local, path: {built}"), "5:5", "`packed` is an sdist"),
        ("overrides: false", "  []\noverride: [dep]\n", "6:12", "`override` of `dep`"),
    ]
    violations = []
    for rule, plugins, place, words in cases:
        vpm_env.config(f"index: {index.url}\npolicy:\n  {rule}\nplugins:\n{plugins}")
        for verb in ("build", "check", "build --dry-run"):
            code, said = call(workshop, vpm_env, verb)
            told = all(part in said for part in (place, words, "plugins.yaml:3:3"))
            if code != 1 or (not told and verb != "check"):
                violations.append(f"{rule}: {verb}: {code} {said[:400]}")
    vpm_env.config(f"index: {index.url}\npolicy:\n  sdists: false\nplugins:\n{entry('sourced')}")
    code, said = call(workshop, vpm_env, "build")
    if code != 1 or "`sdists: false`" not in said or "plugins.yaml:3:3" not in said:
        violations.append(f"sdists of an index: {said}")
    vpm_env.config(
        f"index: {index.url}\npolicy:\n  sources: [pypi, git]\n  indexes: ['{prefix}']\n  git: ['file://{tmp_path}/repo']\n"
        f"  sdists: false\n  editables: false\n  hashes: required\n  overrides: false\nplugins:\n"
        f"{entry('demo')}{entry('gp', of_git)}"
    )
    code, said = call(workshop, vpm_env, "build")
    violations += [f"what is allowed is refused: {said}"] if code else []
    figure("S13", "rules, in build, check and dry runs", count=3 * len(cases) + 2, wanted=40, violations=violations)


def test_all_breaches_are_told_at_once(vpm_env: kit.VpmEnv, index: kit.Index, workshop: kit.Workshop) -> None:
    plugins = entry("one", "source: git, url: /x/y") + entry("two", "source: local, path: /x, editable: true")
    text = f"index: {index.url}\npolicy: {{sources: [pypi], editables: false, indexes: []}}\nplugins:\n{plugins}"
    vpm_env.config(text)
    code, said = call(workshop, vpm_env, "build")
    assert code == 1
    assert said.count(" forbids it (") == 4, said


def test_what_is_wrong_in_a_policy_is_no_permission(vpm_env: kit.VpmEnv, workshop: kit.Workshop, figure: Any) -> None:
    wrong = [
        *("sdist: false", "sources: pip", "sources:", "sdists:", "sdists: 'false'", "hashes: optional", "hashes: true"),
        *(
            "indexes: [example]",
            "indexes: ['https://u:p@h/']",
            "indexes: ['https://${HOST}/']",
            "git: [[a]]",
            "git: {a: b}",
        ),
        *("indexes: ['https://h/../x']", "editables: 0", "sources: {pypi: true}", "startup_code: nope"),
    ]
    violations = []
    for rule in wrong:
        vpm_env.config(f"policy:\n  {rule}\nplugins: []\n")
        code, said = call(workshop, vpm_env, "build")
        if code != 1 or "plugins.yaml:2:" not in said:
            violations.append(f"{rule}: {code} {said}")
    for whole in ("policy:\n", "policy: yes\n", "policy: [sdists]\n"):
        vpm_env.config(f"{whole}plugins: []\n")
        code, said = call(workshop, vpm_env, "build")
        violations += [f"{whole}: {said}"] if code != 1 else []
    figure("S13", "policies that cannot be understood", count=len(wrong) + 3, wanted=19, violations=violations)


def test_nothing_around_a_config_loosens_a_policy(
    vpm_env: kit.VpmEnv, index: kit.Index, workshop: kit.Workshop, tmp_path: Path, figure: Any
) -> None:
    repository = kit.git_repository(kit.project(tmp_path / "repo", "gp"))
    inner = kit.git_repository(kit.project(tmp_path / "inner", "inner"))
    rule = f"policy:\n  indexes: ['https://good.example/']\n  git: ['{repository.url}']\n"
    plain = f"{rule}plugins:\n{entry('demo')}"
    violations = []
    ways: list[tuple[str, dict[str, str], str]] = [
        *(
            (name, {name: index.url}, plain)
            for name in ("UV_INDEX_URL", "UV_DEFAULT_INDEX", "UV_INDEX", "PIP_INDEX_URL")
        ),
        *((name, {name: str(index.folder)}, plain) for name in ("UV_FIND_LINKS", "PIP_FIND_LINKS")),
        ("nothing", {}, plain),
        ("find_links", {}, f"find_links: {index.folder}\nindex: https://good.example/simple\n" + plain),
    ]
    for name, env, text in ways:
        vpm_env.config(text)
        code, said = call(workshop, vpm_env, "build", env)
        if code != 1 or "plugins.yaml:" not in said or "indexes: [https://good.example/]" not in said:
            violations.append(f"{name}: {code} {said[:300]}")
    of_git = f"{rule}plugins:\n{entry('gp', f'source: git, url: {repository.url}')}"
    vpm_env.config(of_git.replace("  indexes: ['https://good.example/']\n", ""))
    instead = {"GIT_CONFIG_COUNT": "1", "GIT_CONFIG_KEY_0": f"url.{inner.url}.insteadOf"}
    code, said = call(workshop, vpm_env, "build", {**instead, "GIT_CONFIG_VALUE_0": repository.url})
    violations += [] if code == 1 and "forbidden by `git:" in said else [f"insteadOf: {code} {said}"]
    repository.git("-c", "protocol.file.allow=always", "submodule", "--quiet", "add", inner.url, "inner")
    repository.commit()
    code, said = call(workshop, vpm_env, "build")
    violations += [] if code == 1 and "forbidden by `git:" in said else [f"a submodule: {code} {said}"]
    figure("S13", "ways around a policy", count=len(ways) + 2, wanted=10, violations=violations)


def test_a_base_brings_its_policy(vpm_env: kit.VpmEnv, index: kit.Index, workshop: kit.Workshop, figure: Any) -> None:
    """The next build holds a policy that came or changed, whatever else is as it was; what runs is left alone."""
    prefix = vpm_env.home.parent / "base"
    file = prefix / "etc" / "vpm-env" / "policy.yaml"
    file.parent.mkdir(parents=True)
    vpm_env.config(f"index: {index.url}\nplugins:\n" + entry("demo", 'source: pypi, version: "1.0"'))
    violations = []

    def expect(words: str, code: int, told: str) -> None:
        got, said = call(workshop, vpm_env, words)
        if got != code or told not in said:
            violations.append(f"{words}: {got} {said[:400]}")

    expect("build", 0, "switched")
    expect("build", 0, "nothing to do")
    file.write_text("sources: [git]\n")
    expect("build", 1, f"{file}:1:1")
    expect("check", 1, "`demo` is of `source: pypi`")
    expect("upgrade", 1, f"{file}:1:1")
    expect("add dep --build", 1, f"{file}:1:1")
    expect("status", 1, "generation 1")
    file.write_text("sources: [pypi]\n")
    expect("build", 0, "generation 1")
    expect("build", 0, "nothing to do")
    file.write_text("unknown: 1\n")
    expect("build", 1, "unknown key")
    file.write_text("sources: [pypi]\n")
    file.chmod(0o666)
    expect("build", 1, "can be written by others (mode 0666)")
    file.chmod(0o644)
    if os.getuid() == 0:
        os.chown(file, 4711, -1)
        expect("build", 1, "belongs to user 4711")
        os.chown(file, 0, -1)
    file.unlink()
    file.symlink_to("nowhere")
    expect("build", 1, "cannot be read")
    file.unlink()
    vpm_env.config(f"index: {index.url}\nplugins:\n{entry('demo')}")
    expect("upgrade", 0, "switched to generation 2")
    expect("rollback", 0, "generation 1")
    for path in (vpm_env.home / "overlays").glob("*/*"):
        shutil.rmtree(path)
    file.write_text("indexes: [https://good.example/]\n")
    expect("switch 2", 1, f"{file}:1:1")
    file.unlink()
    expect("switch 2", 0, "generation 2")
    figure("S13", "a base's policy that comes, changes and goes", count=16, wanted=16, violations=violations)


def test_an_environment_above_a_base_is_held_to_its_policy(
    vpm_env: kit.VpmEnv, index: kit.Index, workshop: kit.Workshop, tmp_path: Path, figure: Any
) -> None:
    """One that `python -m venv --system-site-packages` made, and one that sees another's packages by a `.pth`."""
    above = kit.base(tmp_path / "above", kind="system-site", home=tmp_path)
    beside = kit.base(tmp_path / "beside")
    below = kit.base(tmp_path / "below")
    (beside.purelib / "more.pth").write_text(f"{below.purelib}\n")
    violations = []
    for base, prefix in ((above, tmp_path / "above-system"), (beside, below.prefix), (above, above.prefix)):
        file = prefix / "etc" / "vpm-env" / "policy.yaml"
        file.parent.mkdir(parents=True)
        vpm_env.config(f"engine: generic\nindex: {index.url}\nplugins:\n{entry('demo')}")
        env = {**base.env, "VPM_ENV_BASE": str(base.python)}
        for policy, code, told in (("", 0, "switched"), ("", 0, "nothing to do"), ("sources: []\n", 1, f"{file}:1:1")):
            if policy:
                file.write_text(policy)
            got, said = call(workshop, vpm_env, "build", env)
            if got != code or told not in said:
                violations.append(f"{base.kind} {prefix}: {got} {said[:400]}")
        shutil.rmtree(file.parent)
        shutil.rmtree(vpm_env.home / "profiles")
    figure("S13", "policies below an environment", count=9, wanted=9, violations=violations)


@pytest.fixture
def etc() -> Iterator[None]:
    """Have a folder to mount a policy over, in a namespace of the test's own; skip the test where that cannot be."""
    why = "no right to mount a policy over /etc/vpm-env"
    if os.getuid() or not shutil.which("unshare"):
        pytest.skip(why)
    was_there = os.path.isdir("/etc/vpm-env")
    try:
        os.makedirs("/etc/vpm-env", exist_ok=True)
        tried = subprocess.run([*NAMESPACE, "mount", "-t", "tmpfs", "none", "/etc/vpm-env"], capture_output=True)
        if tried.returncode:
            pytest.skip(why)
        yield
    except OSError:
        pytest.skip(why)
    finally:
        if not was_there and os.path.isdir("/etc/vpm-env"):
            os.rmdir("/etc/vpm-env")


_STORY = """
set -u
mount -t tmpfs -o mode=755 none /etc/vpm-env
cd {folder}
policy=/etc/vpm-env/policy.yaml
vpm() {{ {python} -m envbuilder "$@"; echo "== $?"; }}
vpm build
printf 'sources: [git]\\nindexes: []\\n' > $policy
vpm build
VPM_ENV_POLICY=/dev/null vpm build --force
vpm -v check
vpm status
vpm info
printf 'sourcs: [git]\\n' > $policy
vpm build
printf 'sources: [pypi]\\n' > $policy
chown 4711 $policy
vpm build
chown 0 $policy; chmod 660 $policy
vpm build
chmod 644 $policy; chmod 777 /etc/vpm-env
vpm build
chmod 755 /etc/vpm-env
vpm build
vpm build
chmod 777 /etc/vpm-env; mount -o remount,ro /etc/vpm-env
vpm build --force
"""


@pytest.mark.usefixtures("etc")
def test_the_machines_policy_is_roots_word(vpm_env: kit.VpmEnv, index: kit.Index, figure: Any) -> None:
    vpm_env.config(f"index: {index.url}\nplugins:\n{entry('demo')}")
    story = _STORY.format(folder=vpm_env.folder, python=sys.executable)
    command = [*NAMESPACE, "sh", "-c", story]
    done = subprocess.run(command, env=vpm_env.env, capture_output=True, text=True, timeout=120)
    codes = [int(line[3:]) for line in done.stdout.splitlines() if line.startswith("== ")]
    said = " ".join((done.stdout + done.stderr).split())
    wanted = [0, 1, 1, 1, 1, 0, 1, 1, 1, 1, 0, 0, 0]
    violations = [] if codes == wanted else [f"exit codes {codes}, not {wanted}: {done.stderr}"]
    told = [
        *("/etc/vpm-env/policy.yaml:1:1", "/etc/vpm-env/policy.yaml:2:1", "unknown key; did you mean `sources`?"),
        *("the policy belongs to user 4711", "the policy can be written by others (mode 0660)"),
        *("its folder can be written by others (mode 0777)", "nothing to do"),
    ]
    violations += [f"{words!r} is not said: {said[-3000:]}" for words in told if words not in said]
    figure(
        "S13",
        "a machine's policy, root's or not",
        count=len(codes),
        wanted=13,
        violations=violations,
    )


def test_addresses_are_compared_by_what_they_name(figure: Any) -> None:
    yes = [
        ("https://h/a", "https://h/a"),
        ("https://h/a", "https://h/a/b/c?x#y"),
        ("https://h/a/", "https://H:443/a/b"),
        ("https://h/a", "https://u:p@h/a/x"),
        ("https://h", "https://h/x"),
        ("git@h:team/", "git@h:team/x.git"),
        ("ssh://h/team", "git@h:team/x"),
        ("/srv/git", "file:///srv/git/x"),
        ("https://h/team/x", "https://h/team/x.git"),
        ("https://h/a%20b", "https://h/a%20b/c"),
    ]
    no = [
        ("https://h/a", "https://h/ab"),
        ("https://h/a", "https://h/a.git/b"),
        ("/srv/wheels", "/srv/wheels.git/x"),
        ("https://h/a", "http://h/a"),
        ("https://h/a", "https://h.evil/a"),
        ("https://h/a", "https://h@evil/a"),
        ("https://h/a", "https://evil/https://h/a"),
        ("https://h/a", "https://h:8443/a"),
        ("https://h/a", "https://h/a/../b"),
        ("https://h/a", "https://h/a/%2e%2e/b"),
        ("https://h/a", "https://h/a/%252e%252e/b"),
        ("https://h/a", "https://h/a%2fb"),
        ("https://h/a", "https://h\\@evil/a"),
        ("https://h/a", "https://h/a\n/b"),
        ("https://h/a", "https://h/${X}"),
        ("https://h/a", "ftp://h/a"),
        ("https://h/a", "h/a"),
        ("https://h/a", ""),
        ("/srv/git", "/srv/git-evil"),
        ("/srv/git", "/srv/git/../../etc"),
        ("/srv/git", "file://evil/srv/git/x"),
        ("git@h:team", "git@h:teams/x"),
    ]
    violations = [f"{rule} should cover {url}" for rule, url in yes if not covers(rule, url)]
    violations += [f"{rule} must not cover {url}" for rule, url in no if covers(rule, url)]
    figure("S13", "addresses that look alike", count=len(yes) + len(no), wanted=30, violations=violations)
