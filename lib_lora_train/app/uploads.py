"""Pictures, captions and archives dropped on the page: each becomes files of a data set below the data folder."""

from __future__ import annotations

import re
import secrets
import shutil
import time
import zipfile
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

from ..data.layout import EXTENSIONS
from ..errors import DataError
from ..export.folder import written
from ..export.names import RESERVED
from ..export.replacing import replace
from .refusals import NotFound

CAPTIONS = (".txt", ".caption")
FILE_LIMIT = 2 * 2**30  # bytes of one request
_MEMBER_LIMIT = 256 * 2**20  # bytes of one picture out of an archive
_TOTAL_LIMIT = 8 * 2**30  # bytes of all that an archive unpacks to
_COUNT_LIMIT = 20_000  # files in an archive
_RATIO_LIMIT = 200  # unpacked / packed; pictures hardly shrink, bombs do
_DEPTH = 3  # concept/sub/name.png


def folder_of(data_dir: Path, set_id: str) -> tuple[str, Path]:
    """(set id, folder); a new set when `set_id` is empty. Raises NotFound for one we did not give out."""
    root = data_dir / "uploads"
    if not set_id:
        set_id = f"{time.strftime('%Y%m%d-%H%M%S')}-{secrets.token_hex(4)}"
        (root / set_id).mkdir(parents=True)
    if not is_set(set_id) or not (root / set_id).is_dir():
        raise NotFound("That upload is not known.", "Drop the pictures again.")
    return set_id, root / set_id


def is_set(name: str) -> bool:
    """Is this a name that `folder_of` gives?"""
    return re.fullmatch(r"\d{8}-\d{6}-[0-9a-f]{8}", name) is not None


def keep(received: Path, folder: Path, name: str) -> list[str]:
    """Move the file `received` into the data set `folder` under the relative `name`, or unpack it when it is a zip.

    Returns relative names. Raises DataError for names and kinds that have no place in a data set.
    """
    if name.lower().endswith(".zip"):
        return _unpack(received, folder)
    place = _place(folder, name)
    place.parent.mkdir(parents=True, exist_ok=True)
    replace(received, place)
    return [place.relative_to(folder).as_posix()]


def safe_parts(name: str) -> tuple[str, ...]:
    """The parts of a relative name. Raises DataError for absolute ones, `..`, drives, and names Windows reserves."""
    given = PurePosixPath(name.replace("\\", "/")).parts
    parts = tuple(part.strip(". ") or "_" for part in given)  # Windows drops dots and spaces at the end
    for part in parts:
        stem = part.split(".")[0].strip().lower()
        if ".." in given or re.search(r'[\x00-\x1f<>:"/|?*]', part) or stem in RESERVED or len(part) > 200:
            raise DataError(f"{name[:120]!r} is no name for a picture.", "Rename the file.")
    if not 1 <= len(parts) <= _DEPTH:
        raise DataError(f"{name[:120]!r} lies too deep.", "Put pictures directly into concept folders.")
    return parts


def _place(folder: Path, name: str) -> Path:
    parts = safe_parts(name)
    if not parts[-1].lower().endswith((*EXTENSIONS, *CAPTIONS)):
        raise DataError(
            f"{parts[-1][:120]} is neither a picture nor a caption.",
            f"Use {', '.join((*EXTENSIONS, *CAPTIONS))} or zip.",
        )
    return folder.joinpath(*parts)


def _unpack(archive: Path, folder: Path) -> list[str]:
    try:
        with zipfile.ZipFile(archive) as packed:
            wanted = list(_wanted(packed))
            top = _wrapping(wanted)
            places = [_place(folder, info.filename[len(top) :]) for info in wanted]
            _refuse_clashes(places)
            return [_extract(packed, info, place, folder) for info, place in zip(wanted, places, strict=True)]
    except (zipfile.BadZipFile, NotImplementedError, RuntimeError, EOFError) as error:
        raise DataError(f"The archive cannot be unpacked: {error}.", "Pack it again as a plain zip.") from error


def _wanted(packed: zipfile.ZipFile) -> Iterator[zipfile.ZipInfo]:
    """Pictures and captions; every name is checked, also of what is left out. Raises DataError for a bomb."""
    members = [info for info in packed.infolist() if not info.is_dir()]
    total, inside = sum(info.file_size for info in members), sum(info.compress_size for info in members)
    if len(members) > _COUNT_LIMIT or total > _TOTAL_LIMIT or total > _RATIO_LIMIT * max(inside, 2**20):
        raise DataError(f"The archive unpacks to {len(members)} files of {total / 2**30:.1f} GB.", "Split it.")
    for info in members:
        parts = safe_parts(info.filename)
        hidden = parts[0] == "__MACOSX" or PurePosixPath(info.filename).name.startswith(".")
        if parts[-1].lower().endswith((*EXTENSIONS, *CAPTIONS)) and not hidden:
            yield info


def _refuse_clashes(places: list[Path]) -> None:
    """Windows and macOS take `A.png` and `a.png` for one file: the second would replace the first unseen."""
    seen: dict[str, Path] = {}
    for place in places:
        other = seen.setdefault(str(place).casefold(), place)
        if other is not place:
            raise DataError(
                f"The archive holds {other.name} and {place.name} in one folder, which is one name for many disks.",
                "Rename one of them and pack it again.",
            )


def _wrapping(members: list[zipfile.ZipInfo]) -> str:
    """`set/` when all members lie in that folder and it is no concept folder `<repeats>_<name>`: packers add one."""
    tops = {info.filename.partition("/")[0] if "/" in info.filename else "" for info in members}
    top = tops.pop() if len(tops) == 1 else ""
    return f"{top}/" if top and not re.match(r"\d+_", top) else ""


def _extract(packed: zipfile.ZipFile, info: zipfile.ZipInfo, place: Path, folder: Path) -> str:
    if info.file_size > _MEMBER_LIMIT:
        raise DataError(f"{info.filename[:120]} is larger than {_MEMBER_LIMIT >> 20} MB.", "Make it smaller.")
    with written(place) as beside, packed.open(info) as source, open(beside, "wb") as target:
        shutil.copyfileobj(source, target, 2**20)
    return place.relative_to(folder).as_posix()
