"""What a kind of task is: the interface, what its observations are judged by, and where kinds are found."""
