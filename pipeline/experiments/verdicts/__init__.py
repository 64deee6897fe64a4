"""Verdicts on all claims of the paper, from the rows under the results folder: `presyn verify`.

Each experiment's `claims` says what is found on its claims; here they are decided, put together claim by claim, and written.
"""
