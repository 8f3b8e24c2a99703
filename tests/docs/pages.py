"""What the pages of the documentation show: their commands, as bash reads them, and the files that they name."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
GENERATED = ("docs/reference/api", "docs/reference/cli", "docs/examples")
PAGES = [
    ROOT / "README.md",
    ROOT / "CONTRIBUTING.md",
    *(
        path
        for path in sorted((ROOT / "docs").rglob("*.md"))
        if not path.relative_to(ROOT).as_posix().startswith(GENERATED)
    ),
]
RECORDER = """
PATH=/nonexistent
hash -r
thriftseg() {{ printf '%s\\0' "$@" $'\\n' >&3; }}
command_not_found_handle() {{
  while [ $# -gt 0 ] && [ "$1" != thriftseg ]; do shift; done
  [ $# -gt 1 ] && shift && thriftseg "$@"
  return 0
}}
cd() {{ :; }}
{block}
"""


def name_of(page: Path) -> str:
    """Path of a page below the root."""
    return page.relative_to(ROOT).as_posix()


def blocks(page: Path, *, run: bool = False) -> list[str]:
    """Bash blocks of a page; those to run alone are marked by a comment before them."""
    pattern = r"^<!-- runs -->\n```bash\n(.*?)^```" if run else r"^```bash\n(.*?)^```"
    return re.findall(pattern, page.read_text(encoding="utf-8"), re.DOTALL | re.MULTILINE)


def write_files(page: Path, folder: Path) -> None:
    """Write the YAML files that a page shows behind their name."""
    text = page.read_text(encoding="utf-8")
    for name, content in re.findall(r"`([\w-]+\.yaml)`[^`]*?\n\n?```yaml\n(.*?)^```", text, re.DOTALL | re.MULTILINE):
        (folder / name).write_text(content)


def commands(page: Path, folder: Path) -> list[tuple[str, ...]]:
    """Arguments of every `thriftseg` in the blocks of a page, loops and variables expanded, each once.

    No program runs: bash finds none, and hands what follows `thriftseg` to a recorder.
    """
    write_files(page, folder)
    script = RECORDER.format(block="\n".join(blocks(page)))
    read, write = os.pipe()
    with os.fdopen(read, "rb") as told:
        bash = subprocess.Popen(
            ["/bin/bash", "-c", script.replace(">&3", f">&{write}")],
            cwd=folder,
            pass_fds=[write],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        os.close(write)
        content = told.read().decode()
        bash.wait()
    lines = [tuple(line.split("\0")[:-1]) for line in content.split("\n\0")[:-1]]
    return list(dict.fromkeys(lines))


def run_blocks(page: Path, folder: Path) -> str:
    """Run the marked blocks of a page one after the other in a folder; what they print."""
    write_files(page, folder)
    script = "\n".join(["set -e", f'thriftseg() {{ "{sys.executable}" -m thriftseg "$@"; }}', *blocks(page, run=True)])
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "MPLBACKEND": "agg", "OMP_NUM_THREADS": "1"}
    done = subprocess.run(["/bin/bash", "-c", script], cwd=folder, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-4000:]
    return done.stdout
