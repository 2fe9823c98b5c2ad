"""Training encoders: the model, the losses, the loop and the training curves."""
