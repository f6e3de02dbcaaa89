"""Where the picture is dropped, opened and shown."""

from __future__ import annotations

from pathlib import Path

from PySide6.QtCore import QPoint, QRect, QSize, Qt, QUrl, Signal
from PySide6.QtGui import (
    QDragEnterEvent,
    QDropEvent,
    QImageReader,
    QPainter,
    QPaintEvent,
    QPen,
    QPixmap,
)
from PySide6.QtWidgets import QWidget

INVITATION = "Drop a picture here\nor open one with Ctrl+O"


class PicturePanel(QWidget):
    """Shows one picture, as large as it fits, and takes another one by drop."""

    refused = Signal(str)
    """Why a file is not shown."""

    def __init__(self) -> None:
        super().__init__()
        self.path: Path | None = None
        self._pixmap = QPixmap()
        self.setAcceptDrops(True)
        self.setMinimumSize(280, 280)
        self.setAccessibleName("Picture")

    def show_file(self, path: Path) -> None:
        """Take a picture; a file that is none leaves the one before it in place."""
        reader = QImageReader(str(path))
        reader.setAutoTransform(True)
        size = reader.size()
        if size.width() > 1024 or size.height() > 1024:  # a preview needs no more
            reader.setScaledSize(size.scaled(1024, 1024, Qt.AspectRatioMode.KeepAspectRatio))
        image = reader.read()
        if image.isNull():
            self.refused.emit(f"{path.name} cannot be shown: {reader.errorString()}")
            return
        self.path = path
        self._pixmap = QPixmap.fromImage(image)
        self.setAccessibleDescription(path.name)
        self.update()

    def sizeHint(self) -> QSize:
        return QSize(380, 420)

    def dragEnterEvent(self, event: QDragEnterEvent) -> None:
        if _dropped_file(event.mimeData().urls()) is not None:
            event.acceptProposedAction()

    def dropEvent(self, event: QDropEvent) -> None:
        path = _dropped_file(event.mimeData().urls())
        if path is not None:
            self.show_file(path)
            event.acceptProposedAction()

    def paintEvent(self, event: QPaintEvent) -> None:
        painter = QPainter(self)
        painter.setRenderHint(QPainter.RenderHint.Antialiasing)
        painter.setRenderHint(QPainter.RenderHint.SmoothPixmapTransform)
        frame = self.rect().adjusted(1, 1, -2, -2)
        faded = self.palette().placeholderText().color()
        style = Qt.PenStyle.DashLine if self._pixmap.isNull() else Qt.PenStyle.SolidLine
        painter.setPen(QPen(self.palette().mid().color(), 1.5, style))
        painter.setBrush(self.palette().base())
        painter.drawRoundedRect(frame, 10, 10)
        if self._pixmap.isNull():
            painter.setPen(faded)
            painter.drawText(frame, Qt.AlignmentFlag.AlignCenter, INVITATION)
            return
        room = frame.adjusted(12, 12, -12, -12)
        size = self._pixmap.size().scaled(room.size(), Qt.AspectRatioMode.KeepAspectRatio)
        shown = QRect(QPoint(0, 0), size)
        shown.moveCenter(room.center())
        painter.drawPixmap(shown, self._pixmap)


def _dropped_file(urls: list[QUrl]) -> Path | None:
    local = [url.toLocalFile() for url in urls if url.isLocalFile()]
    return Path(local[0]) if local else None
