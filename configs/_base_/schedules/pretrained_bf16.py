# For pretrained networks on a CPU: bfloat16, a tenth of the learning rate from random weights.
_base_ = './narrow_bf16.py'
# fused: on a CPU the step of AdamW takes a quarter of the time or less
optim_wrapper = dict(optimizer=dict(lr=1e-4, fused=True))
