"""What a template cannot do for a deployment, and is told with it."""

from __future__ import annotations

from os.path import basename
from typing import TYPE_CHECKING

from envbuilder import cluster
from envbuilder.heartbeat import Target
from envbuilder.paths import CONFIG_NAME

if TYPE_CHECKING:
    from collections.abc import Iterator

    from envbuilder.deployment import Deployment

IMAGES = ("dockerfile", "dockerfile-run")
COMPOSED = ("compose", "compose-run")
CLUSTER = "kubernetes"
_HERE = ("0.0.0.0", "127.0.0.1", "::1", "localhost")  # noqa: S104 (compared, not listened on)


def caveats(form: str, deployed: Deployment) -> Iterator[str]:
    """Yield a sentence for each thing that the template called `form` leaves to whoever uses it."""
    if form in (*IMAGES, *COMPOSED) and not deployed.config_file:
        yield f"no config was found: write a `{CONFIG_NAME}` beside the file, as `vpm-env init` does"
    if form in (*IMAGES, CLUSTER):
        yield from _of_sources(deployed)
        yield from _of_credentials(form, deployed)
        yield from _of_lock(form, deployed)
    if form in (*IMAGES, *COMPOSED) and deployed.is_known and not deployed.engine_image:
        yield f"no image is known that has {deployed.title}: name one with `--image`"
    if form == CLUSTER and (host := Target.of(deployed.health).host) not in _HERE:
        yield f"the probes ask the pod itself, not `{host}`"


def _of_sources(deployed: Deployment) -> Iterator[str]:
    for source in deployed.sources:
        if not source.target:
            yield f"the image will not have `{source.path}`: what it shall have is named relative to the config"


def _of_credentials(form: str, deployed: Deployment) -> Iterator[str]:
    if not deployed.has_credentials:
        return
    name = basename(deployed.config_file)
    is_struck = form == CLUSTER
    what = "are struck out: nothing can be had by them" if is_struck else "will stay in the image"
    way = f"write `${{NAME}}` in their place, and it comes from a {'Secret' if is_struck else 'build secret'}"
    yield f"the credentials in the URLs of `{name}` {what}; {way}"


def _of_lock(form: str, deployed: Deployment) -> Iterator[str]:
    pins = deployed.lock
    if pins is None:
        return
    if not pins.fits_base:
        yield f"`{pins.file}` was made for {pins.engine}: with {deployed.title} versions are chosen anew"
    elif not pins.fits_config:
        yield f"`{pins.file}` is older than the config: `vpm-env build` renews it"
    if form == CLUSTER and not cluster.lock_text(deployed):
        yield f"`{pins.file}` is too large for a ConfigMap: each pod chooses versions anew"
