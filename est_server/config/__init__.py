"""Configuration files: read with positions, validated whole, never half loaded."""
