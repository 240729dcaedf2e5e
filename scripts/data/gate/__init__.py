"""What a volume must be before any stage sees it: its size, then its values; the same in every command."""
