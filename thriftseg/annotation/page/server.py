"""The page over HTTP: routes, schemas of what they take, and errors as JSON."""

from __future__ import annotations

import errno
import logging
import mimetypes
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any, TypeVar

import msgspec
from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import FileResponse, Response
from starlette.routing import Mount, Route
from starlette.staticfiles import StaticFiles

from thriftseg.annotation.page.guard import Guard
from thriftseg.annotation.page.in_work import PageAction
from thriftseg.annotation.page.proposals import Question
from thriftseg.annotation.page.refusals import PageError
from thriftseg.annotation.page.service import PageService
from thriftseg.annotation.people.masks import MaskClick
from thriftseg.datasets import frame_bytes, frame_file
from thriftseg.errors import ThriftsegError
from thriftseg.parsing import Count, Number, Record, decode_json
from thriftseg.stores import FrameVerdict, Patch

STATIC = Path(__file__).parent / "static"

_LOG = logging.getLogger("thriftseg.page")
_FULL = {errno.ENOSPC, errno.EDQUOT}
_FOR_EVER = "private, max-age=31536000, immutable"

Session = Annotated[str, msgspec.Meta(min_length=1, max_length=200)]
Person = Annotated[str, msgspec.Meta(max_length=200)]
Version = Annotated[str, msgspec.Meta(max_length=300)]
Content = TypeVar("Content")


class _Sessions(Record, frozen=True):
    session: Session


class _Opening(Record, frozen=True):
    session: Session
    person: Person = ""


class _Actions(Record, frozen=True):
    session: Session
    actions: tuple[PageAction, ...]
    person: Person = ""
    version: Version | None = None
    server: Session | None = None


class _Finish(Record, frozen=True):
    session: Session
    verdict: FrameVerdict
    action: PageAction
    person: Person = ""
    version: Version | None = None
    server: Session | None = None


class _Question(Record, frozen=True):
    session: Session
    video: Count
    place: Count
    object: int | None = None
    points: tuple[tuple[Number, Number, bool], ...] = ()
    box: tuple[Number, Number, Number, Number] | None = None
    base: Patch | None = None


class _Range(Record, frozen=True):
    video: Count
    first: Count
    last: Count


class _ObjectLock(Record, frozen=True):
    video: Count
    place: Count
    object: Count
    locked: bool


class _Nothing(Record, frozen=True):
    pass


BODIES: tuple[type[Record], ...] = (_Sessions, _Opening, _Actions, _Finish, _Question, _Range, _ObjectLock, _Nothing)
"""Schemas of what is posted."""


def _posted(path: str, schema: type[Any], act: Callable[..., Any], status: int = 200) -> Route:
    async def answer(request: Request) -> Response:
        try:
            body = decode_json(await request.body(), schema, "the request", fault=PageError)
            return _json(await run_in_threadpool(act, *_place_of(request), body), status)
        except Exception as error:
            return _failed(request, error)

    return Route(path, answer, methods=["POST"])


def _got(path: str, act: Callable[..., Any]) -> Route:
    async def answer(request: Request) -> Response:
        try:
            found = await run_in_threadpool(act, *_place_of(request), request)
        except Exception as error:
            return _failed(request, error)
        return found if isinstance(found, Response) else _json(found)

    return Route(path, answer, methods=["GET"])


def _asked(request: Request, name: str, schema: type[Content]) -> Content:
    try:
        return msgspec.convert(request.query_params.get(name), schema, strict=False)
    except msgspec.ValidationError as error:
        raise PageError(f"the request is malformed at {name}", found=str(error)) from None


def page_app(service: PageService, token: str, host: str, port: int, static: Path = STATIC) -> Guard:
    """The page as an ASGI application.

    Args:
        service: What the page asks for.
        token: What requests have to know.
        host: Address that the server listens at.
        port: Its port.
        static: Folder of the files that the browser gets.
    """

    def image(place: tuple[int, int], request: Request) -> Response:
        path = service.image(place)
        kind = mimetypes.guess_type(path.name)[0] or "application/octet-stream"
        headers = {"cache-control": _FOR_EVER}
        if frame_file(path) == path:
            return FileResponse(path, media_type=kind, headers=headers)
        return Response(frame_bytes(path), media_type=kind, headers=headers)

    def label(place: tuple[int, int], request: Request) -> Response:
        content, headers = service.label(place), {"cache-control": "no-store"}
        if "deflate" in request.headers.get("accept-encoding", ""):
            content, headers["content-encoding"] = zlib.compress(content, 1), "deflate"
        return Response(content, media_type="application/octet-stream", headers=headers)

    def act(place: tuple[int, int], b: _Actions) -> dict[str, Any]:
        service.require_name(b.server)
        return service.act(place, b.session, b.person, b.actions, b.version)

    def finish(place: tuple[int, int], b: _Finish) -> dict[str, Any]:
        service.require_name(b.server)
        return service.finish(place, b.session, b.person, b.verdict, b.action, b.version)

    def prompt(b: _Question) -> dict[str, Any]:
        clicks = [MaskClick(int(x), int(y), positive) for x, y, positive in b.points]
        return service.prompt(b.session, (b.video, b.place), Question(clicks, b.box, b.base))

    frame = "/api/frames/{video:int}/{place:int}"
    routes = [
        _got("/api/work", lambda request: service.describe()),
        _got("/api/videos/{video:int}", lambda place, request: service.video(place[0])),
        _got("/api/changes", lambda r: service.changes(_asked(r, "since", Count), _asked(r, "session", Session))),
        _got("/api/queue", lambda r: service.queue(_asked(r, "id", Session), _asked(r, "session", Session))),
        _got(f"{frame}/image", image),
        _got(f"{frame}/label", label),
        _posted(f"{frame}/open", _Opening, lambda place, b: service.open(place, b.session, b.person)),
        _posted(f"{frame}/close", _Sessions, lambda place, b: service.close(place, b.session)),
        _posted(f"{frame}/actions", _Actions, act),
        _posted(f"{frame}/finish", _Finish, finish),
        _posted("/api/prompt", _Question, prompt),
        _posted("/api/propagate", _Range, lambda b: service.propagate(b.video, b.first, b.last), 202),
        _posted("/api/propagate/cancel", _Nothing, lambda b: service.stop()),
        _posted(
            "/api/lock_object",
            _ObjectLock,
            lambda b: service.lock_object((b.video, b.place), b.object, b.locked),
        ),
        _posted("/api/leave", _Sessions, lambda b: service.leave(b.session)),
        Mount("/", StaticFiles(directory=static, html=True, check_dir=False)),
    ]
    return Guard(Starlette(routes=routes, exception_handlers={HTTPException: _refused}), token, host, port)


def _place_of(request: Request) -> list[tuple[int, int]]:
    """The frame in the path of a request, if there is one."""
    found = request.path_params
    return [(found["video"], found.get("place", 0))] if "video" in found else []


def _json(content: Any, status: int = 200) -> Response:
    headers = {"cache-control": "no-store"}
    return Response(msgspec.json.encode(content), status, media_type="application/json", headers=headers)


async def _refused(request: Request, error: Any) -> Response:
    return _json({"error": error.detail, "fix": None}, error.status_code)


def _failed(request: Request, error: Exception) -> Response:
    """Say what went wrong, and go on."""
    if isinstance(error, ThriftsegError):
        told = ThriftsegError(error.problem, path=error.path, expected=error.expected, found=error.found)
        answer: dict[str, Any] = {"error": str(told), "fix": error.fix}
        if isinstance(error, PageError) and error.person is not None:
            answer["person"] = error.person
        return _json(answer, error.status if isinstance(error, PageError) else 422)
    if isinstance(error, OSError) and error.errno in _FULL:
        fix = "free some space; what was acknowledged is safe"
        return _json({"error": f"the disk is full, writing {error.filename}", "fix": fix}, 507)
    _LOG.error("%s %s", request.method, request.url.path, exc_info=error)
    return _json({"error": f"{type(error).__name__}: {error}", "fix": None}, 500)
