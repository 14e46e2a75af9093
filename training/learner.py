"""A network in training: the model, the moving average of its weights, the optimizer, and the step that joins them."""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

import keras
import numpy as np
import tensorflow as tf

from common.ring.base import Ring
from models.geometry import Geometry
from models.predictor import Predictor
from models.pretrained.load import load_encoder
from models.unet import make_model, resized
from training.augment.augmenter import Augmenter
from training.optimizer import AdamW
from training.schedule import make_schedule
from training.settings import Settings
from training.step import TrainingStep


@dataclass(frozen=True)
class Epoch:
    """`loss`: mean over steps and ranks; `speed`: images/s of all ranks; a value a step: `losses` and `seconds`.

    A GPU works off steps behind the clock's back: there, single `seconds` say little and their mean says all.
    """

    loss: float
    speed: float
    losses: np.ndarray
    seconds: np.ndarray


@dataclass(frozen=True)
class Sized:
    """What trains and predicts at one size of the network's input, with the variables that all sizes share."""

    step: TrainingStep
    predictor: Predictor


class Learner:
    """All that training changes, equal on every rank between epochs.

    `step` and `predictor`, which is of the moving average, are those at full size; `at(epoch)` has those of an epoch.
    """

    def __init__(self, settings: Settings, steps: int, ring: Ring, *, batch_size: int = 16, xla: bool | None = None):
        """Build everything for epochs of `steps` steps of `batch_size` tiles a rank.

        `xla`: None compiles with XLA on a GPU only. InputError, on all ranks, for what one of them cannot build.
        """
        self._ring, self._images = ring, batch_size * ring.size
        self._settings, self._batch_size = settings, batch_size
        self._xla = bool(tf.config.list_physical_devices("GPU")) if xla is None else xla
        ring.on_all(self._build, settings, steps)

    def _build(self, settings: Settings, steps: int) -> None:
        keras.utils.set_random_seed(settings.seed)
        build = partial(make_model, settings.model, settings.target_size, mixed_precision=settings.mixed_precision)
        self.net, self.ema = build(), build()
        source = None if settings.warm_start else settings.encoder_weights
        self.pretrained = load_encoder(self.net, source) if source else None
        self._start = self.net.get_weights()
        self.schedule = make_schedule(settings, steps, self._ring.size)
        weights = [v.value for v in self.net.trainable_variables]
        of_encoder = (v.path.startswith("encoder.") for v in self.net.trainable_variables)
        shares = [settings.encoder_rate if mine else 1.0 for mine in of_encoder]
        self._optimizer = AdamW(weights, self.schedule, weight_decay=settings.weight_decay, shares=shares)

        self.variables = [*(v.value for v in (*self.net.variables, *self.ema.variables)), *self._optimizer.variables]
        self._norm_statistics = [v.value for m in (self.net, self.ema) for v in m.non_trainable_variables]
        full = self._make_sized(self.net, self.ema, Geometry(settings.target_size, settings.tile_size))
        self._sized = {settings.target_size: full}
        for end, size in settings.small:
            if size not in self._sized:
                geometry = Geometry(size, settings.tile(end - 1))
                self._sized[size] = self._make_sized(resized(self.net, size), resized(self.ema, size), geometry)
        self.step, self.predictor = full.step, full.predictor
        self.restart()

    def _make_sized(self, net: keras.Model, ema: keras.Model, geometry: Geometry) -> Sized:
        """Make the step and the predictor of the network and its average, built for inputs of this geometry's size."""
        settings = self._settings
        step = TrainingStep(
            settings,
            model=net,
            ema=ema,
            optimizer=self._optimizer,
            augment=Augmenter(geometry, settings.augment),
            ring=self._ring,
            mean_from=self.schedule.tail(settings.swa) if settings.swa else None,
            xla=self._xla,
        )
        return Sized(step, Predictor([(ema, geometry)], batch_size=self._batch_size, xla=self._xla))

    def at(self, epoch: int) -> Sized:
        """Give what trains and predicts in `epoch`, counted from 0."""
        return self._sized[self._settings.size(epoch)]

    def restart(self, start: Sequence[np.ndarray] | None = None) -> None:
        """Make everything as new, for another fold: what is traced and compiled stays.

        `start`: the network's weights then, as Keras lists them; None: those that it was built with.
        """
        start = self._start if start is None else start
        for variable in self.variables:
            variable.assign(tf.zeros_like(variable))  # the optimizer's moments
        self.net.set_weights(start)
        self.ema.set_weights(start)

    def learning_rate(self, epoch: int) -> float:
        """Tell AdamW's rate at the start of `epoch`, counted from 0."""
        return float(self.schedule(self.schedule.step(epoch)))

    def train_epoch(
        self,
        batches,
        epoch: int,
        lovasz_share: float | None = None,
        progress: Callable[[list[tf.Tensor]], None] = lambda losses: None,
    ) -> Epoch:
        """Train one epoch on `batches` of uint8 images and masks.

        Args:
            epoch: counted from 0.
            lovasz_share: 0..1, may change from epoch to epoch; None, for the whole run, spares its computation.
            progress: called after each step with this rank's losses so far; to read the newest waits for the device.

        Raises:
            FloatingPointError: the loss or a statistic was not finite; says at which step. All ranks raise it.
        """
        first, step = self.schedule.step(epoch), self.at(epoch).step
        share = None if lovasz_share is None else tf.constant(lovasz_share)
        losses, clock = [], [time.perf_counter()]
        for k, (images, masks) in enumerate(batches):
            losses.append(step(images, masks, tf.constant(first + k), share))
            clock.append(time.perf_counter())
            progress(losses)
        losses = np.array([float(loss) for loss in losses])  # read at the end only, so that the device never waits
        speed = self._images * len(losses) / (time.perf_counter() - clock[0])
        losses = self._ring.sum(losses, "losses") / self._ring.size  # a mean a step, the same on every rank
        if not np.isfinite(losses).all():
            bad = int(np.argmin(np.isfinite(losses)))
            raise FloatingPointError(f"epoch {epoch + 1}, step {bad + 1}: the loss is {losses[bad]}")
        # Each rank has seen other tiles: one set of statistics before anyone validates or saves.
        means = self._ring.average(self._norm_statistics, "norm_statistics")
        if not all(np.isfinite(mean).all() for mean in means):  # by an infinite one all becomes 0: no loss tells
            raise FloatingPointError(f"epoch {epoch + 1}, after step {len(losses)}: a batch variance is not finite")
        for variable, mean in zip(self._norm_statistics, means, strict=True):
            variable.assign(mean)
        return Epoch(float(losses.mean()), speed, losses, np.diff(clock))
