"""Is a summary any good? Measures of content, each beside what chance alone would give."""
