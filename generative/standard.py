"""Units: the affine map between data space and the unit scale on which a model works."""

import functools

import numpy as np
import torch
from torch import nn

import sdekit as sk

__all__ = ["Standard"]

ROWS = 4096  # of a batch of densities


class Standard(nn.Module):
    """u = (x − shift) / scale, with the mean and the standard deviation of the data as buffers.

    `shape` is that of one event, (d,) or (C, H, W). Shift and scale are one number per feature, or one number for
    all features where `shared` (images: pixels keep their relation to each other). Until `fit` is called u = x, and
    `known` is false.
    """

    def __init__(self, shape, shared=False):
        super().__init__()
        self.shape, self.shared, self.known = sizes("shape", shape), shared, False
        size = (1,) * len(self.shape) if shared else self.shape
        self.register_buffer("shift", torch.zeros(size))
        self.register_buffer("scale", torch.ones(size))

    @torch.no_grad()
    def fit(self, data):
        """Sets shift and scale from data of shape (N, *shape); a constant feature keeps scale 1."""
        data = self._events(data)
        axes = tuple(range(data.ndim)) if self.shared else (0,)
        scale = data.std(axes, correction=0).reshape(self.scale.shape)
        self.shift.copy_(data.mean(axes).reshape(self.shift.shape))
        self.scale.copy_(torch.where(scale > 0, scale, 1.0))
        self.known = True

    def _load_from_state_dict(self, *arguments):
        super()._load_from_state_dict(*arguments)
        self.known = True

    def forward(self, x):
        """Data (N, *shape) to units; integers and other floating-point types become that of the model."""
        return (self._events(x) - self.shift) / self.scale

    def _events(self, x):
        x = torch.as_tensor(x, dtype=self.shift.dtype, device=self.shift.device)
        if tuple(x.shape[1:]) != self.shape:
            raise ValueError(f"x must be of shape (N, {', '.join(map(str, self.shape))}), got {tuple(x.shape)}")
        return x

    def inverse(self, u):
        """Units to data."""
        return self.shift + self.scale * u

    def log_volume(self):
        """log |dx/du| = Σ log scale over the event, so that log p(x) = log q(u) − log_volume."""
        return self.scale.log().expand(self.shape).sum()


def sizes(name, values, least=1):
    """A tuple of integers, such as a shape."""
    if not np.iterable(values) or isinstance(values, str):
        raise ValueError(f"{name} must be a tuple of integers, such as (2,), got {sk.checks.shown(values)}")
    return tuple(sk.checks.integer(f"{name}[{i}]", value, least) for i, value in enumerate(values))


def optional(check, name, value, *bounds, **more):
    """`check` of `sdekit.checks`, where None passes as well."""
    return None if value is None else check(name, value, *bounds, **more)


def trained(model, known):
    """A `ValueError` for a model that has not seen any data, whose samples would be noise."""
    if not known:
        raise ValueError(f"{type(model).__name__} is not trained yet: fit(model, data) first, or load(path)")


def word(seed):
    """A seed of 32 bits, for libraries that take no more; seeds below 2**32 are what they were."""
    return (seed ^ (seed >> 32)) & 0xFFFFFFFF


def event_shape(net, shape):
    """The shape of one event: that given, or the network's own."""
    shape = getattr(net, "shape", None) if shape is None else shape
    if shape is None:
        raise ValueError(f"shape is not known: give shape=(2,), say, or {type(net).__name__} an attribute `shape`")
    return sizes("shape", shape)


def rowwise(log_prob):
    """Decorator of a method log_prob(x): x of any array type, in batches, with gradients only where x wants them."""

    @functools.wraps(log_prob)
    def density(self, x, **options):
        x = torch.as_tensor(x)
        kept = x.dtype if x.is_floating_point() else self.units.shift.dtype
        with torch.set_grad_enabled(torch.is_grad_enabled() and x.requires_grad):
            return torch.cat([log_prob(self, part, **options) for part in x.split(ROWS)]).to(kept)

    return density


def standardise(self, data):
    """Sets the model's units from the data: a method of models that hold `units`."""
    self.units.fit(data)


def latents(model, n, c, seed, size):
    """(normals (n, size), the seed) of which a model with units and without classes makes its samples."""
    unlabelled(model, c)
    trained(model, model.units.known)
    n, seed = sk.checks.integer("n", n, 1), sk.noise.fresh(seed)
    return sk.noise.normal((n, size), seed, sk.noise.Stream.LATENT, like=model.units.shift), seed


def unlabelled(model, c):
    """A `ValueError` where a model without classes is given labels."""
    if c is not None:
        raise ValueError(f"{type(model).__name__} has no classes: leave the labels c out")


def labelled(net, c):
    """A `ValueError` where labels c are not among the classes of a network that tells their number; −1 is for none."""
    classes = getattr(net, "classes", None)
    if c is None or classes is None:
        return
    if classes == 0:
        unlabelled(net, c)
    least, most = map(int, torch.as_tensor(c).aminmax())
    if least < -1 or most >= classes:
        raise ValueError(f"labels c must be 0 … {classes - 1}, or −1 for none, got {least} … {most}")
