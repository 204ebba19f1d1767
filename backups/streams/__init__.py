"""What happens to the bytes of a file on their way to a backup: compressed, encrypted and hashed in one pass."""
