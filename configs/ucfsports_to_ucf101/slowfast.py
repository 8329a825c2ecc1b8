_base_ = './_proposals.py'
model = _base_.slowfast
