"""Training encoders: the model that is trained, losses, the loop, and what a training saw."""
