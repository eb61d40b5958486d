"""The commands of `python -m sdekit`, and the pictures that they draw: nothing else uses them."""
