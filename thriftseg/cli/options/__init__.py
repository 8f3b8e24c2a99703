"""What commands share: how options come from signatures, and settings that several commands take."""
