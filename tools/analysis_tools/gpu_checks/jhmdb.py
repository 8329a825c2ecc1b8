"""Finds JHMDB, original or re-encoded, and the pretrained weights; adapts a row's config."""

from pathlib import Path

import torch
from mmengine.config import Config

from mmstal_da.tubes.annotation import Annotation, load_annotation, save_annotation
from mmstal_da.tubes.converters.subset import keep_videos
from mmstal_da.tubes.jhmdb_pairs import (
    SOURCE_TRAIN,
    TARGET_TEST,
    TARGET_TRAIN,
    parse_name,
    with_splits,
)

from .context import NotPossible
from .networks import CONFIGS
from .plan import PAIR

ANNOTATION = 'foggy.json'
FOLDERS = ('jhmdb', 'jhmdb_packed')  # of annotations, of clips
CLIP_FOLDERS = ('jhmdb/videos', 'jhmdb_packed/videos', 'jhmdb_packed')
SUFFIXES = ('.avi', '.mp4', '.mkv')
WEIGHTS = ('i3d_kinetics400', 'resnet50_imagenet')


def locate(config: Config, work: Path, data: Path = Path('data')) -> Config:
    """The config with the paths at which annotation and clips were found.

    Args:
        config: A row of the pair.
        work: Folder for an annotation file with the clips' actual names.
        data: The folder that is searched.

    Raises:
        NotPossible: Annotation or clips are missing.
    """
    annotation = find_annotation(data)
    wanted = [v for v in annotation.videos if parse_name(v).label in config.classes]
    folder, paths = find_clips(annotation, wanted, data)
    found = keep_videos(annotation, wanted)
    for name, path in paths.items():
        found.videos[name].path = path
    file = (work / ANNOTATION).resolve()
    save_annotation(found, file)
    changed = config.to_dict()
    _replace(changed, str(file), str(folder.resolve()))
    return Config(changed)


def find_annotation(data: Path) -> Annotation:
    """Read ``foggy.json``, or make it from ``jhmdb.json`` and the lists of the pair.

    Raises:
        NotPossible: Neither exists.
    """
    for folder in FOLDERS:
        if (data / folder / ANNOTATION).is_file():
            return load_annotation(data / folder / ANNOTATION)
    for folder in FOLDERS:
        if (data / folder / 'jhmdb.json').is_file():
            lists = CONFIGS / PAIR / 'splits'
            parts = (SOURCE_TRAIN, TARGET_TRAIN, TARGET_TEST)
            splits = {part: (lists / f'{part}.txt').read_text().split() for part in parts}
            return with_splits(load_annotation(data / folder / 'jhmdb.json'), splits)
    places = ' or '.join(f'{data}/{folder}' for folder in FOLDERS)
    raise NotPossible(
        f'no {ANNOTATION} and no jhmdb.json in {places}: make them on another machine '
        '(data/README.md; tools/data/split_jhmdb.py foggy) and copy one here (1 MB)'
    )


def find_clips(
    annotation: Annotation, wanted: list[str], data: Path
) -> tuple[Path, dict[str, str]]:
    """The folder of the clips, and every clip's path in it, in any encoding.

    Raises:
        NotPossible: No folder has them all.
    """
    best, missing = None, wanted
    for folder in (data / name for name in CLIP_FOLDERS):
        paths = {}
        for name in wanted:
            stem = Path(annotation.videos[name].path).with_suffix('')
            for suffix in SUFFIXES:
                # a dot inside a name does not begin a suffix
                candidate = f'{stem}{suffix}'
                if (folder / candidate).is_file():
                    paths[name] = candidate
                    break
        if len(paths) == len(wanted):
            return folder, paths
        if paths and len(wanted) - len(paths) < len(missing):
            best, missing = folder, [name for name in wanted if name not in paths]
    if best is not None:
        raise NotPossible(
            f'{best} lacks {len(missing)} of {len(wanted)} clips, such as {missing[0]}'
        )
    places = ' or '.join(f'{data}/{folder}' for folder in CLIP_FOLDERS)
    raise NotPossible(
        f'no clips <class>/<clip>{{{",".join(SUFFIXES)}}} of JHMDB in {places}: '
        f'{len(wanted)} clips of {PAIR} are needed (data/README.md); they may be re-encoded'
    )


def require_weights(data: Path = Path('data')) -> None:
    """Check that the pretrained weights exist and are finite.

    Raises:
        NotPossible: Names the missing weights and the command that gets them, or those that are not
            finite.
    """
    missing = [name for name in WEIGHTS if not (data / 'weights' / f'{name}.pth').is_file()]
    if missing:
        raise NotPossible(
            f'no {" and no ".join(f"{data}/weights/{name}.pth" for name in missing)}: on a machine '
            + ', '.join(f'`python tools/get_weights.py {name}`' for name in missing)
            + ' with network, then copy the files here'
        )
    for name in WEIGHTS:
        file = data / 'weights' / f'{name}.pth'
        state = torch.load(file, map_location='cpu', weights_only=True)['state_dict']
        bad = [key for key, value in state.items() if not value.isfinite().all()]
        if bad:
            raise NotPossible(
                f'{file}: {bad[0]} is not finite. 16 bits are too few for the statistics of batch '
                'norm (a variance of ResNet-50 is 83615): store only convolutions in 16 bits'
            )


def _replace(part: object, annotation: str, clips: str) -> None:
    """Set the file and the folder of all datasets and metrics in a config."""
    if isinstance(part, list | tuple):
        for item in part:
            _replace(item, annotation, clips)
    elif isinstance(part, dict):
        if str(part.get('ann_file', '')).endswith(ANNOTATION):
            part['ann_file'] = annotation
            if 'data_prefix' in part:
                part['data_prefix'] = clips
        for value in part.values():
            _replace(value, annotation, clips)
