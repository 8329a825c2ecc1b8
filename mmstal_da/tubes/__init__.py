"""Videos and the action tubes in them, on disk and in memory. Imports no torch.

================  =============================================================
``annotation``    the project's annotation file
``selection``     which videos and classes of a file are used
``evaluated``     the tubes that predictions are scored against
``integrity``     checks that the videos decode to what the annotation says
``converters``    reads and writes public formats
``jhmdb_pairs``   two pairs of domains made from JHMDB alone
================  =============================================================
"""
