"""An exported detector, run by ONNX Runtime in place of the model."""

import importlib
import os
from types import ModuleType

import numpy as np
import torch
from mmengine.device import get_device
from mmengine.structures import InstanceData

import mmstal_da.registry  # noqa: F401  (first: repairs what importing mmaction needs)
from mmstal_da.errors import UsageError
from mmstal_da.launch.config import load_config
from mmstal_da.models.data_preprocessors import ClipKeyFramePreprocessor
from mmstal_da.register import register_all_modules
from mmstal_da.registry import MODELS, TRANSFORMS

from .loading import PathLike, Trained, pipeline_of
from .onnx_metadata import from_metadata

INPUTS = ('clip', 'key_frame', 'img_shape', 'scale_factor', 'score_thr')  # the last has a default
OUTPUTS = ('boxes', 'scores', 'labels', 'clip_index')


def is_onnx(path: PathLike) -> bool:
    """Whether a path names an ONNX file, by its ending."""
    return os.fspath(path).lower().endswith('.onnx')


def need(package: str) -> ModuleType:
    """A package of the extra ``onnx``.

    Raises:
        UsageError: It is not installed.
    """
    try:
        return importlib.import_module(package)
    except ModuleNotFoundError as error:
        raise UsageError(
            f"ONNX files need {error.name}: run pip install 'mmstal_da[onnx]'"
        ) from error


class OnnxDetector:
    """What the inferencer needs of a detector, computed by ONNX Runtime in float32.

    Args:
        session: ONNX Runtime's, of a file of ``tools/export_onnx.py``.
        preprocessor: Makes the clips and key frames.
    """

    def __init__(self, session, preprocessor: ClipKeyFramePreprocessor) -> None:
        self.session = session
        self.preprocessor = preprocessor

    def test_step(self, data: dict, score_thr: float | None = None) -> list:
        """The samples of a batch with ``pred_instances``, as :meth:`ActionTubeDetector.predict`.

        Args:
            data: ``inputs`` and ``data_samples``, lists of what the test pipeline packs.
            score_thr: A detection has a higher score; None: the config's ``test_cfg.rcnn``.
        """
        data = self.preprocessor(data)
        samples = data['data_samples']
        feeds = {name: value.numpy(force=True) for name, value in data['inputs'].items()}
        for name in ('img_shape', 'scale_factor'):
            feeds[name] = np.array([sample.metainfo[name] for sample in samples], np.float32)
        if score_thr is not None:
            feeds['score_thr'] = np.array([score_thr], np.float32)
        boxes, scores, labels, clip = self.session.run(OUTPUTS, feeds)
        for index, sample in enumerate(samples):
            rows = clip == index
            sample.pred_instances = InstanceData(
                bboxes=torch.from_numpy(boxes[rows]),
                scores=torch.from_numpy(scores[rows]),
                labels=torch.from_numpy(labels[rows]),
            )
        return samples


def load_onnx(path: PathLike, config: PathLike | None = None, device: str | None = None) -> Trained:
    """The detector of a file of ``tools/export_onnx.py``.

    Args:
        path: The file.
        config: Config file whose test pipeline and data preprocessor replace the file's.
        device: ``'cpu'``, ``'cuda'`` or ``'cuda:1'``; None takes a GPU if there is one that the
            installed ONNX Runtime can use.

    Raises:
        UsageError: ONNX Runtime is not installed, the file is missing, damaged or of another
            origin, or the config has clips of another length.
    """
    register_all_modules()
    path = os.fspath(path)
    session, device = open_session(path, device)
    cfg, classes = from_metadata(session.get_modelmeta().custom_metadata_map, path)
    if config is not None:
        cfg = load_config(os.fspath(config))
    preprocessor = (cfg.get('model') or {}).get('data_preprocessor')
    preprocessor = preprocessor and MODELS.build(preprocessor)
    if not isinstance(preprocessor, ClipKeyFramePreprocessor):
        raise UsageError(
            f'{config} has no model.data_preprocessor of type ClipKeyFramePreprocessor; give the'
            ' config of the checkpoint that was exported'
        )
    length = TRANSFORMS.build(pipeline_of(cfg)[0]).clip_len
    exported = session.get_inputs()[0].shape[2]
    if length != exported:
        raise UsageError(
            f'{path} takes clips of {exported} frames, the config makes them of {length}; give'
            ' the config of the checkpoint that was exported'
        )
    return Trained(cfg, classes, OnnxDetector(session, preprocessor), device)


def open_session(model: str | bytes, device: str | None = None) -> tuple:
    """ONNX Runtime's session, with as many threads as torch has, and the device it runs on.

    Args:
        model: A path, or the content of the file.
        device: As :func:`load_onnx` takes it.

    Raises:
        UsageError: The file is missing or damaged, or ONNX Runtime does not know the device.
    """
    ort = need('onnxruntime')
    if isinstance(model, str) and not os.path.isfile(model):
        raise UsageError(
            f'{model} does not exist on this machine; tools/export_onnx.py makes it of a checkpoint'
        )
    gpu = 'CUDAExecutionProvider'
    if device is None:
        device = (
            'cuda' if get_device() == 'cuda' and gpu in ort.get_available_providers() else 'cpu'
        )
    kind, _, number = device.partition(':')
    chosen = {'cpu': [], 'cuda': [(gpu, {'device_id': int(number or 0)})]}.get(kind)
    if chosen is None or (chosen and gpu not in ort.get_available_providers()):
        raise UsageError(
            f'the installed ONNX Runtime does not run on {device}; use cpu, or pip install'
            ' onnxruntime-gpu for cuda'
        )
    options = ort.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    options.log_severity_level = 3  # errors; it warns that score_thr may be given
    errors = ort.capi.onnxruntime_pybind11_state
    try:
        session = ort.InferenceSession(model, options, [*chosen, 'CPUExecutionProvider'])
    except (
        errors.Fail, errors.InvalidArgument, errors.InvalidGraph, errors.InvalidProtobuf,
        errors.NotImplemented, errors.RuntimeException,
    ) as error:  # fmt: skip
        raise UsageError(
            f'{model if isinstance(model, str) else "the exported network"} is no ONNX file that'
            f' ONNX Runtime {ort.__version__} reads; it may be cut off ({error})'
        ) from error
    if chosen and gpu not in session.get_providers():
        raise UsageError(
            f'ONNX Runtime cannot use {device}; it needs the CUDA and cuDNN that onnxruntime-gpu'
            f' {ort.__version__} names; or use cpu'
        )
    return session, device
