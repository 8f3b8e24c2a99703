"""Coverage-guided fuzzing (atheris, libFuzzer) of every reader in the table of `tests/hostile/parsers.py`.

    pip install atheris
    python fuzz/fuzz.py label_png -max_total_time=300 corpus/label_png    # options and corpus folders are libFuzzer's
    python fuzz/fuzz.py                                                   # the names of the readers

A case ends in a result or in a `ThriftsegError` of one short line, within 2 s and 300 MB above what the process takes
when it starts. What breaks that is saved by libFuzzer as `crash-*`, `timeout-*` or `oom-*`; the line in the output
is the case for `tests/hostile/`.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path
from random import Random

import atheris

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
with atheris.instrument_imports(include=["thriftseg"]):
    from tests.hostile.mutations import mutated
    from tests.hostile.parsers import PARSERS
    from tests.hostile.test_mutations import LIMIT_MEGABYTES, LIMIT_SECONDS, fault, megabytes


def main() -> None:
    """Fuzz the reader that the command line names."""
    readers = {parser.name: parser for parser in PARSERS}
    if len(sys.argv) < 2 or sys.argv[1] not in readers:
        sys.exit("usage: python fuzz/fuzz.py READER [option of libFuzzer ...] [corpus ...]\n" + "\n".join(readers))
    parser = readers[sys.argv.pop(1)]
    folder = Path(tempfile.mkdtemp(prefix="fuzz"))
    files, seeds = folder / "files", folder / "seeds"
    files.mkdir()
    seeds.mkdir()
    with atheris.instrument_imports(include=["thriftseg"]):
        path, read = parser.build(files)
        read()  # imports the rest
    (seeds / "valid").write_bytes(path.read_bytes())

    def check(content: bytes) -> None:
        path.write_bytes(content)
        if found := fault(read):
            raise AssertionError(found)

    def mutate(content: bytes, size: int, seed: int) -> bytes:
        """Changes within what the format means, and libFuzzer's own, in turns."""
        if seed % 2:
            return bytes(atheris.Mutate(content, size))
        try:
            return mutated(content, Random(seed))[:size]
        except Exception:  # earlier changes may have left nothing of the format
            return bytes(atheris.Mutate(content, size))

    taken = megabytes()
    limits = [f"-timeout={LIMIT_SECONDS}", f"-rss_limit_mb={taken + LIMIT_MEGABYTES}", "-max_len=400000"]
    atheris.Setup([sys.argv[0], *limits, *sys.argv[1:], str(seeds)], check, custom_mutator=mutate)
    atheris.Fuzz()


if __name__ == "__main__":
    main()
