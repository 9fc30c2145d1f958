"""Train a method: `python -m src.train --help`."""

from pmnar.tasks.cli import train

if __name__ == "__main__":
    train()
