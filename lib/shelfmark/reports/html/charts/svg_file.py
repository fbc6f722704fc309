"""A chart as a file of its own, on white."""

from __future__ import annotations

from shelfmark.reports.html.charts.chart import Chart
from shelfmark.reports.html.environment import file_text


def svg_file(chart: Chart) -> str:
    """The SVG file of a chart, with its style."""
    drawn = chart.svg("chart")
    tag, rest = drawn.split(">", 1)
    style = f"<style>{file_text('chart.css')}</style>"
    white = '<rect width="100%" height="100%" fill="#fff"/>'
    # `light` keeps a viewer that is dark from drawing pale lines on white.
    return f'{tag} xmlns="http://www.w3.org/2000/svg" data-look="light">{style}{white}{rest}\n'
