"""Upper bounds of options.

They are far above what a laboratory uses: a larger number is a typing error, which would otherwise end in a
lack of memory, an overflow or a run without end.
"""

SEED = 2**43 - 1  # a seed times a million, plus an epoch, is what torch is seeded with
EPOCHS = 1_000_000
PATIENCE = 1_000_000_000  # a large one means never
LEARNING_RATE = 100.0
WEIGHT_DECAY = 1000.0
GRADIENT_NORM = 1_000_000.0
BATCH_SIZE = 1 << 24
ACCUMULATION_STEPS = 1_000_000
WIDTH = 1 << 16
LAYERS = 1000
MEMBERS = 1000
HEADS = 1024
SLOTS = 4096
RANDOM_FEATURES = 1 << 20
RESIDUES = 1_000_000  # ten times the longest sequence that is read
PROCESSES = 100_000
MEMORY_MB = 1 << 24  # 16 TiB
RESAMPLES = 1_000_000
NEGATIVE_RATIO = 10_000.0
TOP_K = 1_000_000_000
REQUESTS = 1_000_000
SOURCE_LAYER = 10_000
DAYS = 36_525
WORKERS = 100_000
TRIALS = 1_000_000
SECONDS = 366 * 24 * 3600.0
