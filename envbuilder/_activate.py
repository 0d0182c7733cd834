# vpm-env: the start-up hook in all cases but the plain one; remove it with `vpm-env hook uninstall`
# ruff: noqa: PLW0603 (a process has one overlay; the hook gets a copy of what is found out here)
"""Make the overlay of this process importable, or say why not: with pins, engines, shared volumes and damage.

Copied into a base's site-packages as `_vpm_env/activate.py`, with the constants below filled in; `_vpm_env_hook`
imports it where something is out of the ordinary. It imports nothing but `os` and `sys` (and `fcntl` for a lease),
prints nothing (one line on stderr if VPM_ENV_DEBUG is set) and never raises.
"""

import os
import sys

# filled in from here
VERSION = ""
FORMAT = 0
PREFIX = ""
HOME = ""
PROFILE = ""
BASE_KEY = ""
BASE_MARK = ""
OWNERS: "tuple[int, ...]" = ()
TRUST_HOME = False
ENGINE_NAMES: "tuple[str, ...]" = ()
ENTRY_SCRIPTS: "tuple[str, ...]" = ()
ENTRY_MODULES: "tuple[str, ...]" = ()
COMMAND: "tuple[str, ...]" = ()
AUTO = ""
ROLLBACK_AFTER = 0
GOOD_AFTER = 0.0
SERVES = False
# filled in to here

INSTALLERS = ("pip", "__pip-runner__", "get-pip", "ensurepip", "venv", "virtualenv", "uv", "uvx")
OURS = ("vpm-env", "envbuilder")
TOLD = (
    *("state", "reason", "profile", "base_key", "digest", "overlay", "generation"),
    *("lease", "pinned", "unbuilt", "unheeded"),
)
NOT_MEANT = ("disabled", "installer", "other-prefix")
"""States in which this process is not to have a set."""
GUARDS = "guard"
"""What VPM_ENV_PIN_BY says of a pin that the guard gave to the children of a process that is no engine's first."""
NOTHING = "none"
"""What a pin names in the children of a process that has no set: they must not get one either."""

state = "error"
profile = PROFILE
base_key = BASE_KEY
reason = digest = overlay = ""
generation: "int | None" = None
lease: "int | None" = None
pinned = False
unbuilt = ""
"""Why what the config asks for could not be built, where an older set is active in its place."""
unheeded = ""
"""Why nothing could be left out of the set, where VPM_ENV_WITHOUT asks for that."""


def run(hook: object) -> None:
    """Activate what this process should have, and tell the hook."""
    global state, reason
    try:
        activate()
        state, reason = "active", overlay
    except InactiveError as inactive:
        state, reason = inactive.args
        if state in ("no-generation", "build-failed") and is_entry(*program_of(sys.orig_argv)):
            os.environ["VPM_ENV_PIN"] = f"{BASE_KEY}:{NOTHING}"
    except Exception as error:  # noqa: BLE001 (Python starts, whatever is wrong)
        reason = f"{type(error).__name__}: {error}"
    for name in TOLD:
        setattr(hook, name, globals()[name])
    if "VPM_ENV_DEBUG" in os.environ:
        tell(f"hook: {state}: {reason}")
    if os.environ.get("VPM_ENV_STRICT", "0") not in ("", "0"):
        insist()


def insist() -> None:
    """End the first process of an engine that will serve without its set: no allow-list can leave this out."""
    problem = unbuilt or unheeded if state == "active" else reason if state not in NOT_MEANT else ""
    is_module, program = program_of(sys.orig_argv)
    if not (problem and SERVES and is_entry(is_module, program)):
        return
    if __import__("_vpm_env.auto").auto.is_serving(program if is_module else "", sys.argv[1:]):
        tell(f"ERROR: {problem}; the engine is not started (VPM_ENV_STRICT is set)")
        os._exit(1)  # an exception would make this Python explain why it has no `site`


def tell(text: str) -> None:
    try:
        sys.stderr.write(f"vpm-env: {text}\n")
        sys.stderr.flush()
    except Exception:  # noqa: BLE001, S110 (no stderr, or nobody who reads it, is no reason to stop)
        pass


class InactiveError(Exception):
    """Why nothing is added: a state and a sentence."""


def activate() -> None:
    """Add the overlay of this process to `sys.path`; raise `InactiveError` where there is none for it."""
    global overlay, base_key, digest
    if os.environ.get("VPM_ENV_DISABLE", "0") not in ("", "0"):
        raise InactiveError("disabled", "VPM_ENV_DISABLE is set")
    if is_overlay(sys.prefix):
        overlay = sys.prefix
        base_key, digest = overlay.rsplit("/", 2)[1:]
        return
    require_prefix()
    is_module, program = program_of(sys.orig_argv)
    require_no_installer(is_module, program)
    environment = trusted_environment()
    os.environ.pop("VPM_ENV_DRIVER", None)  # of an older driver, whose child started the Ray that starts this worker
    if is_entry(is_module, program):
        if os.environ.pop("VPM_ENV_PIN_BY", "") == GUARDS and environment:
            environment["VPM_ENV_PIN"] = ""  # a notebook's set is not the one of a server that it starts
        bring_up_to_date(program if is_module else "", environment)
    require_home()
    if not exists(BASE_MARK):
        raise InactiveError("base-changed", f"the engine that the hook was made for is gone: no {BASE_MARK}")
    choose(environment)
    if ROLLBACK_AFTER and environment and not pinned and is_entry(is_module, program):
        __import__("_vpm_env.loop").loop.count(sys.modules[__name__], program if is_module else "", environment)
    if pinned or is_entry(is_module, program):
        hold(environment)
        os.environ["VPM_ENV_PIN"] = base_key + ":" + digest
    add(overlay)


def is_overlay(prefix: str) -> bool:
    """Tell whether this is an overlay's own python, which layers itself on the base."""
    parts = prefix.rsplit("/", 3)
    return len(parts) == 4 and parts[1] == "overlays" and is_hex(parts[2], 12) and is_hex(parts[3], 64)


def require_prefix() -> None:
    """Stay out of environments made on top of the base, which run its .pth files too."""
    if sys.prefix != PREFIX and not (exists(PREFIX) and os.path.samefile(sys.prefix, PREFIX)):
        raise InactiveError("other-prefix", f"made for {PREFIX}, this is {sys.prefix}")


def require_no_installer(is_module: bool, program: str) -> None:
    """Stay out of tools that would take the overlay's packages for the base's."""
    name = program.split(".", 1)[0] if is_module else os.path.basename(program)
    if name.endswith((".py", ".pyz")):
        name = name[: name.rindex(".")]
    if name.rstrip("0123456789.") in INSTALLERS or name in OURS:
        raise InactiveError("installer", f"{name} sees the bare base")


def program_of(argv: "list[str]") -> "tuple[bool, str]":
    """Name what the interpreter runs: whether it is a module (`-m`), and the module or script; "" for neither."""
    words = iter(argv[1:])
    for word in words:
        if word == "-" or not word.startswith("-"):
            return False, word
        if word == "--":
            return False, next(words, "")
        letter, value = option_of(word)
        if letter in ("c", "m"):
            return letter == "m", (value or next(words, "")) if letter == "m" else ""
        if letter and not value:
            next(words, "")
    return False, ""


def option_of(word: str) -> "tuple[str, str]":
    """Return the option in `word` that takes a value, and the value if it is in `word` too."""
    if word.startswith("--"):
        return ("X" if word == "--check-hash-based-pycs" else ""), ""
    for at, letter in enumerate(word):
        if letter in "cmWX":
            return letter, word[at + 1 :]
    return "", ""


def is_entry(is_module: bool, program: str) -> bool:
    """Tell whether this process is the first of an engine's tree: its script, or `python -m` of its entry module."""
    if is_module:
        return any(program == module or program.startswith(module + ".") for module in ENTRY_MODULES)
    return os.path.basename(program) in ENTRY_SCRIPTS


def bring_up_to_date(module: str, environment: "dict[str, str]") -> None:
    """Build first, where that was asked for: not in the children of an engine, and not as another user."""
    asked = environment.get("VPM_ENV_AUTO") or AUTO
    is_child = environment.get("VPM_ENV_PIN", "").partition(":")[0] == BASE_KEY
    if environment and asked not in ("", "0") and not is_child:
        __import__("_vpm_env.auto").auto.build(sys.modules[__name__], asked, module, environment)


def trusted_environment() -> "dict[str, str]":
    """Return our variables, unless a change of user says that the environment is not to be trusted.

    `-I` and `-E` leave the pin in force: it can only name a set that was built and is ours, and a process tree must
    not get two because one of its children is isolated.
    """
    if os.getuid() != os.geteuid() or os.getgid() != os.getegid():
        return {}
    names = ("VPM_ENV_PIN", "VPM_ENV_PROFILE", "VPM_ENV_AUTO", "VPM_ENV_WITHOUT")
    return {name: os.environ.get(name, "") for name in names[: 1 if sys.flags.ignore_environment else None]}


def require_home() -> None:
    """Check the home itself: whose it is, and that its format is one we know."""
    if not exists(HOME):
        raise InactiveError("no-generation", f"there is no home {HOME}")
    if not TRUST_HOME:
        require_trusted(HOME, is_ours=False)
    try:
        # a FIFO put here must not make Python wait
        file = os.open(HOME + "/format", os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    except FileNotFoundError:
        return
    text = os.read(file, 16).strip()
    os.close(file)
    if not text.isdigit():
        raise InactiveError("invalid", f"{HOME}/format is no number")
    if int(text) > FORMAT:
        raise InactiveError(
            "newer-format", f"{HOME} has format {int(text)}, this hook ({VERSION}) knows up to {FORMAT}"
        )


def choose(environment: "dict[str, str]") -> None:
    """Set `digest` and `overlay`: the pin's, else what `current` names at this moment."""
    global pinned, digest, overlay
    pin_base, _, pin_digest = environment.get("VPM_ENV_PIN", "").partition(":")
    if pin_base and not (is_hex(pin_base, 12) and (is_hex(pin_digest, 64) or pin_digest == NOTHING)):
        raise InactiveError("invalid", "VPM_ENV_PIN is not <base key>:<digest>")
    pinned = pin_base == BASE_KEY
    if pinned and pin_digest == NOTHING:
        raise InactiveError("no-generation", "the process that this one works for has no set")
    digest = pin_digest if pinned else current(environment.get("VPM_ENV_PROFILE", ""), environment.get("built", ""))
    if not pinned and environment.get("VPM_ENV_WITHOUT"):
        leave_out(environment["VPM_ENV_WITHOUT"])
    overlay = f"{HOME}/overlays/{BASE_KEY}/{digest}"
    if not exists(overlay + "/overlay.json"):
        name = "VPM_ENV_PIN" if pinned else f"generation {generation} of profile {profile}"
        raise InactiveError("pin-missing" if pinned else "invalid", f"{name} names {overlay}, which is not there")
    for path in (f"{HOME}/overlays", f"{HOME}/overlays/{BASE_KEY}", overlay, f"{HOME}/store"):
        require_trusted(path)


def current(chosen: str, built: str) -> str:
    """Follow `current` once, link by link, to a digest: no path through it ever gets on `sys.path`.

    `built` is the number of the generation that was built for this process, if one was: others may switch meanwhile.
    """
    global profile, generation
    profile = chosen or PROFILE
    if not is_name(profile):
        raise InactiveError("invalid", "VPM_ENV_PROFILE is no profile's name")
    folder = f"{HOME}/profiles/{profile}/{BASE_KEY}"
    try:
        link = f"generations/{built}" if built else os.readlink(folder + "/current")
    except FileNotFoundError:
        raise InactiveError(
            "no-generation", f"profile {profile} has no current generation for base {BASE_KEY}"
        ) from None
    except OSError as error:
        raise InactiveError("invalid", f"{folder}/current is no generation: {error.strerror}") from None
    number = link.rpartition("generations/")[2]
    if not (number.isdigit() and number.isascii() and link == "generations/" + number):
        raise InactiveError("invalid", f"{folder}/current is no generation")
    for path in (f"{HOME}/profiles", f"{HOME}/profiles/{profile}", folder, folder + "/generations"):
        require_trusted(path)
    generation = int(number)
    try:
        target = os.readlink(f"{folder}/{link}")
    except OSError:
        raise InactiveError("invalid", f"generation {number} of profile {profile} is not on disk") from None
    start, _, found = target.rpartition("/")
    if start != "../../../../overlays/" + BASE_KEY or not is_hex(found, 64):
        raise InactiveError("invalid", f"{folder}/{link} is no overlay of base {BASE_KEY}")
    return found


def leave_out(names: str) -> None:
    """Take the set without some of its plugins in its place; what could not be had once is not tried again."""
    global digest, generation, unheeded
    if unheeded:
        return
    found, unheeded = __import__("_vpm_env.without").without.find(sys.modules[__name__], names)
    if found != digest:
        digest, generation = found, None


def hold(environment: "dict[str, str]") -> None:
    """Take the shared lease, so that gc spares the overlay while this process or a fork of it lives."""
    global lease
    for attempt in range(5):
        lease = leased(overlay)
        if exists(overlay + "/overlay.json") and lease is not None:
            return
        # gc looks whether anybody has it, or took it a moment ago: what is current now?
        release()
        __import__("time").sleep(0.001 * attempt)
        choose(environment)


def leased(path: str) -> "int | None":
    """Open and share the lease of an overlay; None where that cannot be."""
    import fcntl  # a shared library that a plain `python` need not load

    try:
        file = os.open(path + "/.lease", os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    except OSError:
        return None
    try:
        fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
        is_there = os.path.samestat(os.fstat(file), os.stat(path + "/.lease"))
    except (BlockingIOError, FileNotFoundError):
        is_there = False  # gc has it, or had it a moment ago
    except OSError:
        is_there = True  # there are no locks: an open file is what others of this machine see
    if not is_there:
        os.close(file)
    return file if is_there else None


def release() -> None:
    """Give the lease back."""
    global lease
    if lease is not None:
        os.close(lease)
    lease = None


def add(path: str) -> None:
    """Append the packages, and put those that may shadow the base before it."""
    version = f"{sys.version_info[0]}.{sys.version_info[1]}" + ("t" if "t" in sys.abiflags else "")
    packages = f"{path}/lib/python{version}/site-packages"
    if not exists(packages):
        raise InactiveError("base-changed", f"{path} is not for Python {version}")
    if packages not in sys.path:
        sys.path.append(packages)
    if path + "/override" not in sys.path and exists(path + "/override"):
        sys.path.insert(first_site(), path + "/override")


def first_site() -> int:
    """Find where the site directories begin on `sys.path`: behind the standard library."""
    library = os.path.dirname(os.__file__)
    begin = sys.path.index(library) + 1 if library in sys.path else 0
    sites = (at for at in range(begin, len(sys.path)) if sys.path[at].endswith(("/site-packages", "/dist-packages")))
    return next(sites, len(sys.path))


def require_trusted(path: str, is_ours: bool = True) -> None:
    """Refuse a directory that belongs to a stranger, or that strangers may write to; one that is missing is empty."""
    if not exists(path):
        return
    status = os.stat(path)
    if status.st_uid != os.geteuid() and status.st_uid not in OWNERS:
        raise InactiveError("untrusted", f"{path} belongs to uid {status.st_uid}, this is uid {os.geteuid()}")
    if not status.st_mode & 0o022 or (not status.st_mode & 0o002 and is_own_group(status)):
        return
    # A home may be a mount point that is made for all; nobody can rename in a sticky one what is not theirs.
    if is_ours or not (status.st_mode & 0o1000 or os.stat(path + "/..").st_dev != status.st_dev):
        raise InactiveError("untrusted", f"{path} may be written by others (mode {status.st_mode & 0o7777:o})")


def is_own_group(status: os.stat_result) -> bool:
    """Tell whether a group that may write is no stranger: root's, the owner's private one, or a volume's.

    Kubernetes' fsGroup makes a volume's directories setgid and gives the group to all processes of the pod.
    """
    if status.st_gid in (0, status.st_uid):
        return True
    return bool(status.st_mode & 0o2000) and (status.st_gid == os.getegid() or status.st_gid in os.getgroups())


def is_hex(text: str, length: int) -> bool:
    return len(text) == length and not text.strip("0123456789abcdef")


def is_name(text: str) -> bool:
    """Tell whether `text` may name a profile: one plain file name, no option and not hidden."""
    return text.isascii() and text.replace("-", "").replace("_", "").replace(".", "").isalnum() and text[0] not in ".-"


def exists(path: str) -> bool:
    try:
        os.stat(path)
    except FileNotFoundError:
        return False
    return True
