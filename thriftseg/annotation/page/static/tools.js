/**
 * The tools: what the pen does on the frame, from the first touch to a finished change.
 */

import { brush, flood, polygon, rectangle } from "./raster.js";
import { eachRun } from "./frame.js";

/** @typedef {import("./frame.js").Frame} Frame */
/** @typedef {import("./frame.js").Patch} Patch */
/** @typedef {import("./view.js").Point} Point */
/** @typedef {import("./view.js").Marks} Marks */
/** @typedef {"pan" | "click" | "box" | "polygon" | "brush" | "eraser" | "fill" | "ignore"} ToolName */
/** @typedef {{clicks?: number, vertices?: number, strokes?: number}} Effort */
/**
 * What a tool needs of the page.
 * @typedef {{frame: () => Frame | null, editable: () => boolean, target: () => number, current: () => number | null,
 *   select: (object: number) => void, commit: (tool: string, object: number, effort: Effort) => void,
 *   prompt: (object: number | null, points: [number, number, boolean][],
 *     box: [number, number, number, number] | null, base: Patch | null) => Promise<Patch | null>,
 *   hasPrompter: () => boolean, propose: (patch: Patch | null) => void, redraw: () => void}} Page
 */
/**
 * A mask that waits for a yes. Without `base` it is added to the object; with it, it takes the object's place.
 * @typedef {{tool: "click" | "box", points: [number, number, boolean][], box: [number, number, number, number] | null,
 *   object: number | null, base: Patch | null, mask: Patch | null, asked: number}} Proposal
 */

const LARGEST_BRUSH = 400;

export class Tools {
  /** @param {Page} page */
  constructor(page) {
    this.page = page;
    /** @type {ToolName} */
    this.name = "click";
    this.diameter = 16;
    /** @type {Point | null} where the pen is */
    this.at = null;
    /** @type {Point | null} where it touched down */
    this.from = null;
    /** @type {Point[]} corners of an outline so far */
    this.corners = [];
    /** @type {Proposal | null} */
    this.proposal = null;
    this.object = 0;
  }

  /** @param {ToolName} name */
  choose(name) {
    if (name === this.name) return;
    this.discard();
    this.name = name;
    this.page.redraw();
  }

  /** @param {number} direction 1 is larger */
  resize(direction) {
    const step = Math.max(1, Math.round(this.diameter * 0.2));
    this.diameter = Math.min(LARGEST_BRUSH, Math.max(1, this.diameter + direction * step));
    this.page.redraw();
  }

  /** Whether something is begun that Escape would throw away. */
  get busy() {
    return this.from !== null || this.corners.length > 0 || this.proposal !== null;
  }

  /** Throw away what is begun. @returns {boolean} whether there was anything */
  discard() {
    const was = this.busy;
    if (this.from && (this.name === "brush" || this.name === "eraser")) this.page.frame()?.discard();
    this.from = null;
    this.corners = [];
    if (this.proposal) this.page.propose(null);
    this.proposal = null;
    this.page.redraw();
    return was;
  }

  /** What is begun is to become another object. @param {number | null} object */
  retarget(object) {
    if (this.proposal?.base) this.discard();
    else if (this.proposal) this.proposal.object = object;
  }

  /** Take back the last corner or point. @returns {boolean} whether there was one */
  back() {
    if (this.corners.pop()) {
      this.page.redraw();
      return true;
    }
    const { proposal } = this;
    if (!proposal) return false;
    proposal.points.pop();
    if (proposal.points.length === 0 && !proposal.box) this.discard();
    else this.ask(proposal);
    return true;
  }

  /** Say yes to what is proposed, or close the outline. @returns {boolean} whether there was anything */
  accept() {
    if (this.corners.length > 0) {
      this.close();
      return true;
    }
    const { proposal } = this;
    const frame = this.page.frame();
    if (!proposal?.mask || !frame) return proposal !== null;
    const object = proposal.object ?? this.page.target();
    if (proposal.base) {
      eachRun(proposal.base, (value, y, left, right) => {
        for (let x = left; value === 1 && x < right; x++) if (frame.at(x, y) === object) frame.paint(y, x, x + 1, 0);
      });
    }
    eachRun(proposal.mask, (value, y, left, right) => {
      if (value === 1) frame.paint(y, left, right, object);
    });
    const clicks = proposal.points.length + (proposal.box ? 2 : 0);
    const { tool } = proposal;
    this.discard();
    this.page.commit(tool, object, { clicks });
    return true;
  }

  /** @returns {[number, number]} the pixel under a point, inside the frame @param {Point} point @param {Frame} frame */
  pixel(point, frame) {
    return [
      Math.min(frame.width - 1, Math.max(0, Math.floor(point.x))),
      Math.min(frame.height - 1, Math.max(0, Math.floor(point.y))),
    ];
  }

  /** @param {Point} point @param {Frame} frame */
  outside(point, frame) {
    return point.x < 0 || point.y < 0 || point.x >= frame.width || point.y >= frame.height;
  }

  /** @param {Point} point @param {boolean} negative the other button, or Alt */
  down(point, negative) {
    const frame = this.page.frame();
    this.at = point;
    if (!frame || (this.name !== "pan" && !this.page.editable())) return;
    switch (this.name) {
      case "brush":
      case "eraser":
        this.from = point;
        this.object = this.name === "brush" && !negative ? this.page.target() : 0;
        this.stroke(point, point, frame);
        break;
      case "pan":
      case "box":
        this.from = point;
        break;
      case "click":
        if (!this.outside(point, frame)) this.click(point, !negative, frame);
        break;
      case "polygon":
      case "ignore":
        this.corner(point, frame);
        break;
      case "fill":
        if (!this.outside(point, frame)) this.fill(point, frame);
    }
    this.page.redraw();
  }

  /** @param {Point} point */
  move(point) {
    const frame = this.page.frame();
    if (frame && this.from && (this.name === "brush" || this.name === "eraser")) {
      this.stroke(this.at ?? point, point, frame);
    }
    this.at = point;
  }

  /** @param {Point} point */
  up(point) {
    const frame = this.page.frame();
    const { from } = this;
    if (!frame || !from) return;
    this.move(point);
    this.from = null;
    const near = Math.hypot(point.x - from.x, point.y - from.y) < 2;
    if (this.name === "brush" || this.name === "eraser") this.page.commit(this.name, this.object, { strokes: 1 });
    else if (this.name === "pan") {
      const id = near && !this.outside(point, frame) ? frame.at(...this.pixel(point, frame)) : 0;
      if (id) this.page.select(id);
    } else if (this.name === "box" && near && this.proposal) this.addPoint(this.proposal, point, true, frame);
    else if (this.name === "box" && !near) this.box(from, point, frame);
    this.page.redraw();
  }

  /** @param {Point} from @param {Point} to @param {Frame} frame */
  stroke(from, to, frame) {
    const [x0, y0] = [Math.floor(from.x), Math.floor(from.y)];
    const [x1, y1] = [Math.floor(to.x), Math.floor(to.y)];
    const box = { left: frame.width, top: frame.height, right: 0, bottom: 0 };
    brush(x0, y0, x1, y1, this.diameter, frame.width, frame.height, (y, left, right) => {
      frame.paint(y, left, right, this.object);
      box.left = Math.min(box.left, left);
      box.right = Math.max(box.right, right);
      box.top = Math.min(box.top, y);
      box.bottom = Math.max(box.bottom, y + 1);
    });
    frame.show(box);
  }

  /** @param {Point} point @param {Frame} frame */
  fill(point, frame) {
    const object = this.page.target();
    const [x, y] = this.pixel(point, frame);
    flood(frame.ids, frame.width, frame.height, x, y, (row, left, right) => frame.paint(row, left, right, object));
    this.page.commit("fill", object, { clicks: 1 });
  }

  /** @param {Point} point @param {Frame} frame */
  corner(point, frame) {
    const corner = {
      x: Math.min(frame.width, Math.max(0, Math.round(point.x))),
      y: Math.min(frame.height, Math.max(0, Math.round(point.y))),
    };
    const last = this.corners.at(-1);
    if (last && last.x === corner.x && last.y === corner.y) this.close(); // a double click ends the outline
    else this.corners.push(corner);
  }

  /** The outline is complete. */
  close() {
    const frame = this.page.frame();
    const { corners } = this;
    this.corners = [];
    this.page.redraw();
    if (!frame || corners.length < 3 || !this.page.editable()) return;
    const object = this.name === "ignore" ? 0 : this.page.target();
    const vertices = corners.map(({ x, y }) => /** @type {[number, number]} */ ([x, y]));
    polygon(vertices, frame.width, frame.height, (y, left, right) => frame.paint(y, left, right, object));
    this.page.commit(this.name, object, { vertices: vertices.length });
  }

  /** A first click inside the chosen object, or one that says "not this", corrects it; any other adds to it. */
  /** @param {Point} point @param {boolean} positive @param {Frame} frame */
  click(point, positive, frame) {
    const object = this.page.current();
    const corrects = object !== null && (!positive || frame.at(...this.pixel(point, frame)) === object);
    this.proposal ??= {
      ...{ tool: "click", points: [], box: null, object, mask: null, asked: 0 },
      base: corrects && object !== null ? frame.maskOf(object) : null,
    };
    this.addPoint(this.proposal, point, positive, frame);
  }

  /** @param {Proposal} proposal @param {Point} point @param {boolean} positive @param {Frame} frame */
  addPoint(proposal, point, positive, frame) {
    proposal.points.push([...this.pixel(point, frame), positive]);
    this.ask(proposal);
  }

  /** @param {Point} from @param {Point} to @param {Frame} frame */
  box(from, to, frame) {
    const [x0, y0] = this.pixel(from, frame);
    const [x1, y1] = this.pixel(to, frame);
    /** @type {[number, number, number, number]} */
    const box = [Math.min(x0, x1), Math.min(y0, y1), Math.max(x0, x1) + 1, Math.max(y0, y1) + 1];
    const object = this.page.current();
    if (this.page.hasPrompter()) {
      this.proposal = { tool: "box", points: [], box, object, base: null, mask: null, asked: 0 };
      this.ask(this.proposal);
      return;
    }
    const id = this.page.target();
    rectangle(x0, y0, x1, y1, (y, left, right) => frame.paint(y, left, right, id));
    this.page.commit("box", id, { clicks: 2 });
  }

  /** Ask the prompter; an answer that was overtaken by a newer question is dropped. @param {Proposal} proposal */
  async ask(proposal) {
    const asked = ++proposal.asked;
    proposal.mask = null; // what is shown answers an earlier question
    this.page.redraw();
    const { object, points, box, base } = proposal;
    const mask = await this.page.prompt(object, points, box, base);
    if (this.proposal !== proposal || proposal.asked !== asked) return;
    proposal.mask = mask;
    this.page.propose(mask);
  }

  /** @returns {Marks} */
  marks() {
    const { at, from, name, proposal } = this;
    /** @type {Marks} */
    const marks = {};
    if (at && (name === "brush" || name === "eraser")) {
      marks.ring = { at: { x: Math.floor(at.x) + 0.5, y: Math.floor(at.y) + 0.5 }, diameter: this.diameter };
    }
    if (name === "box" && from && at) marks.box = [from, at];
    else if (proposal?.box) {
      const [x0, y0, x1, y1] = proposal.box;
      marks.box = [{ x: x0, y: y0 }, { x: x1, y: y1 }];
    }
    if (this.corners.length > 0) marks.outline = [...this.corners, ...(at ? [at] : [])];
    if (proposal) {
      marks.dots = proposal.points.map(([x, y, positive]) => ({ at: { x: x + 0.5, y: y + 0.5 }, positive }));
    }
    return marks;
  }
}
