"""Further commands: exporting a model, self-checks, pretraining, throughput, embedding geometry."""
