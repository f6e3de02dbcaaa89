"""Training side of edgecritic: the data engine and the model that learns from it."""

from edgecritic.remarks import pass_over_kernel_remark

pass_over_kernel_remark()  # in front of peft, which most modules here import sooner or later
