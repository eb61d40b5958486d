"""Samplers and scores given odd inputs: each is answered, or refused by name."""

import numpy as np
import pytest

import sdekit as sk

torch = pytest.importorskip("torch")

VP = sk.VP()
SCORE = sk.Gaussian([1.0, -1.0], std=0.5).score(VP)
OTHER = sk.Gaussian([0.0, 0.0], std=0.5).score(VP)
X = np.random.default_rng(0).normal(size=(8, 2))
IMAGES = torch.randn(2, 3, 4, 6, generator=torch.Generator().manual_seed(0))
GRID = sk.grids.log_snr(VP, 4)


def sampled(network, x, **options):
    score = sk.scores.from_noise(network, VP, **options)
    with torch.no_grad():
        return sk.solve(sk.Reverse(VP, score, eta=0.0), x, grid=GRID, method=sk.dpmpp_2m).final


def test_layouts_of_images_do_not_count():
    def network(t, x):
        return 0.3 * torch.tanh(x)

    want = sampled(network, IMAGES)
    assert torch.equal(sampled(network, IMAGES.to(memory_format=torch.channels_last)), want)
    turned = IMAGES.permute(0, 1, 3, 2)
    assert torch.equal(sampled(network, turned), want.permute(0, 1, 3, 2))
    assert torch.equal(sampled(network, IMAGES[:1]), want[:1]) and sampled(network, IMAGES[:0]).shape == (0, 3, 4, 6)


@pytest.mark.parametrize("kind", [torch.float16, torch.bfloat16, torch.float64])
def test_types_of_networks(kind):
    class Net(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.scale = torch.nn.Parameter(torch.tensor(0.3, dtype=kind))

        def forward(self, t, x):
            assert x.dtype == kind
            return self.scale * x

    got = sampled(Net(), IMAGES)
    assert got.dtype == torch.float32
    torch.testing.assert_close(got, sampled(lambda t, x: 0.3 * x, IMAGES), rtol=0.02, atol=0.2)


@pytest.mark.parametrize(
    ("network", "said"),
    [
        (lambda t, x: (0 * x).long(), r"values of torch.int64 for x of torch.float32; they must be real"),
        (lambda t, x: x + 0j, r"values of torch.complex64"),
        (lambda t, x: (x,), "returned tuple"),
        (lambda x, t: x, r"returned torch.Size\(\[2\]\) for x of shape"),
        (lambda t, x: torch.cat([x, x], 1), "it must keep that"),
    ],
)
def test_outputs_of_networks(network, said):
    with pytest.raises(ValueError, match=said):
        sampled(network, IMAGES)


@pytest.mark.parametrize("network", [None, "net", torch.nn.Linear])
def test_what_is_no_network(network):
    for make in (sk.scores.from_noise, sk.scores.from_score):
        with pytest.raises(ValueError, match="a network must be a function or a module"):
            make(network, VP)
    with pytest.raises(ValueError, match="a network must be a function or a module"):
        sk.scores.from_karras(network)
    for dims in (-1, "a", 1.5):
        with pytest.raises(ValueError, match="event_dims must be an integer >= 0"):
            sk.scores.from_noise(lambda t, x: x, VP, dims)


@pytest.mark.parametrize("value", [None, "2", float("nan"), True])
def test_weights_as_functions_return_numbers(value):
    with pytest.raises(ValueError, match=r"weight\(t\) must be a real number, finite"):
        sk.scores.guided(SCORE, OTHER, lambda t: value).pair(0.4, X)


def test_intervals_lie_among_the_times():
    with pytest.raises(ValueError, match=r"interval is \(5.0, 6.0\), outside the times \(0.0, 1.0\) of VP"):
        sk.scores.guided(SCORE, OTHER, 2.0, interval=(5, 6))


ONES = np.ones(2)


@pytest.mark.parametrize(
    ("known", "mask", "said"),
    [
        (np.zeros((8, 2)), np.ones(3), r"mask has shape \(3,\), which x of \(8, 2\) does not take"),
        (np.zeros((7, 2)), ONES, r"known has shape \(7, 2\)"),
        (np.zeros((5, 8, 2)), ONES, r"known has shape \(5, 8, 2\)"),
        (ONES, np.array([0.5, 0.0]), r"mask must be true \(1\) where data are known"),
        (ONES, np.array([np.nan, 0.0]), "mask must be true"),
        (None, ONES, "known must be an array of real numbers"),
        ("abc", ONES, "known must be an array of real numbers"),
    ],
)
def test_what_is_known_and_where(known, mask, said):
    with pytest.raises(ValueError, match=said):
        sk.scores.inpainted(SCORE, known, mask).pair(0.4, X)


def test_masks_of_any_kind():
    want = sk.scores.inpainted(SCORE, np.array([3.0, 0.0]), np.array([True, False])).pair(0.4, X)
    assert (want[0][:, 0] == 3).all() and np.array_equal(want[0][:, 1], SCORE.pair(0.4, X)[0][:, 1])
    for known, mask in (([3.0, np.nan], [1, 0]), (torch.tensor([3.0, 0.0]), torch.tensor([1.0, 0.0]))):
        for got, value in zip(sk.scores.inpainted(SCORE, known, mask).pair(0.4, X), want, strict=True):
            assert np.array_equal(got, value)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ({"shape": (2, -1)}, "shape must be an integer >= 0, got -1"),
        ({"shape": (2.5, 2)}, "shape must be an integer >= 0, got 2.5"),
        ({"t": []}, r"t, a time or a grid, must be a real number, finite, got \[\]"),
        ({"t": "a"}, "t, a time or a grid"),
        ({"t": float("nan")}, "t, a time or a grid"),
        ({"t": 5.0}, "t = 5.0 is outside the domain"),
        ({"like": "x"}, "like must be an array or a tensor, got 'x'"),
    ],
)
def test_starts(arguments, said):
    with pytest.raises(ValueError, match=said):
        sk.Reverse(VP, SCORE).start(**{"shape": (2, 2), "seed": 0, **arguments})
