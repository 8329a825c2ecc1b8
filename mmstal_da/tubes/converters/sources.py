"""Recognises the kind of source at a path and reads it."""

import os
from pathlib import Path

from mmstal_da.errors import AnnotationError
from mmstal_da.utils.safe_pickle import load_pickle

from ..walk import files_below
from . import coco_video, cvat, label_studio, via, viper
from .act import from_act, is_act
from .archives import TAR
from .jhmdb import from_annot_mat
from .problems import Conversion, Problem
from .puppet_mask import from_puppet_masks
from .tracks import Hints
from .ucf101_24 import from_pyannot
from .ucf_sports import from_gt_tree

ACT = "a ground-truth pickle in ACT's format"
ACCEPTED = {
    'ucf101_24': f'pyannot.pkl, {ACT}, or the folder UCF101_24_Annotations of .xgtf files',
    'jhmdb': f'jhmdb_annot.mat, the folder puppet_mask, or {ACT}',
    'ucf_sports': f'the folder or .tar.gz of <Class>/<NNN>/gt/<frame>.tif.txt, or {ACT}',
    'act': ACT,
    'cvat': "CVAT's XML 1.1 for video or for images (.xml or .zip), or a folder of them",
    'coco_video': 'COCO-style JSON with videos, or with frame numbers in file names',
    'label_studio': "Label Studio's JSON export of video tracking, or a folder of them",
    'via': 'a JSON project of VIA 3 (videos) or VIA 2 (images), or a folder of them',
}


def read_source(
    dataset: str,
    path: str | os.PathLike[str],
    images: dict[str, list[str]] | None = None,
    hints: Hints | None = None,
) -> Conversion:
    """Read a source in any of the formats in which the dataset is released.

    Args:
        dataset: A key of ``ACCEPTED``.
        path: File or folder; its suffix and content show its format.
        images: For UCF-Sports, the names of every video's images
            (:func:`.ucf_sports.from_gt_tree`).
        hints: For Label Studio and VIA, what their files do not say.

    Raises:
        FileNotFoundError: The path does not exist.
        AnnotationError: The path is in none of the dataset's formats.
    """
    path = Path(path)
    if not path.exists():
        raise FileNotFoundError(f'no {path}: for {dataset} give {ACCEPTED[dataset]}')
    if not path.is_dir() and not path.is_file():  # a pipe would be waited for
        raise AnnotationError(f'{path} is no file and no folder: give {ACCEPTED[dataset]}')
    problems: list[Problem] = []
    if dataset == 'cvat':
        return cvat.convert(path, problems)
    if dataset == 'coco_video' and path.is_file():
        return coco_video.convert(path, problems)
    if dataset == 'label_studio':
        return label_studio.convert(path, problems, hints)
    if dataset == 'via':
        return via.convert(path, problems, hints)
    if path.is_file() and path.suffix in ('.pkl', '.pickle'):
        raw = load_pickle(path)
        if is_act(raw):
            name = None if dataset == 'act' else dataset
            return Conversion(from_act(path, name, problems, raw), "ACT's pickle", problems)
        if dataset == 'ucf101_24':
            return Conversion(from_pyannot(path, problems, raw), 'pyannot.pkl', problems)
    elif dataset == 'ucf101_24' and path.is_dir() and files_below(path, ('.xgtf',)):
        return viper.convert(path)
    elif dataset == 'jhmdb' and path.suffix == '.mat' and path.is_file():
        return Conversion(from_annot_mat(path, problems), 'jhmdb_annot.mat', problems)
    elif dataset == 'jhmdb' and path.is_dir() and files_below(path, ('.mat',)):
        return Conversion(from_puppet_masks(path, problems), 'puppet masks', problems)
    elif dataset == 'ucf_sports' and (path.is_dir() or path.name.lower().endswith(TAR)):
        annotation = from_gt_tree(path, problems, images)
        kind = 'ground-truth text files'
        return Conversion(annotation, kind, problems, set(annotation.videos))
    raise AnnotationError(f'{path} is not a source of {dataset}: give {ACCEPTED[dataset]}')
