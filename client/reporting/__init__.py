"""What a site holds, for its own people: numbers for the terminal, and a page with pictures."""
