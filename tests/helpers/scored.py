"""Labels and scores of many kinds, drawn on the spot: ties, classes, levels."""

LABELS = {
    "binary": lambda rng, n: (rng.random(n) < 0.2).astype(float),
    "mostly 1": lambda rng, n: (rng.random(n) < 0.8).astype(float),
    "graded": lambda rng, n: rng.integers(0, 6, n).astype(float),
    "31 levels": lambda rng, n: rng.integers(0, 31, n) / 6,
    "continuous": lambda rng, n: rng.normal(size=n),
}
SCORES = {
    "untied": lambda rng, y: rng.normal(size=len(y)) + y,
    "some ties": lambda rng, y: (rng.normal(size=len(y)) + y).round(2),
    "heavy ties": lambda rng, y: (rng.normal(size=len(y)) + y).round(),
}
