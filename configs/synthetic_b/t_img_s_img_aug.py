_base_ = './t_img_s_img.py'
train_dataloader = _base_.strong
