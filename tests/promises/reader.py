"""Read a home as engines and scripts do, again and again, in the base's Python; `hammer` starts this.

Started without `site`, so that it has no set itself. Each child takes what is current by the start-up hook, imports one
plugin, waits, and then imports the other, which must be of the same set.
"""

import json
import os
import random
import subprocess
import sys
import time

CODE = """
import random, sys, time
if {wait}: time.sleep({wait})
import left
time.sleep({wait})
import left.late, right, right.late
versions = [left.VALUE, left.late.VALUE, right.VALUE, right.late.VALUE]
assert len(set(versions)) == 1, versions
"""


def look(home: str) -> None:
    """Read through `current`: it must lead to a whole set at every moment."""
    (folder,) = (f"{home}/profiles/default/{name}" for name in os.listdir(f"{home}/profiles/default"))
    for _ in range(20):
        with open(f"{folder}/current/overlay.json", "rb") as stream:
            json.loads(stream.read())


def forked(home: str, is_entry: bool) -> str:
    """Fork, let the hook run in the child as if that had just started, and import; return what is wrong."""
    reading, writing = os.pipe()
    child = os.fork()
    if child:
        os.close(writing)
        with open(reading, encoding="utf-8") as stream:
            said = stream.read()
        return said + ("" if os.waitpid(child, 0)[1] == 0 or said else "a reader died")
    try:
        os.close(reading)
        sys.orig_argv = [sys.executable, "/srv/bin/vllm" if is_entry else "/srv/script.py"]
        look(home)
        hook = __import__("_vpm_env_hook")
        assert hook.state == "active", (hook.state, hook.reason)
        assert (hook.lease is not None) == is_entry, "the lease"
        wait = random.random() * (1.5 if is_entry else 0.3)
        exec(CODE.format(wait=wait))
        os._exit(0)
    except BaseException as error:  # noqa: BLE001 (whatever it is, it is told)
        os.write(writing, f"{type(error).__name__}: {error}".encode())
        os._exit(1)


def started(home: str, kind: str) -> str:
    """Start an interpreter: the base's, as a script or as an engine, or the overlay's own."""
    wait = random.random() * 0.3
    words = ["-c", CODE.format(wait=wait)]
    python = sys.executable
    if kind == "entry":
        words = [f"{home}/../entry/vllm", str(wait)]
    elif kind == "layer":
        (folder,) = (f"{home}/profiles/default/{name}" for name in os.listdir(f"{home}/profiles/default"))
        python = f"{folder}/current/bin/python"
    done = subprocess.run([python, *words], capture_output=True, text=True, timeout=100, check=False)
    return f"{kind} ended with {done.returncode}: {done.stderr[-1500:]}" if done.returncode else ""


def main(kind: str, number: str, home: str, said: str, seconds: str) -> None:
    until = time.monotonic() + float(seconds)
    sys.prefix = sys.exec_prefix = os.path.dirname(os.path.dirname(sys.executable))  # which `site` would see to
    (site,) = (path for path in os.listdir(f"{sys.prefix}/lib") if path.startswith("python"))
    sys.path.append(f"{sys.prefix}/lib/{site}/site-packages")
    count, wrong, hammer = 0, [], os.getppid()
    while time.monotonic() < until and os.getppid() == hammer:
        problem = forked(home, random.random() < 0.4) if kind == "fork" else started(home, kind)
        count += 1
        wrong += [problem] if problem else []
        time.sleep(0.05)
    with open(f"{said}/reader-{kind}{number}.said", "w", encoding="utf-8") as stream:
        stream.write(json.dumps({"count": count, "wrong": wrong[:20]}) + "\n")


if __name__ == "__main__":
    main(*sys.argv[1:])
