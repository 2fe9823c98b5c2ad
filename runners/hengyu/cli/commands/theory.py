"""hengyu theory: theoretical bounds."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import click

from hengyu.cli import options

if TYPE_CHECKING:
    from hengyu.tools.task_vectors import Sentences

__all__ = ["command"]


@click.group("theory")
def command() -> None:
    """Print bounds for random projections and directions."""


@command.command("jl")
@click.option("--n", required=True, type=click.IntRange(min=2), metavar="N", help="Number of vectors.")
@click.option("--eps", type=float, metavar="E", help="Allowed change of a squared distance or inner product, 0..1.")
@click.option("--dim", type=click.IntRange(min=1), metavar="D", help="Instead of --eps: print the E of this dimension.")
@click.option(
    "--failure", type=float, metavar="P", help="Allowed probability that some pair changes more; 1/N by default."
)
def jl(n: int, eps: float | None, dim: int | None, failure: float | None) -> None:
    """Compute the dimension of the Johnson-Lindenstrauss lemma.

    It depends only on the number of vectors, not on their width: jl(dim=...) with that dimension preserves every pair,
    except with the probability of failure.
    """
    from hengyu.base.errors import HengyuError
    from hengyu.numerics.theory import jl_dim, jl_eps

    if (eps is None) == (dim is None):
        raise HengyuError("hengyu theory jl: give either --eps or --dim")
    chance = 1 / n if failure is None else failure
    what = ((False, "squared distances, relative"), (True, "inner products of unit vectors"))
    try:
        if eps is not None:
            say = f"n = {n:,} vectors, eps = {eps:g}, failure = {chance:.3g}"
            rows = [(words, f"dim {jl_dim(n, eps, chance, inner=inner):,}") for inner, words in what]
        else:
            assert dim is not None
            say = f"n = {n:,} vectors, dim = {dim:,}, failure = {chance:.3g}"
            found = [(words, jl_eps(n, dim, chance, inner=inner)) for inner, words in what]
            rows = [
                (words, f"eps {e:.4f}" + ("" if e <= 1 else ": above 1, so the bound is void")) for words, e in found
            ]
    except ValueError as e:
        raise HengyuError(f"hengyu theory jl: {e}") from None
    click.echo(f"{say}, {n * (n - 1) // 2:,} pairs")
    for words, number in rows:
        click.echo(f"  {words:<31} {number}")
    click.echo(
        "By P(| |u|^2 - 1 | >= eps) <= 2 exp(-eps^2 dim / 8), P(| <u, v> - <u0, v0> | >= eps) <= 4 exp(-eps^2 dim / 8)\n"
        "and a union bound over all pairs: dim = 8 log(c pairs / failure) / eps^2, c = 2 and c = 4.\n"
        "Assumed: the matrix is drawn independently of the vectors, its entries are independent, with mean 0 and\n"
        "variance 1/dim, normal or +-1 (jl kinds gaussian, rademacher; orthogonal is no worse), and 0 < eps <= 1.\n"
        "It is the worst case over all vectors; `hengyu distort` measures real ones."
    )
    if eps is not None and eps < 1:
        from sklearn.random_projection import johnson_lindenstrauss_min_dim

        other = int(johnson_lindenstrauss_min_dim(n, eps=eps))
        click.echo(
            f"For comparison, 4 log(n) / (eps^2/2 - eps^3/3) of scikit-learn gives dim {other:,}: success is then possible\n"
            "(probability at least 1/n), not likely."
        )


@command.command("rabitq")
@click.option("--dim", required=True, type=click.IntRange(min=3), metavar="D", help="The dimension of the vectors.")
@click.option(
    "--bits", "several", multiple=True, type=click.IntRange(1, 9), help="Bits a column, 1 by default; repeatable."
)
@click.option(
    "--inner", default=0.0, show_default=True, type=click.FloatRange(-1, 1), help="The inner product estimated."
)
def rabitq(dim: int, several: tuple[int, ...], inner: float) -> None:
    """Compute the error of RaBitQ's estimate of inner products.

    The estimate of an inner product of unit vectors has no bias; its error depends on the dimension and on how near a code is to
    its vector, not on the data.
    """
    from hengyu.numerics.rabitq import rabitq_alignment, rabitq_error

    click.echo(f"unit vectors of {dim:,} dimensions, inner product {inner:g}, one of them at few bits")
    for bits in several or (1,):
        s = rabitq_alignment(dim, bits)
        deviation = ((1 / s**2 - 1) * (1 - inner**2) / (dim - 1)) ** 0.5
        bounds = ", ".join(f"{100 * p:g} % within {rabitq_error(dim, s, p, inner):.4f}" for p in (0.95, 0.99, 0.999))
        how = "" if bits == 1 else " (mean of 256 random directions)"
        click.echo(
            f"  {bits} bit{'s' if bits > 1 else ' '}  cosine of vector and code {s:.4f}{how}, bias 0, deviation {deviation:.4f}"
        )
        click.echo(f"          {bounds}")
    click.echo(
        "Given the cosine s of a vector and its code, the error is sqrt(1/s^2 - 1) sqrt(1 - inner^2) times the cosine of two\n"
        "random directions in dim - 1 dimensions, because the rotation is uniform and drawn independently of the vectors.\n"
        "`hengyu distort --bits B` measures it on real vectors."
    )


@command.command("angle")
@click.option("--dim", required=True, type=click.IntRange(min=2), metavar="D", help="The dimension of the vectors.")
def angle(dim: int) -> None:
    """Describe the angle between two random directions."""
    import math

    from hengyu.numerics.theory import angle_variance, cosine_quantile

    variance = angle_variance(dim)
    click.echo(f"two independent directions, uniform in {dim:,} dimensions")
    click.echo("  density   Gamma(n/2) / (Gamma((n-1)/2) sqrt(pi)) sin(angle)^(n-2)")
    click.echo("  mean      90 degrees (pi/2)")
    click.echo(f"  variance  {variance:.7g} (1/n is {1 / dim:.7g})")
    click.echo(f"  spread    {math.degrees(math.sqrt(variance)):.4g} degrees, standard deviation")
    for share in (0.5, 0.9, 0.99, 0.9999):
        cosine = cosine_quantile(0.5 + share / 2, dim)
        degrees = math.degrees(math.asin(min(1.0, cosine)))
        click.echo(f"  {100 * share:g} % of the pairs are within 90 +- {degrees:.3g} degrees, |cosine| <= {cosine:.4g}")


@command.command("depth")
@click.option("--width", default=256, show_default=True, type=click.IntRange(2, 4096), help="Width of every layer.")
@click.option("--layers", default=12, show_default=True, type=click.IntRange(1, 1000), help="Number of layers.")
@click.option(
    "--activation", default="linear", show_default=True, type=click.Choice(["linear", "relu"]), help="After each layer."
)
@click.option(
    "--angle", default=60.0, show_default=True, type=click.FloatRange(1, 179), help="Of the two vectors, in degrees."
)
@click.option("--networks", default=1000, show_default=True, type=click.IntRange(2, 10000), help="Networks drawn.")
@click.option("--seed", default=0, show_default=True, type=click.IntRange(0, 2**32 - 1))
def depth(width: int, layers: int, activation: str, angle: float, networks: int, seed: int) -> None:
    """Follow norms and angles through layers that are not trained.

    Two vectors pass random networks whose matrices are normal (variance 1/width) or orthogonal. Both keep norms and angles on
    average; only orthogonal ones do so exactly, and the deeper and narrower the network, the more the normal ones stray.
    """
    import math

    from hengyu.base.errors import HengyuError
    from hengyu.numerics.depth import MATRICES, angle_after, norm_spread, simulate

    try:
        found = [
            simulate(width, layers, m, activation, angle=math.radians(angle), networks=networks, seed=seed)
            for m in MATRICES
        ]
    except ValueError as e:
        raise HengyuError(str(e)) from None
    click.echo(f"two unit vectors at {angle:g} degrees through {layers:,} {activation} layers of width {width:,}")
    click.echo(f"mean and standard deviation over {networks:,} networks")
    for matrices, d in zip(MATRICES, found, strict=True):
        if d.networks < networks:
            dead = networks - d.networks
            click.echo(f"without {dead:,} of the {networks:,} {matrices} networks, in which ReLU made a vector 0")
    click.echo("         norm                                angle in degrees")
    click.echo("  layer  normal          orthogonal          theory  normal         orthogonal")
    shown = sorted({0, 1, layers, *(2**k for k in range(1, 11) if 2**k < layers)})
    now, expected = math.radians(angle), [angle]
    for _ in range(layers):
        now = angle_after(now, activation)
        expected.append(math.degrees(now))
    for at in shown:
        norms = [f"{d.norm[at]:.3f} +- {d.norm_sd[at]:.3f}" for d in found]
        angles = [f"{math.degrees(d.angle[at]):6.2f} +- {math.degrees(d.angle_sd[at]):.2f}" for d in found]
        click.echo(f"  {at:>5}  {norms[0]}  {norms[1]}      {expected[at]:6.2f}  {angles[0]:<14} {angles[1]}")
    if activation == "linear":
        mean, spread = norm_spread(width, layers)
        turned = math.sin(math.radians(angle)) ** 2 / math.sqrt(width)
        click.echo(
            f"theory of normal matrices: log of the norm {mean:+.4f} +- {spread:.4f} after {layers:,} layers; a layer turns the\n"
            f"cosine c of a pair by a deviation of (1 - c^2) / sqrt(width) = {turned:.4f}. Orthogonal matrices change neither."
        )
    else:
        click.echo(
            "theory: at infinite width cos a becomes (sin a + (pi - a) cos a) / pi in every layer, whatever the matrices; ReLU's\n"
            "output is multiplied by sqrt(2), which keeps the mean square."
        )


@command.command("dim")
@options.task_vectors
@click.option(
    "--n", type=click.IntRange(min=2), metavar="N", help="Number of vectors; without it, TASK's sentences are measured."
)
def dim(load: Callable[[], Sentences], n: int | None) -> None:
    """Compare rules for the number of dimensions with real vectors.

    Prints Su's estimate n > 8.33 log N, from the entropy of a skip-gram model, and the Johnson-Lindenstrauss bound. Without
    --n the sentence vectors of MODEL are measured too: their spectrum, and what is left of their cosines in fewer dimensions.
    """
    import math

    from hengyu.base.escapes import plain
    from hengyu.numerics.dimensions import measure_dimensions
    from hengyu.numerics.theory import entropy_dim, jl_dim

    loaded = load() if n is None else None
    number = len(loaded.x) if loaded is not None else n or 0
    least, rule = entropy_dim(number), 8.33 * math.log(number)
    click.echo(f"N = {number:,} vectors")
    click.echo(f"  entropy of a skip-gram model below 0       dim {least:,} (8.33 log N = {rule:.1f})")
    for eps in (0.1, 0.3, 0.5):
        kept = jl_dim(number, eps, inner=True)
        click.echo(f"  Johnson-Lindenstrauss, inner products +-{eps}  dim {kept:,}, except with probability 1/N")
    click.echo(
        "The first says how many words a model of exp(<u, v>) can tell apart, its vectors spread evenly over a sphere; it is an\n"
        "order of magnitude, not a bound. The second is a bound for any vectors and a random projection, so it is far too large."
    )
    if loaded is None:
        return
    width = loaded.x.shape[1]
    powers = [2**p for p in range(3, width.bit_length())]
    dims = sorted({d for d in (*powers, least, width) if d <= width})
    found = measure_dimensions(loaded.x, loaded.first, loaded.second, loaded.labels, dims)
    click.echo(
        plain(f"measured: {loaded.encoder}, {loaded.pooling}, {loaded.task}, {number:,} vectors of {width}, centred")
    )
    held = ", ".join(f"{100 * share:g} % in {axes}" for share, axes in found.holding.items())
    click.echo(f"  effective rank {found.effective_rank:.1f}; variance: {held} principal axes")
    click.echo("         principal axes (pca)      random axes (jl, mean of 5 draws)")
    click.echo("    dim  change   Spearman x 100   change   Spearman x 100")
    for k in found.kept:
        rows = (f"{c:.3f}    {100 * s:6.2f}" for c, s in zip(k.change, k.score, strict=True))
        mark = "  <- 8.33 log N" if k.dim == least else ""
        click.echo(f"  {k.dim:>5}  {'           '.join(rows)}{mark}")
    click.echo(
        f"  all dimensions: Spearman {100 * found.score:.2f}; change: of the cosine, 95 % of random pairs change less"
    )
    for eps in (0.1, 0.3):
        by = [found.enough(eps, column) for column in (0, 1)]
        shown = ["more than measured" if d is None else f"{d:,}" for d in by]
        click.echo(f"  95 % of the cosines within +-{eps}: {shown[0]} principal axes, {shown[1]} random ones")
