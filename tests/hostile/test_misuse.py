"""Every command, used in every wrong way: one line that names the culprit, no traceback, nothing half-written."""

from __future__ import annotations

import contextlib
import io
import os
import random
import re
import resource
import shlex
import shutil
import signal
import subprocess
import sys
import threading
import time
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest

from tests.hostile.world import INVOCATIONS
from thriftseg.cli.main import COMMANDS, _stop, main
from thriftseg.cli.options.signatures import Option, signature_of
from thriftseg.errors import Stopped

TRAINER = {"fit", "validate", "test"}
"""Commands whose options are those of the trainer, not of a signature."""
TRAINER_PATHS = ("config", "ckpt_path", "weights", "name", "trainer.default_root_dir", "data.dataset.root")
INPUTS = set(
    "root weights input pred gt flow_weights flow_store runs superpixel_weights video_list propagator_weights "
    "prompter_weights qnet_weights policy_weights pilot from_tracks bad_list path folder checkpoint file config "
    "predictions classes taxonomy ckpt_path data.dataset.root tasks network_weights".split()
)
OUTPUTS = set("out store json keep sheet plot decisions export work flow_cache name trainer.default_root_dir".split())
NAMES = set(
    "accelerator address arch based_on budget class_names coarse config_name corrections cost_model data data_licence "
    "data_source dataset engine exchange frame granularity hub labelled launcher licence method network options "
    "out_source precision prompter propagator remarks rows seeds set shares size source sources split offsets table "
    "host person url machine annotations".split()
)
"""Options whose text is no path in any command."""
INPUTS_OF = {
    "evaluate": {"frames"},
    "data import": {"videos"},
    "label text": {"words"},
    "quickstart": {"start"},
    "zoo publish": {"metrics"},
    "zoo profile": {"name"},
    "annotate hvsa": {"video"},
    "annotate find-budget": {"video"},
    "annotate serve": {"video"},
}
NAMES_OF = {
    "evaluate": {"metrics", "flow"},
    "label refine": {"classes"},
    "label text": {"background"},
    "label export": {"frames", "format"},
    "label import": {"format"},
    "report table": {"name"},
    "report list": {"name"},
    "zoo publish": {"name"},
    **{f"annotate {action}": {"videos"} for action in ("eva-vos", "collect")},
}


def signatures() -> dict[str, dict[str, Option]]:
    """Options of every command that has a signature."""
    found = {}
    for name, command in COMMANDS.items():
        if name in TRAINER:
            continue
        module = import_module(f"thriftseg.cli.{command.module}")
        for action, function in getattr(module, "ACTIONS", {"": getattr(module, "run", None)}).items():
            signature = signature_of(f"{function.__module__}.{function.__name__}")
            options = {option.name: option for option in signature.options}
            for _, settings in signature.settings.values():
                options |= {option.name: option for option in settings.options}
            found[f"{name} {action}".strip()] = options
    return found


SIGNATURES = signatures()


def is_text(option: Option) -> bool:
    """Whether an option takes text, which may be a path; not one of some words, nor a mapping."""
    return "str" in str(option.annotation) and "dict" not in str(option.annotation)


def is_input(command: str, name: str) -> bool:
    return name in INPUTS_OF.get(command, ()) or (name in INPUTS and name not in NAMES_OF.get(command, ()))


def is_output(command: str, name: str) -> bool:
    return name in OUTPUTS and name not in NAMES_OF.get(command, set()) | INPUTS_OF.get(command, set())


def path_options(command: str) -> list[str]:
    """Options of a command that name files and folders."""
    if command in TRAINER:
        return list(TRAINER_PATHS)
    found = [name for name, option in SIGNATURES[command].items() if is_text(option)]
    return [
        "config",
        *(name for name in found if name != "config" and (is_input(command, name) or is_output(command, name))),
    ]


def test_every_command_has_an_invocation() -> None:
    assert INVOCATIONS.keys() == SIGNATURES.keys() | TRAINER


def test_every_option_is_known_to_be_a_path_or_a_name() -> None:
    unknown = [
        f"{command} --{name}"
        for command, options in SIGNATURES.items()
        for name, option in options.items()
        if is_text(option)
        and (is_input(command, name) or is_output(command, name))
        == (name in NAMES or name in NAMES_OF.get(command, ()))
    ]
    assert not unknown


CONTENT_NAMED = ("text", "a_file: ", "a_file/")
"""What stands in the files of the faults, and the file below which nothing can lie: they name the culprit too."""
OF_TIME = re.compile(
    r"/(summary|run|quality|fit|validate|test|results)\.json$|costs\.\w+\.json$|\.ckpt$|/version_\d+/|rounds\.jsonl$"
)
"""Files that hold when something was made, or how long it took; those that each start of the trainer adds."""
PATTERNS = {("report curve", "runs"), ("report cost", "runs"), ("plan", "pilot")}
"""Options that name their patterns."""
UNREAD = {("annotate next", "policy_weights"), ("label sync", "root"), ("label sync", "store")}
"""Options that are read only beside weights that the small world lacks, or after a server has answered."""
ENDLESS = {"annotate serve"}
"""Commands that end when they are told to; `tests/annotation/page` has what holds for them."""
FAULTS: dict[str, Callable[[], str]] = {}
"""What can be wrong with a path: makes it in the current folder and names it."""


def fault(make: Callable[[], str]) -> Callable[[], str]:
    FAULTS[make.__name__] = make
    return make


@fault
def missing() -> str:
    return "nowhere/at/all"  # two parts would be a name on the hub


@fault
def a_file() -> str:
    Path("a_file").write_text("text\n")
    return "a_file"


@fault
def a_folder() -> str:
    Path("a_folder").mkdir()
    Path("a_folder", "text").write_text("text\n")
    return "a_folder"


@fault
def an_empty_file() -> str:
    Path("empty_file").touch()
    return "empty_file"


@fault
def an_empty_folder() -> str:
    Path("empty_folder").mkdir()
    return "empty_folder"


@fault
def not_utf_8() -> str:
    return os.fsdecode(b"caf\xe9")


@fault
def a_nul() -> str:
    return "a\0b"


@fault
def below_a_file() -> str:
    return f"{a_file()}/below/it"


@fault
def below_proc() -> str:
    return "/proc/below"


@dataclass(frozen=True)
class Case:
    command: str
    option: str
    fault: str

    def __str__(self) -> str:
        return f"{self.command} --{self.option}: {self.fault}"


CASES = [
    Case(command, option, fault)
    for command in INVOCATIONS
    if command not in ENDLESS
    for option in path_options(command)
    for fault in FAULTS
    if (command, option) not in UNREAD
]


def words_of(command: str, world: dict[str, Path]) -> list[str]:
    return [*command.split(), *shlex.split(INVOCATIONS[command].words.format(**world))]


def with_option(command: str, words: list[str], name: str, value: str) -> list[str]:
    """A command line with another value of an option."""
    option = SIGNATURES.get(command, {}).get(name)
    at = len(command.split())
    if option is not None and option.positional:
        return [*words[:at], value, *words[at + 1 :]]
    if f"--{name}" in words:
        at = words.index(f"--{name}") + 1
        prefix = "a=" if (command, name) in PATTERNS else ""
        return [*words[:at], prefix + value, *words[at + 1 :]]
    beside = INVOCATIONS[command].beside.get(name, "")
    return [*words, *shlex.split(beside), f"--{name}={value}"]


def said(words: list[str]) -> tuple[int, str]:
    """Exit code of a command, and what it wrote to stderr."""
    errors = io.StringIO()
    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(errors), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        code = main(words)
    return code, errors.getvalue()


def escaped(text: str) -> str:
    return "".join(
        each if each.isprintable() else each.encode("unicode_escape", "surrogatepass").decode() for each in text
    )


def outcome(words: list[str], named: tuple[str, ...]) -> tuple[int, str | None]:
    """Exit code of a command, and what is wrong with how it ends; it may succeed."""
    try:
        code, errors = said(words)
    except Exception as error:
        return 1, f"traceback: {error!r}"
    return code, complaint(code, errors, named)


def complaint(code: int, errors: str, named: tuple[str, ...]) -> str | None:
    """What is wrong with an exit code and what was written to stderr; any of some words shall be in it."""
    if code in (0, 3) or (code == 2 and not errors):  # `data check` tells its findings on stdout
        return None
    lines = [line for line in errors.splitlines() if line.startswith("thriftseg: error: ")]
    if code != 2 or len(lines) != 1 or len(lines[0]) > len("thriftseg: error: ") + 500:
        return f"exit code {code} with {lines}"
    if not any(each in lines[0] for each in named):
        return f"none of {named} is in: {lines[0]}"
    return None


@pytest.fixture(autouse=True)
def _folder(world: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A current folder with a label store that may be written to."""
    monkeypatch.chdir(tmp_path)
    shutil.copytree(world["store"], "store")


HEAVY = {"validate", "test", "quickstart", "zoo export"}
"""Commands that work for seconds before they look at a path."""
SLOW = {command for command, invocation in INVOCATIONS.items() if invocation.slow}
SAMPLE = set(random.Random(20261).sample([case for case in CASES if case.command not in HEAVY], 70))


@pytest.mark.parametrize(
    "case", [pytest.param(case, id=str(case), marks=[] if case in SAMPLE else pytest.mark.slow) for case in CASES]
)
def test_a_wrong_path_is_named(case: Case, world: dict[str, Path]) -> None:
    value = FAULTS[case.fault]()
    words = with_option(case.command, words_of(case.command, world), case.option, value)
    _, fault = outcome(words, (escaped(value), f"--{case.option}", *CONTENT_NAMED))
    assert fault is None
    assert not half_written()


def writers() -> list[Any]:
    """Commands that write."""
    found = [command for command, each in INVOCATIONS.items() if each.writes]
    return [pytest.param(command, marks=pytest.mark.slow if command in SLOW else []) for command in found]


def half_written() -> list[Path]:
    """Files that are left of a file being written."""
    return [path for path in Path.cwd().rglob("*.partial") if path.is_file()]


def written(command: str) -> dict[str, bytes]:
    """Every file that a command has written, without those that hold times."""
    place = Path(str(INVOCATIONS[command].writes))
    files = [place] if place.is_file() else sorted(path for path in place.rglob("*") if path.is_file())
    return {str(path): path.read_bytes() for path in files if not OF_TIME.search(str(path))}


@contextlib.contextmanager
def full_disk() -> Iterator[None]:
    """Nothing can be written beyond the first KiB of a file."""
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1024, limits[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        signal.signal(signal.SIGXFSZ, handler)


@pytest.mark.parametrize("command", writers())
def test_a_full_disk_is_told_and_the_command_succeeds_later(command: str, world: dict[str, Path]) -> None:
    words = words_of(command, world)
    root = Path(str(INVOCATIONS[command].writes)).parts[0]
    with full_disk():
        code, fault = outcome(words, (root,))
    assert fault is None
    assert not half_written()
    assert code == 0 or said(words)[0] == 0
    assert Path(str(INVOCATIONS[command].writes)).exists()


HOLDER = """
import sys
from thriftseg.folders import sole_writer
with sole_writer(sys.argv[1]):
    print("held", flush=True)
    sys.stdin.read()
"""


@pytest.fixture
def holder() -> Iterator[Callable[[str], int]]:
    """A process that is the sole writer of a folder."""
    with contextlib.ExitStack() as running:

        def hold(folder: str) -> int:
            command = [sys.executable, "-c", HOLDER, folder]
            process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
            running.enter_context(process)
            running.callback(process.kill)
            assert process.stdout is not None
            assert process.stdout.readline() == "held\n"
            return process.pid

        yield hold


def test_a_second_process_is_told_who_is_at_work(holder: Callable[[str], int], world: dict[str, Path]) -> None:
    cases = [(words_of(command, world), each.locks) for command, each in INVOCATIONS.items() if each.locks]
    for further in ("--apply true", "--corrections manual --repropagate true"):
        cases.append(([*words_of("label review", world), *further.split()], "store/flow"))
    pids = {folder: holder(folder) for folder in dict(map(reversed, cases))}
    for words, folder in cases:
        code, errors = said(words)
        assert (words, code) == (words, 2)
        assert f"another process is writing here; found process {pids[folder]} on" in errors


def start(words: list[str], **options: Any) -> subprocess.Popen[str]:
    """A command in a process of its own; what it says is told by `end`."""
    command = [sys.executable, "-m", "thriftseg", *words]
    return subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, **options)


def end(process: subprocess.Popen[str]) -> tuple[int, str]:
    """Exit code of a process, and what it wrote to stderr."""
    _, errors = process.communicate()
    return process.returncode, errors


def undisturbed(command: str, world: dict[str, Path]) -> tuple[float, dict[str, bytes]]:
    """Seconds that a command takes in a folder of its own, and what it writes there."""
    shutil.copytree(world["store"], "undisturbed/store")
    with contextlib.chdir("undisturbed"):
        begin = time.monotonic()
        assert end(start(words_of(command, world)))[0] == 0
        return time.monotonic() - begin, written(command)


@pytest.mark.slow
@pytest.mark.parametrize("command", [command for command, each in INVOCATIONS.items() if each.locks])
def test_two_processes_at_once_leave_what_one_does(command: str, world: dict[str, Path]) -> None:
    _, expected = undisturbed(command, world)
    ends = [end(process) for process in [start(words_of(command, world)) for _ in range(2)]]
    assert sorted(code for code, _ in ends) in ([0, 0], [0, 2])
    assert all("another process is writing here; found process" in errors for code, errors in ends if code)
    assert written(command) == expected
    assert not half_written()


@pytest.mark.slow
@pytest.mark.parametrize("command", [command for command, each in INVOCATIONS.items() if each.writes])
def test_a_killed_command_goes_on_as_if_nothing_had_been(command: str, world: dict[str, Path]) -> None:
    taken, expected = undisturbed(command, world)
    process = start(words_of(command, world))
    with contextlib.suppress(subprocess.TimeoutExpired):
        process.communicate(timeout=taken * random.Random(command).uniform(0.4, 1))
    process.kill()
    assert end(process)[0] in (0, -signal.SIGKILL)
    code, errors = end(start(words_of(command, world)))
    assert code == 0 or "holds a ranking already" in errors
    assert written(command) == expected


@contextlib.contextmanager
def terminated_after(seconds: float) -> Iterator[None]:
    """Send SIGTERM to this process, which handles it as the program does."""
    handler = signal.signal(signal.SIGTERM, _stop)
    timer = threading.Timer(seconds, os.kill, (os.getpid(), signal.SIGTERM))
    timer.start()
    try:
        yield
    finally:
        timer.cancel()
        timer.join()
        signal.signal(signal.SIGTERM, handler)
        signal.setitimer(signal.ITIMER_REAL, 0)  # of a stop before or after the command


@pytest.mark.parametrize("command", writers())
def test_a_stopped_command_goes_on_as_if_nothing_had_been(
    command: str, world: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    words = words_of(command, world)
    start = time.monotonic()
    assert said(words)[0] == 0
    taken, expected = time.monotonic() - start, written(command)
    (tmp_path / "again").mkdir()
    monkeypatch.chdir(tmp_path / "again")
    shutil.copytree(world["store"], "store")
    code, errors = 143, "thriftseg: stopped by SIGTERM; "  # on a busy machine, perhaps before or after the command
    with contextlib.suppress(Stopped), terminated_after(random.Random(command).uniform(0.1, 0.9) * taken):
        code, errors = said(words)
    assert code in (0, 143)
    if code == 143:
        (line,) = (line for line in errors.splitlines() if line.startswith("thriftseg: "))
        assert line.startswith("thriftseg: stopped by SIGTERM; ")
        assert said(words)[0] == 0
    assert written(command) == expected
    assert not half_written()


@pytest.mark.parametrize("swallows", [False, True])
def test_a_stop_that_a_library_swallows_or_makes_an_error_of_its_own(
    swallows: bool, world: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    def draw(*_: object) -> None:
        try:
            signal.raise_signal(signal.SIGTERM)
        except SystemExit:
            if not swallows:
                raise ValueError("Invalid bounding box") from None
        while True:  # the work that would go on
            time.sleep(0.01)

    monkeypatch.setattr("thriftseg.cli.main._PATIENCE", 0.05)
    monkeypatch.setattr("matplotlib.backends.backend_agg.FigureCanvasAgg.draw", draw)
    with terminated_after(60):
        code, errors = said(words_of("report curve", world))
    assert (code, "stopped by SIGTERM" in errors) == (143, True)


def session(number: int) -> list[int]:
    """Processes of a session, by the kernel; those that have ended and wait for their parent do not count."""
    found = []
    for path in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):
            state, _, _, of = path.read_text().rpartition(") ")[2].split()[:4]
            if int(of) == number and state != "Z":
                found.append(int(path.parent.name))
    return found


def until(reached: Callable[[], bool], seconds: float = 60.0) -> bool:
    deadline = time.monotonic() + seconds
    while not (done := reached()) and time.monotonic() < deadline:
        time.sleep(0.01)
    return done


def in_processes() -> list[Any]:
    """Commands that share their work among processes, and the signals that end them."""
    found = [command for command, options in SIGNATURES.items() if "devices" in options and INVOCATIONS[command].writes]
    return [
        pytest.param(command, signum, marks=[] if (command, signum) == FAST else pytest.mark.slow)
        for command in found
        for signum in (signal.SIGTERM, signal.SIGKILL)
    ]


FAST = ("data synthesize", signal.SIGTERM)


@pytest.mark.parametrize(("command", "signum"), in_processes())
def test_no_process_outlives_the_command(command: str, signum: int, world: dict[str, Path], tmp_path: Path) -> None:
    words = words_of(command, world)
    shared = [*(word for word in words), "--devices", "2"]
    with start(shared, start_new_session=True) as process:
        assert until(lambda: len(session(process.pid)) > 1 or process.poll() is not None)
        process.send_signal(signum)
        _, errors = end(process)
    assert until(lambda: not session(process.pid), seconds=10)
    assert process.returncode in (0, 143 if signum == signal.SIGTERM else -signum)
    if process.returncode == 143:
        assert "thriftseg: stopped by SIGTERM; " in errors
    if process.returncode:
        assert said(words)[0] == 0
    assert written(command)
