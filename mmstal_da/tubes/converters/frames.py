"""Finds the videos of an annotation: files, or folders of images.

Known layouts, at any depth below the folder that is searched:

- ``<class>/<video>.avi`` and other video files, in the folder of the class or of no class;
- ``<class>/<video>/00001.jpg``: images numbered from 1, as in the folders ``Rename_Images`` of
  JHMDB and ``rgb-images`` or ``Frames`` of ACT; folders of optical flow are ignored;
- ``<class>/<video>/<any name>.avi``: UCF-Sports.

UCF-Sports' own images are named after the stock footage (``2538-5_70133.jpg``), not numbered:
:func:`link_numbered` gives them numbers.
"""

import os
import re
import shutil
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

from mmstal_da.errors import AnnotationError, VideoError
from mmstal_da.video.images import IMAGE_SUFFIXES
from mmstal_da.video.reader import VIDEO_SUFFIXES, count_frames, frame_rate, frame_size

from ..annotation import Annotation, Video
from ..walk import walk
from .problems import Conversion, Problem, note
from .subset import keep_videos
from .tracks import Hints

FLOW = re.compile(r'flow|brox', re.IGNORECASE)


def locate_videos(
    annotation: Annotation, folder: str | os.PathLike[str], only_present: bool = False
) -> Annotation:
    """Set every video's path to its file or folder of images, in any subfolder, any extension.

    Args:
        annotation: Its videos are named ``<class>/<video>``.
        folder: The folder to search, at any depth (see the module); paths become relative to it.
        only_present: Leave out missing videos instead of raising.

    Raises:
        AnnotationError: A video is missing, or present several times, or its images are not
            numbered from 1.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise AnnotationError(f'no folder {str(folder)!r}')
    groups = {name.split('/')[0] for name in annotation.videos} | set(annotation.classes)
    files, images = _survey(folder)
    inside: dict[str, list[Path]] = {}  # by the folder they are in
    for path in (path for paths in files.values() for path in paths):
        inside.setdefault(path.parent.name, []).append(path)
    missing = []
    for name, video in annotation.videos.items():
        label, _, stem = name.rpartition('/')
        label = label.rpartition('/')[2]

        # of that name in another class's folder is another video
        def of_class(path: Path, label: str = label) -> bool:
            # a name without a folder is that of one video, whatever folder it lies in
            return not label or path.parent.name == label or path.parent.name not in groups

        found = [path for path in files.get(stem, []) if of_class(path)]
        numbered = [path for path in images.get(stem, {}) if of_class(path)]
        if not found and not numbered:  # a folder of the video's name with one file in it
            found = [path for path in inside.get(stem, []) if path.parent.parent.name == label]
        if len(found) + len(numbered) > 1:
            both = [str(path) for path in sorted(found + numbered)]
            raise AnnotationError(
                f'{folder}: several files for video {name!r}: {both}; give the folder of one copy'
            )
        if found:
            video.path, video.filename_tmpl = found[0].as_posix(), None
        elif numbered:
            video.path = numbered[0].as_posix()
            video.filename_tmpl = _template(images[stem][numbered[0]], folder / numbered[0], name)
        else:
            missing.append(name)
    if len(missing) == len(annotation.videos):
        raise AnnotationError(
            f'{folder} holds none of the videos, such as {missing[0]}.avi or {missing[0]}/00001.jpg'
        )
    if missing and not only_present:
        raise AnnotationError(
            f'{folder} lacks {len(missing)} of {len(annotation.videos)} videos, such as'
            f' {missing[:3]}; --only-present leaves them out'
        )
    lacking = set(missing)
    return keep_videos(annotation, [name for name in annotation.videos if name not in lacking])


def measure(conversion: Conversion, folder: str | os.PathLike[str]) -> None:
    """Read from the pixels what the source does not give: sizes, and the number of frames.

    Only videos without a size are opened, and only those in ``conversion.counted`` are counted.

    Raises:
        AnnotationError: A video that cannot be read.
    """
    for name, video in conversion.annotation.videos.items():
        path = Path(folder, video.path)
        try:
            if video.width is None:
                video.width, video.height = frame_size(path, video.filename_tmpl)
            if name in conversion.counted:
                count = count_frames(path, video.filename_tmpl)
                if count < video.num_frames:
                    note(
                        conversion.problems,
                        Problem(
                            name,
                            f'{video.path} has {count} frames, the annotation goes up to frame'
                            f' {video.num_frames}',
                            'num_frames left as annotated',
                        ),
                    )
                else:
                    video.num_frames = count
                conversion.counted.discard(name)
        except (VideoError, OSError) as error:
            raise AnnotationError(f'video {name!r}: {path} cannot be read ({error})') from error


def look_up(
    videos: Mapping[str, Video], folder: str | os.PathLike[str], only_present: bool = False
) -> Hints:
    """Sizes and frame rates from the headers of videos, for formats that lack them.

    Args:
        videos: By name, as the format names them.
        folder: Where to look, at any depth.
        only_present: Name videos that are not there as absent instead of complaining.

    Raises:
        AnnotationError: A video that is not there, or cannot be read.
    """
    stubs = {name: Video(video.path, 1) for name, video in videos.items()}
    found = locate_videos(Annotation('', [], stubs), folder, only_present)
    sizes, rates = {}, {}
    for name, video in found.videos.items():
        path = Path(folder, video.path)
        try:
            sizes[name] = frame_size(path, video.filename_tmpl)
            rate = None if video.filename_tmpl else frame_rate(path)
        except (VideoError, OSError) as error:
            raise AnnotationError(f'video {name!r}: {path} cannot be read ({error})') from error
        if rate:
            rates[name] = rate
    return Hints(sizes, rates, absent=frozenset(set(videos) - set(found.videos)))


def named_images(folder: str | os.PathLike[str]) -> dict[str, list[Path]]:
    """Images of every folder ``<class>/<video>`` that holds some, as paths, by video name."""
    folder = Path(folder)
    if not folder.is_dir():
        raise AnnotationError(f'no folder {str(folder)!r}')
    _, images = _survey(folder)
    found: dict[str, list[Path]] = {}
    for path, names in (item for paths in images.values() for item in paths.items()):
        video = f'{path.parent.name}/{path.name}'
        if not path.parent.name:
            continue
        if video in found:
            raise AnnotationError(
                f'{folder}: {found[video][0].parent} and {folder / path} both hold images of video'
                f' {video!r}; give the folder of one copy'
            )
        found[video] = [folder / path / name for name in names]
    return found


def link_numbered(
    images: Sequence[Path], folder: str | os.PathLike[str], template: str = '{:06d}'
) -> None:
    """Make a folder of links 000001, 000002, ... to images, in the order given; all or nothing.

    Raises:
        AnnotationError: The folder already exists.
    """
    folder = Path(folder)
    if folder.exists():
        raise AnnotationError(f'{folder} already exists: remove it, or link into another folder')
    folder.parent.mkdir(parents=True, exist_ok=True)
    temporary = Path(tempfile.mkdtemp(dir=folder.parent, prefix=f'.{folder.name}.'))
    try:
        for number, image in enumerate(images, 1):
            link = temporary / f'{template.format(number)}{image.suffix.lower()}'
            link.symlink_to(image.resolve())
        temporary.chmod(0o755)
        temporary.rename(folder)
    except BaseException:
        shutil.rmtree(temporary)
        raise


def _survey(
    folder: Path,
) -> tuple[dict[str, list[Path]], dict[str, dict[Path, list[str]]]]:
    """Video files by stem, and folders of images by name with their images, relative."""
    files: dict[str, list[Path]] = {}
    images: dict[str, dict[Path, list[str]]] = {}
    for root, folders, names in walk(folder):
        folders[:] = [name for name in folders if not FLOW.search(name)]
        here = root.relative_to(folder)
        pictures = sorted(name for name in names if name.lower().endswith(IMAGE_SUFFIXES))
        if pictures:
            images.setdefault(here.name, {})[here] = pictures
        for name in sorted(names):
            if name.lower().endswith(VIDEO_SUFFIXES):
                path = here / name
                files.setdefault(path.stem, []).append(path)
    return files, images


def _template(names: list[str], folder: Path, video: str) -> str:
    """The pattern of image names that are numbered from 1."""
    match = re.fullmatch(r'([^{}]*?)(\d+)(\.\w+)', names[0])
    if match:
        digits = len(match[2])
        pad = f'{{:0{digits}d}}' if all(len(name) == len(names[0]) for name in names) else '{:d}'
        template = match[1] + pad + match[3]
        numbers = {template.format(number) for number in range(1, len(names) + 1)}
        if template.format(1) in names and len(numbers & set(names)) * 2 > len(names):
            return template
    raise AnnotationError(
        f'video {video!r}: the images of {folder} are not numbered from 1 (they begin with'
        f' {names[0]!r}); for UCF-Sports, --link-frames DIR makes a folder of numbered links'
    )
