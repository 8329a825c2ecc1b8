r"""Parameters and FLOPs of the parts of a config's detector, for one clip.

Usage::

    python tools/analysis_tools/get_flops.py configs/jhmdb_to_ucf101/full.py
    python tools/analysis_tools/get_flops.py configs/synthetic/full.py --shape 96 128

The detector runs once at test on a clip of noise. MMEngine's ``get_model_complexity_info`` then
counts what every part does with the input that it got there; a multiplication with its addition is
one FLOP. RoIAlign, NMS and the losses are not counted. Discriminators see the same clip as in
training, D_Tinst its best proposals.
"""

import argparse
import sys

import numpy as np
import torch
from mmaction.structures import ActionDataSample
from mmengine.analysis import get_model_complexity_info
from mmengine.config import Config, DictAction
from mmengine.logging import MMLogger
from mmengine.structures import InstanceData
from rich import box
from rich.console import Console
from rich.table import Table
from torch import nn

from mmstal_da.errors import AnnotationError, ConfigError, UsageError
from mmstal_da.launch.config import load_config
from mmstal_da.register import register_all_modules
from mmstal_da.registry import MODELS
from mmstal_da.tubes.annotation import load_annotation
from mmstal_da.utils.wrapped import detector_config

PARTS = {
    'backbone': 'backbone (SF, key frame)',
    'clip_backbone': 'clip backbone (TF1)',
    'neck': 'neck',
    'rpn_head': 'RPN head',
    'roi_head.shared_head': 'shared head (TF2)',
    'roi_head.bbox_head': 'box head',
    'adaptation.spatial': 'D_S',
    'adaptation.temporal_image': 'D_Timg',
    'adaptation.temporal_instance': 'D_Tinst',
}
"""Submodules in the order of the table; a detector has some of them."""

Inputs = dict[str, tuple]


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    """Command-line arguments."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('config', help='config file of this project')
    parser.add_argument(
        '--shape',
        nargs=2,
        type=int,
        metavar=('HEIGHT', 'WIDTH'),
        help='of the clip; default: as the test pipeline resizes the first video, or 4:3',
    )
    parser.add_argument(
        '--cfg-options', nargs='+', action=DictAction, metavar='KEY=VALUE', help='override values'
    )
    return parser.parse_args(argv)


def clip_shape(cfg: Config, shape: list[int] | None) -> tuple[int, int, int]:
    """Frames, height and width of a clip of the test pipeline.

    Raises:
        UsageError: The config does not say.
    """
    dataset = (cfg.get('test_dataloader') or cfg.get('train_dataloader') or {}).get('dataset', {})
    pipeline = dataset.get('pipeline') or cfg.get('test_pipeline') or ()
    stages = {stage['type'].rpartition('.')[2]: stage for stage in pipeline}
    if 'SampleKeyFrameClip' not in stages:
        raise UsageError('the config has no test pipeline with SampleKeyFrameClip')
    length = stages['SampleKeyFrameClip']['clip_len']
    if shape is not None:
        return length, *shape
    height, width = video_size(dataset) or (3, 4)
    if 'Resize' in stages:
        short = max(stages['Resize']['scale']) if -1 in stages['Resize']['scale'] else None
        if short is not None:
            scale = short / min(height, width)
            return length, round(height * scale), round(width * scale)
    if height > 3:
        return length, height, width
    raise UsageError('the config does not say how large its frames are; give --shape HEIGHT WIDTH')


def video_size(dataset: dict) -> tuple[int, int] | None:
    """Height and width of the first video of a dataset, if its annotation is there."""
    try:
        path = f'{dataset.get("data_root", "")}{dataset.get("ann_file", "")}'
        annotation = load_annotation(path, with_tubes=False)
    except (FileNotFoundError, AnnotationError, IsADirectoryError):
        return None
    video = next(iter(annotation.videos.values()), None)
    return (video.height, video.width) if video is not None and video.height else None


def without_weights(cfg: dict) -> None:
    """Drop the pretrained files; their values do not matter here."""
    for key, value in list(cfg.items()):
        if key == 'init_cfg' or key == 'pretrained':
            cfg[key] = None
        elif isinstance(value, dict):
            without_weights(value)


def fake_batch(shape: tuple[int, int, int], num_proposals: int) -> dict:
    """A clip of noise as the pipeline packs it, with proposals for detectors that need them."""
    length, height, width = shape
    rng = np.random.default_rng(0)
    sample = ActionDataSample()
    corners = rng.uniform(0, 0.5, (num_proposals, 2)) * (width, height)
    boxes = np.hstack((corners, corners + (0.4 * width, 0.4 * height)))
    sample.proposals = InstanceData(
        bboxes=torch.tensor(boxes, dtype=torch.float32), scores=torch.ones(num_proposals)
    )
    sample.set_metainfo(
        dict(
            video_name='noise', key_frame=1, key_index=length // 2, img_shape=(height, width),
            ori_shape=(height, width), scale_factor=np.ones(2, np.float32),
        )
    )  # fmt: skip
    clip = torch.from_numpy(rng.integers(0, 256, (3, length, height, width), dtype=np.uint8))
    return dict(inputs=[clip], data_samples=[sample])


@torch.no_grad()
def inputs_of_parts(model: nn.Module, batch: dict) -> Inputs:
    """What every part of the detector gets for a batch at test, and the discriminators with it."""
    inputs: Inputs = {}
    handles = []
    for path in PARTS:
        part = submodule(model, path)
        if part is not None:

            def keep(module, args, path=path) -> None:
                inputs.setdefault(path, args)

            handles.append(part.register_forward_pre_hook(keep))
    model.test_step(batch)
    for handle in handles:
        handle.remove()
    adaptation = getattr(model, 'adaptation', None)
    if adaptation is not None:
        data = model.data_preprocessor(batch, False)
        spatial, temporal = model.extract_feat(data['inputs'])
        vectors = spatial.new_zeros(
            (adaptation.num_proposals, model.roi_head.bbox_head.in_channels)
        )
        seen = dict(spatial=spatial, temporal_image=temporal, temporal_instance=vectors)
        for name, value in seen.items():
            if name in model.taps:
                with torch.enable_grad():  # a tap keeps nothing without
                    model.extract_feat(data['inputs'])
                value = model.taps[name].take().detach()
            if getattr(adaptation, name) is not None:
                inputs[f'adaptation.{name}'] = (value,)
    return inputs


def submodule(model: nn.Module, path: str) -> nn.Module | None:
    """A part of a model by its dotted name; None if it has none."""
    return dict(model.named_modules()).get(path)


def count(model: nn.Module, inputs: Inputs) -> list[tuple[str, int, int, int, str]]:
    """Name, parameters, trainable ones, FLOPs and shape of the input of every part."""
    rows = []
    for path, name in PARTS.items():
        part = submodule(model, path)
        if part is None or path not in inputs:
            continue
        info = get_model_complexity_info(
            part, inputs=inputs[path], show_table=False, show_arch=False
        )
        sizes = [p.numel() for p in part.parameters() if p.requires_grad]
        rows.append((name, info['params'], sum(sizes), info['flops'], describe(inputs[path])))
    return rows


def describe(inputs: object) -> str:
    """Shapes of the tensors in a part's input."""
    if isinstance(inputs, torch.Tensor):
        return ' x '.join(map(str, inputs.shape))
    parts = inputs if isinstance(inputs, (tuple, list)) else ()
    return ', '.join(text for text in map(describe, parts) if text)


def main(argv: list[str] | None = None) -> int:
    """Print the table; returns the exit status."""
    args = parse_args(argv)
    register_all_modules()
    MMLogger.get_current_instance().setLevel('ERROR')  # a warning for every kind of operator
    try:
        cfg = load_config(args.config, args.cfg_options)
        shape = clip_shape(cfg, args.shape)
    except (UsageError, ConfigError) as error:
        print(f'get_flops: {error}', file=sys.stderr)
        return 2
    cfg.model = detector_config(cfg.model)  # without a teacher
    without_weights(cfg.model)
    model = MODELS.build(cfg.model).eval()
    most = ((cfg.model.get('test_cfg') or {}).get('rpn') or {}).get('max_per_img', 100)
    rows = count(model, inputs_of_parts(model, fake_batch(shape, most)))
    length, height, width = shape
    table = Table(box=box.SIMPLE, title=f'{args.config}: {length} frames of {height} x {width}')
    table.add_column('part')
    for column in ('parameters (M)', 'trainable (M)', 'GFLOPs'):
        table.add_column(column, justify='right')
    table.add_column('input')
    for name, params, trainable, flops, shapes in rows:
        cells = (f'{params / 1e6:.3f}', f'{trainable / 1e6:.3f}', f'{flops / 1e9:.3f}')
        table.add_row(name, *cells, shapes)
    at_test = [row for row in rows if not row[0].startswith('D_')]
    for name, chosen in (('at test', at_test), ('with discriminators', rows)):
        if name == 'at test' or len(rows) > len(at_test):
            sums = (sum(row[place] for row in chosen) for place in (1, 2, 3))
            params, trainable, flops = sums
            table.add_row(
                name, f'{params / 1e6:.3f}', f'{trainable / 1e6:.3f}', f'{flops / 1e9:.3f}', ''
            )
    Console(width=150, soft_wrap=True).print(table)
    return 0


if __name__ == '__main__':
    sys.exit(main())
