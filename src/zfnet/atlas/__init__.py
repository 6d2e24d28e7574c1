"""The atlas: a static site of everything that a network has learned."""
