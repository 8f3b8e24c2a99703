from __future__ import annotations

import argparse
import errno
import os
import subprocess
import sys
import traceback

import pytest
from torch.utils.data import DataLoader, Dataset

from thriftseg import __version__
from thriftseg.cli.main import COMMANDS, main, user_message
from thriftseg.errors import ConfigError, DatasetError


class Unreadable(Dataset[int]):
    def __len__(self) -> int:
        return 2

    def __getitem__(self, index: int) -> int:
        raise DatasetError("not a PNG", path="0001.png", fix="copy it again", detail="second line")


def test_help_lists_every_command_in_one_line_each(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--help"]) == 0
    lines = capsys.readouterr().out.splitlines()
    for name, command in COMMANDS.items():
        assert any(line.split() == [name, *command.summary.split()] for line in lines)


def test_help_is_quick_and_imports_no_torch() -> None:
    code = (
        "import sys; from thriftseg.cli.main import main; code = main(['--help']);"
        "heavy = {'torch', 'lightning', 'cv2', 'numpy'} & set(sys.modules); sys.exit(code or len(heavy))"
    )
    quickest = float("inf")
    for _ in range(3):
        before = processor_time_of_children()
        subprocess.run([sys.executable, "-c", code], check=True, stdout=subprocess.DEVNULL)
        quickest = min(quickest, processor_time_of_children() - before)
    assert quickest < 1.0


def processor_time_of_children() -> float:
    """Seconds of those that have ended; unlike the time on the clock, they do not count what a busy machine waits."""
    times = os.times()
    return times.children_user + times.children_system


def test_version(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--version"]) == 0
    assert capsys.readouterr().out == f"thriftseg {__version__}\n"


def test_no_command_shows_the_help(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([]) == 2
    assert "quickstart" in capsys.readouterr().out


def test_an_unknown_command_names_the_known_ones(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["fitt"]) == 2
    assert "invalid choice: 'fitt' (choose from" in capsys.readouterr().err


def test_a_command_that_is_interrupted(monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt(arguments: list[str]) -> int:
        raise KeyboardInterrupt

    monkeypatch.setattr("thriftseg.cli.main._dispatch", interrupt)
    assert main(["fit"]) == 130


def test_an_interrupt_that_the_trainer_turned_into_an_exit(monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt(arguments: list[str]) -> int:
        try:
            raise KeyboardInterrupt
        except KeyboardInterrupt:
            sys.exit(1)

    monkeypatch.setattr("thriftseg.cli.main._dispatch", interrupt)
    assert main(["fit"]) == 130


def test_a_defect_keeps_its_traceback(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(arguments: list[str]) -> int:
        raise ZeroDivisionError

    monkeypatch.setattr("thriftseg.cli.main._dispatch", fail)
    with pytest.raises(ZeroDivisionError):
        main(["fit"])


def test_a_fault_behind_a_wrapper_is_told() -> None:
    wrapped = ValueError("Parser key 'data': ...")
    wrapped.__cause__ = ConfigError("crop is too large", found=9, fix="use 8")
    assert user_message(wrapped) == "crop is too large; found 9; fix: use 8"


def test_a_fault_in_a_worker_is_told_without_its_traceback() -> None:
    with pytest.raises(DatasetError) as caught:
        next(iter(DataLoader(Unreadable(), num_workers=1)))
    traceback.clear_frames(caught.tb)  # a loader that is left to the garbage collector waits 5 s for its worker
    assert user_message(caught.value) == "0001.png: not a PNG; fix: copy it again\nsecond line"


def test_the_reason_at_the_bottom_of_a_parser_report() -> None:
    report = (
        'Parser key "model":\n'
        "  Does not validate against any of the Union subtypes\n"
        "  Errors:\n"
        "    - Problem with given class_path 'a.Module':\n"
        '        Parser key "loss":\n'
        "            Expected an int. Got value: foo\n"
        "    - Expected a <class 'NoneType'>\n"
        "  Given value: NestedArg(key='loss', val='foo')\n"
    )
    error = argparse.ArgumentError(None, report)
    assert user_message(error) == "model.loss: Expected an int. Got value: foo"
    assert user_message(argparse.ArgumentError(None, "two\n lines")) == "two lines"


def test_other_exceptions_are_no_fault_of_the_user() -> None:
    assert user_message(RuntimeError("shape mismatch")) is None


def test_what_the_file_system_refuses_is_told_in_one_line(tmp_path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "file").write_text("")
    arguments = ["synthesize", "--out", str(tmp_path / "file" / "data"), "--frames=2", "--devices=1"]
    assert main(["data", *arguments]) == 2
    message = capsys.readouterr().err
    assert message.startswith(f"thriftseg: error: {tmp_path / 'file'}")
    assert "not a directory; fix: check permissions and free space" in message
    assert user_message(OSError(errno.EIO, "Input/output error", "x.png")) is None
