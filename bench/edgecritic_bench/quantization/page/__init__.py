"""The report as one HTML file that fetches nothing: figures are SVG, pictures are data."""
