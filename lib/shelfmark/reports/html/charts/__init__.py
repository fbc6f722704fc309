"""Charts as SVG: lines with bands, dots, bars and references, on linear and logarithmic axes."""
