"""Tools whose output cannot be written, or whose video is damaged, say so in one sentence."""

from pathlib import Path

import numpy as np
import pytest

from mmstal_da.evaluation.files import save_detections
from mmstal_da.evaluation.functional import Detections
from tests.clips import write_dataset
from tests.load_tool import load_tool
from tests.model_builders import CONFIGS


@pytest.fixture
def data(tmp_path) -> Path:
    """A video, its annotation and its detections; a file where a folder should be."""
    annotation = write_dataset(tmp_path, ['a'], ['run'], num_frames=6)
    annotation.rename(tmp_path / 'ann.json')
    rows = [[0, frame, 0, 0.9, 10, 10, 30, 40] for frame in range(1, 7)]
    meta = dict(split='train', background_frames=True)
    dets = Detections.from_rows(np.array(rows, np.float32))
    save_detections(tmp_path / 'dets.npz', dets, ['a'], ['run'], meta)
    (tmp_path / 'file').touch()
    return tmp_path


def arguments(tool: str, folder: Path, out: Path) -> list[str]:
    ann, dets = folder / 'ann.json', folder / 'dets.npz'
    words = {
        'eval_detections': [ann, dets, '--split', 'train', '--out', out],
        'compare_runs': [ann, f'x={dets}', '--out', out],
        'render_videos': [ann, '--data-prefix', folder, '--split', 'train', '--out', out],
        'plot_domains': [ann, ann, '--data-prefix', folder, '--split', 'train', '--out', out],
        'plot_curves': ['--dry-run', CONFIGS / 'synthetic/full.py', '--out', out],
    }[tool]
    return [str(word) for word in words]


@pytest.mark.parametrize(
    'tool', ['eval_detections', 'compare_runs', 'render_videos', 'plot_domains', 'plot_curves']
)
def test_an_output_that_cannot_be_written_is_named(tool, data, capsys):
    main = load_tool(f'analysis_tools/{tool}').main
    assert main(arguments(tool, data, data / 'file' / 'out.png')) == 2
    error = capsys.readouterr().err
    assert f'{tool}: ' in error and str(data / 'file') in error


@pytest.mark.parametrize('tool', ['render_videos', 'plot_domains'])
def test_a_damaged_video_is_named(tool, data, capsys):
    (video,) = data.rglob('a.mkv')
    video.write_bytes(video.read_bytes()[:200])
    main = load_tool(f'analysis_tools/{tool}').main
    assert main(arguments(tool, data, data / 'out.png')) == 2
    assert 'a.mkv' in capsys.readouterr().err
