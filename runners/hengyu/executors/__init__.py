"""What schedules the units of a run: this process, or a Ray cluster."""
