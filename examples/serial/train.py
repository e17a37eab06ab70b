"""Makes ``model/``: trains the chip's Qwen3 on a few sayings, letter by letter, and rounds it to bfloat16.

    python train.py

It takes half a minute on one core. Tokens are ASCII codes; a newline ends a saying.
"""

from __future__ import annotations

import json
from pathlib import Path

import torch
from model import CONFIG, CONTEXT, HEAD_DIM, HEADS, KV_HEADS, LAYERS, SHAPES, STOP, THETA
from safetensors.torch import save
from torch import Tensor
from torch.nn import functional

STEPS = 1000
FOLDER = Path(__file__).parent / "model"
SAYINGS = """\
all is well that ends well
better late than never
chips do not forgive
do as you would be done by
every cloud has a silver lining
fortune favours the bold
great oaks grow from acorns
haste makes waste
it never rains but it pours
just in the nick of time
knowledge is power
look before you leap
many hands make light work
no news is good news
once bitten twice shy
practice makes perfect
quick and quiet as a mouse
rome was not built in a day
still waters run deep
time and tide wait for no man
unity is strength
variety is the spice of life
what is etched stays etched
you reap what you sow
zeal without skill is blind
"""

Weights = dict[str, Tensor]


def norm(x: Tensor, gain: Tensor) -> Tensor:
    return functional.rms_norm(x, x.shape[-1:], gain, 1e-6)


def rotated(x: Tensor) -> Tensor:
    """Of (batch, heads, positions, elements)."""
    radians = torch.outer(torch.arange(x.shape[2]), THETA ** (-torch.arange(0, HEAD_DIM, 2) / HEAD_DIM))
    one, other = x.chunk(2, dim=-1)
    partners = torch.cat([-other, one], dim=-1)
    return x * radians.cos().tile(2) + partners * radians.sin().tile(2)


def attention(w: Weights, layer: str, x: Tensor) -> Tensor:
    def heads(name: str, count: int) -> Tensor:
        product = x @ w[f"{layer}self_attn.{name}_proj"].T
        return product.view(*x.shape[:2], count, HEAD_DIM).transpose(1, 2)

    q = rotated(norm(heads("q", HEADS), w[layer + "self_attn.q_norm"]))
    k = rotated(norm(heads("k", KV_HEADS), w[layer + "self_attn.k_norm"]))
    out = functional.scaled_dot_product_attention(q, k, heads("v", KV_HEADS), is_causal=True, enable_gqa=True)
    return out.transpose(1, 2).flatten(2) @ w[layer + "self_attn.o_proj"].T


def logits(w: Weights, tokens: Tensor) -> Tensor:
    x = w["embed_tokens"][tokens]
    for number in LAYERS:
        layer = f"layers.{number}."
        x = x + attention(w, layer, norm(x, w[layer + "input_layernorm"]))
        y = norm(x, w[layer + "post_attention_layernorm"])
        gated = functional.silu(y @ w[layer + "mlp.gate_proj"].T) * (y @ w[layer + "mlp.up_proj"].T)
        x = x + gated @ w[layer + "mlp.down_proj"].T
    return norm(x, w["norm"]) @ w["embed_tokens"].T


def main() -> None:
    torch.manual_seed(1)
    torch.set_num_threads(1)
    torch.use_deterministic_algorithms(True)
    lines = [list(f"{line}\n".encode()) for line in SAYINGS.splitlines()]
    assert max(map(len, lines)) <= CONTEXT
    tokens = torch.tensor([line + [STOP] * (CONTEXT - len(line)) for line in lines])
    given, wanted = tokens[:, :-1], tokens[:, 1:].clone()
    wanted[given == STOP] = -100  # nothing is learned of what follows an end
    weights = {
        name: (torch.ones(shape) if len(shape) == 1 else torch.randn(shape) * 0.1).requires_grad_()
        for name, shape in SHAPES.items()
    }
    optimizer = torch.optim.AdamW(weights.values(), lr=1e-2, weight_decay=0.01)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 1e-2, total_steps=STEPS)
    for step in range(STEPS):
        loss = functional.cross_entropy(logits(weights, given).flatten(0, 1), wanted.flatten())
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        schedule.step()
        if step % 200 == 0 or step == STEPS - 1:
            print(f"step {step}: loss {loss.item():.4f}")

    FOLDER.mkdir(exist_ok=True)
    config = {"architectures": ["Qwen3ForCausalLM"], **CONFIG, "torch_dtype": "bfloat16"}
    (FOLDER / "config.json").write_text(json.dumps(config, indent=2) + "\n", encoding="utf-8")
    stored = {f"model.{name}.weight": tensor.detach().bfloat16() for name, tensor in sorted(weights.items())}
    (FOLDER / "model.safetensors").write_bytes(save(stored, metadata={"format": "pt"}))


if __name__ == "__main__":
    main()
