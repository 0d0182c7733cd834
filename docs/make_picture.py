"""Make the pictures of README and docs: real runs of the example, on a pseudo-terminal, drawn by rich.

    python docs/make_picture.py

Needs vpm-env installed where it runs; writes below `.story` as the example's script does, and `docs/*.svg`.
"""

from __future__ import annotations

import io
import os
import pty
import re
import subprocess
import sys
from pathlib import Path

from rich.console import Console
from rich.text import Text

ROOT = Path(__file__).resolve().parent.parent
STORY = ROOT / ".story"
WIDTH = 100
PICTURES: dict[str, tuple[str | tuple[str, ...], ...]] = {
    # name -> what is done in this order: a command that is shown, or a config that asks for these example plugins
    "story": (
        ("plugin-shout",),
        "vpm-env build",
        ("plugin-shout", "plugin-reverse"),
        "vpm-env build",
        "tiny-engine hello",
        "vpm-env rollback",
        "tiny-engine hello",
        "vpm-env history",
    ),
    "look": ("vpm-env status", "vpm-env diff 1 2", "vpm-env tree --generation 2"),
    "health": ("vpm-env doctor --offline", "vpm-env gc --dry-run"),
}
COPY = "    editable: false\n"
_MOVES = re.compile(r"\x1b\[(?P<count>\d*)(?P<move>[AK])|\x1b\[\?25[lh]")


def main() -> None:
    """Play the story, and draw what its terminal shows."""
    prepare()
    for name, scenes in PICTURES.items():
        shown = Console(record=True, width=WIDTH, file=io.StringIO(), force_terminal=True, color_system="standard")
        for scene in scenes:
            if isinstance(scene, tuple):
                write_config(scene)
                continue
            shown.print(Text("$ ", style="green") + Text(scene, style="bold"))
            for line in screen(play(scene)):
                shown.print(Text.from_ansi(line.replace(str(ROOT), "~/vpm-env")))
            shown.print()
        # rich's fonts come from a server; a picture in a README is better off with those of whoever looks.
        drawing = re.sub(r"@font-face \{.*?\}\s*", "", shown.export_svg(title="vpm-env"), flags=re.DOTALL)
        (ROOT / "docs" / f"{name}.svg").write_text(drawing)
        sys.stdout.write(f"wrote docs/{name}.svg\n")


def variables() -> dict[str, str]:
    """Return the story's own environment."""
    own = {
        "VPM_ENV_HOME": str(STORY / "home"),
        "VPM_ENV_BASE": str(STORY / "engine"),
        "VPM_ENV_CONFIG": str(STORY / "plugins.yaml"),
        "PATH": os.pathsep.join((str(STORY / "engine" / "bin"), str(Path(sys.executable).parent), os.environ["PATH"])),
        "COLUMNS": str(WIDTH),
        "TERM": "xterm-256color",
    }
    return {name: value for name, value in os.environ.items() if not name.startswith("VPM_ENV_")} | own


def prepare() -> None:
    """Let the example's script make the engine and the hook, then forget its sets."""
    subprocess.run(["bash", "examples/story.sh"], cwd=ROOT, check=True, stdout=subprocess.DEVNULL)
    for name in ("profiles", "overlays", "store", "sources"):
        subprocess.run(["rm", "-rf", STORY / "home" / name], check=True)
    (STORY / "pylock.plugins.toml").unlink(missing_ok=True)


def write_config(plugins: tuple[str, ...]) -> None:
    """Write the config that asks for these example plugins."""
    entries = "".join(f"  - name: {name}\n    source: local\n    path: ../examples/{name}\n{COPY}" for name in plugins)
    (STORY / "plugins.yaml").write_text(f"plugins:\n{entries}")


def play(command: str) -> str:
    """Run a command on a pseudo-terminal and return all that it wrote."""
    leader, follower = pty.openpty()
    child = subprocess.Popen(
        ["sh", "-c", f"stty cols {WIDTH}; exec {command}"],
        cwd=ROOT, env=variables(), stdin=follower, stdout=follower, stderr=follower,
    )  # fmt: skip
    os.close(follower)
    chunks = []
    while True:
        try:
            chunk = os.read(leader, 65536)
        except OSError:  # Linux says EIO when the last writer has closed
            break
        if not chunk:
            break
        chunks.append(chunk)
    child.wait()
    os.close(leader)
    return b"".join(chunks).decode().replace("\r\n", "\n")


def screen(written: str) -> list[str]:
    """Return the lines that are left on the screen when bars have come and gone."""
    lines, at = [""], 0
    for part in re.split(r"(\n|\r|\x1b\[\d*[AK]|\x1b\[\?25[lh])", written):
        found = _MOVES.fullmatch(part)
        if part == "\n":
            at += 1
            lines += [""] * (at + 1 - len(lines))
        elif part == "\r" or (found and found["move"] == "K"):
            lines[at] = ""
        elif found and found["move"] == "A":
            at -= int(found["count"] or 1)
        elif not found:
            lines[at] += part
    return lines[:-1] if lines[-1] == "" else lines


if __name__ == "__main__":
    main()
