"""What kinds of task share that compare the two sentences of a pair."""
