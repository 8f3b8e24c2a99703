"""`thriftseg data check | synthesize | import | mixture | shard | submit`."""

from __future__ import annotations

from typing import Any, Literal

from thriftseg.cli.options.reader import AnyData, ClassData, ObjectData
from thriftseg.errors import ConfigError


def _check(data: AnyData, deep: bool = False, store: str | None = None, **options: Any) -> int:
    """Read every file of a data set; exit code 2 on any fault.

    Args:
        data: The data set.
        deep: Look for bit rot: decode every frame, and compare stored labels with their digests. PNG files have
            checksums; a JPEG is a fault only where it cannot be decoded.
        store: Folder of the label store; labels/<dataset> if unset.
        options: Those of `thriftseg.datasets.check_dataset`.
    """
    from thriftseg.datasets import check_dataset, check_vos, print_report, print_vos_report
    from thriftseg.stores import find_rot, store_root

    reader: Any = data.find()
    if deep:
        options["every_frame"] = True
    if data.has_objects:
        report: Any = check_vos(reader, progress=True, **options)
    else:
        report = check_dataset(reader, progress=True, **options)
    if deep:
        report.findings += find_rot(store_root(store, reader.name), reader.taxonomy)
    (print_vos_report if data.has_objects else print_report)(report)
    return int(report.exit_code)


def _synthesize(
    layout: Literal[
        "cityscapes", "camvid", "idd", "veis", "scenenet", "davis", "youtube_vos", "mose", "tao_vos"
    ] = "cityscapes",
    height: int | None = None,
    width: int | None = None,
    image_format: Literal["png", "jpg"] | None = None,
    own_colors: bool = False,
    **options: Any,
) -> int:
    """Write synthetic video in the layout of a data set.

    Args:
        layout: Folder layout; from davis on with moving objects.
        height: Rows of a frame; 256 if unset, 240 for moving objects.
        width: Columns of a frame; 512 if unset, 432 for moving objects.
        image_format: Format of the frames; png if unset, jpg for moving objects.
        own_colors: Moving objects do not have the background's colours.
        options: Those of `thriftseg.synthetic.synthesize`.
    """
    from thriftseg.progress import progress_bar
    from thriftseg.synthetic import VOS_LAYOUTS, synthesize, synthesize_objects

    sizes = {"height": height, "width": width, "image_format": image_format}
    given: dict[str, Any] = {name: value for name, value in sizes.items() if value is not None}
    if own_colors and layout not in VOS_LAYOUTS:
        raise ConfigError("only moving objects have colours of their own", expected=", ".join(VOS_LAYOUTS))
    with progress_bar() as bar:
        task = bar.add_task("rendering clips", total=None)

        def progress(done: int, total: int) -> None:
            bar.update(task, completed=done, total=total)

        if layout in VOS_LAYOUTS:
            given["own_colors"] = own_colors
            print(synthesize_objects(layout=layout, progress=progress, **given, **options))
        else:
            print(synthesize(layout=layout, progress=progress, **given, **options))
    return 0


def _import(videos: list[str], /, classes: str | None = None, shares: str = "0.7,0.15,0.15", **options: Any) -> int:
    """Cut your own videos into clips and list the frames to label.

    Args:
        videos: Video files.
        classes: YAML class table; a template is written if unset.
        shares: Parts for train, val and test by time, in brackets or without.
        options: Those of `thriftseg.datasets.import_videos`.
    """
    from thriftseg.datasets import import_videos

    print(import_videos(videos, classes_yaml=classes, shares=parse_shares(shares), progress=True, **options))
    return 0


def parse_shares(shares: str) -> tuple[float, float, float]:
    """Parts of videos that become train, val and test, as one writes them on the command line.

    Args:
        shares: Such as "1,0,0" or "[1,0,0]".

    Raises:
        ConfigError: It is not three numbers.
    """
    try:
        train, val, test = map(float, shares.strip("[]() ").split(","))
    except ValueError as error:
        raise ConfigError("--shares", expected="three numbers such as 1,0,0 or [1,0,0]", found=shares) from error
    return train, val, test


def _mixture(
    config: str, root: str | None = None, split: str = "train", planned: bool = False, list: bool = True
) -> int:
    """Print the training list of a config and what its labels cost.

    Args:
        config: Config of `thriftseg fit`: a file, or one that ships with the package.
        root: Folder of the data, in place of the one in the config.
        split: Split to draw from.
        planned: Price labels that are still to be generated.
        list: Print every sample, not only the table.
    """
    from thriftseg.datamodules import read_mixture

    dataset, mixture = read_mixture(config, root)
    drawn = (mixture.plan if planned else mixture.draw)(dataset, split)
    if list:
        for position, row in enumerate(drawn.as_rows()):
            if position == 0:
                print("\t".join(row))
            print("\t".join(str(value) for value in row.values()))
    print(drawn)
    return 0


def _shard(data: ClassData, **options: Any) -> int:
    """Pack a data set and its labels into tar shards, to be read from a bucket or a disk.

    Args:
        data: The data set.
        options: Those of `thriftseg.datamodules.write_shards`.
    """
    from thriftseg.datamodules import write_shards

    print(write_shards(data.find(), progress=True, **options))
    return 0


def _submit(data: ObjectData, **options: Any) -> int:
    """Pack predicted masks of objects for the server of a data set.

    Args:
        data: The data set.
        options: Those of `thriftseg.exchange.write_submission`.
    """
    from thriftseg.exchange import write_submission

    print(write_submission(data.find(), progress=True, **options))
    return 0


ACTIONS = {
    "check": _check,
    "synthesize": _synthesize,
    "import": _import,
    "mixture": _mixture,
    "shard": _shard,
    "submit": _submit,
}
