"""Tell what an interpreter holds, as one JSON object on standard output; runs inside the base, imports only stdlib.

Started as a file of its own, never imported by the package. Reads only, writes nothing.
"""

import importlib.metadata
import json
import os
import site
import sys
import sysconfig


def normalized(name):
    return "-".join(part for part in name.lower().replace("_", "-").replace(".", "-").split("-") if part)


def distribution(dist):
    """Describe one distribution; a METADATA that is missing or broken leaves the name and version of its folder."""
    folder = str(getattr(dist, "_path", ""))
    stem = os.path.basename(folder).rsplit(".", 1)[0]
    name, version = [*stem.split("-", 1), ""][:2]
    broken = False
    try:
        name = dist.metadata["Name"] or name
        version = dist.metadata["Version"] or version
        broken = not dist.metadata["Version"]
        requires = list(dist.requires or ())
    except Exception:
        broken, requires = True, []
    try:
        editable = bool(json.loads(dist.read_text("direct_url.json") or "{}").get("dir_info", {}).get("editable"))
    except (ValueError, AttributeError, OSError):
        editable = False
    return {
        "name": normalized(str(name)),
        "version": str(version),
        "requires": requires,
        "path": folder,
        "broken": broken,
        "editable": editable,
        "entry_points": [[point.group, point.name, point.value] for point in points(dist)],
    }


def points(dist):
    try:
        return list(dist.entry_points)
    except Exception:
        return []


def mapped_names():
    """Name the top-level modules that import finders of editable installs provide."""
    names: list[str] = []
    for finder in sys.meta_path:
        module = sys.modules.get(getattr(finder, "__module__", None) or "")
        names += getattr(module, "MAPPING", None) or ()
    return sorted(names)


def main():
    stdlib = {os.path.realpath(path) for path in (sysconfig.get_path("stdlib"), sysconfig.get_path("platstdlib"))}
    stdlib |= {os.path.join(path, "lib-dynload") for path in stdlib}
    own = os.path.dirname(os.path.abspath(__file__))
    folders = [
        path
        for path in sys.path
        if os.path.isdir(path) and os.path.realpath(path) not in stdlib and os.path.abspath(path) != own
    ]
    user_site = site.getusersitepackages() if site.ENABLE_USER_SITE else None
    found = {}
    duplicates = []
    for dist in importlib.metadata.distributions(path=folders):
        described = distribution(dist)
        if not described["name"]:
            continue
        if described["name"] in found:
            duplicates.append(described)
        else:
            found[described["name"]] = described
    facts = {
        "python": sys.executable,
        "version": ".".join(map(str, sys.version_info[:3])),
        "implementation": sys.implementation.name,
        "soabi": sysconfig.get_config_var("SOABI") or sys.implementation.cache_tag,
        "platform": sysconfig.get_platform(),
        "prefix": sys.prefix,
        "base_prefix": sys.base_prefix,
        "purelib": sysconfig.get_path("purelib"),
        "scripts": sysconfig.get_path("scripts"),
        "path": folders,
        "site_dirs": [path for path in dict.fromkeys(site_dirs(user_site)) if os.path.isdir(path)],
        "user_site": user_site,
        "stdlib_names": sorted(sys.stdlib_module_names),
        "mapped_names": mapped_names(),
        "distributions": list(found.values()),
        "duplicates": duplicates,
    }
    json.dump(facts, sys.stdout)


def site_dirs(user_site):
    """List the directories whose `.pth` files the interpreter runs at its start, in its order."""
    if user_site:
        yield user_site
    yield from site.getsitepackages()
    if sys.prefix != sys.base_prefix and site.ENABLE_USER_SITE:
        yield from site.getsitepackages([sys.base_prefix])


main()
