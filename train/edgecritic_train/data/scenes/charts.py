"""Charts drawn with Pillow: bars, lines and pies with readable labels."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from PIL import Image, ImageDraw, ImageFont

from edgecritic_train.data.dice import chance, pick, sample, spread, whole
from edgecritic_train.data.scenes.layout import Size
from edgecritic_train.data.scenes.lettering import fitted
from edgecritic_train.data.scenes.palette import COLOURS, Rgb, paper
from edgecritic_train.data.setting import Setting
from edgecritic_train.data.splits import novel_look

Point = tuple[float, float]
Box = tuple[float, float, float, float]


@dataclass(frozen=True, slots=True)
class Series:
    """What a chart shows: one value for each label.

    Attributes:
        labels: short names, at most 6 letters.
        values: 1..100 each.
        colours: colour name of each bar or slice; empty where all have one colour.
    """

    labels: tuple[str, ...]
    values: tuple[int, ...]
    colours: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class ChartLook:
    """Everything about a chart that does not carry its truth, shared by twins.

    Attributes:
        size: canvas, (width, height) in pixels.
        font: font name.
        ground: paper colour.
        ink: colour of text and axes.
        bar: colour of the bars where they share one.
        lying: bars go from left to right.
        numbers: values are printed at the bars; otherwise a scale in tens is drawn.
    """

    size: Size
    font: str
    ground: Rgb
    ink: Rgb
    bar: Rgb
    lying: bool
    numbers: bool


def chart_look(setting: Setting, numbers: bool) -> ChartLook:
    """A random look; the held-out theme is dark paper with pale ink."""
    rng = setting.rng
    side = whole(rng, 190, 300)
    height = side if chance(rng, 0.5) else int(side * spread(rng, 0.7, 1.0))
    dark = novel_look(setting.split)
    bar = COLOURS[pick(rng, ("red", "orange", "green", "blue", "purple", "pink"))]
    return ChartLook(
        size=(side, height),
        font=pick(rng, setting.fonts()),
        ground=paper(rng, "deep" if dark else "pale"),
        ink=(238, 238, 232) if dark else (24, 24, 30),
        bar=bar,
        lying=chance(rng, 0.3),
        numbers=numbers,
    )


@dataclass(frozen=True, slots=True)
class _Sheet:
    """A page under the pen: what every drawing step of a chart needs."""

    setting: Setting
    look: ChartLook
    page: Image.Image
    draw: ImageDraw.ImageDraw

    @classmethod
    def blank(cls, setting: Setting, look: ChartLook) -> _Sheet:
        page = Image.new("RGB", look.size, look.ground)
        return cls(setting, look, page, ImageDraw.Draw(page))

    def font_for(self, texts: Sequence[str], room: Point) -> ImageFont.FreeTypeFont:
        """The font at the largest size at which every text fits, but never a headline's."""
        longest = max(texts, key=self.setting.font(self.look.font, 40).getlength)
        size = fitted(self.setting, self.look.font, longest, room)[0]
        return self.setting.font(self.look.font, min(size, int(self.look.size[1] * 0.1)))

    def centred(self, text: str, spot: Point, font: ImageFont.FreeTypeFont) -> None:
        """Writes a text with its middle at a spot."""
        self.draw.text(spot, text, font=font, fill=self.look.ink, anchor="mm")


def bar_chart(setting: Setting, series: Series, look: ChartLook) -> Image.Image:
    """Standing or lying bars with a label at each foot."""
    sheet = _Sheet.blank(setting, look)
    left, top, right, bottom = area = _plot_area(look)
    width, height = look.size
    full = max(series.values) if look.numbers else 100
    if not look.numbers:
        _scale(sheet, area)
    step = ((bottom - top) if look.lying else (right - left)) / len(series.values)
    label_font, number_font = _fonts(sheet, series, step)
    for index, value in enumerate(series.values):
        middle = (top if look.lying else left) + (index + 0.5) * step
        if look.lying:
            end = left + (right - left) * value / full
            box = (left, middle - step * 0.32, end, middle + step * 0.32)
            label_spot, number_spot = (width * 0.12, middle), (end + width * 0.07, middle)
        else:
            end = bottom - (bottom - top) * value / full
            box = (middle - step * 0.34, end, middle + step * 0.34, bottom)
            label_spot, number_spot = (middle, height * 0.93), (middle, end - height * 0.06)
        colour = COLOURS[series.colours[index]] if series.colours else look.bar
        sheet.draw.rectangle(box, fill=colour, outline=look.ink)
        sheet.centred(series.labels[index], label_spot, label_font)
        if look.numbers:
            sheet.centred(str(value), number_spot, number_font)
    axis = (left, top, left, bottom) if look.lying else (left, bottom, right, bottom)
    sheet.draw.line(axis, fill=look.ink, width=2)
    return sheet.page


def _plot_area(look: ChartLook) -> Box:
    """Left, top, right and bottom of the part that the bars may fill, in pixels."""
    width, height = look.size
    if look.lying:
        return (
            width * 0.24,
            height * 0.06,
            width * 0.86,
            height * (0.95 if look.numbers else 0.88),
        )
    return (width * (0.04 if look.numbers else 0.13), height * 0.12, width * 0.97, height * 0.85)


def _fonts(
    sheet: _Sheet, series: Series, step: float
) -> tuple[ImageFont.FreeTypeFont, ImageFont.FreeTypeFont]:
    """The fonts of the labels and of the numbers, one size each for the whole chart."""
    width, height = sheet.look.size
    label_room, number_room = (step * 0.88, height * 0.1), (step * 0.88, height * 0.09)
    if sheet.look.lying:
        label_room = (width * 0.2, min(step * 0.7, height * 0.1))
        number_room = (width * 0.12, min(step * 0.7, height * 0.09))
    numbers = [str(value) for value in series.values]
    return sheet.font_for(series.labels, label_room), sheet.font_for(numbers, number_room)


def _scale(sheet: _Sheet, area: Box) -> None:
    """Grid lines at every ten, numbers at every twenty."""
    left, top, right, bottom = area
    look = sheet.look
    width, height = look.size
    room = (width * 0.1, height * 0.075) if look.lying else (left * 0.85, height * 0.075)
    font = sheet.font_for(["100"], room)
    faint = tuple((a + b) // 2 for a, b in zip(look.ink, look.ground, strict=True))
    for mark in range(0, 101, 10):
        if look.lying:
            x = left + (right - left) * mark / 100
            sheet.draw.line((x, top, x, bottom), fill=faint)
            spot = (x, bottom + height * 0.06)
        else:
            y = bottom - (bottom - top) * mark / 100
            sheet.draw.line((left, y, right, y), fill=faint)
            spot = (left * 0.5, y)
        if mark % 20 == 0:
            sheet.centred(str(mark), spot, font)


def line_chart(setting: Setting, values: Sequence[int], look: ChartLook) -> Image.Image:
    """A line through points, with axes, without numbers."""
    page = Image.new("RGB", look.size, look.ground)
    draw = ImageDraw.Draw(page)
    width, height = look.size
    left, right, top, bottom = width * 0.1, width * 0.95, height * 0.08, height * 0.9
    draw.line((left, top, left, bottom, right, bottom), fill=look.ink, width=2)
    points = [
        (
            left + (right - left) * (index + 0.5) / len(values),
            bottom - (bottom - top) * value / 100,
        )
        for index, value in enumerate(values)
    ]
    thick = whole(setting.rng, 3, 6)
    draw.line(points, fill=look.bar, width=thick, joint="curve")
    if chance(setting.rng, 0.6):
        for x, y in points:
            draw.ellipse((x - thick, y - thick, x + thick, y + thick), fill=look.bar)
    return page


def pie_chart(setting: Setting, series: Series, look: ChartLook) -> Image.Image:
    """A pie of coloured slices."""
    page = Image.new("RGB", look.size, look.ground)
    draw = ImageDraw.Draw(page)
    radius = min(look.size) * spread(setting.rng, 0.38, 0.47)
    x, y = look.size[0] / 2, look.size[1] / 2
    start, total = spread(setting.rng, 0, 360), sum(series.values)
    for value, colour in zip(series.values, series.colours, strict=True):
        end = start + 360 * value / total
        box = (x - radius, y - radius, x + radius, y + radius)
        draw.pieslice(box, start, end, fill=COLOURS[colour], outline=look.ink)
        start = end
    return page


def chart_labels(setting: Setting, count: int) -> tuple[str, ...]:
    """Different short labels: letters, weekdays or words of the split."""
    rng = setting.rng
    if novel_look(setting.split) or chance(rng, 0.5):
        words = [word.capitalize() for word in sample(rng, setting.words(5), count)]
        return tuple(words)
    if chance(rng, 0.5):
        first = whole(rng, 0, 7 - count) if count < 7 else 0
        return ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")[first : first + count]
    first = whole(rng, 0, 26 - count)
    return tuple("ABCDEFGHIJKLMNOPQRSTUVWXYZ"[first : first + count])
