"""Do the stated class probabilities come true, on candidates that the weights were not fitted to?"""

from benchmarks.class_training import rows

__all__ = ["rows"]

if __name__ == "__main__":
    for row in rows():
        print(row)
