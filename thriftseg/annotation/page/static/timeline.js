/**
 * The frames of a video as a strip: the whole video above, the neighbourhood of the present frame below, every state by a
 * shape and a colour.
 */

/** @typedef {import("./api.js").VideoState} VideoState */

const CELL = 22;
const OVERVIEW = 10;
const GAP = 8;
const ORDER = ".mxwrdl"; // a column of the overview shows the last of these among its frames

/** @type {Record<string, {name: string, color: string}>} */
export const STATES = {
  ".": { name: "not labelled", color: "#4a515b" },
  m: { name: "label of the machine", color: "#8fa9c4" },
  x: { name: "rejected", color: "#e58a78" },
  w: { name: "in work", color: "#7abeff" },
  r: { name: "reviewed", color: "#8fd6b4" },
  d: { name: "drawn", color: "#8fd6b4" },
  l: { name: "locked", color: "#e2cd8b" },
};

/** @param {number} confidence 0 to 100, or -1 @returns {string} orange is doubtful, blue is sure: also for colour-blind eyes */
export function confidenceColor(confidence) {
  if (confidence < 0) return STATES.m?.color ?? "";
  const stops = [
    [222, 138, 74],
    [205, 196, 180],
    [96, 156, 220],
  ];
  const at = Math.min(1.999, Math.max(0, confidence / 50));
  const [low, high] = [stops[Math.floor(at)] ?? [], stops[Math.floor(at) + 1] ?? []];
  return `rgb(${low.map((value, index) => Math.round(value + ((high[index] ?? 0) - value) * (at % 1))).join(" ")})`;
}

/** @param {CanvasRenderingContext2D} draw @param {string} state @param {number} x @param {number} y @param {string} color */
function shape(draw, state, x, y, color) {
  draw.fillStyle = draw.strokeStyle = color;
  draw.lineWidth = 1.75;
  draw.lineCap = draw.lineJoin = "round";
  draw.beginPath();
  /** @param {[number, number][]} points */
  const path = (points) => points.forEach(([dx, dy], index) => (index ? draw.lineTo(x + dx, y + dy) : draw.moveTo(x + dx, y + dy)));
  if (state === ".") {
    draw.arc(x, y, 2.5, 0, 2 * Math.PI);
    draw.fill();
  } else if (state === "m") {
    path([[0, -5.5], [5.5, 0], [0, 5.5], [-5.5, 0]]);
    draw.fill();
  } else if (state === "w") {
    draw.arc(x, y, 5, 0, 2 * Math.PI);
    draw.stroke();
    draw.beginPath();
    draw.arc(x, y, 5, Math.PI / 2, (3 * Math.PI) / 2);
    draw.fill();
  } else if (state === "x") {
    path([[-4, -4], [4, 4]]);
    path([[4, -4], [-4, 4]]);
    draw.stroke();
  } else if (state === "d" || state === "r") {
    draw.roundRect(x - 5.5, y - 5.5, 11, 11, 2.5);
    if (state === "d") draw.fill();
    else {
      path([[-2.8, 0.2], [-0.8, 2.4], [3, -2.2]]);
      draw.stroke();
    }
  } else {
    draw.arc(x, y - 1.5, 3, Math.PI, 2 * Math.PI);
    draw.stroke();
    draw.beginPath();
    draw.roundRect(x - 5, y - 1, 10, 7, 1.5);
    draw.fill();
  }
}

/** One shape in the middle of a small canvas, for the legend. @param {HTMLCanvasElement} canvas @param {string} state */
export function drawShape(canvas, state) {
  const draw = /** @type {CanvasRenderingContext2D} */ (canvas.getContext("2d"));
  shape(draw, state, canvas.width / 2, canvas.height / 2, STATES[state]?.color ?? "");
}

export class Timeline {
  /**
   * @param {HTMLCanvasElement} strip
   * @param {(place: number) => void} go
   */
  constructor(strip, go) {
    this.strip = strip;
    this.go = go;
    /** @type {VideoState} */
    this.state = { numbers: [], states: "", confidence: [], leases: {} };
    this.place = 0;
    this.first = 0;
    this.scheduled = false;
    /** @type {"overview" | "detail" | null} */
    this.dragging = null;
    strip.addEventListener("pointerdown", (event) => {
      strip.setPointerCapture(event.pointerId);
      this.dragging = event.offsetY < OVERVIEW + GAP / 2 ? "overview" : "detail";
      this.seek(event);
    });
    strip.addEventListener("pointermove", (event) => {
      if (this.dragging) this.seek(event);
      else this.hint(event);
    });
    for (const end of /** @type {const} */ (["pointerup", "pointercancel"])) {
      strip.addEventListener(end, () => {
        this.dragging = null;
      });
    }
    new ResizeObserver(() => this.redraw()).observe(strip);
  }

  get width() {
    return this.strip.clientWidth;
  }

  get cells() {
    return Math.max(1, Math.floor(this.width / CELL));
  }

  /** @param {PointerEvent} event @returns {number} the frame under the pointer */
  placeAt(event) {
    const overview = this.dragging ? this.dragging === "overview" : event.offsetY < OVERVIEW + GAP / 2;
    const count = this.state.states.length;
    const place = overview ? Math.floor((event.offsetX / this.width) * count) : this.first + Math.floor(event.offsetX / CELL);
    return Math.min(count - 1, Math.max(0, place));
  }

  /** @param {PointerEvent} event */
  seek(event) {
    const place = this.placeAt(event);
    if (place !== this.place && place >= 0) this.go(place);
  }

  /** @param {PointerEvent} event */
  hint(event) {
    this.strip.title = this.describe(this.placeAt(event));
  }

  /** @param {number} place @returns {string} */
  describe(place) {
    const { states, numbers, confidence, leases } = this.state;
    const state = STATES[states[place] ?? "."];
    const sure = confidence[place] ?? -1;
    const who = leases[place];
    const number = numbers[place] ?? place;
    const native = number === place + 1 ? "" : ` (number ${number} of the recording)`;
    return `Frame ${place + 1}${native}: ${state?.name ?? ""}${sure >= 0 ? `, ${sure} % sure` : ""}${who ? `, with ${who} now` : ""}`;
  }

  /** @param {VideoState} state @param {number} place */
  show(state, place) {
    this.state = state;
    this.place = place;
    const { strip } = this;
    strip.setAttribute("aria-valuemax", String(Math.max(0, state.states.length - 1)));
    strip.setAttribute("aria-valuenow", String(place));
    strip.setAttribute("aria-valuetext", this.describe(place));
    this.redraw();
  }

  redraw() {
    if (this.scheduled) return;
    this.scheduled = true;
    requestAnimationFrame(() => {
      this.scheduled = false;
      this.draw();
    });
  }

  draw() {
    const ratio = devicePixelRatio || 1;
    const { strip, width } = this;
    strip.width = Math.round(width * ratio);
    strip.height = Math.round(strip.clientHeight * ratio);
    const draw = /** @type {CanvasRenderingContext2D} */ (strip.getContext("2d"));
    draw.scale(ratio, ratio);
    const count = this.state.states.length;
    if (count === 0) return;
    this.drawOverview(draw, width, count);
    const spare = count - this.cells;
    this.first = Math.max(0, Math.min(spare, this.place - Math.floor(this.cells / 2)));
    draw.font = "10px system-ui, sans-serif";
    draw.textAlign = "center";
    for (let place = this.first; place < Math.min(count, this.first + this.cells); place++) this.drawCell(draw, place);
  }

  /** @param {number} place */
  colorAt(place) {
    const state = this.state.states[place] ?? ".";
    return state === "m" ? confidenceColor(this.state.confidence[place] ?? -1) : (STATES[state]?.color ?? "");
  }

  /** @param {CanvasRenderingContext2D} draw @param {number} width @param {number} count */
  drawOverview(draw, width, count) {
    const columns = Math.min(count, Math.floor(width));
    draw.save();
    draw.beginPath();
    draw.roundRect(0, 0, width, OVERVIEW, 3);
    draw.clip();
    for (let column = 0; column < columns; column++) {
      let shown = Math.floor((column * count) / columns);
      const end = Math.max(shown + 1, Math.floor(((column + 1) * count) / columns));
      for (let place = shown; place < end; place++) {
        if (ORDER.indexOf(this.state.states[place] ?? ".") > ORDER.indexOf(this.state.states[shown] ?? ".")) shown = place;
      }
      draw.fillStyle = this.state.states[shown] === "." ? "#2a2f36" : this.colorAt(shown);
      const left = (column * width) / columns;
      draw.fillRect(left, 0, width / columns + 0.5, OVERVIEW);
    }
    draw.restore();
    const at = ((this.place + 0.5) / count) * width;
    draw.fillStyle = "#14171b";
    draw.fillRect(at - 2.5, -1, 5, OVERVIEW + 2);
    draw.fillStyle = "white";
    draw.fillRect(at - 1, -1, 2, OVERVIEW + 2);
  }

  /** @param {CanvasRenderingContext2D} draw @param {number} place */
  drawCell(draw, place) {
    const left = (place - this.first) * CELL;
    const top = OVERVIEW + GAP;
    const present = place === this.place;
    if (present) {
      draw.fillStyle = "#343b45";
      draw.beginPath();
      draw.roundRect(left, top, CELL - 1, 36, 5);
      draw.fill();
    }
    shape(draw, this.state.states[place] ?? ".", left + CELL / 2 - 0.5, top + 12, this.colorAt(place));
    if (this.state.leases[place]) {
      draw.strokeStyle = "#e2cd8b";
      draw.beginPath();
      draw.arc(left + CELL / 2 - 0.5, top + 12, 9, 0, 2 * Math.PI);
      draw.stroke();
    }
    const labelled = present || (place + 1) % 5 === 0;
    const crowded = !present && Math.abs(place - this.place) < 2;
    if (!labelled || crowded) return;
    draw.fillStyle = present ? "white" : "#98a0ab";
    draw.fillText(String(place + 1), left + CELL / 2 - 0.5, top + 31);
  }
}
