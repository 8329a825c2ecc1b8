"""Reads archives to their end: one that is damaged is an error, not a part of its files.

``tarfile`` takes a damaged header for the end of the archive, and a compressed file's checksum
comes after its last byte. So here what follows the last member must be the end that tar writes.
"""

import bz2
import gzip
import lzma
import tarfile
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

from mmstal_da.errors import AnnotationError

TAR = ('.tar', '.tar.gz', '.tgz', '.tar.bz2', '.tbz2', '.tar.xz', '.txz')
_BLOCK = tarfile.BLOCKSIZE
_KINDS: tuple[tuple[bytes, Any], ...] = (
    (b'\x1f\x8b', gzip.open),
    (b'BZh', bz2.open),
    (b'\xfd7zXZ\0', lzma.open),
)
# what the readers of compressed data raise for data that are damaged
DAMAGED = (
    tarfile.TarError, zipfile.BadZipFile, EOFError, OSError, zlib.error, lzma.LZMAError,
    NotImplementedError, RuntimeError, UnicodeError, ValueError,
)  # fmt: skip


@contextmanager
def _refused(path: Path, kind: str) -> Iterator[None]:
    try:
        yield
    except AnnotationError:
        raise
    except DAMAGED as error:
        raise AnnotationError(
            f'{path} is not a readable {kind} archive ({error}): download it again'
        ) from error


def tar_members(path: Path, suffix: str, limit: int) -> Iterator[tuple[str, bytes]]:
    """Names and contents of the files of a tar archive, compressed or not.

    Args:
        path: The archive.
        suffix: How the names end; hidden files are left out.
        limit: Most bytes of a file.

    Raises:
        AnnotationError: The archive is damaged, is cut off, or holds a larger file.
    """
    with _refused(path, 'tar'), open(path, 'rb') as raw:
        head = raw.read(8)
        raw.seek(0)
        unpack = next((unpack for magic, unpack in _KINDS if head.startswith(magic)), None)
        stream = raw if unpack is None else unpack(raw)
        with tarfile.open(fileobj=stream, mode='r:') as archive:
            for member in archive:
                name = member.name.rpartition('/')[2]
                wanted = member.isfile() and name.endswith(suffix) and not name.startswith('.')
                file = archive.extractfile(member) if wanted else None
                if file is not None:
                    if member.size > limit:
                        raise AnnotationError(f'{path}: {member.name} has {member.size} bytes')
                    yield member.name, file.read()
            stream.seek(archive.offset)
            _expect_end(path, stream)


def _expect_end(path: Path, stream: IO[bytes]) -> None:
    """What follows the last member is zeros, and the compressed stream ends well."""
    length, clean = 0, True
    while piece := stream.read(1 << 20):
        length += len(piece)
        clean = clean and not piece.strip(b'\0')
    if not clean or length < _BLOCK:
        raise AnnotationError(
            f'{path} is a damaged tar archive'
            + (' (a header in it is wrong)' if length else ' (its end is missing)')
            + ': download it again'
        )


@contextmanager
def zip_member(path: Path, names: tuple[str, ...], what: str) -> Iterator[IO[bytes]]:
    """The one file of a zip that has one of these names, whatever its folder.

    Args:
        path: The archive.
        names: Names of files.
        what: What the archive should be, for the message.

    Raises:
        AnnotationError: There is none or several, or the archive is damaged, now or while it is
            read.
    """
    with _refused(path, 'zip'), zipfile.ZipFile(path) as archive:
        found = [name for name in archive.namelist() if name.rpartition('/')[2] in names]
        if len(found) != 1:
            raise AnnotationError(
                f'{path} holds {len(found) or "no"} {" or ".join(names)}: give {what}'
            )
        with archive.open(found[0]) as file:
            yield file
