from __future__ import annotations

import pytest
import torch

from thriftseg.errors import ConfigError
from thriftseg.zoo.vos import reader
from thriftseg.zoo.vos.reader import MemoryReader


@pytest.mark.parametrize("similarity", ["dot", "l2"])
def test_reader_equals_its_formula_in_pieces(monkeypatch, similarity):
    torch.manual_seed(0)
    keys, values = [torch.randn(3, 8, 4, 5) for _ in range(4)], [torch.randn(3, 6, 4, 5) for _ in range(4)]
    query = torch.randn(1, 8, 4, 5)
    key, value = (torch.cat([x.flatten(2) for x in parts], 2) for parts in (keys, values))
    if similarity == "dot":
        scores = torch.einsum("mcp,cq->mpq", key, query[0].flatten(1))
    else:
        scores = -(key[..., None] - query[0].flatten(1)[None, :, None]).square().sum(1)
    weights = scores.div(8**0.5).softmax(1)
    expected = torch.einsum("mcp,mpq->mcq", value, weights).view(3, 6, 4, 5)
    for budget in (1, 3000, 2**24):
        monkeypatch.setattr(reader, "SCORE_BYTES", budget)
        assert torch.allclose(MemoryReader(similarity)(query, keys, values), expected, atol=1e-6)


@pytest.mark.parametrize(("similarity", "read_at"), [("dot", 1), ("l2", 0)])
def test_a_long_key_attracts_every_query_of_a_scalar_product_only(similarity, read_at):
    query = torch.tensor([3.0, 0.0]).view(1, 2, 1, 1)
    keys = [torch.tensor([[3.0, 90.0], [0.0, 90.0]]).view(1, 2, 1, 2)]  # the query itself, and a far but long one
    read = MemoryReader(similarity)(query, keys, [torch.tensor([0.0, 1.0]).view(1, 1, 1, 2)])
    assert read.item() == pytest.approx(read_at)


def test_unknown_similarity_is_refused():
    with pytest.raises(ConfigError, match="similarity of keys; expected dot or l2; found cosine"):
        MemoryReader("cosine")


def test_reader_skips_unknown_frames():
    torch.manual_seed(0)
    keys, values = [torch.randn(2, 8, 2, 3) for _ in range(2)], [torch.randn(2, 6, 2, 3) for _ in range(2)]
    query = torch.randn(2, 8, 2, 3)
    read = MemoryReader()(query, keys, values, torch.tensor([[True, False], [False, False]]))
    assert torch.allclose(read[0], MemoryReader()(query, keys[1:], values[1:])[0], atol=1e-6)
    assert torch.allclose(read[1], MemoryReader()(query, keys, values)[1], atol=1e-6)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_reader_in_half_precision(dtype):
    torch.manual_seed(0)
    query, *keys = (20 * torch.randn(1, 128, 4, 5) for _ in range(3))  # products of up to 10^5 before the scaling
    values = [torch.randn(1, 6, 4, 5) for _ in range(2)]
    half = [query.to(dtype), [key.to(dtype) for key in keys], [value.to(dtype) for value in values]]
    exact = MemoryReader()(half[0].float(), [key.float() for key in half[1]], [value.float() for value in half[2]])
    assert torch.allclose(MemoryReader()(*half).float(), exact, atol=0.02)


def test_all_scores_never_exist_at_once():
    """5 objects, 12 frames of 24 x 40: the scores would take 221 MB, and the joined memory 22 MB more."""
    keys, values = [torch.rand(5, 8, 24, 40) for _ in range(12)], [torch.rand(5, 16, 24, 40) for _ in range(12)]
    with torch.inference_mode(), torch.profiler.profile(profile_memory=True) as profile:
        MemoryReader()(torch.rand(1, 8, 24, 40), keys, values)
    assert 0 < max(event.cpu_memory_usage for event in profile.events()) < 40e6
