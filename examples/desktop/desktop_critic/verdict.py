"""The verdict: who is preferred, how sure that is, whether both orders agree, and why."""

from __future__ import annotations

from PySide6.QtCore import Qt
from PySide6.QtWidgets import QLabel, QPlainTextEdit, QVBoxLayout, QWidget

from desktop_critic.bars import ProbabilityBar
from edgecritic import Preference
from edgecritic.verdict import Winner

HEADLINES = {"first": "The first is better", "second": "The second is better", "tie": "A tie"}
STATUSES = {"unparsed": "No verdict could be read", "cancelled": "Stopped before a verdict"}
CONSISTENT = {
    True: "Shown in both orders, the verdict is the same.",
    False: "The verdict changes with the order of the responses: do not rely on it.",
    None: "",
}


class VerdictPanel(QWidget):
    """Fills as a judgement goes on."""

    def __init__(self) -> None:
        super().__init__()
        self.headline = QLabel()
        font = self.headline.font()
        font.setPointSizeF(font.pointSizeF() * 1.5)
        self.headline.setFont(font)
        self.bars: dict[Winner, ProbabilityBar] = {
            "first": ProbabilityBar("First"),
            "second": ProbabilityBar("Second"),
            "tie": ProbabilityBar("Tie"),
        }
        self.orders = QLabel()
        self.orders.setWordWrap(True)
        self.reason = QPlainTextEdit()  # plain: text of a model is never read as markup
        self.reason.setReadOnly(True)
        self.reason.setPlaceholderText("The reason is written here.")
        self.reason.setAccessibleName("Reason")
        for label in (self.headline, self.orders):
            label.setTextFormat(Qt.TextFormat.PlainText)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 12, 0, 0)
        layout.addWidget(self.headline)
        for bar in self.bars.values():
            layout.addWidget(bar)
        layout.addWidget(self.orders)
        layout.addWidget(self.reason, 1)
        self.clear()

    def clear(self) -> None:
        """Nothing is known yet."""
        self.headline.setText(" ")
        self.orders.setText("")
        self.reason.clear()
        for bar in self.bars.values():
            bar.set_probability(None)

    def show_preference(self, preference: Preference) -> None:
        """What is known so far; the reason is left to `add_reason`."""
        winner = preference.winner
        known = STATUSES.get(preference.status, "") if winner is None else HEADLINES[winner]
        self.headline.setText(known)
        for name, bar in self.bars.items():
            bar.set_probability(preference.probabilities.get(name), name == winner)
        self.orders.setText(CONSISTENT[preference.consistent])

    def add_reason(self, piece: str) -> None:
        """A piece of the reason."""
        cursor = self.reason.textCursor()
        cursor.movePosition(cursor.MoveOperation.End)
        cursor.insertText(piece)
