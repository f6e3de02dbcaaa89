"""llama.cpp's Python server with a chat template of ours, as a process of its own.

Run by a Python that has the server's packages (``pip install 'llama-cpp-python[server]'``).
"""

from __future__ import annotations

import argparse

# ChatML as the dialect writes it; with ``continues`` the last message stays open if it is the
# assistant's, which is what llama.cpp's own server and vLLM do.
TEMPLATE = (
    "{% for message in messages %}"
    "<|im_start|>{{ message['role'] }}\n{{ message['content'] }}"
    "{% if not (CONTINUES and loop.last and message['role'] == 'assistant') %}"
    "<|im_end|>\n"
    "{% endif %}"
    "{% endfor %}"
    "{% if not (CONTINUES and messages[-1]['role'] == 'assistant') %}"
    "<|im_start|>assistant\n"
    "{% endif %}"
)


def main() -> None:
    import uvicorn
    from llama_cpp.llama_chat_format import (
        Jinja2ChatFormatter,
        register_chat_completion_handler,
    )
    from llama_cpp.server.app import create_app
    from llama_cpp.server.settings import ModelSettings, ServerSettings

    parser = argparse.ArgumentParser()
    parser.add_argument("model")
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--continues", action="store_true")
    parser.add_argument("--logprobs", action="store_true")
    args = parser.parse_args()
    template = TEMPLATE.replace("CONTINUES", "true" if args.continues else "false")
    formatter = Jinja2ChatFormatter(template, eos_token="<|im_end|>", bos_token="")
    register_chat_completion_handler("dialect")(formatter.to_chat_handler())
    app = create_app(
        server_settings=ServerSettings(),
        model_settings=[
            ModelSettings(
                model=args.model,
                chat_format="dialect",
                n_ctx=1024,
                n_threads=1,
                n_threads_batch=1,
                logits_all=args.logprobs,
                verbose=False,
            )
        ],
    )
    uvicorn.run(app, host="127.0.0.1", port=args.port, log_level="warning")


if __name__ == "__main__":
    main()
