"""A trained detector as an ONNX file that runs without this package."""

import io
import os
import warnings
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from mmaction.structures import ActionDataSample
from mmengine.structures import InstanceData
from torch import Tensor

from mmstal_da.errors import UsageError
from mmstal_da.models.detectors import ActionTubeDetector
from mmstal_da.registry import TRANSFORMS
from mmstal_da.utils.io import atomic_write

from .loading import load_trained, pipeline_of
from .onnx_detector import INPUTS, OUTPUTS, OnnxDetector, need, open_session
from .onnx_graph import DetectorGraph
from .onnx_metadata import to_metadata

OPSET = 16  # the first whose RoiAlign has aligned boxes
DYNAMIC_AXES = {
    'clip': {0: 'batch', 3: 'height', 4: 'width'},
    'key_frame': {0: 'batch', 2: 'height', 3: 'width'},
    'img_shape': {0: 'batch'},
    'scale_factor': {0: 'batch'},
    **{name: {0: 'detections'} for name in OUTPUTS},
}
# of a coordinate in pixels and of a score; untrained weights magnify the rounding
TOLERANCE = (0.05, 1e-3)
AGREEMENT = 0.5  # least share of equal detections in noise


class Comparison(NamedTuple):
    """ONNX Runtime beside torch, on the same random clips.

    Attributes:
        detections: How many torch found.
        close: How many of them ONNX Runtime found, no further apart than ``TOLERANCE``. In noise,
            scores can be so nearly equal that rounding decides which box suppresses which.
        boxes: Largest difference of a coordinate of these, in pixels.
        scores: Largest difference of a score of these.
    """

    detections: int
    close: int
    boxes: float
    scores: float


def export_onnx(
    checkpoint: str | os.PathLike[str],
    out: str | os.PathLike[str],
    config: str | os.PathLike[str] | None = None,
) -> Comparison:
    """Write a detector with its class names and its preprocessing as an ONNX file.

    The network is :class:`~mmstal_da.apis.onnx_graph.DetectorGraph`, in float32, with the operators
    of opset 16 alone. Batch, height and width are free, the length of the clip is the config's.
    :mod:`~mmstal_da.apis.onnx_metadata` lists what goes with it. Before the file is written, ONNX
    Runtime and torch look at the same random clips.

    Args:
        checkpoint: A checkpoint of ``tools/train.py``, a file or a URL.
        out: The file to write, ``….onnx``. It is written whole or not at all.
        config: Config file in place of the one that the checkpoint carries.

    Returns:
        How far ONNX Runtime and torch are apart.

    Raises:
        UsageError: The extra ``onnx`` is not installed, the folder of ``out`` does not exist, what
            :func:`~mmstal_da.apis.loading.load_trained` refuses, or a detector that ONNX's
            operators do not compute as torch does.
    """
    onnx = need('onnx')
    need('onnxruntime')
    out = Path(out)
    if out.suffix != '.onnx':
        raise UsageError(f'--out {out}: the name of an ONNX file ends in .onnx')
    if not out.parent.is_dir():
        raise UsageError(f'--out {out}: the folder {out.parent} does not exist; make it')
    if out.is_dir():
        raise UsageError(f'--out {out} is a folder; give the name of a file')
    trained = load_trained(checkpoint, config, 'cpu')
    clip_len = TRANSFORMS.build(pipeline_of(trained.cfg)[0]).clip_len
    proto = onnx.load_from_string(trace(trained.model, clip_len))
    # an input with a value is optional
    threshold = np.array([trained.model.roi_head.test_cfg.score_thr], np.float32)
    proto.graph.initializer.append(onnx.numpy_helper.from_array(threshold, 'score_thr'))
    onnx.helper.set_model_props(
        proto, to_metadata(trained.cfg, trained.classes, trained.model.data_preprocessor)
    )
    onnx.checker.check_model(proto, full_check=True)
    content = proto.SerializeToString()
    comparison = compare(trained.model, content, clip_len)
    with atomic_write(out, 'wb') as file:
        file.write(content)
    return comparison


def trace(detector: ActionTubeDetector, clip_len: int) -> bytes:
    """The network as ONNX, without metadata.

    Args:
        detector: In eval mode, on the CPU.
        clip_len: Frames of a clip.
    """
    graph = DetectorGraph(detector).eval()
    data = detector.data_preprocessor(random_clips(clip_len, [(64, 80)] * 2))
    inputs = data['inputs']['clip'], data['inputs']['key_frame'], torch.tensor([[64.0, 80.0]] * 2)
    buffer = io.BytesIO()
    # the exporter that traces: it is the same from torch 2.6 on. Its warnings are about Python
    # values that become constants, which DetectorGraph means them to
    with torch.no_grad(), warnings.catch_warnings():
        warnings.simplefilter('ignore')
        torch.onnx.export(
            graph, (*inputs, torch.ones(2, 2), torch.zeros(1)), buffer,
            input_names=INPUTS, output_names=OUTPUTS, dynamic_axes=DYNAMIC_AXES,
            opset_version=OPSET, dynamo=False, autograd_inlining=False,
        )  # fmt: skip
    return buffer.getvalue()


def random_clips(clip_len: int, sizes: list[tuple[int, int]], seed: int = 0) -> dict:
    """A batch of noise, as the test pipeline packs it.

    Args:
        clip_len: Frames of a clip.
        sizes: Height and width of every clip.
        seed: Of the noise.
    """
    rng = np.random.default_rng(seed)
    inputs, samples = [], []
    for height, width in sizes:
        noise = rng.integers(0, 256, (3, clip_len, height, width), dtype=np.uint8)
        inputs.append(torch.from_numpy(noise))
        metainfo = dict(
            key_index=clip_len // 2, img_shape=(height, width), scale_factor=(0.5, 0.75)
        )
        samples.append(ActionDataSample(metainfo=metainfo))
    return dict(inputs=inputs, data_samples=samples)


@torch.no_grad()
def compare(detector: ActionTubeDetector, content: bytes, clip_len: int) -> Comparison:
    """Detections of torch and of ONNX Runtime, on random clips of other sizes than the traced.

    The threshold of scores is 0, because a trained detector finds nothing in noise.

    Raises:
        UsageError: Less than half of the detections are the same.
    """
    session, _ = open_session(content, 'cpu')
    exported = OnnxDetector(session, detector.data_preprocessor)
    sizes = [(96, 128), (112, 90), (75, 128)]
    cfg = detector.roi_head.test_cfg
    threshold, cfg.score_thr = cfg.score_thr, 0.0
    try:
        expected = detector.test_step(random_clips(clip_len, sizes))
    finally:
        cfg.score_thr = threshold
    found = exported.test_step(random_clips(clip_len, sizes), score_thr=0.0)
    pairs = [(a.pred_instances, b.pred_instances) for a, b in zip(expected, found, strict=True)]
    apart = torch.cat([differences(*pair) for pair in pairs])
    back = torch.cat([differences(*pair[::-1]) for pair in pairs])
    tolerance = torch.tensor(TOLERANCE)
    close = (apart <= tolerance).all(1)
    least = AGREEMENT * max(len(apart), len(back))
    if close.sum() < least or (back <= tolerance).all(1).sum() < least:
        raise UsageError(
            f'on random clips, ONNX Runtime finds {int(close.sum())} of the {len(apart)} detections'
            f' of torch {torch.__version__}, and {len(back)} in all; nothing was written. Export'
            ' with the torch that tools/setup_env.sh installs'
        )
    boxes, scores = apart[close].amax(0).tolist() if close.any() else (0.0, 0.0)
    return Comparison(len(apart), int(close.sum()), boxes, scores)


def differences(some: InstanceData, others: InstanceData) -> Tensor:
    """Of every detection, how far the nearest other one of its class is away.

    Args:
        some: n detections of a clip, with ``bboxes``, ``scores`` and ``labels``.
        others: Detections of the same clip.

    Returns:
        (n, 2): largest difference of a coordinate, and of the score; the first is infinite if
        there is none.
    """
    if not len(others):
        return torch.full((len(some), 2), torch.inf)
    boxes = (some.bboxes[:, None] - others.bboxes).abs().amax(2)  # (n, m)
    boxes[some.labels[:, None] != others.labels] = torch.inf
    nearest, index = boxes.min(1)
    return torch.stack([nearest, (some.scores - others.scores[index]).abs()], 1)
