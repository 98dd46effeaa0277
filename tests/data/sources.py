"""What the tests of data ask for, and how they see it refused."""

from __future__ import annotations

import pytest

from edgekit.core.errors import InvalidInputError
from edgekit.core.types import Layout, TensorSpec
from edgekit.data.opening import open_source
from edgekit.data.source import Request

NHWC = TensorSpec("image", (None, 4, 6, 3), layout=Layout.NHWC)
NCHW = TensorSpec("image", (1, 3, 4, 6), layout=Layout.NCHW)
GREY = TensorSpec("image", (None, 4, 6, 1), layout=Layout.NHWC)
VECTOR = TensorSpec("x", (None, 3))
TEN = (TensorSpec("scores", (None, 10)),)
TWO = (TensorSpec("scores", (None, 2)),)
VALUE = (TensorSpec("value", (None, 1)),)


def request(spec=VECTOR, outputs=TEN, **kwargs):
    return Request((spec,) if isinstance(spec, TensorSpec) else spec, outputs, **kwargs)


def refused(path, req, match) -> InvalidInputError:
    """The error that opening or reading gives."""

    def read_all():
        source = open_source(str(path), req)
        return [source.read(index) for index in range(len(source))]

    with pytest.raises(InvalidInputError, match=match) as caught:
        read_all()
    assert caught.value.blame == "your data"
    assert caught.value.remedy
    return caught.value
