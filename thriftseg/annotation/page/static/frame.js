/**
 * The state of one frame: which object every pixel belongs to, and the changes that led there.
 */

/** @typedef {import("./raster.js").Box} Box */
/**
 * A change of pixels: row-major runs inside a box; -1 keeps a pixel, 0 makes it "ignore", k gives it to object k.
 * @typedef {{x: number, y: number, width: number, height: number, runs: number[]}} Patch
 */
/** @typedef {{id: number, class: number, locked: boolean}} ObjectRow */
/** @typedef {{kind: "region" | "mask" | "clicks", text: string}} Task */
/**
 * What the server says about the label of a frame.
 * @typedef {{height: number, width: number, state: string, origin: string, confidence: number, objects: ObjectRow[],
 *   region: Patch | null, task: Task | null}} Header
 */
/** @typedef {{forward: Patch, inverse: Patch} | {object: number, before: number, after: number}} Change */

/**
 * Every run of a patch, cut at the ends of rows.
 * @param {Patch} patch
 * @param {(value: number, y: number, left: number, right: number) => void} take
 */
export function eachRun(patch, take) {
  let at = 0;
  for (let index = 0; index + 1 < patch.runs.length; index += 2) {
    const value = patch.runs[index] ?? 0;
    let left = patch.runs[index + 1] ?? 0;
    while (left > 0) {
      const column = at % patch.width;
      const count = Math.min(left, patch.width - column);
      const y = patch.y + (at - column) / patch.width;
      take(value, y, patch.x + column, patch.x + column + count);
      at += count;
      left -= count;
    }
  }
}

/**
 * @param {Box} box
 * @param {(x: number, y: number) => number} valueAt
 * @returns {Patch}
 */
export function encode(box, valueAt) {
  /** @type {number[]} */
  const runs = [];
  let value = -2;
  let count = 0;
  for (let y = box.top; y < box.bottom; y++) {
    for (let x = box.left; x < box.right; x++) {
      const next = valueAt(x, y);
      if (next === value) {
        count++;
        continue;
      }
      if (count > 0) runs.push(value, count);
      value = next;
      count = 1;
    }
  }
  if (count > 0) runs.push(value, count);
  return { x: box.left, y: box.top, width: box.right - box.left, height: box.bottom - box.top, runs };
}

/**
 * Let actions that were made on another state begin objects of their own where theirs are others now.
 * @param {{tool: string, object: number | null, objects: [number, number][], patch: Patch | null}[]} actions changed in place
 * @param {ObjectRow[]} present objects of the frame
 * @param {(cls: number) => boolean} thing whether a class has instances
 */
export function renumber(actions, present, thing) {
  const begun = actions.filter(({ tool }) => tool !== "class").flatMap(({ objects }) => objects);
  const free = (/** @type {number} */ id, /** @type {number} */ cls) =>
    !present.some((row) => row.id === id && (row.class !== cls || thing(cls)));
  let next = Math.max(0, ...present.map(({ id }) => id), ...begun.map(([id]) => id));
  const numbers = new Map(begun.map(([id, cls]) => [id, free(id, cls) ? id : ++next]));
  const number = (/** @type {number} */ id) => numbers.get(id) ?? id;
  for (const action of actions) {
    action.object = action.object && number(action.object);
    action.objects = action.objects.map(([id, cls]) => [number(id), cls]);
    if (action.patch) action.patch.runs = action.patch.runs.map((value, at) => (at % 2 ? value : number(value)));
  }
}

/** @returns {Box} */
const nothing = () => ({ left: Infinity, top: Infinity, right: -Infinity, bottom: -Infinity });

/**
 * @param {Box} box
 * @param {number} y @param {number} left @param {number} right
 */
function grow(box, y, left, right) {
  box.left = Math.min(box.left, left);
  box.right = Math.max(box.right, right);
  box.top = Math.min(box.top, y);
  box.bottom = Math.max(box.bottom, y + 1);
}

export class Frame {
  /**
   * @param {Header} header
   * @param {Uint16Array} ids row-major
   */
  constructor(header, ids) {
    this.header = header;
    this.height = header.height;
    this.width = header.width;
    this.ids = ids;
    /** @type {Map<number, ObjectRow>} */
    this.objects = new Map(header.objects.map((row) => [row.id, { ...row }]));
    this.pixels = new Uint32Array(65536);
    for (const id of ids) this.pixels[id] = (this.pixels[id] ?? 0) + 1;
    /** @type {Uint8Array | null} */
    this.region = null;
    if (header.region) {
      const region = new Uint8Array(ids.length);
      eachRun(header.region, (value, y, left, right) => {
        if (value === 1) region.fill(1, y * this.width + left, y * this.width + right);
      });
      this.region = region;
    }
    /** @type {Change[]} */
    this.done = [];
    /** @type {Change[]} */
    this.undone = [];
    /** @type {[number, number][]} objects that the server does not know yet */
    this.fresh = [];
    /** When true, pixels that belong to an object already are left alone. */
    this.onlyEmpty = false;
    this.touched = new Uint8Array(ids.length);
    this.before = new Uint16Array(ids.length);
    this.box = nothing();
    /** @type {(box: Box) => void} called with what must be drawn again */
    this.onChange = () => {};
  }

  /**
   * @param {number} y @param {number} left @param {number} right
   * @param {number} value
   * @param {boolean} [guarded] whether locked objects, the region of a task and `onlyEmpty` are minded
   */
  paint(y, left, right, value, guarded = true) {
    const { ids, touched, before, pixels, region } = this;
    const row = y * this.width;
    const keeps = this.onlyEmpty && value !== 0;
    const locked = new Set([...this.objects.values()].filter((object) => object.locked).map((object) => object.id));
    for (let index = row + left; index < row + right; index++) {
      const old = ids[index] ?? 0;
      if (old === value) continue;
      if (guarded && ((keeps && old !== 0) || (region && !region[index]) || (locked.size && locked.has(old)))) continue;
      if (!touched[index]) {
        touched[index] = 1;
        before[index] = old;
      }
      ids[index] = value;
      pixels[old] = (pixels[old] ?? 0) - 1;
      pixels[value] = (pixels[value] ?? 0) + 1;
    }
    grow(this.box, y, left, right);
  }

  /** Show what was painted since the last call. @param {Box} box */
  show(box) {
    if (box.left < box.right) this.onChange(box);
  }

  /**
   * End what was painted: it becomes one change, or none where no pixel differs.
   * @returns {{forward: Patch, inverse: Patch} | null}
   */
  commit() {
    const { ids, touched, before, width } = this;
    const painted = this.box;
    this.box = nothing();
    if (painted.left >= painted.right) return null;
    const box = nothing();
    for (let y = painted.top; y < painted.bottom; y++) {
      for (let x = painted.left; x < painted.right; x++) {
        const index = y * width + x;
        if (touched[index] && before[index] !== ids[index]) grow(box, y, x, x + 1);
        else touched[index] = 0;
      }
    }
    if (box.left >= box.right) return null;
    const forward = encode(box, (x, y) => (touched[y * width + x] ? (ids[y * width + x] ?? 0) : -1));
    const inverse = encode(box, (x, y) => (touched[y * width + x] ? (before[y * width + x] ?? 0) : -1));
    for (let y = box.top; y < box.bottom; y++) touched.fill(0, y * width + box.left, y * width + box.right);
    this.show(box);
    return { forward, inverse };
  }

  /** Take back what was painted since the last commit. */
  discard() {
    const change = this.commit();
    if (change) this.apply(change.inverse);
  }

  /** @param {Patch} patch @returns {Patch | null} what really changed */
  apply(patch) {
    eachRun(patch, (value, y, left, right) => {
      if (value >= 0) this.paint(y, left, right, value, false);
    });
    return this.commit()?.forward ?? null;
  }

  /** @param {Change} change just made */
  remember(change) {
    this.done.push(change);
    this.undone = [];
  }

  /**
   * @param {"undo" | "redo"} direction
   * @returns {Change | null} as it acts now: forward is what was applied
   */
  step(direction) {
    const [from, to] = direction === "undo" ? [this.done, this.undone] : [this.undone, this.done];
    const change = from.pop();
    if (!change) return null;
    to.push(change);
    if ("object" in change) {
      const turned = direction === "undo" ? { ...change, before: change.after, after: change.before } : change;
      this.setClass(turned.object, turned.after);
      return turned;
    }
    const turned = direction === "undo" ? { forward: change.inverse, inverse: change.forward } : change;
    this.apply(turned.forward);
    return turned;
  }

  /** @param {number} id @param {number} cls */
  setClass(id, cls) {
    const row = this.objects.get(id);
    if (row) row.class = cls;
    for (const begun of this.fresh) if (begun[0] === id) begun[1] = cls;
    this.show({ left: 0, top: 0, right: this.width, bottom: this.height });
  }

  /** @param {number} id @param {number} cls */
  begin(id, cls) {
    this.objects.set(id, { id, class: cls, locked: false });
    this.fresh.push([id, cls]);
  }

  /** @param {number} x @param {number} y @returns {number} */
  at(x, y) {
    return this.ids[y * this.width + x] ?? 0;
  }

  /** @param {number} id @returns {Box} the smallest box round an object, empty where it has no pixel */
  bounds(id) {
    const box = nothing();
    for (let y = 0; y < this.height; y++) {
      const row = this.ids.subarray(y * this.width, (y + 1) * this.width);
      const left = row.indexOf(id);
      if (left >= 0) grow(box, y, left, row.lastIndexOf(id) + 1);
    }
    return box;
  }

  /** @param {number} id @returns {Patch | null} 1 where the object is */
  maskOf(id) {
    const box = this.bounds(id);
    return box.left < box.right ? encode(box, (x, y) => (this.at(x, y) === id ? 1 : 0)) : null;
  }

  /** Share of the pixels that belong to an object, 0 to 1. */
  get known() {
    return 1 - (this.pixels[0] ?? 0) / this.ids.length;
  }
}

/**
 * @param {ArrayBuffer} bytes length of the header, header, ids
 * @returns {{header: Header, ids: Uint16Array}}
 */
export function readLabel(bytes) {
  const length = new DataView(bytes).getUint32(0, true);
  const header = JSON.parse(new TextDecoder().decode(new Uint8Array(bytes, 4, length)));
  return { header, ids: new Uint16Array(bytes.slice(4 + length)) };
}
