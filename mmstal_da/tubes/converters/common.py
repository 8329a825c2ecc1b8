"""Steps that all conversions share, in one module."""

from .frames import locate_videos
from .splits import add_split
from .stats import summary
from .subset import keep_classes, keep_videos

__all__ = ['add_split', 'keep_classes', 'keep_videos', 'locate_videos', 'summary']
