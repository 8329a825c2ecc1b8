"""Each folder once, through links, whatever they lead to."""

import os
from pathlib import Path

import pytest

from mmstal_da.errors import AnnotationError
from mmstal_da.tubes.annotation import Annotation, Video
from mmstal_da.tubes.converters.frames import locate_videos
from mmstal_da.tubes.index import find_videos
from mmstal_da.tubes.walk import files_below, walk
from tests.clips import numbered_frames, write_video


@pytest.fixture
def tree(tmp_path) -> Path:
    folder = tmp_path / 'videos'
    for name in ('a.mkv', 'day/b.mkv', 'day/deep/c.mkv'):
        write_video(folder / name, numbered_frames(2))
    return folder


def test_it_is_the_walk_of_os(tree):
    (tree / 'day' / 'link').symlink_to(tree.parent, target_is_directory=True)  # a circle
    ours = {str(root): (folders, files) for root, folders, files in walk(tree)}
    (tree / 'day' / 'link').unlink()
    plain = {root: (sorted(f), sorted(n)) for root, f, n in os.walk(tree, followlinks=True)}
    ours[str(tree / 'day')][0].remove('link')
    # the walk goes up once, to what lies beside the folder, and not down again
    assert {root: found for root, found in ours.items() if root in plain} == plain


@pytest.mark.parametrize(
    ('link', 'target'), [('loop', '.'), ('day/loop', '..'), ('day/deep/x', '../..'), ('day/y', '.')]
)
def test_a_link_to_a_folder_above_adds_nothing(tree, link, target):
    (tree / link).symlink_to(target, target_is_directory=True)
    assert list(find_videos(tree)) == ['a', 'day/b', 'day/deep/c']
    videos = {name: Video(f'{name}.avi', 2) for name in ('a', 'day/b', 'c')}
    found = locate_videos(Annotation('toy', ['x'], videos), tree)
    assert [v.path for v in found.videos.values()] == ['a.mkv', 'day/b.mkv', 'day/deep/c.mkv']


def test_a_link_to_another_disk_is_followed(tree, tmp_path):
    write_video(tmp_path / 'store' / 'd.mkv', numbered_frames(2))
    (tree / 'more').symlink_to(tmp_path / 'store')
    assert list(find_videos(tree)) == ['a', 'day/b', 'day/deep/c', 'more/d']
    (tmp_path / 'store' / 'x.xml').touch()
    assert [path.name for path in files_below(tree, ('.xml',))] == ['x.xml']


def test_a_folder_of_two_names_is_refused(tree):
    (tree / 'twin').symlink_to('day')
    with pytest.raises(AnnotationError, match=r'twin and .*day are one folder.*remove the link'):
        find_videos(tree)


def test_a_file_of_two_names_is_refused(tree):
    (tree / 'z.mkv').symlink_to('day/b.mkv')
    with pytest.raises(AnnotationError, match=r'day/b.mkv and z.mkv are one file|z.mkv and day/b'):
        find_videos(tree)


def test_a_folder_that_cannot_be_read_is_named(tree, monkeypatch):
    scan = os.scandir

    def refuse(path):
        if str(path).endswith('deep'):
            raise PermissionError(13, 'Permission denied')
        return scan(path)

    monkeypatch.setattr(os, 'scandir', refuse)
    with pytest.raises(AnnotationError, match=r'day/deep cannot be read \(Permission denied\)'):
        find_videos(tree)


def test_files_that_are_no_videos_are_listed(tree):
    for name in ('day/notes.txt', 'clip.mp5', '.hidden', 'cover.jpg'):
        (tree / name).touch()
    others: list[Path] = []
    find_videos(tree, others)
    assert sorted(map(str, others)) == ['clip.mp5', 'cover.jpg', 'day/notes.txt']
