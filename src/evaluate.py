"""Evaluate a run again: `python -m src.evaluate run=<run folder>`."""

from pmnar.tasks.cli import evaluate

if __name__ == "__main__":
    evaluate()
