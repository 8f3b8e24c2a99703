/**
 * The pixels that a stroke, an outline, a box or a fill covers, in whole numbers, so that any other program that follows
 * the same rules gets the same mask bit by bit.
 */

/** @typedef {{left: number, top: number, right: number, bottom: number}} Box right and bottom are one past the end */
/** @typedef {(y: number, left: number, right: number) => void} Span takes the pixels left to right - 1 of row y */

/**
 * The pixels whose centre is at most half a diameter away from the line between the centres of two pixels.
 * @param {number} x0 @param {number} y0 @param {number} x1 @param {number} y1
 * @param {number} diameter in pixels, a whole number; 1 covers the line itself
 * @param {number} width @param {number} height
 * @param {Span} span
 */
export function brush(x0, y0, x1, y1, diameter, width, height, span) {
  const dx = x1 - x0;
  const dy = y1 - y0;
  const length = dx * dx + dy * dy;
  const reach = diameter >> 1;
  const limit = diameter * diameter;
  /** @param {number} x @param {number} y four times the squared distance is compared */
  const inside = (x, y) => {
    const along = (x - x0) * dx + (y - y0) * dy;
    if (along <= 0) return 4 * ((x - x0) ** 2 + (y - y0) ** 2) <= limit;
    if (along >= length) return 4 * ((x - x1) ** 2 + (y - y1) ** 2) <= limit;
    return 4 * ((x - x0) * dy - (y - y0) * dx) ** 2 <= limit * length;
  };
  const first = Math.max(0, Math.min(y0, y1) - reach);
  const last = Math.min(height - 1, Math.max(y0, y1) + reach);
  for (let y = first; y <= last; y++) {
    let left = Math.max(0, Math.min(x0, x1) - reach);
    let right = Math.min(width - 1, Math.max(x0, x1) + reach);
    while (left <= right && !inside(left, y)) left++;
    while (left <= right && !inside(right, y)) right--;
    if (left <= right) span(y, left, right + 1);
  }
}

/**
 * The pixels whose centre lies inside an outline by the even-odd rule; a centre on an edge belongs to the right side.
 * @param {[number, number][]} vertices corners of pixels, whole numbers in 0..width and 0..height
 * @param {number} width @param {number} height
 * @param {Span} span
 */
export function polygon(vertices, width, height, span) {
  const rows = vertices.map(([, y]) => y);
  const first = Math.max(0, Math.min(...rows));
  const last = Math.min(height, Math.max(...rows));
  for (let y = first; y < last; y++) {
    const centre = 2 * y + 1;
    /** @type {number[]} */
    const starts = [];
    vertices.forEach((from, index) => {
      const to = vertices[(index + 1) % vertices.length] ?? from;
      const [upper, lower] = from[1] < to[1] ? [from, to] : [to, from];
      if (centre < 2 * upper[1] || centre > 2 * lower[1]) return;
      const rise = 2 * (lower[1] - upper[1]);
      const crossing = 2 * upper[0] * rise + (centre - 2 * upper[1]) * 2 * (lower[0] - upper[0]);
      starts.push(Math.ceil((crossing - rise) / (2 * rise)));
    });
    starts.sort((a, b) => a - b);
    for (let pair = 0; pair + 1 < starts.length; pair += 2) {
      const left = Math.max(0, starts[pair] ?? 0);
      const right = Math.min(width, starts[pair + 1] ?? 0);
      if (left < right) span(y, left, right);
    }
  }
}

/**
 * The pixels that are joined to one over their edges and carry the same value.
 * @param {Uint16Array} ids @param {number} width @param {number} height
 * @param {number} x @param {number} y
 * @param {Span} span called when the whole area is known
 */
export function flood(ids, width, height, x, y, span) {
  const value = ids[y * width + x];
  const seen = new Uint8Array(ids.length);
  /** @type {[number, number][]} */
  const open = [[x, y]];
  /** @type {[number, number, number][]} */
  const found = [];
  const isNew = (/** @type {number} */ index) => ids[index] === value && seen[index] === 0;
  for (let next = open.pop(); next; next = open.pop()) {
    const row = next[1] * width;
    if (!isNew(row + next[0])) continue;
    let left = next[0];
    let right = next[0] + 1;
    while (left > 0 && isNew(row + left - 1)) left--;
    while (right < width && isNew(row + right)) right++;
    seen.fill(1, row + left, row + right);
    found.push([next[1], left, right]);
    for (const neighbour of [next[1] - 1, next[1] + 1]) {
      if (neighbour < 0 || neighbour >= height) continue;
      for (let column = left; column < right; column++) {
        const index = neighbour * width + column;
        if (isNew(index) && (column === left || !isNew(index - 1))) open.push([column, neighbour]);
      }
    }
  }
  for (const [row, left, right] of found) span(row, left, right);
}

/**
 * The pixels between two opposite corners, both of them covered.
 * @param {number} x0 @param {number} y0 @param {number} x1 @param {number} y1
 * @param {Span} span
 */
export function rectangle(x0, y0, x1, y1, span) {
  for (let y = Math.min(y0, y1); y <= Math.max(y0, y1); y++) span(y, Math.min(x0, x1), Math.max(x0, x1) + 1);
}
