"""The one place that touches matplotlib (extra `plot`): a module with something to show draws it between `figure` and `finish`, and returns
the `Figure`, which shows itself in a notebook. No global state of matplotlib is touched."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def figure(function: str, width: float = 7.0, height: float = 4.0) -> Figure:
    """A new figure of `width x height` inches without any window; ImportError with the library's sentence without matplotlib."""
    try:
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure
    except ImportError as error:
        raise ImportError(f"fastnn.{function}: a picture needs the extra: pip install 'fastnn[plot]'") from error
    result = Figure(figsize=(width, height), layout="constrained")
    FigureCanvasAgg(result)
    return result


def finish(picture: Figure, path: str | os.PathLike[str] | None, **options: Any) -> Figure:
    """`picture`, written to `path` where one is given."""
    if path is not None:
        picture.savefig(path, **{"dpi": 150, **options})
    return picture
