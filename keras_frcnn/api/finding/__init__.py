"""From pictures to results, with whatever finds the objects."""
