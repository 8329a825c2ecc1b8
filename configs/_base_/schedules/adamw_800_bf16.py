# Pretrained networks on a CPU: bfloat16, a tenth of the learning rate from random weights.
_base_ = './adamw_800_bf16_narrow.py'

optim_wrapper = dict(optimizer=dict(lr=1e-4, fused=True))
