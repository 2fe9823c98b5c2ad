"""From records to what people read: the board, the terminal, the page, the exports."""
