"""Rows of a label manifest: stored labels and the human actions they descend from."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from msgspec import Meta

from thriftseg.costs import AnnotationCost
from thriftseg.parsing import Count, FileName, Number, Record
from thriftseg.types import Frame, LabelKind

SCHEMA = 1
"""Version of the row format; rows of any other version are refused."""

POINTS = "points"

_KINDS = "|".join([POINTS, *(kind.label for kind in LabelKind)])


def action_id(source: str, dataset: str, video: str, number: int, region: int | None = None) -> str:
    """Identifier of the human work behind one frame, or behind one region of it.

    Args:
        source: "manual" or "coarse" for labels that came with the data set, else the source in the label store.
        dataset: Name of the data set.
        video: Identifier of the clip.
        number: Native frame number.
        region: Number of the region, where frames are labelled in parts.

    Example:
        >>> action_id("manual", "camvid", "0016E5", 7959)
        'manual:camvid/0016E5/007959'
        >>> action_id("person", "camvid", "0016E5", 7959, 12)
        'person:camvid/0016E5/007959#12'
    """
    frame = f"{source}:{dataset}/{video}/{number:06d}"
    return frame if region is None else f"{frame}#{region}"


def annotated_frame(action: str) -> Frame | None:
    """Video and native number of the frame that a human action is about, `None` if the identifier does not tell.

    Example:
        >>> annotated_frame("manual:camvid/0016E5/007959")
        ('0016E5', 7959)
        >>> annotated_frame("person:camvid/0016E5/007959#12")
        ('0016E5', 7959)
    """
    _, _, frame = action.partition(":")
    video, _, number = frame.partition("/")[2].rpartition("/")
    number, _, _ = number.partition("#")
    return (video, int(number)) if video and number.isdecimal() else None


class LabelRow(Record, frozen=True):
    """One stored label.

    Attributes:
        video: Identifier of the clip.
        frame: Native frame number.
        kind: Lower-case name of a `LabelKind`, or "points" for clicks.
        source: Source in the label store.
        generator: What made the label.
        arguments: Its settings, JSON values only.
        space: What the values mean: "train_id" or "object_id".
        taxonomy: Name of the class table.
        taxonomy_version: Version of the class table.
        parents: Identifiers of the human actions this label descends from.
        ignored_share: Share of pixels without a label.
        confidence: 0..1 as the generator defines it, `None` where it does not.
        sha256: Digest of the PNG file or, for points, of their canonical JSON.
        key: For points: name of the frame in the click file.
        licences: Licences of the weights that had a part in making the label, as far as they are known.
        needs_review: Whether a person has yet to look at it, since none had a part in making it.

    Example:
        >>> import tempfile
        >>> import numpy as np
        >>> from thriftseg.stores import LabelStore
        >>> from thriftseg.taxonomies import CAMVID
        >>> with tempfile.TemporaryDirectory() as root:
        ...     store, label = LabelStore(root, "flow", CAMVID), np.array([[0, 3, 3, 255]], np.uint8)
        ...     row: LabelRow = store.write("drive", 30, label, kind=LabelKind.PROPAGATED, generator="demo")
        >>> row.kind, row.label_kind.value, row.ignored_share, "needs_review" in row.to_json()
        ('propagated', 1, 0.25, False)
    """

    video: FileName
    frame: Count
    kind: Annotated[str, Meta(pattern=rf"\A({_KINDS})\Z")]
    source: str
    generator: str
    arguments: Mapping[str, Any]
    space: str
    taxonomy: str
    taxonomy_version: int
    parents: tuple[str, ...]
    ignored_share: Number
    confidence: Number | None
    sha256: str
    key: str | None = None
    licences: tuple[str, ...] = ()
    needs_review: bool = False

    @property
    def label_kind(self) -> LabelKind:
        """Kind of the label as it travels through batches."""
        return LabelKind.CLICKS if self.kind == POINTS else LabelKind[self.kind.upper()]

    def to_json(self) -> dict[str, Any]:
        """The row as it stands in the manifest, without what holds for few labels where it does not hold."""
        row = {"schema": SCHEMA, **super().to_json()}
        for name in ("key", "licences", "needs_review"):
            if not row[name]:
                del row[name]
        return row


class ActionRow(Record, frozen=True):
    """One human action, real or simulated.

    Attributes:
        id: Identifier, see `action_id`.
        source: Source in the label store.
        video: Identifier of the clip.
        frame: Native frame number.
        cost: What it cost.
        cost_model: Name of the cost model when the cost depends on it, else empty.
        kind: Tells it from rows of labels.

    Example:
        >>> name = action_id("person", "camvid", "0016E5", 7959)
        >>> row = ActionRow(name, "person", "0016E5", 7959, AnnotationCost(seconds=85.5, clicks=3))
        >>> row.to_json()["id"], row.to_json()["kind"], row.cost.seconds
        ('person:camvid/0016E5/007959', 'action', 85.5)
    """

    id: str
    source: str
    video: str
    frame: Count
    cost: AnnotationCost
    cost_model: str = ""
    kind: Literal["action"] = "action"

    def to_json(self) -> dict[str, Any]:
        """The row as it stands in the manifest."""
        return {"schema": SCHEMA, **super().to_json()}


def kind_of_row(row: Mapping[str, Any]) -> type[LabelRow | ActionRow]:
    """What a row of a manifest is."""
    return ActionRow if row.get("kind") == "action" else LabelRow
