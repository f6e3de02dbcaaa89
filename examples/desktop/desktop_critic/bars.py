"""Probabilities as bars, drawn in the colours of the user's desktop."""

from __future__ import annotations

from PySide6.QtCore import QRectF, QSize, Qt
from PySide6.QtGui import QPainter, QPainterPath, QPaintEvent
from PySide6.QtWidgets import QSizePolicy, QWidget


class ProbabilityBar(QWidget):
    """One labelled probability.

    Args:
        label: in front of the bar.
    """

    def __init__(self, label: str) -> None:
        super().__init__()
        self.label = label
        self.probability: float | None = None
        self.preferred = False
        self.setSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Fixed)
        self.set_probability(None)

    def set_probability(self, probability: float | None, preferred: bool = False) -> None:
        """Show a probability in [0, 1]; None empties the bar."""
        self.probability, self.preferred = probability, preferred
        self.setAccessibleName(f"{self.label}: {self._number() or 'not judged'}")
        self.update()

    def sizeHint(self) -> QSize:
        return QSize(300, 26)

    def paintEvent(self, event: QPaintEvent) -> None:
        painter = QPainter(self)
        painter.setRenderHint(QPainter.RenderHint.Antialiasing)
        font = self.font()
        font.setBold(self.preferred)
        painter.setFont(font)
        label_width, number_width, height = 76, 60, self.height()
        middle = Qt.AlignmentFlag.AlignVCenter
        painter.setPen(self.palette().windowText().color())
        painter.drawText(QRectF(0, 0, label_width, height), middle, self.label)
        right = QRectF(self.width() - number_width, 0, number_width, height)
        painter.drawText(right, middle | Qt.AlignmentFlag.AlignRight, self._number())
        track = QRectF(label_width, height / 2 - 6, self.width() - label_width - number_width, 12)
        shape = QPainterPath()
        shape.addRoundedRect(track, 6, 6)
        faint = self.palette().mid().color()
        faint.setAlpha(70)
        painter.fillPath(shape, faint)
        if self.probability is not None:
            painter.setClipPath(shape)
            track.setWidth(track.width() * self.probability)
            colour = self.palette().highlight() if self.preferred else self.palette().mid()
            painter.fillRect(track, colour)

    def _number(self) -> str:
        return "" if self.probability is None else f"{self.probability:.1%}"
