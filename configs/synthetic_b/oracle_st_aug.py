_base_ = './oracle_st.py'
train_dataloader = _base_.strong
