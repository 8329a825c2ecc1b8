"""A folder of videos without labels as an annotation.

A video is a file that FFmpeg reads, or a folder of images numbered 1, 2, 3, …; its name is its path
without the extension. Every video is decoded once: containers often claim a wrong number of frames.
"""

import os
import re
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from functools import partial
from pathlib import Path

from rich.progress import track

from mmstal_da.errors import AnnotationError, VideoError
from mmstal_da.video.images import IMAGE_SUFFIXES, read_image
from mmstal_da.video.reader import VIDEO_SUFFIXES, count_frames, frame_rate, frame_size

from .annotation import Annotation, Video
from .walk import walk

# The format needs a class. A labelled dataset or a metric that reads the file then says that the
# file has none of its classes.
NO_CLASSES = ['unlabelled']


def find_videos(
    folder: Path, passed_over: list[Path] | None = None
) -> dict[str, tuple[Path, str | None]]:
    """Videos of a folder: name -> path relative to it, and the pattern of a folder of images.

    Args:
        folder: Searched at any depth, through links.
        passed_over: Gets the files that are taken for no videos, relative to the folder.

    Raises:
        AnnotationError: No folder, no videos, two videos of one name, one file under two names, or
            unnumbered images.
    """
    if not folder.is_dir():
        raise AnnotationError(f'no folder {str(folder)!r}')
    found: dict[str, tuple[Path, str | None]] = {}
    files_seen: dict[tuple[int, int], Path] = {}
    for root, folders, files in walk(folder):
        folders[:] = [name for name in folders if not name.startswith('.')]
        here = root.relative_to(folder)
        files = [name for name in files if not name.startswith('.')]
        images = [name for name in files if name.lower().endswith(IMAGE_SUFFIXES)]
        videos = [name for name in files if name.lower().endswith(VIDEO_SUFFIXES)]
        entries: list[tuple[Path, Path, str | None]] = [
            ((here / name).with_suffix(''), here / name, None) for name in videos
        ]
        if images and not videos:  # pictures next to videos are thumbnails
            entries.append((here, here, image_pattern(root, images)))
        elif passed_over is not None:
            passed_over += [here / name for name in images]
        if passed_over is not None:
            passed_over += [here / n for n in files if n not in videos and n not in images]
        for name, path, pattern in entries:
            key = name.as_posix() if name != Path('.') else folder.resolve().name
            if key in found:
                raise AnnotationError(
                    f'{folder}: {found[key][0]} and {path} are both video {key!r}; rename one'
                )
            found[key] = path, pattern
            if (folder / path).exists():
                stat = (folder / path).stat()
                other = files_seen.setdefault((stat.st_dev, stat.st_ino), path)
                if other != path:
                    raise AnnotationError(
                        f'{folder}: {other} and {path} are one file, and the video would be listed'
                        ' twice: remove the link'
                    )
    if not found:
        raise AnnotationError(
            f'{folder} holds no videos ({", ".join(VIDEO_SUFFIXES)}) and no folders of images'
        )
    return dict(sorted(found.items()))


def image_pattern(folder: Path, images: list[str]) -> str:
    """The ``filename_tmpl`` of images 1, 2, 3, …, such as ``'frame_{:05d}.jpg'``.

    Raises:
        AnnotationError: Names of several kinds, or numbers that do not run from 1.
    """
    matches = (re.fullmatch(r'(.*?)(\d+)(\.\w+)', name) for name in images)
    parts = [match for match in matches if match]
    kinds = {(part[1], part[3]) for part in parts}
    if len(parts) < len(images) or len(kinds) > 1:
        raise AnnotationError(
            f'{folder}: the images of a video need one name pattern with numbers, as 00001.jpg,'
            f' 00002.jpg; these are {images[:2]} to {images[-1]!r}'
        )
    (prefix, suffix), width = kinds.pop(), min(len(part[2]) for part in parts)
    escaped = prefix.replace('{', '{{').replace('}', '}}')
    pattern = f'{escaped}{{:0{width}d}}{suffix}'
    for number in range(1, len(images) + 1):
        if not (folder / pattern.format(number)).is_file():
            raise AnnotationError(
                f'{folder}: {len(images)} images, but no {pattern.format(number)}; the images of a'
                ' video are numbered from 1 without a gap'
            )
    return pattern


def read_video(task: tuple[Path, Path, str | None]) -> Video | str:
    """Decode a video once.

    Args:
        task: The folder, and path and pattern from :func:`find_videos`.

    Returns:
        Its entry in the annotation file, or the reason why it cannot be read.
    """
    folder, path, pattern = task
    try:
        num_frames = count_frames(folder / path, pattern)
        if not num_frames:
            raise VideoError(f'{folder / path} has no frames')
        width, height = frame_size(folder / path, pattern)
        fps = frame_rate(folder / path) if pattern is None else None
        if pattern is not None:
            _decode_images(folder / path, pattern, num_frames, (width, height))
    except (VideoError, OSError) as error:
        return str(error)
    return Video(path.as_posix(), num_frames, width, height, pattern, fps)


def _decode_images(folder: Path, pattern: str, num_frames: int, size: tuple[int, int]) -> None:
    """Decode the images after the first.

    Raises:
        VideoError: One is damaged or has another size.
    """
    for number in range(2, num_frames + 1):
        height, width = read_image(os.fspath(folder), pattern, number).shape[:2]
        if (width, height) != size:
            raise VideoError(
                f'{folder / pattern.format(number)} (frame {number}) has {width}x{height} pixels,'
                f' the first {size[0]}x{size[1]}; all must have one size'
            )


def index_videos(
    folder: Path,
    name: str | None = None,
    skip_unreadable: bool = False,
    workers: int = 1,
    passed_over: list[Path] | None = None,
) -> tuple[Annotation, list[str]]:
    """List the videos of a folder in an annotation without tubes, and what could not be read.

    Args:
        folder: Folder of videos or of folders of images, searched at any depth.
        name: Name of the dataset; by default the last two parts of the folder's path.
        skip_unreadable: Leave out what cannot be read.
        workers: Number of processes that decode.
        passed_over: Gets the files that are taken for no videos.

    Raises:
        AnnotationError: See :func:`find_videos`. Also if videos cannot be read, unless they are
            to be skipped.
    """
    found = find_videos(folder, passed_over)
    tasks = [(folder, path, pattern) for path, pattern in found.values()]
    shown = partial(track, total=len(tasks), description='decoding', transient=True)
    if workers > 1:
        try:
            with ProcessPoolExecutor(workers) as pool:
                videos = list(shown(pool.map(read_video, tasks, chunksize=4)))
        except BrokenProcessPool as error:
            raise AnnotationError(
                f'{folder}: a process that decoded was killed (is memory short?); try fewer'
                ' --workers'
            ) from error
    else:
        videos = list(shown(map(read_video, tasks)))
    errors = [video for video in videos if isinstance(video, str)]
    kept = {key: v for key, v in zip(found, videos, strict=True) if isinstance(v, Video)}
    if errors and (not skip_unreadable or not kept):
        raise AnnotationError(
            f'{len(errors)} of {len(videos)} videos cannot be read:\n  '
            + '\n  '.join(errors)
            + '\nget them again or remove them; --skip-unreadable leaves them out'
        )
    dataset = name or '/'.join(folder.resolve().parts[-2:])
    annotation = Annotation(dataset, list(NO_CLASSES), kept, {'all': list(kept)})
    return annotation, errors
