"""Draws docs/rule.svg, the picture of the rule in the README: python docs/rule.py > docs/rule.svg"""

INK, SOFT, ORANGE, BLUE, PAPER = "#1d2126", "#6b7480", "#D55E00", "#0072B2", "#ffffff"
RELEASES = (True, False, True, True, False)
"""Whether the synapse on the left releases, step by step; it does so with p = 0.6."""
LARGE = (1, 0, 0, 0, 1, 1, 0, 1, 0, 1, 1, 1, 0, 1, 1, 1, 0, 0, 1, 0)
"""Whether the gradient on the right is large, step by step."""
P_UP, P_DOWN, P_MIN, P_FREEZE = 0.12, 0.08, 0.25, 0.94
"""Of the picture: ten times the steps of the paper, so that they can be seen."""


def text(x: float, y: float, words: str, size: int = 14, colour: str = INK, anchor: str = "start") -> str:
    return f'<text x="{x:g}" y="{y:g}" font-size="{size}" fill="{colour}" text-anchor="{anchor}">{words}</text>'


def line(x1: float, y1: float, x2: float, y2: float, colour: str = INK, width: float = 2, dash: str = "") -> str:
    dashes = f' stroke-dasharray="{dash}"' if dash else ""
    return f'<line x1="{x1:g}" y1="{y1:g}" x2="{x2:g}" y2="{y2:g}" stroke="{colour}" stroke-width="{width:g}"{dashes}/>'


def synapse() -> list[str]:
    """The synapse that releases or does not, once for each training step."""
    parts = [text(20, 32, "A synapse releases with probability p, here 0.6", 16)]
    for i, releases in enumerate(RELEASES):
        x = 62 + 78 * i
        parts.append(text(x, 66, f"step {i + 1}", 12, SOFT, "middle"))
        parts += [
            line(x, 78, x, 116),
            f'<path d="M{x - 20} 136 Q{x - 20} 116 {x} 116 Q{x + 20} 116 {x + 20} 136 Z" fill="{INK}"/>',
        ]
        if releases:
            parts += [f'<circle cx="{x + dx}" cy="{y}" r="4" fill="{ORANGE}"/>' for dx, y in ((-10, 148), (2, 152), (12, 146))]
        parts.append(line(x - 26, 166, x + 26, 166, ORANGE if releases else SOFT, 5))
        parts.append(text(x, 194, "w / p" if releases else "0", 15, ORANGE if releases else SOFT, "middle"))
    parts.append(text(20, 230, "It passes on w / p or nothing: w on average.", 14, SOFT))
    parts.append(text(20, 252, "A release costs energy; a silent synapse costs none.", 14, SOFT))
    return parts


def course() -> list[str]:
    """How p rises and falls over the steps of training."""
    left, right, top, bottom = 520, 870, 60, 216

    def place(step: float, p: float) -> tuple[float, float]:
        return left + (right - left) * step / len(LARGE), bottom - (bottom - top) * p

    parts = [text(480, 32, "Training moves p, one step at a time", 16)]
    for p, name in ((P_MIN, "p_min"), (P_FREEZE, "p_freeze")):
        y = place(0, p)[1]
        parts += [line(left, y, right, y, SOFT, 1, "4 4"), text(left - 6, y + 4, name, 12, SOFT, "end")]
    parts += [line(left, top - 6, left, bottom, INK, 1), line(left, bottom, right, bottom, INK, 1)]
    p, frozen = P_MIN, False
    for step, large in enumerate(LARGE):
        before = p
        if not frozen:
            p = min(1.0, p + P_UP) if large else max(P_MIN, p - P_DOWN)
        colour = SOFT if frozen else ORANGE if large else BLUE
        (x, y), (x_next, y_next) = place(step, before), place(step + 1, p)
        parts += [line(x, y, x, y_next, colour, 3), line(x, y_next, x_next, y_next, colour, 3)]
        frozen = frozen or p >= P_FREEZE
    parts += [
        text(left + 14, 194, "+ p_up", 13, ORANGE),
        text(left + 92, 194, "if the gradient exceeds g_lim", 13, SOFT),
        text(left + 14, 211, "− p_down", 13, BLUE),
        text(left + 92, 211, "if it does not", 13, SOFT),
        text(right, place(0, P_FREEZE)[1] - 12, "frozen", 13, SOFT, "end"),
        text(right, bottom + 16, "training steps", 12, SOFT, "end"),
        text(480, 252, "The higher p, the smaller the learning rate: eta0 (1 − p).", 14, SOFT),
    ]
    return parts


def picture() -> str:
    title = "A synapse that releases or not, and its release probability p, which rises and falls with the size of gradients"
    head = '<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 900 264" font-family="sans-serif" role="img">'
    background = f'<rect width="900" height="264" rx="8" fill="{PAPER}"/>'
    return "\n".join([head, f"<title>{title}</title>", background, *synapse(), *course(), "</svg>"]) + "\n"


if __name__ == "__main__":
    print(picture(), end="")
