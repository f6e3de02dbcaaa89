"""The window: what is asked on top, the verdict below. Nothing here waits for the critic."""

from __future__ import annotations

from pathlib import Path

from PySide6.QtCore import QThread, Signal
from PySide6.QtGui import QCloseEvent, QKeySequence, QShortcut
from PySide6.QtWidgets import (
    QFileDialog,
    QFormLayout,
    QHBoxLayout,
    QLabel,
    QLineEdit,
    QMainWindow,
    QPlainTextEdit,
    QProgressBar,
    QPushButton,
    QVBoxLayout,
    QWidget,
)

from desktop_critic.picture import PicturePanel
from desktop_critic.verdict import VerdictPanel
from desktop_critic.worker import Job, Load, Worker
from edgecritic import CompareRequest, Preference
from edgecritic.progress import Progress

STAGES = {
    "loading": "Loading the critic ...",
    "image": "Looking at the picture ...",
    "prefill": "Reading ...",
    "token": "Writing the reason ...",
}
PICTURES = "Pictures (*.png *.jpg *.jpeg *.webp *.gif *.bmp)"


class Window(QMainWindow):
    """The whole app.

    Args:
        load: makes the critic; called in the worker's thread.
    """

    _asked = Signal(object)
    _load = Signal()

    def __init__(self, load: Load) -> None:
        super().__init__()
        self.setWindowTitle("Which answer is better?")
        self.job: Job | None = None
        self._ready = False
        self._build()
        self._thread = QThread(self)
        self._worker = Worker(load)
        self._worker.moveToThread(self._thread)
        # Between threads Qt queues signals: a slot runs in the thread of its object.
        self._load.connect(self._worker.load)
        self._asked.connect(self._worker.judge)
        self._worker.progressed.connect(self._on_progressed)
        self._worker.loaded.connect(self._on_loaded)
        self._worker.preferred.connect(self._on_preferred)
        self._worker.said.connect(self._on_said)
        self._worker.failed.connect(self._on_failed)
        self._worker.ended.connect(self._on_ended)
        self._thread.start()
        self._busy(STAGES["loading"])
        self._load.emit()

    def _build(self) -> None:
        self.picture = PicturePanel()
        self.picture.refused.connect(self._tell)
        self.question = QLineEdit("Which digit is this?")
        self.first, self.second = QPlainTextEdit("It is a 7."), QPlainTextEdit("It is a 1.")
        form = QFormLayout()
        form.setVerticalSpacing(10)
        form.addRow("&Question", self.question)
        for label, field in (("&First", self.first), ("&Second", self.second)):
            field.setTabChangesFocus(True)
            field.setMaximumHeight(74)
            form.addRow(label, field)
        self.open_button = QPushButton("&Open picture ...")
        self.judge_button = QPushButton("&Compare")
        self.cancel_button = QPushButton("Cancel")
        self.judge_button.setDefault(True)
        self.open_button.clicked.connect(self._open)
        self.judge_button.clicked.connect(self.judge)
        self.cancel_button.clicked.connect(self.cancel)
        QShortcut(QKeySequence.StandardKey.Open, self, self._open)
        QShortcut(QKeySequence("Ctrl+Return"), self, self.judge)
        QShortcut(QKeySequence.StandardKey.Cancel, self, self.cancel)
        buttons = QHBoxLayout()
        buttons.addWidget(self.open_button)
        buttons.addStretch()
        buttons.addWidget(self.cancel_button)
        buttons.addWidget(self.judge_button)
        self.verdict = VerdictPanel()
        self.progress = QProgressBar()
        self.progress.setTextVisible(False)
        self.progress.setMaximumWidth(180)
        self.message = QLabel()
        self.statusBar().addWidget(self.message, 1)
        self.statusBar().addPermanentWidget(self.progress)
        right = QVBoxLayout()
        right.addLayout(form)
        right.addLayout(buttons)
        right.addWidget(self.verdict, 1)
        columns = QHBoxLayout()
        columns.setContentsMargins(16, 16, 16, 8)
        columns.setSpacing(20)
        columns.addWidget(self.picture, 2)
        columns.addLayout(right, 3)
        middle = QWidget()
        middle.setLayout(columns)
        self.setCentralWidget(middle)
        self.resize(980, 620)
        self._allow()

    def judge(self) -> None:
        """Ask for the judgement; the answer comes by signals."""
        if self.job is not None or not self._ready:
            return
        self.job = Job(
            CompareRequest(
                self.picture.path,
                self.question.text(),
                self.first.toPlainText(),
                self.second.toPlainText(),
            )
        )
        self.verdict.clear()
        self._busy("Waiting for the critic ...")
        self._allow()
        self._asked.emit(self.job)

    def cancel(self) -> None:
        """Stop the judgement; a token is all that crosses the threads."""
        if self.job is not None:
            self.job.cancel.cancel()
            self._tell("Stopping ...")

    def closeEvent(self, event: QCloseEvent) -> None:
        """Stop what runs, wait for the thread, free the critic."""
        self.cancel()
        self._thread.quit()
        self._thread.wait()
        self._worker.close()
        event.accept()

    def _open(self) -> None:
        path, _ = QFileDialog.getOpenFileName(self, "Open a picture", "", PICTURES)
        if path:
            self.picture.show_file(Path(path))

    def _on_loaded(self, name: str) -> None:
        self._ready = True
        self.progress.hide()
        self._tell(f"Ready: {name}")
        self._allow()

    def _on_preferred(self, preference: Preference) -> None:
        self.verdict.show_preference(preference)
        if preference.status == "cancelled":
            self._tell("Stopped")
        elif preference.rationale is not None:
            seconds = preference.timings.total
            self._tell(f"Done in {seconds:.1f} s, {preference.usage.prompt_tokens} tokens read")

    def _on_said(self, piece: str) -> None:
        self.verdict.add_reason(piece)

    def _on_progressed(self, progress: Progress) -> None:
        if self.job is None or not self.job.cancel.cancelled:
            self._tell(STAGES[progress.stage])
        self.progress.setRange(0, progress.total)
        self.progress.setValue(progress.done)

    def _on_failed(self, message: str, hint: str) -> None:
        self.progress.hide()
        self._tell(f"{message}: {hint}" if hint else message)

    def _on_ended(self) -> None:
        self.job = None
        self.progress.hide()
        self._allow()

    def _allow(self) -> None:
        self.judge_button.setEnabled(self._ready and self.job is None)
        self.cancel_button.setEnabled(self.job is not None)

    def _busy(self, text: str) -> None:
        """How long it takes is not known: the bar only moves."""
        self.progress.setRange(0, 0)
        self.progress.show()
        self._tell(text)

    def _tell(self, text: str) -> None:
        self.message.setText(text)
        self.message.setToolTip(text)
