"""Pictures of key frames: where the boxes are, and where the pictures go."""

from types import SimpleNamespace

import cv2
import numpy as np
import pytest
import torch
from mmaction.structures import ActionDataSample
from mmengine.config import Config
from mmengine.registry import VISUALIZERS
from mmengine.structures import InstanceData
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from mmstal_da.engine.hooks import TubeVisualizationHook
from mmstal_da.engine.hooks import tube_visualization_hook as module
from mmstal_da.engine.hooks.tube_visualization_hook import picture
from mmstal_da.registry import HOOKS
from tests.model_builders import CONFIGS

CLASSES = ['run', 'jump']


def sample(frame: int, labelled: bool = True) -> ActionDataSample:
    """A detection at the right of a video of twice the clip's size, an actor at its left."""
    packed = ActionDataSample(
        metainfo=dict(
            video_name='monday/a', key_frame=frame, key_index=1, ori_shape=(96, 128),
            scale_factor=(0.5, 0.5), img_shape=(48, 64),
        )
    )  # fmt: skip
    packed.pred_instances = InstanceData(
        bboxes=torch.tensor([[90.0, 30, 110, 80], [2, 2, 9, 9]]),
        scores=torch.tensor([0.9, 0.1]),
        labels=torch.tensor([1, 0]),
    )
    if labelled:
        packed.gt_instances = InstanceData(
            bboxes=torch.tensor([[10.0, 15, 19.5, 39.5]]), labels=torch.tensor([0])
        )
    return packed


def grey(n: int) -> list[torch.Tensor]:
    return [torch.full((3, 4, 48, 64), 90, dtype=torch.uint8) for _ in range(n)]


def changed(image: np.ndarray, x1: int, y1: int, x2: int, y2: int) -> bool:
    """Whether anything but grey is in a part, given in pixels of the original video."""
    scale = image.shape[1] / 128
    part = image[round(y1 * scale) : round(y2 * scale), round(x1 * scale) : round(x2 * scale)]
    return bool((np.abs(part.astype(int) - 90) > 30).any())


@pytest.mark.parametrize('labelled', [True, False])
def test_boxes_stand_where_they_are_in_the_video(labelled):
    image = picture(grey(1)[0].numpy(), sample(7, labelled), CLASSES)
    assert changed(image, 86, 40, 94, 70) and changed(image, 106, 40, 114, 70)
    assert changed(image, 17, 40, 23, 70) == changed(image, 36, 40, 43, 70) == labelled
    assert not changed(image, 0, 8, 10, 12)  # a score below the threshold
    assert not changed(image, 50, 20, 80, 90)


class Loader:
    """What the hook asks of a data loader."""

    batch_size, batches = 3, 1
    dataset = SimpleNamespace(metainfo=dict(classes=CLASSES))

    def __len__(self) -> int:
        return self.batches


def runner_with(images: list) -> SimpleNamespace:
    loader = Loader()
    visualizer = SimpleNamespace(add_image=lambda *args: images.append(args))
    return SimpleNamespace(
        val_dataloader=loader, test_dataloader=loader, iter=40, visualizer=visualizer
    )


def test_every_so_many_th_sample_goes_to_the_backends_or_the_folder(tmp_path):
    images: list = []
    runner = runner_with(images)
    hook = TubeVisualizationHook(enable=True, interval=4)
    for batch in range(3):
        samples = [sample(3 * batch + place) for place in range(3)]
        hook.after_val_iter(runner, batch, dict(inputs=grey(3)), samples)
    assert [(name, step) for name, _, step in images] == [
        ('monday__a_00000', 40),
        ('monday__a_00004', 40),
        ('monday__a_00008', 40),
    ]
    hook = TubeVisualizationHook(enable=True, interval=1, out_dir=str(tmp_path))
    hook.after_test_iter(runner, 0, dict(inputs=grey(3)), [sample(i) for i in range(3)])
    assert len(images) == 3
    written = sorted(path.relative_to(tmp_path).as_posix() for path in tmp_path.rglob('*.png'))
    assert written == [f'monday/a_0000{i}.png' for i in range(3)]
    np.testing.assert_array_equal(
        cv2.imread(str(tmp_path / written[0]))[..., ::-1],
        picture(grey(1)[0].numpy(), sample(0), CLASSES),
    )


def test_off_it_does_nothing():
    hook = TubeVisualizationHook()
    hook.after_test_iter(runner_with([]), 0, dict(inputs=[None]), [None])
    hook.after_val_iter(runner_with([]), 0, dict(inputs=[None]), [None])
    for wrong in (dict(interval=0), dict(val_pictures=-1)):
        with pytest.raises(ValueError, match='at least'):
            TubeVisualizationHook(**wrong)


def drawn(hook: TubeVisualizationHook, batches: int) -> list[str]:
    """Names of the pictures of a validation of 3 samples a batch."""
    images: list = []
    runner = runner_with(images)
    runner.val_dataloader.batches = batches
    for batch in range(batches):
        samples = [sample(3 * batch + place) for place in range(3)]
        hook.after_val_iter(runner, batch, dict(inputs=grey(3)), samples)
        hook.after_test_iter(runner, batch, dict(inputs=grey(3)), samples)  # draws nothing
    return [name[-2:] for name, _, _ in images]


def test_a_validation_has_a_few_pictures_spread_over_it(monkeypatch):
    hook = TubeVisualizationHook(val_pictures=4)
    assert drawn(hook, 5) == ['00', '03', '06', '09']
    assert drawn(hook, 1) == ['00', '01', '02']  # fewer samples than pictures
    assert drawn(TubeVisualizationHook(val_pictures=1), 5) == ['00']
    monkeypatch.setattr(module, 'is_main_process', lambda: False)
    assert drawn(hook, 5) == []


def test_they_reach_tensorboard_and_the_local_backend(tmp_path):
    """With the backends of the configs, for a video whose name has folders."""
    config = Config.fromfile(CONFIGS / '_base_/default_runtime.py')
    visualizer = VISUALIZERS.build(
        dict(config.visualizer, save_dir=str(tmp_path), name='test_pictures')
    )
    runner = runner_with([])
    runner.visualizer = visualizer
    hook = HOOKS.build(config.default_hooks.visualization)
    hook.after_val_iter(runner, 0, dict(inputs=grey(3)), [sample(i) for i in range(3)])
    visualizer.add_scalars(dict(loss=0.5), step=40)
    visualizer.close()
    (events,) = tmp_path.rglob('events.out.tfevents.*')
    read = EventAccumulator(str(events.parent))
    read.Reload()
    assert read.Tags()['images'] == [f'monday__a_0000{i}' for i in range(3)]
    assert read.Images('monday__a_00001')[0].step == 40
    assert read.Scalars('loss')[0].value == 0.5
    assert sorted(path.name for path in tmp_path.rglob('*.png')) == [
        f'monday__a_0000{i}_40.png' for i in range(3)
    ]
