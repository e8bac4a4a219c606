// The chat box. An answer is shown as it streams, always as text and never as HTML, and under it what it took: time to
// the first token as this browser saw it, tokens per second, the replica and why the router chose it.

const $ = (id) => document.getElementById(id);

function make(name, className, text) {
  const made = document.createElement(name);
  made.className = className;
  if (text !== undefined) made.textContent = text;
  return made;
}

/** One shell word, whatever is in it. */
export function quote(text) {
  return `'${text.replaceAll("'", "'\\''")}'`;
}

/** The same request for a terminal; the key stays a variable. */
export function curl(gateway, body) {
  const sent = JSON.stringify({ ...body, stream: true });
  return `curl -N ${gateway}/v1/chat/completions -H "authorization: Bearer $ROADBED_API_KEY" ` +
    `-H 'content-type: application/json' -d ${quote(sent)}`;
}

/** The JSON of each server-sent event of a response; the last one may be "[DONE]". */
async function* events(response) {
  const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
  let rest = "";
  try {
    for (;;) {
      const { done, value } = await reader.read();
      if (done) return;
      const lines = (rest + value).split("\n");
      rest = lines.pop();
      for (const line of lines) if (line.startsWith("data:")) yield line.slice(5).trim();
    }
  } finally {
    reader.cancel().catch(() => {}); // the answer is over or was stopped; nothing is left to hear
  }
}

/** What the server said went wrong, from an error body of any of our servers. */
function reason(error) {
  return String(error?.message ?? "the answer broke off");
}

async function copy(text, button) {
  try {
    await navigator.clipboard.writeText(text);
  } catch {
    const area = make("textarea", "hidden"); // plain http from another machine has no clipboard API
    area.value = text;
    document.body.append(area);
    area.select();
    document.execCommand("copy");
    area.remove();
    button.focus();
  }
  const before = button.textContent;
  button.textContent = "Copied";
  setTimeout(() => (button.textContent = before), 1500);
}

export class Chat {
  constructor(gateway) {
    this.gateway = gateway;
    this.messages = [];
    this.aborter = null;
    this.known = null;
    $("ask").addEventListener("submit", (event) => {
      event.preventDefault();
      this.send();
    });
    $("prompt").addEventListener("keydown", (event) => {
      if (event.key === "Enter" && !event.shiftKey && !event.isComposing) {
        event.preventDefault();
        $("ask").requestSubmit();
      }
    });
    $("stop").addEventListener("click", () => this.aborter?.abort());
    $("clear").addEventListener("click", () => this.clear());
    this.setModels([...$("model").options].map((option) => option.value));
  }

  get idle() {
    return !this.aborter && !this.messages.length && !$("prompt").value;
  }

  setModels(names) {
    if (names.join("\n") === this.known) return;
    this.known = names.join("\n");
    const chosen = $("model").value;
    $("model").replaceChildren(...names.map((name) => new Option(name, name, false, name === chosen)));
    $("model").disabled = !names.length;
    this.refresh();
  }

  refresh() {
    const busy = Boolean(this.aborter);
    $("send").disabled = !this.known || busy;
    $("stop").hidden = !busy;
    $("send").hidden = busy;
    $("clear").disabled = busy || !this.messages.length;
    if (this.messages.length) return;
    const hint = this.known
      ? "Answers stream here through the gateway, with a key this console made for itself."
      : "No replica is ready to answer. Serve a model: ";
    const empty = make("p", "empty", hint);
    if (!this.known) empty.append(make("code", "", "roadbed apply -f chat.yaml"));
    $("talk").replaceChildren(empty);
  }

  clear() {
    this.messages = [];
    this.refresh();
    $("prompt").focus();
  }

  async send() {
    const content = $("prompt").value.trim();
    if (!content || this.aborter || !$("model").value) return;
    if (!this.messages.length) $("talk").replaceChildren();
    this.messages.push({ role: "user", content });
    const body = { model: $("model").value, messages: [...this.messages] };
    $("prompt").value = "";
    $("talk").append(make("div", "said user", content));
    const answer = make("div", "said model");
    const text = make("div", "text");
    answer.append(text, make("div", "facts"));
    $("talk").append(answer);
    this.aborter = new AbortController();
    this.refresh();
    try {
      await this.stream(body, answer, text);
    } finally {
      this.aborter = null;
      this.refresh();
      this.follow(true);
    }
  }

  async stream(body, answer, text) {
    const facts = { begun: performance.now(), first: 0, last: 0, events: 0, usage: null, done: false, error: "", headers: null };
    answer.classList.add("streaming");
    try {
      const response = await fetch("/console/chat", {
        method: "POST",
        headers: { "content-type": "application/json" },
        body: JSON.stringify(body),
        signal: this.aborter.signal,
      });
      facts.headers = response.headers;
      if (response.status === 401) location.reload();
      if (!response.ok) throw new Error(reason((await response.json().catch(() => ({}))).error));
      for await (const data of events(response)) this.take(data, facts, text);
      if (!facts.done) throw new Error("the answer broke off");
    } catch (error) {
      facts.error = error.name === "AbortError" ? "stopped" : error instanceof TypeError ? "the connection was lost" : error.message;
    }
    answer.classList.remove("streaming");
    if (text.textContent) this.messages.push({ role: "assistant", content: text.textContent });
    else this.messages.pop();
    this.conclude(body, answer, facts);
  }

  take(data, facts, text) {
    if (data === "[DONE]") {
      facts.done = true;
      return;
    }
    const event = JSON.parse(data);
    if (event.error) throw new Error(reason(event.error));
    facts.usage = event.usage ?? facts.usage;
    const piece = event.choices?.[0]?.delta?.content;
    if (!piece) return;
    facts.last = performance.now();
    facts.first ||= facts.last;
    facts.events += 1;
    text.append(piece);
    this.follow(false);
  }

  conclude(body, answer, facts) {
    const line = answer.querySelector(".facts");
    const fact = (text, title) => {
      const made = make("span", "fact", text);
      made.title = title;
      line.append(made);
    };
    if (facts.first) {
      const tokens = facts.usage?.completion_tokens ?? facts.events;
      const tookS = (facts.last - facts.first) / 1000;
      fact(`TTFT ${Math.round(facts.first - facts.begun)} ms`, "time to the first token, seen from this browser");
      if (tookS > 0 && tokens > 1) fact(`${((tokens - 1) / tookS).toFixed(1)} tokens/s`, "after the first token");
      fact(`${tokens} tokens`, facts.usage ? "as the engine counted" : "pieces received; the engine's count did not come");
    }
    const replica = facts.headers?.get("x-roadbed-replica");
    if (replica) fact(replica, "the replica that answered");
    const route = facts.headers?.get("x-roadbed-route");
    if (route) fact(route, "why the router chose it");
    if (facts.error) line.append(make("span", facts.error === "stopped" ? "fact" : "fact bad", facts.error));
    const button = make("button", "quiet", "Copy as curl");
    button.type = "button";
    button.addEventListener("click", () => copy(curl(this.gateway, body), button));
    line.append(button);
  }

  /** Keeps the newest text in sight, unless the reader has scrolled up. */
  follow(always) {
    const talk = $("talk");
    if (always || talk.scrollHeight - talk.scrollTop - talk.clientHeight < 80) talk.scrollTop = talk.scrollHeight;
  }
}
