"""What measures drift: `drift.py` tells what that is and is its command line.

    digits.py     the problem: a network and its images
    run.py        a run of a rule's reference, recorded and repeated
    binary.py     what is asked of `fallline`
    codes.py      the nearest codes of int8, found in f64
    measure.py    one rule, in every way that is asked for
    tables.py     the results as text
"""
