"""The detections that are published beside a result, checked to give its numbers."""

from collections.abc import Callable
from dataclasses import fields
from pathlib import Path

from mmengine.config import Config

from mmstal_da.errors import UsageError
from mmstal_da.evaluation.compact import LIMIT, SCORE_THR
from mmstal_da.evaluation.files import load_detections
from mmstal_da.evaluation.functional import Protocol, get_protocol
from mmstal_da.evaluation.published import Published, means_of, publish_detections
from mmstal_da.evaluation.runs import score_run

from .fingerprint import digest_file
from .record import CLASS_METRICS, METRICS

TOLERANCE = 0.2
"""Points by which another CPU's order of equal scores may move a number; runs differ by more."""
WORTH_A_NOTE = 1.0  # points by which rounding moves a published number


def published_detections(
    record: dict, source: Path, cfg: Config, note: Callable[[str], object]
) -> Published | None:
    """Make the file that stands beside a published result.

    The whole detections are scored and must give the result's numbers. Then they are rounded, and
    scored again; the result records both.

    Args:
        record: The result.
        source: Detections of its test, as TubeMetric dumps them or as they were published.
        cfg: The row's config with the result's options.
        note: Is told what a reader of the result should know.

    Returns:
        None if the config's evaluator is no single TubeMetric, so that nothing was dumped.

    Raises:
        UsageError: There are no detections, they give other numbers, or the annotation is missing.
    """
    name = f'{record["row"]} seed {record["seed"]}'
    evaluator = cfg.get('test_evaluator')
    if not (isinstance(evaluator, dict) and evaluator.get('ann_file')):
        note(f'{name} is published without detections: its test_evaluator is no single TubeMetric')
        return None
    again = 'remove its result.json, and the same table scores the checkpoint again'
    if not source.is_file():
        raise UsageError(f'--publish: {name} has no {source}; {again}')
    if 'detections' in record:  # was published, and restored
        if digest_file(source) != record['detections']['sha256']:
            raise UsageError(f'--publish: {source} is not what was published of {name}; {again}')
        return Published(source.read_bytes(), record['detections'])
    annotation = Path(evaluator.get('data_root') or '', evaluator['ann_file'])
    if not annotation.is_file():
        raise UsageError(
            f'--publish scores the detections of {name} again and needs {annotation}, which is not'
            ' here (see data/README.md)'
        )
    names = {field.name for field in fields(Protocol)} - {'name'}
    constants = {key: value for key, value in evaluator.items() if key in names}
    protocol = evaluator.get('protocol', 'act')
    origin = {'config': record['config'], 'seed': record['seed']}
    try:
        file = load_detections(source)
        run = score_run(file, annotation, get_protocol(protocol, **constants), str(source))
        _check(record, run.result, source, again)
        found = publish_detections(file, run, annotation, protocol, constants, origin)
    except ValueError as error:
        raise UsageError(f'--publish: {error}') from error
    if found.facts['score_thr'] > SCORE_THR:
        note(
            f'{name}: only detections above {found.facts["score_thr"]:g} are published; those above'
            f' {SCORE_THR:g} take more than {LIMIT // 1000} kB'
        )
    for key, value in means_of(run.result).items():
        rounded = found.facts['metrics'][key]
        if None not in (value, rounded) and abs(rounded - value) > WORTH_A_NOTE:
            note(f'{name}: {key} is {value:.1f}; the published detections give {rounded:.1f}')
    return found


def _check(record: dict, result: dict, source: Path, again: str) -> None:
    """Raise UsageError where detections do not give the numbers of their result."""
    found = {key: result[key] for key in METRICS}
    expected = {key: record['metrics'][key] for key in METRICS}
    for key in CLASS_METRICS:
        for label, value in zip(result['labels'], result[key], strict=True):
            found[f'{key}/{label}'] = value
            expected[f'{key}/{label}'] = record['metrics'][key].get(label)
    for key, value in found.items():
        wanted = expected[key]
        same = value is wanted if None in (value, wanted) else abs(value - wanted) <= TOLERANCE
        if not same:
            raise UsageError(
                f'--publish: {source} gives {key} = {value}, its result.json says {wanted}; the'
                f' file is of another run, or the evaluator has changed: {again}'
            )
