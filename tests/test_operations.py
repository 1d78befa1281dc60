"""Every differentiable function of jax.numpy, jax.nn, jax.scipy and jax.lax, one sample argument each.

Each function g stands in f(x) = sum(w (g(x)^2 + g(x))). The fast test asks the planner's own choice about many functions at
once; the slow one every strategy about each.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import jax.scipy as jsp
import numpy as np
import pytest
from oracles import assert_close, check_every_verb

import nablax as nb

Function = Callable[..., Any]

REAL = np.array([0.53, -1.21, 0.84, 2.13])
POSITIVE = np.array([0.55, 1.32, 0.87, 2.1])
UNIT = np.array([0.31, -0.62, 0.17, 0.74])
PROBABILITY = np.array([0.31, 0.62, 0.17, 0.74])
MATRIX = np.array([[2.3, 0.4, -0.2], [0.1, 1.9, 0.5], [-0.3, 0.2, 2.8]])
TABLE = np.array([[0.53, -1.21, 0.84], [2.13, 0.37, -0.66]])
INDEX = np.array([2, 0, 2])
MASK = np.array([True, False, True, True])


def symmetric(a: Any) -> Any:
    return a + a.T


def named(module: Any, names: str) -> dict[str, Function]:
    """Functions of a module that take one array; one that this version of JAX lacks is left out."""
    return {name: getattr(module, name) for name in names.split() if hasattr(module, name)}


def prefixed(prefix: str, functions: dict[str, Function]) -> dict[str, Function]:
    return {f"{prefix}.{name}": function for name, function in functions.items()}


ON_REALS: dict[str, Function] = {
    **prefixed(
        "numpy",
        named(
            jnp,
            "abs absolute fabs negative positive sin cos tan sinh cosh tanh arctan arcsinh exp exp2 expm1 square cbrt "
            "sinc sign floor ceil trunc rint round fix deg2rad rad2deg degrees radians nan_to_num real conj i0 "
            "cumsum cumprod nancumsum nancumprod sum prod mean std var max min nansum nanprod nanmean nanstd nanvar "
            "nanmax nanmin median nanmedian ptp average sort diff gradient flip flipud ravel atleast_1d atleast_2d "
            "atleast_3d diag diagflat ediff1d trapezoid unwrap vander logaddexp2 squeeze cov angle",
        ),
    ),
    "numpy.add": lambda x: jnp.add(x, x[::-1]),
    "numpy.subtract": lambda x: jnp.subtract(x, x[::-1] ** 2),
    "numpy.multiply": lambda x: jnp.multiply(x, x[::-1]),
    "numpy.divide": lambda x: jnp.divide(x, 3.0 + x[::-1]),
    "numpy.true_divide": lambda x: jnp.true_divide(x, 3.0 + x[::-1]),
    "numpy.floor_divide": lambda x: x * jnp.floor_divide(x, 0.7),
    "numpy.mod": lambda x: jnp.mod(x, 0.7),
    "numpy.remainder": lambda x: jnp.remainder(x, 3.0 + x[::-1]),
    "numpy.fmod": lambda x: jnp.fmod(x, 0.7),
    "numpy.divmod": lambda x: jnp.divmod(x, 0.7)[1],
    "numpy.modf": lambda x: jnp.modf(x)[0],
    "numpy.frexp": lambda x: jnp.frexp(x)[0],
    "numpy.ldexp": lambda x: jnp.ldexp(x, np.array([1, 2, 0, 3])),
    "numpy.power": lambda x: jnp.power(x, 3),
    "numpy.float_power": lambda x: jnp.float_power(x**2 + 0.1, x),
    "numpy.maximum": lambda x: jnp.maximum(x, x[::-1]),
    "numpy.minimum": lambda x: jnp.minimum(x, x[::-1]),
    "numpy.fmax": lambda x: jnp.fmax(x, x[::-1] ** 2),
    "numpy.fmin": lambda x: jnp.fmin(x, x[::-1] ** 2),
    "numpy.clip": lambda x: jnp.clip(x, -1.0, 1.0),
    "numpy.copysign": lambda x: jnp.copysign(x, -1.0),
    "numpy.heaviside": lambda x: x * jnp.heaviside(x, 0.5),
    "numpy.hypot": lambda x: jnp.hypot(x, x[::-1]),
    "numpy.arctan2": lambda x: jnp.arctan2(x, x[::-1]),
    "numpy.logaddexp": lambda x: jnp.logaddexp(x, x[::-1]),
    "numpy.logaddexp2": lambda x: jnp.logaddexp2(x, x[::-1]),
    "numpy.where": lambda x: jnp.where(x > 0, x**2, x),
    "numpy.select": lambda x: jnp.select([x < 0, x < 1], [x**2, x**3], x),
    "numpy.piecewise": lambda x: jnp.piecewise(x, [x < 0, x >= 1], [lambda x: x**2, lambda x: x**3, jnp.sin]),
    "numpy.choose": lambda x: jnp.choose(np.array([0, 1, 1, 0]), [x, x**2], mode="clip"),
    "numpy.interp": lambda x: jnp.interp(x, jnp.arange(-3.0, 4.0), jnp.arange(7.0) ** 2),
    "numpy.convolve": lambda x: jnp.convolve(x, x[:2]),
    "numpy.correlate": lambda x: jnp.correlate(x, x[:2]),
    "numpy.dot": lambda x: jnp.dot(x, x),
    "numpy.vdot": lambda x: jnp.vdot(x, x),
    "numpy.inner": lambda x: jnp.inner(x, x[::-1]),
    "numpy.outer": lambda x: jnp.outer(x, x),
    "numpy.kron": lambda x: jnp.kron(x, x[:2]),
    "numpy.cross": lambda x: jnp.cross(x[:3], x[1:]),
    "numpy.tensordot": lambda x: jnp.tensordot(x, x, 1),
    "numpy.vecdot": lambda x: jnp.vecdot(x, x),
    "numpy.einsum": lambda x: jnp.einsum("i,j->ij", x, x),
    "numpy.polyval": lambda x: jnp.polyval(x, 0.7),
    "numpy.polymul": lambda x: jnp.polymul(x, x[:2]),
    "numpy.polyder": lambda x: jnp.polyder(x),
    "numpy.polyint": lambda x: jnp.polyint(x),
    "numpy.polyadd": lambda x: jnp.polyadd(x, x[:2]),
    "numpy.percentile": lambda x: jnp.percentile(x, 30.0),
    "numpy.quantile": lambda x: jnp.quantile(x, 0.6),
    "numpy.sum(where)": lambda x: jnp.sum(x, where=MASK),
    "numpy.mean(where)": lambda x: jnp.mean(x, where=x < 1.0),
    "numpy.prod(where)": lambda x: jnp.prod(x, where=MASK),
    "numpy.max(where)": lambda x: jnp.max(x, where=MASK, initial=-9.0),
    "numpy.std(where)": lambda x: jnp.std(x, where=MASK),
    "numpy.append": lambda x: jnp.append(x, x[:2]),
    "numpy.concatenate": lambda x: jnp.concatenate([x, x]),
    "numpy.stack": lambda x: jnp.stack([x, x**2]),
    "numpy.hstack": lambda x: jnp.hstack([x, x**2]),
    "numpy.vstack": lambda x: jnp.vstack([x, x**2]),
    "numpy.dstack": lambda x: jnp.dstack([x, x**2]),
    "numpy.column_stack": lambda x: jnp.column_stack([x, x**2]),
    "numpy.block": lambda x: jnp.block([[x], [x**2]]),
    "numpy.tile": lambda x: jnp.tile(x, (2, 3)),
    "numpy.repeat": lambda x: jnp.repeat(x, 2),
    "numpy.roll": lambda x: jnp.roll(x, 1),
    "numpy.reshape": lambda x: jnp.reshape(x, (2, 2)),
    "numpy.resize": lambda x: jnp.resize(x, (3, 2)),
    "numpy.expand_dims": lambda x: jnp.expand_dims(x, 0),
    "numpy.broadcast_to": lambda x: jnp.broadcast_to(x, (2, 4)),
    "numpy.meshgrid": lambda x: jnp.meshgrid(x, x[:2])[0],
    "numpy.split": lambda x: jnp.split(x, 2)[1],
    "numpy.array_split": lambda x: jnp.array_split(x, 3)[0],
    "numpy.pad": lambda x: jnp.pad(x, 2),
    "numpy.pad reflect": lambda x: jnp.pad(x, 2, mode="reflect"),
    "numpy.pad edge": lambda x: jnp.pad(x, 2, mode="edge"),
    "numpy.pad wrap": lambda x: jnp.pad(x, 2, mode="wrap"),
    "numpy.pad linear_ramp": lambda x: jnp.pad(x, 2, mode="linear_ramp"),
    "numpy.pad mean": lambda x: jnp.pad(x, 2, mode="mean"),
    "numpy.delete": lambda x: jnp.delete(x, 1),
    "numpy.insert": lambda x: jnp.insert(x, 1, x[0] ** 2),
    "numpy.take": lambda x: jnp.take(x, INDEX),
    "numpy.take_along_axis": lambda x: jnp.take_along_axis(x, INDEX, 0),
    "numpy.put_along_axis": lambda x: jnp.put_along_axis(x, np.array([1]), x[0] ** 2, 0, inplace=False),
    "numpy.compress": lambda x: jnp.compress(MASK, x, size=3),
    "numpy.extract": lambda x: jnp.extract(MASK, x, size=3),
    "numpy.place": lambda x: jnp.place(x, MASK, x[:1] ** 2, inplace=False),
    "numpy.put": lambda x: jnp.put(x, np.array([1]), x[:1] ** 2, inplace=False),
    "numpy.fill_diagonal": lambda x: jnp.fill_diagonal(x.reshape(2, 2), x[0] ** 2, inplace=False),
    "numpy.apply_along_axis": lambda x: jnp.apply_along_axis(jnp.sum, 0, x),
    "numpy.vectorize": lambda x: jnp.vectorize(jnp.sin)(x),
    "numpy.linspace": lambda x: jnp.linspace(x[0], x[1], 3),
    "numpy.logspace": lambda x: jnp.logspace(x[0], x[1], 3),
    "numpy.geomspace": lambda x: jnp.geomspace(1.0 + x[0] ** 2, 3.0, 3),
    "numpy.argmax": lambda x: x[jnp.argmax(x)],
    "numpy.searchsorted": lambda x: x * jnp.searchsorted(np.array([0.0, 1.0]), x),
    "numpy.histogram": lambda x: x * jnp.histogram(np.ones(4), bins=4)[0],
    "numpy.corrcoef": lambda x: jnp.corrcoef(x, x**2),
    "numpy.nanpercentile": lambda x: jnp.nanpercentile(x, 30.0),
    "numpy.fft.fft": lambda x: jnp.abs(jnp.fft.fft(x)),
    "numpy.fft.ifft": lambda x: jnp.real(jnp.fft.ifft(x)),
    "numpy.fft.rfft": lambda x: jnp.real(jnp.fft.rfft(x)),
    "numpy.fft.irfft": lambda x: jnp.fft.irfft(x),
    "numpy.fft.fftshift": lambda x: jnp.fft.fftshift(x),
    "x[i] = v": lambda x: x.at[1].set(x[0] * x[2]),
    "x[i] += v, repeated": lambda x: x.at[INDEX].add(x[:3] ** 2),
    "x[i] *= v": lambda x: x.at[np.array([1, 3])].multiply(x[:2], unique_indices=True),
    "x[i] /= v": lambda x: x.at[1].divide(x[0]),
    "x[i] **= v": lambda x: x.at[1].power(2),
    "x[i] max= v": lambda x: x.at[1].max(x[0]),
    "x[i] min= v": lambda x: x.at[1].min(x[0]),
    **prefixed(
        "nn",
        named(
            jax.nn,
            "relu relu6 sigmoid softplus soft_sign silu swish log_sigmoid leaky_relu hard_sigmoid hard_silu hard_swish "
            "hard_tanh elu celu selu gelu squareplus mish sparse_plus sparse_sigmoid softmax log_softmax logsumexp "
            "standardize identity tanh logmeanexp",
        ),
    ),
    "nn.gelu exact": lambda x: jax.nn.gelu(x, approximate=False),
    "nn.glu": lambda x: jax.nn.glu(x),
    "nn.one_hot": lambda x: x @ jax.nn.one_hot(np.array([1, 0, 2, 1]), 3),
    "nn.softmax(where)": lambda x: jax.nn.softmax(x, where=MASK),
    "nn.logsumexp(b)": lambda x: jax.nn.logsumexp(x, b=np.array([1.0, 2.0, 0.5, 1.0])),
    "nn.dot_product_attention": lambda x: jax.nn.dot_product_attention(*[x.reshape(1, 2, 1, 2)] * 3),
    **prefixed("special", named(jsp.special, "erf erfc i0 i0e i1 i1e expit log_ndtr ndtr logsumexp sinc log_softmax softmax")),
    **prefixed("stats.norm", named(jsp.stats.norm, "pdf logpdf cdf logcdf sf logsf")),
    **prefixed("stats.logistic", named(jsp.stats.logistic, "pdf logpdf cdf sf")),
    **prefixed("stats.cauchy", named(jsp.stats.cauchy, "pdf logpdf cdf sf logcdf logsf")),
    **prefixed("stats.laplace", named(jsp.stats.laplace, "pdf logpdf cdf")),
    **prefixed("stats.gumbel_r", named(getattr(jsp.stats, "gumbel_r", object()), "pdf logpdf cdf sf")),
    "stats.t.logpdf": lambda x: jsp.stats.t.logpdf(x, 3.0),
    "stats.truncnorm.logpdf": lambda x: jsp.stats.truncnorm.logpdf(x, -3.0, 3.0),
    "stats.multivariate_normal.logpdf": lambda x: jsp.stats.multivariate_normal.logpdf(x[:2], jnp.zeros(2), jnp.eye(2)),
    "stats.sem": lambda x: jsp.stats.sem(x),
    "stats.gaussian_kde": lambda x: jsp.stats.gaussian_kde(x)(np.array([0.1])),
    "stats.uniform.logpdf": lambda x: x * jsp.stats.uniform.logpdf(x, -3.0, 9.0),
    "signal.convolve": lambda x: jsp.signal.convolve(x, x[:2]),
    "signal.correlate": lambda x: jsp.signal.correlate(x, x[:2]),
    "signal.fftconvolve": lambda x: jsp.signal.fftconvolve(x, x[:2]),
    "signal.detrend": lambda x: jsp.signal.detrend(x),
    "ndimage.map_coordinates": lambda x: jsp.ndimage.map_coordinates(x, [np.array([0.3, 1.6])], 1),
    "fft.dct": lambda x: jsp.fft.dct(x),
    "fft.idct": lambda x: jsp.fft.idct(x),
    "integrate.trapezoid": lambda x: jsp.integrate.trapezoid(x**2),
    **prefixed("lax", named(jax.lax, "abs neg sin cos tan sinh cosh tanh asinh atan exp exp2 expm1 logistic square cbrt erf erfc sign floor ceil round cumsum cumprod cummax cummin cumlogsumexp sort bessel_i0e bessel_i1e stop_gradient")),
    "lax.add": lambda x: jax.lax.add(x, x[::-1]),
    "lax.sub": lambda x: jax.lax.sub(x, x[::-1] ** 2),
    "lax.mul": lambda x: jax.lax.mul(x, x[::-1]),
    "lax.div": lambda x: jax.lax.div(x, 3.0 + x[::-1]),
    "lax.rem": lambda x: jax.lax.rem(x, 3.0 + x[::-1]),
    "lax.max": lambda x: jax.lax.max(x, x[::-1]),
    "lax.atan2": lambda x: jax.lax.atan2(x, x[::-1]),
    "lax.clamp": lambda x: jax.lax.clamp(-1.0, x, 1.0),
    "lax.integer_pow": lambda x: jax.lax.integer_pow(x, 4),
    "lax.select": lambda x: jax.lax.select(x > 0, x**2, x),
    "lax.concatenate": lambda x: jax.lax.concatenate([x, x**2], 0),
    "lax.pad": lambda x: jax.lax.pad(x, 0.0, [(1, -1, 1)]),
    "lax.rev": lambda x: jax.lax.rev(x, (0,)),
    "lax.dynamic_slice": lambda x: jax.lax.dynamic_slice(x, (jnp.argmax(x) - 2,), (2,)),
    "lax.dynamic_update_slice": lambda x: jax.lax.dynamic_update_slice(x, x[:2] ** 2, (1,)),
    "lax.dynamic_update_slice, moving": lambda x: jax.lax.dynamic_update_slice(x, x[:2] ** 2, (jnp.argmin(x),)),
    "lax.reduce": lambda x: jax.lax.reduce(x, 0.0, jax.lax.add, (0,)),
    "lax.reduce_window add": lambda x: jax.lax.reduce_window(x, 0.0, jax.lax.add, (2,), (1,), "SAME"),
    "lax.reduce_window max": lambda x: jax.lax.reduce_window(x, -jnp.inf, jax.lax.max, (2,), (2,), "VALID"),
    "lax.reduce_precision": lambda x: jax.lax.reduce_precision(x, 11, 52),
    "lax.convert_element_type": lambda x: jax.lax.convert_element_type(x, jnp.float32).astype(x.dtype),
    "lax.top_k": lambda x: jax.lax.top_k(x, 2)[0],
    "lax.sort_key_val": lambda x: jax.lax.sort_key_val(x, x[::-1])[1],
    "lax.associative_scan": lambda x: jax.lax.associative_scan(jnp.multiply, x),
    "lax.scan": lambda x: jax.lax.scan(lambda c, a: (jnp.sin(c * a), c * a), x[0], x)[1],
    "lax.fori_loop": lambda x: jax.lax.fori_loop(0, 3, lambda _, a: jnp.sin(a) * x, x),
    "lax.map": lambda x: jax.lax.map(jnp.sin, x),
    "lax.cond": lambda x: jax.lax.cond(x[0] > 0, jnp.sin, jnp.cos, x),
    "lax.switch": lambda x: jax.lax.switch(1, [jnp.sin, jnp.cos], x),
    "lax.custom_root": lambda x: jax.lax.custom_root(
        lambda r: r**3 + r - x,
        jnp.zeros_like(x),
        lambda f, r: jax.lax.fori_loop(0, 40, lambda _, r: r - f(r) / (3 * r**2 + 1), r),
        lambda g, y: y / g(jnp.ones_like(y)),
    ),
    "lax.custom_linear_solve": lambda x: jax.lax.custom_linear_solve(
        lambda v: (3.0 + x**2) * v, jnp.sin(x), lambda _, b: b / (3.0 + x**2), symmetric=True
    ),
    "checkpoint": lambda x: jax.checkpoint(lambda x: jnp.sin(x) * x)(x),
    "ops.segment_sum": lambda x: jax.ops.segment_sum(x, np.array([0, 2, 2, 1]), 3),
    "ops.segment_max": lambda x: jax.ops.segment_max(x, np.array([0, 2, 2, 1]), 3),
    "random.bernoulli, split": lambda x: x * jax.random.bernoulli(jax.random.split(jax.random.key(0))[1], 0.5, (4,)),
    "random.normal, folded": lambda x: x + jax.random.normal(jax.random.fold_in(jax.random.key(0), 1), (4,)),
    "image.resize": lambda x: jax.image.resize(x.reshape(2, 2), (3, 3), "linear"),
}  # fmt: skip
ON_POSITIVES: dict[str, Function] = {
    **prefixed("numpy", named(jnp, "sqrt log log2 log10 log1p reciprocal")),
    **prefixed("nn", named(jax.nn, "log1mexp")),
    "numpy.power": lambda x: jnp.power(x, x[::-1]),
    "numpy.arccosh": lambda x: jnp.arccosh(1.0 + x),
    "lax.rsqrt": jax.lax.rsqrt,
    "lax.pow": lambda x: jax.lax.pow(x, x[::-1]),
    **prefixed("lax", named(jax.lax, "sqrt log log1p lgamma digamma")),
    "lax.igamma": lambda x: jax.lax.igamma(1.7, x),
    "lax.igammac": lambda x: jax.lax.igammac(1.7, x),
    "lax.polygamma": lambda x: jax.lax.polygamma(1.0, x),
    **prefixed("special", named(jsp.special, "gammaln digamma entr loggamma gamma expi log1p")),
    "special.gammainc": lambda x: jsp.special.gammainc(1.7, x),
    "special.gammaincc": lambda x: jsp.special.gammaincc(1.7, x),
    "special.polygamma": lambda x: jsp.special.polygamma(1, x),
    "special.zeta": lambda x: jsp.special.zeta(2.5, x),
    "special.betaln": lambda x: jsp.special.betaln(x, x[::-1]),
    "special.beta": lambda x: jsp.special.beta(x, x[::-1]),
    "special.kl_div": lambda x: jsp.special.kl_div(x, x[::-1]),
    "special.rel_entr": lambda x: jsp.special.rel_entr(x, x[::-1]),
    "special.xlogy": lambda x: jsp.special.xlogy(x, x[::-1]),
    "special.xlog1py": lambda x: jsp.special.xlog1py(x, x[::-1]),
    "special.multigammaln": lambda x: jsp.special.multigammaln(x + 1.0, 2),
    "special.poch": lambda x: jsp.special.poch(x, 1.5),
    "special.hyp1f1": lambda x: jsp.special.hyp1f1(1.2, 2.3, x),
    "special.rel_entr, itself": lambda x: jsp.special.rel_entr(x, 2.0),
    "stats.gamma.logpdf": lambda x: jsp.stats.gamma.logpdf(x, 1.7),
    "stats.gamma.cdf": lambda x: jsp.stats.gamma.cdf(x, 1.7),
    "stats.chi2.logpdf": lambda x: jsp.stats.chi2.logpdf(x, 3.0),
    "stats.expon.logpdf": lambda x: x * jsp.stats.expon.logpdf(x),
    "stats.pareto.logpdf": lambda x: jsp.stats.pareto.logpdf(x + 1.0, 2.0),
    "stats.poisson.logpmf": lambda x: jsp.stats.poisson.logpmf(2, x),
    "stats.nbinom.logpmf": lambda x: jsp.stats.nbinom.logpmf(2, x, 0.4),
    "stats.dirichlet.logpdf": lambda x: jsp.stats.dirichlet.logpdf(np.full(4, 0.25), x),
}
ON_THE_UNIT_INTERVAL: dict[str, Function] = {
    **prefixed("numpy", named(jnp, "arcsin arccos arctanh arcsinh")),
    **prefixed("lax", named(jax.lax, "asin acos atanh erf_inv")),
    "special.erfinv": jsp.special.erfinv,
}
ON_PROBABILITIES: dict[str, Function] = {
    "special.ndtri": jsp.special.ndtri,
    "special.logit": jsp.special.logit,
    "special.betainc": lambda x: jsp.special.betainc(1.3, 2.1, x),
    "lax.betainc": lambda x: jax.lax.betainc(1.3, 2.1, x),
    "stats.beta.logpdf": lambda x: jsp.stats.beta.logpdf(x, 1.3, 2.1),
    "stats.norm.ppf": jsp.stats.norm.ppf,
    "stats.logistic.ppf": jsp.stats.logistic.ppf,
    "stats.bernoulli.logpmf": lambda x: jsp.stats.bernoulli.logpmf(1, x),
    "stats.binom.logpmf": lambda x: jsp.stats.binom.logpmf(2, 5, x),
    "stats.geom.logpmf": lambda x: jsp.stats.geom.logpmf(2, x),
    "stats.cauchy.ppf": lambda x: jsp.stats.cauchy.ppf(x),
}
ON_MATRICES: dict[str, Function] = {
    **prefixed("linalg", named(jnp.linalg, "inv det pinv norm matrix_norm vector_norm trace diagonal matrix_transpose")),
    "linalg.slogdet": lambda a: jnp.linalg.slogdet(a)[1],
    "linalg.solve": lambda a: jnp.linalg.solve(a, a[0]),
    "linalg.solve, matrix": lambda a: jnp.linalg.solve(a, a.T),
    "linalg.cholesky": lambda a: jnp.linalg.cholesky(symmetric(a)),
    "linalg.eigvalsh": lambda a: jnp.linalg.eigvalsh(symmetric(a)),
    "linalg.eigh": lambda a: jnp.linalg.eigh(symmetric(a))[0],
    "linalg.svd": lambda a: jnp.linalg.svd(a, compute_uv=False),
    "linalg.qr": lambda a: jnp.linalg.qr(a)[1],
    "linalg.matrix_power": lambda a: jnp.linalg.matrix_power(a, 3),
    "linalg.multi_dot": lambda a: jnp.linalg.multi_dot([a, a, a]),
    "linalg.lstsq": lambda a: jnp.linalg.lstsq(a, np.ones(3))[0],
    "linalg.tensorinv": lambda a: jnp.linalg.tensorinv(a, ind=1),
    "linalg.cond": lambda a: jnp.linalg.cond(a),
    "linalg.norm nuc": lambda a: jnp.linalg.norm(a, "nuc"),
    "linalg.norm 2": lambda a: jnp.linalg.norm(a, 2),
    "scipy.linalg.expm": jsp.linalg.expm,
    "scipy.linalg.inv": jsp.linalg.inv,
    "scipy.linalg.det": jsp.linalg.det,
    "scipy.linalg.solve": lambda a: jsp.linalg.solve(a, a[0]),
    "scipy.linalg.solve pos": lambda a: jsp.linalg.solve(symmetric(a), a[0], assume_a="pos"),
    "scipy.linalg.solve_triangular": lambda a: jsp.linalg.solve_triangular(a, a[0], lower=True),
    "scipy.linalg.cho_solve": lambda a: jsp.linalg.cho_solve(jsp.linalg.cho_factor(symmetric(a)), a[0]),
    "scipy.linalg.lu": lambda a: jsp.linalg.lu(a)[2],
    "scipy.linalg.lu_solve": lambda a: jsp.linalg.lu_solve(jsp.linalg.lu_factor(a), a[0]),
    "scipy.linalg.block_diag": lambda a: jsp.linalg.block_diag(a, a[:2, :2]),
    "scipy.linalg.toeplitz": lambda a: jsp.linalg.toeplitz(a[0]),
    "numpy.matmul": lambda a: jnp.matmul(a, a.T),
    "numpy.trace": jnp.trace,
    "numpy.diagonal": lambda a: jnp.diagonal(a, 1),
    "numpy.tril": jnp.tril,
    "numpy.triu": lambda a: jnp.triu(a, 1),
    "numpy.rot90": jnp.rot90,
    "numpy.fliplr": jnp.fliplr,
    "numpy.transpose": jnp.transpose,
    "numpy.swapaxes": lambda a: jnp.swapaxes(a, 0, 1),
    "numpy.rollaxis": lambda a: jnp.rollaxis(a, 1),
    "numpy.cumsum, axis": lambda a: jnp.cumsum(a, 1),
    "numpy.sort, axis": lambda a: jnp.sort(a, 0),
    "numpy.cov": lambda a: jnp.cov(a),
    "numpy.ix_": lambda a: a[jnp.ix_(np.array([0, 2]), np.array([1, 1]))],
    "numpy.convolve2d": lambda a: jsp.signal.convolve2d(a, a[:2, :2]),
    "lax.dot_general": lambda a: jax.lax.dot_general(a, a, (((0,), (1,)), ((), ()))),
    "lax.batch_matmul": lambda a: jax.lax.batch_matmul(a[None], a[None]),
    "lax.conv": lambda a: jax.lax.conv(a[None, None], a[None, None, :2, :2], (1, 1), "SAME"),
    "lax.conv_transpose": lambda a: jax.lax.conv_transpose(a[None, :, :, None], a[:2, :2, None, None], (2, 2), "SAME"),
    "lax.conv, dilated": lambda a: jax.lax.conv_general_dilated(
        a[None, None], a[None, None, :2, :2], (1, 2), [(2, 1), (-1, 3)], (2, 1), (1, 2)
    ),
    "lax.max_pool": lambda a: jax.lax.reduce_window(a, -jnp.inf, jax.lax.max, (2, 2), (1, 1), "SAME"),
    "lax.min_pool": lambda a: jax.lax.reduce_window(a, jnp.inf, jax.lax.min, (2, 2), (2, 1), "SAME"),
    "lax.avg_pool": lambda a: jax.lax.reduce_window(a, 0.0, jax.lax.add, (2, 2), (1, 1), "VALID"),
    "lax.linalg.triangular_solve": lambda a: jax.lax.linalg.triangular_solve(a, a, left_side=True, lower=True),
    "lax.linalg.householder": lambda a: jnp.linalg.qr(a, mode="complete")[0] ** 2,
    "ndimage": lambda a: jsp.ndimage.map_coordinates(a, [np.array([0.3]), np.array([1.2])], 1),
    "vmap": lambda a: jax.vmap(lambda r: jnp.sin(r) @ r)(a),
    "vmap of cholesky": lambda a: jax.vmap(jnp.linalg.cholesky)(jnp.stack([symmetric(a), 2.0 * symmetric(a)])),
}  # fmt: skip
FAMILIES = {
    "reals": (ON_REALS, REAL),
    "positives": (ON_POSITIVES, POSITIVE),
    "unit interval": (ON_THE_UNIT_INTERVAL, UNIT),
    "probabilities": (ON_PROBABILITIES, PROBABILITY),
    "matrices": (ON_MATRICES, MATRIX),
}
CASES = [(family, name) for family, (functions, _) in FAMILIES.items() for name in functions]


# Some compute in single precision inside, whatever their argument is.
SINGLE = {"nn.dot_product_attention", "lax.convert_element_type"}


def tolerance(*names: str) -> float:
    return 1e-4 if SINGLE & set(names) else 1e-7


def total(function: Function, x: Any) -> Any:
    """A weighted sum of the squares of the function's value, and of the value: the square of a root alone is flat."""
    value = jnp.asarray(function(x))
    weights = np.cos(np.arange(1.0, value.size + 1.0)).reshape(value.shape)
    return jnp.sum(weights * (value**2 + value))


GROUP = 12
GROUPS = [(family, start) for family, (functions, _) in FAMILIES.items() for start in range(0, len(functions), GROUP)]


@pytest.mark.parametrize(("family", "start"), GROUPS, ids=[f"{family} {start}" for family, start in GROUPS])
def test_many_at_once(family: str, start: int) -> None:
    functions, x = FAMILIES[family]
    chosen = dict(list(functions.items())[start : start + GROUP])
    v = np.sin(np.arange(1.0, x.size + 1.0)).reshape(x.shape)

    def f(x: Any) -> Any:
        return sum(total(function, x) for function in chosen.values())

    want = np.asarray(jax.jit(jax.hessian(f))(x)).reshape(x.size, x.size)
    got = jax.jit(lambda x: (nb.hvp(f)(x, v), nb.hessian_diagonal(f)(x)))(x)
    assert_close(np.ravel(got[0]), want @ np.ravel(v), what=", ".join(chosen), tolerance=tolerance(*chosen))
    assert_close(np.ravel(got[1]), np.diag(want), what=", ".join(chosen), tolerance=tolerance(*chosen))


@pytest.mark.exhaustive
@pytest.mark.parametrize(("family", "name"), CASES, ids=[f"{name}" for _, name in CASES])
def test_every_strategy(family: str, name: str) -> None:
    functions, x = FAMILIES[family]
    check_every_verb(lambda x: total(functions[name], x), x, tolerance=tolerance(name))
