"""Whether agreement survives quantization: every arm judges the same rows, and a report says so.

An arm is one way to run one critic: the reference in full precision, a re-run of it, a runtime in
full precision, or a quantized bundle. `arms` names them, `rows` and `work` say what is judged,
`worker` judges one arm in a process of its own, `journal` is what it leaves, `run` drives them all.
What was judged is compared in `columns` and `comparison`, and told in `report` and `page`.
"""
