import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from mmstal_da.visualization.curves import plot_curves, smooth
from mmstal_da.visualization.scalars import read_run, row_names
from tests.load_tool import load_tool


def write(folder, stamp, records):
    path = folder / stamp / 'vis_data' / 'scalars.json'
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(''.join(json.dumps(record) + '\n' for record in records))


def train(iteration, **scalars):
    return {'lr': 0.001, 'loss': 1 / iteration, **scalars, 'iter': iteration, 'step': iteration}


ADAPTED = {'loss_da_spatial': 0.7, 'da_lambda': 0.1, 'acc_da_spatial_source': 0.5}


def test_reads_training_and_validation_apart(tmp_path):
    write(
        tmp_path, '20250101', [train(5), train(10), {'frame_mAP@0.5': 12.5, 'step': 10}, train(15)]
    )
    run = read_run(tmp_path)
    assert run.name == tmp_path.name
    assert run.train['loss'] == [(5, 0.2), (10, 0.1), (15, 1 / 15)]
    assert run.val == {'frame_mAP@0.5': [(10, 12.5)]}


def test_validation_by_epoch_is_placed_at_its_iteration(tmp_path):
    records = [train(40, epoch=1), {'frame_mAP@0.5': 1.0, 'step': 1}]
    records += [train(80, epoch=2), {'frame_mAP@0.5': 2.0, 'step': 2}]
    write(tmp_path, '20250101', records)
    assert read_run(tmp_path).val['frame_mAP@0.5'] == [(40, 1.0), (80, 2.0)]


def test_a_resumed_run_continues_the_curve(tmp_path):
    first = [train(i) for i in (5, 10, 15)] + [{'frame_mAP@0.5': 1.0, 'step': 15}]
    write(tmp_path, '20250101', first)
    resumed = [train(i, loss=9.0) for i in (10, 15, 20)] + [{'frame_mAP@0.5': 2.0, 'step': 20}]
    write(tmp_path, '20250102', resumed)
    run = read_run(tmp_path)
    assert run.train['loss'] == [(5, 0.2), (10, 9.0), (15, 9.0), (20, 9.0)]
    assert run.val['frame_mAP@0.5'] == [(20, 2.0)]


def test_missing_or_broken_files_are_named(tmp_path):
    with pytest.raises(FileNotFoundError, match=r'scalars\.json'):
        read_run(tmp_path)
    write(tmp_path, '20250101', [train(5)])
    path = tmp_path / '20250101' / 'vis_data' / 'scalars.json'
    path.write_text(path.read_text() + '{"loss": 0.')
    with pytest.raises(ValueError, match='line 2'):
        read_run(tmp_path)


def test_mmengines_own_backend_is_read(tmp_path):
    from mmengine.visualization import LocalVisBackend

    backend = LocalVisBackend(str(tmp_path / '20250101' / 'vis_data'))
    backend.add_scalars({'loss': 0.5, 'iter': 3}, step=3)
    backend.add_scalars({'frame_mAP@0.5': 40.0}, step=3)
    run = read_run(tmp_path, 'mine')
    assert run.train == {'loss': [(3, 0.5)]}
    assert run.val == {'frame_mAP@0.5': [(3, 40.0)]}


def test_smooth_is_a_centred_mean_that_skips_what_is_not_finite():
    values = np.random.default_rng(0).random(11)
    expected = [values[max(0, i - 2) : i + 3].mean() for i in range(11)]
    np.testing.assert_allclose(smooth(values, 5), expected)
    np.testing.assert_array_equal(smooth(values, 1), values)
    assert smooth([1e30, 1, 2, 3], 3)[-1] == 2.5  # a peak spoils no other mean
    np.testing.assert_allclose(smooth([1, np.nan, 3, np.inf], 3), [1, 2, 3, 3])
    assert np.isnan(smooth([np.nan], 3)).all()


def two_runs(tmp_path):
    write(tmp_path / 'plain', '1', [train(i) for i in range(1, 9)])
    adapted = [train(i, **ADAPTED) for i in range(1, 9)]
    write(tmp_path / 'full', '1', [*adapted, {'target/frame_mAP@0.5': 30.0, 'step': 8}])
    return [tmp_path / 'plain', tmp_path / 'full']


def test_panels_show_what_the_runs_have(tmp_path):
    runs = [read_run(path) for path in two_runs(tmp_path)]
    figure = plot_curves(runs, title='both')
    axes = {axis.get_title(): axis for axis in figure.axes if axis.axison}
    assert list(axes) == [
        'Total loss',
        'Adaptation losses',
        'Learning rate',
        'Adaptation weight λ',
        'Discriminator accuracy, source',
        'Frame-mAP at IoU 0.5',
    ]

    def legend(title):
        return [text.get_text() for text in axes[title].get_legend().get_texts()]

    assert legend('Total loss') == ['plain', 'full']
    assert legend('Adaptation weight λ') == ['full']
    assert axes['Total loss'].get_xlabel() == 'iteration'
    np.testing.assert_allclose(
        axes['Total loss'].lines[0].get_ydata(), [1 / i for i in range(1, 9)]
    )
    with pytest.raises(ValueError, match='nothing to plot'):
        plot_curves([read_run(tmp_path / 'plain')][:0])


@pytest.mark.slow
def test_command_line_writes_a_picture(tmp_path, capsys):
    tool = load_tool('analysis_tools/plot_curves')
    out = tmp_path / 'plots' / 'curves.png'
    paths = [str(path) for path in two_runs(tmp_path)]
    assert tool.main([*paths, '--names', 'source only', 'adapted', '--out', str(out)]) == 0
    assert capsys.readouterr().out.split() == [str(out)]
    with Image.open(out) as image:
        assert image.width > 800
    assert tool.main([str(tmp_path / 'none'), '--out', str(out)]) == 2
    assert 'none' in capsys.readouterr().err


def test_a_run_is_called_by_its_row_and_seed():
    table = ['w/a/full/seed0', 'w/a/source_only/seed0', 'w/a/full/seed_1/20250101/vis_data/']
    assert row_names(table[:2]) == ['full, seed 0', 'source_only, seed 0']
    assert row_names([table[2] + 'scalars.json', 'w/plain', 'seed3']) == [
        'full, seed 1', 'plain', f'{Path.cwd().name}, seed 3',
    ]  # fmt: skip
    # two pairs: as many folders as are needed
    assert row_names(['w/a/full/seed0', 'w/b/full/seed0', 'w/b/dn/seed0']) == [
        'a/full, seed 0', 'b/full, seed 0', 'dn, seed 0',
    ]  # fmt: skip
    assert row_names(['configs/a/full.py', 'configs/b/full.py']) == ['a/full', 'b/full']
    assert row_names(['w/v0.1', 'w/v0.2']) == ['v0.1', 'v0.2']
    assert row_names(['w/x', 'w/x', 'v/x']) == ['w/x', 'w/x', 'v/x']  # the same twice
    assert row_names(['w/x', 'w/x']) == ['x', 'x']


def test_what_the_monitor_logs_has_panels(tmp_path):
    monitored = {
        'acc_da_timg': 0.5, 'loss_ratio_da_timg': 0.9, 'grad_share_da_timg_TF1': 0.1,
        'target_entropy': 0.4, 'target_diversity': 0.8, 'target_confident': 1.5,
    }  # fmt: skip
    write(tmp_path / 'full', 'seed0/1', [train(i, **monitored) for i in range(1, 9)])
    figure = plot_curves([read_run(tmp_path / 'full/seed0')])
    axes = {axis.get_title(): axis for axis in figure.axes if axis.axison}
    assert list(axes)[2:] == [
        'Discriminator loss over guessing',
        'Reversed over detection gradient',
        'Target: classes of proposals',
        'Target: confident detections',
    ]
    legend = axes['Total loss'].get_legend().get_texts()
    assert [text.get_text() for text in legend] == ['full, seed 0']
