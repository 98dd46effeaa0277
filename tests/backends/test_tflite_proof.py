"""What the TFLite back end takes for proof: honest accounts of the runtime hold, planted lies do not."""

from __future__ import annotations

import pytest

from edgekit.backends.tflite import TFLiteBackend
from edgekit.core.evidence import Account
from edgekit.core.types import Precision, QuantPlan
from tests.backends.accounts import account

FP32, FP16, INT8 = QuantPlan(Precision.FP32), QuantPlan(Precision.FP16), QuantPlan(Precision.INT8)
DYNAMIC = QuantPlan(Precision.DYNAMIC)

HONEST = [
    (FP32, account({"float32": 900}, ("CONV_2D", "float32", 1), ("SOFTMAX", "float32", 1))),
    (FP16, account({"float16": 450}, ("CONV_2D", "float32", 1), ("DEQUANTIZE", "float32", 1))),
    (INT8, account({"int8": 225}, ("CONV_2D", "int8", 1), ("FULLY_CONNECTED", "int8", 1), ("SOFTMAX", "float32", 1))),
    (
        QuantPlan(Precision.INT8, (("CONV_2D0", Precision.FP32),)),
        account({"int8": 225, "float32": 90}, ("CONV_2D", "float32", 1), ("FULLY_CONNECTED", "int8", 1)),
    ),
    (DYNAMIC, account({"int8": 225}, ("CONV_2D", "float32×int8", 1), ("SOFTMAX", "float32", 1))),
]
LIES = {
    "float model": (INT8, account({"float32": 900}, ("CONV_2D", "float32", 1)), "no weights are stored as int8"),
    "dynamic range": (INT8, account({"int8": 225}, ("CONV_2D", "float32×int8", 1)), "ran in float32×int8"),
    "static range": (DYNAMIC, account({"int8": 225}, ("CONV_2D", "int8", 1)), "ran in int8"),
    "float called dynamic": (DYNAMIC, account({"float32": 900}, ("CONV_2D", "float32", 1)), "no weights are stored"),
    "weights only, called dynamic": (DYNAMIC, account({"int8": 225}, ("CONV_2D", "float32", 1)), "ran in float32"),
    "weights only": (INT8, account({"int8": 225}, ("CONV_2D", "float32", 1)), "nothing ran in int8"),
    "one layer fell back": (
        INT8,
        account({"int8": 225}, ("CONV_2D", "float32", 1), ("FULLY_CONNECTED", "int8", 1)),
        "CONV_2D0/part ran in float32",
    ),
    "float32 claimed fp16": (FP16, account({"float32": 900}, ("CONV_2D", "float32", 1)), "no weights are stored"),
    "int8 claimed fp16": (FP16, account({"int8": 225}, ("CONV_2D", "int8", 1)), "ran in int8"),
    "fp16 claimed fp32": (FP32, account({"float16": 450}, ("CONV_2D", "float32", 1)), "stored as float16"),
    "more float layers than the plan has": (
        QuantPlan(Precision.INT8, (("CONV_2D0", Precision.FP32),)),
        account(
            {"int8": 9, "float32": 9},
            ("CONV_2D", "float32", 1),
            ("BATCH_MATMUL", "float32", 1),
            ("FULLY_CONNECTED", "int8", 1),
        ),
        "BATCH_MATMUL0/part ran in float32",
    ),
}


@pytest.mark.parametrize(("plan", "given"), HONEST)
def test_an_honest_account_is_proved(plan: QuantPlan, given: Account) -> None:
    assert TFLiteBackend().prove(plan, given).violations == ()


@pytest.mark.parametrize("lie", LIES)
def test_a_planted_lie_is_found(lie: str) -> None:
    plan, given, violation = LIES[lie]
    assert violation in "; ".join(TFLiteBackend().prove(plan, given).violations)
