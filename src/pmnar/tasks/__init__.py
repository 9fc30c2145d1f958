"""Tasks: a configuration becomes objects, and a result. The only part that knows Hydra."""
