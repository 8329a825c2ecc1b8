"""List a folder of videos without labels as an annotation file: all that a target domain needs.

    python tools/data/index_videos.py data/mine/videos --out data/mine/mine.json
    python tools/data/index_videos.py data/mine/videos --out data/mine/mine.json \
        --splits train=train.txt test=test.txt

The folder is searched at any depth, in the order of the names. A video is a file that FFmpeg
reads, or a folder of images numbered 1, 2, 3, …; its name is its path without the extension. Every
video is decoded once: containers often claim a wrong number of frames. The file has no tubes and
a split of all videos, ``all``, beside those given as lists of names, one a line. Give a dataset's
config the file as ``ann_file`` and the folder as ``data_prefix``.
"""

import argparse
import os
import re
import sys
from multiprocessing import Pool
from pathlib import Path

import av
from rich.progress import track

from mmstal_da.errors import AnnotationError, VideoError
from mmstal_da.tubes.annotation import Annotation, Video, save_annotation
from mmstal_da.video.reader import count_frames, read_frames

VIDEO_SUFFIXES = ('.avi', '.mp4', '.gif', '.mkv', '.mov', '.webm', '.mpg', '.mpeg', '.m4v')
IMAGE_SUFFIXES = ('.jpg', '.jpeg', '.png', '.bmp', '.tif', '.tiff', '.webp')
# the format asks for a class; a labelled dataset or a metric that reads the file says it has none
# of its own
NO_CLASSES = ['unlabelled']


def parse_args(argv: list[str] | None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('folder', type=Path, help='folder of videos or of folders of images')
    parser.add_argument('--out', type=Path, required=True, metavar='JSON')
    parser.add_argument('--splits', nargs='+', default=[], metavar='[NAME=]FILE',
                        help='lists of video names; NAME is by default the last part of the'
                        ' file name, as in ..._train.txt')  # fmt: skip
    parser.add_argument('--name', help='of the dataset (default: the last two parts of the'
                        " folder's path); videos of datasets of one name are the same if their"
                        ' names are')  # fmt: skip
    parser.add_argument('--skip-unreadable', action='store_true',
                        help='leave out videos that cannot be read, and say which')  # fmt: skip
    parser.add_argument('--workers', type=int, default=1, help='processes that decode')
    args = parser.parse_args(argv)
    if args.out.suffix != '.json':
        parser.error(f'--out is a .json file, not {args.out}')
    return args


def find_videos(folder: Path) -> dict[str, tuple[Path, str | None]]:
    """Videos of a folder: name -> path relative to it, and the pattern of a folder of images.

    Raises:
        AnnotationError: No folder, no videos, two of one name, or images that are not numbered.
    """
    if not folder.is_dir():
        raise AnnotationError(f'no folder {str(folder)!r}')
    found: dict[str, tuple[Path, str | None]] = {}
    for root, folders, files in os.walk(folder, followlinks=True):
        folders[:] = sorted(name for name in folders if not name.startswith('.'))
        here = Path(root).relative_to(folder)
        files = sorted(name for name in files if not name.startswith('.'))
        images = [name for name in files if name.lower().endswith(IMAGE_SUFFIXES)]
        videos = [name for name in files if name.lower().endswith(VIDEO_SUFFIXES)]
        entries = [((here / name).with_suffix(''), here / name, None) for name in videos]
        if images and not videos:  # pictures beside videos are thumbnails
            entries.append((here, here, image_pattern(Path(root), images)))
        for name, path, pattern in entries:
            key = name.as_posix() if name != Path('.') else folder.resolve().name
            if key in found:
                raise AnnotationError(
                    f'{folder}: {found[key][0]} and {path} are both video {key!r}; rename one'
                )
            found[key] = path, pattern
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
    parts = [re.fullmatch(r'(.*?)(\d+)(\.\w+)', name) for name in images]
    kinds = {(part[1], part[3]) if part else None for part in parts}
    if None in kinds or len(kinds) > 1:
        raise AnnotationError(
            f'{folder}: the images of a video are named alike and numbered, as 00001.jpg,'
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
        task: The folder, and path and pattern as of :func:`find_videos`.

    Returns:
        What the annotation file says about it, or why it cannot be read.
    """
    folder, path, pattern = task
    try:
        num_frames = count_frames(folder / path, pattern)
        if not num_frames:
            raise VideoError(f'{folder / path} has no frames')
        height, width = read_frames(folder / path, [1], pattern)[0].shape[:2]
        fps = None
        if pattern is None:
            with av.open(os.fspath(folder / path)) as container:
                rate = container.streams.video[0].average_rate
                fps = None if not rate else round(float(rate), 3)
    except VideoError as error:
        return str(error)
    return Video(path.as_posix(), num_frames, width, height, pattern, fps)


def add_split(annotation: Annotation, name: str, path: Path) -> None:
    """Add a split from a list of video names, one a line; an extension is ignored.

    Raises:
        AnnotationError: No name, a name that is no video, or a second list for a split.
    """
    names = [line.strip() for line in path.read_text(encoding='utf-8').splitlines()]
    names = [os.path.splitext(n)[0] if n.lower().endswith(VIDEO_SUFFIXES) else n for n in names]
    names = [name for name in names if name]
    unknown = [name for name in names if name not in annotation.videos]
    if not names:
        raise AnnotationError(f'{path} lists no video')
    if unknown:
        raise AnnotationError(
            f'{path} lists {len(unknown)} videos that are not there: {unknown[:3]}; names are such'
            f' as {list(annotation.videos)[:2]}'
        )
    if name in annotation.splits:
        raise AnnotationError(f'{path}: there is a split {name!r} already; use NAME={path}')
    annotation.splits[name] = names


def index_videos(
    folder: Path, name: str | None = None, skip_unreadable: bool = False, workers: int = 1
) -> tuple[Annotation, list[str]]:
    """An annotation without tubes of the videos of a folder, and what could not be read.

    Raises:
        AnnotationError: As of :func:`find_videos`; videos that cannot be read, unless they are
            to be skipped.
    """
    found = find_videos(folder)
    tasks = [(folder, path, pattern) for path, pattern in found.values()]
    progress = dict(total=len(tasks), description='decoding', transient=True)
    if workers > 1:
        with Pool(workers) as pool:
            videos = list(track(pool.imap(read_video, tasks, chunksize=4), **progress))
    else:
        videos = list(track(map(read_video, tasks), **progress))
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


def main(argv: list[str] | None = None) -> int:
    """Write the file; complaints go to stderr with exit code 1."""
    args = parse_args(argv)
    try:
        annotation, errors = index_videos(
            args.folder, args.name, args.skip_unreadable, args.workers
        )
        for split in args.splits:
            name, _, path = split.rpartition('=')
            add_split(annotation, name or Path(path).stem.split('_')[-1], Path(path))
        save_annotation(annotation, args.out)
    except (ValueError, OSError) as error:
        print(f'index_videos.py: {error}', file=sys.stderr)
        return 1
    for error in errors:
        print(f'left out: {error}')
    print(f'wrote {args.out}')
    for name, names in annotation.splits.items():
        frames = sum(annotation.videos[video].num_frames for video in names)
        print(f'{name}: {len(names)} videos, {frames} frames')
    return 0


if __name__ == '__main__':
    sys.exit(main())
