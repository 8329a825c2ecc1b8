"""Pictures of key frames with ground truth and detections, during validation and test."""

import math
from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
from mmengine.dist import is_main_process
from mmengine.hooks import Hook
from mmengine.runner import Runner

from mmstal_da.registry import HOOKS
from mmstal_da.utils.values import SHARE, SWITCH, check_values, number, whole
from mmstal_da.visualization import Overlay, render_frames, write_png


@HOOKS.register_module()
class TubeVisualizationHook(Hook):
    """Draws every so many-th key frame: detections solid, ground truth dashed.

    Pictures go to ``out_dir``, to a window, and else to the visualizer's backends (TensorBoard,
    WandB, …: ``vis_backends`` of the config). ``tools/test.py --show-dir`` and ``--show`` switch
    it on. Apart from that, a few pictures of every validation go to the backends, always of the
    same key frames.

    Args:
        enable: Off, nothing is drawn but the pictures of a validation.
        val_pictures: Pictures of a validation, spread evenly over its samples; 0 for none.
        interval: Draw every so many-th sample.
        score_thr: Detections with a lower score are left out.
        show: Show each picture in a window.
        wait_time: Seconds that a window stays open.
        out_dir: Folder for ``<video>_<frame>.png``; None gives the pictures to the visualizer.
    """

    priority = 'NORMAL'
    value_rules = dict(
        enable=SWITCH,
        val_pictures=whole(0),
        interval=whole(),
        score_thr=SHARE,
        show=SWITCH,
        wait_time=number(0),
    )

    def __init__(
        self,
        enable: bool = False,
        val_pictures: int = 0,
        interval: int = 50,
        score_thr: float = 0.3,
        show: bool = False,
        wait_time: float = 2.0,
        out_dir: str | None = None,
    ) -> None:
        check_values(self.value_rules, locals())
        self.enable = enable
        self.val_pictures = val_pictures
        self.interval = interval
        self.score_thr = score_thr
        self.show = show
        self.wait_time = wait_time
        self.out_dir = out_dir

    def after_val_iter(
        self, runner: Runner, batch_idx: int, data_batch: dict, outputs: Sequence
    ) -> None:
        """Draw samples of a validation batch."""
        loader = runner.val_dataloader
        if self.enable:
            self._draw(runner, batch_idx, data_batch, outputs, loader, runner.iter, self.interval)
        elif self.val_pictures and is_main_process():  # others would draw for nothing
            mine = len(loader) * loader.batch_size
            every = max(1, mine // self.val_pictures)
            self._draw(
                runner, batch_idx, data_batch, outputs, loader, runner.iter, every,
                last=every * (self.val_pictures - 1),
            )  # fmt: skip

    def after_test_iter(
        self, runner: Runner, batch_idx: int, data_batch: dict, outputs: Sequence
    ) -> None:
        """Draw samples of a test batch."""
        if self.enable:
            loader = runner.test_dataloader
            self._draw(runner, batch_idx, data_batch, outputs, loader, 0, self.interval)

    def _draw(
        self, runner, batch_idx, data_batch, outputs, loader, step, every, last=math.inf
    ) -> None:
        classes = list(loader.dataset.metainfo.get('classes') or ())
        first = batch_idx * loader.batch_size
        for place, (clip, sample) in enumerate(zip(data_batch['inputs'], outputs, strict=True)):
            if (first + place) % every or first + place > last:
                continue
            meta = sample.metainfo
            image = picture(clip.numpy(), sample, classes, self.score_thr)
            name = f'{meta["video_name"]}_{meta["key_frame"]:05d}'
            if self.show:
                cv2.imshow(name, image[..., ::-1])
                cv2.waitKey(max(1, round(1000 * self.wait_time)))
                cv2.destroyWindow(name)
            if self.out_dir is not None:
                write_png(Path(self.out_dir) / f'{name}.png', image)
            elif not self.show:
                # MMEngine's local backend makes no folders, and says nothing if it cannot write
                runner.visualizer.add_image(name.replace('/', '__'), image, step)


def picture(clip: np.ndarray, sample, classes: Sequence[str], score_thr: float = 0.3) -> np.ndarray:
    """A key frame with what was found on it and what is there.

    Args:
        clip: (3, T, H, W) uint8 RGB, as ``PackTubeInputs`` packs it.
        sample: Its data sample with ``pred_instances`` in pixels of the original video and, if
            it has labels, ``gt_instances`` in pixels of the clip.
        classes: Names in label order.
        score_thr: Detections with a lower score are left out.

    Returns:
        (H', W', 3) uint8 RGB.
    """
    meta = sample.metainfo
    frame = np.ascontiguousarray(clip[:, meta['key_index']].transpose(1, 2, 0))
    found = sample.pred_instances
    scores = found.scores.float().cpu().numpy()
    boxes, labels = found.bboxes.float().cpu().numpy(), found.labels.cpu().numpy()
    shown = [
        Overlay(tuple(boxes[i].tolist()), _name(classes, labels[i]), float(scores[i]))
        for i in np.argsort(-scores, kind='stable')
        if scores[i] >= score_thr
    ]
    truth = []
    if 'gt_instances' in sample:
        scale = np.tile(np.float32(meta['scale_factor']), 2)
        actors = sample.gt_instances
        one_hot = actors.labels.ndim == 2
        given = actors.labels.argmax(1) if one_hot else actors.labels
        for box, label in zip(actors.bboxes.cpu().numpy() / scale, given.tolist(), strict=True):
            truth.append(Overlay(tuple(box.tolist()), _name(classes, label)))
    number = int(meta['key_frame'])
    (image,) = render_frames(
        [frame], [number], {number: shown}, {number: truth} if truth else {}, classes,
        meta['ori_shape'], meta['video_name'],
    )  # fmt: skip
    return image


def _name(classes: Sequence[str], label: int) -> str:
    return classes[label] if label < len(classes) else str(label)
