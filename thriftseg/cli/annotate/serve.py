"""`thriftseg annotate serve`."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from thriftseg.cli.command import say
from thriftseg.cli.data import parse_shares
from thriftseg.cli.options.reader import ClassData
from thriftseg.errors import ConfigError

if TYPE_CHECKING:
    from thriftseg.annotation import PageAddress, PageMethods, PageOptions


def run(
    data: ClassData,
    methods: PageMethods,
    address: PageAddress,
    options: PageOptions,
    dataset: str = "folder",
    split: list[str] | None = None,
    video: str | None = None,
    taxonomy: str | None = None,
    shares: str = "0.7,0.15,0.15",
    store: str | None = None,
    source: str = "drawn",
    machine: str | None = None,
    tasks: str | None = None,
) -> int:
    """Annotate in the browser, and measure what it costs.

    Args:
        data: The data set.
        methods: What carries labels, and what turns clicks into masks.
        address: Where the page is served.
        options: How it counts and greets.
        dataset: One of cityscapes, camvid, idd, veis, scenenet, folder.
        split: Splits to show; all that have clips if unset.
        video: Video, or folder of videos, to cut into frames first; --root says where to, videos/<name> if unset.
        taxonomy: Class table (YAML) of the video.
        shares: Parts of the video that become train, val and test, such as 1,0,0; see `thriftseg data import`.
        store: Folder of the label store; `labels/<dataset>` if unset, with --video the folder `labels` in its root.
        source: Source of what people draw.
        machine: Source of labels that a machine makes; the name of the method if unset.
        tasks: Folder of tasks to show instead of a data set: --work of a loop, or --out of next for objects.
    """
    from thriftseg.annotation import serve_annotation, serve_tasks

    if tasks is not None:
        if data != type(data)(dataset) or split or video or taxonomy or store or machine:
            raise ConfigError("a folder of tasks, or a data set?", found=f"--tasks {tasks}", fix="drop one of the two")
        serve_tasks(tasks, methods.make_prompter(), address=address, options=options, say=say)
        return 0
    if video is not None:
        root = _cut(Path(video), data, taxonomy, shares)
        data, store = replace(data, root=str(root)), store or str(root / "labels")
    elif taxonomy is not None:
        raise ConfigError("--taxonomy is about a video", fix="add --video, or leave it out")
    serve_annotation(
        data.open(),
        split or (),
        methods=methods,
        address=address,
        options=options,
        store=store,
        source=source,
        machine=machine,
        say=say,
    )
    return 0


def _cut(video: Path, data: ClassData, taxonomy: str | None, shares: str) -> Path:
    """Cut videos into a folder of the layout `folder`, unless that was done before."""
    from thriftseg.datasets import VIDEO_SUFFIXES, import_videos, list_files

    if data.dataset != "folder":
        raise ConfigError("--video makes a data set of its own", found=f"--dataset {data.dataset}", fix="leave it out")
    root = Path(data.root or Path("videos") / video.stem)
    files = list_files(video, VIDEO_SUFFIXES) if video.is_dir() else [video]
    if not files:
        raise ConfigError("no videos in the folder", path=video, expected=", ".join(sorted(VIDEO_SUFFIXES)))
    if taxonomy is None and not (root / "classes.yaml").is_file():
        raise ConfigError("a video has no class table", path=video, fix="add --taxonomy classes.yaml")
    cut = import_videos(files, root, taxonomy, shares=parse_shares(shares), progress=True)
    say(str(cut).partition("\n")[0])  # what comes next stands on the page
    return root
