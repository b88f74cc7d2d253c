"""From an old root to a new one: the steps, and what is published and who issues at each."""
