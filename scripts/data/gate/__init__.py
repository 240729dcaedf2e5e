"""What a volume must be before any stage sees it, once it was read: the same in every command."""
