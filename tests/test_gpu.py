"""A GPU computes what the CPU computes: losses, RoIAlign, NMS; and its memory stays within bounds.

    pytest -m gpu tests/test_gpu.py
    MMSTAL_DA_GPU_TEST_DEVICE=cpu pytest tests/test_gpu.py      the tests themselves, without a GPU

Numbers worth keeping (losses, peak memory) go into the report of ``--junitxml`` as properties.
"""

import functools
import os
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from mmengine.config import Config

sys.path.insert(0, str(Path(__file__).parents[1] / 'tools' / 'analysis_tools'))

from gpu_checks.networks import (
    CONFIGS,
    build_network,
    clip_length,
    load_row,
    make_batch,
    reads_proposals,
)
from gpu_checks.training_step import (
    exactness,
    losses_and_gradient,
    make_optimizer,
    peak_mebibytes,
    reset_peak,
    take_step,
)

from mmstal_da.engine.precision import has_native_bfloat16

DEVICE = os.environ.get('MMSTAL_DA_GPU_TEST_DEVICE', 'cuda')
ON_GPU = DEVICE.startswith('cuda')
pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(
        ON_GPU and not torch.cuda.is_available(), reason='torch.cuda is not available'
    ),
]
needs_memory_count = pytest.mark.skipif(not ON_GPU, reason='torch counts the memory of GPUs only')

# narrow networks from random weights, every row of the paper's and MMAction2's detectors; a row
# *_gt has the network of the row without it
PAIR = 'synthetic_a'
ROWS = sorted(
    path.stem
    for path in (CONFIGS / PAIR).glob('*.py')
    if not path.stem.startswith('_') and not path.stem.endswith('_gt')
)
SIZE = (48, 64)
# A relative change of all weights by 1e-6 moves losses by up to 1.3e-5 and the gradient's norm by
# 3e-4; bfloat16 on a CPU moved them by up to 3e-3 (D_S: 5e-4 in all) and 3e-2.
TOLERANCE = {
    'float32': dict(losses=dict(rel=2e-4, abs=2e-6), grad_norm=dict(rel=1e-2)),
    'bfloat16': dict(losses=dict(rel=2e-2, abs=2e-3), grad_norm=dict(rel=0.2)),
}


def row_config(row: str) -> Config:
    """Every proposal is sampled, so that near-ties in the RPN's order change nothing."""
    config = load_row(PAIR, row)
    if not reads_proposals(config):
        config.model.train_cfg.rcnn.sampler.update(num=4000)
    return config


def step(row: str, device: str, precision: str) -> dict[str, float]:
    config = row_config(row)
    model = build_network(config, device, dropout=False)
    batch = make_batch(config, clips=4, size=SIZE, length=clip_length(config))
    with exactness(precision):
        return losses_and_gradient(model, batch, make_optimizer(model, config, precision))


@functools.cache
def step_on_cpu(row: str) -> dict[str, float]:
    return step(row, 'cpu', 'float32')


@pytest.mark.parametrize('precision', TOLERANCE)
@pytest.mark.parametrize('row', ROWS)
def test_a_training_step_has_the_cpus_losses(row, precision, record_property):
    expected, found = step_on_cpu(row), step(row, DEVICE, precision)
    losses = [name for name in expected if name.startswith('loss')]
    assert len(losses) > 1 and set(found) == set(expected)
    errors = [abs(found[name] - expected[name]) / max(abs(expected[name]), 1e-9) for name in losses]
    record_property('loss', found['loss'])
    record_property('largest_relative_error', max(errors))
    tolerance = TOLERANCE[precision]
    for name in losses:
        assert found[name] == pytest.approx(expected[name], **tolerance['losses']), name
    assert found['grad_norm'] == pytest.approx(expected['grad_norm'], **tolerance['grad_norm'])
    if precision == 'bfloat16' and has_native_bfloat16(DEVICE):
        assert found['grad_norm'] != expected['grad_norm'], 'autocast was not on'


def random_rois(number: int, images: int, size: int) -> torch.Tensor:
    """(number, 5): image, x1 y1 x2 y2 in pixels, some partly off the image."""
    rng = np.random.default_rng(0)
    start = rng.uniform(-0.1 * size, 0.8 * size, (number, 2))
    end = start + rng.uniform(2, 0.5 * size, (number, 2))
    image = rng.integers(images, size=(number, 1))
    return torch.tensor(np.concatenate([image, start, end], 1), dtype=torch.float32)


@pytest.mark.parametrize('sampling_ratio', [0, 1, 2])
@pytest.mark.parametrize('aligned', [False, True])
def test_roi_align_and_its_gradient_are_the_cpus(aligned, sampling_ratio):
    from mmcv.ops import roi_align

    rois = random_rois(64, images=2, size=256)
    results = []
    for device in ('cpu', DEVICE):
        torch.manual_seed(0)
        features = torch.randn(2, 64, 16, 16).to(device).requires_grad_()
        with exactness('float32'):
            pooled = roi_align(features, rois.to(device), 7, 1 / 16, sampling_ratio, 'avg', aligned)
            (pooled * torch.linspace(-1, 1, 7, device=device)).sum().backward()
        results.append((pooled.detach().cpu(), features.grad.cpu()))
    for expected, found in zip(*results, strict=True):
        torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-4)


def random_boxes(number: int) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Boxes (n, 4), scores (n,) without ties and labels (n,); many boxes overlap.

    Whole pixels: areas and overlaps are exact on every device, so no IoU depends on rounding.
    """
    boxes = random_rois(number, images=1, size=256)[:, 1:].round()
    scores = torch.randperm(number, generator=torch.Generator().manual_seed(0)) / number
    return boxes, scores, torch.arange(number) % 3


@pytest.mark.parametrize('threshold', [0.3, 0.5, 0.7])
def test_nms_keeps_the_cpus_boxes(threshold):
    from mmcv.ops import batched_nms, nms

    boxes, scores, labels = random_boxes(1000)
    kept = []
    for device in ('cpu', DEVICE):
        place = [values.to(device) for values in (boxes, scores, labels)]
        _, alone = nms(*place[:2], iou_threshold=threshold)
        _, per_class = batched_nms(*place, dict(type='nms', iou_threshold=threshold))
        kept.append((alone.tolist(), per_class.tolist()))
    assert kept[0] == kept[1]
    assert 0 < len(kept[0][0]) < len(kept[0][1]) < len(boxes)


@needs_memory_count
@pytest.mark.parametrize('row', ['full', 'slowonly', 'slowfast'])
def test_peak_memory_of_the_papers_networks(row, record_property):
    """At 256 px: it fits, and steps leave nothing behind."""
    config = load_row('jhmdb_to_ucf101', row)
    batch = make_batch(config, clips=2, size=(256, 340), length=clip_length(config))
    peaks = {}
    for precision in TOLERANCE:
        before = reset_peak(DEVICE)
        model = build_network(config, DEVICE)
        optimizer = make_optimizer(model, config, precision)
        held = []
        with exactness(precision):
            for _ in range(4):
                take_step(model, batch, optimizer)
                torch.cuda.synchronize()
                held.append(torch.cuda.memory_allocated())
        peaks[precision] = peak_mebibytes(DEVICE, above=before)
        record_property(f'peak_mib_{precision}', peaks[precision])
        assert abs(held[-1] - held[-2]) < 2**20, held
        del model, optimizer
        torch.cuda.empty_cache()
    total = torch.cuda.get_device_properties(0).total_memory / 2**20
    assert all(0 < peak < total for peak in peaks.values()), peaks
