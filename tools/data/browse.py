"""Shows the model's real input: contact sheet and short videos after all transforms.

    python tools/data/browse.py configs/jhmdb_to_ucf101/full.py --num 4
    python tools/data/browse.py configs/jhmdb_to_ucf101/full.py --part test --out work_dirs/look

Samples come from the config's own data loader and pass the model's data preprocessor. Only the
normalisation is undone for viewing; colours, crops, flips, padding and boxes are the model's.
Source and target are side by side. In training the target has no boxes, because it has no labels.
Boxes belong to the key frame, where they are solid and named. The detector pools the same boxes on
the clip's other frames; there they are dashed. A video pauses on its key frame.

A seed shows the same draws as a training with that seed. In a test part the seed chooses the key
frames. Prints the path of every file it writes.
"""

import argparse
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import zip_longest
from pathlib import Path

import numpy as np
import torch
from mmengine.config import Config, ConfigDict, DictAction
from mmengine.dataset import BaseDataset
from mmengine.runner import Runner

from mmstal_da.datasets.draws import seeded
from mmstal_da.domains import DOMAIN_OF
from mmstal_da.errors import ConfigError, UsageError, VideoError
from mmstal_da.launch.config import load_config
from mmstal_da.models.data_preprocessors import ClipKeyFramePreprocessor
from mmstal_da.register import register_all_modules
from mmstal_da.registry import MODELS
from mmstal_da.utils.wrapped import detector_config
from mmstal_da.visualization import Overlay, contact_sheet, render_frames, write_mp4, write_png
from mmstal_da.visualization.drawing import text_bar

PARTS = ('train', 'val', 'test')
REST = 0.75  # seconds that a video pauses on its key frame
SEARCHED = 5000  # key frames of a test part to choose from
GAP = 8  # pixels between source and target


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    """Command-line arguments."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('config', help='config file of this project')
    parser.add_argument('--part', choices=PARTS, default='train')
    parser.add_argument('--num', type=int, default=4, help='samples of each domain')
    parser.add_argument('--seed', type=int, default=0)
    parser.add_argument('--out', help='folder (default: work_dirs/<config name>/browse)')
    parser.add_argument(
        '--frames',
        type=int,
        default=2,
        help='frames of the clip on the sheet, besides its key frame',
    )
    parser.add_argument('--no-videos', action='store_true', help='write the sheet only')
    parser.add_argument('--fps', type=float, default=8, help='of the videos; 8 is slow motion')
    parser.add_argument('--height', type=int, default=256, help='enlarge smaller frames')
    parser.add_argument(
        '--cfg-options',
        nargs='+',
        action=DictAction,
        metavar='KEY=VALUE',
        help='override values of the config',
    )
    args = parser.parse_args(argv)
    if args.num < 1 or args.frames < 0:
        parser.error('--num is at least 1 and --frames at least 0')
    return args


@dataclass
class View:
    """One sample as the model sees it.

    Attributes:
        clip: (T, H, W, 3) uint8 RGB, I3D's input.
        key_frame: (H, W, 3) uint8 RGB, ResNet's input.
        key_index: Its index in the clip.
        boxes: Boxes with class names, in pixels of these frames; None without labels.
        classes: Class names in label order.
        name: Name of the video.
        place: The key frame's number, and whether it is flipped.
    """

    clip: np.ndarray
    key_frame: np.ndarray
    key_index: int
    boxes: list[Overlay] | None
    classes: list[str]
    name: str
    place: str


def batches(cfg: Config, part: str, num: int, seed: int) -> Iterator[tuple[dict, Sequence[str]]]:
    """Collated batches of a part, and the names of its classes.

    Raises:
        UsageError: The config has no such part.
    """
    loader = cfg.get(f'{part}_dataloader')
    if not loader:
        raise UsageError(f'the config has no {part}_dataloader')
    loader = ConfigDict(loader, num_workers=0, persistent_workers=False)
    loader.pop('prefetch_factor', None)
    if loader.get('sampler', {}).get('type') == 'DrawSampler':
        loader.sampler = ConfigDict(loader.sampler, seed=seed)
    loader = Runner.build_dataloader(loader, seed=seed)
    classes = loader.dataset.metainfo.get('classes') or ()
    with seeded(seed):
        if part == 'train':
            for batch in loader:
                yield batch, classes
        for index in spread(loader.dataset, num, seed):
            yield loader.collate_fn([loader.dataset[index]]), classes


def spread(dataset: BaseDataset, num: int, seed: int) -> list[int]:
    """Indices of ``num`` random key frames, from as many videos as possible.

    A test loader would go frame by frame through one video after the other.
    """
    order = np.random.default_rng(seed).permutation(len(dataset))[:SEARCHED].tolist()
    by_video: dict[str, list[int]] = {}
    for index in order:
        by_video.setdefault(dataset.get_data_info(index)['video_name'], []).append(index)
    in_turn = [index for turn in zip_longest(*by_video.values()) for index in turn]
    return [index for index in in_turn if index is not None][:num]


def views(cfg: Config, part: str, num: int, seed: int) -> dict[str, list[View]]:
    """``num`` samples of each part of a dual-domain batch, such as ``'source'``; else of ``part``.

    Raises:
        UsageError: The config's model has no preprocessor of this project.
    """
    preprocessor = MODELS.build(
        detector_config(cfg.get('model')).get('data_preprocessor') or {'type': ''}
    )
    if not isinstance(preprocessor, ClipKeyFramePreprocessor):
        raise UsageError(
            'the model has no ClipKeyFramePreprocessor: browse.py shows configs of this project'
        )
    found: dict[str, list[View]] = {}
    for batch, classes in batches(cfg, part, num, seed):
        paired = 'inputs' not in batch
        names = [n for n in DOMAIN_OF if paired for _ in batch.get(n, {}).get('inputs', ())]
        data = preprocessor(batch, part == 'train')
        inputs = data['inputs']
        clips = to_uint8(inputs['clip'], preprocessor.clip_mean, preprocessor.clip_std)
        keys = to_uint8(inputs['key_frame'], preprocessor.key_mean, preprocessor.key_std)
        keys = keys[..., ::-1] if preprocessor.key_bgr else keys
        for clip, key, sample in zip(clips, keys, data['data_samples'], strict=True):
            domain = names.pop(0) if paired else part
            boxes = overlays(sample, classes)
            place = f'frame {sample.key_frame}' + (', flipped' if sample.get('flip') else '')
            place += ', no labels' if boxes is None else ''
            view = View(clip, key, sample.key_index, boxes, list(classes), sample.video_name, place)
            found.setdefault(domain, []).append(view)
        if all(len(side) >= num for side in found.values()):
            break
    return {domain: side[:num] for domain, side in found.items()}


def to_uint8(images: torch.Tensor, mean: torch.Tensor, std: torch.Tensor) -> np.ndarray:
    """Undo the normalisation: (N, 3, ...) float to (N, ..., 3) uint8."""
    images = (images * std + mean).round().clamp(0, 255).to(torch.uint8)
    return np.ascontiguousarray(images.movedim(1, -1).numpy())


def overlays(sample, classes: Sequence[str]) -> list[Overlay] | None:
    """Boxes of a packed sample; None if it has no labels at all."""
    if 'gt_instances' not in sample:
        return None
    # the packed x2, y2 are the scaled last pixel; the last pixel of the scaled box is drawn
    last = np.array([0, 0, *(np.asarray(sample.scale_factor, np.float32) - 1)], np.float32)
    boxes = sample.gt_instances.bboxes.numpy() + last  # (n, 4)
    labels = sample.gt_instances.labels
    several = labels.nonzero().tolist() if labels.ndim == 2 else enumerate(labels.tolist())
    names: dict[int, list[str]] = {}
    for row, label in several:
        names.setdefault(row, []).append(
            classes[label] if label < len(classes) else f'class {label}'
        )
    shown = [Overlay(tuple(box), ' + '.join(names[row])) for row, box in enumerate(boxes.tolist())]
    if 'ignored_instances' in sample:
        ignored = sample.ignored_instances.bboxes.numpy() + last
        shown += [Overlay(tuple(box), 'ignored') for box in ignored.tolist()]
    return shown


def draw(view: View, frames: np.ndarray, height: int, keys: Sequence[int]) -> list[np.ndarray]:
    """Frames with the view's boxes: solid and named on those numbered ``keys``, else dashed."""
    size, boxes = frames.shape[1:3], view.boxes or []
    numbers = range(len(frames))
    solid = {number: boxes for number in numbers if number in keys and boxes}
    dashed = {number: boxes for number in numbers if number not in keys and boxes}
    rendered = render_frames(
        frames, numbers, solid, dashed, view.classes, size, min_height=height, gt_labels=False
    )
    return list(rendered)


def sheet(found: dict[str, list[View]], frames: int, height: int) -> np.ndarray:
    """A row per draw: for each domain frames of the clip and the key frame. (H, W, 3) uint8."""
    images, captions, titles = [], [], []
    for row in zip(*found.values(), strict=True):
        titles.append(
            '     |     '.join(
                f'{domain}: {view.name}, {view.place}'
                for domain, view in zip(found, row, strict=True)
            )
        )
        for domain, view in zip(found, row, strict=True):
            chosen = np.linspace(0, len(view.clip) - 1, frames).round().astype(int)
            images += draw(view, view.clip[chosen], height, keys=[]) if frames else []
            captions += [f'{domain}: clip, {i + 1} of {len(view.clip)}' for i in chosen]
            images += draw(view, view.key_frame[None], height, keys=[0])
            captions.append(f'{domain}: key frame')
    shape = np.max([image.shape for image in images], axis=0)
    padded = [
        np.pad(image, [(0, full - now) for full, now in zip(shape, image.shape, strict=True)],
               constant_values=255)
        for image in images
    ]  # fmt: skip
    return contact_sheet(padded, len(images) // len(titles), captions, titles)


def video(row: dict[str, View], height: int, fps: float) -> list[np.ndarray]:
    """The clips of one draw side by side, with a pause on the key frame. (H, W, 3) uint8 each."""
    sides = []
    for domain, view in row.items():
        images = draw(view, view.clip, height, keys=[view.key_index])
        width = images[0].shape[1]
        bars = text_bar(width, f'{domain}: {view.place}'), text_bar(width, view.name, size=10)
        sides.append([np.concatenate([image, *bars]) for image in images])
        space = np.full((*sides[-1][0].shape[:1], GAP, 3), 255, np.uint8)
        sides.append([space] * len(images))
    frames = [np.concatenate(parts, axis=1) for parts in zip(*sides[:-1], strict=True)]
    key = next(iter(row.values())).key_index
    return frames[:key] + [frames[key]] * max(1, round(REST * fps)) + frames[key + 1 :]


def browse(args: argparse.Namespace) -> Iterator[Path]:
    """Write the sheet and the videos; yields their paths."""
    cfg = load_config(args.config, args.cfg_options)
    register_all_modules()
    found = views(cfg, args.part, args.num, args.seed)
    out = Path(args.out or f'work_dirs/{Path(args.config).stem}/browse')
    stem = f'{args.part}_seed{args.seed}'
    write_png(out / f'{stem}.png', sheet(found, args.frames, args.height))
    yield out / f'{stem}.png'
    if args.no_videos:
        return
    for number, row in enumerate(zip(*found.values(), strict=True)):
        path = out / f'{stem}_{number:02d}.mp4'
        write_mp4(path, video(dict(zip(found, row, strict=True)), args.height, args.fps), args.fps)
        yield path


def main(argv: list[str] | None = None) -> int:
    """Show the samples; complaints go to stderr with exit code 1, those about usage with 2."""
    args = parse_args(argv)
    try:
        for path in browse(args):
            print(path)
    except (UsageError, ValueError, OSError, VideoError) as error:
        print(f'browse.py: {error}', file=sys.stderr)
        return 2 if isinstance(error, (UsageError, ConfigError)) else 1
    return 0


if __name__ == '__main__':
    sys.exit(main())
