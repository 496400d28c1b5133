"""What can go wrong outside, and what must hold then: the fault catalogue, D01 to D40.

Wire D01 to D17, outage D18, input D19 to D28, process and time D29 to D33, storage D34 to D38, security D39 and D40.
A case is one or several tests named `test_dNN_…`; the first line of a docstring says what must hold.
"""
