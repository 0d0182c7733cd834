"""S13: what a plugin requires by a URL is asked, fetched and built only where every policy allows it."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from hashlib import sha256
from typing import TYPE_CHECKING, Any

import kit
import pytest
import stands

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

VERBS = ("build", "check", "build --dry-run")
IN_ALL_VERBS = ("git", "a server", "below git")


@dataclass
class Ground:
    """A home that each case begins anew, and what may be required: on a server, in repositories, each with a mark."""

    folder: Path
    vpm_env: kit.VpmEnv
    workshop: kit.Workshop
    index: kit.Index
    server: kit.Index
    repositories: dict[str, kit.Repository]

    def project(self, name: str, *, requires: tuple[str, ...] = (), **options: Any) -> Path:
        """Write a project that leaves a mark when it is built."""
        code = f"open({str(self.folder / f'{name}.mark')!r}, 'a').write('x')"
        return kit.project(self.folder / name, name, requires=requires, build_code=code, **options)

    def repository(self, name: str, *, requires: tuple[str, ...] = ()) -> str:
        """Make a repository of such a project; return its URL."""
        self.repositories[name] = kit.git_repository(self.project(name, requires=requires))
        return self.repositories[name].url

    def served(self, name: str, **options: Any) -> str:
        """Put a wheel on the server; return its URL."""
        kit.wheel(self.server.folder, name, **options)
        return f"{self.server.url.removesuffix('simple')}files/{name}-1.0-py3-none-any.whl"

    def plugin(self, name: str, *requires: str, more: str = "", metadata: str | None = None) -> str:
        """Write the entry of a wheel that requires this."""
        folder = self.folder / "wheels" / sha256(repr((requires, metadata)).encode()).hexdigest()[:12]
        path = kit.wheel(folder, name, requires=requires, extras={"more": ()}, metadata=metadata)
        return f"  - {{name: {name}, source: local, path: {path}{more}}}\n"

    def call(self, words: str, plugins: str, head: str = "", env: Mapping[str, str] | None = None) -> tuple[int, str]:
        """Call a verb in a home that is new; return its exit code and what it said in one line."""
        for path in (self.vpm_env.home, self.vpm_env.folder, self.folder / "uv"):
            for part in path.iterdir() if path.exists() else ():
                if part.name != "cache":
                    shutil.rmtree(part) if part.is_dir() and not part.is_symlink() else part.unlink()
        for name in ("recipes", "git"):
            shutil.rmtree(self.vpm_env.home / "cache" / name, ignore_errors=True)
        for mark in self.folder.glob("*.mark"):
            mark.unlink()
        self.server.requests.clear()
        self.vpm_env.config(f"index: {self.index.url}\n{head}plugins:\n{plugins}")
        return self.again(words, env)

    def again(self, words: str, env: Mapping[str, str] | None = None) -> tuple[int, str]:
        """Call a verb in the home as it is."""
        ended = self.workshop(*words.split(), env={**self.vpm_env.env, **(env or {})}, cwd=self.vpm_env.folder)
        assert "Traceback" not in ended.stderr, ended.stderr
        return ended.code, " ".join((ended.stdout + ended.stderr).split())

    @property
    def built(self) -> dict[str, int]:
        """Count how often each project was built."""
        return {path.stem: len(path.read_text()) for path in self.folder.glob("*.mark")}

    def locked(self, name: str) -> str:
        """Return what the lock says of a package."""
        text = (self.vpm_env.folder / "pylock.plugins.toml").read_text()
        return next((part for part in text.split("[[packages]]") if f'name = "{name}"\n' in part), "")


@pytest.fixture(scope="module")
def ground(tmp_path_factory: pytest.TempPathFactory, workshop: kit.Workshop) -> Iterator[Ground]:
    folder = tmp_path_factory.mktemp("direct")
    vpm_env = stands.small(folder)
    with kit.index(folder / "index") as index, kit.index(folder / "server") as server:
        kit.wheel(index.folder, "demo")
        yield Ground(folder, vpm_env, workshop, index, server, {})


def test_what_is_forbidden_is_neither_asked_nor_built(ground: Ground, figure: Any) -> None:
    """Right under the plugin, below what is allowed, and below what is allowed on a server."""
    served = ground.served("served")
    evil = ground.repository("evil")
    middle = ground.repository("middle", requires=(f"evil @ git+{evil}", f"served @ {served}"))
    leading = ground.served("leading", requires=[f"evil @ git+{evil}"])
    archive = kit.wheel(ground.folder / "files", "filed").as_uri()
    good = f"indexes: ['{ground.index.url.removesuffix('simple')}']"
    cases = {
        "git": ("git: []", [f"evil @ git+{evil}"], "`evil`, which `top` requires, is at", set()),
        "a source": ("sources: [local]", [f"evil @ git+{evil}"], "is of `source: git`", set()),
        "a build": ("sdists: false", [f"evil @ git+{evil}"], "would have to be built", set()),
        "a server": (good, [f"served @ {served}"], "`served`, which `top` requires, is at", set()),
        "a file": (good, [f"filed @ {archive}"], "`filed`, which `top` requires, is at", set()),
        "an sdist": ("sdists: false", [f"served @ {served.replace('-py3-none-any.whl', '.tar.gz')}"], "built", set()),
        "below git": (f"git: ['{middle}']", [f"middle @ git+{middle}"], "`evil`, which `middle` requires", {"middle"}),
        "a server below git": (good, [f"middle @ git+{middle}"], "`served`, which `middle` requires", {"middle"}),
        "below a server": ("git: []", [f"leading @ {leading}"], "`evil`, which `leading` requires", set()),
    }
    violations = []
    tried = 0
    for name, (rule, requires, told, built) in cases.items():
        for verb in VERBS if name in IN_ALL_VERBS else VERBS[:1]:
            tried += 1
            code, said = ground.call(verb, ground.plugin("top", *requires), f"policy: {{{rule}}}\n")
            if code != 1 or told not in said or "plugins.yaml:4:5" not in said or "plugins.yaml:2:" not in said:
                violations.append(f"{name}: {verb}: {code} {said[:400]}")
            asked = {request.path.rpartition("/")[2] for request in ground.server.requests}
            if set(ground.built) != built or asked - ({"leading-1.0-py3-none-any.whl"} if "leading" in told else set()):
                violations.append(f"{name}: {verb}: built {ground.built}, asked for {asked}")
    figure("S13", "forbidden URLs of requirements", count=tried, wanted=15, violations=violations)


def test_submodules_of_what_is_required_are_held_to_the_policy(ground: Ground, figure: Any) -> None:
    evil = ground.repository("hidden")
    allowed = ground.repository("allowed")
    repository = ground.repositories["allowed"]
    repository.git("-c", "protocol.file.allow=always", "submodule", "--quiet", "add", evil, "inner")
    repository.commit()
    of_git = {"GIT_CONFIG_COUNT": "1", "GIT_CONFIG_KEY_0": "protocol.file.allow", "GIT_CONFIG_VALUE_0": "always"}
    instead = {**of_git, "GIT_CONFIG_KEY_0": f"url.{evil}.insteadOf", "GIT_CONFIG_VALUE_0": f"{allowed}/x"}
    top, rule = ground.plugin("top", f"allowed @ git+{allowed}"), f"policy: {{git: ['{allowed}']}}\n"
    violations = []
    elsewhere = ground.plugin("top", f"allowed @ git+{allowed}/x")
    for name, plugins, env in (("a submodule", top, of_git), ("insteadOf", elsewhere, instead)):
        code, said = ground.call("build", plugins, rule, env)
        if code != 1 or "is forbidden by `git:" not in said or ground.built:
            violations.append(f"{name}: {code} {said} {ground.built}")
    for ref in ("--upload-pack=touch", "-x"):
        code, said = ground.call("build", ground.plugin("top", f"allowed @ git+{allowed}@{ref}"))
        violations += [] if code == 1 and not ground.built else [f"{ref}: {code} {said}"]
    for url in ("ext::sh -c id", "ext::sh%20-c%20id", "http://${HOME}/x", "-o/x"):
        code, said = ground.call("build", ground.plugin("top", f"allowed @ git+{url}"))
        violations += [] if code == 1 and not ground.built else [f"{url}: {code} {said}"]
    figure("S13", "ways around it by a required repository", count=8, wanted=8, violations=violations)


def test_what_is_allowed_is_built_once_and_had_again(ground: Ground, figure: Any) -> None:
    """Once by a build, by none after it, once by a repair; and never another commit than the lock has."""
    served = ground.served("far", requires=["demo"])
    last = ground.repository("last", requires=(f"far @ {served}#sha256={_sha256(ground, 'far')}",))
    first = ground.repository("first", requires=(f"last @ git+{last}@main", "top"))
    top = ground.plugin("top", f"first[unknown] @ git+{first}", "vllm>=0.3")
    violations = []

    def expect(words: str, built: dict[str, int], told: str = "") -> None:
        code, said = ground.again(words)
        if code or ground.built != built or told not in said:
            violations.append(f"{words}: {code} {ground.built} {said[:600]}")

    code, said = ground.call("build", top)
    once = {"first": 1, "last": 1}
    violations += [] if code == 0 and ground.built == once else [f"build: {code} {ground.built} {said[:600]}"]
    head = ground.repositories["last"].head
    if f'commit-id = "{head}"' not in ground.locked("last") or "sha256" not in ground.locked("far"):
        violations.append(f"locked {ground.locked('last')}{ground.locked('far')}")
    for verb in ("build", "build --force", "build --locked --force", "check", "verify"):
        expect(verb, once)
    ground.repositories["last"].commit({"last/new.py": "new = 1\n"})
    expect("build --force", once, "nothing changed")
    for path in (ground.vpm_env.home / "store").glob("*-last-1.0/lib/last/__init__.py"):
        path.chmod(0o644)
        path.write_text("other = 1\n")
    expect("verify --repair", {"first": 1, "last": 2}, "had anew from its source")
    for path in (ground.vpm_env.home / "overlays").glob("*/*"):
        shutil.rmtree(path)
    expect("switch 1", {"first": 1, "last": 2})
    expect("upgrade last", {"first": 1, "last": 3}, "last")
    violations += [] if f'commit-id = "{head}"' not in ground.locked("last") else ["upgrade took the old commit"]
    code, said = ground.call("build", ground.plugin("top", f"far @ {served}#sha256={'0' * 64}"))
    violations += [] if code == 1 else [f"another hash: {said}"]
    figure("S13", "required repositories and files, built once", count=11, wanted=11, violations=violations)


def test_what_does_not_count_is_not_asked(ground: Ground, figure: Any) -> None:
    """Behind a marker or an extra; what the base holds; what two places are named for; what an index says."""
    url, other = ground.served("gone"), ground.served("gone-too")
    one = ground.repository("one")
    filed = kit.wheel(ground.folder / "here", "filed").as_uri()
    kit.wheel(ground.index.folder, "lurking", requires=[f"gone @ {url}"])
    of_one = f"  - {{name: one, source: git, url: '{one}'}}\n"
    lurking = "  - {name: lurking, source: pypi}\n"
    plugin = ground.plugin
    cases: list[tuple[str, str, int, str]] = [
        ("a marker", plugin("top", f"gone @ {url} ; python_version < '3'"), 0, ""),
        ("an extra", plugin("top", f"gone @ {url} ; extra == 'more'"), 0, ""),
        ("an index", lurking, 1, "gone"),
        ("the base has it", plugin("top", f"vllm @ {url}"), 1, "base has 0.33.0"),
        ("ignored", plugin("top", f"vllm @ {url}", more=", ignore: [vllm]"), 0, ""),
        ("two places", plugin("top", f"gone @ {url}", f"gone @ {other}"), 1, "another URL"),
        ("a plugin's", plugin("top", f"one @ {url}") + of_one, 1, "is it from elsewhere"),
        ("the same source", plugin("top", f"one @ git+{one}") + of_one, 0, ""),
        ("a folder", plugin("top", f"one @ file://{ground.folder}/one"), 1, "neither of a git repository"),
        ("a file of this machine", plugin("top", f"filed @ {filed}"), 0, "filed"),
        ("a variable", plugin("top", f"gone @ {url.replace('gone-1', '${HOME}gone-1')}"), 1, "holds a variable"),
        ("another kind", plugin("top", f"one @ hg+{one}"), 1, "hg"),
        (
            "an extra of an index",
            plugin("top", f"gone @ {url} ; extra == 'more'") + "  - {name: asking, source: pypi}\n",
            1,
            "`asking` cannot be resolved",
        ),
        (
            "optional",
            plugin("top", f"gone @ {url}x.whl", more=", optional: true") + plugin("fine"),
            0,
            "left out `top`",
        ),
    ]
    kit.wheel(ground.index.folder, "asking", requires=["top[more]"])
    violations = []
    for name, plugins, wanted, told in cases:
        code, said = ground.call("build", plugins)
        asked = [request.path for request in ground.server.requests]
        if code != wanted or told not in said or (asked and name != "optional"):
            violations.append(f"{name}: {code} {said[:700]} {asked}")
    code, said = ground.call("build", plugin("top", f"gone @ {url} ; extra == 'more'", more=", extras: [more]"))
    violations += [] if code == 0 and "gone" in ground.locked("gone") else [f"an extra that is asked for: {said}"]
    figure("S13", "URLs that do not count", count=len(cases) + 1, wanted=15, violations=violations)


def test_what_stands_in_a_marker_begins_no_header(ground: Ground, figure: Any) -> None:
    """Whatever is injected would be fetched and built by the resolver, which no policy sees."""
    ground.served("evil")
    evil = f"{ground.server.url.removesuffix('simple')}files/evil-1.0-py3-none-any.whl"
    far, injected = "https://files.example/far-1.0-py3-none-any.whl", f"Requires-Dist: evil @ {evil}"
    folded = (
        f"Metadata-Version: 2.1\nName: top\nVersion: 1.0\nRequires-Dist: demo ; os_name > 'a\n        {injected}'\n"
    )
    cases = {
        "a marker": ([rf"""far @ {far} ; platform_version > "~ extra == 'a\n{injected}\n\nx'" """], "", None, ""),
        "an extra": ([rf'far @ {far} ; os_name != "posix" and extra == "a\n{injected}\n\nx"'], "", None, ""),
        "a line feed by its number": ([rf'far @ {far} ; platform_version > "~\x0a{injected}"'], "", None, ""),
        "without its bound": ([rf'vllm>=9 ; python_version > "\n{injected}\n\n"'], ", ignore: [vllm]", None, ""),
        "a folded line": ([], "", folded, "several lines"),
    }
    violations = []
    for name, (requires, more, metadata, told) in cases.items():
        code, said = ground.call("build", ground.plugin("top", *requires, more=more, metadata=metadata))
        asked = [request.path for request in ground.server.requests]
        if code != bool(told) or told not in said or asked:
            violations.append(f"{name}: {code} {said[:700]} {asked}")
    figure("S13", "headers injected through requirements", count=len(cases), wanted=5, violations=violations)


def test_hashes_of_urls_are_looked_at_and_none_is_overlooked(ground: Ground, figure: Any) -> None:
    """Whoever serves the file: a server, this machine, or another plugin of the config."""
    path = kit.wheel(ground.folder / "hashed", "filed")
    filed, own = path.as_uri(), f"  - {{name: filed, source: local, path: {path}}}\n"
    right, wrong = sha256(path.read_bytes()).hexdigest(), "0" * 64
    served = ground.served("far")
    far = _sha256(ground, "far")
    plugin = ground.plugin
    fine = plugin("fine")
    cases: list[tuple[str, str, int, str]] = [
        ("a plugin serves it", plugin("top", f"filed @ {filed}#sha256={right}") + own, 0, ""),
        (
            "a plugin serves another",
            plugin("top", f"filed @ {filed}#sha256={wrong}") + own,
            1,
            "(for `top`) is refused",
        ),
        ("sha512", plugin("top", f"filed @ {filed}#sha512={wrong * 2}"), 1, "`sha512=`"),
        ("of a server", plugin("top", f"far @ {served}#md5={wrong[:32]}"), 1, "`md5=`"),
        ("two spellings", plugin("top", f"filed @ {filed}") + plugin("two", f"filed @ {filed}#sha256={right}"), 0, ""),
        ("the stricter", plugin("top", f"far @ {served}#sha256={wrong}") + plugin("two", f"far @ {served}"), 1, wrong),
        (
            "with an egg",
            plugin("top", f"far @ {served}#egg=far") + plugin("two", f"far @ {served}#sha256={far}"),
            0,
            "",
        ),
        (
            "two hashes",
            plugin("top", f"filed @ {filed}#sha256={wrong}") + plugin("two", f"filed @ {filed}#sha256={right}"),
            1,
            "another sha256",
        ),
        (
            "optional",
            plugin("top", f"filed @ {filed}#sha256={wrong}", more=", optional: true") + fine,
            0,
            "left out `top`",
        ),
        ("another name", plugin("top", f"other @ {filed}", more=", optional: true") + fine, 0, "left out `top`"),
    ]
    violations = []
    for name, plugins, wanted, told in cases:
        code, said = ground.call("build", plugins)
        violations += [] if code == wanted and told in said else [f"{name}: {code} {said[:700]}"]
    figure("S13", "hashes behind URLs of requirements", count=len(cases), wanted=10, violations=violations)


def test_nothing_is_asked_without_tls_where_no_index_is(ground: Ground, figure: Any) -> None:
    served = ground.served("far")
    git = served.replace(".whl", ".git")
    urls = {"a file": served, "a repository": f"git+{git}", "an sdist": served.replace("-py3-none-any.whl", ".tar.gz")}
    top = {name: ground.plugin("top", f"far @ {url}") for name, url in urls.items()}
    tls = ground.index.url.replace("http://", "https://")
    violations = []
    for name, plugins in top.items():
        for index, is_refused in ((tls, True), (ground.index.url, False)):
            ground.call("build", plugins)
            ground.vpm_env.config(f"index: {index}\nplugins:\n{plugins}")
            ground.server.requests.clear()
            _, said = ground.again("build --force")
            if ("without TLS" in said) != is_refused or (is_refused and ground.server.requests):
                violations.append(f"{name}: {index}: {said[:500]} {[each.path for each in ground.server.requests]}")
    figure("S13", "URLs of requirements without TLS", count=6, wanted=6, violations=violations)


def _sha256(ground: Ground, name: str) -> str:
    return sha256((ground.server.folder / f"{name}-1.0-py3-none-any.whl").read_bytes()).hexdigest()
