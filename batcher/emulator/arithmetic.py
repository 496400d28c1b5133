"""What does a calculation written in a prompt come to?"""

from __future__ import annotations

import ast
import operator
import re
from collections.abc import Callable
from fractions import Fraction

_WORDS = (
    ("multiplied by", "*"),
    ("divided by", "/"),
    ("to the power of", "**"),
    ("plus", "+"),
    ("minus", "-"),
    ("times", "*"),
    ("\u00d7", "*"),  # multiplication sign
    ("\u00b7", "*"),  # middle dot
    ("\u00f7", "/"),  # division sign
    ("\u2212", "-"),  # minus sign
    ("^", "**"),
)
_CUE = re.compile(r"what(?:'s| is)|comput|calculat|evaluat|how much is|work out|solve|=\s*\??\s*$", re.IGNORECASE)
_NUMBER = r"\d[\d,]*(?:\.\d+)?"
_FORMULA = re.compile(rf"\(*\s*-?\s*{_NUMBER}(?:\s*\)*\s*(?:\*\*|[-+*/x%])\s*\(*\s*-?\s*{_NUMBER})+\s*\)*")
_OPERATORS: dict[type[ast.AST], Callable[[Fraction, Fraction], Fraction | float]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
    ast.Mod: operator.mod,
}
_DIGIT = re.compile(r"\d")
_LONGEST = 200


def result_of(prompt: str) -> str | None:
    """The result of the first calculation a prompt asks for, as text; None when it asks for none.

    Exact; a fraction that is not finite is rounded to six decimals. `What is 17 * 23?` gives `391`.
    """
    if not _DIGIT.search(prompt):
        return None
    bare = _FORMULA.fullmatch(prompt.strip())
    if bare is None and not _CUE.search(prompt):
        return None  # digits alone are no question: dates and telephone numbers hold minus signs
    spoken = prompt
    for word, sign in _WORDS:
        spoken = spoken.replace(word, sign)
    found = _FORMULA.search(spoken)
    if found is None or len(found[0]) > _LONGEST:
        return None
    return _evaluated(found[0].replace(",", "").replace("x", "*").strip())


def _evaluated(formula: str) -> str | None:
    balanced = formula.strip(" ")
    while balanced.count(")") > balanced.count("(") and balanced.endswith(")"):
        balanced = balanced[:-1].rstrip()
    while balanced.count("(") > balanced.count(")") and balanced.startswith("("):
        balanced = balanced[1:].lstrip()
    try:
        value = _value(ast.parse(balanced, mode="eval").body)
    except (SyntaxError, ZeroDivisionError, ValueError):
        return None
    if value.denominator == 1:
        return str(value.numerator)
    return f"{float(value):.6f}".rstrip("0")


def _value(node: ast.AST) -> Fraction:
    match node:
        case ast.Constant(value=int() | float() as number):
            return Fraction(str(number))
        case ast.UnaryOp(op=ast.USub(), operand=operand):
            return -_value(operand)
        case ast.BinOp(left=left, op=ast.Pow(), right=right):
            return _power(_value(left), _value(right))
        case ast.BinOp(left=left, op=sign, right=right) if type(sign) in _OPERATORS:
            return Fraction(_OPERATORS[type(sign)](_value(left), _value(right)))
    raise ValueError("not a calculation")


def _power(base: Fraction, exponent: Fraction) -> Fraction:
    # A prompt must not be able to keep the emulator busy for ever.
    if exponent.denominator != 1 or abs(exponent) > 64 or abs(base) > 10**6:
        raise ValueError("too large")
    return Fraction(base**exponent.numerator)
