"""Small sources in every format that ``tools/data/prepare.py`` reads, whole and right."""

import io
import json
import pickle
import tarfile
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import scipy.io

from mmstal_da.tubes.annotation import Annotation, Tube, Video, save_annotation
from mmstal_da.tubes.converters.act import to_act
from mmstal_da.tubes.converters.coco_video import save_coco_video
from mmstal_da.tubes.converters.cvat import to_cvat

DATA = Path(__file__).parents[1] / 'test_tubes' / 'data'
LABELS = 'item {\n  name: "run"\n  id: 1\n}\nitem {\n  name: "jump"\n  id: 2\n}\n'


@dataclass(frozen=True)
class Source:
    """A format.

    Attributes:
        command: Of ``prepare.py``.
        name: Of the file that is damaged, below the folder.
        kind: ``'json'``, ``'lines'``, ``'pickle'`` or ``'bytes'``: what can be done to it.
        make: Writes the file and what belongs to it into a folder.
        path: What ``--annotations`` gets; the file itself if empty.
        options: More arguments; ``{folder}`` is the folder.
    """

    command: str
    name: str
    kind: str
    make: Callable[[Path], None]
    path: str = ''
    options: tuple[str, ...] = ()


def toy() -> Annotation:
    """Two videos of 64 x 48 pixels with three tubes."""
    videos = {
        'run/a': Video('run/a.avi', 12, 64, 48, fps=25.0),
        'run/b': Video('run/b.avi', 9, 64, 48),
    }
    splits = {'train': ['run/b', 'run/a'], 'test': ['run/b']}
    box = np.array([[4, 5, 30, 40]], np.float32)
    tubes = {
        'run/a': [
            Tube('run', np.arange(2, 8), box + np.arange(6)[:, None]),
            Tube('jump', np.array([3, 4, 9]), np.repeat(box + 9.5, 3, 0).astype(np.float32)),
        ],
        'run/b': [Tube('run', np.array([1]), box)],
    }
    for items in tubes.values():
        for tube in items:
            tube.boxes = tube.boxes.astype(np.float32)
    return Annotation('toy', ['run', 'jump'], videos, splits, tubes)


def tubes_json(folder: Path) -> None:
    save_annotation(toy(), folder / 'toy.json')


def act(folder: Path) -> None:
    raw = to_act(toy())
    del raw['mmstal_da']
    (folder / 'GT.pkl').write_bytes(pickle.dumps(raw, protocol=2))


def pyannot(folder: Path) -> None:
    raw = {
        f'{label}/v_{label}_g01_c0{n}': {
            'numf': np.uint8(12),
            'annotations': [
                {'label': np.uint8(index), 'sf': 1, 'ef': 4,
                 'boxes': np.array([[10, 20, 30, 40 + n]] * 3, np.uint8)}
            ],
        }
        for index, label in enumerate(('Diving', 'Golf')) for n in (1, 2)
    }  # fmt: skip
    (folder / 'pyannot.pkl').write_bytes(pickle.dumps(raw, protocol=2))


def jhmdb_mat(folder: Path) -> None:
    names = np.array(['a'] * 3 + ['b'] * 2, object)
    content = {
        'action': np.array(['golf'] * 3 + ['walk'] * 2, object),
        'video_id': names,
        'frame': np.array([1, 2, 3, 1, 2], np.uint16),
        'bound': np.array([[10, 20, 30, 40]] * 5, np.float32),
    }
    scipy.io.savemat(folder / 'jhmdb_annot.mat', {'annot': content}, do_compression=True)


def puppet_masks(folder: Path) -> None:
    mask = np.zeros((24, 32, 4), np.uint8)
    for frame in range(4):
        mask[5:20, 3 + frame : 12 + frame, frame] = 1
    path = folder / 'masks' / 'golf' / 'a' / 'puppet_mask.mat'
    path.parent.mkdir(parents=True)
    scipy.io.savemat(path, {'part_mask': mask}, do_compression=True)


def gt_texts() -> dict[str, bytes]:
    return {
        f'Annotations/Diving/{video:03d}/gt/{frame:05d}.tif.txt': (
            f'{10 + frame} {20 + video} 30 40 ArmSwing\n'.encode()
        )
        for video in range(3)
        for frame in range(4)
    }


def ucf_sports_tar(folder: Path) -> None:
    with tarfile.open(folder / 'gt.tar.gz', 'w:gz') as archive:
        for name, text in gt_texts().items():
            info = tarfile.TarInfo(name)
            info.size = len(text)
            archive.addfile(info, io.BytesIO(text))


def ucf_sports_tree(folder: Path) -> None:
    for name, text in gt_texts().items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(text)


VIPER = """<?xml version="1.0" encoding="UTF-8"?>
<viper xmlns="http://lamp.cfar.umd.edu/viper#" xmlns:data="http://lamp.cfar.umd.edu/viperdata#">
 <data><sourcefile filename="a.avi">
  <file id="0" name="Information"><attribute name="NUMFRAMES"><data:dvalue value="12"/></attribute>
  </file>
  <object framespan="1:12" id="0" name="PERSON"><attribute name="Location">
   <data:bbox framespan="2:4" height="40" width="30" x="10" y="20"/>
   <data:bbox framespan="5:5" height="41" width="30" x="11" y="20"/>
  </attribute><attribute name="Diving"><data:bvalue framespan="2:5" value="true"/></attribute>
  </object>
 </sourcefile></data>
</viper>
"""


def viper(folder: Path) -> None:
    path = folder / 'UCF101_24_Annotations' / 'Diving' / 'v_Diving_g01_c01.xgtf'
    path.parent.mkdir(parents=True)
    path.write_text(VIPER)
    path.with_stem('v_Diving_g01_c02').write_text(VIPER)


def cvat_xml(folder: Path) -> None:
    (folder / 'task.xml').write_text(to_cvat(toy(), 'run/a'))


def cvat_zip(folder: Path) -> None:
    with zipfile.ZipFile(folder / 'task.zip', 'w', zipfile.ZIP_DEFLATED) as archive:
        archive.writestr('annotations.xml', to_cvat(toy(), 'run/a'))


def coco(folder: Path) -> None:
    save_coco_video(toy(), folder / 'coco.json')


def copied(name: str) -> Callable[[Path], None]:
    """A source of the tests of its converter."""

    def make(folder: Path) -> None:
        (folder / name).write_bytes((DATA / name).read_bytes())

    return make


def ava(folder: Path) -> None:
    lines = [f'run/a.avi,{n},0.1,0.2,0.5,0.{n + 5},1,0\n' for n in range(1, 5)]
    lines += ['run/b.avi,3,0.25,0.25,0.75,1.0,2,1\n']
    (folder / 'toy_train.csv').write_text(''.join(lines))
    (folder / 'toy_action_list.pbtxt').write_text(LABELS)
    (folder / 'sizes.json').write_text(json.dumps({'run/a': [64, 48], 'run/b': [64, 48]}))


def split_list(folder: Path) -> None:
    act(folder)
    (folder / 'toy_train.txt').write_text('run/a.avi\nrun/b\n')


SIZES = ('--frame-sizes', '{folder}/sizes.json')


def with_sizes(make: Callable[[Path], None]) -> Callable[[Path], None]:
    def both(folder: Path) -> None:
        make(folder)
        sizes = {name: [640, 360] for name in ('clip_a', 'clip b', 'clip_b')}
        (folder / 'sizes.json').write_text(json.dumps(sizes))

    return both


SOURCES = {
    'tubes': Source('check', 'toy.json', 'json', tubes_json),
    'act': Source('act', 'GT.pkl', 'pickle', act),
    'pyannot': Source('ucf101_24', 'pyannot.pkl', 'pickle', pyannot),
    'jhmdb_mat': Source('jhmdb', 'jhmdb_annot.mat', 'bytes', jhmdb_mat),
    'puppet_mask': Source(
        'jhmdb', 'masks/golf/a/puppet_mask.mat', 'bytes', puppet_masks, 'masks'
    ),
    'ucf_sports_tar': Source('ucf_sports', 'gt.tar.gz', 'bytes', ucf_sports_tar),
    'ucf_sports_tree': Source(
        'ucf_sports', 'Annotations/Diving/001/gt/00002.tif.txt', 'lines', ucf_sports_tree,
        'Annotations',
    ),
    'viper': Source(
        'ucf101_24', 'UCF101_24_Annotations/Diving/v_Diving_g01_c01.xgtf', 'lines', viper,
        'UCF101_24_Annotations',
    ),
    'cvat_xml': Source('cvat', 'task.xml', 'lines', cvat_xml),
    'cvat_zip': Source('cvat', 'task.zip', 'bytes', cvat_zip),
    'coco': Source('coco_video', 'coco.json', 'json', coco),
    'label_studio': Source(
        'label_studio', 'sdk_label_studio_keys.json', 'json',
        with_sizes(copied('sdk_label_studio_keys.json')), options=SIZES,
    ),
    'via3': Source(
        'via', 'via3.json', 'json', with_sizes(copied('via3.json')),
        options=(*SIZES, '--fps', '25'),
    ),
    'via2': Source('via', 'via2.json', 'json', copied('via2.json')),
    'ava': Source('ava', 'toy_train.csv', 'lines', ava, options=SIZES),
    'label_map': Source('ava', 'toy_action_list.pbtxt', 'lines', ava, 'toy_train.csv', SIZES),
    'frame_sizes': Source('ava', 'sizes.json', 'json', ava, 'toy_train.csv', SIZES),
    'split_list': Source(
        'act', 'toy_train.txt', 'lines', split_list, 'GT.pkl',
        ('--splits', 'mine={folder}/toy_train.txt'),
    ),
}  # fmt: skip
