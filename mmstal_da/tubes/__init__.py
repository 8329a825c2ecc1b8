"""Videos and the action tubes in them, on disk and in memory. Imports no torch.

================  =============================================================
``annotation``    the project's annotation file
``selection``     which videos and classes of a file are meant
``evaluated``     the tubes that predictions are scored against
``integrity``     do the videos decode to what the annotation says
``converters``    public formats, in and out
``jhmdb_pairs``   two pairs of domains out of JHMDB alone
================  =============================================================
"""
