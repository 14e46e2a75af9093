"""Amplitudes of a seismic section or volume become gray values; samples that mean nothing are found and left out.

stretch = Stretch.fit(sample)           # once: (samples, traces) of a section, or traces picked from a volume
gray, nothing = stretch.gray(line)      # then any number of lines (samples, traces) of the same origin
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

CLIPPED = (0.5, 99.5)  # percentiles of the amplitudes that become black and white
SAMPLED = 10_000_000  # about so many of a section's amplitudes tell its percentiles
BLOCK = 1 << 20  # amplitudes that are looked at at once, in float64
LEAST_TRACE = 8  # samples; a shorter trace of one value is not called dead, nor a shorter run of a known fill value
HUGE = 1e300  # no amplitude, though finite: the largest float64 serves as a fill value
LEAST_SPREAD = 1e-305  # 255 over it is still a number
FAR = 2  # spreads beyond all other amplitudes: a value that far out, and repeated, was filled in
KNOWN = (-999.25, -999.0, -9999.0, -32768.0)  # fill values that may lie among the amplitudes: well logs, grids, int16
SILENT = np.errstate(all="ignore")  # NaN come in several kinds, of some of which numpy warns at each turn
NEARLY_ONE = 12  # gray levels; a picture whose middle 90 % lie within so many shows nothing


@dataclass(frozen=True)
class Stretch:
    """What amplitudes mean: `low` becomes black, `high` white, linearly; `fills` are values that mean nothing.

    `blank` is the gray value 0..255 that samples get which mean nothing: that of the median amplitude.
    """

    low: float
    high: float
    blank: int = 0
    fills: tuple[float, ...] = ()

    @classmethod
    @SILENT
    def fit(cls, values: np.ndarray) -> "Stretch":
        """Find what means nothing, and the 0.5th and 99.5th percentile of the rest.

        Args:
            values: (samples, traces) of real numbers: a section, or whole traces picked at random from a volume.
        """
        step = int(np.ceil(np.sqrt(values.size / SAMPLED)))
        traces = values[:, ::step]
        fills = find_fills(traces, step)
        sample = traces[::step].astype(np.float64)
        if (nothing := find_nothing(traces, fills)[::step]).any():
            sample = sample[~nothing]
        if not sample.size:
            return cls(0.0, LEAST_SPREAD, fills=fills)
        low, middle, high = map(float, np.percentile(sample, (CLIPPED[0], 50, CLIPPED[1])))
        high = max(high, low + LEAST_SPREAD, float(np.nextafter(low, np.inf)))  # all alike: black
        stretch = cls(low, high, fills=fills)
        return cls(stretch.low, stretch.high, int(stretch._levels(middle)), fills)

    @SILENT
    def gray(self, values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return gray values uint8 and which samples mean nothing, bool, both (samples, traces)."""
        nothing = find_nothing(values, self.fills)
        gray = np.empty(values.shape, np.uint8)
        for columns in _blocks(values.shape):
            block = np.where(nothing[:, columns], self.low, values[:, columns])
            gray[:, columns] = np.where(nothing[:, columns], self.blank, self._levels(block))
        return gray, nothing

    def _levels(self, amplitudes: np.ndarray) -> np.ndarray:
        return np.interp(amplitudes, (self.low, self.high), (0, 255)).round()


@SILENT
def find_nothing(values: np.ndarray, fills: tuple[float, ...] = ()) -> np.ndarray:
    """Mark which `values` (samples, traces) mean nothing, bool: NaN, beyond HUGE, one of `fills`, or of a dead trace.

    A trace is dead when all its samples that could mean something are the same number.
    """
    nothing = np.zeros(values.shape, bool)
    for columns in _blocks(values.shape):
        block = values[:, columns].astype(np.float64)
        found = ~(np.abs(block) < HUGE)  # NaN as well
        for fill in fills:
            found |= block == fill
        if len(values) >= LEAST_TRACE:
            least = np.where(found, np.inf, block).min(axis=0)
            found |= least == np.where(found, -np.inf, block).max(axis=0)
        nothing[:, columns] = found
    return nothing


def find_fills(traces: np.ndarray, step: int = 1) -> tuple[float, ...]:
    """Find the values in `traces` (samples, traces) that stand where there are no data: 1e30, -32768, -999.25 ...

    Told by what they do, not by their name: repeated exactly, and far beyond all other amplitudes. Values that clipped
    data end at have others right beside them, and single spikes are not repeated. A known fill value that lies among
    the amplitudes is one when it comes in runs along the traces that break off suddenly. Only every `step`th sample of
    a trace is searched for the former.
    """
    rest = traces[::step].astype(np.float64).ravel()
    rest = rest[np.abs(rest) < HUGE]
    fills: list[float] = []
    ends = [(np.min, np.greater), (np.max, np.less)]
    while ends and rest.size:
        at_end, beyond = ends[0]
        value = at_end(rest)
        others = rest[beyond(rest, value)]
        if _is_far(value, others):
            if rest.size - others.size > 1:  # else a spike, which may hide a fill value behind it
                fills.append(float(value))
            rest, ends = others, [(np.max, np.less), (np.min, np.greater)]  # what was hidden by it may show now
        else:
            ends = ends[1:]
    spread = _spread(rest)
    fills += [known for known in KNOWN if known not in fills and _breaks_off(traces, known, spread)]
    return tuple(fills)


def _spread(values: np.ndarray) -> float:
    """Compute the difference between the clipped percentiles of about 100,000 of `values`; 0 when there is none."""
    if not values.size:
        return 0.0
    low, high = np.percentile(values[:: 1 + values.size // 100_000], CLIPPED)
    return float(high - low)


def _is_far(value: float, others: np.ndarray) -> bool:
    """Tell whether `value`, the least or the greatest, lies more than FAR spreads beyond all `others`."""
    if not others.size:
        return False
    gap = min(abs(others.min() - value), abs(others.max() - value))
    return bool(gap > FAR * _spread(others) > 0)


def _breaks_off(traces: np.ndarray, value: float, spread: float) -> bool:
    """Tell whether most samples equal to `value` lie in runs along a trace, at whose ends the amplitude jumps.

    Amplitudes clipped at this very value come in runs as well, but go up to it by and by.
    """
    count, in_runs, jumps = 0, 0, []
    for columns in _blocks(traces.shape):
        block = traces[:, columns].astype(np.float64)
        if not (equal := block == value).any():
            continue
        # Runs, trace by trace: each starts at an odd change and ends before the next.
        edged = np.pad(equal.T, ((0, 0), (1, 1))).astype(np.int8)
        trace, change = np.nonzero(np.diff(edged, axis=1))
        start, end = change[::2], change[1::2]
        count += int((end - start).sum())
        is_run = end - start >= LEAST_TRACE
        in_runs += int((end - start)[is_run].sum())
        for inside, at in ((start[is_run] > 0, start[is_run] - 1), (end[is_run] < len(traces), end[is_run])):
            beside = block[at[inside], trace[::2][is_run][inside]]
            jumps.append(np.abs(beside[np.abs(beside) < HUGE] - value))
    ends = np.concatenate(jumps) if jumps else np.empty(0)
    return in_runs > count / 2 and ends.size > 0 and float(np.median(ends)) > spread / 10


def _blocks(shape: tuple[int, int]) -> Iterator[slice]:
    """Yield slices of whole traces, about BLOCK samples each."""
    width = max(16, BLOCK // max(1, shape[0]))
    return (slice(start, start + width) for start in range(0, shape[1], width))


# ---- what is said of it --------------------------------------------------------------------------------------


def describe_nothing(nothing: np.ndarray, fills: tuple[float, ...] = ()) -> str:
    """Say what share of samples means nothing, bool (samples, traces), in a line; "" when none does."""
    if not (count := np.count_nonzero(nothing)):
        return ""
    whole = np.count_nonzero(nothing.all(axis=0))
    kinds = [f"{whole} of {nothing.shape[1]} traces"] if whole else []
    kinds += [f"the value {fill:g}" for fill in fills]
    if not fills and count > whole * len(nothing):
        kinds.append("NaN or infinite")
    return f"{count / nothing.size:.2%} of it means nothing ({', '.join(kinds)}) and is masked as no salt"


def describe_gray(gray: np.ndarray, nothing: np.ndarray) -> str:
    """Say so when a picture, uint8 (samples, traces), is nearly one gray where it means something; else ""."""
    shown = gray[~nothing] if nothing.any() else gray.ravel()
    if not shown.size:
        return ""
    low, high = np.percentile(shown[:: 1 + shown.size // 100_000], (5, 95))
    if high - low >= NEARLY_ONE:
        return ""
    return f"nine tenths of it are within {high - low:.0f} of 255 gray levels; a few values may be out of proportion"
