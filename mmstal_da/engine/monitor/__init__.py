"""What tells whether an adaptation works: measures during a training, and warnings in words.

``measures`` computes on the tensors of a step, ``diagnosis`` reads what was logged and loads no
torch. :class:`mmstal_da.engine.hooks.AdaptationMonitorHook` connects both to a training.
"""
