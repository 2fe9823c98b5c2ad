"""The kinds of task: each turns vectors into observations."""
