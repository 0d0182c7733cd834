"""The templates of `vpm-env template`: what each is for, how it quotes, and its blanks for a deployment."""

from __future__ import annotations

import shlex
from os.path import basename, dirname, isabs, join

from envbuilder import __version__, blanks, cluster
from envbuilder.blanks import Block
from envbuilder.errors import ProfileError
from envbuilder.paths import CONFIG_NAME, lock_name, template
from envbuilder.tuples import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Callable

    from envbuilder.blanks import Quote, Values
    from envbuilder.deployment import Deployment

_GPUS_OF_COMPOSE = """\
deploy:
      resources:
        reservations:
          devices:
            - {driver: nvidia, count: all, capabilities: [gpu]}"""
_LOCK_OF_COMPOSE = """\
- type: bind
        source: {source}
        target: {target}
        read_only: true
        bind:
          create_host_path: false"""
_KEEPS_LOCK = """\
# It gets the versions of {name}, or is not made. `--build-arg LOCKED=` chooses anew, for another engine's image.
ARG LOCKED=--locked"""
_PREFERS_LOCK = "# {name} says which versions, as far as they fit."
LOCK_NAME = lock_name(CONFIG_NAME)
"""The lock's name beside a config that is called as those in containers are."""


class Form(NamedTuple):
    """One template: its name, what it is in a few words, its file, and how it is filled in.

    `values` makes the blanks that are its own, `quote` quotes texts and `word` the words of commands.
    """

    name: str
    summary: str
    file: str
    values: Callable[[Deployment], Values]
    quote: Quote
    word: Quote


def render(form: Form, deployed: Deployment) -> str:
    """Return a template's text, filled in; raise `ProfileError` where it needs a current set and there is none."""
    values = {"form": form.name, **_of_all(deployed), **form.values(deployed)}
    return blanks.fill(template(f"deploy/{form.file}"), values, quote=form.quote, word=form.word)


def _of_all(deployed: Deployment) -> Values:
    return {
        "version": Block(__version__),
        "title": Block(deployed.title),
        "engine": deployed.engine,
        "app": f"{deployed.engine}-plugins",
        "name": f"{deployed.engine}-with-plugins",
        "package": Block(shlex.quote(deployed.package)),
        "config_name": Block(shlex.quote(basename(deployed.config_file) or CONFIG_NAME)),
        "config_variable": "VLLM_PLUGIN_CONFIG" if deployed.engine == "vllm" else "VPM_ENV_CONFIG",
        "config": _config_inside(deployed),
        "entry": deployed.entry,
        "arguments": deployed.arguments,
        "port": Block(str(deployed.port)),
        "health": deployed.health,
        "uid": Block(str(deployed.uid)),
    }


def _config_inside(deployed: Deployment) -> str:
    return f"/etc/{deployed.engine}/{CONFIG_NAME}"


def _dockerfile(deployed: Deployment) -> Values:
    base = f"ENV VPM_ENV_BASE={blanks.in_docker(deployed.base.python)}"
    chosen = f"ENV VPM_ENV_PROFILE={deployed.profile}"
    return {
        **_of_build(deployed),
        "default_image": Block(f"={blanks.in_docker(deployed.engine_image)}" if deployed.engine_image else ""),
        "sample": Block(shlex.join(deployed.arguments or ("--help",))),
        "base_setting": Block("" if deployed.is_known else base),
        "profile_setting": Block("" if _is_default(deployed) else chosen),
        "copies": Block("\n".join(_copies(deployed))),
    }


def _of_build(deployed: Deployment) -> Values:
    """Say how an image's set is built: with the lock, and with secrets that stay out of the image."""
    pins, names = deployed.lock, deployed.variables
    exact = pins is not None and pins.is_exact
    note = (_KEEPS_LOCK if exact else _PREFERS_LOCK).format(name=basename(pins.file)) if pins else ""
    read = [f'{name}="$(cat /run/secrets/{name})"; export {name}; \\' for name in names]
    return {
        "lock_setting": Block(note),
        "build": Block("vpm-env build $LOCKED" if exact else "vpm-env build"),
        "mounts": Block("".join(f"--mount=type=secret,id={name} " for name in names)),
        "read_secrets": Block("\n    ".join(read)),
        "secret_options": Block("".join(f"--secret id={name},env={name} " for name in names)),
        "variable_options": Block("".join(f"-e {name} " for name in dict.fromkeys(("HF_TOKEN", *names)))),
        "gpu_option": Block("--gpus all " if deployed.has_gpu else ""),
    }


def _copies(deployed: Deployment) -> list[str]:
    """Copy the config, and beside it what it takes from this machine."""
    inside, folder = _config_inside(deployed), dirname(deployed.config_file)
    pairs = [(basename(deployed.config_file) or CONFIG_NAME, inside)]
    if deployed.lock:
        pairs.append((basename(deployed.lock.file), join(dirname(inside), LOCK_NAME)))
    for source in deployed.sources:
        if source.target:
            inner = source.path.removeprefix(folder).lstrip("/") or "."
            pairs.append((inner, source.target if isabs(source.target) else join(dirname(inside), source.target)))
    return [f"COPY [{blanks.in_json(source)}, {blanks.in_json(target)}]" for source, target in pairs]


def _is_default(deployed: Deployment) -> bool:
    return deployed.profile == "default"


def _compose(deployed: Deployment, *, dockerfile: str = "Dockerfile", form: str = "dockerfile") -> Values:
    names = deployed.variables
    secrets = [f"\n  {name}: {{environment: {name}}}" for name in names]
    image = f"args: {{BASE_IMAGE: {blanks.in_compose_words(deployed.engine_image)}}}"
    return {
        "dockerfile": dockerfile,
        "dockerfile_form": form,
        "build_args": Block(image if deployed.engine_image else ""),
        "user": Block(f'"{deployed.uid}:0"'),
        "ports": Block(f'"{deployed.port}:{deployed.port}"'),
        "config_source": f"./{basename(deployed.config_file) or CONFIG_NAME}",
        "health": Block(blanks.in_compose_words(deployed.health)[1:-1]),
        "gpus": Block(_GPUS_OF_COMPOSE if deployed.has_gpu else ""),
        "init": Block("init: true  # ends what the engine leaves behind" if form == "dockerfile" else ""),
        "lock_bind": Block(_lock_bind(deployed)),
        "variables": Block("\n      ".join(f"{name}:" for name in names if name != "HF_TOKEN")),
        "build_secrets": Block(f"secrets: [{', '.join(names)}]" if names else ""),
        "secrets": Block("\nsecrets:" + "".join(secrets) if secrets else ""),
    }


def _lock_bind(deployed: Deployment) -> str:
    if deployed.lock is None:
        return ""
    source, target = f"./{basename(deployed.lock.file)}", join(dirname(_config_inside(deployed)), LOCK_NAME)
    return _LOCK_OF_COMPOSE.format(source=blanks.in_compose(source), target=blanks.in_compose(target))


def _compose_run(deployed: Deployment) -> Values:
    return _compose(deployed, dockerfile="Dockerfile.run", form="dockerfile-run")


def _kubernetes(deployed: Deployment) -> Values:
    return cluster.values(deployed, config=_config_inside(deployed))


def _systemd(deployed: Deployment) -> Values:
    health = ("--health", deployed.health, "--health-timeout", "30m", "--rollback")
    run = (*deployed.command, "run", *health, "--", *deployed.entry, *deployed.arguments)
    config = blanks.in_unit(f"VPM_ENV_CONFIG={deployed.config_file}")
    return {
        "user": deployed.owner,
        "home_setting": f"VPM_ENV_HOME={deployed.home}",
        "base_setting": f"VPM_ENV_BASE={deployed.base.python}",
        "profile_setting": f"VPM_ENV_PROFILE={deployed.profile}",
        "config_setting": Block(f"Environment={config}" if deployed.config_file else ""),
        "build": Block(_unit_command((*deployed.command, "build", "--auto"))),
        "run": Block(_unit_command(run)),
        "base_path": f"-{deployed.base.prefix}",
        "home_path": f"-{deployed.home}",
    }


def _unit_command(words: tuple[str, ...]) -> str:
    return " ".join(map(blanks.in_unit_words, words))


def _modulefile(deployed: Deployment) -> Values:
    now = deployed.generation
    if now is None:
        hint = "run `vpm-env build`, then ask again"
        raise ProfileError(f"profile `{deployed.profile}` has no current set, and a modulefile is of one", hint=hint)
    plugins = ", ".join(dict.fromkeys(plugin for _, _, plugin, *_ in now.packages if plugin))
    return {
        "generation": Block(str(now.number)),
        "profile": deployed.profile,
        "summary": f"{deployed.title} with {plugins or 'no plugins'} ({now.digest[:12]})",
        "base_scripts": deployed.base.scripts,
        "overlay": deployed.overlay,
        "overlay_scripts": join(deployed.overlay, "bin"),
        "pin": f"{deployed.base.key}:{now.digest}",
        "home": deployed.home,
        "python": deployed.base.python,
    }


FORMS = {
    form.name: form
    for form in (
        Form(
            "dockerfile",
            "an image whose engine builds its plugins before it starts, by the hook",
            "dockerfile",
            _dockerfile,
            blanks.in_docker,
            blanks.in_json,
        ),
        Form(
            "dockerfile-run",
            "an image whose engine is supervised by `vpm-env run`, without a hook",
            "dockerfile-run",
            _dockerfile,
            blanks.in_docker,
            blanks.in_json,
        ),
        Form(
            "compose",
            "a service of the image of `dockerfile`",
            "compose",
            _compose,
            blanks.in_compose,
            blanks.in_compose_words,
        ),
        Form(
            "compose-run",
            "a service of the image of `dockerfile-run`",
            "compose",
            _compose_run,
            blanks.in_compose,
            blanks.in_compose_words,
        ),
        Form(
            "kubernetes",
            "a ConfigMap, and a Deployment with an init container that builds",
            "kubernetes",
            _kubernetes,
            blanks.in_yaml,
            blanks.in_kubernetes_words,
        ),
        Form(
            "systemd",
            "a service of this machine, supervised by `vpm-env run`",
            "systemd",
            _systemd,
            blanks.in_unit,
            blanks.in_unit_words,
        ),
        Form(
            "modulefile",
            "the current set, for Environment Modules and Lmod",
            "modulefile",
            _modulefile,
            blanks.in_tcl,
            blanks.in_tcl,
        ),
    )
}
