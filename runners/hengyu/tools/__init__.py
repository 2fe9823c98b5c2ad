"""Commands beside the benchmark: exporting a model, self-checks, pretraining, throughput, clouds of vectors."""
