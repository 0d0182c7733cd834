"""The Dockerfiles that `vpm-env template` makes, built and started: read-only, as nobody, with the volumes of clusters.

They are built on an image with a small Python that $VPM_ENV_TEST_IMAGE names: a Debian with `python3-venv` will do.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import kit
import pytest
import yaml
from kit import bases

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

pytestmark = pytest.mark.network

IMAGE = "VPM_ENV_TEST_IMAGE"
HOME = "/var/lib/vllm-plugins"
GROUP = "vllm.general_plugins"
MODEST = ("--runtime", "runc", "--ulimit", "nofile=1024:1024", "--ulimit", "nproc=4096:4096")
"""For hosts that let a container have no more than they have themselves."""
WHEEL = "import sys; from hatchling.build import build_wheel; print(build_wheel(sys.argv[1]))"
PIP = "[global]\nno-index = true\nfind-links = /wheels\n"
ENGINE = """\
FROM {image}
COPY *.whl /tmp/
RUN python3 -m venv /opt/engine && /opt/engine/bin/pip install --no-deps /tmp/*.whl && rm /tmp/*.whl
ENV PATH=/opt/engine/bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
"""
ASK = "import sys, urllib.request as r; print(r.urlopen(sys.argv[1], timeout=5).read().decode())"


@dataclass(frozen=True)
class Podman:
    """Podman on this host: what its containers need, the image to begin with, and wheels for what is built on it."""

    options: tuple[str, ...]
    image: str
    folder: Path
    made: list[str] = field(default_factory=list)
    volumes: list[str] = field(default_factory=list)

    def __call__(self, *words: str | Path, check: bool = True) -> subprocess.CompletedProcess[str]:
        done = subprocess.run(["podman", *map(str, words)], capture_output=True, text=True, timeout=600)
        assert not check or done.returncode == 0, f"{words}\n{done.stdout[-4000:]}\n{done.stderr[-4000:]}"
        return done

    def build(self, context: Path, tag: str, *words: str) -> str:
        """Build an image without a network: all there is are the wheels."""
        name = f"localhost/vpm-env-test-{os.getpid()}-{tag}"
        self.made.append(name)
        self(
            "build",
            *self.options,
            "--layers=false",
            "--network",
            "none",
            *self.wheels_inside,
            "--tag",
            name,
            *words,
            context,
        )
        return name

    def run(self, image: str, *words: str | Path, check: bool = True, command: tuple[str, ...] = ()) -> str:
        """Run a container on a root file system that is read-only, without a network; return what it said."""
        own = ("--rm", "--read-only", "--network", "none", "--tmpfs", "/tmp:exec", "--tmpfs", "/home/engine:mode=1777")
        done = self("run", *self.options, *own, *words, image, *command, check=check)
        return done.stdout + done.stderr

    @property
    def wheel(self) -> Path:
        """Return the wheel of vpm-env."""
        (found,) = self.folder.glob("vpm_env-*.whl")
        return found

    @property
    def wheels_inside(self) -> tuple[str, ...]:
        """Return the options by which a container has the wheels, and no other index."""
        wheels, pip = self.folder / "wheels", self.folder / "pip.conf"
        return ("--volume", f"{wheels}:/wheels:ro", "--volume", f"{pip}:/etc/pip.conf:ro")

    def volume(self, name: str) -> str:
        """Name a new volume."""
        self.volumes.append(f"vpm-env-test-{os.getpid()}-{name}-{len(self.volumes)}")
        return self.volumes[-1]

    @contextmanager
    def running(self, image: str, *words: str) -> Iterator[str]:
        """Start a container that serves, and remove it at the end."""
        own = (
            "--detach",
            "--read-only",
            "--network",
            "none",
            "--tmpfs",
            "/tmp:exec",
            "--tmpfs",
            "/home/engine:mode=1777",
        )
        container = self("run", *self.options, *own, *words, image).stdout.strip()
        try:
            yield container
        except BaseException:
            print(self("logs", container, check=False))
            raise
        finally:
            self("rm", "--force", "--time", "2", container)

    def ask(self, container: str, path: str) -> str:
        """Ask what it serves, as soon as it does."""
        deadline = time.monotonic() + 120
        words = ("exec", container, "python3", "-c", ASK, f"http://127.0.0.1:8000{path}")
        while (answer := self(*words, check=False)).returncode:
            assert time.monotonic() < deadline, answer.stderr
            assert self("inspect", "--format", "{{.State.Running}}", container).stdout.strip() == "true"
            time.sleep(0.2)
        return answer.stdout.strip()


@pytest.fixture(scope="module")
def podman(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Podman]:
    """Find podman and an image to build on; skip where there is none of either."""
    image = kit.MACHINE.get(IMAGE)
    if shutil.which("podman") is None:
        pytest.skip("no podman")
    if not image:
        pytest.skip(f"${IMAGE} names no image to build on")
    made = Podman(_options(image), image, tmp_path_factory.mktemp("podman"))
    try:
        _collect_wheels(made)
        yield made
    finally:
        for words in (("volume", "rm", "--force", *made.volumes), ("rmi", "--force", *made.made)):
            made(*words, check=False)


def _options(image: str) -> tuple[str, ...]:
    for options in ((), MODEST):
        words = ["podman", "run", "--rm", "--network", "none", *options, image, "true"]
        tried = subprocess.run(words, capture_output=True, text=True, timeout=120)
        if tried.returncode == 0:
            return options
    return pytest.skip(f"podman cannot run `{image}`: {(tried.stderr.strip().splitlines() or ['?'])[-1]}")


def _collect_wheels(podman: Podman) -> None:
    """Download what vpm-env and its builds require, for the Python of the image."""
    code = "import sys; print('%d.%d' % sys.version_info[:2])"
    version = podman.run(podman.image, command=("python3", "-c", code)).split()[0]
    folder = podman.folder / "wheels"
    folder.mkdir()
    (podman.folder / "pip.conf").write_text(PIP)
    own = wheel_of(kit.ROOT, podman.folder)
    words = ("--quiet", "--only-binary", ":all:", "--python-version", version, "--dest", folder)
    subprocess.run(
        [sys.executable, "-m", "pip", "download", *words, own, "hatchling", "setuptools", "wheel"],
        env={**os.environ, **kit.network_settings()}, check=True, timeout=300,
    )  # fmt: skip


def wheel_of(project: Path, folder: Path) -> Path:
    """Build the wheel of a project that is built by hatchling."""
    command = [sys.executable, "-c", WHEEL, str(folder)]
    done = subprocess.run(command, cwd=project, capture_output=True, text=True, check=True)
    return folder / done.stdout.split()[-1]


@dataclass(frozen=True)
class Built:
    """An image of a Dockerfile that vpm-env made."""

    image: str
    context: Path


def plugins(*names: str) -> str:
    entries = "".join(f"  - {{name: {name}, source: local, path: {path}}}\n" for name, path in map(found, names))
    links = "" if "path: plugin-" in entries else "find_links: [wheels]\n"
    return f"{links}plugins:\n{entries}"


def found(name: str) -> tuple[str, str]:
    """Return a plugin's name and path: a folder of the examples, or a wheel."""
    return name, name if name.startswith("plugin-") else f"wheels/{name}-1.0-py3-none-any.whl"


@pytest.fixture(scope="module")
def hooked(podman: Podman, tmp_path_factory: pytest.TempPathFactory) -> Built:
    """Build the image of `dockerfile`: a stand-in for vLLM, and a set of one plugin."""
    folder = tmp_path_factory.mktemp("hooked")
    files = {**bases._FAKE_VLLM, "vllm/version.py": "__version__ = '0.33.0'\n"}
    scripts = {"console_scripts": {"vllm": "vllm.cli:main"}}
    engine = kit.wheel(folder / "engine", "vllm", "0.33.0", files=files, entry_points=scripts)
    for name in ("one", "two"):
        modules = {f"{name}/__init__.py": "def register(): ...\n"}
        kit.wheel(folder / "context" / "wheels", name, files=modules, entry_points={GROUP: {name: f"{name}:register"}})
    return image_of("dockerfile", podman, folder, engine, plugins("one"))


@pytest.fixture(scope="module")
def supervised(podman: Podman, tmp_path_factory: pytest.TempPathFactory) -> Built:
    """Build the image of `dockerfile-run`: the tiny engine of the examples, and a set of two of its plugins."""
    folder = tmp_path_factory.mktemp("supervised")
    (folder / "engine").mkdir()
    (folder / "context" / "wheels").mkdir(parents=True)
    engine = wheel_of(kit.ROOT / "examples" / "tiny-engine", folder / "engine")
    for name in ("plugin-shout", "plugin-reverse"):
        shutil.copytree(kit.ROOT / "examples" / name, folder / "context" / name)
    words = ("--", "tiny-engine", "serve", "--port", "8000")
    return image_of("dockerfile-run", podman, folder, engine, plugins("plugin-shout", "plugin-reverse"), *words)


def image_of(template: str, podman: Podman, folder: Path, engine: Path, config: str, *served: str) -> Built:
    """Put an engine on the image to begin with, and a set on the engine by one of the templates, as its head says."""
    (folder / "engine" / "Containerfile").write_text(ENGINE.format(image=podman.image))
    below = podman.build(folder / "engine", f"engine-{template}")
    context = folder / "context"
    (context / "plugins.yaml").write_text(config)
    base = kit.base(folder / "base")
    kit.install(base, engine)
    vpm_env = kit.VpmEnv(home=folder / "home", folder=context, env=kit.clean_environment(folder)).use(base)
    dockerfile = context / "Dockerfile"
    inside = {"VPM_ENV_HOME": str(folder / "home")}
    vpm_env("template", template, "--image", below, "--output", dockerfile, *served, env=inside, check=True)
    text = dockerfile.read_text().replace(str(base.python), "/opt/engine/bin/python")
    dockerfile.write_text(text)
    shutil.copy(podman.wheel, context)
    return Built(podman.build(context, template, "--file", dockerfile), context)


def loaded(said: str) -> list[str]:
    """Return the plugins that the stand-in for vLLM loaded; it says so on one line of JSON."""
    (line,) = [line for line in said.splitlines() if line.startswith("{")]
    names: list[str] = json.loads(line)["loaded"]
    return sorted(set(names) - {"vpm_env_guard"})


def test_the_image_serves_what_it_was_built_with(podman: Podman, hooked: Built) -> None:
    said = podman.run(hooked.image)

    assert loaded(said) == ["one"]
    assert "switched" not in said


@pytest.mark.parametrize("way", ["the user's config", "the variable"])
def test_a_mounted_config_is_built_before_the_engine_starts(
    podman: Podman, hooked: Built, tmp_path: Path, way: str
) -> None:
    mine = tmp_path / "my-plugins.yaml"
    mine.write_text(plugins("one", "two"))
    target = "/root/.config/vllm/plugins.yaml" if way == "the user's config" else "/etc/vllm/mine.yaml"
    if way == "the variable":
        words = ("--env", f"VLLM_PLUGIN_CONFIG={target}", "--volume", f"{mine}:{target}:ro")
    else:
        words = ("--volume", f"{mine}:{target}:ro")
    volume = ("--volume", f"{podman.volume('plugins')}:{HOME}")
    first = podman.run(hooked.image, *words, *volume)
    second = podman.run(hooked.image, *words, *volume)

    assert loaded(first) == loaded(second) == ["one", "two"]
    assert "switched to generation 2" in first
    assert "switched" not in second


LAYOUTS = {
    # how the folder of a volume looks, and who comes to it
    "emptyDir": (0, 0, 0o777, ("--user", "1000:1000")),
    "fsGroup": (0, 2000, 0o2775, ("--user", "1000:1000", "--group-add", "2000")),
    "random uid": (0, 0, 0o775, ("--user", "1000660000:0")),
}


@pytest.mark.parametrize("layout", LAYOUTS)
def test_volumes_of_clusters(podman: Podman, hooked: Built, tmp_path: Path, layout: str) -> None:
    uid, gid, mode, words = LAYOUTS[layout]
    volume = tmp_path / "volume"
    volume.mkdir()
    os.chown(volume, uid, gid)
    volume.chmod(mode)
    mount = ("--volume", f"{volume}:{HOME}")

    assert loaded(podman.run(hooked.image, *words, *mount)) == ["one"]
    assert loaded(podman.run(hooked.image, *words, *mount)) == ["one"]
    assert (volume / "format").stat().st_uid == int(words[1].partition(":")[0])
    assert "all as they were made" in podman.run(
        hooked.image, *words, *mount, "--entrypoint", "vpm-env", command=("verify",)
    )


def test_a_home_of_root_is_read_by_others(podman: Podman, hooked: Built) -> None:
    for user in ("1000:1000", "1000:0", "0:0"):
        assert loaded(podman.run(hooked.image, "--user", user)) == ["one"]


def test_the_supervisor_serves_what_is_mounted_and_ends_with_the_container(
    podman: Podman, supervised: Built, tmp_path: Path
) -> None:
    mine = tmp_path / "my-plugins.yaml"
    mine.write_text(plugins("plugin-shout"))
    volume = f"{podman.volume('supervised')}:{HOME}"
    for words, answer in (((), "OLLEH!"), (("--volume", f"{mine}:/etc/tiny-engine/plugins.yaml:ro"), "HELLO!")):
        with podman.running(supervised.image, "--volume", volume, *words) as container:
            assert podman.ask(container, "/answer?hello") == answer
            first = podman("exec", container, "cat", "/proc/1/cmdline").stdout.split("\0")
            assert first[1].endswith("/vpm-env"), first
            podman("stop", "--time", "30", container)
            assert podman("inspect", "--format", "{{.State.ExitCode}}", container).stdout.strip() in ("0", "143")


def test_an_image_gets_the_versions_of_the_lock(podman: Podman, hooked: Built, tmp_path: Path) -> None:
    inside, engine = "/etc/vllm/pylock.plugins.toml", next(name for name in podman.made if "engine-dockerfile" in name)
    point = {GROUP: {"pinned": "pinned:register"}}
    modules = {"pinned/__init__.py": "def register(): ...\n"}
    kit.wheel(podman.folder / "wheels", "pinned", files=modules, entry_points=point)
    (tmp_path / "plugins.yaml").write_text("plugins: [{name: pinned, source: pypi}]\n")
    shutil.copy(podman.wheel, tmp_path)
    text = (hooked.context / "Dockerfile").read_text()
    lines = [line for line in text.splitlines() if not line.startswith("COPY [") or '["plugins.yaml"' in line]
    (tmp_path / "Dockerfile").write_text("\n".join(lines))
    first = podman.build(tmp_path, "unlocked")

    def said(image: str, *words: str) -> str:
        return podman.run(image, "--entrypoint", words[0], command=words[1:])

    (tmp_path / "pylock.plugins.toml").write_text(said(first, "cat", inside))
    (tmp_path / "Dockerfile").write_text(said(first, "vpm-env", "template", "dockerfile", "--image", engine))
    kit.wheel(podman.folder / "wheels", "pinned", "2.0", files=modules, entry_points=point)
    assert "ARG LOCKED=--locked\n" in (tmp_path / "Dockerfile").read_text()
    second = podman.build(tmp_path, "locked")
    sets = [said(image, "vpm-env", "path") for image in (first, second)]
    assert sets[0] == sets[1]
    bare = ("run", "--rm", *podman.options, "--network", "none", "--entrypoint", "sh")
    left = podman(*bare, second, "-c", f"ls -A /tmp /home/engine; ls {HOME}/cache").stdout.split()
    assert "uv" not in left
    assert [name for name in left if "downloads" in name or name.startswith(".")] == []


def flags_of(container: dict[str, Any], pod: dict[str, Any], folders: Path) -> list[str]:
    """Say to podman what a manifest says to a kubelet of one container."""
    who, confined = pod["securityContext"], container["securityContext"]
    assert (confined["readOnlyRootFilesystem"], confined["capabilities"]) == (True, {"drop": ["ALL"]})
    flags = ["--read-only", "--cap-drop", "all", "--security-opt", "no-new-privileges"]
    flags += ["--user", f"{who['runAsUser']}:{who['runAsGroup']}", "--group-add", str(who["fsGroup"])]
    flags += [word for entry in container["env"] for word in ("--env", f"{entry['name']}={entry['value']}")]
    for mount in container["volumeMounts"]:
        source = folders / mount["name"] / mount.get("subPath", "")
        flags += ["--volume", f"{source}:{mount['mountPath']}" + (":ro" if mount.get("readOnly") else "")]
    return [*flags, "--entrypoint", json.dumps(container["command"]), container["image"], *container.get("args", ())]


def test_a_pod_of_the_manifest_builds_and_serves(podman: Podman, supervised: Built, tmp_path: Path) -> None:
    served = ("--image", supervised.image, "--", "tiny-engine", "serve", "--port", "8000")
    text = podman.run(supervised.image, "--entrypoint", "vpm-env", command=("template", "kubernetes", *served))
    config, workload = yaml.safe_load_all(text)
    pod = workload["spec"]["template"]["spec"]
    for volume in pod["volumes"]:
        (tmp_path / volume["name"]).mkdir()
        (tmp_path / volume["name"]).chmod(0o777)
    for name, content in config["data"].items():
        (tmp_path / "config" / name).write_text(content)
    (build,), (engine,) = pod["initContainers"], pod["containers"]
    own = (*podman.options, "--network", "none", *podman.wheels_inside)

    assert "switched to generation 1" in podman("run", "--rm", *own, *flags_of(build, pod, tmp_path)).stderr
    container = podman("run", "--detach", *own, *flags_of(engine, pod, tmp_path)).stdout.strip()
    try:
        page = engine["readinessProbe"]["httpGet"]["path"]
        assert [podman.ask(container, path) for path in (page, "/answer?hello")] == ["ok", "OLLEH!"]
    finally:
        print(podman("logs", container, check=False))
        podman("rm", "--force", "--time", "2", container)
