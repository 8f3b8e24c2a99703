"""Options that choose a data set, shared by the commands that read one."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from thriftseg.datasets import VOS_DATASETS, ClipReader, VideoDataset, VOSDataset, create, create_vos


@dataclass(frozen=True)
class AnyData:
    """A data set, of labels of classes or of masks of objects.

    Attributes:
        dataset: One of cityscapes, camvid, idd, veis, scenenet, folder, or with masks of objects davis, youtube_vos,
            mose, tao_vos, coco.
        root: Folder of the data; that of the environment if unset.
        reader: Further settings of the reader, such as '{"view": "cityscapes"}' for idd.
    """

    dataset: str
    root: str | None = None
    reader: dict[str, Any] = field(default_factory=dict)

    @property
    def has_objects(self) -> bool:
        """Whether it has masks of objects instead of labels of classes."""
        return self.dataset.lower() in VOS_DATASETS

    def find(self) -> ClipReader[Any]:
        """The reader.

        Raises:
            ConfigError: There is no data set of this name.
        """
        make = create_vos if self.has_objects else create
        return make(self.dataset, self.root, **self.reader)

    def open(self) -> Any:
        """The reader, after printing which folder it reads."""
        reader = self.find()
        print(reader.describe_root())
        return reader


@dataclass(frozen=True)
class ClassData(AnyData):
    """A data set with labels of classes.

    Attributes:
        dataset: One of cityscapes, camvid, idd, veis, scenenet, folder.
    """

    def find(self) -> VideoDataset:
        """The reader; see `AnyData.find`."""
        return create(self.dataset, self.root, **self.reader)


@dataclass(frozen=True)
class ObjectData(AnyData):
    """A data set with masks of objects.

    Attributes:
        dataset: One of davis, youtube_vos, mose, tao_vos, coco.
    """

    def find(self) -> VOSDataset:
        """The reader; see `AnyData.find`."""
        return create_vos(self.dataset, self.root, **self.reader)
