// A small line chart in SVG: time to the right, a few rounded gridlines, gaps where nothing was measured, and a hair
// line that reads out one moment under the pointer or, with the arrow keys, under the keyboard.

const SVG = "http://www.w3.org/2000/svg";
const GAP_S = 4;
const SPANS_S = [60, 120, 300];
const PAD = { left: 6, right: 52, top: 10, bottom: 20 };

function element(name, attributes, parent) {
  const made = document.createElementNS(SVG, name);
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  parent.append(made);
  return made;
}

/** The smallest of 1, 2, 5 × 10ⁿ that is not below `value`. */
export function nice(value) {
  const power = 10 ** Math.floor(Math.log10(value));
  return [1, 2, 5, 10].find((step) => step * power >= value * 0.999) * power;
}

/** Runs of points with a value at `index`, broken where it is null or time jumps. */
export function runs(points, index) {
  const found = [];
  let last = -Infinity;
  for (const point of points) {
    if (point[index] === null) {
      last = -Infinity;
      continue;
    }
    if (point[0] - last > GAP_S) found.push([]);
    found.at(-1).push(point);
    last = point[0];
  }
  return found;
}

export class Chart {
  /** `series`: name, index in a point, style, filled below; `format`: a value for people; `tick`: a round one for the scale. */
  constructor(svg, output, series, format, tick) {
    this.svg = svg;
    this.output = output;
    this.series = series;
    this.format = format;
    this.tick = tick;
    this.points = [];
    this.spanS = SPANS_S[0];
    this.picked = null;
    this.grid = element("g", { class: "grid" }, svg);
    this.lines = series.map(({ style, area }) => ({
      area: area ? element("path", { class: "area" }, svg) : null,
      line: element("path", { class: `line ${style}` }, svg),
    }));
    this.hair = element("line", { class: "hair", visibility: "hidden" }, svg);
    svg.setAttribute("tabindex", "0");
    new ResizeObserver(() => this.render()).observe(svg);
    svg.addEventListener("pointermove", (event) => this.pick(event.clientX - svg.getBoundingClientRect().left));
    svg.addEventListener("pointerleave", () => this.unpick());
    svg.addEventListener("blur", () => this.unpick());
    svg.addEventListener("keydown", (event) => this.step(event));
  }

  draw(points) {
    this.points = points;
    const neededS = points.length ? points.at(-1)[0] - points[0][0] : 0;
    this.spanS = SPANS_S.find((span) => neededS <= span) ?? SPANS_S.at(-1);
    this.render();
  }

  render() {
    this.width = this.svg.clientWidth;
    this.height = this.svg.clientHeight;
    if (!this.width) return;
    const values = this.points.flatMap((point) => this.series.map(({ at }) => point[at] ?? 0));
    const step = nice(Math.max(...values, 1e-9) / 3);
    this.top = values.some((value) => value > 0) ? step * Math.ceil(Math.max(...values) / step - 1e-6) : 1;
    this.end = this.points.length ? this.points.at(-1)[0] : 0;
    this.svg.setAttribute("viewBox", `0 0 ${this.width} ${this.height}`);
    this.renderGrid(values.some((value) => value > 0) ? step : 1);
    this.series.forEach(({ at }, index) => this.renderLine(this.lines[index], at));
    this.renderReadout();
  }

  x(time) {
    return PAD.left + (this.width - PAD.left - PAD.right) * (1 - (this.end - time) / this.spanS);
  }

  y(value) {
    return this.height - PAD.bottom - (this.height - PAD.top - PAD.bottom) * (value / this.top);
  }

  renderGrid(step) {
    this.grid.replaceChildren();
    const right = this.width - PAD.right;
    for (let value = 0; value <= this.top * 1.001; value += step) {
      const y = this.y(value).toFixed(1);
      element("line", { x1: PAD.left, x2: right, y1: y, y2: y }, this.grid);
      element("text", { x: right + 6, y, dy: "0.32em" }, this.grid).textContent = this.tick(value);
    }
    for (const [ago, text, anchor] of [[this.spanS, `${this.spanS / 60} min ago`, "start"], [0, "now", "end"]]) {
      const x = this.x(this.end - ago);
      element("text", { x, y: this.height - 4, "text-anchor": anchor }, this.grid).textContent = text;
    }
  }

  renderLine({ area, line }, index) {
    const parts = runs(this.points, index).map((run) =>
      run.map((point) => `${this.x(point[0]).toFixed(1)},${this.y(point[index]).toFixed(1)}`));
    line.setAttribute("d", parts.map((part) => `M${part.join("L")}${part.length === 1 ? "h0.1" : ""}`).join(""));
    const floor = this.y(0).toFixed(1);
    const edge = (place) => `${place.split(",")[0]},${floor}`;
    area?.setAttribute("d", parts.map((part) => `M${edge(part[0])}L${part.join("L")}L${edge(part.at(-1))}Z`).join(""));
  }

  renderReadout() {
    const point = this.picked === null ? this.points.at(-1) : this.nearest(this.picked);
    if (!point) {
      this.output.textContent = "–";
      return;
    }
    this.output.replaceChildren(...this.series.map(({ name, at }) => {
      const figure = document.createElement("span");
      const label = document.createElement("small");
      label.textContent = this.series.length > 1 ? ` ${name}` : "";
      figure.append(point[at] === null ? "–" : this.format(point[at]), label);
      return figure;
    }));
    if (this.picked !== null) {
      const when = document.createElement("small");
      when.textContent = new Date(point[0] * 1000).toLocaleTimeString([], { hour12: false });
      this.output.append(when);
      const x = this.x(point[0]);
      for (const [key, value] of Object.entries({ x1: x, x2: x, y1: PAD.top, y2: this.height - PAD.bottom })) {
        this.hair.setAttribute(key, value);
      }
    }
    this.hair.setAttribute("visibility", this.picked === null ? "hidden" : "visible");
  }

  nearest(time) {
    return this.points.reduce((best, point) => (Math.abs(point[0] - time) < Math.abs(best[0] - time) ? point : best));
  }

  pick(x) {
    if (!this.points.length) return;
    const share = (x - PAD.left) / (this.width - PAD.left - PAD.right);
    this.picked = this.end - (1 - share) * this.spanS;
    this.renderReadout();
  }

  unpick() {
    this.picked = null;
    this.renderReadout();
  }

  step(event) {
    const by = { ArrowLeft: -5, ArrowRight: 5, Escape: NaN }[event.key];
    if (by === undefined || !this.points.length) return;
    event.preventDefault();
    if (Number.isNaN(by)) this.unpick();
    else {
      this.picked = Math.min(this.end, Math.max(this.points[0][0], (this.picked ?? this.end) + by));
      this.renderReadout();
    }
  }
}
