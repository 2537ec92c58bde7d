"""The scorer under the name that models of version 0.2.0 store.

A model logged by 0.2.0 looks up `ppi_train.pipelines.served_scorer:PairScorer`. Without this module such
models, which may be registered and served, would no longer load. Models logged since then store
`ppi_train.serving:PairScorer`. Nothing else belongs here.
"""

from ppi_train.serving import PairScorer

__all__ = ["PairScorer"]
