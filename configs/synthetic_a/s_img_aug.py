_base_ = './s_img.py'
train_dataloader = _base_.strong
