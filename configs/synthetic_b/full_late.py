_base_ = './full.py'
default_hooks = dict(adaptation_weight=dict(begin=600))
