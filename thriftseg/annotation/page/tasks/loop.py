"""Loops that go on by themselves: what a person with files is asked appears on the page until it is answered."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import TypeVar

from thriftseg.annotation.page.service import PageOptions
from thriftseg.annotation.page.serving import PageAddress, PageServer, page_server, serve_work
from thriftseg.annotation.page.tasks.folder import TaskFolder
from thriftseg.annotation.page.tasks.work import TaskWork
from thriftseg.errors import ConfigError, WaitingForLabels
from thriftseg.labels import Prompter

Result = TypeVar("Result")

Wait = Callable[[WaitingForLabels], None]
"""Waits until a person has answered what an error asks for."""

_LOOK_S = 0.2


def serve_tasks(
    folder: str | Path,
    prompter: Prompter | None = None,
    *,
    address: PageAddress | None = None,
    options: PageOptions | None = None,
    say: Callable[[str], None] = print,
) -> None:
    """Serve a page on which people answer the tasks of a folder, until SIGINT or SIGTERM.

    Args:
        folder: Folder of a person, as a loop with `--annotator files` or `annotate next` has written it.
        prompter: What turns clicks into masks.
        address: Where the page is served.
        options: How it counts and greets.
        say: Told the address, once it answers.

    Raises:
        ConfigError: There are no tasks, the extra `page` is not installed, the address cannot be had, or another
            server serves this folder.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     serve_tasks(folder)
        Traceback (most recent call last):
        thriftseg.errors.ConfigError: ...: no tasks in this folder; expected task.json in folders below it; fix: ...
    """
    serve_work(TaskWork(folder), prompter, address=address, options=options, say=say)


def answered_on_page(
    run: Callable[[Wait], Result],
    folder: str | Path,
    prompter: Prompter | None = None,
    *,
    inside: str | None = None,
    address: PageAddress | None = None,
    options: PageOptions | None = None,
    say: Callable[[str], None] = print,
) -> Result:
    """Run a loop whose person answers on a page: whenever it waits for labels, it goes on once they are there.

    The page is served by a thread from the first question on, until the loop is over. What was answered stays, however
    this ends; files that an editor or a script writes count as well.

    Args:
        run: Runs the loop, or goes on with it, given what waits for answers; it is called again after every round of
            answers that it did not wait for itself.
        folder: Folder of the person.
        prompter: What turns clicks into masks.
        inside: Which folders in it hold tasks; see `TaskFolder`.
        address: Where the page is served.
        options: How it counts and greets.
        say: Told the address, and when the loop goes on.

    Returns:
        What the loop returns.

    Raises:
        ConfigError: As for `serve_tasks`.
        WaitingForLabels: The loop waits for something that is not on the page.

    Example:
        >>> answered_on_page(lambda wait: "finished", "work")  # nothing is asked, so no page is served
        'finished'
    """
    with ExitStack() as stack:
        server: PageServer | None = None

        def wait(error: WaitingForLabels) -> None:
            nonlocal server
            tasks = TaskFolder(folder, inside)
            if not tasks.open_tasks():
                raise error
            say(f"waiting: {error.problem}")
            if server is None:
                work = TaskWork(folder, inside)
                served = page_server(work, prompter, address=address, options=options, say=say)
                server = stack.enter_context(served)
                stack.callback(server.stop)
                server.start()
            _wait(tasks, server)
            say("answered; going on")

        while True:
            try:
                return run(wait)
            except WaitingForLabels as error:
                wait(error)


def _wait(tasks: TaskFolder, server: PageServer) -> None:
    """Look at the files until every task has its answer."""
    while tasks.open_tasks():
        if not server.is_running:
            raise ConfigError("the page has died", fix="run the same command again; what was answered is kept")
        time.sleep(_LOOK_S)
        tasks.look()
