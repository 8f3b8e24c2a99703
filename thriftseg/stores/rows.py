"""Rows of a label manifest: stored labels and the human actions they descend from."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

from thriftseg.costs import AnnotationCost
from thriftseg.errors import LabelStoreError, ThriftsegError
from thriftseg.stores.manifest import check_schema
from thriftseg.types import Frame, LabelKind

SCHEMA = 1
"""Version of the row format; rows of any other version are refused."""

ACTION = "action"
POINTS = "points"


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


@dataclass(frozen=True)
class LabelRow:
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
    """

    video: str
    frame: int
    kind: str
    source: str
    generator: str
    arguments: Mapping[str, Any]
    space: str
    taxonomy: str
    taxonomy_version: int
    parents: tuple[str, ...]
    ignored_share: float
    confidence: float | None
    sha256: str
    key: str | None = None

    @property
    def label_kind(self) -> LabelKind:
        """Kind of the label as it travels through batches."""
        return LabelKind.CLICKS if self.kind == POINTS else LabelKind[self.kind.upper()]

    def to_json(self) -> dict[str, Any]:
        """The row as it stands in the manifest."""
        row = {"schema": SCHEMA, **asdict(self), "arguments": dict(self.arguments), "parents": list(self.parents)}
        if self.key is None:
            del row["key"]
        return row


@dataclass(frozen=True)
class ActionRow:
    """One human action, real or simulated.

    Attributes:
        id: Identifier, see `action_id`.
        source: Source in the label store.
        video: Identifier of the clip.
        frame: Native frame number.
        cost: What it cost.
        cost_model: Name of the cost model when the cost depends on it, else empty.
    """

    id: str
    source: str
    video: str
    frame: int
    cost: AnnotationCost
    cost_model: str = ""
    kind: str = field(default=ACTION, init=False)

    def to_json(self) -> dict[str, Any]:
        """The row as it stands in the manifest."""
        return {"schema": SCHEMA, **asdict(self), "cost": self.cost.to_dict()}


def parse_row(row: Mapping[str, Any], path: Path) -> LabelRow | ActionRow:
    """Read a row of a manifest.

    Args:
        row: The JSON object.
        path: The manifest, for the message.

    Raises:
        LabelStoreError: The row is of an unknown version or incomplete.
    """
    check_schema(row, SCHEMA, "manifest", path)
    values = {name: value for name, value in row.items() if name != "schema"}
    try:
        if values.get("kind") == ACTION:
            del values["kind"]
            return ActionRow(**{**values, "cost": AnnotationCost.from_dict(values["cost"])})
        label = LabelRow(**{**values, "frame": int(values["frame"]), "parents": tuple(values["parents"])})
        _ = label.label_kind  # a KeyError here names an unknown kind
    except (TypeError, KeyError, ValueError, ThriftsegError) as error:
        raise LabelStoreError(
            "damaged row in the manifest",
            path=path,
            expected="the fields " + ", ".join(f.name for f in fields(LabelRow)),
            found=f"{dict(row)} ({error})",
        ) from error
    return label
