_base_ = './_one_size.py'
model = _base_.slowfast
