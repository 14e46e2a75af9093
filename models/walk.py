"""The way through a SEG-Y survey, line by line: the windows, the stretch of amplitudes, a line's salt."""

import numpy as np

from common.errors import InputError
from data.seismic.amplitudes import Stretch, describe_gray
from data.seismic.segy import SLICES, Line, Survey
from models.decision import salt_mask
from models.ensemble import Ensemble
from models.windows import count_windows, predict_section


class Walk:
    """The way through a survey's lines, and what is found on it."""

    def __init__(self, survey: Survey, *, slices: str = "inline", tile: int, overlap: float, batch_size: int):
        """Fit the stretch of amplitudes, and choose the windows. InputError: the survey is too small, or is empty."""
        if slices != "inline" and not survey.is_volume:
            raise InputError(f"{survey.path} is a single line, without inlines and crosslines; leave out --slices")
        self.survey, self.directions = survey, SLICES[slices]
        self.lines = {direction: survey.lines(direction) for direction in self.directions}
        for lines in self.lines.values():
            height, width = survey.samples, max(line.width for line in lines)
            if min(height, width) < tile:
                raise InputError(
                    f"{survey.path} is smaller than a window of {tile}: its sections have {width} traces of {height} "
                    f"samples; give a smaller --tile"
                )
        sample = survey.sample().T
        self.stretch = Stretch.fit(sample)
        gray, nothing = self.stretch.gray(sample)
        self.remark = describe_gray(gray, nothing)
        if nothing.all():
            raise InputError(f"{survey.path} has no amplitudes: all that is sampled is dead, a fill value or NaN")
        shapes = [(survey.samples, line.width) for lines in self.lines.values() for line in lines]
        counts = [count_windows(shape, tile, overlap) for shape in shapes]
        self.windows = sum(counts)
        # That batch size with which the fewest windows are computed: a line's last batch is filled up.
        kinds, times = np.unique(counts, return_counts=True)
        most = min(batch_size, int(kinds[-1]))
        computed = lambda size: int((-(-kinds // size) * size * times).sum())  # noqa: E731
        self.batch_size = min(range(most, (most - 1) // 2, -1), key=computed)
        self._how = {"tile": tile, "overlap": overlap, "batch_size": self.batch_size}

    def predict(self, line: Line, predict) -> tuple[np.ndarray, np.ndarray]:
        """Predict salt, float32, and which samples mean nothing, bool, of a line's traces: (traces, samples)."""
        section, nothing = self.section(line)
        probabilities = predict_section(section, predict, **self._how).T[line.places]
        probabilities[nothing] = 0
        return probabilities, nothing

    def section(self, line: Line) -> tuple[np.ndarray, np.ndarray]:
        """Read gray values uint8 (samples, width), and what means nothing in its traces, bool (traces, samples)."""
        gray, nothing = self.stretch.gray(self.survey.read(line.traces).T)
        return line.section(gray.T, self.stretch.blank), nothing.T

    def mask(self, line: Line, probabilities: np.ndarray, ensemble: Ensemble) -> np.ndarray:
        """Salt of a line's section, uint8 {0, 1} (samples, width), patches below the minimum area left out."""
        return salt_mask(line.section(probabilities), ensemble.threshold, ensemble.min_area)
