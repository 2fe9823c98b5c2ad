"""Where a model stands among published figures: compared under one protocol, and why if its own figure is another."""
