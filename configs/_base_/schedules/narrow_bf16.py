# For narrow networks from random weights on a CPU: bfloat16.
_base_ = './narrow.py'
optim_wrapper = dict(type='BFloat16OptimWrapper')
val_cfg = dict(fp16=True)
test_cfg = dict(fp16=True)
