"""What the documentation site takes from the code: method cards, the command line, the Python interface."""
