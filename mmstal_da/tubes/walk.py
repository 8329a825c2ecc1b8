"""Walks a folder of videos, through links, each folder once."""

import os
from collections.abc import Iterator
from pathlib import Path

from mmstal_da.errors import AnnotationError


def walk(folder: str | os.PathLike[str]) -> Iterator[tuple[Path, list[str], list[str]]]:
    """Folders, their folders and their files, by name; like ``os.walk`` with links followed.

    A link to a folder that it lies in leads to nothing new and is not followed.

    Args:
        folder: Where to begin.

    Yields:
        A folder; the names of its folders, from which a caller may remove some; the names of its
        files.

    Raises:
        AnnotationError: A folder that cannot be read, or that two paths lead to: its videos would
            be listed twice.
    """
    seen: dict[tuple[int, int], Path] = {}

    def enter(here: Path, above: frozenset[tuple[int, int]]) -> Iterator[
        tuple[Path, list[str], list[str]]
    ]:  # fmt: skip
        try:
            stat = here.stat()
            entries = sorted(os.scandir(here), key=lambda entry: entry.name)
        except OSError as error:
            raise AnnotationError(f'folder {here} cannot be read ({error.strerror})') from error
        key = (stat.st_dev, stat.st_ino)
        if key in above:
            return
        if key in seen:
            raise AnnotationError(
                f'{here} and {seen[key]} are one folder, and its videos would be listed twice:'
                ' remove the link'
            )
        seen[key] = here
        folders = [entry.name for entry in entries if entry.is_dir()]
        yield here, folders, [entry.name for entry in entries if not entry.is_dir()]
        for name in folders:
            yield from enter(here / name, above | {key})

    yield from enter(Path(folder), frozenset())


def files_below(folder: str | os.PathLike[str], suffixes: tuple[str, ...]) -> list[Path]:
    """Files with one of these suffixes, in whatever case, at any depth; hidden ones left out."""
    return sorted(
        root / name
        for root, _, names in walk(folder)
        for name in names
        if name.lower().endswith(suffixes) and not name.startswith('.')
    )
