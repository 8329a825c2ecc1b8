# Pretrained networks on a CPU: bfloat16, a tenth of the learning rate from random weights.
_base_ = './adamw_800_bf16_narrow.py'

# fused: on a CPU the step of AdamW takes a quarter of the time or less
optim_wrapper = dict(optimizer=dict(lr=1e-4, fused=True))
