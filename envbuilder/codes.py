"""The codes of the audit's findings: what each stands for, and which of them a config may accept."""

from __future__ import annotations

from envbuilder.tuples import NamedTuple

ERROR = "error"
WARNING = "warning"


class Code(NamedTuple):
    """One kind of finding; `severities` are those it comes with, `refusal` says why it cannot be accepted ("": can)."""

    name: str
    severities: tuple[str, ...]
    meaning: str
    refusal: str = ""


_TWO_WAYS = "the set would import another thing with the hook than without; see `override`"

CODES = {
    code.name: code
    for code in (
        # whose name it is
        Code("dist-in-base", (ERROR,), "base and set have a distribution of one name", _TWO_WAYS),
        Code("name-in-base", (ERROR,), "base and set have an import name in common", _TWO_WAYS),
        Code("file-in-base", (ERROR, WARNING), "a package puts files inside a package of the base"),
        Code("name-in-stdlib", (ERROR, WARNING), "a package has a name of the standard library"),
        Code("name-in-two-packages", (ERROR, WARNING), "two packages have a file, or an import name, that differs"),
        Code("command-in-base", (ERROR, WARNING), "base and set have a command of one name"),
        Code("command-of-machine", (ERROR,), "a package has a command that is the machine's, such as `sh` or `git`"),
        # what runs by itself
        Code("startup-code", (WARNING,), "a package has a start-up file, which engine processes do not run"),
        Code(
            "startup-code-unallowed",
            (ERROR,),
            "a package has a start-up file, and the config does not allow it",
            "`startup_code:` is the key that names the packages which may have such",
        ),
        Code(
            "site-module",
            (ERROR,),
            "a package has a `sitecustomize` or `usercustomize`",
            "it would run in every Python of the base",
        ),
        # entry points
        Code(
            "entry-point-name",
            (ERROR,),
            "the name of an entry point holds control characters",
            "what shows it would obey them",
        ),
        Code("unlistable-name", (WARNING,), "the name of an entry point holds the comma that parts an allow-list"),
        Code("duplicate-entry-point", (ERROR, WARNING), "two entry points of a group, or two commands, have one name"),
        Code("single-slot", (ERROR,), "a group that has room for one entry point has several"),
        Code("entry-point-target", (ERROR, WARNING), "an entry point names what is not there"),
        Code("unresolved-import", (WARNING,), "a plugin's module imports what neither set nor base has"),
        Code(
            "logits-processor",
            (ERROR, WARNING),
            "a logits processor that is none for the base's model runner V2",
        ),
        # what it requires, and says of itself
        Code(
            "requirement-unmet",
            (ERROR,),
            "neither set nor base has what a package requires",
            "`ignore` is the key for bounds on the base's packages",
        ),
        Code("bound-ignored", (WARNING,), "a bound does not hold, and the config ignores it"),
        Code("bound-behind-extra", (WARNING,), "a bound that stands behind an extra alone does not hold"),
        Code("bound-of-release", (WARNING,), "the base has a version before the release that a bound asks for"),
        Code("declared-engine", (ERROR, WARNING), "`vllm-plugin.yaml` is for another engine, or another version of it"),
        Code("declared-python", (ERROR, WARNING), "`vllm-plugin.yaml` is for another Python"),
        Code("declared-entry-point", (WARNING,), "`vllm-plugin.yaml` names an entry point that the package lacks"),
        Code("declaration-unreadable", (WARNING,), "`vllm-plugin.yaml` cannot be read whole"),
        # compiled code
        Code("compiled-python", (ERROR, WARNING), "extension modules for another Python"),
        Code("compiled-machine", (ERROR, WARNING), "compiled code for another processor"),
        Code("compiled-version", (ERROR, WARNING), "compiled code wants a newer glibc or libstdc++"),
        Code("compiled-cuda", (ERROR, WARNING), "compiled code for another CUDA"),
        Code("compiled-torch", (ERROR, WARNING), "compiled code for another torch"),
        Code("wheel-tag", (WARNING,), "the wheel's tags are for another Python or platform"),
        Code("library-missing", (WARNING,), "a shared library that nothing provides"),
        Code("runpath-nowhere", (WARNING,), "a RUNPATH leads to where the set has nothing"),
        # data
        Code("data-outside", (WARNING,), "data files that are found below `sys.prefix` without the hook only"),
        # the config
        Code(
            "accept-idle",
            (WARNING,),
            "the config accepts a finding that does not occur",
            "take what does not occur out of `accept:`",
        ),
    )
}
