"""`thriftseg annotate eva-vos`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from thriftseg.cli.annotate.asking import Asking
from thriftseg.cli.annotate.objects import ObjectOptions
from thriftseg.cli.command import say
from thriftseg.cli.options.reader import ObjectData
from thriftseg.errors import ConfigError

if TYPE_CHECKING:
    from thriftseg.annotation import (
        AnnotationChoices,
        Clicking,
        EVAVOSResult,
        MaskAnnotator,
        MaskMethods,
        PageAddress,
        PageOptions,
        Wait,
    )


def run(
    data: ObjectData,
    objects: ObjectOptions,
    methods: MaskMethods,
    choices: AnnotationChoices,
    clicking: Clicking,
    address: PageAddress,
    page: PageOptions,
    out: str,
    split: str = "val",
    target_jf: float = 0.85,
    stop_at_target: bool = False,
    annotator: Literal["simulated", "files", "page"] = "simulated",
    work: str | None = None,
    **options: Any,
) -> int:
    """Draw or click objects of videos, where it helps most per hour.

    Args:
        data: The data set.
        objects: The objects.
        methods: What carries masks, and what makes them.
        choices: What is annotated next, and how.
        clicking: How a person clicks.
        address: Where the page of a person is served.
        page: How the page counts and greets.
        out: Folder of the run; goes on if it has one.
        split: Split that holds the videos.
        target_jf: J&F whose hours are reported.
        stop_at_target: Finish objects that have reached it.
        annotator: The truth, a person with files, or a person on a page in the browser.
        work: Folder of the person; <out>/work if unset.
        options: Those of `thriftseg.annotation.EVAVOSSettings`.
    """
    from thriftseg.annotation import EVAVOSSettings, MaskFilesPerson, annotate_eva_vos
    from thriftseg.reports import conclude_eva_vos

    if not 0 < target_jf <= 1:
        raise ConfigError("--target_jf", expected="above 0, at most 1", found=target_jf)
    if work is not None and annotator == "simulated":
        raise ConfigError("--work is about a person", found="--annotator simulated", fix="add --annotator files")
    settings = EVAVOSSettings(target=target_jf if stop_at_target else None, **options)
    videos = objects.find(data.open(), split)
    prompter = methods.make_prompter()
    person: MaskAnnotator = clicking.simulated(prompter)
    folder = Path(work or Path(out) / "work")
    if annotator != "simulated":
        person = MaskFilesPerson(folder, prompter, clicks=clicking.clicks)
    parts = methods.make_propagator(), choices.make_frames(methods), choices.make_types(methods, prompter)

    def annotate(wait: Wait | None) -> EVAVOSResult:
        return annotate_eva_vos(videos, person, *parts, out, settings, say=say, wait=wait)

    result = Asking(annotator, address, page).run(annotate, folder, prompter=lambda: prompter)
    print(conclude_eva_vos(result, target_jf))
    return 0
