"""The old place of `PairScorer`, kept for models that version 0.2.0 logged."""
