"""`roadbed chat`: one answer for a prompt or a pipe, a conversation otherwise.

Tokens appear as they come on stdout; what it took appears dimmed on stderr, so a pipe gets the answer alone.
"""

import sys
from dataclasses import dataclass, field
from typing import Any

import click

from roadbed.cli.access import choose_model, open_gateway
from roadbed.cli.base import INTERRUPTED, dim, json_option, print_json, talk
from roadbed.cli.completion import Answer, Gateway
from roadbed.errors import RoadbedError, UsageError

HELP = "/reset forgets the conversation, /exit leaves; Ctrl-C stops an answer, twice leaves"


@click.command("chat")
@click.argument("prompt", required=False)
@click.option("-m", "--model", help="A model or service; default: the first that is served.")
@click.option("-s", "--system", help="System prompt.")
@click.option("--max-tokens", type=click.IntRange(1), help="End the answer there.")
@click.option("--temperature", type=click.FloatRange(0, 2), help="0 = always the likeliest token.")
@json_option
def command(
    prompt: str | None,
    model: str | None,
    system: str | None,
    max_tokens: int | None,
    temperature: float | None,
    as_json: bool,
) -> None:
    """Talk to a model.

    \b
      roadbed chat "What is a data centre?"
      git diff | roadbed chat -s "Write a commit message." --max-tokens 60
      roadbed chat                   a conversation

    The key is $ROADBED_API_KEY, or one that this command makes for itself.
    """
    if prompt is None and not sys.stdin.isatty():
        prompt = sys.stdin.read().strip()
        if not prompt:
            raise UsageError("the pipe was empty", hint='roadbed chat "Hello!"')
    elif prompt is not None and not sys.stdin.isatty() and (piped := _piped()):
        prompt = f"{prompt}\n\n{piped}"
    if prompt is None and as_json:
        raise UsageError("--json needs a prompt", hint='roadbed chat --json "Hello!"')
    gateway = open_gateway()
    conversation = Conversation(gateway, choose_model(gateway, model), system)
    conversation.options = {
        name: value for name, value in (("max_tokens", max_tokens), ("temperature", temperature)) if value is not None
    }
    if prompt is None:
        _converse(conversation)
    elif not _answer(conversation, prompt, as_json):
        click.get_current_context().exit(INTERRUPTED)


@dataclass
class Conversation:
    """Messages so far, and whom they are for."""

    gateway: Gateway
    model: str
    system: str | None = None
    options: dict[str, Any] = field(default_factory=dict)
    messages: list[dict[str, str]] = field(default_factory=list)

    def body(self, prompt: str) -> dict[str, Any]:
        """The request for the next answer."""
        system = [{"role": "system", "content": self.system}] if self.system else []
        messages = [*system, *self.messages, {"role": "user", "content": prompt}]
        return {"model": self.model, "messages": messages, **self.options}

    def remember(self, prompt: str, answer: str) -> None:
        """Both sides become part of what is sent next."""
        self.messages += [{"role": "user", "content": prompt}, {"role": "assistant", "content": answer}]


def _piped() -> str:
    return "" if sys.stdin.closed else sys.stdin.read().strip()


def _answer(conversation: Conversation, prompt: str, as_json: bool) -> bool:
    """Streams one answer; False when it was interrupted."""
    answer = Answer()
    stream = conversation.gateway.chat(conversation.body(prompt), answer)
    try:
        for text in stream:
            if not as_json:
                click.echo(text, nl=False)
    except KeyboardInterrupt:
        stream.close()
        talk(dim("\nstopped"))
        return False
    if as_json:
        print_json(answer.to_dict())
    else:
        click.echo("")
        talk(dim(summary(answer)))
    conversation.remember(prompt, answer.content)
    return True


def summary(answer: Answer) -> str:
    """`TTFT 120 ms · 31 + 42 tokens · 58.1 tokens/s · chat-0 (only_one)`."""
    parts = [] if answer.ttft_s is None else [f"TTFT {answer.ttft_s * 1000:.0f} ms"]
    if answer.usage:
        cached = (answer.usage.get("prompt_tokens_details") or {}).get("cached_tokens") or 0
        note = f" ({cached} cached)" if cached else ""
        parts.append(f"{answer.usage['prompt_tokens']}{note} + {answer.usage['completion_tokens']} tokens")
    if answer.tokens_per_s is not None:
        parts.append(f"{answer.tokens_per_s:.1f} tokens/s")
    parts.append(f"{answer.replica} ({answer.route})")
    return " · ".join(parts)


def _converse(conversation: Conversation) -> None:
    """Prompt after prompt; an error ends the answer, not the conversation."""
    import readline  # noqa: F401  line editing and history in input()

    talk(dim(f"{conversation.model} · {HELP}"))
    while True:
        try:
            prompt = input("> ").strip()
        except (EOFError, KeyboardInterrupt):
            talk("")
            return
        if prompt in ("/exit", "/quit"):
            return
        if prompt == "/reset":
            conversation.messages.clear()
            talk(dim("forgotten"))
        elif prompt.startswith("/"):
            talk(dim(HELP))
        elif prompt:
            try:
                _answer(conversation, prompt, as_json=False)
            except RoadbedError as error:
                talk(click.style(f"error[{error.code}]: ", fg="red") + error.message)
