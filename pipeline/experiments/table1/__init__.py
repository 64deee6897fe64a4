"""Table 1: the search's winner and the published settings, the controls, and the published numbers beside ours.

`stage` asks for its runs, `table` makes it of rows, `rows` finds those that claims are tested on, `claims`
tests them: L2 to L26 and L32.
"""
