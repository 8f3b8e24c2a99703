/**
 * The stage: the image, the neighbour's label, the overlay and the proposal as layers that the browser moves and scales
 * by itself, so that a stroke redraws no more than the pixels it changed.
 */

/** @typedef {import("./raster.js").Box} Box */
/** @typedef {import("./frame.js").Frame} Frame */
/** @typedef {import("./frame.js").Patch} Patch */
/** @typedef {{x: number, y: number}} Point in pixels of the frame, 0.5 is the centre of the first one */
/**
 * What a tool draws over the frame, in pixels of the frame.
 * @typedef {{ring?: {at: Point, diameter: number}, box?: [Point, Point], outline?: Point[], cursor?: Point,
 *   dots?: {at: Point, positive: boolean}[]}} Marks
 */
/**
 * @typedef {{down: (at: Point, negative: boolean) => void, move: (at: Point) => void, up: (at: Point) => void,
 *   cancel: () => void, marks: () => Marks, pans: () => boolean}} Pen
 */

import { eachRun } from "./frame.js";

const FILL = 0.62;
const ACCENT = [122, 190, 255];

/** @param {string} id @returns {HTMLCanvasElement} */
const canvas = (id) => /** @type {HTMLCanvasElement} */ (document.getElementById(id));
/** @param {HTMLCanvasElement} layer @returns {CanvasRenderingContext2D} */
const brushOf = (layer) => /** @type {CanvasRenderingContext2D} */ (layer.getContext("2d"));

/** @param {number[]} rgb @param {number} alpha 0 to 1 @returns {number} as ImageData keeps it */
const packed = (rgb, alpha) =>
  ((Math.round(alpha * 255) << 24) | ((rgb[2] ?? 0) << 16) | ((rgb[1] ?? 0) << 8) | (rgb[0] ?? 0)) >>> 0;
/** @param {number[]} rgb @returns {number[]} */
const lighter = (rgb) => rgb.map((value) => Math.round(value + (255 - value) * 0.35));

/**
 * A map of ids that lies at (x, y) of the frame.
 * @typedef {{ids: Uint16Array | Uint8Array, x: number, y: number, width: number, height: number}} IdMap
 */

/**
 * Draw a part of a map of ids: areas filled, their borders in a lighter shade. The sides of the map are no borders.
 * @param {HTMLCanvasElement} layer @param {Box} part
 * @param {IdMap} map
 * @param {(id: number) => number[]} color
 * @param {number} fill opacity of areas
 */
function drawIds(layer, part, map, color, fill) {
  const { ids, width: stride } = map;
  const left = Math.max(0, part.left - map.x - 1);
  const top = Math.max(0, part.top - map.y - 1);
  const right = Math.min(map.width, part.right - map.x + 1);
  const bottom = Math.min(map.height, part.bottom - map.y + 1);
  const width = right - left;
  if (width <= 0 || bottom <= top) return;
  const image = new ImageData(width, bottom - top);
  const pixels = new Uint32Array(image.data.buffer);
  let known = 0;
  let area = 0;
  let border = 0;
  for (let y = top; y < bottom; y++) {
    const row = y * stride;
    const up = y > 0 ? stride : 0;
    const down = y + 1 < map.height ? stride : 0;
    for (let x = left; x < right; x++) {
      const index = row + x;
      const id = ids[index] ?? 0;
      if (id === 0) continue;
      if (id !== known) {
        const rgb = color(id);
        known = id;
        area = packed(rgb, fill);
        border = packed(lighter(rgb), 1);
      }
      const inner =
        ids[index - up] === id &&
        ids[index + down] === id &&
        (x === 0 || ids[index - 1] === id) &&
        (x + 1 === stride || ids[index + 1] === id);
      pixels[(y - top) * width + x - left] = inner ? area : border;
    }
  }
  brushOf(layer).putImageData(image, map.x + left, map.y + top);
}

/** @param {{width: number, height: number}} of */
const sizeOf = ({ width, height }) => ({ width, height });
/** @param {{width: number, height: number}} of @returns {Box} */
const whole = ({ width, height }) => ({ left: 0, top: 0, right: width, bottom: height });

export class View {
  /**
   * @param {HTMLElement} stage
   * @param {Pen} pen
   */
  constructor(stage, pen) {
    this.stage = stage;
    this.pen = pen;
    this.layers = /** @type {HTMLElement} */ (document.getElementById("layers"));
    this.image = canvas("image");
    this.ghost = canvas("ghost");
    this.overlay = canvas("overlay");
    this.proposal = canvas("proposal");
    this.marks = canvas("marks");
    this.scale = 1;
    this.x = 0;
    this.y = 0;
    this.fitted = true;
    /** @type {Point | null} where the keys move the crosshair; none while the pointer is used */
    this.cursor = null;
    this.scheduled = false;
    this.spaceHeld = false;
    this.spaceUsed = false;
    /** @type {Map<number, {x: number, y: number}>} fingers */
    this.fingers = new Map();
    /** @type {number | null} pointer that draws */
    this.drawing = null;
    /** @type {{x: number, y: number} | null} */
    this.panning = null;
    this.listen();
    new ResizeObserver(() => this.resized()).observe(stage);
  }

  listen() {
    const { stage } = this;
    stage.addEventListener("pointerdown", (event) => this.down(event));
    stage.addEventListener("pointermove", (event) => this.move(event));
    stage.addEventListener("pointerup", (event) => this.up(event));
    stage.addEventListener("pointercancel", (event) => {
      if (this.drawing === event.pointerId) this.pen.cancel();
      this.release(event.pointerId);
    });
    stage.addEventListener("pointerleave", () => this.redraw());
    stage.addEventListener("contextmenu", (event) => event.preventDefault());
    stage.addEventListener(
      "wheel",
      (event) => {
        event.preventDefault();
        const turn = event.deltaMode === 1 ? event.deltaY * 20 : event.deltaY;
        this.zoom(Math.exp(-Math.max(-120, Math.min(120, turn)) * 0.0022), event.clientX, event.clientY);
      },
      { passive: false },
    );
  }

  /** @param {PointerEvent} event */
  down(event) {
    this.stage.focus({ preventScroll: true });
    this.cursor = null;
    if (event.pointerType === "touch") {
      this.fingers.set(event.pointerId, { x: event.clientX, y: event.clientY });
      return;
    }
    this.stage.setPointerCapture(event.pointerId);
    if (event.button === 1 || this.spaceHeld || (event.button === 0 && this.pen.pans())) {
      this.panning = { x: event.clientX, y: event.clientY };
      this.spaceUsed = true;
      if (event.button !== 0 || this.spaceHeld) return;
    }
    if (this.drawing !== null || event.button === 1) return;
    this.drawing = event.pointerId;
    this.pen.down(this.pointAt(event.clientX, event.clientY), event.button === 2 || event.altKey);
  }

  /** @param {PointerEvent} event */
  move(event) {
    const finger = this.fingers.get(event.pointerId);
    if (finger) return this.pinch(event, finger);
    if (this.panning) {
      this.pan(event.clientX - this.panning.x, event.clientY - this.panning.y);
      this.panning = { x: event.clientX, y: event.clientY };
    }
    this.cursor = null;
    const steps = event.getCoalescedEvents();
    for (const step of steps.length ? steps : [event]) this.pen.move(this.pointAt(step.clientX, step.clientY));
    this.redraw();
  }

  /** One finger moves the frame, two also scale it. @param {PointerEvent} event @param {{x: number, y: number}} finger */
  pinch(event, finger) {
    const other = [...this.fingers].find(([id]) => id !== event.pointerId)?.[1];
    if (other) {
      const before = Math.hypot(finger.x - other.x, finger.y - other.y);
      const after = Math.hypot(event.clientX - other.x, event.clientY - other.y);
      if (before > 0) this.zoom(after / before, other.x, other.y);
    } else this.pan(event.clientX - finger.x, event.clientY - finger.y);
    finger.x = event.clientX;
    finger.y = event.clientY;
  }

  /** @param {PointerEvent} event */
  up(event) {
    if (this.drawing === event.pointerId) this.pen.up(this.pointAt(event.clientX, event.clientY));
    this.release(event.pointerId);
  }

  /** @param {number} pointer */
  release(pointer) {
    this.fingers.delete(pointer);
    this.panning = null;
    if (this.drawing === pointer) this.drawing = null;
    this.redraw();
  }

  /** @param {number} clientX @param {number} clientY @returns {Point} */
  pointAt(clientX, clientY) {
    const area = this.stage.getBoundingClientRect();
    return { x: (clientX - area.left - this.x) / this.scale, y: (clientY - area.top - this.y) / this.scale };
  }

  /** @param {number} dx @param {number} dy in pixels of the screen */
  pan(dx, dy) {
    this.x += dx;
    this.y += dy;
    this.fitted = false;
    this.place();
  }

  /** @param {number} factor @param {number} [clientX] what stays where it is; default: the middle @param {number} [clientY] */
  zoom(factor, clientX, clientY) {
    const area = this.stage.getBoundingClientRect();
    const x = (clientX ?? area.left + area.width / 2) - area.left;
    const y = (clientY ?? area.top + area.height / 2) - area.top;
    const scale = Math.min(64, Math.max(0.05, this.scale * factor));
    this.x = x - ((x - this.x) * scale) / this.scale;
    this.y = y - ((y - this.y) * scale) / this.scale;
    this.scale = scale;
    this.fitted = false;
    this.place();
  }

  /** The whole frame in the middle. */
  fit() {
    const { clientWidth, clientHeight } = this.stage;
    const margin = 20;
    this.scale = Math.max(
      0.05,
      Math.min((clientWidth - 2 * margin) / this.image.width, (clientHeight - 2 * margin) / this.image.height),
    );
    this.x = (clientWidth - this.image.width * this.scale) / 2;
    this.y = (clientHeight - this.image.height * this.scale) / 2;
    this.fitted = true;
    this.place();
  }

  place() {
    this.layers.style.transform = `translate(${this.x}px, ${this.y}px) scale(${this.scale})`;
    this.layers.classList.toggle("pixelated", this.scale >= 2);
    this.redraw();
  }

  resized() {
    const ratio = devicePixelRatio || 1;
    this.marks.width = Math.round(this.stage.clientWidth * ratio);
    this.marks.height = Math.round(this.stage.clientHeight * ratio);
    if (this.fitted) this.fit();
    else this.redraw();
  }

  /** @param {ImageBitmap} image */
  showImage(image) {
    const resized = this.image.width !== image.width || this.image.height !== image.height;
    if (resized) {
      for (const layer of [this.image, this.ghost, this.overlay, this.proposal]) {
        layer.width = image.width;
        layer.height = image.height;
      }
      this.layers.style.width = `${image.width}px`;
      this.layers.style.height = `${image.height}px`;
    }
    brushOf(this.image).drawImage(image, 0, 0);
    if (resized) this.fit();
  }

  /**
   * @param {Frame} frame
   * @param {(id: number) => number[]} color
   * @param {Box} [part] default: all of it
   */
  showFrame(frame, color, part) {
    drawIds(this.overlay, part ?? whole(frame), { ids: frame.ids, x: 0, y: 0, ...sizeOf(frame) }, color, FILL);
  }

  /**
   * What lies below the overlay: the neighbour's label, and a shade outside the region of a task.
   * @param {Frame | null} ghost @param {(id: number) => number[]} color
   * @param {Frame} frame whose region is shown
   */
  showBelow(ghost, color, frame) {
    const draw = brushOf(this.ghost);
    draw.clearRect(0, 0, this.ghost.width, this.ghost.height);
    if (ghost) drawIds(this.ghost, whole(ghost), { ids: ghost.ids, x: 0, y: 0, ...sizeOf(ghost) }, color, 0.16);
    const { region, width } = frame;
    if (!region) return;
    draw.fillStyle = "rgb(10 12 15 / 0.72)";
    for (let y = 0; y < frame.height; y++) {
      for (let x = 0, start = 0; x <= width; x++) {
        if (x < width && !region[y * width + x]) continue;
        if (x > start) draw.fillRect(start, y, x - start, 1);
        start = x + 1;
      }
    }
  }

  /** @param {Patch | null} patch 1 where the proposed object is */
  showProposal(patch) {
    brushOf(this.proposal).clearRect(0, 0, this.proposal.width, this.proposal.height);
    if (!patch) return;
    const ids = new Uint8Array(patch.width * patch.height);
    eachRun(patch, (value, y, left, right) => {
      const row = (y - patch.y) * patch.width - patch.x;
      if (value === 1) ids.fill(1, row + left, row + right);
    });
    const part = { left: patch.x, top: patch.y, right: patch.x + patch.width, bottom: patch.y + patch.height };
    drawIds(this.proposal, part, { ids, x: patch.x, y: patch.y, ...sizeOf(patch) }, () => ACCENT, 0.45);
  }

  redraw() {
    if (this.scheduled) return;
    this.scheduled = true;
    requestAnimationFrame(() => {
      this.scheduled = false;
      this.drawMarks(this.pen.marks());
    });
  }

  /** @param {Marks} marks */
  drawMarks({ ring, box, outline, dots, cursor }) {
    const draw = brushOf(this.marks);
    const ratio = devicePixelRatio || 1;
    draw.setTransform(1, 0, 0, 1, 0, 0);
    draw.clearRect(0, 0, this.marks.width, this.marks.height);
    draw.setTransform(ratio, 0, 0, ratio, 0, 0);
    /** @param {Point} point @returns {[number, number]} */
    const at = ({ x, y }) => [x * this.scale + this.x, y * this.scale + this.y];
    /** Dark below light, so that a line is seen on any image. @param {() => void} path @param {string} [color] */
    const stroke = (path, color = "white") => {
      draw.beginPath();
      path();
      draw.lineWidth = 3.5;
      draw.strokeStyle = "rgb(0 0 0 / 0.55)";
      draw.stroke();
      draw.lineWidth = 1.5;
      draw.strokeStyle = color;
      draw.stroke();
    };
    if (ring) stroke(() => draw.arc(...at(ring.at), Math.max(2, (ring.diameter * this.scale) / 2), 0, 2 * Math.PI));
    if (box) {
      const [x0, y0] = at(box[0]);
      const [x1, y1] = at(box[1]);
      stroke(() => draw.rect(Math.min(x0, x1), Math.min(y0, y1), Math.abs(x1 - x0), Math.abs(y1 - y0)));
    }
    if (outline?.length) {
      stroke(() => outline.forEach((point) => draw.lineTo(...at(point))));
      for (const point of outline.slice(0, -1)) stroke(() => draw.arc(...at(point), 3.5, 0, 2 * Math.PI));
    }
    for (const dot of dots ?? []) {
      const [x, y] = at(dot.at);
      draw.beginPath();
      draw.arc(x, y, 8, 0, 2 * Math.PI);
      draw.fillStyle = dot.positive ? "rgb(20 110 70 / 0.95)" : "rgb(165 45 45 / 0.95)";
      draw.fill();
      stroke(() => {
        draw.moveTo(x - 4, y);
        draw.lineTo(x + 4, y);
        if (!dot.positive) return;
        draw.moveTo(x, y - 4);
        draw.lineTo(x, y + 4);
      });
    }
    if (cursor) {
      const [x, y] = at(cursor);
      stroke(() => {
        for (const [dx, dy] of /** @type {[number, number][]} */ ([[1, 0], [-1, 0], [0, 1], [0, -1]])) {
          draw.moveTo(x + 5 * dx, y + 5 * dy);
          draw.lineTo(x + 16 * dx, y + 16 * dy);
        }
      });
    }
  }
}
