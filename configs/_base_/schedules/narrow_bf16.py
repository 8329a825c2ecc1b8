# On a CPU: bfloat16.
_base_ = './narrow.py'
optim_wrapper = dict(type='BFloat16OptimWrapper')
val_cfg = test_cfg = dict(fp16=True)
# `optim_wrapper = _base_.pretrained`, for pretrained networks: a tenth of the learning rate from random weights. fused:
# on a CPU the step of AdamW takes a quarter of the time or less
pretrained = dict(optimizer=dict(lr=1e-4, fused=True))
