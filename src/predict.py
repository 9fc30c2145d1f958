"""Predict new images with a run: `python -m src.predict run=<run folder> images=<folder>`."""

from pmnar.tasks.cli import predict

if __name__ == "__main__":
    predict()
