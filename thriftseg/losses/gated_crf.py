"""Gated CRF loss: neighbours that look alike should be labelled alike."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal, get_args

import torch
import torch.nn.functional as F
from torch import Tensor

from thriftseg.errors import ConfigError
from thriftseg.losses.terms import Loss, LossTerms, at_least_float32

Outside = Literal["exclude", "zero_padded"]


@dataclass(frozen=True)
class GaussianKernel:
    """One term of the affinity of two pixels.

    Attributes:
        weight: Factor of the term.
        xy: Standard deviation of positions in pixels of the prediction; `None` leaves the distance out.
        rgb: Standard deviation of the channels of the image, in their unit; `None` leaves the colours out.

    Raises:
        ConfigError: A standard deviation is not positive, or there is none.

    Example:
        >>> round(GaussianKernel(xy=2.0, rgb=None).at(4.0), 4)  # two pixels apart, whatever their colours
        0.6065
    """

    weight: float = 1.0
    xy: float | None = 6.0
    rgb: float | None = 0.1

    def __post_init__(self) -> None:
        for name, sigma in (("xy", self.xy), ("rgb", self.rgb)):
            if sigma is not None and not sigma > 0:
                raise ConfigError(f"{name} of a Gated CRF kernel is out of range", expected="above 0", found=sigma)
        if self.xy is None and self.rgb is None:
            raise ConfigError("a Gated CRF kernel needs xy, rgb or both", found=self)

    @property
    def color_factor(self) -> float:
        """Factor of the squared difference of colours in the exponent, without its sign."""
        return 0.5 / self.rgb**2 if self.rgb else 0.0

    def at(self, squared_distance: float) -> float:
        """The factor of two pixels this far apart, without their colours."""
        return self.weight * (math.exp(-0.5 * squared_distance / self.xy**2) if self.xy else 1.0)


DEFAULT_KERNELS = (GaussianKernel(),)


class _RefusesSecondDerivative(torch.autograd.Function):
    """Hands a gradient on, and says why it cannot be differentiated once more."""

    @staticmethod
    def forward(ctx: Any, probabilities: Tensor, factor: Tensor, gradient: Tensor) -> Tensor:
        return factor * gradient

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> None:
        raise RuntimeError(
            "gated_crf_loss is differentiable once: its gradient cannot be differentiated; leave the loss out of terms "
            "that need create_graph=True"
        )


class _Energy(torch.autograd.Function):
    """Energy of all pairs of neighbours; forward computes the gradient along the way.

    With K p for the sums over neighbours, the Potts energy of a pixel, sum_j K_ij (1 - <p_i, p_j>), is K 1 - <p, K p>:
    one pass that gathers ones and probabilities tells the energy and, as K is symmetric, its gradient -K p. With costs
    C of pairs of classes both come from C K p. Half the sum, since every pair is met from both ends.
    """

    @staticmethod
    def forward(ctx: Any, probabilities: Tensor, pairs: _Pairs, compatibility: Tensor | None) -> Tensor:
        with torch.autocast(probabilities.device.type, enabled=False):
            values, sums = pairs.gather(probabilities)
            gathered = sums[:, 1:].unflatten(2, (pairs.height, pairs.stride))[..., : pairs.width]
            if compatibility is None:
                gradient, ctx.sign = gathered, -1
                products = values.mul_(sums)
                energy = products[:, 0] - products[:, 1:].sum(dim=1)
            else:
                gradient, ctx.sign = torch.einsum("cd,bdhw->bchw", compatibility, gathered), 1
                energy = probabilities * gradient
        ctx.save_for_backward(probabilities, gradient)
        return energy.sum() / 2

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Any, None, None]:
        probabilities, gradient = ctx.saved_tensors
        return _RefusesSecondDerivative.apply(probabilities, ctx.sign * grads[0], gradient), None, None


class _Pairs:
    """Pairs of neighbours and their affinities, one shift of the window after the other.

    A shift pairs every pixel with the one that lies, say, two rows below and three columns to the left. The affinities
    of its pairs are worked out for the whole image at once, added up at both pixels of each pair, and dropped, so that
    memory does not grow with the window. As the affinity is symmetric, one half of the shifts meets every pair once.

    Maps are laid out flat, each row followed by `radius` zeros: a shift is then one offset, neighbours beyond the left
    or right side of the image fall on these zeros, and every pass runs over contiguous memory. The shifts that lead to
    one row are consecutive offsets and are worked out together.
    """

    def __init__(
        self,
        image: Tensor,
        kernels: Sequence[GaussianKernel],
        radius: int,
        source: Tensor | None,
        destination: Tensor | None,
    ) -> None:
        self.height, self.width = image.shape[-2:]
        self.stride = self.width + radius
        self.length = self.height * self.stride
        self.radius, self.kernels = radius, kernels
        # Colours are scaled so that their squared difference is, but for its sign, the exponent of the first kernel.
        self.color_factor = kernels[0].color_factor or 1.0
        self.channels = self._flatten(image * math.sqrt(self.color_factor)).unbind(dim=1)
        self.gates = None
        if source is not None or destination is not None:
            ones = torch.ones_like(image[:, :1])
            self.gates = tuple(self._flatten(ones if mask is None else mask)[:, 0] for mask in (source, destination))

    def _flatten(self, x: Tensor) -> Tensor:
        """(B, C, H, W) to (B, C, H * (W + radius)), and as many zeros more as a row of the window reaches beyond."""
        return F.pad(F.pad(x, (0, self.radius)).flatten(2), (0, 2 * self.radius))

    def gather(self, probabilities: Tensor) -> tuple[Tensor, Tensor]:
        """Sum over the neighbours j of each pixel i, weighted by K_ij (s_j d_i + s_i d_j).

        Args:
            probabilities: (B, C, H, W).

        Returns:
            Ones and the probabilities, laid out flat, (B, 1 + C, L), and the weighted sums of both.
        """
        batch, classes = probabilities.shape[:2]
        padded = probabilities.new_zeros(batch, 1 + classes, self.height, self.stride)
        padded[:, :1, :, : self.width] = 1
        padded[:, 1:, :, : self.width] = probabilities
        values = padded.flatten(2)
        sums = torch.zeros_like(values)
        buffers = values.new_empty(2, batch * (2 * self.radius + 1) * self.length)
        for dy in range(self.radius + 1):
            shifts = range(-self.radius if dy else 1, self.radius + 1)
            offset = dy * self.stride + shifts[0]
            if offset >= self.length:
                break
            for affinity in self._affinities(dy, shifts, offset, buffers).split(1, dim=1):
                size = max(self.length - offset, 0)
                pairs = affinity.narrow(2, 0, size)
                sums.narrow(2, 0, size).addcmul_(pairs, values.narrow(2, self.length - size, size))
                sums.narrow(2, self.length - size, size).addcmul_(pairs, values.narrow(2, 0, size))
                offset += 1
        return values, sums

    def _affinities(self, dy: int, shifts: range, offset: int, buffers: Tensor) -> Tensor:
        """Weights of the pairs of consecutive shifts in one row, (B, K, n), in a part of the buffers.

        Args:
            dy: The row.
            shifts: The K columns.
            offset: Offset of the first shift; the pixels that have a counterpart there are the n first.
            buffers: Memory for two results, (2, *).
        """
        size = (len(self.channels[0]), len(shifts), self.length - offset)
        difference, total = (buffer[: math.prod(size)].view(size) for buffer in buffers.unbind())
        difference.zero_()
        for channel in self.channels if any(kernel.rgb for kernel in self.kernels) else ():
            torch.sub(self._first(channel, offset), self._second(channel, offset, len(shifts)), out=total)
            difference.addcmul_(total, total, value=-1)
        both_ways = 2 if self.gates is None else 1
        for place, kernel in enumerate(self.kernels):
            factors = total.new_tensor([both_ways * kernel.at(dy**2 + dx**2) for dx in shifts])[:, None]
            share = kernel.color_factor / self.color_factor
            if place == 0:
                torch.exp(difference if share == 1 else share * difference, out=total).mul_(factors)
            else:
                total.addcmul_((share * difference).exp_(), factors)
        if self.gates is not None:
            source, destination = self.gates
            gate = self._first(destination, offset) * self._second(source, offset, len(shifts))
            gate.addcmul_(self._first(source, offset), self._second(destination, offset, len(shifts)))
            total *= gate
        return total

    def _first(self, x: Tensor, offset: int) -> Tensor:
        """Values of the first pixels of all pairs of some shifts, (B, 1, n)."""
        return x[:, None, : self.length - offset]

    def _second(self, x: Tensor, offset: int, count: int) -> Tensor:
        """Values of the second pixels, a view (B, K, n)."""
        size = self.length - offset
        return x[:, offset : offset + size + count - 1].unfold(1, size, 1)


def _border_affinity(image: Tensor, kernels: Sequence[GaussianKernel], radius: int) -> Tensor:
    """Affinity of each pixel to the zeros around a zero-padded image, summed over them, (B, 1, H, W)."""
    height, width = image.shape[-2:]
    rows = torch.arange(height, device=image.device)
    columns = torch.arange(width, device=image.device)

    def inside(position: Tensor, size: int) -> Tensor:
        return (position + radius).clamp(max=size - 1) - (position - radius).clamp(min=0) + 1

    outside = (2 * radius + 1) ** 2 - inside(rows, height)[:, None] * inside(columns, width)
    length = image.square().sum(dim=1, keepdim=True)
    squared_position = (rows.square()[:, None] + columns.square()).to(image.dtype)
    total = torch.zeros_like(length)
    for kernel in kernels:
        exponent = torch.zeros_like(length)
        if kernel.rgb is not None:
            exponent += length / kernel.rgb**2
        if kernel.xy is not None:
            exponent += squared_position / kernel.xy**2
        total += kernel.weight * torch.exp(-0.5 * exponent)
    return outside * total


def _to_prediction(x: Tensor, like: Tensor, name: str) -> Tensor:
    """Average an image or mask over the area of each pixel of the prediction."""
    if x.ndim != 4 or len(x) != len(like) or any(n % m for n, m in zip(x.shape[2:], like.shape[2:], strict=True)):
        raise ValueError(
            f"{name} must be ({len(like)}, *, H, W) with H and W multiples of {tuple(like.shape[2:])}, the size of the "
            f"prediction; found {tuple(x.shape)}"
        )
    size = (x.shape[2] // like.shape[2], x.shape[3] // like.shape[3])
    return F.avg_pool2d(x.detach().to(like.dtype), size)


def _gate(mask: Tensor | None, like: Tensor, name: str) -> Tensor | None:
    """Bring a mask to the size of the prediction; what is below 1 there, or NaN, is closed."""
    if mask is None:
        return None
    if mask.ndim == 3:
        mask = mask[:, None]
    if mask.shape[1:2] != (1,):
        raise ValueError(f"{name} must be (B, H, W) or (B, 1, H, W), found {tuple(mask.shape)}")
    gate = _to_prediction(mask, like, name)
    return torch.where(gate >= 1, gate, 0)


def gated_crf_terms(
    probabilities: Tensor,
    image: Tensor,
    kernels: Sequence[GaussianKernel] = DEFAULT_KERNELS,
    radius: int = 5,
    source: Tensor | None = None,
    destination: Tensor | None = None,
    compatibility: Tensor | None = None,
    outside: Outside = "exclude",
) -> LossTerms:
    """Numerator and denominator of the Gated CRF loss; see `GatedCRF`.

    Args:
        probabilities: Softmax output, (B, C, H, W); half precision is computed in float32. Differentiable, once.
        image: (B, F, H', W') with H' and W' multiples of H and W; averaged to that size. Gets no gradient.
        kernels: Terms of the affinity.
        radius: Reach of the window in pixels of the prediction.
        source: Which pixels may influence others, (B, H', W') or (B, 1, H', W'). Values that average to less than 1,
            and NaN, count as 0; all 1 by default.
        destination: Which pixels may be influenced, alike.
        compatibility: Cost of two classes next to each other, (C, C) and symmetric; by default 1 for different
            classes and 0 for equal ones (Potts).
        outside: "exclude" leaves out neighbours beyond the image. "zero_padded" counts them as black pixels at
            position (0, 0) without a class, as the original code does: a constant that depends on no prediction.

    Returns:
        The terms whose quotient `gated_crf_loss` returns.

    Raises:
        ConfigError: `radius` or `outside` is out of range, or there is no kernel.
        ValueError: The shapes do not fit together, the image holds integers, or `compatibility` is not symmetric.
    """
    _check_settings(kernels, radius, outside)
    if probabilities.ndim != 4:
        raise ValueError(f"probabilities must be (B, C, H, W), found {tuple(probabilities.shape)}")
    if not image.is_floating_point():
        raise ValueError(f"image must be floating point, in the unit of the kernels, found {image.dtype}")
    probabilities = at_least_float32(probabilities)
    image = _to_prediction(image, probabilities, "image")
    source, destination = _gate(source, probabilities, "source"), _gate(destination, probabilities, "destination")
    if compatibility is not None:
        compatibility = compatibility.to(probabilities)
        num_classes = probabilities.shape[1]
        if compatibility.shape != (num_classes, num_classes) or not torch.equal(compatibility, compatibility.T):
            raise ValueError(
                f"compatibility must be a symmetric ({num_classes}, {num_classes}) matrix, found {compatibility}"
            )
    total = _Energy.apply(probabilities, _Pairs(image, kernels, radius, source, destination), compatibility)
    if outside == "zero_padded" and source is None and compatibility is None:
        border = _border_affinity(image, kernels, radius)
        total = total + (border if destination is None else border * destination).sum()
    counted = destination if destination is not None else source
    count = image.new_tensor(image[:, 0].numel()) if counted is None else counted.sum()
    return LossTerms(total, count)


def gated_crf_loss(
    probabilities: Tensor,
    image: Tensor,
    kernels: Sequence[GaussianKernel] = DEFAULT_KERNELS,
    radius: int = 5,
    source: Tensor | None = None,
    destination: Tensor | None = None,
    compatibility: Tensor | None = None,
    outside: Outside = "exclude",
) -> Tensor:
    """Gated CRF loss of softmax probabilities, a scalar; see `GatedCRF`, and `gated_crf_terms` for the arguments.

    Example:
        >>> image = torch.tensor([0.0, 0.0, 1.0]).expand(1, 3, 1, 3)
        >>> along_colors = torch.tensor([[1.0, 1.0, 0.0], [0.0, 0.0, 1.0]]).view(1, 2, 1, 3)
        >>> across_colors = torch.tensor([[1.0, 0.0, 0.0], [0.0, 1.0, 1.0]]).view(1, 2, 1, 3)
        >>> round(gated_crf_loss(along_colors, image).item(), 4), round(gated_crf_loss(across_colors, image).item(), 4)
        (0.0, 0.6575)
    """
    return gated_crf_terms(probabilities, image, kernels, radius, source, destination, compatibility, outside).mean()


class GatedCRF(Loss):
    r"""Gated CRF loss of logits.

    $$\frac{1}{\sum_i d_i} \sum_i \sum_{j \in \Omega_r(i)} d_i s_j K_{ij} \, (1 - \langle p_i, p_j \rangle)$$
    $$K_{ij} = \sum_k w_k \exp\Big(-\frac{|x_i - x_j|^2}{2 \sigma_{xy,k}^2}
    - \frac{|I_i - I_j|^2}{2 \sigma_{rgb,k}^2}\Big)$$

    with softmax probabilities $p$, the window $\Omega_r(i)$ of all pixels but $i$ within a Chebyshev distance $r$,
    positions $x$ in pixels of the prediction and the image $I$ averaged to its size. Source $s$ and destination
    $d$ are 1 on real pixels and 0 on padding; without a destination the sum is divided by $\sum_i s_i$, and without
    both by the number of pixels. A batch of padding alone gives exactly 0.

    The sum is built over one half of the window, one shift at a time, together with its gradient. Memory: about four
    times that of the logits, where unfolded windows take $(2r+1)^2$ times.

    [0] Obukhov et al., "Gated CRF Loss for Weakly Supervised Semantic Image Segmentation", 2019, arXiv 1906.04651.
    [1] https://github.com/toshas/GatedCRFLoss

    Args:
        kernels: Terms of the affinity.
        radius: Reach r of the window, in pixels of the prediction.
        compatibility: Cost of each pair of classes next to each other, C rows of C numbers, symmetric, in place of
            $1 - \langle p_i, p_j \rangle$; Potts by default.
        outside: What lies beyond the image; see `gated_crf_terms`.

    Raises:
        ConfigError: A setting is out of range.

    Example:
        >>> loss = GatedCRF()
        >>> image, one_class = torch.rand(1, 3, 16, 16), torch.tensor([50.0, 0.0]).view(1, 2, 1, 1).expand(1, 2, 4, 4)
        >>> loss(one_class, image).item()
        0.0
    """

    settings = ("kernels", "radius", "outside")
    compatibility: Tensor | None

    def __init__(
        self,
        kernels: Sequence[GaussianKernel] = DEFAULT_KERNELS,
        radius: int = 5,
        compatibility: list[list[float]] | None = None,
        outside: Outside = "exclude",
    ) -> None:
        super().__init__()
        _check_settings(kernels, radius, outside)
        self.kernels, self.radius, self.outside = tuple(kernels), radius, outside
        matrix = None if compatibility is None else torch.tensor(compatibility, dtype=torch.float32)
        self.register_buffer("compatibility", matrix, persistent=False)

    def terms(self, logits: Tensor, image: Tensor, valid: Tensor | None = None) -> LossTerms:
        """Numerator and denominator of the loss.

        Args:
            logits: (B, C, H, W), at the stride where the window should act.
            image: (B, 3, H', W') in the unit of the kernels, with H' and W' multiples of H and W.
            valid: (B, H', W') bool, False on padding, which neither influences nor is influenced.

        Returns:
            The terms whose quotient `forward` returns.

        Raises:
            ValueError: The shapes do not fit together.
        """
        probabilities = at_least_float32(logits).softmax(dim=1)
        settings = (self.kernels, self.radius, valid, valid, self.compatibility, self.outside)
        return gated_crf_terms(probabilities, image, *settings)


def _check_settings(kernels: Sequence[GaussianKernel], radius: int, outside: str) -> None:
    if not kernels:
        raise ConfigError("Gated CRF has no kernel", expected="at least one")
    if radius < 1:
        raise ConfigError("radius of Gated CRF is out of range", expected="at least 1", found=radius)
    if outside not in get_args(Outside):
        raise ConfigError("unknown border rule of Gated CRF", expected=" or ".join(get_args(Outside)), found=outside)
