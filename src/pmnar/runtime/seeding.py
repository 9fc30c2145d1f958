"""Seeds for every random draw, derived from what the draw is for."""

import hashlib


def derive_seed(*parts: int | str) -> int:
    """A seed in [0, 2⁶³) from numbers and names, such as `(seed, "order", epoch)`.

    Equal parts give equal seeds on every platform; different parts give unrelated ones. Drawing
    from (seed, purpose, epoch, step) rather than from one running stream is what makes a resumed
    run the uninterrupted one.
    """
    digest = hashlib.blake2b("\x1f".join(map(str, parts)).encode(), digest_size=8).digest()
    return int.from_bytes(digest, "big") >> 1
