"""Trained detectors in use: what a checkpoint says about videos.

==============  =============================================