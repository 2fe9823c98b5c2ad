"""hengyu tune: the search for a tuner's settings, on train and valid splits alone."""
