"""A run's folder: its name, what is in it, its log. No torch here."""
