"""What is said of a run that ends within its method's warm-up."""


def ends_in_warm_up(warmup_epochs: int, epochs: int, so: str) -> str | None:
    """Advice for a run of so many epochs, or None where it goes beyond its warm-up.

    Args:
        warmup_epochs: of the method.
        epochs: of the run; below 0 it has no end.
        so: what comes of it.
    """
    if warmup_epochs < epochs or epochs < 0:
        return None
    return f"method.warmup_epochs={warmup_epochs} is not below trainer.max_epochs={epochs}: {so}"
