"""Loops whose person may answer in the browser."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from thriftseg.cli.command import say
from thriftseg.errors import ConfigError

if TYPE_CHECKING:
    from thriftseg.annotation import PageAddress, PageOptions, Wait
    from thriftseg.labels import Prompter

Result = TypeVar("Result")


@dataclass(frozen=True)
class Asking:
    """Who is asked, and where the page is if it is somebody on the page.

    Attributes:
        annotator: "simulated", "files" or "page".
        address: Where the page is served.
        options: How it counts and greets.
    """

    annotator: str
    address: PageAddress
    options: PageOptions

    def run(
        self,
        loop: Callable[[Wait | None], Result],
        folder: Path,
        inside: str | None = None,
        prompter: Callable[[], Prompter] | None = None,
    ) -> Result:
        """Run a loop; with the page until all of its questions are answered.

        Args:
            loop: The loop, given what waits for answers, if anything does.
            folder: Folder of the person.
            inside: Which folders in it hold tasks, if not all.
            prompter: Makes what turns clicks into masks; GrabCut if unset.

        Raises:
            ConfigError: Settings of the page were given without it.
            WaitingForLabels: A person with files has to label something first.
        """
        from thriftseg.annotation import PageAddress, PageMethods, PageOptions, answered_on_page

        if self.annotator != "page":
            if self.address != PageAddress() or self.options != PageOptions():
                raise ConfigError(
                    "settings of a page without one", found=f"--annotator {self.annotator}", fix="add --annotator page"
                )
            return loop(None)
        made = PageMethods().make_prompter() if prompter is None else prompter()
        address, options = self.address, self.options
        return answered_on_page(loop, folder, made, inside=inside, address=address, options=options, say=say)
