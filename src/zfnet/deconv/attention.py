"""Attention in one function: its weights softmax(Q Kᵀ / √d) are switches."""

import math

import torch
from torch import Tensor
from torch.nn import functional as F

from zfnet.deconv.functions import Switch
from zfnet.deconv.nodes import depends
from zfnet.deconv.notes import note_query


def attention_weights(
    query: Tensor,
    key: Tensor,
    mask: Tensor | None = None,
    is_causal: bool = False,
    scale: float | None = None,
) -> Tensor:
    """Returns the weights of `torch.nn.functional.scaled_dot_product_attention`.

    Args:
        query: (..., L, E).
        key: (..., S, E). It may have fewer heads (axis -3), each of which serves several of
            `query`.
        mask: bool, true where a query sees a key, or a float that is added to the scores.
        is_causal: whether each query only sees the keys up to its own position.
        scale: of the scores; 1/√E if None.

    Returns:
        (..., L, S).

    Example:
        >>> attention_weights(torch.zeros(2, 1), torch.zeros(2, 1), is_causal=True)
        tensor([[1.0000, 0.0000],
                [0.5000, 0.5000]])
    """
    if query.dim() > 2 and key.shape[-3] != query.shape[-3]:
        key = key.repeat_interleave(query.shape[-3] // key.shape[-3], -3)
    scores = query @ key.mT * (1 / math.sqrt(query.shape[-1]) if scale is None else scale)
    if is_causal:
        seen = torch.ones(scores.shape[-2:], dtype=torch.bool, device=scores.device).tril()
        scores = scores.masked_fill(~seen, -math.inf)
    if mask is not None and mask.dtype == torch.bool:
        scores = scores.masked_fill(~mask, -math.inf)
    elif mask is not None:
        scores = scores + mask
    return scores.softmax(-1).nan_to_num(0)  # a query that sees no key


def find_attention(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attn_mask: Tensor | None = None,
    dropout_p: float = 0.0,
    is_causal: bool = False,
    scale: float | None = None,
    enable_gqa: bool = False,
) -> Switch | None:
    """Finds the rule of a call of `scaled_dot_product_attention`: R passes through `value`.

    Args:
        query: these and the others are the arguments of the call.

    Returns:
        The switch, or None if the call is random or its values do not depend on the pixels.
    """
    if dropout_p or not depends(value):
        return None
    for each in (query, key):
        if depends(each) and each is not value:
            note_query(each)
    with torch.no_grad():
        weights = attention_weights(query, key, attn_mask, is_causal, scale)
    repeats = query.shape[-3] // value.shape[-3] if enable_gqa else 1

    def linear(z: Tensor) -> Tensor:
        return weights @ (z.repeat_interleave(repeats, -3) if repeats > 1 else z)

    def op(z: Tensor) -> Tensor:
        return F.scaled_dot_product_attention(
            query, key, z, attn_mask, 0.0, is_causal, scale=scale, enable_gqa=enable_gqa
        )

    return Switch(value, linear, op, "attention")
