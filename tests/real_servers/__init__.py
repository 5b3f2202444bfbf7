"""The client against the real servers that its dialects are written for."""
