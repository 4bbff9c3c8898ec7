"""`lighter check --probe`."""


def run_probe(inputs: list[str], stage: str) -> int:
    """To come."""
    raise NotImplementedError
