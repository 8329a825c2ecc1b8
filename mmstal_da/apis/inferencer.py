"""A trained detector on any video."""

import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import nullcontext
from itertools import chain, count, islice
from pathlib import Path

import numpy as np
import torch

import mmstal_da.registry  # noqa: F401  (first: repairs what importing mmaction needs)
from mmstal_da.datasets.transforms import PackTubeInputs
from mmstal_da.engine.precision import has_native_bfloat16
from mmstal_da.errors import UsageError, VideoError
from mmstal_da.evaluation.functional import Detections, get_protocol, tubes_of
from mmstal_da.evaluation.functional.video_ap import rank_tubes, suppress_tubes
from mmstal_da.models.backbones import InceptionI3D
from mmstal_da.models.detectors import ActionTubeDetector
from mmstal_da.registry import TRANSFORMS
from mmstal_da.visualization.tube_video import write_tube_video

from .clips import Window, clips_of
from .inputs import Clip, Input, find_clips
from .loading import load_trained, pipeline_of
from .onnx_detector import is_onnx, load_onnx
from .result import VideoResult

# of `fast`: frames from one clip of TF1 to the next, and from one key frame to the next; share of
# the anchors and proposals that are looked at
FAST_CLIP_STRIDE, FAST_KEY_FRAME_STRIDE, FAST_PROPOSALS = 6, 2, 1 / 3


class ActionTubeInferencer:
    """Detections and tubes of a trained detector on one's own videos.

    ::

        from mmstal_da.apis import ActionTubeInferencer
        inferencer = ActionTubeInferencer('work_dirs/full/iter_300.pth')
        for result in inferencer('my_videos/', out_dir='found'):
            print(result.name, len(result.shown_tubes()))

    The loop does the work: a video is looked at when its result is asked for.

    Args:
        checkpoint: A checkpoint of ``tools/train.py``, a file or a URL; or a file ``….onnx`` of
            ``tools/export_onnx.py``, which ONNX Runtime runs in its place.
        config: Config file in place of the one that the checkpoint carries. Of an ONNX file, only
            the test pipeline and the data preprocessor are replaced.
        device: ``'cpu'``, ``'cuda'``, …; None takes what MMEngine finds.
        batch_size: Key frames at a time; None: 8, or 32 with ``fast``.
        fast: See :func:`make_fast`, and look at every second frame unless :meth:`infer` is told
            otherwise. Detections differ a little.

    Raises:
        UsageError: No such file, a checkpoint of another model, without config or class names,
            or a test pipeline that cannot be run on frames.
    """

    def __init__(
        self,
        checkpoint: str | os.PathLike[str],
        config: str | os.PathLike[str] | None = None,
        device: str | None = None,
        batch_size: int | None = None,
        fast: bool = False,
    ) -> None:
        self.checkpoint = os.fspath(checkpoint)
        load = load_onnx if is_onnx(self.checkpoint) else load_trained
        self.cfg, self.classes, self.model, self.device = load(self.checkpoint, config, device)
        self.batch_size = batch_size or (32 if fast else 8)
        self.window, self._per_frame, self._per_clip = self._transforms()
        self.fast = fast
        if fast:
            self._make_fast()

    def _make_fast(self) -> None:
        backbone = getattr(self.model, 'clip_backbone', None)
        if not isinstance(backbone, InceptionI3D) or not self._shares_frames:
            raise UsageError(
                f'{self.checkpoint}: `fast` needs a detector on I3D in a checkpoint of PyTorch, and'
                ' a test pipeline that ends with PackTubeInputs'
            )
        make_fast(self.model)

    @property
    def _shares_frames(self) -> bool:
        """Whether clips go to the model as the frames that they share."""
        ends = [type(transform) for transform in self._per_clip]
        return ends == [PackTubeInputs] and not is_onnx(self.checkpoint)

    def _transforms(self) -> tuple[Window, list, list]:
        """The clip's window, and the transforms of a frame alone and of a clip."""
        pipeline = pipeline_of(self.cfg)
        kinds = [stage['type'].rpartition('.')[2] for stage in pipeline]
        try:
            clip, _, *stages = (TRANSFORMS.build(stage) for stage in pipeline)
        except KeyError as error:
            raise UsageError(
                f'{self.checkpoint}: {error}; give a config whose custom_imports name the module'
                ' (--config)'
            ) from error
        count = 2
        while count < len(kinds) and kinds[count] == 'Resize':  # of every frame alone
            count += 1
        return Window(clip.clip_len, clip.frame_interval), stages[: count - 2], stages[count - 2 :]

    def __call__(
        self,
        inputs: Input | Sequence[Input],
        out_dir: str | os.PathLike[str] | None = None,
        video: bool = True,
        **settings,
    ) -> Iterator[VideoResult]:
        """Look at videos one after the other; each is written when it is done.

        Args:
            inputs: See :func:`~mmstal_da.apis.inputs.find_clips`.
            out_dir: Where each video gets a folder of its name; None writes nothing.
            video: Also write ``video.mp4``, see :meth:`write`.
            **settings: Of :meth:`infer`.

        Yields:
            A result per video.

        Raises:
            VideoError: A video that cannot be read.
        """
        for clip in find_clips(inputs):
            result = self.infer(clip, **settings)
            if out_dir is not None:
                self.write(clip, result, out_dir, video)
            yield result

    def write(
        self, clip: Clip, result: VideoResult, out_dir: str | os.PathLike[str], video: bool = True
    ) -> None:
        """Write all files of a video's result into a folder of its name.

        Args:
            clip: The video.
            result: Of :meth:`infer`.
            out_dir: The folder above.
            video: Also write ``video.mp4``, the video with its tubes. A stream has none: its
                frames are gone.

        Raises:
            VideoError: The video cannot be read again.
        """
        folder = Path(out_dir) / clip.name
        if video and not clip.is_stream:
            write_tube_video(
                folder / 'video.mp4', clip.frames(), result.tubes, result.classes, result.fps,
                result.score_thr, note=result.nothing_shown(),
            )  # fmt: skip
        result.save(folder, clip.place)

    def infer(
        self,
        clip: Clip,
        score_thr: float = 0.3,
        key_frame_stride: int | None = None,
        max_gap: int = 1,
        min_length: int = 15,
        notify: Callable[[int, Detections], None] | None = None,
    ) -> VideoResult:
        """Detections and tubes of one video.

        Ctrl-C ends a stream; what was found until then is the result.

        Args:
            clip: The video; its end is awaited.
            score_thr: Of what is shown; ``dets`` keeps all.
            key_frame_stride: Look at every so many-th frame; boxes between are interpolated. None:
                1, or 2 with ``fast``.
            max_gap: Key frames that a tube may miss, plus one.
            min_length: Least number of frames of a tube; no more than the video has.
            notify: Is called with every key frame's number and detections as they come.

        Raises:
            UsageError: A threshold that is no score, or a stride below 1.
            VideoError: A video that cannot be read.
        """
        if not 0 <= score_thr <= 1:
            raise UsageError(f'score_thr must lie in [0, 1], not {score_thr}')
        stride = self.stride_of(key_frame_stride)
        parts, shape, num_frames = [], (0, 0), 0

        def counted() -> Iterator[np.ndarray]:
            nonlocal num_frames
            for frame in clip.frames():
                num_frames += 1
                yield frame

        try:
            for number, found, size in self._run(clip, counted(), stride):
                parts.append(found)
                shape = size
                if notify is not None:
                    notify(number, found)
        except KeyboardInterrupt:
            if not clip.is_stream or not parts:
                raise
        dets = Detections.concatenate(parts)
        protocol = get_protocol(
            'act', max_gap=max_gap * stride, min_length=min(min_length, num_frames)
        )
        tubes = suppress_tubes(rank_tubes(tubes_of(dets, protocol)), protocol)
        return VideoResult(
            clip.name, num_frames, *shape, clip.fps(), self.classes, dets, tubes, stride,
            score_thr,
        )  # fmt: skip

    def stride_of(self, key_frame_stride: int | None) -> int:
        """The stride of key frames, where None is the default.

        Raises:
            UsageError: It is below 1.
        """
        if key_frame_stride is None:
            return FAST_KEY_FRAME_STRIDE if self.fast else 1
        if key_frame_stride < 1:
            raise UsageError(f'the stride of key frames is at least 1, not {key_frame_stride}')
        return key_frame_stride

    def stream(
        self, clip: Clip, key_frame_stride: int | None = None
    ) -> Iterator[tuple[int, Detections, tuple[int, int]]]:
        """Detections while the video runs; holds no more frames than a batch of clips spans.

        Yields:
            Number of the key frame, its detections, and (height, width) of the video.

        Raises:
            VideoError: The video cannot be read, has no frame, or frames of several sizes.
        """
        return self._run(clip, clip.frames(), self.stride_of(key_frame_stride))

    def _run(
        self, clip: Clip, frames: Iterator[np.ndarray], key_frame_stride: int
    ) -> Iterator[tuple[int, Detections, tuple[int, int]]]:
        """See :meth:`stream`."""
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

        order = count()

        def prepare(frame: np.ndarray) -> dict:
            scale = np.ones(2, np.float32)
            results = dict(imgs=[frame], img_shape=shape, modality='RGB', scale_factor=scale)
            for transform in self._per_frame:
                results = transform(results)
            return dict(results, order=next(order))

        clips = clips_of(of_one_size(), self.window, key_frame_stride, prepare)
        size = 1 if clip.is_stream else self.batch_size
        while batch := list(islice(clips, size)):
            packed = [self._pack(clip.name, number, held, shape) for number, held in batch]
            if self._shares_frames:
                orders = np.array([[frame['order'] for frame in held] for _, held in batch])
                ids = np.unique(orders, return_inverse=True)[1].reshape(orders.shape)
                for item, own in zip(packed, ids, strict=True):
                    item['data_samples'].set_metainfo(dict(frame_ids=own))
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
        half = half and not is_onnx(self.checkpoint)  # an ONNX file computes in float32
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


def make_fast(model: ActionTubeDetector) -> None:
    """Have a detector be fast, and not exact.

    TF1 is computed for a key frame in every six frames and interpolated between
    (:mod:`mmstal_da.models.backbones.between_clips`). A third of the anchors is compared in the
    RPN's suppression, and of its proposals the best third goes through TF2.
    """
    model.test_cfg.clip_stride = FAST_CLIP_STRIDE
    cfg = model.rpn_head.test_cfg
    for key in ('nms_pre', 'max_per_img'):
        cfg[key] = max(1, round(cfg[key] * FAST_PROPOSALS))
