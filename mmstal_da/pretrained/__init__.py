"""Published weights: where they are, how they are verified, and how they become checkpoints."""

from .checkpoint import make_checkpoint, reference_state
from .download import DownloadError
from .sources import OFFICIAL, PACKAGES, Source

__all__ = ['OFFICIAL', 'PACKAGES', 'DownloadError', 'Source', 'make_checkpoint', 'reference_state']
