// Reads cases from standard input, one JSON list, and writes what the modules of the page answer.
import { brush, flood, polygon } from "./raster.js";
import { Frame, encode } from "./frame.js";
import { ActiveClock } from "./clock.js";
import { KEYS, keyName } from "./keys.js";

const mask = (size, draw) => {
  const [height, width] = size;
  const rows = Array.from({ length: height }, () => new Array(width).fill(0));
  draw(width, height, (y, left, right) => rows[y].fill(1, left, right));
  return rows;
};

const header = (size, objects) => ({
  ...{ height: size[0], width: size[1], state: ".", origin: "empty", confidence: -1, region: null, task: null },
  objects,
});

const answers = {
  stroke: ({ points, diameter, size }) =>
    mask(size, (width, height, span) => {
      points.forEach(([x, y], at) => {
        const [x1, y1] = points[at + 1] ?? [x, y];
        brush(x, y, x1, y1, diameter, width, height, span);
      });
    }),
  outline: ({ vertices, size }) => mask(size, (width, height, span) => polygon(vertices, width, height, span)),
  area: ({ ids, x, y, size }) =>
    mask(size, (width, height, span) => flood(Uint16Array.from(ids.flat()), width, height, x, y, span)),
  // Rows of values are painted one after the other; each becomes a change, and all are taken back and done again.
  history: ({ size, objects, paints }) => {
    const frame = new Frame(header(size, objects), new Uint16Array(size[0] * size[1]));
    const states = [[...frame.ids]];
    const patches = [];
    for (const spans of paints) {
      for (const [y, left, right, value] of spans) frame.paint(y, left, right, value);
      const change = frame.commit();
      if (change) frame.remember(change);
      patches.push(change);
      states.push([...frame.ids]);
    }
    const back = [];
    while (frame.step("undo")) back.push([...frame.ids]);
    const again = [];
    while (frame.step("redo")) again.push([...frame.ids]);
    return { states, patches, back, again, pixels: [...frame.pixels.slice(0, 8)] };
  },
  // Signs of work at some times, "hide" and "show" of the tab, and "take" where an action ends.
  clock: ({ pause, events }) => {
    let time = events[0][0];
    const clock = new ActiveClock(() => time, pause);
    const taken = [];
    for (const [at, what] of events) {
      time = at;
      if (what === "take") taken.push(clock.take());
      else if (what === "sign") clock.sign();
      else clock.setHidden(what === "hide");
    }
    return taken;
  },
  keys: () => ({
    all: KEYS.flatMap(({ keys }) => keys),
    names: [
      { key: "Z", code: "KeyZ", shiftKey: true, ctrlKey: true },
      { key: "?", code: "Slash", shiftKey: true },
      { key: "!", code: "Digit1", shiftKey: true },
      { key: "&", code: "Digit1" },
      { key: "в", code: "KeyD" },
      { key: " ", code: "Space" },
      { key: "+", code: "Equal", shiftKey: true },
      { key: "Enter", code: "Enter", shiftKey: true },
      { key: "[", code: "Digit8", ctrlKey: true, altKey: true, altGr: true },
      { key: "]", code: "Digit9", altGr: true },
    ].map(({ altGr = false, ...event }) => keyName({ ...event, getModifierState: (name) => altGr && name === "AltGraph" })),
  }),
  begun: () => {
    const frame = new Frame(header([2, 2], []), new Uint16Array(4));
    frame.begin(1, 0);
    frame.setClass(1, 2);
    return frame.fresh;
  },
  encode: ({ ids, size }) =>
    encode({ left: 0, top: 0, right: size[1], bottom: size[0] }, (x, y) => ids[y][x]),
};

let text = "";
for await (const part of process.stdin) text += part;
process.stdout.write(JSON.stringify(JSON.parse(text).map(({ kind, ...rest }) => answers[kind](rest))));
