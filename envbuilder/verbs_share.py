"""The verbs that bring sets to other machines: into caches, out of them, and in one file."""

from __future__ import annotations

from envbuilder.arguments import Call, Run, duration, generation, json_only
from envbuilder.errors import UsageError
from envbuilder.tuples import TYPE_CHECKING

if TYPE_CHECKING:
    import argparse

    from envbuilder.depot import Depot, Trust
    from envbuilder.keys import SecretKey
    from envbuilder.paths import Environment
    from envbuilder.scope import Scope

_URL = "the cache: a folder, `https://…`, or `s3://bucket/prefix`"
KEY_VARIABLE = "VPM_ENV_SIGNING_KEY"


def _takes_key(parser: argparse.ArgumentParser, doing: str) -> None:
    parser.add_argument("--key", metavar="FILE", help=f"{doing} with this secret key (else ${KEY_VARIABLE})")


def _takes_trust(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--trusted-key",
        action="append",
        metavar="KEY",
        help="believe what this key signed, too (`NAME:…`, as `cache keygen` prints it)",
    )
    parser.add_argument("--unsigned", action="store_true", help="ask for no signature: anybody may have put it there")


def _takes_push(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("url", metavar="URL", help=_URL)
    parser.add_argument("generation", nargs="?", type=generation, metavar="N", help="generation N (default: current)")
    parser.add_argument("--channel", metavar="NAME", help="let this channel name the set, so that machines follow")
    _takes_key(parser, "sign")
    _takes_trust(parser)
    json_only(parser)


def _push(call: Call) -> int:
    from envbuilder.cache_views import show_pushed
    from envbuilder.loading import push
    from envbuilder.revision import revision
    from envbuilder.scope import profile_of, scope

    asked = call.arguments
    found = scope(call.options, call.env)
    key = _signer(asked.key, call.env, unsigned=asked.unsigned)
    depot = _depot(call, own=key)
    of = revision(profile_of(found), asked.generation)
    pushed = push(of, depot, key, call.console.reporter(), wait=found.lock_wait)
    if asked.channel:
        from envbuilder.channels import move

        pushed = pushed.on(move(depot, _channel_name(asked.channel), pushed.digest, key))
    show_pushed(pushed, of.generation.number, depot.shown, asked.json, call.console)
    return 0


def _takes_pull(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("url", metavar="URL", help=_URL)
    parser.add_argument("what", metavar="WHAT", help="a set's digest, or a channel's name")
    parser.add_argument("--no-switch", action="store_true", help="make the generation, but leave `current` as it is")
    parser.add_argument("--no-generation", action="store_true", help="only make the overlay; gc takes what nobody uses")
    _takes_trust(parser)
    json_only(parser)


def _pull(call: Call) -> int:
    from envbuilder.cache_views import show_pulled
    from envbuilder.delivery import pull
    from envbuilder.following import channel_of, go_along, wish_of
    from envbuilder.scope import scope
    from envbuilder.waybill import is_digest

    asked, report = call.arguments, call.console.reporter()
    found, depot = scope(call.options, call.env), _depot(call)
    channel = None if is_digest(asked.what) else channel_of(depot, _channel_name(asked.what))
    wish = wish_of(depot, channel, records=not asked.no_generation, switch=not asked.no_switch)
    if channel:
        pulled = go_along(found, depot, channel, wish, report)
    else:
        pulled = pull(found, depot, depot.waybill(asked.what), wish, report)
    show_pulled(pulled, asked.json, call.console)
    return 0


def _takes_follow(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("url", metavar="URL", help=_URL)
    parser.add_argument("channel", metavar="CHANNEL", help="the channel's name")
    parser.add_argument("--every", type=duration, metavar="AGE", help="look again each time that AGE is over (`30s`)")
    _takes_trust(parser)
    json_only(parser)


def _follow(call: Call) -> int:
    from envbuilder.scope import scope

    asked = call.arguments
    name, found, depot = _channel_name(asked.channel), scope(call.options, call.env), _depot(call)
    if asked.every is not None and asked.every < 1:
        raise UsageError("`--every` is at least `1s`")
    if asked.every is None:
        _look(call, found, depot, name)
        return 0
    return _keep_looking(call, found, depot, name)


def _keep_looking(call: Call, found: Scope, depot: Depot, name: str) -> int:
    """Look at a channel again and again until somebody ends this."""
    from envbuilder.signals import Signals, StoppedError

    with Signals() as signals:
        try:
            with signals.without_server():
                while True:
                    _look_or_tell(call, found, depot, name)
                    signals.sleep(call.arguments.every)
        except StoppedError:
            return 0


def _look_or_tell(call: Call, found: Scope, depot: Depot, name: str) -> None:
    """Look at a channel; what fails is told, for it is tried again."""
    from envbuilder.errors import VpmError
    from envbuilder.space import refusal

    try:
        _look(call, found, depot, name, only_moves=True)
    except VpmError as error:
        call.console.error(error)
    except OSError as error:
        call.console.error(refusal(error))


def _look(call: Call, found: Scope, depot: Depot, name: str, *, only_moves: bool = False) -> None:
    from envbuilder.cache_views import show_followed
    from envbuilder.console import flush
    from envbuilder.following import follow

    followed = follow(found, depot, name, call.console.reporter())
    if followed.pulled or not only_moves:
        show_followed(followed, call.arguments.json, call.console)
        flush()


def _takes_cache(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("do", choices=("keygen", "ls", "channel"), metavar="keygen|ls|channel", help="what to do")
    parser.add_argument("words", nargs="*", metavar="WORD", help="NAME [FILE] | URL | URL CHANNEL [DIGEST]")
    parser.add_argument("--rollback", action="store_true", help="`channel`: name the set that it named before")
    help_ = f"sign with this secret key (else ${KEY_VARIABLE}), and believe what it signed"
    parser.add_argument("--key", metavar="FILE", help=help_)
    _takes_trust(parser)
    json_only(parser)


def _cache(call: Call) -> int:
    asked = call.arguments
    least, most, told = {
        "keygen": (1, 2, "NAME [FILE]"),
        "ls": (1, 1, "URL"),
        "channel": (2, 3, "URL CHANNEL [DIGEST | --rollback]"),
    }[asked.do]
    if not least <= len(asked.words) <= most or (asked.rollback and (asked.do != "channel" or len(asked.words) > 2)):
        raise UsageError(f"`vpm-env cache {asked.do}` takes {told}")
    return {"keygen": _keygen, "ls": _ls, "channel": _channel}[asked.do](call)


def _keygen(call: Call) -> int:
    from os.path import abspath, lexists

    from envbuilder import fs
    from envbuilder.keys import generate

    name = call.arguments.words[0]
    path = abspath(call.env.expand((call.arguments.words[1:] or [f"{name}.key"])[0]))
    if lexists(path):
        raise UsageError(f"`{path}` is there already", hint="a key that is lost cannot be had again: name another file")
    try:
        secret, public = generate(name)
        fs.write_atomic(path, f"{secret}\n".encode(), mode=0o600)
    except ValueError as error:
        raise UsageError(str(error)) from None
    except OSError as error:
        raise UsageError(f"`{path}` cannot be written: {error.strerror}") from None
    if call.arguments.json:
        call.console.json({"file": path, "public": public})
        return 0
    call.console.data(public)
    call.console.say(f"wrote the secret key to `{path}`")
    call.console.hint("push with `--key`; who pulls needs the line above in `trusted_keys:` of his plugins.yaml")
    return 0


def _ls(call: Call) -> int:
    from envbuilder.cache_views import show_listed
    from envbuilder.inventory import inventory

    depot = _depot(call, own=_own(call), url=call.arguments.words[0])
    show_listed(inventory(depot), call.arguments.json, call.console)
    return 0


def _channel(call: Call) -> int:
    from envbuilder.cache_views import show_channel
    from envbuilder.channels import move, move_back
    from envbuilder.following import look
    from envbuilder.scope import scope
    from envbuilder.waybill import is_digest

    asked = call.arguments
    url, name, *digests = asked.words
    if digests and not is_digest(digests[0]):
        raise UsageError(f"`{digests[0]}` is no digest: 64 hex digits", hint="`vpm-env cache ls URL` lists them")
    if not (digests or asked.rollback):
        depot = _depot(call, own=_own(call), url=url)
        show_channel(look(scope(call.options, call.env), depot, _channel_name(name)), asked.json, call.console)
        return 0
    key = _signer(asked.key, call.env, unsigned=asked.unsigned)
    depot = _depot(call, own=key, url=url)
    named = _channel_name(name)
    moved = move(depot, named, digests[0], key) if digests else move_back(depot, named, key)
    show_channel(moved, asked.json, call.console)
    return 0


def _takes_export(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("file", metavar="FILE", help="the file to write")
    parser.add_argument("generation", nargs="?", type=generation, metavar="N", help="generation N (default: current)")
    parser.add_argument(
        "--wheelhouse", action="store_true", help="with vpm-env itself and all that it needs, for a machine without it"
    )
    _takes_key(parser, "sign")
    _takes_trust(parser)
    json_only(parser)


def _export(call: Call) -> int:
    from os.path import abspath

    from envbuilder.cache_views import show_exported
    from envbuilder.carrying import export
    from envbuilder.revision import revision
    from envbuilder.scope import profile_of, scope

    asked = call.arguments
    found = scope(call.options, call.env)
    key = _signer(asked.key, call.env, unsigned=asked.unsigned)
    path = abspath(call.env.expand(asked.file))
    of = revision(profile_of(found), asked.generation)
    trusted = _trust(call, key)
    done = export(found, of, path, key, trusted, call.console.reporter(), with_wheels=asked.wheelhouse)
    show_exported(done, of.generation.number, path, asked.json, call.console)
    return 0


def _takes_import(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("file", metavar="FILE", help="what `vpm-env export` wrote")
    parser.add_argument("--no-switch", action="store_true", help="make the generation, but leave `current` as it is")
    _takes_trust(parser)
    json_only(parser)


def _import(call: Call) -> int:
    from os.path import abspath

    from envbuilder.cache_views import show_pulled
    from envbuilder.carrying import opened, sole_set
    from envbuilder.delivery import Wish, pull
    from envbuilder.scope import scope

    asked = call.arguments
    found = scope(call.options, call.env)
    with opened(abspath(call.env.expand(asked.file)), _trust(call)) as depot:
        pulled = pull(
            found, depot, sole_set(depot), Wish(switch=not asked.no_switch, origin={}), call.console.reporter()
        )
    show_pulled(pulled, asked.json, call.console)
    return 0


def _depot(call: Call, *, own: SecretKey | None = None, url: str | None = None) -> Depot:
    """Open the cache that a call names; who signs believes himself."""
    from envbuilder.caching import depot

    return depot(url or call.arguments.url, _trust(call, own), call.env)


def _trust(call: Call, own: SecretKey | None = None) -> Trust:
    from envbuilder.caching import trust
    from envbuilder.config import read
    from envbuilder.scope import scope

    given = [*(call.arguments.trusted_key or ()), *([str(own.public)] if own else [])]
    file = scope(call.options, call.env).config_file
    config = read(file, env=call.env) if file else None
    # Who signs puts his name to nothing that nobody has signed: that is packed anew.
    return trust(config, call.env, given, unsigned=call.arguments.unsigned and own is None)


def _signer(option: str | None, env: Environment, *, unsigned: bool) -> SecretKey | None:
    """Read the key to sign with; raise `UsageError` where there is none, and that was not asked for."""
    path = option or env.get(KEY_VARIABLE)
    if path is None and not unsigned:
        hint = "`vpm-env cache keygen NAME` makes one; `--unsigned` goes without"
        raise UsageError(f"there is no key to sign with: neither `--key` nor `{KEY_VARIABLE}` names one", hint=hint)
    if path is None:
        return None
    from envbuilder.keys import read_secret

    return read_secret(env.expand(path))


def _own(call: Call) -> SecretKey | None:
    """Read the key of who only looks, if he names one: what it signed is believed."""
    asked = call.arguments
    return _signer(asked.key, call.env, unsigned=True) if asked.key and not asked.unsigned else None


def _channel_name(text: str) -> str:
    from envbuilder.waybill import is_channel

    if not is_channel(text):
        raise UsageError(f"`{text}` is no channel: lower-case letters, digits, `.`, `_` and `-`, or a digest")
    return text


RUNS = {
    "push": Run(_takes_push, _push),
    "pull": Run(_takes_pull, _pull),
    "follow": Run(_takes_follow, _follow),
    "cache": Run(_takes_cache, _cache, mixes=True),
    "export": Run(_takes_export, _export),
    "import": Run(_takes_import, _import),
}
