"""A run's network as files that need no Lighter: written only if they compute what the network does."""
