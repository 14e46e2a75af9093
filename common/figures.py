"""What all figures share: colours and lines readable in black and white, how they are drawn and written as PNG."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import cv2
import matplotlib
import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from common.files import replacing

ACCENT = "#b03a00"  # a dark orange: what is best; as dark as the rest in black and white
FAINT = "0.85"
THIN = {"linewidth": 1.2, "markersize": 3.5}
STYLES = ("-", "--", "-.", ":")
RING = {"markersize": 9, "fillstyle": "none", "markeredgewidth": 1.8}


@contextmanager
def default_style() -> Iterator[None]:
    """Draw meanwhile as Matplotlib does by itself, whatever a matplotlibrc or a notebook has set. Decorates, too."""
    with matplotlib.rc_context():
        matplotlib.rcdefaults()
        yield


def save_figure(figure: Figure, path: str | Path) -> None:
    """Write a figure as PNG, by OpenCV: several times as fast as Matplotlib, which every epoch waits for."""
    canvas = FigureCanvasAgg(figure)  # no display needed
    canvas.draw()
    pixels = cv2.cvtColor(np.asarray(canvas.buffer_rgba()), cv2.COLOR_RGBA2BGR)
    with replacing(path) as temporary:
        temporary.write_bytes(cv2.imencode(".png", pixels, [cv2.IMWRITE_PNG_COMPRESSION, 3])[1])
