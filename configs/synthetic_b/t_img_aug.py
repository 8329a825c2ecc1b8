_base_ = './t_img.py'
train_dataloader = _base_.strong
