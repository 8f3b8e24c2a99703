"""Lightning's log handler keeps the stream it finds when it is imported, so that must not be one test's capture."""

from __future__ import annotations

import lightning.pytorch  # noqa: F401
