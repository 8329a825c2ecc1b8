"""A trained detector on any video."""

import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import nullcontext
from itertools import chain, islice
from pathlib import Path

import numpy as np
import torch
from mmengine.config import Config
from mmengine.device import get_device
from mmengine.runner.checkpoint import CheckpointLoader, load_state_dict

import mmstal_da.registry  # noqa: F401  (first: repairs what importing mmaction needs)
from mmstal_da.engine.precision import has_native_bfloat16
from mmstal_da.errors import UsageError, VideoError
from mmstal_da.evaluation.functional import Detections, get_protocol, tubes_of
from mmstal_da.evaluation.functional.video_ap import rank_tubes, suppress_tubes
from mmstal_da.launch.checkpoints import (
    TRAINING_ONLY,
    check_checkpoint,
    check_fit,
    weights_of,
)
from mmstal_da.launch.config import load_config
from mmstal_da.launch.reporting import as_config_error
from mmstal_da.models.detectors import ActionTubeDetector
from mmstal_da.register import register_all_modules
from mmstal_da.registry import MODELS, TRANSFORMS

from .clips import Window, clips_of
from .inputs import Clip, Input, find_clips
from .result import VideoResult


class ActionTubeInferencer:
    """Detections and tubes of a trained detector on one's own videos.

    ::

        from mmstal_da.apis import ActionTubeInferencer
        inferencer = ActionTubeInferencer('work_dirs/full/iter_600.pth')
        for result in inferencer('my_videos/', out_dir='found'):
            print(result.name, len(result.shown_tubes()))

    Args:
        checkpoint: A checkpoint of ``tools/train.py``, a file or a URL.
        config: Config file in place of the one that the checkpoint carries.
        device: ``'cpu'``, ``'cuda'``, …; None takes what MMEngine finds.
        batch_size: Key frames at a time.

    Raises:
        UsageError: No such file, a checkpoint of another model, without config or class names,
            or a test pipeline that cannot be run on frames.
    """

    def __init__(
        self,
        checkpoint: str | os.PathLike[str],
        config: str | os.PathLike[str] | None = None,
        device: str | None = None,
        batch_size: int = 8,
    ) -> None:
        register_all_modules()
        self.checkpoint = check_checkpoint(os.fspath(checkpoint))
        loaded = CheckpointLoader.load_checkpoint(self.checkpoint, map_location='cpu')
        meta = loaded.get('meta') or {}
        self.cfg = self._config(meta, config)
        self.classes = self._class_names(meta)
        self.device = device or get_device()
        self.batch_size = batch_size
        self.window, self._per_frame, self._per_clip = self._transforms()
        self.model = self._model(loaded)

    def _config(self, meta: dict, config: str | os.PathLike[str] | None) -> Config:
        if config is not None:
            return load_config(os.fspath(config))
        if not meta.get('cfg'):
            raise UsageError(f'{self.checkpoint} carries no config; give one: config=, --config')
        return Config.fromstring(meta['cfg'], '.py')

    def _class_names(self, meta: dict) -> list[str]:
        names = (meta.get('dataset_meta') or {}).get('classes') or self.cfg.get('classes')
        if not names:
            raise UsageError(
                f'{self.checkpoint} names no classes; set `classes` in the config (--config)'
            )
        return list(names)

    def _transforms(self) -> tuple[Window, list, list]:
        """The clip's window, and the transforms of a frame alone and of a clip."""
        dataset = (self.cfg.get('test_dataloader') or {}).get('dataset') or {}
        pipeline = dataset.get('pipeline') or self.cfg.get('test_pipeline')
        kinds = [stage['type'].rpartition('.')[2] for stage in pipeline or ()]
        if kinds[:2] != ['SampleKeyFrameClip', 'DecodeFrames']:
            raise UsageError(
                'the config has no test pipeline of SampleKeyFrameClip, DecodeFrames, …; set'
                ' test_pipeline in the config (--config)'
            )
        clip = TRANSFORMS.build(pipeline[0])
        count = 2
        while count < len(kinds) and kinds[count] == 'Resize':  # of every frame alone
            count += 1
        stages = [TRANSFORMS.build(stage) for stage in pipeline[2:]]
        return Window(clip.clip_len, clip.frame_interval), stages[: count - 2], stages[count - 2 :]

    def _model(self, loaded: dict) -> ActionTubeDetector:
        with as_config_error(f'the model of {self.checkpoint} cannot be built'):
            model = MODELS.build(self.cfg.model)
        if not isinstance(model, ActionTubeDetector):
            raise UsageError(
                f'{type(model).__name__} needs proposals; give the checkpoint of a detector that'
                ' finds them itself, such as a row source_only or full'
            )
        state = weights_of(loaded, self.checkpoint)
        check_fit(state, model, self.checkpoint, TRAINING_ONLY)
        load_state_dict(model, state)
        head = self.cfg.model.roi_head.bbox_head
        if head.num_classes != len(self.classes):
            raise UsageError(
                f'the model has {head.num_classes} classes, the names are {self.classes}; set'
                ' `classes` in the config (--config)'
            )
        return model.to(self.device).eval()

    def __call__(
        self,
        inputs: Input | Sequence[Input],
        out_dir: str | os.PathLike[str] | None = None,
        **settings,
    ) -> Iterator[VideoResult]:
        """Look at videos one after the other; each is written when it is done.

        Args:
            inputs: See :func:`~mmstal_da.apis.inputs.find_clips`.
            out_dir: Where each video gets a folder of its name; None writes nothing.
            **settings: Of :meth:`infer`.

        Yields:
            A result per video.

        Raises:
            VideoError: A video that cannot be read.
        """
        for clip in find_clips(inputs):
            result = self.infer(clip, **settings)
            if out_dir is not None:
                result.save(Path(out_dir) / clip.name, clip.place)
            yield result

    def infer(
        self,
        clip: Clip,
        score_thr: float = 0.3,
        key_frame_stride: int = 1,
        max_gap: int = 1,
        min_length: int = 15,
        notify: Callable[[int, Detections], None] | None = None,
    ) -> VideoResult:
        """Detections and tubes of one video.

        Ctrl-C ends a stream; what was found until then is the result.

        Args:
            clip: The video; its end is awaited.
            score_thr: Of what is shown; ``dets`` keeps all.
            key_frame_stride: Look at every so many-th frame; boxes between are interpolated.
            max_gap: Key frames that a tube may miss, plus one.
            min_length: Least number of frames of a tube; no more than the video has.
            notify: Is called with every key frame's number and detections as they come.
        """
        parts, shape, num_frames = [], (0, 0), 0

        def counted() -> Iterator[np.ndarray]:
            nonlocal num_frames
            for frame in clip.frames():
                num_frames += 1
                yield frame

        try:
            for number, found, size in self._run(clip, counted(), key_frame_stride):
                parts.append(found)
                shape = size
                if notify is not None:
                    notify(number, found)
        except KeyboardInterrupt:
            if not clip.is_stream or not parts:
                raise
        dets = Detections(
            *(np.concatenate([getattr(part, name) for part in parts])
              for name in ('video', 'frame', 'label', 'score', 'boxes'))
        )  # fmt: skip
        protocol = get_protocol(
            'act', max_gap=max_gap * key_frame_stride, min_length=min(min_length, num_frames)
        )
        tubes = suppress_tubes(rank_tubes(tubes_of(dets, protocol)), protocol)
        return VideoResult(
            clip.name, num_frames, *shape, clip.fps(), self.classes, dets, tubes, key_frame_stride,
            score_thr,
        )  # fmt: skip

    def stream(
        self, clip: Clip, key_frame_stride: int = 1
    ) -> Iterator[tuple[int, Detections, tuple[int, int]]]:
        """Detections while the video runs; holds no more frames than a batch of clips spans.

        Yields:
            Number of the key frame, its detections, and (height, width) of the video.

        Raises:
            VideoError: The video cannot be read, has no frame, or frames of several sizes.
        """
        return self._run(clip, clip.frames(), key_frame_stride)

    def _run(
        self, clip: Clip, frames: Iterator[np.ndarray], key_frame_stride: int
    ) -> Iterator[tuple[int, Detections, tuple[int, int]]]:
        """See :meth:`stream`."""
        if key_frame_stride < 1:
            raise UsageError(f'the stride of key frames is at least 1, not {key_frame_stride}')
        first = next(frames, None)
        if first is None:
            raise VideoError(f'{clip.name} has no frames')
        shape = first.shape[:2]

        def of_one_size() -> Iterator[np.ndarray]:
            for number, frame in enumerate(chain([first], frames), 1):
                if frame.shape[:2] != shape:
                    raise VideoError(
                        f'{clip.name}: frame {number} is {frame.shape[1]}x{frame.shape[0]},'
                        f' frame 1 is {shape[1]}x{shape[0]}; all must have one size'
                    )
                yield frame

        def prepare(frame: np.ndarray) -> dict:
            scale = np.ones(2, np.float32)
            results = dict(imgs=[frame], img_shape=shape, modality='RGB', scale_factor=scale)
            for transform in self._per_frame:
                results = transform(results)
            return results

        clips = clips_of(of_one_size(), self.window, key_frame_stride, prepare)
        size = 1 if clip.is_stream else self.batch_size
        while batch := list(islice(clips, size)):
            packed = [self._pack(clip.name, number, held, shape) for number, held in batch]
            for (number, _), found in zip(batch, self._detect(packed), strict=True):
                yield number, found, shape

    def _pack(self, name: str, number: int, held: list[dict], shape: tuple[int, int]) -> dict:
        """A clip as the test pipeline packs it."""
        results = dict(
            held[0],
            imgs=[results['imgs'][0] for results in held],
            original_shape=shape,
            video_name=name,
            key_frame=number,
            key_index=self.window.key_index,
        )
        for transform in self._per_clip:
            results = transform(results)
        return results

    @torch.no_grad()
    def _detect(self, packed: list[dict]) -> list[Detections]:
        batch = {key: [item[key] for item in packed] for key in ('inputs', 'data_samples')}
        half = bool((self.cfg.get('test_cfg') or {}).get('fp16'))
        half = half and has_native_bfloat16(str(self.device))
        context = torch.autocast(str(self.device).partition(':')[0], torch.bfloat16)
        with context if half else nullcontext():
            samples = self.model.test_step(batch)
        found = []
        for sample in samples:
            boxes = sample.pred_instances.bboxes.float().cpu().numpy()
            n = len(boxes)
            found.append(
                Detections(
                    np.zeros(n, np.int32),
                    np.full(n, sample.metainfo['key_frame'], np.int32),
                    sample.pred_instances.labels.cpu().numpy().astype(np.int32),
                    sample.pred_instances.scores.float().cpu().numpy(),
                    boxes.astype(np.float32),
                )
            )
        return found
