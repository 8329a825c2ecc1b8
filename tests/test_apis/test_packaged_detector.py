"""The trained detector that travels in the package."""

import numpy as np
import pytest

from mmstal_da.apis import ActionTubeInferencer
from mmstal_da.evaluation.files import load_detections
from mmstal_da.evaluation.functional.iou import paired_iou
from mmstal_da.synthetic import PRESETS
from mmstal_da.synthetic.generate import make_clip, plan_clips
from tests.load_tool import load_tool
from tests.model_builders import CONFIGS

NAME = 'mmstal_da://synthetic_a_full'
PUBLISHED = CONFIGS / 'synthetic_a/results/full_seed11.npz'


def best(frame, label, score, boxes, at: int) -> tuple[int, float, np.ndarray] | None:
    """The best detection of a frame."""
    rows = np.flatnonzero(frame == at)
    row = rows[np.argmax(score[rows])] if len(rows) else None
    return None if row is None else (int(label[row]), float(score[row]), boxes[row])


@pytest.fixture(scope='module')
def clip(tmp_path_factory):
    """A target clip of benchmark A's test split, rendered as make_synthetic.py does."""
    folder = tmp_path_factory.mktemp('a')
    tasks = [
        t for t in plan_clips(PRESETS['untrimmed']) if (t.domain, t.split) == ('target', 'test')
    ]
    number = 2
    (folder / tasks[number].path).parent.mkdir(parents=True)
    video, _ = make_clip(tasks[number], folder)
    return folder / video.path, tasks[number].name, video.num_frames


@pytest.mark.slow
def test_it_finds_what_was_published(clip):
    """Half precision of the weights, and rounding of what is published, move little."""
    path, name, length = clip
    file = load_detections(PUBLISHED)
    rows = file.dets[file.dets[:, 0] == file.videos.index(name)]
    inferencer = ActionTubeInferencer(NAME, device='cpu')
    (result,) = inferencer(path)
    assert result.classes == ['climb', 'descend', 'squat', 'wave']
    dets, compared = result.dets, 0
    for frame in range(1, length + 1):
        expected = best(rows[:, 1], rows[:, 2], rows[:, 3], rows[:, 4:], frame)
        if expected is None or expected[1] < 0.3:
            continue
        label, score, box = best(dets.frame, dets.label, dets.score, dets.boxes, frame)
        assert label == expected[0] and score == pytest.approx(expected[1], abs=0.05)
        assert paired_iou(box[None], expected[2][None].astype(np.float32), 1.0)[0] > 0.9
        compared += 1
    assert compared > length / 4


@pytest.mark.slow
def test_the_tool_takes_its_name(clip, tmp_path, capfd):
    path, *_ = clip
    main = load_tool('infer').main
    assert main([NAME, str(path), '--out', str(tmp_path / 'found'), '--fast']) == 0
    assert list((tmp_path / 'found').rglob('tubes.json'))
    assert 'missing keys' not in ''.join(capfd.readouterr())  # of the discriminators
