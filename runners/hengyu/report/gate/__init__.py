"""The gate's verdicts as text, JUnit XML and GitHub annotations."""
