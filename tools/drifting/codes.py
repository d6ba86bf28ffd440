"""The nearest codes of int8, found in f64: by fallline's rule, by torchao's, and between these."""

from functools import partial

import numpy
import torch

BLOCK = 256


def book(unsigned):
    """The 256 values of bitsandbytes' dynamic code book, ascending, each an f32."""
    values = [0.0, 1.0]
    for decade in range(7):
        edges = numpy.linspace(0.1, 1.0, 2 ** (decade + unsigned) + 1)
        middles = 10.0 ** (decade - 6) * (edges[:-1] + edges[1:]) / 2
        values += [*middles] if unsigned else [*middles, *-middles]
    return numpy.sort(numpy.float32(values)).astype(numpy.float64)


def nearest_code(values, signed, keeps_nonzero):
    """Round to the nearest code, in blocks of 256, and decode again.

    keeps_nonzero   by fallline's rule; else by torchao's
    """
    codes_of, flat = book(not signed), values.detach().numpy().ravel()
    blocks = numpy.pad(flat, (0, -len(flat) % BLOCK)).reshape(-1, BLOCK)
    absmax = numpy.abs(blocks).max(axis=1, keepdims=True)
    if not keeps_nonzero:
        absmax = numpy.maximum(absmax, numpy.float32(1e-12))
    quotient = blocks.astype(numpy.float64) / numpy.where(absmax > 0, absmax, 1)
    borders = (codes_of[:-1] + codes_of[1:]) / 2
    codes = numpy.searchsorted(borders, quotient, side="right")
    if keeps_nonzero:
        zero = int(numpy.flatnonzero(codes_of == 0)[0])
        negative = numpy.searchsorted(borders, quotient, side="left")
        codes = numpy.where(quotient < 0, numpy.minimum(negative, zero - 1), codes)
        if not signed:
            codes = numpy.where(quotient > 0, numpy.maximum(codes, zero + 1), codes)
    decoded = codes_of[codes].astype(numpy.float32) * absmax
    return torch.from_numpy(decoded.ravel()[:len(flat)]).view_as(values)


fallline = partial(nearest_code, keeps_nonzero=True)
torchao = partial(nearest_code, keeps_nonzero=False)


def torchao_above_zero(values, signed):
    """By torchao's, but what is never negative does not become 0 where it is above."""
    return nearest_code(values, signed, keeps_nonzero=not signed)
