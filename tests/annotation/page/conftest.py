from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.fixtures import browser as browsers
from tests.fixtures.annotation_page import CLASSES, Page
from tests.fixtures.browser import Hand, LocalServer
from tests.fixtures.square_and_disc import frame


@pytest.fixture
def page(tmp_path: Path) -> Page:
    return Page(tmp_path)


@pytest.fixture(scope="module")
def chromium() -> Iterator[Any]:
    """A browser, which the tests of a module share."""
    reason = browsers.missing()
    if reason is not None:
        pytest.skip(reason)
    with browsers.chromium() as browser:
        yield browser


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    """Where screenshots go: THRIFTSEG_PICTURES, or a folder of the test."""
    return Path(os.environ.get("THRIFTSEG_PICTURES", tmp_path / "pictures"))


@pytest.fixture
def new_hand(chromium: Any, pictures: Path) -> Iterator[Callable[..., Hand]]:
    """Makes windows of the browser that share nothing."""
    contexts = []

    def make(width: int = 1200, height: int = 800) -> Hand:
        contexts.append(chromium.new_context(viewport={"width": width, "height": height}))
        return Hand(contexts[-1].new_page(), pictures)

    yield make
    for context in contexts:
        context.close()


@pytest.fixture
def server(tmp_path: Path) -> Iterator[LocalServer]:
    browsers.write_frames(tmp_path / "data", [frame(number) for number in range(3)], CLASSES)
    server = LocalServer(tmp_path)
    server.start()
    yield server
    server.stop()


@pytest.fixture
def hand(new_hand: Callable[[], Hand], server: LocalServer) -> Iterator[Hand]:
    hand = new_hand()
    hand.visit(server.url)
    yield hand
    assert not hand.errors
