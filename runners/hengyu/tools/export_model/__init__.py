"""Taking a row home: the pipeline of a row of the board as a sentence-transformers folder."""
