"""The numbers of a table against numbers by hand, and how they are shown."""

import copy
import math

import numpy as np
import pytest

from mmstal_da.experiments.rows import control_of, split_row, upper_bound_of
from mmstal_da.experiments.table import (
    collect,
    format_gain,
    format_table,
    gain_over,
    gap_closed,
    make_table,
    summarise,
)

from .fake_table import make_record

# row -> seed -> (frame-mAP, video-mAP)
SCORES = {
    'source_only': {0: (30.0, 18.0), 1: (33.0, 20.0), 2: (27.0, 19.0)},
    's_img': {0: (41.0, 22.0)},
    'full': {0: (46.0, 24.0), 1: (44.0, 27.0), 2: (48.0, 21.0)},
    'oracle': {0: (80.0, 56.0), 1: (84.0, 58.0), 2: (88.0, 57.0)},
}
RECORDS = [
    make_record(row, seed, *score) for row, of in SCORES.items() for seed, score in of.items()
]


def test_mean_and_sample_standard_deviation():
    assert summarise([30.0, 33.0, 27.0]) == {'mean': 30.0, 'std': 3.0}  # sqrt((0 + 9 + 9) / 2)
    assert summarise([5.0]) == {'mean': 5.0, 'std': None}


def test_gain_is_matched_by_seed():
    gain = gain_over({0: 10.0, 1: 20.0, 5: 99.0}, {0: 7.0, 1: 12.0, 2: 0.0})
    assert gain['mean'] == 5.5 and gain['n'] == 2
    assert gain['std'] == pytest.approx(math.sqrt(12.5))
    assert gain_over({0: 1.0}, {1: 1.0}) is None


def test_interval_of_a_gain():
    """Student's t of printed tables: 2.776 and 0.941 for 4 degrees of freedom."""
    gain = gain_over({s: 40.0 + v for s, v in enumerate((12.9, -0.8, 9.3, 4.0, 6.0))},
                     dict.fromkeys(range(5), 40.0))  # fmt: skip
    std = math.sqrt(sum((v - 6.28) ** 2 for v in (12.9, -0.8, 9.3, 4.0, 6.0)) / 4)
    assert gain['mean'] == pytest.approx(6.28)
    assert gain['half_width'] == pytest.approx(2.776 * std / math.sqrt(5), rel=1e-3)
    assert gain['visible'] == pytest.approx((2.776 + 0.941) * std / math.sqrt(5), rel=1e-3)
    assert format_gain(gain) == '(+6.3 [-0.2, +12.7])'
    assert format_gain({**gain, 'mean': 7.0}) == '+7.0 [+0.5, +13.5]'
    assert format_gain(gain_over({0: 2.0}, {0: 1.0})) == '+1.0 (n=1)'
    assert format_gain(None) == '-'


def test_a_block_has_its_own_control_and_upper_bound():
    records = [*RECORDS, make_record('source_only_aug', 0, 50.0, 9.0),
               make_record('full_aug', 0, 54.0, 9.0), make_record('oracle_st_aug', 0, 70.0, 9.0),
               make_record('oracle_st', 0, 94.0, 9.0)]  # fmt: skip
    table = make_table(records)
    rows = table['rows']
    assert rows['full_aug']['control'] == 'source_only_aug'
    assert rows['full_aug']['gain']['frame_mAP@0.5']['mean'] == 4
    assert rows['full_aug']['gap_closed'] == pytest.approx(20)
    assert rows['full']['gap_closed'] == pytest.approx(100 * 16 / 64)  # of oracle_st
    assert rows['oracle_st_aug']['gap_closed'] is None
    lines = format_table(table).splitlines()
    assert [line.split(' |')[0] for line in lines[6:10]] == [
        '| `oracle_st`: labels of both domains',
        '| I3D+RPN (source only), strong augmentation',
        '| T_img + T_inst + S_img, strong augmentation',
        '| `oracle_st`: labels of both domains, strong augmentation',
    ]
    assert split_row('full_dn_bg_aug') == ('full_dn', '_bg_aug')
    # a teacher needs two views: its control trains with strong augmentation, too
    assert control_of('mt') == control_of('mt_soft') == 'source_only_aug'
    assert upper_bound_of('mt', ['oracle_st_aug']) == 'oracle_st_aug'


def test_rows_whose_boxes_are_given_compare_among_each_other():
    records = [*RECORDS, make_record('source_only_gt_aug', 0, 50.0, 9.0),
               make_record('da_aim_gt_aug', 0, 55.0, 9.0, target_labels='boxes'),
               make_record('oracle_st_gt_aug', 0, 70.0, 9.0, target_labels='person')]  # fmt: skip
    table = make_table(records)
    row = table['rows']['da_aim_gt_aug']
    assert row['control'] == 'source_only_gt_aug' == control_of('mt_gt_aug')
    assert row['gap_closed'] == pytest.approx(25)
    note = "Trained on a person's boxes, without their classes, of the target: da_aim_gt_aug."
    assert note in format_table(table).splitlines()


def test_annotated_frames_stand_beside_all_frames():
    records = copy.deepcopy(RECORDS)
    for record in records:
        record['metrics']['annotated_frame_mAP@0.5'] = record['metrics']['frame_mAP@0.5'] + 10
    table = make_table(records)
    assert table['rows']['full']['annotated_frame_mAP@0.5']['mean'] == 56
    line = format_table(table).splitlines()[4]
    assert '| 46.0 ± 2.0 | 56.0 ± 2.0 | 24.0 ± 3.0 |' in line


def test_gap_closed():
    assert gap_closed(46.4, 30.2, 83.7) == pytest.approx(30.28, abs=0.01)  # the paper: 30%
    assert gap_closed(40.0, 30.0, 30.0) is None


def test_table_by_hand():
    table = make_table(RECORDS)
    assert table['pair'] == 'p' and table['seeds'] == [0, 1, 2]
    assert list(table['rows']) == list(SCORES)
    for row, of in SCORES.items():
        frame, video = np.array(list(of.values())).T
        entry = table['rows'][row]
        for metric, values in (('frame_mAP@0.5', frame), ('video_mAP@0.5', video)):
            assert entry[metric]['mean'] == pytest.approx(np.mean(values))
            if len(values) > 1:
                expected = np.sqrt(np.sum((values - values.mean()) ** 2) / (len(values) - 1))
                assert entry[metric]['std'] == pytest.approx(expected)
            else:
                assert entry[metric]['std'] is None
        assert entry['frame_AP@0.5']['run'] == entry['frame_mAP@0.5']
    full = table['rows']['full']
    # 46 - 30, 44 - 33, 48 - 27
    gain = full['gain']['frame_mAP@0.5']
    assert (gain['mean'], gain['std'], gain['n']) == (16.0, 5.0, 3)
    assert full['gain']['video_mAP@0.5']['mean'] == pytest.approx((6 + 7 + 2) / 3)
    assert full['gap_closed'] == pytest.approx(100 * (46 - 30) / (84 - 30))
    one = table['rows']['s_img']
    gain = dict(mean=11.0, std=None, n=1, half_width=None, visible=None)
    assert one['gain']['frame_mAP@0.5'] == gain
    assert one['n'] == 1 and one['seeds'] == [0]
    assert table['rows']['oracle']['gap_closed'] is None
    assert table['rows']['source_only']['gain']['frame_mAP@0.5'] is None


def test_a_table_without_source_only_has_no_gain():
    table = make_table([record for record in RECORDS if record['row'] != 'source_only'])
    assert table['rows']['full']['gain'] == {'frame_mAP@0.5': None, 'video_mAP@0.5': None}
    assert table['rows']['full']['gap_closed'] is None


def test_markdown_has_the_papers_rows_and_what_is_missing():
    table = make_table(RECORDS, [('t_img', 0), ('s_img', 1)])
    lines = format_table(table).splitlines()
    assert lines[0] == '| | run | frame-mAP | video-mAP | gain | visible | gap closed |'
    assert [line.split(' |')[0] for line in lines[2:7]] == [
        '| I3D+RPN (source only)',
        '| T_img (missing)',
        '| S_img (n=1)',
        '| T_img + T_inst + S_img',
        '| Oracle',
    ]
    assert lines[2] == (
        '| I3D+RPN (source only) | 30.0 ± 3.0 | 30.0 ± 3.0 | 19.0 ± 1.0 | - | - | - |'
    )
    assert lines[4].endswith('| 41.0 (n=1) | 41.0 (n=1) | 22.0 (n=1) | +11.0 (n=1) | - | 20% |')
    assert lines[5].endswith('| 46.0 ± 2.0 | 24.0 ± 3.0 | +16.0 [+3.6, +28.4] | 15.5 | 30% |')
    assert len({line.count('|') for line in lines[:7]}) == 1
    assert '**Missing**: t_img (seed 0); s_img (seed 1).' in lines


def test_upper_bounds_close_no_gap():
    records = [*RECORDS, make_record('slowonly_gt', 0, 90.0, 20.0), make_record('dn', 0, 57.0, 9.0)]
    rows = make_table(records)['rows']
    assert rows['slowonly_gt']['gap_closed'] is None
    assert rows['dn']['gap_closed'] == pytest.approx(50)


def test_labels_that_a_person_has_corrected_close_no_gap_and_are_named():
    records = [*RECORDS, make_record('pseudo', 0, 57.0, 9.0, target_labels='model')]
    records += [make_record('corrected', 0, 57.0, 9.0, target_labels='person')]
    table = make_table(records)
    assert table['rows']['pseudo']['gap_closed'] == pytest.approx(50)
    assert table['rows']['corrected']['gap_closed'] is None
    lines = format_table(table).splitlines()
    assert "Trained on a person's labels of the target: corrected." in lines
    assert "Trained on a model's labels, uncorrected, of the target: pseudo." in lines


def test_markdown_says_what_the_other_rows_are():
    records = [*RECORDS, make_record('dn', 0, 40.0, 20.0), make_record('mine', 0, 1.0, 1.0)]
    lines = format_table(make_table(records)).splitlines()
    assert [line.split(' |')[0] for line in lines[6:8]] == [
        '| `dn`: statistics per domain, no discriminator',
        '| `mine`',
    ]


def test_without_ground_truth_there_is_no_number():
    record = make_record('full', 0, 46.0, 24.0)
    record['metrics']['frame_mAP@0.5'] = None
    records = [*RECORDS[:3], record, *RECORDS[-3:]]
    row = make_table(records)['rows']['full']
    assert row['frame_mAP@0.5'] is None and row['gap_closed'] is None and row['n'] == 1
    assert row['gain']['frame_mAP@0.5'] is None and row['gain']['video_mAP@0.5']['mean'] == 6.0
    assert '| - | 24.0 (n=1) | - | - | - |' in format_table(make_table(records))
    assert collect(records, 'frame_mAP@0.5')['full'] == {}
