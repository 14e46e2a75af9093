"""The way through a SEG-Y survey, line by line: the windows, the stretch of amplitudes, a line's salt."""

import numpy as np

from common.errors import InputError
from data.amplitudes import Stretch, describe_gray
from data.segy import Line, Survey
from models.decision import salt_mask
from models.ensemble import Ensemble
from models.windows import count_windows, predict_section

SLICES = {"inline": ("inline",), "crossline": ("crossline",), "both": ("inline", "crossline")}


class Walk:
    """The way through a survey's lines, and what is found on it."""

    def __init__(self, survey: Survey, *, slices: str = "inline", tile: int, overlap: float, batch_size: int):
        """Fit the stretch of amplitudes, and choose the windows. InputError: the survey is too small, or is empty."""
        if slices != "inline" and not survey.is_volume:
            raise InputError(f"{survey.path} is a single line, without inlines and crosslines; leave out --slices")
        self.survey, self.tile, self.overlap = survey, tile, overlap
        self.directions = SLICES[slices]
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
        self.batch_size = self._choose_batch_size(batch_size)

    @property
    def windows(self) -> int:
        """How many windows all lines have."""
        return sum(self._count(line) for lines in self.lines.values() for line in lines)

    def _choose_batch_size(self, most: int) -> int:
        """The batch size up to `most` with which the fewest windows are computed: a last batch is filled up."""
        counts = [self._count(line) for lines in self.lines.values() for line in lines]
        kinds, times = np.unique(counts, return_counts=True)
        most = min(most, int(kinds[-1]))
        return min(range(most, most // 2, -1), key=lambda size: int((-(-kinds // size) * size * times).sum()))

    def _count(self, line: Line) -> int:
        return count_windows((self.survey.samples, line.width), self.tile, self.overlap)

    def predict(self, line: Line, predict) -> tuple[np.ndarray, np.ndarray]:
        """Salt probabilities float32 and which samples mean nothing, bool, of a line's traces: (traces, samples)."""
        gray, nothing = self.section(line)
        probabilities = predict_section(gray, predict, tile=self.tile, overlap=self.overlap, batch_size=self.batch_size)
        probabilities[nothing] = 0
        return probabilities[:, line.columns].T, nothing[:, line.columns].T

    def section(self, line: Line) -> tuple[np.ndarray, np.ndarray]:
        """Gray values uint8 and which samples mean nothing, bool, (samples, width): where traces lack, nothing does."""
        shape = self.survey.samples, line.width
        gray, nothing = np.full(shape, self.stretch.blank, np.uint8), np.ones(shape, bool)
        gray[:, line.columns], nothing[:, line.columns] = self.stretch.gray(self.survey.read(line.traces).T)
        return gray, nothing

    def mask(self, line: Line, probabilities: np.ndarray, ensemble: Ensemble) -> np.ndarray:
        """Salt of a line's traces, uint8 {0, 1} (traces, samples), patches below the minimum area left out."""
        section = np.zeros((self.survey.samples, line.width), np.float32)
        section[:, line.columns] = probabilities.T
        return salt_mask(section, ensemble.threshold, ensemble.min_area)[:, line.columns].T
