"""What shapes the result of a training, read from the flags in one place. Imports nothing heavy."""

from argparse import Namespace
from dataclasses import asdict, dataclass, fields
from itertools import accumulate, pairwise

from common.errors import InputError

LOVASZ_SHARE = 0.9  # of the loss, from the epoch on where it comes in


@dataclass(frozen=True, kw_only=True)
class Settings:
    """What shapes the result: a training goes on with none other, and ranks of a ring have the same.

    The names are those of tgs_train.py's flags, which say what each means. `pretrain_epochs` are 0 without a teacher.
    """

    model: str = "resnet34"
    target_size: int = 128
    tile_size: int | None = None
    small_epochs: str = "0"
    small_size: str = "64"
    encoder_weights: str | None = None
    drop: str = "none"
    epochs: int = 90
    learning_rate: float = 1e-3
    encoder_rate: float = 1.0
    warmup_epochs: int = 5
    cycles: int = 1
    weight_decay: float = 0.05
    loss: str = "bce"
    use_lovasz: bool = True
    lovasz_start: float = 0.3
    augment: str = "warp+light"
    ema_decay: float = 0.999
    swa: float = 0.0
    seed: int = 1
    confidence: float = 0.9
    pretrain_epochs: int = 0
    warm_start: bool = False
    mixed_precision: bool = False

    @classmethod
    def from_flags(cls, args: Namespace) -> "Settings":
        """Read them from tgs_train.py's flags; InputError where these contradict each other."""
        pretraining = count_pretrain_epochs(args.epochs, args.teacher, args.pretrain_epochs)
        if args.warm_start and args.teacher is None:
            raise InputError("--warm_start begins with a --teacher's weights; name one, or leave it out")
        if args.tile_size is not None and args.tile_size > args.target_size:
            raise InputError(f"--tile_size={args.tile_size} is above --target_size={args.target_size}; lower it")
        settings = cls(**_known(vars(args) | {"pretrain_epochs": pretraining}))
        check_small(settings)
        return settings

    @classmethod
    def from_state(cls, flags: dict) -> "Settings":
        """Read them back as a state holds them; what was not there yet when it was written has its default."""
        numbers = {name: str(flags[name]) for name in ("small_epochs", "small_size") if name in flags}  # once one each
        return cls(**_known(flags | numbers))

    def differences(self, other: "Settings") -> dict[str, tuple[object, object]]:
        """Name the settings that differ, with the value here and there."""
        there = asdict(other)
        return {name: (value, there[name]) for name, value in asdict(self).items() if value != there[name]}

    @property
    def small(self) -> list[tuple[int, int]]:
        """The sizes of the first epochs, least first: how many epochs are done at each one's end, and its side."""
        ends = accumulate(int(text) for text in self.small_epochs.split(","))
        return [(end, int(text)) for end, text in zip(ends, self.small_size.split(","), strict=True) if end]

    def size(self, epoch: int) -> int:
        """Give the side of the network's input, in pixels, in `epoch`, from 0."""
        return next((size for end, size in self.small if epoch < end), self.target_size)

    def tile(self, epoch: int) -> int | None:
        """Give the side of the tile in that input, None where Geometry chooses: in all epochs the same share of it.

        But 32 at least, as --tile_size itself.
        """
        return self.tile_size and max(32, round(self.tile_size * self.size(epoch) / self.target_size))

    def work(self, first: int, end: int) -> int:
        """Give what the epochs from `first` up to `end`, not included, take: the sum of their inputs' pixels."""
        return sum(self.size(epoch) ** 2 for epoch in range(first, end))

    def lovasz_share(self, epoch: int) -> float | None:
        """Give the share of the symmetric Lovász hinge in the loss of `epoch`, from 0; None where it never has one."""
        if not self.use_lovasz:
            return None
        return LOVASZ_SHARE if epoch >= self.lovasz_start * self.epochs else 0.0


def _known(flags: dict) -> dict:
    """Pick the settings out of flags."""
    return {field.name: flags[field.name] for field in fields(Settings) if field.name in flags}


def check_small(settings: Settings) -> None:
    """Raise InputError unless the first epochs can be trained at the small sizes, and others at the target's."""
    epochs, sizes = settings.small_epochs, settings.small_size
    if epochs.count(",") != sizes.count(","):
        raise InputError(f"--small_epochs={epochs} and --small_size={sizes} do not pair; give as many of each")
    if not settings.small:
        return
    if settings.small[-1][0] >= settings.epochs:
        raise InputError(
            f"--small_epochs={epochs} leave none of --epochs={settings.epochs} for --target_size="
            f"{settings.target_size}; give fewer of the first, or more of the second"
        )
    for _, size in settings.small:
        if size % 32:
            raise InputError(f"--small_size={size} is not a multiple of 32; take {round(size / 32) * 32}")
    for (_, size), (_, next_size) in pairwise(settings.small):
        if size > next_size:
            raise InputError(f"--small_size={sizes} shrinks; put the least first")
    if settings.small[-1][1] >= settings.target_size:
        raise InputError(f"--small_size={sizes} is not below --target_size={settings.target_size}; lower it")


def count_pretrain_epochs(epochs: int, teacher: str | None, asked: int | None) -> int:
    """Give how many of `epochs` epochs pretrain: those `asked` for, else half; 0 without a teacher.

    Raises:
        InputError: asked for without a teacher, or none would be left for the labelled tiles.
    """
    if teacher is None:
        if asked:
            raise InputError(
                f"--pretrain_epochs={asked} needs tiles that a --teacher labels; name one, or leave it out"
            )
        return 0
    if epochs < 2 or (asked or 1) >= epochs:
        raise InputError(
            f"--epochs={epochs} are too few for --pretrain_epochs={asked or 1} and an epoch on the labelled tiles; "
            "give more of the first, or fewer of the second"
        )
    return asked or epochs // 2
