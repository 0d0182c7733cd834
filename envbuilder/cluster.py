"""The blanks of the Kubernetes template: what goes into the ConfigMap, and whom the probes ask."""

from __future__ import annotations

from os.path import dirname, join
from typing import TYPE_CHECKING

from envbuilder import blanks
from envbuilder.blanks import Block
from envbuilder.errors import UsageError
from envbuilder.heartbeat import Target
from envbuilder.paths import CONFIG_NAME, lock_name

if TYPE_CHECKING:
    from envbuilder.blanks import Values
    from envbuilder.deployment import Deployment

_GPUS = """\
resources:
            limits: {nvidia.com/gpu: 1}"""
_LOCK = lock_name(CONFIG_NAME)
_ROOM = 1_000_000
"""Bytes that a ConfigMap surely holds; it may have 1 MiB in all."""


def values(deployed: Deployment, *, config: str) -> Values:
    """Return the blanks; `config` is where the image has its config, and what the config takes from beside it."""
    base = f"- {{name: VPM_ENV_BASE, value: {blanks.in_json(deployed.base.python)}}}"
    chosen = f"- {{name: VPM_ENV_PROFILE, value: {blanks.in_json(deployed.profile)}}}"
    lock = lock_text(deployed)
    mounted = f"- {{name: config, mountPath: {join(dirname(config), _LOCK)}, subPath: {_LOCK}, readOnly: true}}"
    return {
        "image": deployed.image or f"{deployed.engine}-with-plugins:latest",
        "health_word": (deployed.health,),
        "probe": Block(f"httpGet: {{{_asked(deployed)}}}"),
        "is_nobody": Block("false" if deployed.uid == 0 else "true"),
        "config_text": Block(literal(deployed.config_text or "plugins: []\n")),
        "lock_data": Block(f"{_LOCK}: {literal(lock)}" if lock else ""),
        "lock_mount": Block(mounted if lock else ""),
        "base_env": Block("" if deployed.is_known else base),
        "profile_env": Block("" if deployed.profile == "default" else chosen),
        "build_secret": Block(_build_secret(deployed)),
        "build_secret_command": Block(_build_secret_command(deployed)),
        "gpus": Block(_GPUS if deployed.has_gpu else ""),
    }


def lock_text(deployed: Deployment) -> str:
    """Return the lock that goes into the ConfigMap; "" where there is none, or no room for it."""
    text = deployed.lock.text if deployed.lock else ""
    return text if len((text + deployed.config_text).encode()) <= _ROOM else ""


def _asked(deployed: Deployment) -> str:
    """Say what the kubelet asks of the pod: path and query, port and scheme of the health URL."""
    target = Target.of(deployed.health)
    if target.socket_path:
        raise UsageError(
            f"no kubelet can ask `{deployed.health}`", hint="name a port: `--health http://127.0.0.1:8000/`"
        )
    port = target.port or (443 if target.is_secret else 80)
    shown = "http" if port == deployed.port else str(port)
    scheme = ", scheme: HTTPS" if target.is_secret else ""
    return f"path: {blanks.in_json(target.path)}, port: {shown}{scheme}"


def _build_secret(deployed: Deployment) -> str:
    return f"envFrom: [{{secretRef: {{name: {deployed.engine}-plugins-build}}}}]" if deployed.variables else ""


def _build_secret_command(deployed: Deployment) -> str:
    words = " ".join(f'--from-literal={name}="${name}"' for name in deployed.variables)
    return f"#   kubectl create secret generic {deployed.engine}-plugins-build {words}" if words else ""


def literal(text: str) -> str:
    """Write a text as a literal block of YAML, or on one line where a block would change it."""
    lines = text.removesuffix("\n").split("\n")
    is_plain = text.endswith("\n") and lines[0].strip() and lines[-1].strip() and not lines[0].startswith(" ")
    if not is_plain or not all(line.replace("\t", "").isprintable() for line in lines):
        return blanks.in_json(text)
    return "|\n" + "\n".join(f"    {line}" if line else "" for line in lines)
