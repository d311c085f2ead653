"""HTML and JSON; renders, computes nothing."""

from .html import render_html, write_html
from .to_json import read_json, report_from_text, report_to_text, write_json

__all__ = [
    "read_json",
    "render_html",
    "report_from_text",
    "report_to_text",
    "write_html",
    "write_json",
]
