"""What takes certificates out of use, and the lists that say so."""
