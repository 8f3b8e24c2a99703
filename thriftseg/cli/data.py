"""`thriftseg data check | synthesize | import | mixture | submit`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from thriftseg.cli.actions import Action, add_actions, run_action
from thriftseg.cli.reader import add_reader_arguments, has_objects, reader_of, vos_reader_of
from thriftseg.errors import ConfigError
from thriftseg.resources import config_path

if TYPE_CHECKING:
    from jsonargparse import ArgumentParser, Namespace

    from thriftseg.datamodules import Mixture, MixtureList
    from thriftseg.datasets import VideoDataset


def add_arguments(parser: ArgumentParser) -> None:
    """Declare the sub-commands and their options."""
    add_actions(parser, ACTIONS)


def run(args: Namespace) -> int:
    """Run the chosen sub-command."""
    return run_action(ACTIONS, args)


def _declare_check(parser: ArgumentParser) -> None:
    from thriftseg.datasets import DATASETS, VOS_DATASETS

    add_reader_arguments(parser, [*DATASETS, *VOS_DATASETS])
    parser.add_argument("--strict", action="store_true", help="leakage inside an official split is a fault, too")
    parser.add_argument("--every_frame", type=bool, default=True, help="decode frames without a label as well")
    parser.add_argument("--jobs", type=int | None, help="threads; one per core if unset")


def _check(args: Namespace) -> int:
    options = {"every_frame": args.every_frame, "jobs": args.jobs, "progress": True}
    if has_objects(args):
        from thriftseg.datasets import check_vos, print_vos_report

        found = check_vos(vos_reader_of(args), args.strict, **options)
        print_vos_report(found)
        return found.exit_code
    from thriftseg.datasets import check_dataset, print_report

    report = check_dataset(reader_of(args), args.strict, **options)
    print_report(report)
    return report.exit_code


def _declare_synthesize(parser: ArgumentParser) -> None:
    from thriftseg.synthetic import LAYOUTS, VOS_LAYOUTS

    parser.add_argument("--out", type=str, required=True, metavar="DIR", help="root of the data set to write")
    parser.add_argument("--layout", choices=[*LAYOUTS, *VOS_LAYOUTS], default="cityscapes", help="folder layout")
    parser.add_argument("--train_clips", type=int, default=8, help="clips to train on")
    parser.add_argument("--val_clips", type=int, default=4, help="clips to validate on")
    parser.add_argument("--test_clips", type=int | None, help="clips to test on; if unset what the layout needs")
    parser.add_argument("--frames", type=int, default=30, help="frames per clip")
    parser.add_argument("--height", type=int | None, help="rows of a frame; 256 if unset, 240 for moving objects")
    parser.add_argument("--width", type=int | None, help="columns of a frame; 512 if unset, 432 for moving objects")
    parser.add_argument("--seed", type=int, default=0, help="everything random follows from it")
    parser.add_argument("--jobs", type=int | None, help="processes; one per core if unset")
    parser.add_argument(
        "--image_format",
        type=Literal["png", "jpg"] | None,
        help="format of the frames; png if unset, for objects jpg",
    )
    parser.add_argument("--own_colors", action="store_true", help="moving objects do not have the background's colours")


def _synthesize(args: Namespace) -> int:
    from thriftseg.progress import progress_bar
    from thriftseg.synthetic import VOS_LAYOUTS, synthesize, synthesize_objects

    write = synthesize_objects if args.layout in VOS_LAYOUTS else synthesize
    given = {name: value for name, value in args.as_dict().items() if value is not None}
    if args.layout not in VOS_LAYOUTS and given.pop("own_colors"):
        raise ConfigError("only moving objects have colours of their own", expected=", ".join(VOS_LAYOUTS))
    with progress_bar() as bar:
        task = bar.add_task("rendering clips", total=None)
        summary = write(**given, progress=lambda done, total: bar.update(task, completed=done, total=total))
    print(summary)
    return 0


def _declare_import(parser: ArgumentParser) -> None:
    parser.add_argument("videos", type=str, nargs="+", metavar="VIDEO", help="video files")
    parser.add_argument("--out", type=str, required=True, metavar="DIR", help="root of the data set to write")
    parser.add_argument(
        "--classes", type=str | None, metavar="YAML", help="class table; a template is written if unset"
    )
    parser.add_argument("--every", type=float, default=1.0, metavar="S", help="seconds between frames to label")
    parser.add_argument(
        "--shares", type=str, default="0.7,0.15,0.15", help="train, val and test by time, in brackets or without"
    )
    parser.add_argument("--gap", type=float, default=1.0, help="seconds left out between splits")
    parser.add_argument("--fps", type=float | None, help="frames to keep per second; all if unset")
    parser.add_argument("--frame_format", choices=["jpg", "png"], default="jpg", help="format of the frames")


def _import(args: Namespace) -> int:
    from thriftseg.datasets import import_videos

    try:
        train, val, test = map(float, args.shares.strip("[]() ").split(","))
    except ValueError as error:
        raise ConfigError("--shares", expected="three numbers such as 1,0,0 or [1,0,0]", found=args.shares) from error
    summary = import_videos(
        args.videos,
        args.out,
        args.classes,
        args.every,
        shares=(train, val, test),
        gap=args.gap,
        fps=args.fps,
        frame_format=args.frame_format,
        progress=True,
    )
    print(summary)
    return 0


def _declare_mixture(parser: ArgumentParser) -> None:
    parser.add_argument("--config", type=str, required=True, metavar="YAML", help="config of `thriftseg fit`")
    parser.add_argument("--root", type=str | None, metavar="DIR", help="folder of the data")
    parser.add_argument("--split", type=str, default="train", help="split to draw from")
    parser.add_argument("--planned", type=bool, default=False, help="price labels that are still to be generated")
    parser.add_argument("--list", type=bool, default=True, help="print every sample, not only the table")


def _mixture(args: Namespace) -> int:
    dataset, mixture = read_mixture(args.config, args.root)
    drawn = (mixture.plan if args.planned else mixture.draw)(dataset, args.split)
    if args.list:
        print_samples(drawn)
    print(drawn)
    return 0


def print_samples(drawn: MixtureList) -> None:
    """Print one tab-separated line per sample, ready for other programs."""
    for position, row in enumerate(drawn.as_rows()):
        if position == 0:
            print("\t".join(row))
        print("\t".join(str(value) for value in row.values()))


def read_mixture(path: str | Path, root: str | None = None) -> tuple[VideoDataset, Mixture]:
    """Build the data set and the mixture that a training config names, and nothing else of it.

    Args:
        path: Config of `thriftseg fit`: a file, or the name of one that ships with the package.
        root: Folder of the data, in place of the one in the config.

    Raises:
        ConfigError: The file is missing or has no such section, or a setting is wrong.
    """
    from jsonargparse import ArgumentParser

    from thriftseg.datamodules import Mixture
    from thriftseg.datasets import VideoDataset

    settings = _data_section(Path(path))
    wanted: dict[str, Any] = {"dataset": settings["dataset"]}
    if isinstance(wanted["dataset"], str):
        wanted["dataset"] = {"class_path": wanted["dataset"]}
    if root is not None:
        wanted["dataset"].setdefault("init_args", {})["root"] = root
    if settings.get("mixture"):
        wanted["mixture"] = settings["mixture"]
    parser = ArgumentParser(exit_on_error=False)
    parser.add_argument("--dataset", type=VideoDataset)
    parser.add_argument("--mixture", type=Mixture | None)
    built = parser.instantiate_classes(parser.parse_object(wanted))
    return built.dataset, built.mixture or Mixture()


def _data_section(path: Path) -> dict[str, Any]:
    import yaml

    if not path.is_file():
        path = _shipped(path)
    try:
        config = yaml.safe_load(path.read_text()) or {}
    except yaml.YAMLError as error:
        raise ConfigError("not YAML", path=path, found=" ".join(str(error).split())) from error
    section = config.get("data", {}) if isinstance(config, dict) else {}
    settings = section.get("init_args", {}) if isinstance(section, dict) else {}
    if "dataset" not in settings:
        raise ConfigError("the config names no data set", path=path, expected="data.init_args.dataset")
    return dict(settings)


def _shipped(name: Path) -> Path:
    try:
        return config_path(name.as_posix())
    except ConfigError as error:
        raise ConfigError("no such config", path=name, fix="pass a config of `thriftseg fit`") from error


def _declare_submit(parser: ArgumentParser) -> None:
    from thriftseg.datasets import VOS_DATASETS

    served = [name for name, reader in VOS_DATASETS.items() if reader.submission_folder is not None]
    add_reader_arguments(parser, served)
    parser.add_argument("--split", type=str, required=True, help="split that was predicted, such as valid or test-dev")
    parser.add_argument("--predictions", type=str, required=True, metavar="DIR", help="folder of {video}/{frame}.png")
    parser.add_argument("--out", type=str, required=True, metavar="FILE.zip", help="file to write")


def _submit(args: Namespace) -> int:
    from thriftseg.exchange import write_submission

    print(write_submission(vos_reader_of(args), args.split, args.predictions, args.out, progress=True))
    return 0


ACTIONS = {
    "check": Action(_declare_check, _check, "read every file of a data set; exit code 2 on any fault"),
    "synthesize": Action(_declare_synthesize, _synthesize, "write synthetic video in the layout of a data set"),
    "import": Action(_declare_import, _import, "cut your own videos into clips and list the frames to label"),
    "mixture": Action(_declare_mixture, _mixture, "print the training list of a config and what its labels cost"),
    "submit": Action(_declare_submit, _submit, "pack predicted masks of objects for the server of a data set"),
}
