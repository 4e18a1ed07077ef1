"""What a site is asked to consent to before it receives anything, and what it answers."""
