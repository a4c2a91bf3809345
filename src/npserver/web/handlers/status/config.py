"""The keys of handler `status`."""

from __future__ import annotations

from typing import Annotated

from npserver.config.section import D
from npserver.web.config import HttpRule


class StatusRule(HttpRule, tag_field="handler", tag="status", frozen=True, kw_only=True):
    """Show npserver's counters: as a page, as JSON, or as Prometheus metrics, by the Accept header or `?format=`."""

    path: Annotated[str, D("path of the page")] = "/status"
    errors: Annotated[
        bool, D("show the last warnings and errors of the log, and who is banned: they name clients, files and targets")
    ] = True
    buttons: Annotated[
        bool, D("show buttons that drain and undrain targets, as `npserver drain` does; needs `allow` or a sign-in")
    ] = False
    viewers: Annotated[
        int,
        D(
            "browsers that show the page live at once, over all workers; others show it as it was loaded; 0: none",
            ge=0,
            le=1000,
        ),
    ] = 16
