"""run_gpu_checks.sh: steps within a budget, each written when it ends."""

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from mmengine.config import Config

sys.path.insert(0, str(Path(__file__).parents[2] / 'tools' / 'analysis_tools'))

from gpu_checks import __main__ as main_module
from gpu_checks import jhmdb, plan, records, running, step_time, tests
from gpu_checks.context import Context, NotPossible
from gpu_checks.networks import load_row, make_batch, sees_both_domains, without_pretrained
from gpu_checks.plan import PAIR, ROWS, Step, choose_steps, find_row

from mmstal_da.tubes.annotation import Annotation, Video, load_annotation, save_annotation

ROOT = Path(__file__).parents[2]
MACHINE = dict(card='NVIDIA Test 80GB', driver='1.2', commit='c', tiny=False, environment={})


@pytest.fixture
def context(tmp_path) -> Context:
    return Context(tmp_path / 'out', tmp_path / 'work', tiny=True)


def run_script(*arguments: str, **environment: str) -> subprocess.CompletedProcess:
    command = ['bash', str(ROOT / 'tools' / 'run_gpu_checks.sh'), *arguments]
    return subprocess.run(
        command,
        capture_output=True,
        text=True,
        env={**os.environ, 'PYTHON': sys.executable, **environment},
    )


@pytest.mark.slow
def test_without_cuda_it_says_so_and_ends_with_2(tmp_path):
    done = run_script(str(tmp_path / 'out'), '5', CUDA_VISIBLE_DEVICES='')
    assert done.returncode == 2
    assert 'no CUDA device' in done.stderr and '--try-on-cpu' in done.stderr
    assert not (tmp_path / 'out').exists()


@pytest.mark.parametrize(
    ('arguments', 'complaint'),
    [(['-1'], 'MINUTES must be more than 0'), (['5', '--steps', 'test'], 'no step is named test')],
)
def test_wrong_arguments(tmp_path, capsys, arguments, complaint):
    with pytest.raises(SystemExit) as stop:
        main_module.parse_args([str(tmp_path), *arguments])
    assert stop.value.code == 2
    assert complaint in capsys.readouterr().err


def test_the_plan_has_the_most_useful_first_and_every_row_has_a_config():
    names = [step.name for step in choose_steps(None)]
    assert names[:3] == ['tests', 'step_time', 'loader']
    assert names[3:] == [f'foggy_{row}' for row in ROWS]
    assert [step.name for step in choose_steps(['loader', 'tests'])] == ['tests', 'loader']
    norms = {}
    for name in ROWS:
        _, config = find_row(name)
        norms[name] = config.model.get('domain_norm'), sees_both_domains(config)
        evaluated = config.test_dataloader.dataset
        assert evaluated.background_frames and evaluated.get('key_frame_stride', 1) == 1
    assert norms == {
        'source_only': (None, False),
        'full': (None, True),
        'full_dn': ('target', True),
        'oracle': (None, False),
    }


def test_a_row_without_a_config_is_an_error(monkeypatch):
    row = plan.Row(['full'], 'source', '')
    monkeypatch.setitem(plan.ROWS, 'full', row)
    with pytest.raises(FileNotFoundError, match='correct ROWS'):
        find_row('full')


def outcomes(*statuses: str):
    """A stand-in for ``run_step`` with these outcomes in turn, and the limits it was given."""
    limits = []

    def run(step: Step, context: Context, seconds: float) -> dict:
        status = statuses[len(limits)]
        limits.append(seconds)
        record = dict(step=step.name, what='', status=status, seconds=1.0, result={'passed': 1})
        return (
            record
            | dict(result=dict(passed=1, failed=0, skipped=0))
            | ({} if status == 'ok' else dict(reason='because'))
        )

    return run, limits


def test_every_step_is_written_when_it_ends_and_a_failure_costs_no_other(context):
    steps = [Step(name, '', needs=0.1, limit=1) for name in 'abc']
    run, limits = outcomes('ok', 'failed', 'ok')
    context = Context(context.out, context.work, tiny=False)
    found = main_module.run_plan(steps, context, MACHINE, time.monotonic() + 100, run=run)
    assert [record['status'] for record in found.values()] == ['ok', 'failed', 'ok']
    assert all(50 < limit <= 60 for limit in limits)
    merged = json.loads(records.merged_file(context.out, MACHINE['card']).read_text())
    assert merged['card'] == MACHINE['card'] and list(merged['steps']) == ['a', 'b', 'c']
    assert json.loads((context.out / 'steps' / 'b.json').read_text())['reason'] == 'because'
    summary = json.loads((context.out / 'summary.json').read_text())
    assert [step['status'] for step in summary['steps']] == ['ok', 'failed', 'ok']

    # the same command again: what was ok stays, unless the machine is another or it is asked for
    run, limits = outcomes('ok')
    found = main_module.run_plan(steps, context, MACHINE, time.monotonic() + 100, run=run)
    assert len(limits) == 1 and [r['status'] for r in found.values()] == ['ok'] * 3
    run, limits = outcomes('ok', 'ok', 'ok', 'ok')
    other = {**MACHINE, 'card': 'another'}
    main_module.run_plan(steps, context, other, time.monotonic() + 100, run=run)
    main_module.run_plan(steps[:1], context, other, time.monotonic() + 100, again=True, run=run)
    assert len(limits) == 4


def test_a_step_that_the_budget_has_no_room_for_is_skipped_with_the_reason(context):
    steps = [Step('long', '', needs=3, limit=9), Step('short', '', needs=0.5, limit=9)]
    run, limits = outcomes('ok')
    context = Context(context.out, context.work, tiny=False)
    found = main_module.run_plan(steps, context, MACHINE, time.monotonic() + 70, run=run)
    assert found['long']['status'] == 'skipped'
    assert found['long']['reason'] == '1.0 minutes of the budget are left, it needs 3'
    assert len(limits) == 1 and limits[0] < 61  # what is left, not its own limit


@pytest.fixture
def steps_of(tmp_path, monkeypatch):
    """Makes ``gpu_checks.child`` a script of one's own."""

    def make(code: str) -> None:
        package = tmp_path / 'path' / 'gpu_checks'
        package.mkdir(parents=True)
        (package / '__init__.py').touch()
        (package / 'child.py').write_text(f'import json, subprocess, sys, time\n{code}\n')
        monkeypatch.setenv('PYTHONPATH', str(package.parent))
        monkeypatch.chdir(tmp_path)

    return make


SAVE = """
result = f'{json.loads(sys.argv[2])["work"]}/{sys.argv[1]}.result.json'
open(result, 'w').write('{"part": 1}')
"""


def test_a_step_that_ends_well(steps_of, context):
    steps_of(SAVE)
    record = running.run_step(Step('a', 'what', 1, 1), context, 60)
    assert (record['status'], record['result']) == ('ok', {'part': 1})
    assert 'reason' not in record and 'log' not in record


def test_a_step_that_fails_leaves_its_error_and_what_it_had(steps_of, context):
    steps_of(f'{SAVE}\nprint("before")\nraise ValueError("wrong")')
    record = running.run_step(Step('a', 'what', 1, 1), context, 60)
    assert (record['status'], record['result']) == ('failed', {'part': 1})
    assert record['reason'] == 'exit status 1: ValueError: wrong'
    assert record['log'][0] == 'before'


def test_a_step_that_cannot_run_says_what_it_lacks(steps_of, context):
    steps_of(f'print("no data")\nsys.exit({running.SKIPPED})')
    record = running.run_step(Step('a', 'what', 1, 1), context, 60)
    assert (record['status'], record['reason']) == ('skipped', 'no data')
    assert record['result'] is None


@pytest.mark.slow
def test_a_step_is_stopped_at_its_limit_with_its_children(steps_of, context, tmp_path):
    sleeper = tmp_path / 'sleeper'
    steps_of(
        f'{SAVE}\nchild = subprocess.Popen(["sleep", "300"])\n'
        f'open({str(sleeper)!r}, "w").write(str(child.pid))\ntime.sleep(300)'
    )
    record = running.run_step(Step('a', 'what', 1, 1), context, 5)
    assert (record['status'], record['result']) == ('timed out', {'part': 1})
    assert record['reason'] == 'stopped after its limit of 5 s'
    assert record['seconds'] < 60
    pid = int(sleeper.read_text())
    state = Path(f'/proc/{pid}/stat')
    deadline = time.monotonic() + 10
    while state.exists() and state.read_text().split()[2] != 'Z':
        assert time.monotonic() < deadline, f'process {pid} is left'
        time.sleep(0.1)


def test_logs_do_not_name_the_folder_of_the_checkout():
    assert running.hide_root(f'File "{ROOT}/tools/train.py" in {ROOT}') == (
        'File "tools/train.py" in .'
    )


def test_a_report_of_pytest_is_read_with_recorded_numbers(tmp_path):
    report = tmp_path / 'report.xml'
    report.write_text(
        '<testsuites><testsuite><testcase name="a" time="1.234"><properties>'
        '<property name="loss" value="2.5"/></properties></testcase>'
        '<testcase name="b" time="0"><failure message="assert 1 == 2&#10;more"/></testcase>'
        '<testcase name="c" time="0"><skipped message="no GPU"/></testcase>'
        '</testsuite></testsuites>'
    )
    found = tests.read_report(report)
    assert (found['passed'], found['failed'], found['skipped']) == (1, 1, 1)
    assert found['tests']['a'] == dict(outcome='passed', seconds=1.23, loss=2.5)
    assert found['tests']['b']['message'] == 'assert 1 == 2 more'


def annotation_of(root: Path, suffix: str) -> list[str]:
    """``foggy.json`` of a clip of two classes of the pair and one of another, as released."""
    names = [f'{label}/Film_{label}_f_nm_np1_fr_med_0' for label in ('clap', 'golf', 'walk')]
    videos = {name: Video(f'{name}.avi', 20) for name in names}
    splits = dict(source_train=names[:2], target_train=[names[2]], target_test=[])
    folder = root / 'data' / 'jhmdb'
    save_annotation(
        Annotation('jhmdb', ['clap', 'golf', 'walk'], videos, splits), folder / 'foggy.json'
    )
    clips = root / 'data' / ('jhmdb/videos' if suffix == '.avi' else 'jhmdb_packed')
    for name in names[:2]:  # those of other classes are not needed
        (clips / name).parent.mkdir(parents=True)
        (clips / f'{name}{suffix}').touch()
    return names


@pytest.mark.slow
@pytest.mark.parametrize('suffix', ['.avi', '.mp4'])
def test_clips_are_found_as_released_and_re_encoded(tmp_path, suffix):
    names = annotation_of(tmp_path, suffix)
    _, config = find_row('full')
    located = jhmdb.locate(config, tmp_path / 'work', tmp_path / 'data')
    source = located.train_dataloader.dataset.source
    found = load_annotation(source.ann_file)
    assert sorted(found.videos) == sorted(names[:2])
    for video in found.videos.values():
        assert (Path(source.data_prefix) / video.path).is_file()
    for part in (located.train_dataloader.dataset.target, located.test_dataloader.dataset):
        assert (part.ann_file, part.data_prefix) == (source.ann_file, source.data_prefix)
    assert located.test_evaluator.ann_file == source.ann_file
    assert located.model == config.model
    # the tools read it from a file
    located.dump(tmp_path / 'row.py')
    assert Config.fromfile(tmp_path / 'row.py').train_dataloader.dataset.source == source


def test_missing_data_and_weights_are_named_with_what_to_do(tmp_path):
    data = tmp_path / 'data'
    _, config = find_row('full')
    with pytest.raises(NotPossible, match=r'no foggy.json and no jhmdb.json in .*split_jhmdb.py'):
        jhmdb.locate(config, tmp_path, data)
    names = annotation_of(tmp_path, '.mp4')
    clip = data / 'jhmdb_packed' / f'{names[0]}.mp4'
    clip.unlink()
    with pytest.raises(NotPossible, match=f'jhmdb_packed lacks 1 of 2 clips, such as {names[0]}'):
        jhmdb.locate(config, tmp_path, data)
    (data / 'jhmdb_packed' / f'{names[1]}.mp4').unlink()
    with pytest.raises(NotPossible, match='no clips .* 2 clips of jhmdb_to_foggy are needed'):
        jhmdb.locate(config, tmp_path, data)
    with pytest.raises(NotPossible, match='tools/get_weights.py resnet50_imagenet'):
        jhmdb.require_weights(data)
    (data / 'weights').mkdir()
    for name in jhmdb.WEIGHTS:
        state = {'bn1.running_var': torch.tensor([83615.0])}
        torch.save(dict(state_dict=state), data / 'weights' / f'{name}.pth')
    jhmdb.require_weights(data)
    state['bn1.running_var'] = state['bn1.running_var'].half()
    torch.save(dict(state_dict=state), data / 'weights' / f'{name}.pth')
    with pytest.raises(NotPossible, match=f'{name}.pth: bn1.running_var is not finite. 16 bits'):
        jhmdb.require_weights(data)


def test_networks_for_timing_read_no_file_of_weights():
    for pair, row in [('jhmdb_to_ucf101', 'full'), ('jhmdb_to_ucf101', 'slowfast'), (PAIR, 'acrn')]:
        model = load_row(pair, row).model.to_dict()
        assert '.pth' in str(model)
        assert '.pth' not in str(without_pretrained(model))


def test_batches_are_as_the_rows_take_them():
    both = make_batch(load_row('synthetic_a', 'full'), 4, (32, 48), 8)
    assert [len(both[side]['inputs']) for side in ('source', 'target')] == [2, 2]
    assert both['source']['inputs'][0].shape == (3, 8, 32, 48)
    assert 'gt_instances' in both['source']['data_samples'][0]
    assert 'gt_instances' not in both['target']['data_samples'][0]
    plain = make_batch(load_row('synthetic_a', 'slowonly'), 4, (32, 48), 8)
    assert len(plain['inputs']) == 4
    assert plain['data_samples'][0].proposals.bboxes.shape == (8, 4)
    with pytest.raises(ValueError, match='at least 2 clips'):
        make_batch(load_row('synthetic_a', 'full'), 1, (32, 48), 8)


def test_time_over_others_is_the_median_of_the_rounds_ratios():
    assert step_time.paired_ratio([1.0, 2.0, 9.0], [1.0, 4.0, 3.0]) == 1.0
    found = step_time.summary([0.5, 0.25, 4.0], clips=2, peak=10.0)
    assert (found['seconds_per_step'], found['seconds_per_clip']) == (0.5, 0.25)
    assert found['clips_per_second'] == 4.0


@pytest.mark.slow
def test_networks_take_turns_and_are_timed():
    torch.set_num_threads(1)
    configs = {row: load_row('synthetic_a', row) for row in ('source_only', 'slowonly')}
    found = step_time.measure(configs, 'float32', 2, (32, 48), 'cpu', rounds=2, warm_up=0)
    for values in found.values():
        assert len(values['seconds_of_rounds']) == 2 and values['seconds_per_clip'] > 0
        assert values['peak_mib'] is None


@pytest.mark.slow
def test_a_block_that_fails_costs_no_other(context, monkeypatch):
    def compare(configs, precision, *arguments):
        if precision == 'bfloat16':
            raise RuntimeError('no such operator\nin detail')
        return dict(full={})

    monkeypatch.setattr(step_time, 'compare', compare)
    with pytest.raises(RuntimeError, match='1 of 2 blocks failed'):
        step_time.run('step_time', context)
    bad, good = json.loads(context.result_file('step_time').read_text())['blocks']
    assert bad['error'] == 'RuntimeError: no such operator'
    assert good['networks'] == dict(full={})


def test_headlines():
    block = dict(seconds_per_clip=0.02, time_over_slowonly=1.5, time_over_slowfast=0.75)
    blocks = [
        dict(precision='bfloat16', clips=2, networks=dict(full=block)),
        dict(precision='float32', clips=8, error='out of memory'),
    ]
    assert records.headline(dict(result=dict(blocks=blocks))) == (
        'bfloat16, 2 clips: 20.0 ms a clip, 1.50 x SlowOnly, 0.75 x SlowFast'
    )
    size = dict(loader_by_workers={'1': 5.0, '16': 70.0}, step=50.0)
    assert records.headline(dict(result=dict(sizes={'112 px': size}))) == (
        '112 px: loader 5.0 (1 workers), 70.0 (16 workers), step 50.0 clips/s'
    )
    metrics = {'frame_mAP@0.5': 50.04, 'video_mAP@0.5': 40.0}
    row = dict(metrics=metrics, train=dict(seconds=60.0), test=dict(seconds=30.0))
    assert records.headline(dict(result=row)) == (
        'frame-mAP 50.0, video-mAP 40.0, 60 s training, 30 s test'
    )
    assert records.headline(dict(result=None, reason='no data')) == 'no data'
