"""What kinds of task share that find the neighbours of a query."""
