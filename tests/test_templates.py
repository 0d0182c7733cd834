"""`vpm-env template`: what it writes is read back by the readers of each format, whatever paths and commands hold."""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import subprocess
from typing import TYPE_CHECKING, Any

import kit
import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st
from test_cli import on_terminal, piped

from envbuilder import blanks, caveats, cluster, config, deployment, forms, running, verbs_write
from envbuilder.errors import ProfileError, UsageError
from envbuilder.paths import Environment
from envbuilder.scope import Options, scope

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

GROUP = "vllm.general_plugins"
ODD = "a b$x$(y)%h\"q'[c]{d\\e;f"
"""A name that has a meaning in every format, and must not."""
LIST = """\
template        what it is
dockerfile      an image whose engine builds its plugins before it starts, by the hook
dockerfile-run  an image whose engine is supervised by `vpm-env run`, without a hook
compose         a service of the image of `dockerfile`
compose-run     a service of the image of `dockerfile-run`
kubernetes      a ConfigMap, and a Deployment with an init container that builds
systemd         a service of this machine, supervised by `vpm-env run`
modulefile      the current set, for Environment Modules and Lmod
"""
HINT = "\nhint: `vpm-env template NAME --output FILE` writes one, filled in for this engine and config\n"
PRINTABLE = st.text(st.characters(exclude_categories=["C", "Z"]) | st.just(" "), min_size=1)
LOCK = "pylock.plugins.toml"
WHEEL = "wheels/one-1.0-py3-none-any.whl"
HTTP = "http://127.0.0.1"


@pytest.fixture(scope="module")
def stand(tmp_path_factory: pytest.TempPathFactory) -> kit.VpmEnv:
    """Build a set of one plugin from a folder beside the config."""
    folder = tmp_path_factory.mktemp("templates")
    base = kit.base(folder / "base")
    kit.fake_vllm(base, "0.33.0+cu130")
    env = kit.clean_environment(folder)
    env |= {"VPM_ENV_HOME": str(folder / "home"), "UV_CACHE_DIR": str(folder / "uv"), "COLUMNS": "80"}
    (folder / "work").mkdir()
    vpm_env = kit.VpmEnv(home=folder / "home", folder=folder / "work", env=env).use(base)
    files = {"one/__init__.py": "def register(): ...\n"}
    kit.wheel(folder / "work" / "wheels", "one", files=files, entry_points={GROUP: {"one": "one:register"}})
    vpm_env.config(f"# what we serve\nplugins:\n  - {{name: one, source: local, path: {WHEEL}}}\n")
    vpm_env("build", "--offline", check=True)
    return vpm_env


def deployed(stand: kit.VpmEnv, *served: str, home: str | None = None, **options: Any) -> deployment.Deployment:
    """Gather the facts of the stand, with another home or command where a test wants one."""
    found = scope(Options(config=str(stand.folder / "plugins.yaml"), home=home), Environment(stand.env))
    return deployment.deployment(found, served=served, **options)


def rendered(stand: kit.VpmEnv, name: str, *served: str, **options: Any) -> str:
    return forms.render(forms.FORMS[name], deployed(stand, *served, **options))


def instructions(text: str) -> list[tuple[str, str]]:
    """Read a Dockerfile: its instructions, each in one line, and what stands behind them."""
    lines = [line for line in text.splitlines() if line and not line.startswith("#")]
    joined = "\n".join(lines).replace("\\\n", "").splitlines()
    return [(word, rest) for word, _, rest in (line.partition(" ") for line in joined)]


def settings(text: str) -> dict[str, list[str]]:
    """Read a unit: the values of each setting."""
    read: dict[str, list[str]] = {}
    for line in text.splitlines():
        if line and line[0] not in "#[":
            name, _, value = line.partition("=")
            read.setdefault(name, []).append(value)
    return read


def test_the_list(stand: kit.VpmEnv) -> None:
    assert piped(stand, "template") == (LIST, HINT)
    written = re.sub(r"\x1b\[[\d;]*m", "", on_terminal(stand, "template"))
    for form in forms.FORMS.values():
        assert form.name in written
        assert form.summary[:30] in written


def test_a_template_is_written_to_standard_output_or_to_a_new_file(stand: kit.VpmEnv, tmp_path: Path) -> None:
    file = tmp_path / "vllm.service"
    out, err = piped(stand, "template", "systemd")
    assert (out.startswith("# vllm 0.33.0+cu130 with plugins, supervised"), err) == (True, "")
    assert re.sub(r"\x1b\[[\d;]*m", "", on_terminal(stand, "template", "systemd")) == out

    written = stand("template", "systemd", "--output", file, check=True)
    assert (written.stdout, written.stderr) == ("", f"wrote `{file}`\n")
    file.write_text("mine")
    refused = stand("template", "systemd", "--output", file)
    assert (refused.exit, file.read_text()) == (2, "mine")
    assert refused.stderr == (
        f"error: `{file}` is there already, and stays as it is\n\nhint: `--force` writes over it\n"
    )
    stand("template", "systemd", "--output", file, "--force", check=True)
    assert file.read_text().startswith("# vllm 0.33.0+cu130")


@pytest.mark.parametrize("name", forms.FORMS)
def test_no_blank_is_left_and_nothing_is_written(stand: kit.VpmEnv, name: str) -> None:
    before = sorted(stand.folder.rglob("*"))
    text = rendered(stand, name)

    assert "@{" not in text
    assert text.endswith("\n")
    assert not re.search(r"[ \t]$", text, flags=re.MULTILINE)
    assert sorted(stand.folder.rglob("*")) == before


def test_dockerfile(stand: kit.VpmEnv) -> None:
    read = instructions(rendered(stand, "dockerfile"))
    words = dict(read)

    assert read[0] == ("ARG", "BASE_IMAGE=vllm/vllm-openai:v0.33.0")
    assert ("RUN", "vpm-env hook install --auto") in read
    assert [json.loads(rest) for word, rest in read if word == "COPY" and rest.startswith("[")] == [
        ["plugins.yaml", "/etc/vllm/plugins.yaml"],
        [LOCK, f"/etc/vllm/{LOCK}"],
        [WHEEL, f"/etc/vllm/{WHEEL}"],
    ]
    assert "VLLM_PLUGIN_CONFIG=/etc/vllm/plugins.yaml" in " ".join(rest for word, rest in read if word == "ENV")
    assert words["USER"] == "1000:0"
    assert json.loads(words["ENTRYPOINT"]) == ["vllm", "serve"]
    for word, rest in read:
        if word == "RUN":
            subprocess.run(["sh", "-n", "-c", rest], check=True)


def test_what_an_image_is_built_with_does_not_stay_in_it(stand: kit.VpmEnv) -> None:
    own = (kit.ROOT / "templates" / "Dockerfile").read_text()
    for text in (rendered(stand, "dockerfile"), rendered(stand, "dockerfile-run"), own):
        (build,) = [rest for word, rest in instructions(text) if word == "RUN" and "vpm-env build" in rest]
        before, after = build.split("vpm-env build", 1)
        assert "export UV_CACHE_DIR=" in before
        assert 'rm -rf "$UV_CACHE_DIR"' in after
        subprocess.run(["sh", "-n", "-c", build], check=True)


def test_dockerfile_run(stand: kit.VpmEnv) -> None:
    read = instructions(rendered(stand, "dockerfile-run", "my-server", ODD, "--port", "9000"))
    shell, option, script, *words = json.loads(dict(read)["ENTRYPOINT"])

    assert not [rest for _, rest in read if "hook" in rest]
    assert ("ENV", f"HEALTH_URL={HTTP}:9000/health") in read
    assert (shell, option, words) == ("/bin/sh", "-c", ["serve", "my-server", ODD, "--port", "9000"])
    code = f'vpm-env() {{ printf "%s|" "$@"; }}; exec() {{ "$@"; }}; HEALTH_URL=URL; {script}'
    said = subprocess.run(["bash", "-c", code, *words], capture_output=True, text=True, check=True).stdout
    run = ("run", "--health", "URL", "--health-timeout", "30m", "--rollback", "--", *words[1:])
    assert said == "|".join(("build", "--auto", *run, ""))


@pytest.mark.parametrize(("name", "dockerfile"), [("compose", "Dockerfile"), ("compose-run", "Dockerfile.run")])
def test_compose(stand: kit.VpmEnv, name: str, dockerfile: str) -> None:
    read = yaml.safe_load(rendered(stand, name))
    engine = read["services"]["engine"]
    binds = [volume for volume in engine["volumes"] if isinstance(volume, dict)]

    assert engine["build"] == {
        "context": ".",
        "dockerfile": dockerfile,
        "args": {"BASE_IMAGE": "vllm/vllm-openai:v0.33.0"},
    }
    assert (engine["user"], engine["read_only"], engine["tmpfs"]) == ("1000:0", True, ["/tmp:exec"])
    assert [(bind["source"], bind["target"], bind["read_only"]) for bind in binds] == [
        ("./plugins.yaml", "/etc/vllm/plugins.yaml", True),
        (f"./{LOCK}", f"/etc/vllm/{LOCK}", True),
    ]
    assert "plugins:/var/lib/vllm-plugins" in engine["volumes"]
    assert set(read["volumes"]) == {"plugins", "cache"}
    assert compile(engine["healthcheck"]["test"][-1], "healthcheck", "exec")
    assert (engine["ports"], engine["command"]) == (["8000:8000"], ["MODEL"])


def test_kubernetes(stand: kit.VpmEnv) -> None:
    config, workload = yaml.safe_load_all(rendered(stand, "kubernetes"))
    pod = workload["spec"]["template"]["spec"]
    (build,), (engine,) = pod["initContainers"], pod["containers"]

    assert [config["kind"], workload["kind"]] == ["ConfigMap", "Deployment"]
    assert config["data"]["plugins.yaml"] == (stand.folder / "plugins.yaml").read_text()
    labels = workload["spec"]["template"]["metadata"]["labels"]
    assert workload["spec"]["selector"]["matchLabels"].items() <= labels.items()
    security = pod["securityContext"]
    assert (security["runAsNonRoot"], security["runAsUser"], security["fsGroup"]) == (True, 1000, 1000)
    assert build["command"] == ["vpm-env", "build"]
    run = ["vpm-env", "run", "--health", f"{HTTP}:8000/health", "--health-timeout", "25m", "--rollback", "--"]
    assert engine["command"] == [*run, "vllm", "serve"]
    assert workload["spec"]["strategy"] == {"type": "Recreate"}
    for container in (build, engine):
        assert container["securityContext"]["readOnlyRootFilesystem"] is True
        assert container["securityContext"]["capabilities"] == {"drop": ["ALL"]}
        assert {mount["name"] for mount in container["volumeMounts"]} == {volume["name"] for volume in pod["volumes"]}
        variables = {entry["name"]: entry["value"] for entry in container["env"]}
        assert variables["VLLM_PLUGIN_CONFIG"] == "/etc/vllm/plugins.yaml"  # where the image has what the config names
        mounted = {mount["mountPath"]: mount.get("subPath") for mount in container["volumeMounts"]}
        assert mounted["/etc/vllm/plugins.yaml"] == "plugins.yaml"
        assert mounted[f"/etc/vllm/{LOCK}"] == LOCK
    assert engine["ports"] == [{"name": "http", "containerPort": 8000}]
    for probe in ("startupProbe", "readinessProbe", "livenessProbe"):
        assert engine[probe]["httpGet"] == {"path": "/health", "port": "http"}
        assert engine[probe]["timeoutSeconds"] == 5
    assert config["data"][LOCK] == (stand.folder / LOCK).read_text()
    assert engine["envFrom"] == [{"secretRef": {"name": "vllm-plugins", "optional": True}}]


def test_systemd(stand: kit.VpmEnv, tmp_path: Path) -> None:
    text = rendered(stand, "systemd", "vllm", "serve", ODD, "--port=9000", health=f"{HTTP}:9000/ready")
    read = settings(text)
    (command,) = read["ExecStart"]
    words = [word.replace("$$", "$").replace("%%", "%") for word in shlex.split(command)]

    run = ["run", "--health", f"{HTTP}:9000/ready", "--health-timeout", "30m", "--rollback", "--"]
    assert words[words.index("run") :] == [*run, "vllm", "serve", ODD, "--port=9000"]
    assert {f"VPM_ENV_HOME={stand.home}", f"VPM_ENV_CONFIG={stand.folder / 'plugins.yaml'}"} <= set(read["Environment"])
    assert (read["KillMode"], read["Restart"]) == (["mixed"], ["on-failure"])
    assert read["User"] == [stand.home.owner()]
    if shutil.which("systemd-analyze") is None:
        pytest.skip("no systemd-analyze")
    unit = tmp_path / "vllm-plugins.service"
    unit.write_text(text)
    done = subprocess.run(["systemd-analyze", "verify", unit], capture_output=True, text=True)
    assert [line for line in done.stderr.splitlines() if unit.name in line] == []


MODULE = """
foreach name {module-whatis conflict setenv unsetenv prepend-path} {
    proc $name args [string map [list NAME $name] {puts [list NAME {*}$args]}]
}
source [lindex $argv 0]
"""


def tcl(code: str, *words: str | Path) -> list[str]:
    """Run Tcl, and return the lines that it wrote."""
    shell = shutil.which("tclsh") or pytest.skip("no tclsh")
    done = subprocess.run([shell, "-", *words], input=code, capture_output=True, text=True, check=True)
    return done.stdout.splitlines()


def test_modulefile(stand: kit.VpmEnv, tmp_path: Path) -> None:
    known = deployed(stand)
    (tmp_path / "module").write_text(forms.render(forms.FORMS["modulefile"], known))
    done = tcl(f"set argv [list {{{tmp_path / 'module'}}}]\n{MODULE}")

    assert known.generation
    pin = f"{known.base.key}:{known.generation.digest}"
    wanted = running.environment_for(known.overlay, known.base.scripts, pin, {"PATH": "/bin"})
    path = [line.split(" ", 2)[2] for line in done if line.startswith("prepend-path PATH ")]
    assert [*reversed(path), "/bin"] == wanted["PATH"].split(":")
    variables = dict(line.split(" ", 2)[1:] for line in done if line.startswith("setenv "))
    assert variables.items() >= {"VIRTUAL_ENV": wanted["VIRTUAL_ENV"], "VPM_ENV_PIN": pin}.items()
    assert any(line.startswith("module-whatis {vllm 0.33.0+cu130 with one (") for line in done)


def test_a_modulefile_is_of_a_set(stand: kit.VpmEnv, tmp_path: Path) -> None:
    with pytest.raises(ProfileError, match="has no current set") as caught:
        rendered(stand, "modulefile", home=str(tmp_path / "empty"))
    assert caught.value.hint


@given(PRINTABLE)
def test_what_yaml_reads_is_what_was_meant(text: str) -> None:
    assert yaml.safe_load(f"[{blanks.in_json(text)}]") == [text]
    assert yaml.safe_load(f"key: {blanks.in_yaml(text)}") == {"key": text}
    assert yaml.safe_load(f"key: {blanks.in_compose(text)}")["key"].replace("$$", "$") == text


@given(PRINTABLE)
def test_what_a_unit_and_a_dockerfile_read_is_what_was_meant(text: str) -> None:
    assert shlex.split(blanks.in_unit(text)) == [text.replace("%", "%%")]
    assert shlex.split(blanks.in_unit_words(text)) == [text.replace("%", "%%").replace("$", "$$")]
    quoted = blanks.in_docker(text)
    assert (re.sub(r'\\(["\\$])', r"\1", quoted[1:-1]) if quoted.startswith('"') else quoted) == text
    assert "$" not in re.sub(r"\\.", "", quoted)


@pytest.mark.parametrize("text", [ODD, "plain", "{", "}", '"', "\\", "[exit 1]", "$argv", "a;b", "#x"])
def test_what_tcl_reads_is_what_was_meant(text: str) -> None:
    quoted = blanks.in_tcl(text)

    assert tcl(f"proc told {{}} {{\n puts {quoted}\n}}\ntold\nputs {quoted}\n") == [text, text]


def test_texts_of_configs_come_through_kubernetes_as_they_are(stand: kit.VpmEnv) -> None:
    for text in (
        "plugins: []\n",
        "plugins: []",
        "\n\nplugins: []\n",
        "  plugins: []\n",
        "a: 1\r\n",
        "a: 1\n\n",
        "\ta\n",
    ):
        assert yaml.safe_load(f"data:\n  plugins.yaml: {cluster.literal(text)}\n") == {"data": {"plugins.yaml": text}}


def test_credentials_stay_at_home(stand: kit.VpmEnv, tmp_path: Path) -> None:
    text = "index: https://user:passphrase@index.example/simple\nplugins: []\n"
    config = tmp_path / "plugins.yaml"
    config.write_text(text)
    found = scope(Options(config=str(config)), Environment(stand.env))

    assert "passphrase" not in forms.render(forms.FORMS["kubernetes"], deployment.deployment(found, served=()))


def test_an_image_has_what_is_below_the_config_and_the_rest_is_told(stand: kit.VpmEnv, tmp_path: Path) -> None:
    (tmp_path / "in" / "links").mkdir(parents=True)
    config = tmp_path / "in" / "plugins.yaml"
    paths = {"out": "../out", "inner": "./sub/../inner", "far": f"{tmp_path}/in/far"}
    entries = "".join(f"  - {{name: {name}, source: local, path: {path}}}\n" for name, path in paths.items())
    config.write_text(f"find_links: [links]\nplugins:\n{entries}")
    known = deployment.deployment(scope(Options(config=str(config)), Environment(stand.env)), served=())
    read = instructions(forms.render(forms.FORMS["dockerfile"], known))

    assert [source.path for source in known.sources if not source.target] == [str(tmp_path / "out")]
    assert [json.loads(rest) for word, rest in read if word == "COPY" and rest.startswith("[")] == [
        ["plugins.yaml", "/etc/vllm/plugins.yaml"],
        ["inner", "/etc/vllm/inner"],
        ["far", f"{tmp_path}/in/far"],
        ["links", "/etc/vllm/links"],
    ]


@pytest.mark.parametrize(
    ("words", "port"),
    [
        (("s", "--port", "9"), 9),
        (("s", "--port=9"), 9),
        (("s", "--port", "x"), 8000),
        (("s", "--port"), 8000),
        (("s", "--port", "70000"), 8000),
    ],
)
def test_the_port_is_the_commands(stand: kit.VpmEnv, words: Sequence[str], port: int) -> None:
    assert deployed(stand, *words).health == f"{HTTP}:{port}/health"


def test_other_choices(stand: kit.VpmEnv) -> None:
    chosen = deployed(stand, image="registry.example/vllm:1", uid=0)

    assert (chosen.owner, chosen.uid, chosen.engine_image) == ("root", 0, "registry.example/vllm:1")
    assert "image: registry.example/vllm:1\n" in forms.render(forms.FORMS["kubernetes"], chosen)
    assert "ARG BASE_IMAGE=registry.example/vllm:1\n" in forms.render(forms.FORMS["dockerfile"], chosen)


def test_an_engine_that_nobody_knows_needs_a_command(stand: kit.VpmEnv, tmp_path: Path) -> None:
    base = kit.base(tmp_path / "bare")
    env = Environment({**stand.env, "VPM_ENV_BASE": str(base.python)})
    found = scope(Options(), env)

    with pytest.raises(UsageError, match="has no engine that vpm-env knows how to start") as caught:
        deployment.deployment(found, served=())
    assert "--" in str(caught.value.hint)
    text = forms.render(forms.FORMS["dockerfile"], deployment.deployment(found, served=("/x/My Server", "--fast")))
    assert f"ENV VPM_ENV_BASE={base.python}\n" in text
    assert "ARG BASE_IMAGE\n" in text
    assert "/etc/my-server/plugins.yaml" in text
    assert "nvidia" not in forms.render(
        forms.FORMS["compose"], deployment.deployment(found, served=("/x/My Server", "--fast"))
    )


def test_what_an_image_will_not_have_is_a_warning(stand: kit.VpmEnv, tmp_path: Path) -> None:
    config = tmp_path / "plugins.yaml"
    config.write_text("plugins:\n  - {name: out, source: local, path: ../out}\n")
    done = stand("template", "dockerfile", "--config", config, check=True)

    out = tmp_path.parent / "out"
    assert done.stderr == (
        f"warning: the image will not have `{out}`: what it shall have is named relative to the config\n"
    )


def of_config(stand: kit.VpmEnv, folder: Path, text: str, lock: str = "", **options: Any) -> deployment.Deployment:
    """Gather the facts of the stand's base with another config, and a lock beside it."""
    (folder / "plugins.yaml").write_text(text)
    if lock:
        (folder / LOCK).write_text(lock)
    env = Environment({**stand.env, "HOME": str(folder / "home")})
    return deployment.deployment(scope(Options(config=str(folder / "plugins.yaml")), env), served=(), **options)


def lock_of(stand: kit.VpmEnv, known: deployment.Deployment, **changes: str) -> str:
    """Return the stand's lock as that of another config, or base."""
    text = (stand.folder / LOCK).read_text()
    assert known.config_file
    digest = config.read(known.config_file, env=Environment(stand.env)).digest
    text = re.sub(r"^config-digest = .*$", f'config-digest = "{digest}"', text, flags=re.MULTILINE)
    for name, value in changes.items():
        text = re.sub(rf'\b{name} = "[^"]*"', f'{name} = "{value}"', text)
    return text


def test_an_image_is_built_to_the_letter_of_a_lock_that_can_be_kept_there(stand: kit.VpmEnv, tmp_path: Path) -> None:
    plain = "plugins: [{name: one, source: pypi}]\n"
    known = of_config(stand, tmp_path, plain)
    exact, other = lock_of(stand, known), lock_of(stand, known, prefix="/x", engine_version="0.32.0")
    for text, lock, is_exact, told in (
        (plain, "", False, ""),
        (plain, exact, True, ""),
        (plain + "# new\n", exact, True, ""),
        (plain.replace("one", "two"), exact, False, "is older than the config"),
        (plain, other, False, "was made for vllm 0.32.0 cpython-"),
    ):
        known = of_config(stand, tmp_path, text, lock)
        for name in ("dockerfile", "dockerfile-run"):
            read = instructions(forms.render(forms.FORMS[name], known))
            assert (("ARG", "LOCKED=--locked") in read) is is_exact
            assert any("vpm-env build $LOCKED;" in rest for _, rest in read) is is_exact
        said = " ".join(caveats.caveats("dockerfile", known))
        assert (told in said, bool(told)) == (True, bool(said))
    here = deployed(stand)  # its wheel is another file in the image than the lock says
    assert here.lock
    assert (here.lock.fits_base, here.lock.fits_config, here.lock.is_exact) == (True, True, False)


def test_a_lock_too_large_for_a_config_map_stays_out_of_it(stand: kit.VpmEnv, tmp_path: Path) -> None:
    text = (stand.folder / LOCK).read_text()
    large = re.sub("^facts = .*$", f'facts = {{ x = "{"x" * 1_000_000}" }}', text, flags=re.MULTILINE)
    known = of_config(stand, tmp_path, "plugins: []\n", large)

    assert LOCK not in next(yaml.safe_load_all(forms.render(forms.FORMS["kubernetes"], known)))["data"]
    assert "too large for a ConfigMap" in " ".join(caveats.caveats("kubernetes", known))


def test_secrets_come_by_variables_and_stay_in_no_file(stand: kit.VpmEnv, tmp_path: Path) -> None:
    text = "index: 'https://${INDEX_TOKEN}@index.example/simple'\nplugins: []\n"
    known = of_config(stand, tmp_path, text)
    builds = [rest for word, rest in instructions(forms.render(forms.FORMS["dockerfile"], known)) if "build" in rest]
    service = yaml.safe_load(forms.render(forms.FORMS["compose"], known))
    pod = [*yaml.safe_load_all(forms.render(forms.FORMS["kubernetes"], known))][1]["spec"]["template"]["spec"]

    (mount, _, script), found = builds[-1].partition(" "), tmp_path / "INDEX_TOKEN"
    assert mount == "--mount=type=secret,id=INDEX_TOKEN"
    subprocess.run(["sh", "-n", "-c", script], check=True)
    found.write_text("secret")
    head = script[: script.index("export UV_CACHE_DIR")].replace("/run/secrets/", f"{tmp_path}/")
    assert subprocess.check_output(["sh", "-c", f"{head} printenv INDEX_TOKEN"], text=True) == "secret\n"
    assert service["services"]["engine"]["build"]["secrets"] == ["INDEX_TOKEN"]
    assert service["secrets"] == {"INDEX_TOKEN": {"environment": "INDEX_TOKEN"}}
    assert service["services"]["engine"]["environment"]["INDEX_TOKEN"] is None
    assert pod["initContainers"][0]["envFrom"] == [{"secretRef": {"name": "vllm-plugins-build"}}]
    assert [*caveats.caveats("kubernetes", known)] == []

    struck = of_config(stand, tmp_path, text.replace("${INDEX_TOKEN}", "user:word"))
    assert "word" not in forms.render(forms.FORMS["kubernetes"], struck)
    assert "are struck out" in " ".join(caveats.caveats("kubernetes", struck))
    assert "will stay in the image" in " ".join(caveats.caveats("dockerfile", struck))


def test_probes_ask_what_health_says(stand: kit.VpmEnv) -> None:
    def asked(health: str) -> tuple[Any, str]:
        known = deployed(stand, health=health)
        pod = [*yaml.safe_load_all(forms.render(forms.FORMS["kubernetes"], known))][1]["spec"]["template"]["spec"]
        (engine,) = pod["containers"]
        assert engine["startupProbe"]["httpGet"] == engine["livenessProbe"]["httpGet"]
        return engine["readinessProbe"]["httpGet"], " ".join(caveats.caveats("kubernetes", known))

    page = {"path": "/ready?x=1", "port": 9, "scheme": "HTTPS"}
    assert asked("https://h:9/ready?x=1") == (page, "the probes ask the pod itself, not `h`")
    assert asked(f"{HTTP}/") == ({"path": "/", "port": 80}, "")
    for wrong in ("http+unix://%2Frun%2Fx/health", "ftp://x/", "http://x:99999/"):
        with pytest.raises(UsageError):
            asked(wrong)


def test_root_is_not_asked_to_be_nobody(stand: kit.VpmEnv) -> None:
    for uid in (0, 1000):
        pod = [*yaml.safe_load_all(rendered(stand, "kubernetes", uid=uid))][1]["spec"]["template"]["spec"]
        assert (pod["securityContext"]["runAsUser"], pod["securityContext"]["runAsNonRoot"]) == (uid, uid != 0)


def test_an_engine_for_other_devices_gets_no_gpus_and_no_image_for_them(tmp_path: Path) -> None:
    folder = tmp_path / "cpu"
    base = kit.base(folder)
    kit.fake_vllm(base, "0.33.0+cpu")
    env = {**kit.clean_environment(tmp_path), "VPM_ENV_HOME": str(tmp_path / "home"), "VPM_ENV_BASE": str(base.python)}
    known = deployment.deployment(scope(Options(), Environment(env)), served=())

    assert (known.has_gpu, known.engine_image) == (False, "")
    for name in ("dockerfile", "compose", "kubernetes"):
        text = forms.render(forms.FORMS[name], known)
        assert not re.search("--gpus|nvidia", text)
    said = " ".join(caveats.caveats("dockerfile", known))
    assert "no image is known that has vllm 0.33.0+cpu" in said
    assert "no config was found" in said


def test_what_is_written_over_stays_what_it_was(stand: kit.VpmEnv, tmp_path: Path) -> None:
    file, link, pipe, folder = (tmp_path / name for name in ("file", "link", "pipe", "folder"))
    file.write_text("mine")
    file.chmod(0o600)
    link.symlink_to("file")
    folder.mkdir()
    os.mkfifo(pipe)
    verbs_write._write(str(link), "new\n", force=True)
    assert (link.is_symlink(), file.read_text(), file.stat().st_mode & 0o777) == (True, "new\n", 0o600)
    with subprocess.Popen(["cat", pipe], stdout=subprocess.PIPE, text=True) as reader:
        verbs_write._write(str(pipe), "piped\n", force=False)
        assert reader.communicate()[0] == "piped\n"
    assert pipe.is_fifo()
    with pytest.raises(UsageError, match="is no file"):
        verbs_write._write(str(folder), "new\n", force=True)
    verbs_write._write(os.devnull, "gone\n", force=False)
    (tmp_path / "dangling").symlink_to("there")
    verbs_write._write(str(tmp_path / "dangling"), "new\n", force=True)
    assert (tmp_path / "there").read_text() == "new\n"


@pytest.mark.long
@pytest.mark.parametrize(
    ("words", "message", "hint"),
    [
        (("dokerfile",), "there is no template `dokerfile`", "did you mean `dockerfile`?"),
        (("zzz",), "there is no template `zzz`", "there are dockerfile, dockerfile-run, compose"),
        (("systemd", "--uid", "x"), "`x` is no number", ""),
        (("compose", "--uid", "2147483648"), "is no uid that a container may have", "at most 2147483647"),
        (("systemd", "--output", "/nowhere/x"), "`/nowhere/x` cannot be written: No such file or directory", ""),
        (("systemd", "--home", "/a\nb"), "cannot stand in a template", ""),
    ],
)
def test_mistakes(stand: kit.VpmEnv, words: Sequence[str], message: str, hint: str) -> None:
    done = stand("template", *words)

    assert done.exit == 2
    assert message in done.stderr
    assert hint in done.stderr
