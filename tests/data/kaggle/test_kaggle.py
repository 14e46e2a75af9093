"""Finding the data in folders and zips, and refusing zips and CSVs that are broken or hostile."""

import random
import re
import shutil
import zipfile
from pathlib import Path

import pytest

from common.errors import InputError
from data.kaggle import zips as kaggle
from data.kaggle.find import find_dataset
from tests.helpers.commands import error_line, run_script
from tests.helpers.privileges import as_ordinary_user

TARGET = Path("data/tgs")


@pytest.fixture
def cwd(tmp_path, monkeypatch) -> Path:
    """An empty current folder: zips are unpacked into data/tgs under it."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


def content(folder: Path) -> dict[str, bytes]:
    """Every file under a folder by its relative path, those of hidden folders too."""
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def pack(path: Path, *sources: tuple[Path, str]) -> Path:
    """Zip folders and files; each source is (what, its name in the zip)."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for source, name in sources:
            for file in sorted(source.rglob("*")) if source.is_dir() else [source]:
                archive.write(file, Path(name, file.relative_to(source)))
    return path


def craft(path: Path, members: dict[str, bytes]) -> Path:
    """Zip contents under any names, however wrong."""
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in members.items():
            archive.writestr(zipfile.ZipInfo(name), data, zipfile.ZIP_DEFLATED)
    return path


def train_zip(folder: Path, sample: Path) -> Path:
    return pack(folder / "train.zip", (sample / "train", ""))


def test_zip(folder: Path, sample: Path) -> Path:
    return pack(folder / "test.zip", (sample / "test", ""))


test_zip.__test__ = False


def refused(path: Path, said: str) -> str:
    """Assert that the data set is refused in one line, that nothing is left behind; returns the line."""
    with pytest.raises(InputError, match=re.escape(said)) as caught:
        find_dataset(path)
    assert not Path("data").exists()
    assert "\n" not in str(caught.value)
    return str(caught.value)


# ---- layouts -----------------------------------------------------------------------------------------------


def test_folders(cwd, sample):
    found = find_dataset(sample)
    assert (found.root, found.images, found.masks) == (sample, sample / "train/images", sample / "train/masks")
    assert found.test_images == sample / "test/images"
    assert (found.train_csv, found.depths_csv) == (sample / "train.csv", sample / "depths.csv")
    direct = find_dataset(sample / "train")
    assert (direct.images, direct.masks) == (sample / "train/images", sample / "train/masks")
    assert (direct.test_images, direct.train_csv, direct.depths_csv) == (None, None, None)
    assert not (cwd / "data").exists()


def test_missing_data_says_what_to_do(cwd):
    assert "--data_path" in refused(cwd / "nothing", "no such folder or zip")
    (cwd / "empty").mkdir()
    assert "train.zip" in refused(cwd / "empty", f"no train/images in {cwd}/empty")


def test_zips_in_a_folder(cwd, sample):
    folder = cwd / "download"
    train_zip(folder, sample), test_zip(folder, sample)
    (folder / "holiday.zip").write_bytes(b"not Kaggle's, and no zip")
    for name in kaggle.CSV_NAMES:
        shutil.copy(sample / name, folder)
    before = content(folder)
    found = find_dataset(folder)
    assert found.root == TARGET
    assert found.images == TARGET / "train/images"
    assert found.test_images == TARGET / "test/images"
    assert (found.train_csv, found.depths_csv) == (TARGET / "train.csv", TARGET / "depths.csv")
    assert content(TARGET) == content(sample)
    assert content(folder) == before


@pytest.mark.parametrize("name", ["tgs-salt-identification-challenge.zip", "test-download.zip"])
def test_the_whole_competition_as_one_zip(cwd, sample, name):
    inner = cwd / "inner"
    csvs = [(sample / csv, csv) for csv in kaggle.CSV_NAMES]
    whole = pack(cwd / name, (train_zip(inner, sample), "train.zip"), (test_zip(inner, sample), "test.zip"), *csvs)
    assert find_dataset(whole).root == TARGET
    assert content(TARGET) == content(sample)


def test_a_zip_with_folders_deep_in_it_and_backslashes(cwd, sample):
    files = {f"tgs\\{name}".replace("/", "\\"): data for name, data in content(sample).items()}
    craft(cwd / "mine.zip", files | {"tgs\\notes\\readme.txt": b"left out", "tgs\\images\\readme.txt": b"left out"})
    find_dataset(cwd / "mine.zip")
    assert content(TARGET) == content(sample)


def test_zips_lying_in_the_target_and_a_test_zip_added_later(cwd, sample):
    train_zip(TARGET, sample)
    assert find_dataset(TARGET).test_images is None
    test_zip(TARGET, sample)
    found = find_dataset("data/../data/tgs")
    assert found.test_images.samefile(TARGET / "test/images")
    assert content(TARGET / "test") == content(sample / "test")
    (TARGET / "test.zip").write_bytes(b"not looked at again")
    find_dataset(TARGET)


def test_unpacked_tiles_beside_their_zip_are_taken_as_they_are(cwd, sample):
    shutil.copytree(sample / "train", cwd / "mine")
    train_zip(cwd / "mine", sample)
    assert find_dataset(cwd / "mine").images == cwd / "mine/images"
    assert not (cwd / "data").exists()


def test_the_same_zip_again_keeps_what_is_there_and_another_is_refused(cwd, sample):
    path = train_zip(cwd, sample)
    find_dataset(path)
    (TARGET / "train/images/mine.png").write_bytes(b"of the user")
    before = {file: file.stat().st_mtime_ns for file in TARGET.rglob("*")}
    find_dataset(path)
    assert {file: file.stat().st_mtime_ns for file in TARGET.rglob("*")} == before
    mask = next((TARGET / "train/masks").iterdir())
    data = bytearray(mask.read_bytes())
    data[-20] ^= 1  # as long as before
    mask.write_bytes(data)
    test_zip(cwd, sample)
    before = content(TARGET)
    with pytest.raises(InputError, match="data/tgs/train exists and differs from the zip's; move it away"):
        find_dataset(cwd)
    assert content(TARGET) == before  # test/ has not come alone


def test_a_zip_through_the_script(cwd, sample):
    done = run_script("tgs_preprocess.py", f"--data_path={train_zip(cwd, sample)}", "--fold=2", cwd=cwd)
    assert done.returncode == 0, done.stderr
    assert f"unpacked {cwd}/train.zip into data/tgs/" in done.stdout
    assert len(list((cwd / "folds/fold_0/val/images").iterdir())) == 30
    (cwd / "broken.zip").write_bytes(b"PK\x03\x04 and no more")
    line = error_line(run_script("tgs_preprocess.py", "--data_path=broken.zip", cwd=cwd))
    assert line == "broken.zip cannot be unpacked (File is not a zip file); get the zip again"


# ---- hostile and broken zips -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "name",
    [
        "../images/x.png",
        "images/../../../x.png",
        "/images/x.png",
        "/etc/train.csv",
        "..\\images\\x.png",
        "\\images\\x.png",
        "C:\\images\\x.png",
        "C:images/x.png",
        "notes/../../x.txt",  # not even ours
    ],
)
def test_no_member_leaves_the_target(cwd, sample, name):
    craft(cwd / "a.zip", {"images/a.png": b"", "masks/a.png": b"", name: b"evil"})
    before = set(cwd.rglob("*"))
    assert "would leave the target folder" in refused(cwd / "a.zip", "a.zip holds")
    assert set(cwd.rglob("*")) == before


def test_a_bomb_is_refused_by_what_it_declares(cwd, monkeypatch):
    craft(cwd / "a.zip", {"images/a.png": bytes(kaggle.MAX_FILE + 1)})
    assert (cwd / "a.zip").stat().st_size < 100_000
    refused(cwd / "a.zip", "a.zip holds 'images/a.png' of 64 MiB")
    monkeypatch.setattr(kaggle, "MAX_TOTAL", 4_000)
    craft(cwd / "b.zip", {f"images/{k}.png": bytes(1_001) for k in range(4)})
    refused(cwd / "b.zip", "b.zip would unpack to more than")
    inner = craft(cwd / "test.zip", {f"images/{k}.png": bytes(1_001) for k in range(4)}).read_bytes()
    craft(cwd / "c.zip", {"test.zip": inner})
    refused(cwd / "c.zip", f"test.zip in {cwd}/c.zip would unpack to more than")


def test_a_member_larger_than_declared_is_refused(cwd):
    path = craft(cwd / "a.zip", {"images/a.png": b"a" * 3000})
    path.write_bytes(path.read_bytes().replace((3000).to_bytes(4, "little"), (30).to_bytes(4, "little")))
    refused(path, "a.zip cannot be unpacked (Bad CRC-32")


def test_broken_zips(cwd, sample):
    path = train_zip(cwd, sample)
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
    refused(path, "train.zip cannot be unpacked")
    path.write_bytes(whole[:30_000] + bytes(1000) + whole[31_000:])
    refused(path, "train.zip cannot be unpacked")
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("images/a.png", b"secret")
    encrypted = bytearray(path.read_bytes())
    encrypted[6] |= 1  # flag bits of the local header,
    encrypted[encrypted.index(b"PK\x01\x02") + 8] |= 1  # and of the directory
    path.write_bytes(encrypted)
    refused(path, "train.zip holds 'images/a.png' encrypted")
    data = bytearray(craft(path, {"images/a.png": bytes(1000)}).read_bytes())
    data[30 + len("images/a.png")] = 0xFF  # the first byte of the deflated data: no such kind of block
    path.write_bytes(data)
    refused(path, "train.zip cannot be unpacked (Error -3 while decompressing data")
    craft(cwd / "whole.zip", {"train.zip": whole[:-30]})
    refused(cwd / "whole.zip", f"train.zip in {cwd}/whole.zip cannot be unpacked")
    (cwd / "folder").mkdir()
    (cwd / "folder/train.zip").mkdir()
    refused(cwd / "folder", "cannot unpack")


def test_links_odd_names_and_odd_compressions(cwd):
    link = zipfile.ZipInfo("images/a.png")
    link.external_attr = 0o120777 << 16
    odd = {"images/a.png": zipfile.ZIP_LZMA, "masks/a.png": zipfile.ZIP_BZIP2}
    for name, members in {"link": {link: 0}, "name": {"images/a\nb.png": 8}, "lzma": odd}.items():
        with zipfile.ZipFile(cwd / f"{name}.zip", "w") as archive:
            for member, compression in members.items():
                archive.writestr(member, b"/etc/passwd", compression)
    refused(cwd / "link.zip", "link.zip holds the link 'images/a.png'")
    refused(cwd / "name.zip", r"name.zip holds 'images/a\nb.png', which cannot be an id")
    refused(cwd / "lzma.zip", "lzma.zip holds 'images/a.png', which is not deflated")


def test_where_nothing_can_be_written(cwd, sample):
    path = train_zip(cwd, sample)
    cwd.chmod(0o500)
    with as_ordinary_user():
        refused(path, "cannot unpack into data/tgs: Permission denied")
    cwd.chmod(0o700)
    Path("data").touch()
    with pytest.raises(InputError, match="cannot create the folder data/tgs: Not a directory"):
        find_dataset(path)
    assert {file.name for file in cwd.iterdir()} == {"data", "train.zip"}


def test_a_member_twice(cwd):
    with zipfile.ZipFile(cwd / "a.zip", "w") as archive:
        archive.writestr("images/a.png", b"1")
        with pytest.warns(UserWarning, match="Duplicate"):
            archive.writestr("images/a.png", b"2")
    refused(cwd / "a.zip", "a.zip holds train/images/a.png twice")
    craft(cwd / "b.zip", {"x/images/a.png": b"1", "y/images/a.png": b"2"})
    refused(cwd / "b.zip", "b.zip holds train/images/a.png twice")


@pytest.mark.parametrize(
    "members", [{}, {"readme.txt": b"hi"}, {"a.png": b""}, {"train.csv": b"id,rle_mask\n"}, {".": b""}]
)
def test_a_zip_without_tiles(cwd, members):
    assert "expected images/*.png" in refused(craft(cwd / "a.zip", members), "a.zip holds no labelled tiles")


def test_a_zip_of_test_tiles_alone(cwd, sample):
    refused(test_zip(cwd, sample), "test.zip holds no labelled tiles")


def test_random_damage_is_refused_or_harmless(cwd, sample):
    tiles = dict(sorted(content(sample / "train").items())[:6])
    whole = craft(cwd / "a.zip", tiles).read_bytes()
    rng = random.Random(0)
    refusals = 0
    for _ in range(120):
        damaged = bytearray(whole)
        for _ in range(rng.randint(1, 4)):
            tail = rng.random() < 0.5  # the directory at the end is where damage is most varied
            damaged[rng.randrange(len(whole) - 900 if tail else 0, len(whole))] = rng.randrange(256)
        (cwd / "a.zip").write_bytes(damaged)
        try:
            find_dataset(cwd / "a.zip")
        except InputError:
            refusals += 1
            assert not TARGET.exists()
        for name, data in content(TARGET).items():  # what came through is what was packed, or under a damaged name
            assert data in tiles.values(), name
        shutil.rmtree("data", ignore_errors=True)
    assert 40 < refusals < 120
