"""Running a suite: encode the texts, observe every cell, derive and write the numbers."""
