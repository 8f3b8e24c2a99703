"""A small HTTP server that speaks as much of CVAT's API as a sync takes, from its published description.

It is no CVAT: what it answers follows the schema of the API (https://docs.cvat.ai/docs/api_sdk/api/), whose client,
`cvat-sdk`, is the true one and checks every answer.
"""

from __future__ import annotations

import io
import json
import threading
import zipfile
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlparse

TASK = 7
TOKEN = "open-sesame"  # noqa: S105
_USER = {"id": 1, "url": "http://localhost/api/users/1", "username": "ann"}
_STORAGE = {"target_storage": None, "source_storage": None, "organization": None, "project_id": None}
_DATE = "2026-01-01T00:00:00Z"


@dataclass
class Task:
    """What the server knows."""

    names: list[str]
    size: tuple[int, int]
    labels: list[str]
    video: bool = False
    shapes: list[dict[str, Any]] = field(default_factory=list)
    log: list[str] = field(default_factory=list)

    def draw(self, frame: int, label: str, mask: str, source: str = "manual") -> None:
        """A mask of the whole frame, as CVAT keeps masks: run lengths, then left, top, right and bottom."""
        height, width = self.size
        runs, value = [0], "0"
        for pixel in mask:
            if pixel != value:
                runs.append(0)
                value = pixel
            runs[-1] += 1
        self.add({"frame": frame, "label_id": self.labels.index(label) + 1, "source": source,
                  "points": [*runs, 0, 0, width - 1, height - 1], "type": "mask"})  # fmt: skip

    def add(self, shape: dict[str, Any]) -> None:
        number = max((each["id"] for each in self.shapes), default=0) + 1
        plain = {"occluded": False, "outside": False, "z_order": 0, "rotation": 0.0, "group": 0, "attributes": [],
                 "elements": []}  # fmt: skip
        self.shapes.append({**plain, **shape, "id": number})

    def packed(self) -> bytes:
        height, width = self.size
        images = []
        for place, name in enumerate(self.names):
            masks = []
            for shape in (each for each in self.shapes if each["frame"] == place):
                *runs, left, top, right, bottom = map(int, shape["points"])
                masks.append(
                    f'<mask label="{self.labels[shape["label_id"] - 1]}" source="{shape["source"]}" occluded="0" '
                    f'rle="{", ".join(map(str, runs))}" left="{left}" top="{top}" width="{right - left + 1}" '
                    f'height="{bottom - top + 1}" z_order="0"></mask>'
                )
            head = f'<image id="{place}" name="{name}" width="{width}" height="{height}">'
            images.append(head + "".join(masks) + "</image>")
        content = io.BytesIO()
        with zipfile.ZipFile(content, "w") as archive:
            archive.writestr("annotations.xml", f"<annotations><version>1.1</version>{''.join(images)}</annotations>")
        return content.getvalue()


def answer_to(
    task: Task, command: str, path: str, query: dict[str, list[str]], body: bytes, base: str
) -> tuple[int, Any]:
    """Status and content for a request that may ask."""
    if (command, path) == ("GET", f"/api/tasks/{TASK}"):
        counts = {"count": 1, "completed": 0, "validation": 0, "url": f"{base}/api/jobs?task_id={TASK}"}
        labels = {"url": f"{base}/api/labels?task_id={TASK}"}
        return 200, {"id": TASK, "name": "street", "jobs": counts, "labels": labels, **_STORAGE}
    if (command, path) == ("POST", f"/api/tasks/{TASK}/dataset/export"):
        assert query["format"] == ["CVAT for images 1.1"]
        return 202, {"rq_id": "export-1"}
    if (command, path) == ("GET", "/api/requests/export-1"):
        operation = {"type": "export:annotations", "target": "task", "task_id": TASK}
        done = {"status": "finished", "id": "export-1", "operation": operation, "message": "", "progress": 1.0}
        made = {"created_date": _DATE, "owner": _USER, "result_url": f"{base}/download"}
        return 200, done | made
    if (command, path) == ("GET", "/download"):
        return 200, task.packed()
    if (command, path) == ("GET", f"/api/tasks/{TASK}/data/meta"):
        height, width = task.size
        names = ["street.mp4"] if task.video else task.names
        frames = [{"name": name, "width": width, "height": height, "related_files": 0} for name in names]
        meta = {
            "size": len(task.names),
            "start_frame": 0,
            "stop_frame": len(task.names) - 1,
            "frame_filter": "",
        }
        return 200, {**meta, "frames": frames, "deleted_frames": [], "chunks_updated_date": _DATE}
    if (command, path) == ("GET", "/api/labels"):
        rows = [{"id": place, "name": name} for place, name in enumerate(task.labels, start=1)]
        return 200, {"count": len(rows), "next": None, "previous": None, "results": rows}
    if path == f"/api/tasks/{TASK}/annotations":
        if command == "PATCH":
            shapes = json.loads(body)["shapes"]
            if query["action"] == ["create"]:
                for shape in shapes:
                    task.add(shape)
            else:
                gone = {shape["id"] for shape in shapes}
                task.shapes = [shape for shape in task.shapes if shape["id"] not in gone]
        return 200, {"version": 0, "tags": [], "shapes": task.shapes, "tracks": []}
    return 404, {"detail": "Not found."}


def serve(task: Task) -> tuple[ThreadingHTTPServer, str]:
    """Start the server; the caller shuts it down."""

    class Handler(BaseHTTPRequestHandler):
        def answer(self, status: int, content: Any) -> None:
            body = content if isinstance(content, bytes) else json.dumps(content).encode()
            self.send_response(status)
            kind = "application/zip" if isinstance(content, bytes) else "application/json"
            self.send_header("Content-Type", kind)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def handle_one(self) -> None:
            url, sent = urlparse(self.path), int(self.headers.get("Content-Length") or 0)
            body, query, path = self.rfile.read(sent), parse_qs(url.query), url.path.rstrip("/")
            task.log.append(f"{self.command} {path} {query.get('action', [''])[0]}".strip())
            if self.headers.get("Authorization") != f"Bearer {TOKEN}":
                return self.answer(401, {"detail": "Invalid token."})
            base = f"http://{self.headers['Host']}"
            self.answer(*answer_to(task, self.command, path, query, body, base))

        do_GET = do_POST = do_PATCH = handle_one

        def log_message(self, format: str, *args: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    return server, f"http://127.0.0.1:{server.server_port}"
