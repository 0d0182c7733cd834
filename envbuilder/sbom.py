"""A set as a software bill of materials: CycloneDX 1.6, the same bytes for the same generation.

Listed are the packages of the set, and the base's distributions that it relies on: those as `excluded`, because the
set does not bring them. Whatever could be a credential is left out.
"""

from __future__ import annotations

import uuid
from email.parser import HeaderParser
from os.path import join
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, urlsplit, urlunsplit

from envbuilder import __version__, store
from envbuilder.errors import PackageError
from envbuilder.graph import graph_of
from envbuilder.revision import manifest_of

if TYPE_CHECKING:
    from collections.abc import Iterator
    from email.message import Message

    from envbuilder.base import Base
    from envbuilder.config import Config
    from envbuilder.manifest import Manifest, Member
    from envbuilder.package import Package
    from envbuilder.paths import Layout
    from envbuilder.revision import Revision

SPECIFICATION = "1.6"
_SCHEMA = f"http://cyclonedx.org/schema/bom-{SPECIFICATION}.schema.json"
_ALGORITHMS = {"md5": "MD5", "sha1": "SHA-1", "sha256": "SHA-256", "sha384": "SHA-384", "sha512": "SHA-512"}
_OURS = "vpm-env:"
_LICENSE_CLASSIFIER = "License :: "
_LONGEST_NAME = 120
"""Some put the whole text where its name should stand."""


def sbom(found: Revision, base: Base, config: Config | None) -> dict[str, Any]:
    """Return the bill of a generation; `config` is what it was built from, for the extras it names.

    Raise `ProfileError` where its overlay is not on disk, `PackageError` where a package of it is damaged.
    """
    manifest = manifest_of(found)
    layout = found.profile.layout
    packages = {member.name: _package(layout, member) for member in manifest.members}
    members = sorted(manifest.members, key=lambda member: member.name)
    return {
        "$schema": _SCHEMA,
        "bomFormat": "CycloneDX",
        "specVersion": SPECIFICATION,
        "serialNumber": f"urn:uuid:{uuid.uuid5(uuid.NAMESPACE_OID, manifest.digest)}",
        "version": 1,
        "metadata": {
            "timestamp": found.generation.created,
            "tools": {"components": [{"type": "application", "name": "vpm-env", "version": __version__}]},
            "component": _root(manifest),
        },
        "components": [
            *(_component(member, packages[member.name], layout) for member in members),
            *(_of_base(name, version) for name, version in sorted(_relied_on(manifest).items())),
        ],
        "dependencies": _dependencies(found, manifest, base, config),
    }


def _package(layout: Layout, member: Member) -> Package:
    package = store.get(layout, member.key)
    if package is None:
        problems = ("it is missing or damaged in the store",)
        raise PackageError(package=member.key, problems=problems, hint="see `vpm-env verify`")
    return package


def _relied_on(manifest: Manifest) -> dict[str, str]:
    """Return the base's distributions that count: what was resolved against, and what it provides as a plugin."""
    provided = (entry.rpartition(" ") for entry in manifest.provided.values())
    return {**{name: version for name, _, version in provided}, **manifest.facts}


def _root(manifest: Manifest) -> dict[str, Any]:
    own = {
        "base-key": manifest.base["key"],
        "engine": f"{manifest.base['engine']} {manifest.base['engine_version']}".strip(),
        "platform": manifest.platform,
        "python": manifest.python_version,
        "soabi": manifest.soabi,
    }
    return {
        "type": "application",
        "bom-ref": manifest.digest,
        "name": f"{manifest.base['engine']}-plugins",
        "version": manifest.digest[:12],
        "properties": _properties(own),
    }


def _component(member: Member, package: Package, layout: Layout) -> dict[str, Any]:
    metadata = _metadata(layout, package)
    source = package.source
    record = {
        "type": "library",
        "bom-ref": member.key,
        "name": member.name,
        "version": member.version,
        "description": _one_line(metadata.get("Summary")),
        "scope": "required",
        "hashes": _hashes(source),
        "licenses": _licenses(metadata),
        "purl": _purl(member, source),
        "externalReferences": list(_references(source)),
        "properties": _properties(_own(member, package)),
    }
    return {name: value for name, value in record.items() if value}


def _of_base(name: str, version: str) -> dict[str, Any]:
    return {
        "type": "library",
        "bom-ref": f"base:{name}",
        "name": name,
        "version": version,
        "scope": "excluded",
        "purl": f"pkg:pypi/{name}@{quote(version, safe='')}",
        "properties": _properties({"provided-by": "base"}),
    }


def _own(member: Member, package: Package) -> dict[str, str]:
    """Return what CycloneDX has no field for."""
    own = {"key": member.key, "files-sha256": package.files.sha256, "plugin": member.plugin}
    own |= {"editable": "true" if member.editable else "", "override": "true" if member.override else ""}
    own |= {"index": _public(str(package.source.get("index") or ""))}
    return {name: value for name, value in own.items() if value}


def _properties(own: dict[str, str]) -> list[dict[str, str]]:
    return [{"name": f"{_OURS}{name}", "value": value} for name, value in sorted(own.items())]


def _dependencies(found: Revision, manifest: Manifest, base: Base, config: Config | None) -> list[dict[str, Any]]:
    """Say what leads to what; what the base's own distributions need is the base's matter."""
    graph = graph_of(found, base, config)
    references = {name: f"base:{name}" for name in _relied_on(manifest)}
    references |= {member.name: member.key for member in manifest.members}
    plugins = [references[member.name] for member in manifest.members if member.plugin]
    provided = (entry.rpartition(" ")[0] for entry in manifest.provided.values())
    plugins += [references[name] for name in provided]
    records = [{"ref": manifest.digest, "dependsOn": sorted(plugins)}]
    for member in sorted(manifest.members, key=lambda member: member.name):
        needed = {references[edge.name] for edge in graph.edges.get(member.name, ()) if edge.name in references}
        records.append({"ref": member.key, "dependsOn": sorted(needed)})
    return records


def _metadata(layout: Layout, package: Package) -> Message:
    path = join(layout.package(package.key), "lib", package.dist_info, "METADATA")
    with open(path, encoding="utf-8", errors="replace") as stream:
        return HeaderParser().parse(stream, headersonly=True)


def _licenses(metadata: Message) -> list[dict[str, Any]]:
    """Return what its author declared: an SPDX expression (PEP 639), else classifiers, else the old free text."""
    expression = _one_line(metadata.get("License-Expression"))
    if expression:
        return [{"expression": expression, "acknowledgement": "declared"}]
    names = [
        classifier.rpartition(" :: ")[2]
        for classifier in metadata.get_all("Classifier", [])
        if classifier.startswith(_LICENSE_CLASSIFIER) and not classifier.endswith("OSI Approved")
    ]
    names = names or list(filter(None, [_one_line(metadata.get("License"))]))
    return [{"license": {"name": name, "acknowledgement": "declared"}} for name in dict.fromkeys(names)]


def _one_line(text: str | None) -> str:
    """Return the first line of a field; `UNKNOWN` was how old tools spelled nothing."""
    line = next((line.strip() for line in (text or "").splitlines() if line.strip()), "")
    return "" if line == "UNKNOWN" else line[:_LONGEST_NAME]


def _artifact(source: dict[str, Any]) -> dict[str, Any]:
    """Return the lock's entry of the file that a package came from; empty for git and folders."""
    wheels = source.get("wheels") or [{}]
    return dict(wheels[0] or source.get("sdist") or source.get("archive") or {})


def _hashes(source: dict[str, Any]) -> list[dict[str, str]]:
    hashes = _artifact(source).get("hashes") or {}
    return [
        {"alg": _ALGORITHMS[name], "content": content}
        for name, content in sorted(hashes.items())
        if name in _ALGORITHMS
    ]


def _purl(member: Member, source: dict[str, Any]) -> str:
    """Name a package for others; a folder's is of no registry, and no other package of that name is meant."""
    named = f"{member.name}@{quote(member.version, safe='')}"
    if source.get("directory") or source.get("archive"):
        return f"pkg:generic/{named}"
    vcs = source.get("vcs")
    if not vcs:
        return f"pkg:pypi/{named}"
    url = f"git+{_public(vcs.get('url') or vcs.get('path') or '')}@{vcs['commit-id']}"
    return f"pkg:pypi/{named}?vcs_url={quote(url, safe='/:')}"


def _references(source: dict[str, Any]) -> Iterator[dict[str, Any]]:
    vcs, directory, artifact = source.get("vcs"), source.get("directory"), _artifact(source)
    if vcs:
        subdirectory = f"subdirectory {vcs['subdirectory']}, " if vcs.get("subdirectory") else ""
        url = _public(vcs.get("url") or vcs.get("path") or "")
        yield from _reference("vcs", url, f"{subdirectory}commit {vcs['commit-id']}")
    elif directory:
        yield from _reference("distribution", _public(directory["path"]), "a folder")
    elif artifact:
        yield from _reference("distribution", _public(artifact.get("url") or artifact.get("path") or ""), "")


def _reference(kind: str, url: str, comment: str) -> Iterator[dict[str, Any]]:
    if url and "$" not in url:  # a variable's name in a URL makes it none
        yield {"type": kind, "url": url, **({"comment": comment} if comment else {})}


def _public(location: str) -> str:
    """Make a location a URL without user, password, query and fragment."""
    if location.startswith("/"):
        return f"file://{quote(location)}"
    if "://" not in location and "@" in location:  # `user@host:path`, which git takes and no URL parser does
        host, _, path = location.partition("@")[2].partition(":")
        return f"ssh://{host}/{path.lstrip('/')}"
    parts = urlsplit(location)
    return urlunsplit(parts._replace(netloc=parts.netloc.rpartition("@")[2], query="", fragment=""))
