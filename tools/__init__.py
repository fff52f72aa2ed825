"""What developers of Grandstand run; no service imports it."""
