#!/usr/bin/env bash
# A T5 encoder (the architecture of ProtT5) in float16: loaded so, and loaded in float32 and then halved.
#
# One would guess: `from_pretrained(..., dtype=torch.float16)` and `from_pretrained(...).half()` give the same
# model, so that either is a way to save half the memory.
# What happens: loading in float16 keeps the layers named in `_keep_in_fp32_modules` (`wo`, whose products
# overflow float16) in float32 and casts around them; `.half()` and `.to(torch.float16)` know nothing of it and
# halve them too. Where their products leave the range of float16, T5 cuts them off without a word: the
# first model's states are near those in float32, the second one's are others.
#
# Seen with transformers 5.24.0 and torch 2.13.0 on Linux.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
python3 -m venv venv
venv/bin/pip install --quiet torch==2.13.0 transformers==5.24.0
venv/bin/python - <<'PY'
import torch
from transformers import T5Config, T5EncoderModel

torch.manual_seed(0)
shape = T5Config(
    vocab_size=30, d_model=16, d_kv=8, d_ff=32, num_layers=1, num_heads=2, feed_forward_proj="gated-gelu"
)
model = T5EncoderModel(shape)
# Weights as large as a published model's largest products: the layer's output leaves the range of float16.
model.encoder.block[0].layer[1].DenseReluDense.wo.weight.data.mul_(3e4)
model.encoder.block[0].layer[1].DenseReluDense.wi_1.weight.data.mul_(100)
model.save_pretrained("model")
tokens = torch.arange(3, 13)[None]
with torch.inference_mode():
    expected = model.eval()(input_ids=tokens).last_hidden_state
far = {}
for way, halved in (
    ("from_pretrained(dtype=float16)", T5EncoderModel.from_pretrained("model", dtype=torch.float16)),
    ("from_pretrained().half()", T5EncoderModel.from_pretrained("model").half()),
):
    kind = halved.encoder.block[0].layer[1].DenseReluDense.wo.weight.dtype
    with torch.inference_mode():
        far[way] = float((halved(input_ids=tokens).last_hidden_state.float() - expected).abs().max())
    print(f"{way}: wo is {kind}; states differ from those in float32 by up to {far[way]:.4f}")
    assert kind == (torch.float32 if "dtype" in way else torch.float16), f"changed: wo is {kind} after {way}"
near, other = far.values()
assert other > 10 * near, "changed: both ways give the same states"
PY
