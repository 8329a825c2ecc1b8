"""Published weights: where they are, how they are verified, and how they become checkpoints.

=======================  ====================================================
``sources``              official files and copies in packages
``download``             fetches and verifies them
``i3d_from_flax``        converts names and axes to those of this project
``resnet50_from_keras``  the same
``checkpoint``           writes the checkpoint that configs load
``packaged``             small weights in the package, ``mmstal_da://<name>``
``strict``               ``StrictPretrained``, which loads all weights or none
=======================  ====================================================
"""
