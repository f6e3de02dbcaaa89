"""What a judgement costs, beside the other ways to judge with the same model files.

`plan` lists the cells of a run, `run` measures those that are not there yet, `page` tells the
result. Engines run in processes of their own (`process`, `worker`) and take turns.
"""
