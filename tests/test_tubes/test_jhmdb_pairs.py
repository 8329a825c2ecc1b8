"""Pairs made of JHMDB: no film on two sides, every class everywhere, the same for a seed."""

from collections import Counter
from pathlib import Path

import pytest

from mmstal_da.errors import AnnotationError
from mmstal_da.tubes.converters.jhmdb import from_annot_mat
from mmstal_da.tubes.jhmdb_pairs import (
    SOURCE_TRAIN,
    TARGET_TEST,
    TARGET_TRAIN,
    deal,
    foggy,
    parse_name,
    static_to_moving,
    with_splits,
)

CONFIGS = Path(__file__).parents[2] / 'configs'


@pytest.fixture(scope='module')
def jhmdb(test_data):
    return from_annot_mat(test_data / 'jhmdb' / 'jhmdb_annot.mat')


def films(names):
    """Text before the class, by hand."""
    return {name.split('/')[1].rsplit('_' + name.split('/')[0] + '_', 1)[0] for name in names}


def test_a_name_is_read_whatever_the_film_is_called():
    name = parse_name('pick/How_to_pick_up_sticks_pick_f_cm_np1_le_bad_12')
    assert (name.film, name.label, name.moving) == ('How_to_pick_up_sticks', 'pick', True)
    with pytest.raises(AnnotationError, match='v_Biking_g01_c01.*the released JHMDB'):
        parse_name('Biking/v_Biking_g01_c01')


@pytest.mark.slow
def test_the_release_s_counts(jhmdb):
    cameras = Counter(parse_name(name).moving for name in jhmdb.videos)
    assert cameras == {False: 457, True: 471}


@pytest.mark.parametrize('split', [foggy, static_to_moving])
@pytest.mark.parametrize('seed', [0, 1, 2])
def test_no_film_is_in_two_parts_and_no_class_is_missing(jhmdb, split, seed):
    parts = split(jhmdb, seed)
    assert list(parts) == [SOURCE_TRAIN, TARGET_TRAIN, TARGET_TEST]
    sets = [films(names) for names in parts.values()]
    assert not (sets[0] & sets[1] or sets[0] & sets[2] or sets[1] & sets[2])
    pair = with_splits(jhmdb, parts)
    for names in parts.values():
        assert {name.split('/')[0] for name in names} == set(pair.classes)
    assert split(jhmdb, seed) == parts


def test_the_foggy_pair_deals_every_clip(jhmdb):
    parts = foggy(jhmdb)
    assert sorted(name for names in parts.values() for name in names) == sorted(jhmdb.videos)
    totals = Counter(name.split('/')[0] for name in jhmdb.videos)
    for part, share in ((SOURCE_TRAIN, 0.4), (TARGET_TRAIN, 0.5), (TARGET_TEST, 0.1)):
        count = Counter(name.split('/')[0] for name in parts[part])
        for label, total in totals.items():  # films have up to 20 clips
            assert abs(count[label] - share * total) <= 6, (part, label)


def test_the_moving_pair_is_what_the_names_say(jhmdb):
    parts = static_to_moving(jhmdb)
    assert all('_nm_np' in name for name in parts[SOURCE_TRAIN])
    assert all('_cm_np' in name for name in parts[TARGET_TRAIN] + parts[TARGET_TEST])
    static = Counter(name.split('/')[0] for name in parts[SOURCE_TRAIN])
    moving = Counter(name.split('/')[0] for name in parts[TARGET_TRAIN] + parts[TARGET_TEST])
    assert len(static) == 13
    assert min(static.values()) >= 10
    assert min(moving.values()) >= 10


@pytest.mark.parametrize(
    ('split', 'folder'),
    [(foggy, 'jhmdb_to_foggy'), (static_to_moving, 'jhmdb_static_to_moving')],
)
def test_the_lists_beside_the_configs_are_these(jhmdb, split, folder):
    for part, names in split(jhmdb).items():
        path = CONFIGS / folder / 'splits' / f'{part}.txt'
        assert path.read_text(encoding='utf-8').split() == names


def test_films_stay_together_and_shares_are_met():
    import numpy as np

    videos = [f'run/film{f:02d}_run_f_nm_np1_le_bad_{i}' for f in range(20) for i in range(5)]
    parts = deal(videos, {'a': 0.7, 'b': 0.3}, np.random.default_rng(0))
    assert {k: len(v) for k, v in parts.items()} == {'a': 70, 'b': 30}
    assert not films(parts['a']) & films(parts['b'])


def test_a_film_on_two_sides_is_refused(jhmdb):
    one, two = sorted(name for name in jhmdb.videos if name.startswith('brush_hair/April_09'))[:2]
    with pytest.raises(AnnotationError, match="film 'April_09' is in a and in b"):
        with_splits(jhmdb, {'a': [one], 'b': [two]})
    with pytest.raises(AnnotationError, match='lacks.*nowhere'):
        with_splits(jhmdb, {'a': ['run/nowhere_run_f_nm_np1_le_bad_0']})
