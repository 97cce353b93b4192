"""What all commands share: their arguments and how they report errors."""
