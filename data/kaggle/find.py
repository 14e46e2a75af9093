"""Finding the data in what Kaggle delivers: folders, `train.zip` and `test.zip`, or the whole competition's zip."""

import os
from dataclasses import dataclass
from pathlib import Path

from common.errors import InputError, refuse_broken_link
from data.kaggle.zips import CSV_NAMES, UNPACKED, train_folder, unpack


@dataclass(frozen=True)
class Dataset:
    """Where the parts of a data set lie; the optional ones are None when absent."""

    root: Path
    images: Path
    masks: Path
    test_images: Path | None
    train_csv: Path | None
    depths_csv: Path | None


def find_dataset(data_path: str | Path) -> Dataset:
    """Find `train/images|masks` (or `images|masks`) under `data_path`, unpacking zips into `data/tgs` first.

    Raises:
        InputError: no such data, or a zip that is damaged or would write outside its target.
    """
    root = Path(data_path)
    refuse_broken_link(root)
    if root.is_file():
        root = unpack([root], UNPACKED)
    elif not root.exists():
        raise InputError(f"no such folder or zip: {root}; give Kaggle's data with --data_path")
    elif zips := _packed(root):
        root = unpack([*zips, *(root / name for name in CSV_NAMES if (root / name).is_file())], UNPACKED)
    train = train_folder(root)
    if train is None:
        for folder in (root / "train" / "images", root / "images"):
            refuse_broken_link(folder)
        raise InputError(f"no train/images in {root}; unpack Kaggle's train.zip there, or give the zip itself")
    optional = {name: root / name if os.path.lexists(root / name) else None for name in CSV_NAMES}
    test_images = root / "test" / "images"
    return Dataset(
        root=root,
        images=train / "images",
        masks=train / "masks",
        test_images=test_images if test_images.is_dir() else None,
        train_csv=optional["train.csv"],
        depths_csv=optional["depths.csv"],
    )


def unpack_test(path: Path) -> Path:
    """Unpack test.zip, or the whole competition's zip, into `data/tgs`, which is returned.

    Raises:
        InputError: a zip that is damaged, would write outside its target, or holds no tiles to predict.
    """
    return unpack([path], UNPACKED, labelled=False)


def _packed(root: Path) -> list[Path]:
    """List the zips in `root` to unpack: all until it has labelled tiles; in data/tgs a test.zip added later."""
    zips = {path.name: path for path in sorted(root.glob("*.zip"))}
    named = [zips[name] for name in ("train.zip", "test.zip") if name in zips]
    if train_folder(root) is None:
        return named if "train.zip" in zips else list(zips.values())
    late = root.resolve() == UNPACKED.resolve() and not (root / "test").exists()
    return [path for path in named if late and path.name == "test.zip"]
