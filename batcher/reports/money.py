"""How is money written? With the digits that matter."""

from __future__ import annotations

from decimal import Decimal


def dollars(amount: Decimal) -> str:
    """Write US dollars with the digits that matter: cents from a dollar on, four significant below; no exponent."""
    if not amount or abs(amount) >= 1:
        return f"${amount:,.2f}"
    whole, _, cents = f"{amount:.{3 - amount.adjusted()}f}".partition(".")
    return f"${whole}.{cents[:2]}{cents[2:].rstrip('0')}"


def roughly(amount: Decimal) -> str:
    """Write US dollars that are a guess: three significant digits."""
    rounded = Decimal(f"{amount:.3g}")
    return dollars(rounded).removesuffix(".00") if rounded >= 100 else dollars(rounded)
