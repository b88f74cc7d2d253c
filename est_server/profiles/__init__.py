"""What a device may get and why: profiles as written, profiles as run, and the pure `decide`."""
