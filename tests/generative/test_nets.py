"""Networks: shapes, conditioning, and batches whose rows do not see each other."""

import pytest

torch = pytest.importorskip("torch")

from generative.nets import MLP, UNet  # noqa: E402

NETS = {
    "mlp": lambda **k: MLP((2,), 16, 2, **k),
    "mlp_image": lambda **k: MLP((1, 4, 4), 16, 2, **k),
    "unet": lambda **k: UNet((1, 8, 8), 8, **k),
    "unet_cube": lambda **k: UNet((8, 8, 8), 8, **k),  # B = C = H = W below: a wrong expansion of t goes unnoticed else
}


def awake(net):
    """The network with its last layer, which starts at 0, and all others random."""
    torch.manual_seed(0)
    for parameter in net.parameters():
        torch.nn.init.normal_(parameter, std=0.2)
    return net


def batch(net, n=8):
    torch.manual_seed(1)
    return torch.rand(n), torch.randn(n, *net.shape), torch.arange(n) % 3


@pytest.mark.parametrize("make", NETS.values(), ids=NETS)
def test_shape_and_start(make):
    net = make(classes=3)
    t, x, c = batch(net)
    assert net(t, x, c).shape == x.shape
    assert (net(t, x, c) == 0).all()


@pytest.mark.parametrize("make", NETS.values(), ids=NETS)
def test_rows_are_independent_and_see_their_time_and_label(make):
    net = awake(make(classes=3))
    t, x, c = batch(net)
    whole = net(t, x, c)
    rows = torch.cat([net(t[i : i + 1], x[i : i + 1], c[i : i + 1]) for i in range(len(t))])
    assert torch.allclose(whole, rows, rtol=1e-4, atol=1e-4)
    later, other = net(t + 0.1, x, c), net(t, x, (c + 1) % 3)
    for changed in (later, other):
        assert ((changed - whole).flatten(1).abs().amax(1) > 1e-4).all()


@pytest.mark.parametrize("make", NETS.values(), ids=NETS)
def test_no_label_is_the_null_class(make):
    net = awake(make(classes=3))
    t, x, c = batch(net)
    assert torch.equal(net(t, x), net(t, x, torch.full_like(c, -1)))
    assert not torch.allclose(net(t, x), net(t, x, c))


def test_every_parameter_is_used():
    for make in NETS.values():
        net = awake(make(classes=3))
        t, x, c = batch(net)
        net(t, x, c).square().sum().backward()
        assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in net.parameters())
