"""Tasks of a CVAT server, by the package `cvat-sdk`: what people drew comes here, what a machine made goes there.

[0] https://docs.cvat.ai/docs/api_sdk/sdk/
"""

from __future__ import annotations

import io
import os
import tempfile
import zipfile
import zlib
from collections.abc import Collection, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from thriftseg.atomic import write_bytes
from thriftseg.errors import ConfigError, DatasetError
from thriftseg.exchange.class_names import train_ids_of
from thriftseg.exchange.cvat import CVAT_FILE, MACHINE, mask_counts
from thriftseg.exchange.frame_names import FrameNames
from thriftseg.exchange.records import AnnotatedImage, ExportedFrame
from thriftseg.limits import FILE_BYTES
from thriftseg.parsing import read_bytes
from thriftseg.taxonomies import Taxonomy
from thriftseg.types import Frame

TOKEN, USER, PASSWORD = "CVAT_ACCESS_TOKEN", "CVAT_USER", "CVAT_PASSWORD"
"""Environment variables that say who asks: a personal access token, or a name and a password."""

_FORMAT = "CVAT for images 1.1"
_AT_ONCE = 500  # shapes in a request


class CVATTask:
    """A task of a CVAT server.

    Shapes that a machine made are those whose source is "auto"; CVAT itself notes another one as soon as a person
    changes them.

    Args:
        url: Address of the server, such as `https://app.cvat.ai`.
        number: Number of the task.
        check_every: Seconds between questions whether the server has packed the annotations.

    Raises:
        ConfigError: `cvat-sdk` is not installed, nothing says who asks, or the server cannot be reached, refuses, or
            has no such task.

    Example:
        >>> from unittest.mock import patch
        >>> with patch.dict(os.environ, {TOKEN: "", USER: ""}):
        ...     CVATTask("https://app.cvat.ai", 7)
        Traceback (most recent call last):
        thriftseg.errors.ConfigError: nothing says who asks the CVAT server; fix: set CVAT_ACCESS_TOKEN, or ...
    """

    def __init__(self, url: str, number: int, *, check_every: float = 1.0) -> None:
        try:
            from cvat_sdk.core.client import AccessTokenCredentials, Client, Config, PasswordCredentials
        except ModuleNotFoundError as error:
            raise ConfigError("cvat-sdk is not installed", fix="pip install thriftseg[cvat]") from error
        token, user, password = (os.environ.get(name) for name in (TOKEN, USER, PASSWORD))
        if not token and not (user and password):
            raise ConfigError("nothing says who asks the CVAT server", fix=f"set {TOKEN}, or {USER} and {PASSWORD}")
        self.url, self.number, self._name = url, number, Path(f"task {number} of the CVAT server")
        with self._talking():
            self._client = Client(url, config=Config(status_check_period=check_every), check_server_version=False)
            self._client.login(AccessTokenCredentials(token) if token else PasswordCredentials(user, password))
            self._task: Any = self._client.tasks.retrieve(number)

    def download(self, folder: Path) -> Path:
        """Fetch the annotations as a file of CVAT for images, tracks as the shapes that the server makes of them.

        Args:
            folder: Where to write it.

        Raises:
            ConfigError: The server cannot be reached, or refuses.
            DatasetError: It sends something else; see `unpack_annotations`.
        """
        with tempfile.TemporaryDirectory() as scratch:
            packed = Path(scratch) / "annotations.zip"
            with self._talking():
                self._task.export_dataset(_FORMAT, packed, include_images=False)
            return unpack_annotations(packed, folder)

    def upload(
        self, frames: Iterable[ExportedFrame], names: FrameNames, taxonomy: Taxonomy, *, drawn: Collection[Frame] = ()
    ) -> int:
        """Put the shapes of a machine in the place of those that a machine made before, in some frames.

        What people drew stays, and so do all other frames.

        Args:
            frames: The frames, with their objects.
            drawn: Frames that people drew, which keep no shapes of a machine.
            names: Finds the frames of the data set that those of the task are.
            taxonomy: Names the classes; the task has to have a label for each that occurs.

        Returns:
            Number of shapes.

        Raises:
            ConfigError: The server cannot be reached, or refuses.
            DatasetError: The task lacks a frame or a label.
        """
        from cvat_sdk import models
        from cvat_sdk.core.proxies.annotations import AnnotationUpdateAction

        places, labels = self._places(names), self._labels(taxonomy)
        requests: list[Any] = []
        written = {places[frame] for frame in drawn if frame in places}
        for frame in frames:
            if (place := places.get((frame.clip.video, frame.number))) is None:
                raise DatasetError("the task does not have this frame", path=self.url, found=frame.name)
            written.add(place)
            for item, mask in frame.masks():
                if item.train_id not in labels:
                    raise DatasetError(
                        "the task does not have this label",
                        path=self.url,
                        expected=taxonomy.class_names[item.train_id],
                        fix="add it to the task",
                    )
                counts, (left, top, width, height) = mask_counts(mask)
                points = [*map(float, counts), *map(float, (left, top, left + width - 1, top + height - 1))]
                requests.append(
                    models.LabeledShapeRequest(
                        type=models.ShapeType("mask"),
                        label_id=labels[item.train_id],
                        frame=place,
                        points=points,
                        source=MACHINE,
                    )
                )
        with self._talking():
            there = self._task.get_annotations()
            old = [shape.id for shape in there.shapes if shape.source == MACHINE and shape.frame in written]
            for start in range(0, len(requests), _AT_ONCE):
                part = models.PatchedLabeledDataRequest(shapes=requests[start : start + _AT_ONCE])
                self._task.update_annotations(part, action=AnnotationUpdateAction.CREATE)
            if old:  # after the new ones are there, so that a run that is cut off loses nothing
                self._task.remove_annotations(ids=old)
        return len(requests)

    def _places(self, names: FrameNames) -> dict[Frame, int]:
        """Frame numbers of the task by video and native frame number."""
        with self._talking():
            meta = self._task.get_meta()
        found = [AnnotatedImage(self._name, each.name, ()) for each in meta.frames]
        if len(found) == 1 and meta.size > 1:  # a video, whose frames are counted
            step = int(str(meta.frame_filter or "step=1").partition("=")[2])
            found = [
                AnnotatedImage(self._name, found[0].name, (), position=meta.start_frame + place * step)
                for place in range(meta.size)
            ]
        matched = ((names.find(image), place) for place, image in enumerate(found))
        return {(clip.video, number): place for frames, place in matched for clip, number in frames[:1]}

    def _labels(self, taxonomy: Taxonomy) -> dict[int, int]:
        """Numbers of the labels of the task by train id."""
        with self._talking():
            labels = {label.name: label.id for label in self._task.get_labels()}
        train_ids = train_ids_of(labels, taxonomy, self._name)
        return {train_id: labels[name] for name, train_id in train_ids.items() if train_id is not None}

    @contextmanager
    def _talking(self) -> Iterator[None]:
        """Errors of the connection as one line."""
        from cvat_sdk.api_client.exceptions import OpenApiException
        from cvat_sdk.core.exceptions import CvatSdkException
        from urllib3.exceptions import HTTPError

        try:
            yield
        except (CvatSdkException, OpenApiException, HTTPError, OSError) as error:
            status = getattr(error, "status", None)
            found = f"{status} {getattr(error, 'reason', '')}" if status else str(error).partition("\n")[0]
            fix = {
                401: f"check {TOKEN}, or {USER} and {PASSWORD}",
                403: "ask the owner of the task for access",
                404: "check the number of the task",
            }.get(status or 0, "check the address, and whether the server is up")
            raise ConfigError(f"the CVAT server refuses task {self.number}", path=self.url, found=found, fix=fix) from (
                error
            )


def unpack_annotations(packed: Path, folder: Path) -> Path:
    """Take the annotations out of what a CVAT server sends.

    Args:
        packed: The ZIP file.
        folder: Where to write them.

    Raises:
        DatasetError: It holds none, or is damaged.
    """
    try:
        with zipfile.ZipFile(io.BytesIO(read_bytes(packed))) as archive:
            FILE_BYTES.check(archive.getinfo(CVAT_FILE).file_size, packed)
            content = archive.read(CVAT_FILE)
    except (zipfile.BadZipFile, zlib.error, KeyError, EOFError, NotImplementedError, RuntimeError, OSError) as error:
        expected = f"a ZIP file with {CVAT_FILE}"
        raise DatasetError("no annotations of CVAT", path=packed, expected=expected, found=error) from error
    write_bytes(folder / CVAT_FILE, content)
    return folder / CVAT_FILE
