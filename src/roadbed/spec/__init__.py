"""The nouns users write. Strict: an unknown key is an error with its line and a suggestion."""
