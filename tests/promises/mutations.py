"""Small changes of files that are right: of bytes, of chunks of a PNG, of words, of members of a zip."""

import random
import string
import struct
import zipfile
import zlib
from pathlib import Path

from data.png import PNG_SIGNATURE

INTEGERS = (0, 1, 0x7F, 0x80, 0xFF, 0x7FFF, 0xFFFF, 2**24, 2**31 - 1, 2**31, 2**32 - 1, 2**40, 2**63 - 1, 2**64 - 1)


CELLS = [
    "",
    " ",
    "nan",
    "NaN",
    "inf",
    "-1",
    "0",
    "1e999",
    "9" * 400,
    "../a",
    "a/b",
    '"',
    '""',
    '"a\nb"',
    "\0",
    "ä",
    "\ufeff",
]


RUNS = ["0", "-1", "1", "2", "101", "10201", "10202", "1.0", "x", "٣", "9" * 30, "1_0", "+1", "", "\n", "\t"]


Rng = random.Random


def mutate(rng: Rng, content: bytes, first: int = 0) -> bytes:
    """One to four small changes behind byte `first`."""
    changed = bytearray(content)
    for _ in range(rng.choice((1, 1, 1, 2, 4))):
        at = rng.randrange(min(first, len(changed)), len(changed) + 1)
        length = rng.choice((1, 2, 4, 8, 64, 1000))
        match rng.randrange(7):
            case 0 if at < len(changed):
                changed[at] ^= 1 << rng.randrange(8)
            case 1:
                changed[at : at + length] = rng.randbytes(length)
            case 2:
                del changed[at:]
            case 3:
                changed[at:at] = rng.randbytes(length)
            case 4:
                del changed[at : at + length]
            case 5:
                changed[at:at] = changed[at : at + length] * rng.choice((1, 2, 50))
            case _:
                width = rng.choice((1, 2, 4, 8))
                number = rng.choice(INTEGERS) % 256**width
                changed[at : at + width] = number.to_bytes(width, rng.choice(("big", "little")))
    return bytes(changed)


def mutate_png(rng: Rng, content: bytes) -> bytes:
    """Mutate the bytes, or what is inside the checksums: header, compressed data, lines, kinds and order of chunks."""
    if rng.random() < 0.25:
        return mutate(rng, content)
    chunks, at = [], len(PNG_SIGNATURE)
    while at < len(content):
        length, kind = struct.unpack(">I4s", content[at : at + 8])
        chunks.append((kind, content[at + 8 : at + 8 + length]))
        at += 12 + length
    which = rng.choice((0, 1, 1, 1))  # the header, or the data
    kind, inside = chunks[which]
    match rng.randrange(4):
        case 0:
            chunks[which] = (kind, mutate(rng, inside))
        case 1 if which == 0:
            fields = list(struct.unpack(">IIBBBBB", inside))
            k = rng.randrange(7)
            fields[k] = rng.choice(INTEGERS) % (2**32 if k < 2 else 256) if rng.random() < 0.3 else rng.randrange(17)
            chunks[0] = (kind, struct.pack(">IIBBBBB", *fields))
        case 1 | 2 if which == 1:
            lines = mutate(rng, zlib.decompress(inside))
            chunks[1] = (kind, zlib.compress(lines * rng.choice((*[1] * 20, 1000)), rng.choice((0, 1))))
        case _:
            extra = rng.choice(
                (*chunks, (b"PLTE", rng.randbytes(9)), (b"tRNS", rng.randbytes(2)), (rng.randbytes(4), b""))
            )
            chunks.insert(rng.randrange(len(chunks) + 1), extra)
            del chunks[rng.randrange(len(chunks)) if rng.random() < 0.3 else len(chunks) :]
    body = b"".join(struct.pack(">I", len(c)) + k + c + struct.pack(">I", zlib.crc32(k + c)) for k, c in chunks)
    return PNG_SIGNATURE + body


def mutate_text(rng: Rng, text: str, separators: str, odd: list[str]) -> bytes:
    """Replace some of the words between separators, or mutate the bytes."""
    if rng.random() < 0.4:
        return mutate(rng, text.encode())
    for _ in range(rng.choice((1, 1, 3))):
        ends = [k for k, letter in enumerate(text) if letter in separators] or [0]
        at = rng.choice(ends)
        end = min((k for k in ends if k > at), default=len(text))
        text = text[: at + 1] + rng.choice([*odd, rng.choice(string.printable)]) + text[end:]
    return text.encode()


def mutate_npz(rng: Rng, content: bytes, path: Path) -> bytes:
    """Mutate the bytes, or one array inside a zip whose checksums are right."""
    if rng.random() < 0.4:
        return mutate(rng, content)
    path.write_bytes(content)
    with zipfile.ZipFile(path) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    name = rng.choice([*members, "progress.npy"])
    members[name] = mutate(rng, members[name])
    if rng.random() < 0.1:
        members[rng.choice(list(members))] = members.pop(name)
    with zipfile.ZipFile(path, "w", rng.choice((zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED))) as archive:
        for name, data in members.items():
            archive.writestr(name, data)
    return path.read_bytes()
