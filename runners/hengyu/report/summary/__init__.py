"""What a run shows at a glance: its methods against the reference, its costs, and its findings as sentences."""
