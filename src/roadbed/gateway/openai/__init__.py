"""The OpenAI surface: what bodies mean, what errors look like, how streams are metered. No sockets here."""
