"""What is stored between runs: vectors, fits, observations and records, each under a key of all it depends on."""
