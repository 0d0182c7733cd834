"""The test kit: real artefacts made on the spot. Each name below is documented where it is defined."""

from kit.artifacts import project, sdist, wheel
from kit.bases import KINDS, Base, base, bundled, describe, dist_info, fake_vllm, install, relocate
from kit.commands import Finished, VpmEnv
from kit.engines import fake_fastdeploy, fake_sglang
from kit.faults import CHANGES, Ended, Fault, Workshop, workshop
from kit.indexes import Index, Request, index
from kit.libraries import library
from kit.machine import (
    MACHINE,
    ROOT,
    VERSIONS,
    allocated,
    clean_environment,
    debian_python,
    is_ours,
    network_settings,
    pythons,
    tree_hash,
)
from kit.parameters import mostly_long
from kit.remote import members
from kit.repositories import GitServer, Repository, git_http, git_repository

__all__ = [
    "CHANGES",
    "KINDS",
    "MACHINE",
    "ROOT",
    "VERSIONS",
    "Base",
    "Ended",
    "Fault",
    "Finished",
    "GitServer",
    "Index",
    "Repository",
    "Request",
    "VpmEnv",
    "Workshop",
    "allocated",
    "base",
    "bundled",
    "clean_environment",
    "debian_python",
    "describe",
    "dist_info",
    "fake_fastdeploy",
    "fake_sglang",
    "fake_vllm",
    "git_http",
    "git_repository",
    "index",
    "install",
    "is_ours",
    "library",
    "members",
    "mostly_long",
    "network_settings",
    "project",
    "pythons",
    "relocate",
    "sdist",
    "tree_hash",
    "wheel",
    "workshop",
]
