"""What the index methods share: faiss indexes, packed signs, exact search, costs."""
