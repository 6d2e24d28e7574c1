"""The atlas: a static site to browse all that a network has learned."""
