"""Serving the page."""

from __future__ import annotations

import os
import re
import secrets
import socket
import threading
import webbrowser
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from thriftseg.annotation.page.dataset_work import DatasetWork
from thriftseg.annotation.page.propagation import BackgroundPropagation, PropagationMethod
from thriftseg.annotation.page.service import PageOptions, PageService
from thriftseg.annotation.page.work import Work
from thriftseg.datasets import EmptySplitError, VideoDataset
from thriftseg.errors import ConfigError
from thriftseg.folders import sole_writer
from thriftseg.labels import PROMPTERS, PROPAGATORS, Prompter, create_prompter
from thriftseg.stores import store_root

if TYPE_CHECKING:
    import uvicorn

_TOKEN = re.compile(r"[\w-]{32}")
_LOCAL = ("127.0.0.1", "localhost", "::1")


@dataclass(frozen=True)
class PageMethods:
    """What carries labels on the page, and what turns clicks into masks.

    Attributes:
        method: What carries labels: flow, nearest, stm, sam2, hf, cutie, or what a package adds.
        weights: Weights of a network, a name or a path; of hf, an id of the Hugging Face hub or a folder.
        prompter: What turns clicks into masks: grabcut, sam, sam2, hf; what fits the method if unset, none for "none".
        prompter_weights: Weights of a network; those of the method if unset, where it has the same name.
        network_weights: Network whose doubts rank what to draw next; looks and motion do so if unset.
        accelerator: Where networks compute: auto, cpu, gpu, or one GPU of several such as cuda:1.

    Example:
        >>> PageMethods("nearest").make_propagation().method.name, PageMethods(prompter="none").make_prompter()
        ('nearest', None)
        >>> PageMethods("stm").make_propagation()
        Traceback (most recent call last):
        thriftseg.errors.ConfigError: weights of the method stm; found none; fix: add --weights with ...
    """

    method: str = "flow"
    weights: str | None = None
    prompter: str | None = None
    prompter_weights: str | None = None
    network_weights: str | None = None
    accelerator: str = "auto"

    def make_propagation(self) -> BackgroundPropagation:
        """What carries labels; weights are read when it begins.

        Raises:
            ConfigError: There is no such method, or weights are missing or too many.
        """
        if PROPAGATORS.has_weights(self.method) != (self.weights is not None):
            fix = "leave out --weights" if self.weights else "add --weights with the name or path of a network"
            raise ConfigError(f"weights of the method {self.method}", found=self.weights or "none", fix=fix)
        settings = {"weights": self.weights, "device": self._device} if self.weights else {}
        return BackgroundPropagation(PropagationMethod(self.method, PROPAGATORS.known(self.method, settings)))

    def make_prompter(self) -> Prompter | None:
        """What turns clicks into masks, if something is to do so.

        Raises:
            ConfigError: There is no such prompter, or weights are missing or too many.
        """
        name = self.prompter or (self.method if self.method in PROMPTERS.homes else "grabcut")
        if name == "none":
            return None
        weights = self.prompter_weights or (self.weights if name == self.method else None)
        settings = {"weights": weights, "device": self._device} if weights else {}
        if weights and not PROMPTERS.has_weights(name):
            raise ConfigError(f"{name} has no weights", found=f"--prompter_weights {weights}", fix="leave them out")
        return create_prompter(name, **PROMPTERS.known(name, settings))

    def make_view(self, dataset: VideoDataset) -> Callable[[], Any] | None:
        """What loads the network that ranks frames, if there is one."""
        if self.network_weights is None:
            return None
        from thriftseg.annotation.ranking.frames import view_of

        return partial(view_of, dataset.taxonomy, self.network_weights, accelerator=self.accelerator)

    @property
    def _device(self) -> str:
        from thriftseg.inference import choose_device

        return str(choose_device(self.accelerator))


@dataclass(frozen=True)
class PageAddress:
    """Where the page is served.

    Attributes:
        host: Address to listen at; anything but 127.0.0.1 lets other machines in.
        port: Its port; 0 for any that is free.
        open_browser: Open the page in the browser of this machine.

    Example:
        >>> local, shared = PageAddress(), PageAddress("0.0.0.0", port=0)
        >>> local.host, local.port, shared.port  # no other machine gets in; any port that is free
        ('127.0.0.1', 8765, 0)
    """

    host: str = "127.0.0.1"
    port: int = 8765
    open_browser: bool = False


def serve_annotation(
    dataset: VideoDataset,
    splits: Sequence[str] = (),
    *,
    methods: PageMethods | None = None,
    address: PageAddress | None = None,
    options: PageOptions | None = None,
    store: str | Path | None = None,
    source: str = "drawn",
    machine: str | None = None,
    say: Callable[[str], None] = print,
) -> None:
    """Serve a page on which people annotate a data set, until SIGINT or SIGTERM.

    Actions are in the journal of the source before the page counts them; finished frames are labels of it. Labels of
    the machine are those that the page propagates, or that `label_propagate` made.

    Args:
        dataset: The data set.
        splits: Its splits, all that have clips by default.
        methods: What carries labels, and what turns clicks into masks.
        address: Where the page is served.
        options: How it counts and greets.
        store: Folder of the label store; `labels/<dataset>` when absent.
        source: Name of what people draw.
        machine: Name of what the machine makes; that of the method when absent.
        say: Told the address, once it answers.

    Raises:
        ConfigError: The extra `page` is not installed, the address cannot be had, another server serves this source,
            or a method lacks its weights.
        DatasetError: There are no clips.

    Example:
        >>> from thriftseg.datasets import Folder
        >>> serve_annotation(Folder("clips"), methods=PageMethods("stm"))
        Traceback (most recent call last):
        thriftseg.errors.ConfigError: weights of the method stm; found none; fix: add --weights with ...
    """
    _require_server()
    methods = methods or PageMethods()
    propagation, prompter = methods.make_propagation(), methods.make_prompter()
    work = DatasetWork(
        dataset,
        splits or _splits_with_clips(dataset),
        store_root(store, dataset.name),
        source,
        machine or methods.method,
        prompter,
        methods.make_view(dataset),
    )
    serve_work(work, prompter, propagation, address=address, options=options, say=say)


def serve_work(
    work: Work,
    prompter: Prompter | None = None,
    propagation: BackgroundPropagation | None = None,
    *,
    address: PageAddress | None = None,
    options: PageOptions | None = None,
    say: Callable[[str], None] = print,
) -> None:
    """Serve a page, until SIGINT or SIGTERM; see `serve_annotation`.

    Args:
        work: What the page shows.
        prompter: What turns clicks into masks.
        propagation: What carries labels.
        address: Where the page is served.
        options: How it counts and greets.
        say: Told the address, once it answers.

    Raises:
        ConfigError: The extra `page` is not installed, the address cannot be had, or another server serves this work.

    Example:
        >>> import tempfile
        >>> import numpy as np
        >>> from thriftseg.datasets import Folder, write_label_png
        >>> with tempfile.TemporaryDirectory() as root, socket.create_server(("127.0.0.1", 0)) as taken:
        ...     _ = Path(root, "classes.yaml").write_text("classes: [road, car]")
        ...     write_label_png(f"{root}/val/drive/frames/7.png", np.zeros((4, 6), np.uint8))
        ...     work = DatasetWork(Folder(root), ["val"], Path(root, "labels"), "drawn", "flow")
        ...     serve_work(work, address=PageAddress(port=taken.getsockname()[1]))
        Traceback (most recent call last):
        thriftseg.errors.ConfigError: cannot listen at 127.0.0.1 port ...; fix: choose another --port, or 0 ...
    """
    with page_server(work, prompter, propagation, address=address, options=options, say=say) as server:
        server.run()


class PageServer:
    """A page that is ready to be served.

    Args:
        server: The server.
        listening: Where it listens.
    """

    def __init__(self, server: uvicorn.Server, listening: socket.socket) -> None:
        self._server, self._listening = server, listening
        self._thread = threading.Thread(target=self.run, name="page", daemon=True)

    @property
    def is_running(self) -> bool:
        """Whether a thread serves the page."""
        return self._thread.is_alive()

    def run(self) -> None:
        """Serve the page until SIGINT or SIGTERM, or until `stop`."""
        self._server.run(sockets=[self._listening])

    def start(self) -> None:
        """Serve the page in a thread of its own."""
        self._thread.start()

    def stop(self) -> None:
        """End the thread."""
        self._server.should_exit = True
        self._thread.join()


@contextmanager
def page_server(
    work: Work,
    prompter: Prompter | None = None,
    propagation: BackgroundPropagation | None = None,
    *,
    address: PageAddress | None = None,
    options: PageOptions | None = None,
    say: Callable[[str], None] = print,
) -> Iterator[PageServer]:
    """Prepare to serve a page, and hold its address and its folder until the block ends.

    Args:
        work: What the page shows.
        prompter: What turns clicks into masks.
        propagation: What carries labels.
        address: Where the page is served.
        options: How it counts and greets.
        say: Told the address.

    Raises:
        ConfigError: As for `serve_work`.
    """
    _require_server()
    import uvicorn

    from thriftseg.annotation.page.server import page_app

    address = address or PageAddress()
    with ExitStack() as stack:
        stack.enter_context(sole_writer(work.folder))
        proposals = work.make_proposals(prompter) if prompter else None
        service = PageService(work, proposals, propagation, options)
        stack.callback(service.stop)
        listening = stack.enter_context(_listen(address))
        host, port = address.host, listening.getsockname()[1]
        if host not in _LOCAL:
            say(f"warning: whoever reaches {host}:{port} and knows the token can see and change these labels")
        token = _token(work.folder / ".token")
        shown = socket.gethostname() if host in ("0.0.0.0", "::", "") else host  # noqa: S104 # nosec B104
        url = f"http://{f'[{shown}]' if ':' in shown else shown}:{port}/?token={token}"
        config = uvicorn.Config(
            page_app(service, token, host, port),
            log_level="warning",
            access_log=False,
            server_header=False,
            timeout_graceful_shutdown=2,
            lifespan="off",
        )
        say(url)
        if address.open_browser:
            webbrowser.open(url)
        yield PageServer(uvicorn.Server(config), listening)


def _token(path: Path) -> str:
    """The secret of a page: that of the server before, so that open tabs go on, if nobody else could read it."""
    with suppress(OSError, UnicodeDecodeError):
        with open(path, opener=_without_links) as stream:
            status, token = os.fstat(stream.fileno()), stream.read(100)
        if status.st_uid == os.getuid() and not status.st_mode & 0o077 and _TOKEN.fullmatch(token):
            return token
    token = secrets.token_urlsafe(24)
    path.unlink(missing_ok=True)
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as stream:
        stream.write(token)
    return token


def _without_links(path: str, flags: int) -> int:
    return os.open(path, flags | os.O_NOFOLLOW)


def _listen(address: PageAddress) -> socket.socket:
    family = socket.AF_INET6 if ":" in address.host else socket.AF_INET
    try:
        return socket.create_server((address.host, address.port), family=family)
    except (OSError, OverflowError) as error:
        raise ConfigError(
            f"cannot listen at {address.host} port {address.port}",
            found=getattr(error, "strerror", None) or error,
            fix="choose another --port, or 0 for any that is free",
        ) from error


def _splits_with_clips(dataset: VideoDataset) -> list[str]:
    found = []
    for split in dataset.splits:
        try:
            dataset.clips(split)
        except EmptySplitError:
            continue
        found.append(split)
    if not found:
        dataset.clips(dataset.splits[0])  # says what is missing
    return found


def _require_server() -> None:
    try:
        import starlette
        import uvicorn
    except ImportError as error:
        raise ConfigError(
            "the page needs Starlette and uvicorn", found=error, fix='pip install "thriftseg[page]"'
        ) from error
    del starlette, uvicorn
