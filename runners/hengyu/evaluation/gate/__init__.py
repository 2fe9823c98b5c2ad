"""Two sets of numbers -> verdicts: baselines, rules, findings."""
